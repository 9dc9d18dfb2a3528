"""Photograph the pretrained generator's web page for page 11 and README, and time its faces.

python tests/benchmarks/photograph.py -> recorded/share_page.png and .json

Chromium opens the page from disk, without a network.
"""

import io
import os
import shutil
import tempfile
from datetime import date
from pathlib import Path

import torch
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from record import processor, write_json, write_png

from animegan_helpers import plotting, web_page
from animegan_helpers.pretrained import load_pretrained

OFFSETS = {"hair short to long": 2.0, "eyes cold to warm": -2.0, "mouth closed to open": 1.5}
RATE = """() => Math.max(...[1, 2, 3, 4, 5].map(() => {
    const start = performance.now();
    for (let i = 0; i < 20; i++) generate(base);
    return 20_000 / (performance.now() - start);
}))"""


def open_page(browser: Browser, html: str, folder: Path) -> Page:
    """The HTML of a page -> the page, opened from a file in the folder."""
    file = folder / "faces.html"
    file.write_text(html, encoding="utf-8")
    page = browser.new_page(viewport={"width": 940, "height": 700}, offline=True)
    page.goto(file.as_uri())
    return page


def screenshot(page: Page) -> Image.Image:
    """Move the sliders to `OFFSETS` -> an image of the whole page."""
    for name, offset in OFFSETS.items():
        page.get_by_role("slider", name=name).fill(str(offset))
    page.evaluate("() => document.activeElement.blur()")
    page.wait_for_timeout(500)
    return Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")


def main() -> None:
    torch.set_num_threads(1)  # for `processor`: a page's script runs on one core
    html = web_page.page(*load_pretrained())
    options = {
        "executable_path": shutil.which("chromium"),
        "args": ["--no-sandbox", "--disable-dev-shm-usage"],
    }
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        with playwright.chromium.launch(**options) as browser:
            page = open_page(browser, html, Path(folder))
            rate = page.evaluate(RATE)
            load = os.getloadavg()[0]
            image = screenshot(page)
            version = browser.version.split(".")[0]
    write_png(image, plotting.RECORDED / "share_page.png")
    caption = (
        f"faces.html of the pretrained generator ({len(html) / 2**20:.1f} MB), opened from disk in"
        f" Chromium {version} with the network off ({processor()}, a load of {load:.1f},"
        f" {date.today()})."
    )
    offsets = ", ".join(f"{name} {offset:+g}" for name, offset in OFFSETS.items())
    alt = (
        "A web page: a large generated face with long blond hair above twelve small ones; beside it"
        " the buttons Random face, Walk, Reset sliders, Save as PNG, Copy link, and eight sliders"
        f" ({offsets}, all others 0). Below them a slider from face A to face B. {caption}"
    )
    record = {"caption": caption, "alt": alt}
    record |= {"faces per second": round(rate, 1), "load": round(load, 1)}
    write_json(record, plotting.RECORDED / "share_page.json")
    print(caption)


if __name__ == "__main__":
    main()
