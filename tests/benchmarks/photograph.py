"""Photograph the ready generator's web page for page 11 and the README, and count the faces that it paints a second.

python tests/benchmarks/photograph.py -> recorded/share_page.png and .json (Chromium, opened from disk, no network)
"""

import io
import json
import os
import shutil
import tempfile
from datetime import date
from pathlib import Path

import torch
from PIL import Image
from playwright.sync_api import sync_playwright
from record import processor

from animegan_helpers import latent, plotting, share

MOVES = {"hair short to long": 2.0, "eyes cold to warm": -2.0, "mouth closed to open": 1.5}
RATE = """() => Math.max(...[1, 2, 3, 4, 5].map(() => {
    const start = performance.now();
    for (let i = 0; i < 20; i++) paint(base);
    return 20_000 / (performance.now() - start);
}))"""


def main() -> None:
    torch.set_num_threads(1)  # of what `processor` tells: a page's script runs on one core
    text = share.page(*latent.ready())
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "faces.html"
        file.write_text(text, encoding="utf-8")
        options = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox", "--disable-dev-shm-usage"]}
        with playwright.chromium.launch(**options) as browser:
            page = browser.new_page(viewport={"width": 940, "height": 700}, offline=True)
            page.goto(file.as_uri())
            rate, load = page.evaluate(RATE), os.getloadavg()[0]
            for name, far in MOVES.items():
                page.get_by_role("slider", name=name).fill(str(far))
            page.evaluate("() => document.activeElement.blur()")
            page.wait_for_timeout(500)
            shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
            version = browser.version
    shot.quantize(256).save(plotting.RECORDED / "share_page.png", optimize=True)
    caption = (
        f"faces.html of the ready generator ({len(text) / 2**20:.1f} MB), opened from disk in Chromium"
        f" {version.split('.')[0]} with the network off: {rate:.0f} faces a second on {processor()}, {date.today()}."
    )
    moved = ", ".join(f"{name} {far:+g}" for name, far in MOVES.items())
    alt = (
        "A web page: a large generated face with long brown hair above six small ones; beside it the buttons Random"
        f" face, Walk, Reset sliders, Save as PNG, Copy link, and eight sliders ({moved}, all others 0). {caption}"
    )
    told = {"caption": caption, "alt": alt, "faces a second": round(rate, 1), "load": round(load, 1)}
    (plotting.RECORDED / "share_page.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(caption)


if __name__ == "__main__":
    main()
