"""The site, built once: its links, alt texts and formulas; its search, keyboard and phone width."""

import functools
import http.server
import json
import re
import resource
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from address import address
from pages import PAGES

pytest.importorskip("sphinx", reason="the site is built with Python 3.11 or newer")

ROOT = Path(__file__).parent.parent
LIVE = {"train.html", "faces.html"}  # pages of their own, with tests of their own
PHONE = {"width": 390, "height": 844}
LONGEST = 90  # CPU seconds


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """-> the folder of the site. A warning of Sphinx's fails the build."""
    folder = tmp_path_factory.mktemp("build") / "site"
    beside = folder.with_name("sources")  # of another, who keeps it there
    beside.mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, ROOT / "docs" / "build.py", folder]
    result = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stdout + result.stderr
    assert after.ru_utime - before.ru_utime < LONGEST
    assert list(beside.iterdir()) == [], "the folder of another stays as it is"
    return folder


@pytest.mark.parametrize("file", ["photo.jpg", "index.html"])
def test_a_folder_that_holds_something_else_is_refused_and_kept(file, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / file).write_text("mine")
    command = [sys.executable, ROOT / "docs" / "build.py", tmp_path / "site"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode and "holds something other than the site" in result.stderr
    assert (tmp_path / "site" / file).read_text() == "mine"


# ---- what the files say ----


class Tags(HTMLParser):
    """The tags of a page, each with its attributes, in their order."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@functools.cache
def tags(path):
    return Tags(path.read_text(encoding="utf-8")).found


def html_pages(folder):
    pages = folder.rglob("*.html")
    return sorted(path for path in pages if "_static" not in path.parts and path.name not in LIVE)


def links(path):
    """-> what a page links to or loads."""
    found = []
    for _, attributes in tags(path):
        found += [attributes[name] for name in ("href", "src") if attributes.get(name)]
    return found


def anchors(path):
    return {attributes["id"] for _, attributes in tags(path) if "id" in attributes}


def dead_links(folder):
    """-> the links between the site's pages that lead nowhere."""
    dead = []
    for page in html_pages(folder):
        for link in links(page):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = page
            if parts.path:
                target = (page.parent / unquote(parts.path)).resolve()
            if not target.is_file():
                dead.append(f"{page.name}: {link}")
            elif parts.fragment and target.name not in LIVE:
                if target.suffix == ".html" and unquote(parts.fragment) not in anchors(target):
                    dead.append(f"{page.name}: {link}")
    return dead


def images_without_alt(folder):
    """-> the images without an alt text, by page."""
    without = []
    for page in html_pages(folder):
        for tag, attributes in tags(page):
            if tag == "img" and not (attributes.get("alt") or "").strip():
                without.append(f"{page.name}: {attributes.get('src')}")
    return without


def test_no_link_between_pages_is_dead(site):
    assert len(html_pages(site)) > len(PAGES)
    assert dead_links(site) == []


def test_links_to_the_repository_name_files_that_exist(site):
    repository, tag = address()
    start = f"{repository}/blob/{tag}/"
    found = set()
    for page in html_pages(site):
        found |= {link for link in links(page) if link.startswith(start)}
    assert found, "no page links to the README"
    for link in found:
        path = ROOT / urlsplit(link.removeprefix(start)).path
        assert path.exists(), link


def test_no_image_lacks_an_alt_text(site):
    assert images_without_alt(site) == []


def test_the_checks_of_links_and_images_find_faults(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="b.html">b</a><a href="#there">c</a><a href="#here">d</a>'
        '<a href="https://example.org/x">e</a><img src="a.html" alt=" "><img src="a.html">'
    )
    assert dead_links(tmp_path) == ["a.html: b.html", "a.html: #there"]
    assert len(images_without_alt(tmp_path)) == 2


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_each_figure_is_shown_with_its_own_alt_text(site, path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    expected = []
    for cell in cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                expected.append(" ".join(output["metadata"]["image/png"]["alt"].split()))
    page = site / "notebooks" / f"{path.stem}.html"
    shown = [attributes["alt"] for tag, attributes in tags(page) if tag == "img"]
    badges = [alt for alt in shown if alt.startswith("Open in ")]
    assert badges == ["Open in Colab", "Open in Kaggle"]
    assert [alt for alt in shown if alt in expected] == expected


def test_each_formula_is_mathml(site):
    count = 0
    for path in PAGES:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        prose = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
        expected = sum("".join(text).count("$$") for text in prose) // 2
        shown = [
            tag
            for tag, attributes in tags(site / "notebooks" / f"{path.stem}.html")
            if tag == "math" and attributes.get("display") == "block"
        ]
        assert len(shown) == expected, path.name
        count += expected
    assert count > 0


def test_the_reference_has_the_core(site):
    names = anchors(site / "docs" / "api.html")
    for name in ("generator.Generator", "losses.r1_penalty", "trainer.Trainer", "training.train"):
        assert f"animegan_helpers.{name}" in names


def test_no_page_names_a_folder_of_this_machine(site):
    for page in html_pages(site):
        assert str(ROOT) not in page.read_text(encoding="utf-8"), page.name


def test_all_texts_are_pages(site):
    for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.md")]:
        if path.name != "index.md":
            assert (site / path.relative_to(ROOT)).with_suffix(".html").is_file()


# ---- in a browser ----


@pytest.fixture(scope="module")
def home(site):
    """-> the address of the site on a server of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def tab(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield context.new_page()
    context.close()


def test_no_page_asks_for_anything_outside_or_reports_an_error(site, home, tab):
    outside = []
    failed = []
    tab.on(
        "request",
        lambda request: (
            request.url.startswith((home, "data:", "blob:")) or outside.append(request.url)
        ),
    )
    tab.on(
        "response",
        lambda response: response.ok or response.status == 304 or failed.append(response.url),
    )
    tab.on("pageerror", lambda error: failed.append(str(error)))
    tab.on("console", lambda line: line.type == "error" and failed.append(line.text))
    for page in [*html_pages(site), *(site / name for name in LIVE)]:
        tab.goto(home + page.relative_to(site).as_posix(), wait_until="networkidle")
    assert outside == []
    assert failed == []


def test_no_page_is_wider_than_a_phone(site, home, tab):
    tab.set_viewport_size(PHONE)
    wide = {}
    for page in html_pages(site):
        tab.goto(home + page.relative_to(site).as_posix())
        width = tab.evaluate(
            "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
        )
        if width > PHONE["width"]:
            wide[page.name] = width
    assert wide == {}


def test_the_pages_are_listed_in_reading_order(home, tab):
    tab.goto(home)
    listed = tab.eval_on_selector_all(
        ".bd-sidebar-primary nav a", "all => all.map(a => a.getAttribute('href'))"
    )
    expected = [f"notebooks/{path.stem}.html" for path in PAGES]
    assert listed[: len(expected)] == expected


def test_the_search_finds_a_word_by_keyboard(home, tab):
    tab.goto(home)
    tab.keyboard.press("Control+k")
    tab.keyboard.type("relativistic")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/search.html?q=relativistic*")
    tab.locator("#search-results li a").first.wait_for()
    found = tab.eval_on_selector_all(
        "#search-results li a", "all => all.map(a => a.href.split('?')[0])"
    )
    assert f"{home}notebooks/05_train_them_together.html" in found
    tab.goto(f"{home}search.html?q=zebracorn")
    tab.get_by_text("did not match any documents").wait_for()


def test_a_page_is_reached_with_the_keyboard_alone(home, tab):
    tab.goto(home)
    tab.keyboard.press("Tab")
    first = tab.evaluate("document.activeElement.textContent")
    assert "Skip to main content" in first
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.textContent").strip().startswith("05 ·"):
            break
    shadow, style = tab.evaluate(
        "(({boxShadow, outlineStyle}) => [boxShadow, outlineStyle])"
        "(getComputedStyle(document.activeElement))"
    )
    assert shadow != "none" or style != "none", "no mark shows where the focus is"
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/05_train_them_together.html")


def lightness(tab, what):
    """-> the mean of red, green and blue, 0 to 255, of a color of the page's body."""
    color = tab.evaluate(f"getComputedStyle(document.body).{what}")
    return sum(map(float, re.findall(r"[\d.]+", color)[:3])) / 3


def test_dark_mode_is_dark_and_is_kept(home, tab):
    tab.goto(home)
    assert lightness(tab, "backgroundColor") > 240 > 80 > lightness(tab, "color")
    tab.get_by_role("button", name="Color mode").click()
    tab.get_by_role("button", name="Dark").click()
    tab.goto(f"{home}notebooks/05_train_them_together.html")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert lightness(tab, "backgroundColor") < 40 < 180 < lightness(tab, "color")
    figure = tab.locator(".cell_output img").first
    assert figure.evaluate("image => getComputedStyle(image).filter") == "none"


def test_the_front_page_leads_to_the_trainer_and_to_the_sliders(home, tab):
    for name in LIVE:
        tab.goto(home)
        tab.locator(f"a.button[href='{name}']").click()
        tab.wait_for_url(f"**/{name}")


def test_the_sliders_on_page_00_move_a_face_without_a_kernel(home, tab):
    tab.goto(f"{home}notebooks/00_start_here.html")
    tab.locator("iframe").scroll_into_view_if_needed()
    frame = tab.frame_locator("iframe")
    slider = frame.locator("#sliders input").first
    face = frame.locator("canvas").first
    slider.wait_for()
    tab.wait_for_timeout(500)
    before = face.evaluate("canvas => canvas.toDataURL()")
    slider.focus()
    for _ in range(5):
        tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(500)
    assert face.evaluate("canvas => canvas.toDataURL()") != before
