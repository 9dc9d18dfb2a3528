"""docs/train.html in Chromium: steps per second by engine and width, and its faces after minutes.

python browser/measure.py speed             # prints steps per second, and when the page is ready
python browser/measure.py grids             # docs/train_grids.png: after 30 s, 1, 2, 3 min
python browser/measure.py screenshots       # docs/train_page.png; others in a folder

Let nothing else run. All numbers are of the machine on which this runs.
"""

import argparse
import platform
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from animegan_helpers import figures

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "train.html"
SECONDS = (30, 60, 120, 180)


def open_page(browser: Browser, end: str = "", **options: object) -> Page:
    """-> the page, opened from disk without a network and ready to train."""
    page = browser.new_context(offline=True, **options).new_page()
    page.goto(PAGE.as_uri() + end)
    page.locator("#film-at:not(:empty)").wait_for()  # the first view is there
    return page


def numbers(page: Page) -> dict:
    """-> step and seconds of the game with faces."""
    script = "({step, seconds}) => ({step, seconds})"
    return page.evaluate(f"() => ({script})(faces.last)")


def speed(browser: Browser, rounds: int = 3, seconds: int = 8) -> None:
    """Print steps per second, views included: the range over all rounds."""
    rates = {(engine, width): [] for engine in ("wasm", "plain") for width in (8, 16)}
    for _ in range(rounds):
        for (engine, width), found in rates.items():
            page = open_page(browser, f"#engine={engine}&width={width}")
            page.click("#faces .train")
            page.wait_for_timeout(3000)  # until the browser has compiled everything
            before = numbers(page)
            page.wait_for_timeout(1000 * seconds)
            after = numbers(page)
            steps = after["step"] - before["step"]
            found.append(steps / (after["seconds"] - before["seconds"]))
            page.close()
    for (engine, width), found in rates.items():
        print(f"{engine}, width {width}: {min(found):.1f} to {max(found):.1f} steps/s", flush=True)


def ready(browser: Browser, count: int = 5) -> None:
    """Print after how many milliseconds of opening the file Train can be pressed."""
    times = []
    for _ in range(count):
        page = browser.new_context(offline=True).new_page()
        start = time.perf_counter()
        page.goto(PAGE.as_uri())
        page.locator("#faces .train:enabled").wait_for()
        times.append(1000 * (time.perf_counter() - start))
        page.close()
    print(f"ready after {statistics.median(times):.0f} ms (median of {count})")


def grids(browser: Browser, width: int) -> None:
    """Write docs/train_grids.png: 36 faces of the same latent vectors at each time."""
    page = open_page(browser, f"#width={width}")
    page.click("#faces .train")
    start = time.perf_counter()
    tiles = []
    labels = []
    for seconds in SECONDS:
        page.wait_for_timeout(1000 * (seconds - (time.perf_counter() - start)))
        script = "({step, faces}) => [step, Array.from(faces)]"
        step, pixels = page.evaluate(f"() => ({script})(faces.film.at(-1))")
        faces = np.array(pixels, np.uint8).reshape(-1, 32, 32, 3)
        tiles.append(figures.grid(faces, 12, 2))
        labels.append(f"{seconds} s\nstep {step:,}")
        print(labels[-1].replace("\n", ", "), flush=True)
    figures.label_rows(tiles, labels).save(DOCS / "train_grids.png", optimize=True)


def screenshots(browser: Browser, folder: Path, seconds: int = 60) -> None:
    """Write docs/train_page.png; dark mode, a phone and the other tab into the folder."""
    desktop = {"viewport": {"width": 1100, "height": 900}}
    phone = {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True}
    kinds = {
        DOCS / "train_page.png": desktop,
        folder / "train_dark.png": desktop | {"color_scheme": "dark"},
        folder / "train_phone.png": phone,
        folder / "train_phone_dark.png": phone | {"color_scheme": "dark"},
    }
    for path, options in kinds.items():
        page = open_page(browser, **options)
        page.click("#faces .train")
        page.wait_for_timeout(1000 * seconds)
        page.screenshot(path=path, full_page=True)
        page.click("#faces .train")
        page.click("#tab-points")
        page.click("#points .train")
        page.wait_for_timeout(5000)
        page.screenshot(path=folder / f"{path.stem}_points.png", full_page=True)
        page.close()


def main() -> None:
    """Measure, and say on what."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "grids", "screenshots"])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--folder", type=Path, default=Path("."))
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        print(f"Chromium {browser.version}, {platform.machine()}, {time.strftime('%d %B %Y')}")
        if arguments.what == "speed":
            ready(browser)
            speed(browser)
        elif arguments.what == "grids":
            grids(browser, arguments.width)
        else:
            screenshots(browser, arguments.folder, arguments.seconds)
        browser.close()


if __name__ == "__main__":
    main()
