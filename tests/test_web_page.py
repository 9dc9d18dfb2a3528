"""web_page: a generator becomes a page that Chromium opens from disk and generates faces with."""

import base64
import json
import os
import re
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_generators import small_generator, two_directions
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from animegan_helpers import latent, web_page
from animegan_helpers.checkpoints import atomic_write
from animegan_helpers.conditional import ConditionalGenerator, condition
from animegan_helpers.generator import generate, sample_z
from animegan_helpers.images import to_pixels
from animegan_helpers.pretrained import generator_arguments, load_pretrained

KINDS = {  # width 3: no number of channels is a multiple of four
    "16, leaky": {"width": 3, "z_dim": 5, "size": 16, "activation": "leaky_relu"},
    "32": {"width": 4, "z_dim": 8, "size": 32},
    "64": {"width": 6, "z_dim": 100, "size": 64},
    "128": {"width": 2, "z_dim": 7, "size": 128},
}


@pytest.fixture(scope="module", params=KINDS)
def G(request):
    """One generator of each kind. Read-only."""
    return small_generator(random_shift=True, **KINDS[request.param])


@pytest.fixture(scope="module")
def toy():
    """A small generator and two directions. Read-only."""
    G = small_generator(random_shift=True, width=4, z_dim=8, size=16)
    return G, two_directions()


@pytest.fixture(scope="module")
def large_weights():
    """A generator whose last weights are too large for half precision. Read-only."""
    G = small_generator(random_shift=True, width=4, z_dim=8, size=16)
    norm = G.net[-4]
    norm.weight.data *= 1e-7  # the last layer makes up for it, so the faces stay as they were
    norm.bias.data *= 1e-7
    G.net[-2].weight.data *= 1e7
    return G


@pytest.fixture(scope="module")
def pretrained():
    return load_pretrained()


def model_in(html: str) -> dict:
    """-> the data of the page's script."""
    return json.loads(re.search(r"^const model = (.*);$", html, flags=re.MULTILINE)[1])


def on_grid(z):
    """Latent vectors -> the same in steps of 1/32, as the page keeps them."""
    return (32 * z).round() / 32


# ---- without batch norm ----


def test_folding_is_what_the_tool_of_pytorch_does(G):
    conv = G.net[3]
    norm = G.net[4]
    ours = web_page.fold_batch_norm(conv, norm)
    theirs = fuse_conv_bn_eval(conv, norm, transpose=True)
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
    assert torch.allclose(ours.bias, theirs.bias, atol=1e-6)


def test_the_folded_network_generates_the_same_faces_and_the_generator_stays_as_it_was(G):
    before = {name: tensor.clone() for name, tensor in G.state_dict().items()}
    z = sample_z(6, G.z_dim, 2)
    net = web_page.folded(G)
    assert not [layer for layer in net if isinstance(layer, nn.BatchNorm2d)]
    faces = generate(G, z)
    assert faces.std() > 0.1
    assert (net(z[:, :, None, None]) - faces).abs().max() < 1e-5
    assert all(torch.equal(tensor, before[name]) for name, tensor in G.state_dict().items())


def test_only_the_generator_of_the_package_can_be_shared():
    with pytest.raises(ValueError, match="Linear can't be shared"):
        web_page.folded(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="Linear can't be shared"):
        web_page.page(nn.Linear(2, 2), {})


# ---- the page as text ----


def test_phases_are_the_transposed_convolution():
    """Each output pixel is computed from 2x2 input pixels, as the script of the page does it."""
    weight = torch.randn(3, 8, 4, 4)
    x = torch.randn(1, 3, 5, 5)
    expected = nn.functional.conv_transpose2d(x, weight, stride=2, padding=1)[0]
    padded = nn.functional.pad(x, (1, 1, 1, 1))[0]
    computed = torch.zeros(8, 10, 10)
    for down, right in np.ndindex(2, 2):
        kernel = web_page.phases(weight)[down, right]  # (block, tap, tap, input, output of it)
        for i, j in np.ndindex(5, 5):
            patch = padded[:, i + down : i + down + 2, j + right : j + right + 2]
            pixel = torch.einsum("brsxo,xrs->bo", kernel, patch).flatten()
            computed[:, 2 * i + down, 2 * j + right] = pixel
    assert torch.allclose(computed, expected, atol=1e-5)


REQUESTS = (
    ("http:", "https:", "//cdn", " src=", "url(", 'type="module"')
    + ("fetch(", "XMLHttpRequest", "WebSocket", "import ", "import(")
    + ("{{",)  # a placeholder that was not filled
)


@pytest.mark.parametrize("text", REQUESTS)
def test_the_page_requests_nothing_from_anywhere(toy, text):
    html = re.sub(r"^const model = .*$", "", web_page.page(*toy), flags=re.MULTILINE)
    assert text not in html
    assert "default-src 'none'" in html
    assert re.findall(r"<link.*?>", html) == ['<link rel="icon" href="data:,">']


def test_the_explorer_is_written_into_a_file(toy, tmp_path):
    path = web_page.write(tmp_path / "new" / "explorer.html", *toy, title="Mine")
    assert path.read_text(encoding="utf-8") == web_page.page(*toy, "Mine")


def test_names_and_titles_cannot_break_out_of_the_page(toy):
    name = "</script><b>"
    title = "<b>Me & you</b>"
    html = web_page.page(toy[0], {name: torch.eye(8)[0]}, title)
    assert list(model_in(html)["directions"]) == [name]
    assert html.count("</script>") == 1
    assert unescape(re.search(r"<title>(.*)</title>", html)[1]) == title
    assert title not in html


def test_a_page_of_any_size_has_all_layers_and_names_its_error(G):
    html = web_page.page(G, dict(zip("ab", latent.sefa(G, 2))))
    layers = model_in(html)["layers"]
    assert 4 * 2 ** (len(layers) - 1) == generator_arguments(G)["size"]
    error = re.search(r"no pixel differs from PyTorch's by more than (\d+) of 255", html)[1]
    assert int(error) <= 2


def test_weights_are_in_half_precision_where_no_pixel_shows_it(pretrained):
    html = web_page.page(*pretrained)
    assert model_in(html)["bits"] == 16
    assert len(html) < 4 * 2**20
    error = re.search(r"no pixel differs from PyTorch's by more than (\d+) of 255", html)[1]
    assert int(error) <= 2


def test_weights_that_half_precision_would_change_stay_in_single_precision(large_weights, toy):
    html = web_page.page(large_weights, toy[1])
    assert model_in(html)["bits"] == 32
    assert "32 bits each" in html


def test_a_link_holds_z_in_steps_of_a_32nd(toy):
    z = sample_z(1, 8, 4)[0] * 8
    text, tenths = web_page.link(z, toy[1])[1:].split(".")
    steps = np.frombuffer(base64.urlsafe_b64decode(text + "=="), np.int8)
    assert z.abs().max() > 4, "some component is out of range"
    assert np.abs(steps / 32 - z.clamp(-127 / 32, 127 / 32).numpy()).max() <= 1 / 64
    assert tenths == "0_0"


# ---- the page in a browser without a network ----


class OpenPage:
    """The page in a tab, opened from disk. Its requests and its errors are recorded."""

    def __init__(self, context, path: Path, G, directions: dict, end: str = ""):
        self.G = G
        self.directions = directions
        self.requests = []
        self.errors = []
        self.page = context.new_page()
        context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._record_message)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.address = path.resolve().as_uri()
        self.page.goto(self.address + end)
        self.settle()

    def _record_message(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def settle(self):
        """Wait until the next frame is shown, and the address is up to date."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 300)))"
        )

    def pixels(self) -> np.ndarray:
        """-> the large face, (size, size, 3)."""
        values = self.page.evaluate(
            "() => Array.from(canvas.getContext('2d').getImageData(0, 0, size, size).data)"
        )
        size = generator_arguments(self.G)["size"]
        pixels = np.array(values).reshape(size, size, 4)
        assert (pixels[..., 3] == 255).all()
        return pixels[..., :3]

    def error_from(self, z) -> int:
        """-> how far, of 255, the face is from PyTorch's face of z, at the worst pixel."""
        expected = to_pixels(generate(self.G, z[None]))[0].numpy().astype(int)
        return np.abs(self.pixels() - expected).max()

    def end_of_address(self) -> str:
        return self.page.url.partition("#")[2]

    def slider(self, name: str):
        return self.page.get_by_role("slider", name=name, exact=True)

    def press(self, name: str, key: str = "ArrowRight"):
        self.slider(name).press(key)
        self.settle()

    def click(self, name: str):
        self.page.get_by_role("button", name=name, exact=True).click()
        self.settle()

    def status(self) -> str:
        return self.page.get_by_role("status").inner_text()


@pytest.fixture(scope="module")
def offline(chromium):
    """A window of the browser that has no network."""
    context = chromium.new_context(
        viewport={"width": 1100, "height": 900},
        offline=True,
        has_touch=True,
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture(scope="module")
def first_z():
    """The latent vector of the face that the page opens with."""
    return on_grid(sample_z(1, 128, 6)[0])


@pytest.fixture
def opened(offline, pretrained, first_z, tmp_path):
    """The page of the pretrained generator. It may not request anything or log an error."""
    path = tmp_path / "a folder, größer" / "faces.html"
    atomic_write(path, web_page.page(*pretrained).encode())
    opened = OpenPage(offline, path, *pretrained, end=web_page.link(first_z, pretrained[1]))
    yield opened
    assert opened.errors == []
    for url in opened.requests:
        assert url.startswith("data:") or url.partition("#")[0] == opened.address
    opened.page.close()


def test_sliders_change_the_face_by_keyboard_as_pytorch_does(opened, first_z):
    assert opened.error_from(first_z) <= 2
    for i, (name, direction) in enumerate(opened.directions.items()):
        before = opened.pixels()
        opened.press(name, "PageUp")
        opened.press(name)
        offset = float(opened.slider(name).input_value())
        assert offset > 0.5
        assert (opened.pixels() != before).any()
        assert opened.error_from(first_z + offset * direction) <= 2
        tenths = opened.end_of_address().split(".")[1].split("_")
        assert tenths[i] == str(round(10 * offset))
        description = opened.page.locator("#face").get_attribute("aria-label")
        assert description == f"A generated face, {name} +{offset:.1f}"
        opened.click("Reset sliders")
        assert opened.error_from(first_z) <= 2
    description = opened.page.locator("#face").get_attribute("aria-label")
    assert description == "A generated face, all sliders at 0"


def test_touch_moves_a_slider(opened, first_z):
    name = "hair dark to light"
    box = opened.slider(name).bounding_box()
    x = box["x"] + 0.75 * box["width"]
    y = box["y"] + box["height"] / 2
    opened.page.touchscreen.tap(x, y)
    opened.settle()
    offset = float(opened.slider(name).input_value())
    assert 1.5 < offset < 2.5
    assert opened.error_from(first_z + offset * opened.directions[name]) <= 2


def test_random_and_other_faces_are_new_and_all_sliders_go_back_to_0(opened):
    opened.press("mouth closed to open", "End")
    faces = [opened.pixels()]
    for name in ("Random face", "Other face 2", "Other face 12"):
        opened.click(name)
        assert opened.end_of_address().endswith(".0_0_0_0_0_0_0_0")
        assert all(np.abs(opened.pixels() - other).mean() > 5 for other in faces)
        faces.append(opened.pixels())


def test_a_seed_gives_the_same_face_each_time(opened):
    seed = opened.page.get_by_label("Seed")
    assert seed.input_value() == "", "the first face has no seed"
    faces = {}
    for number in ("7", "8", "7"):
        seed.fill(number)
        seed.press("Enter")
        opened.settle()
        faces.setdefault(number, opened.pixels())
    assert np.array_equal(faces["7"], opened.pixels())
    assert np.abs(faces["7"] - faces["8"]).mean() > 5
    opened.click("Random face")
    another = seed.input_value()
    assert 0 <= int(another) < 1e6 and another != "7"
    opened.click("Walk")
    assert seed.input_value() == "", "faces on the way have no seed"
    opened.click("Walk")


def test_latent_vectors_of_seeds_are_normal(opened):
    values = opened.page.evaluate("() => [1, 2, 3, 4, 5, 6, 7, 8].map(fromSeed)")
    z = np.array(values)
    assert z.shape == (8, 128)
    assert abs(z.mean()) < 0.15
    assert abs(z.std() - 1) < 0.1
    assert np.abs(np.corrcoef(z)[np.triu_indices(8, 1)]).max() < 0.4


OTHERS = """() => Array.from(document.querySelectorAll("#more canvas"), small =>
    Array.from(small.getContext("2d").getImageData(0, 0, size, size).data))"""


def all_others(opened) -> np.ndarray:
    """-> the twelve other faces, as soon as all of them are there."""
    last = "() => document.querySelector('#more button:last-child').onclick"
    opened.page.wait_for_function(last)
    return np.array(opened.page.evaluate(OTHERS)).reshape(12, 64, 64, 4)[..., :3]


def test_other_faces_are_new_or_similar_to_the_face(opened):
    def distance(others):
        return np.abs(others - opened.pixels()).mean()

    first = all_others(opened)
    opened.click("Other faces")
    second = all_others(opened)
    assert (np.abs(first - second).mean(axis=(1, 2, 3)) > 5).all()
    opened.click("Faces like this one")
    similar = all_others(opened)
    assert distance(similar) < 0.8 * distance(second)
    opened.page.get_by_role("button", name="Other face 5", exact=True).press("Enter")
    opened.settle()
    assert np.array_equal(opened.pixels(), similar[4])


def test_a_slider_leads_from_one_face_to_another_by_keyboard(opened):
    opened.press("hair dark to light", "End")
    first = opened.pixels()
    opened.click("Use this face as A")
    assert opened.status() == "This face is A now."
    opened.click("Random face")
    second = opened.pixels()
    opened.click("Use this face as B")
    path = "from face A to face B"
    opened.press(path, "Home")
    assert np.array_equal(opened.pixels(), first)
    assert opened.slider("hair dark to light").input_value() == "4"
    distances = []
    for _ in range(9):
        opened.press(path, "PageUp")
        distances.append(np.abs(opened.pixels() - second).mean())
    assert opened.slider("hair dark to light").input_value() == "0.4"
    assert distances[-1] < distances[4] < distances[0]
    opened.press(path, "End")
    assert np.array_equal(opened.pixels(), second)


NAMED = re.compile(".")  # any name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_names_all_controls_and_respects_dark_mode(opened, scheme):
    opened.page.set_viewport_size({"width": 390, "height": 844})
    opened.page.emulate_media(color_scheme=scheme)
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") == 390
    for role in ("button", "slider", "spinbutton"):
        controls = opened.page.get_by_role(role)
        assert controls.count() == controls.and_(opened.page.get_by_role(role, name=NAMED)).count()
        for box in (control.bounding_box() for control in controls.all()):
            assert min(box["width"], box["height"]) >= 24, "a finger needs 24 pixels (WCAG 2.2)"
    red = opened.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (int(re.search(r"\d+", red)[0]) < 60) == (scheme == "dark")
    opened.page.evaluate(
        "() => document.querySelector('#sliders label:last-child').scrollIntoView()"
    )
    assert opened.page.get_by_role("img", name="A generated face").bounding_box()["y"] >= 0
    opened.page.emulate_media(color_scheme="light")
    opened.page.set_viewport_size({"width": 1100, "height": 900})


def test_in_a_frame_of_a_notebook_sliders_work_and_there_is_no_link_to_copy(toy, offline, tmp_path):
    """The output of a cell in a plain page: there is no kernel, no server and no network."""
    cell = web_page.InNotebook(web_page.page(*toy))._repr_html_()
    path = atomic_write(tmp_path / "notebook.html", cell.encode())
    opened = OpenPage(offline, path, *toy)
    frame = opened.page.frame_locator("iframe")
    face = "canvas => canvas.toDataURL()"
    for name in toy[1]:
        slider = frame.get_by_role("slider", name=name, exact=True)
        before = frame.locator("#face").evaluate(face)
        slider.press("PageUp")
        opened.settle()
        assert frame.locator("#face").evaluate(face) != before
    assert frame.get_by_role("button", name="Copy link").count() == 0
    with opened.page.expect_download() as download:
        frame.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == "face.png"
    assert opened.errors == []
    opened.page.close()


def test_a_link_shows_exactly_the_same_face_again(opened, offline):
    opened.click("Random face")
    opened.press("glasses off to on", "End")
    opened.press("hair cold to warm", "PageDown")
    opened.click("Copy link")
    link = opened.page.evaluate("() => navigator.clipboard.readText()")
    assert "Copied" in opened.status()
    assert link == opened.page.url
    first = opened.pixels()
    second_tab = offline.new_page()
    second_tab.goto(link)
    second_tab.wait_for_timeout(300)
    opened.page.close()
    opened.page = second_tab
    assert np.array_equal(opened.pixels(), first)
    assert "_40" in opened.end_of_address()


@pytest.mark.parametrize("end", ["#abc.0", "#" + "A" * 171 + ".0_0", "#%3Cb%3E"])
def test_a_link_of_another_generator_is_refused_and_changes_nothing(opened, first_z, end):
    opened.page.evaluate("end => { location.hash = end }", end)
    opened.settle()
    assert "does not belong to this generator" in opened.status()
    assert opened.error_from(first_z) <= 2


def test_a_page_that_is_opened_with_a_wrong_link_says_so_and_shows_its_first_face(
    toy, offline, tmp_path
):
    path = atomic_write(tmp_path / "faces.html", web_page.page(*toy, seed=4).encode())
    opened = OpenPage(offline, path, *toy, end="#abc.0")
    assert "does not belong to this generator" in opened.status()
    assert opened.error_from(on_grid(sample_z(64, 8, 4)[0])) <= 2
    assert opened.errors == []
    opened.page.close()


def test_a_walk_goes_on_until_it_is_stopped(opened, first_z):
    button = opened.page.get_by_role("button", name="Walk", exact=True)
    button.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    faces = [opened.pixels()]
    for _ in range(4):
        opened.settle()
        faces.append(opened.pixels())
    assert all((before != after).any() for before, after in zip(faces, faces[1:]))
    button.press("Enter")
    opened.settle()
    stopped = opened.pixels()
    assert button.get_attribute("aria-pressed") == "false"
    assert opened.error_from(first_z) > 2
    text = opened.end_of_address().split(".")[0]
    steps = np.frombuffer(base64.urlsafe_b64decode(text + "="), np.int8)
    assert opened.error_from(torch.from_numpy(steps / np.float32(32))) <= 2
    opened.settle()
    assert np.array_equal(opened.pixels(), stopped)


def test_save_gives_the_face_as_a_large_png(opened):
    with opened.page.expect_download() as download:
        opened.click("Save as PNG")
    assert download.value.suggested_filename == "face.png"
    assert "Saved" in opened.status()
    with Image.open(BytesIO(Path(download.value.path()).read_bytes())) as image:
        assert image.format == "PNG"
        assert image.size == (512, 512)
        small = image.convert("RGB").resize((64, 64), Image.Resampling.BOX)
    assert np.abs(np.asarray(small, int) - opened.pixels()).mean() < 8


def test_the_page_lets_nothing_in_or_out(opened):
    attempt = "address => fetch(address).then(() => 'loaded', () => 'refused')"
    assert opened.page.evaluate(attempt, "data:,x") == "refused"
    assert opened.page.evaluate(attempt, opened.address) == "refused"
    assert all("Content Security Policy" in error for error in opened.errors)
    opened.errors.clear()


def test_every_kind_of_generator_gives_the_faces_that_pytorch_gives(G, offline, tmp_path):
    names = [f"direction {i}" for i in range(min(8, G.z_dim))]
    directions = dict(zip(names, latent.sefa(G, len(names))))
    html = web_page.page(G, directions)
    path = atomic_write(tmp_path / "faces.html", html.encode())
    for seed in (1, 2, 3):
        z = on_grid(sample_z(1, G.z_dim, seed)[0])
        opened = OpenPage(offline, path, G, directions, web_page.link(z, directions))
        assert opened.errors == []
        assert opened.error_from(z) <= 2
        opened.page.close()


def test_single_precision_is_read_too(large_weights, toy, offline, tmp_path):
    directions = toy[1]
    html = web_page.page(large_weights, directions)
    path = atomic_write(tmp_path / "faces.html", html.encode())
    z = on_grid(sample_z(1, 8, 1)[0])
    opened = OpenPage(offline, path, large_weights, directions, web_page.link(z, directions))
    assert opened.errors == []
    assert opened.error_from(z) <= 1
    opened.page.close()


def test_the_page_says_how_long_a_face_takes(opened, capsys):
    """The rate goes to the log; on a busy machine it proves nothing."""
    rate = opened.page.evaluate("""() => {
        for (let i = 0; i < 20; i++) generate(base);
        const start = performance.now();
        for (let i = 0; i < 50; i++) generate(base);
        return 50_000 / (performance.now() - start);
    }""")
    with capsys.disabled():
        load = os.getloadavg()[0]
        print(f"\nthe web page: {rate:.0f} faces per second at width 36, load {load:.1f}")
    footer = opened.page.locator("footer").inner_text()
    assert re.search(r"one face takes \d+ ms\.", footer)


# ---- menus ----


@pytest.fixture
def with_menus(offline, tmp_path):
    """The page of a small conditional generator; -> the page, and that generator."""
    torch.manual_seed(0)
    G = ConditionalGenerator(width=4, z_dim=8, size=16, dim=6)
    G.net = small_generator(random_shift=True, width=4, z_dim=14, size=16)
    path = web_page.write_conditional(tmp_path / "faces.html", G.eval())
    opened = OpenPage(offline, path, G.net, {})
    yield opened, G
    assert opened.errors == []
    opened.page.close()


def test_menus_choose_the_condition_as_pytorch_does_and_a_link_keeps_it(with_menus):
    opened, G = with_menus
    z = on_grid(sample_z(64, 8, 13)[0])
    page = opened.page

    def error_for(**values):
        return opened.error_from(G.inputs(z[None], condition(**values)[None])[0].detach())

    assert page.get_by_role("combobox").count() == 4
    assert page.get_by_role("slider").count() == 1, "the way between two faces"
    assert page.get_by_role("button", name="Reset sliders").count() == 0
    assert error_for() <= 2
    before = opened.pixels()
    page.get_by_role("combobox", name="hair color").select_option("blue")
    page.get_by_role("combobox", name="eyes").select_option("closed")
    opened.settle()
    assert (opened.pixels() != before).any()
    assert error_for(hair_color="blue", eyes="closed") <= 2
    assert opened.end_of_address().endswith(".8_0_2_0")
    description = page.locator("#face").get_attribute("aria-label")
    assert description == (
        "A generated face, hair color blue, eye color brown, eyes closed, accessory none"
    )
    after = opened.pixels()
    link = opened.end_of_address()
    page.goto("about:blank")
    page.goto(f"{opened.address}#{link}")
    opened.settle()
    assert np.array_equal(opened.pixels(), after)
    assert page.get_by_role("combobox", name="hair color").input_value() == "blue"


def test_a_link_of_a_page_without_menus_or_with_other_choices_is_refused(with_menus):
    opened, _ = with_menus
    text = opened.end_of_address().split(".")[0]
    for end in (f"{text}..1_2", f"{text}..99_0_0_0", f"{text}.1.0_0_0_0_0"):
        opened.page.goto("about:blank")
        opened.page.goto(f"{opened.address}#{end}")
        opened.settle()
        assert "does not belong" in opened.status()
