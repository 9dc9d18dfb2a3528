"""share: a generator becomes weights with a card, and a web page that Chromium opens from disk."""

import base64
import json
import os
import re
import sys
from functools import partial
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from animegan_helpers import checkpoints, latent, measure, recipes, share, training
from animegan_helpers.generator import Generator
from animegan_helpers.preprocess import to_pixels

KINDS = {  # width 3: no number of channels is a multiple of four
    "16, leaky": dict(width=3, z_dim=5, size=16, activation="leaky_relu"),
    "32": dict(width=4, z_dim=8, size=32),
    "64": dict(width=6, z_dim=100, size=64),
    "128": dict(width=2, z_dim=7, size=128),
}


@torch.random.fork_rng(devices=[])
def made(**arguments) -> Generator:
    """A small generator whose batch norm knows what it sees (a fresh one paints uniform grey) and shifts it."""
    torch.manual_seed(0)
    G = Generator(**arguments, start="he")
    for norm in G.net:
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias, 0, 0.5)
    for _ in range(30):
        G(training.codes(64, G.z_dim, 1))
    return G.eval()


@pytest.fixture(scope="module", params=KINDS)
def G(request):
    """One generator of each kind. To be read only."""
    return made(**KINDS[request.param])


@pytest.fixture(scope="module")
def toy():
    """A small generator and two directions. To be read only."""
    return made(width=4, z_dim=8, size=16), {"dark to light": torch.eye(8)[6], "cold to warm": torch.eye(8)[7]}


@pytest.fixture(scope="module")
def steep():
    """A generator whose last weights are too large for half precision. To be read only."""
    G = made(width=4, z_dim=8, size=16)
    G.net[-4].weight.data *= 1e-7  # the last layer makes up for it, so its faces are as before
    G.net[-4].bias.data *= 1e-7
    G.net[-2].weight.data *= 1e7
    return G


@pytest.fixture(scope="module")
def ready():
    return latent.ready()


def model_in(page: str) -> dict:
    return json.loads(re.search(r"^const model = (.*);$", page, flags=re.MULTILINE)[1])


# ---- without batch norm ----


def test_folding_is_what_torchs_own_tool_does(G):
    conv, norm = G.net[3], G.net[4]
    mine, theirs = share.fold(conv, norm), fuse_conv_bn_eval(conv, norm, transpose=True)
    assert torch.allclose(mine.weight, theirs.weight, atol=1e-6) and torch.allclose(mine.bias, theirs.bias, atol=1e-6)


def test_the_folded_network_paints_the_same_faces_and_the_generator_stays_as_it_was(G):
    z, before = training.codes(6, G.z_dim, 2), {name: t.clone() for name, t in G.state_dict().items()}
    net = share.folded(G)
    assert not [part for part in net if isinstance(part, nn.BatchNorm2d)]
    faces = training.paint(G, z)
    assert faces.std() > 0.1 and (net(z[:, :, None, None]) - faces).abs().max() < 1e-5
    assert all(torch.equal(t, before[name]) for name, t in G.state_dict().items())


def test_only_the_packages_generator_can_be_shared(tmp_path):
    with pytest.raises(ValueError, match="Linear can't be shared"):
        share.folded(nn.Linear(2, 2))


# ---- weights ----


def test_weights_come_back_bit_for_bit_with_all_that_is_told(G, tmp_path):
    recipe, ways = recipes.get("paper"), dict(zip("ab", torch.randn(2, G.z_dim)))
    path = checkpoints.write_whole(tmp_path / "g.safetensors", share.weights(G, ways, recipe))
    again, directions = latent.load(path)
    assert not again.training and list(directions) == ["a", "b"]
    assert all(torch.equal(directions[name], ways[name]) for name in ways)
    assert again.state_dict().keys() == G.state_dict().keys()
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in G.state_dict().items())
    z = training.codes(4, G.z_dim, 3)
    assert torch.equal(training.paint(G, z), training.paint(again, z))
    with safe_open(path, "pt") as file:
        assert recipes.from_json(json.loads(file.metadata()["recipe"])) == recipe


def test_loading_leaves_randomness_alone(toy, tmp_path):
    path = checkpoints.write_whole(tmp_path / "g.safetensors", share.weights(*toy))
    torch.manual_seed(5)
    latent.load(path)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize("damage", ["missing", "cut", "pickle", "text", "other"])
def test_what_is_no_shared_generator_is_refused_by_name_and_runs_nothing(toy, tmp_path, damage):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    path = tmp_path / "g.safetensors"
    whole = share.weights(*toy)
    if damage == "pickle":
        torch.save({"weights": Attack()}, path)
    elif damage == "other":  # a safetensors file of another program
        save_file({"weight": torch.zeros(2)}, path)
    elif damage != "missing":
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"I am not a generator")
    with pytest.raises(checkpoints.CheckpointError, match="generator.safetensors|g.safetensors"):
        latent.load(path)
    assert not (tmp_path / "attacked").exists()


# ---- the folder and its card ----


@pytest.fixture
def folder(toy, tmp_path):
    share.write(tmp_path / "out", toy[0], directions=toy[1])
    return tmp_path / "out"


def test_all_files_that_are_promised_are_written_and_no_others(folder):
    assert {path.name for path in folder.iterdir()} == set(share.FILES)


def test_the_card_tells_data_recipe_numbers_and_shows_samples(toy, tmp_path):
    numbers = {"FID": [3.0, 5.0], "FID (real)": [0.5, 0.7]}
    given = dict(directions=toy[1], recipe=recipes.get("ready"), numbers=numbers, data="drawn", title="Mine")
    told = share.write(tmp_path, toy[0], **given)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("---\n") and "\n# Mine\n" in text and "No picture by anybody else was used" in text
    assert "| lr_g | 0.001 |" in text and "| steps | 8704 |" in text and "16x16 pixels" in text
    assert measure.table(numbers) in text and "4.00 ± 1.41" in text and "dark to light, cold to warm" in text
    for name in re.findall(r"\]\((?!http)(.*?)\)|^- `(.*?)`", text, flags=re.MULTILINE):
        assert (tmp_path / "".join(name)).is_file()
    assert all(name in text for name in set(told) - {"README.md"})
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width == 420  # of its caption; the faces are narrower


def test_what_is_not_known_is_said(folder):
    text = (folder / "README.md").read_text()
    assert "**Not told.**" in text and "The recipe was not kept." in text and "Not measured" in text


def test_a_public_sets_card_names_its_page_and_that_nobody_was_asked(toy):
    text = share.card(toy[0], "Mine", {}, toy[1], data="animefacedataset")
    assert "https://www.kaggle.com/datasets/splcher/animefacedataset" in text and "were not asked" in text
    assert "Faces of my own cat." in share.card(toy[0], "Mine", {}, toy[1], data="Faces of my own cat.")


def test_the_cards_python_line_works(folder, monkeypatch):
    line = re.search(r"In Python: `(.*?)`", (folder / "README.md").read_text())[1]
    monkeypatch.chdir(folder)
    names = {"animegan_helpers": sys.modules["animegan_helpers"]}
    exec(line, names)
    assert training.sample(names["G"], 2).shape == (2, 3, 16, 16) and len(names["directions"]) == 2


def test_files_of_an_earlier_sharing_are_replaced_and_others_left_alone(folder, toy):
    (folder / "mine.txt").write_text("keep me")
    share.write(folder, toy[0], directions=toy[1], title="Second")
    assert (folder / "mine.txt").read_text() == "keep me" and "# Second" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", share.FILES)
def test_a_file_that_is_not_ours_is_never_replaced(toy, tmp_path, name):
    (tmp_path / name).write_text("keep me")
    with pytest.raises(FileExistsError, match=re.escape(name)):
        share.write(tmp_path, toy[0], directions=toy[1])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["keep me"]


def test_a_folder_that_cannot_be_is_told(toy, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(checkpoints.CheckpointError, match="file"):
        share.write(tmp_path / "file" / "out", toy[0], directions=toy[1])


def test_the_ready_generator_is_known_with_its_numbers():
    known = share.known()
    assert known["recipe"].name == "ready" and known["data"] == "drawn" and len(known["numbers"]["FID"]) == 3
    assert share.arguments(known["G"]) == dict(width=24, z_dim=128, size=64, activation="relu")


def test_a_run_is_known_with_its_numbers_if_it_was_measured(faces, tmp_path):
    recipe = recipes.get("noisy-labels", width=2, z_dim=4, batch=4, size=16)
    training.train(recipe, faces, tmp_path / "r", steps=1)
    known = share.known(tmp_path / "r")
    assert known["recipe"] == recipe and known["numbers"] is None and "data" not in known
    assert list(known["directions"]) == ["direction 1", "direction 2", "direction 3", "direction 4"]
    assert share.arguments(known["G"]) == dict(width=2, z_dim=4, size=16, activation="leaky_relu")
    (tmp_path / "r" / "measures.json").write_text('{"FID": [1.0]}')
    assert share.known(tmp_path / "r")["numbers"] == {"FID": [1.0]}


# ---- sliders ----


def test_sliders_have_names_where_the_judge_knows_such_faces_and_numbers_elsewhere(ready, toy, monkeypatch):
    monkeypatch.setattr(latent, "attribute_directions", partial(latent.attribute_directions, samples=200))
    assert list(share.sliders(ready[0])) == list(latent.SCALES)
    for strange in (toy[0], made(width=2, z_dim=5)):
        ways = share.sliders(strange)
        assert list(ways)[0] == "direction 1" and len(ways) == min(8, strange.z_dim)
        assert torch.allclose(torch.stack(list(ways.values())).norm(dim=1), torch.ones(len(ways)))


# ---- the web page, as text ----


def test_phases_are_the_transposed_convolution():
    """Each output pixel is gathered from 2x2 input pixels: no network of the page is needed to see it."""
    weight, x = torch.randn(3, 8, 4, 4), torch.randn(1, 3, 5, 5)
    wanted = nn.functional.conv_transpose2d(x, weight, stride=2, padding=1)[0]
    padded, got = nn.functional.pad(x, (1, 1, 1, 1))[0], torch.zeros(8, 10, 10)
    for down, right in np.ndindex(2, 2):
        kernel = share.phases(weight)[down, right]  # (2, 2, 2, 3, 4): block, tap, tap, input, output of the block
        for i, j in np.ndindex(5, 5):
            seen = padded[:, i + down : i + down + 2, j + right : j + right + 2]
            got[:, 2 * i + down, 2 * j + right] = torch.einsum("brsxo,xrs->bo", kernel, seen).flatten()
    assert torch.allclose(got, wanted, atol=1e-5)


def test_the_page_asks_for_nothing_from_anywhere(toy):
    text = share.page(*toy)
    script = re.sub(r"^const model = .*$", "", text, flags=re.MULTILINE)
    for word in ("http:", "https:", "//cdn", "fetch(", "XMLHttpRequest", "WebSocket", "import ", "import(", " src=",
                 "url(", 'type="module"', "{{"):  # fmt: skip
        assert word not in script, word
    assert "default-src 'none'" in text
    assert re.findall(r"<link.*?>", text) == ['<link rel="icon" href="data:,">']


def test_names_and_titles_cannot_break_out_of_the_page(toy):
    name, title = "</script><b>", "<b>Me & you</b>"
    text = share.page(toy[0], {name: torch.eye(8)[0]}, title)
    assert list(model_in(text)["directions"]) == [name] and text.count("</script>") == 1
    assert unescape(re.search(r"<title>(.*)</title>", text)[1]) == title and title not in text


def test_weights_go_in_half_precision_where_that_cannot_be_seen(ready):
    text = share.page(*ready)
    assert model_in(text)["bits"] == 16 and len(text) < 2.2 * 2**20
    off = int(re.search(r"no pixel\s+differs from PyTorch's by more than (\d+) of 255", text)[1])
    assert off <= 2


def test_weights_that_half_precision_would_change_stay_single(steep, toy):
    text = share.page(steep, toy[1])
    assert model_in(text)["bits"] == 32 and "32 bits each" in text


def test_the_pages_first_face_is_a_code_in_steps_of_a_32nd(toy):
    code = training.codes(1, 8, 4)[0] * 8
    text, moves = share.link(code, toy[1])[1:].split(".")
    assert code.abs().max() > 4
    numbers = np.frombuffer(base64.urlsafe_b64decode(text + "=="), np.int8)
    assert np.abs(numbers / 32 - code.clamp(-127 / 32, 127 / 32).numpy()).max() <= 1 / 64 and moves == "0_0"


# ---- the web page, in a browser without a network ----


class Opened:
    """The page in a tab, opened from disk; what it asks for and complains of is written down."""

    def __init__(self, context, path: Path, G, directions: dict, end: str = ""):
        self.G, self.directions, self.asked, self.complaints = G, directions, [], []
        self.page = context.new_page()
        context.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda said: self.complaints.extend([said.text] * (said.type == "error")))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.address = path.resolve().as_uri()
        self.page.goto(self.address + end)
        self.settle()

    def settle(self):
        """Until the next frame is painted, and the address is up to date."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 300)))")

    def pixels(self) -> np.ndarray:
        seen = self.page.evaluate("() => Array.from(canvas.getContext('2d').getImageData(0, 0, size, size).data)")
        size = share.arguments(self.G)["size"]
        pixels = np.array(seen).reshape(size, size, 4)
        assert (pixels[..., 3] == 255).all()
        return pixels[..., :3]

    def off(self, code) -> int:
        """-> how far, of 255, the face that is seen is from torch's face of that code, at the worst pixel."""
        return np.abs(self.pixels() - to_pixels(training.paint(self.G, code[None]))[0].numpy().astype(int)).max()

    def end(self) -> str:
        return self.page.url.partition("#")[2]

    def press(self, name: str, key: str = "ArrowRight"):
        self.page.get_by_role("slider", name=name, exact=True).press(key)
        self.settle()

    def click(self, name: str):
        self.page.get_by_role("button", name=name, exact=True).click()
        self.settle()

    def told(self) -> str:
        return self.page.get_by_role("status").inner_text()


@pytest.fixture(scope="module")
def offline(chromium):
    """A window of the browser that has no network."""
    context = chromium.new_context(viewport={"width": 1100, "height": 900}, offline=True, has_touch=True,
                                   permissions=["clipboard-read", "clipboard-write"])  # fmt: skip
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture(scope="module")
def start(ready):
    """A code as the page keeps it: in steps of a 32nd."""
    return (32 * training.codes(1, 128, 6)[0]).round() / 32


@pytest.fixture
def opened(offline, ready, start, tmp_path):
    path = checkpoints.write_whole(tmp_path / "a folder, größer" / "faces.html", share.page(*ready).encode())
    one = Opened(offline, path, *ready, end=share.link(start, ready[1]))
    yield one
    assert one.complaints == [] and {url.partition("#")[0] for url in one.asked if url[:5] != "data:"} <= {one.address}
    one.page.close()


def test_sliders_move_the_face_by_keyboard_as_torch_says(opened, start):
    assert opened.off(start) <= 2
    for i, (name, way) in enumerate(opened.directions.items()):
        before = opened.pixels()
        opened.press(name, "PageUp")
        opened.press(name)
        far = float(opened.page.get_by_role("slider", name=name, exact=True).input_value())
        assert far > 0.5 and (opened.pixels() != before).any()
        assert opened.off(start + far * way) <= 2
        assert opened.end().split(".")[1].split("_")[i] == str(round(10 * far))
        said = opened.page.get_by_role("img").get_attribute("aria-label")
        assert said == f"A generated face, {name} +{far:.1f}"
        opened.click("Reset sliders")
        assert opened.off(start) <= 2


def test_touch_moves_a_slider_too(opened, start):
    slider = opened.page.get_by_role("slider", name="hair dark to light", exact=True)
    box = slider.bounding_box()
    opened.page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    opened.settle()
    far = float(slider.input_value())
    assert 1.5 < far < 2.5 and opened.off(start + far * opened.directions["hair dark to light"]) <= 2


def test_random_and_other_faces_are_new_ones_and_all_sliders_go_back(opened, start):
    opened.press("mouth closed to open", "End")
    seen = [opened.pixels()]
    for name in ("Random face", "Other face 2", "Other face 6"):
        opened.click(name)
        assert opened.end().endswith(".0_0_0_0_0_0_0_0")
        assert all(np.abs(opened.pixels() - other).mean() > 5 for other in seen)
        seen.append(opened.pixels())


def test_a_link_shows_the_very_face_again(opened, offline, ready):
    opened.click("Random face")
    opened.press("glasses off to on", "End")
    opened.press("hair cold to warm", "PageDown")
    opened.click("Copy link")
    link = opened.page.evaluate("() => navigator.clipboard.readText()")
    assert "Copied" in opened.told() and link == opened.page.url
    again = offline.new_page()
    again.goto(link)
    again.wait_for_timeout(300)
    opened.page, first = again, opened.pixels()
    assert np.array_equal(opened.pixels(), first) and "_40" in opened.end()


def test_a_link_of_another_generator_is_told_and_changes_nothing(opened, start):
    for end in ("#abc.0", "#" + "A" * 171 + ".0_0", "#%3Cb%3E"):
        opened.page.evaluate("end => { location.hash = end }", end)
        opened.settle()
        assert "not one of this generator" in opened.told() and opened.off(start) <= 2


def test_a_walk_goes_in_small_steps_until_it_is_stopped(opened, start):
    button = opened.page.get_by_role("button", name="Walk", exact=True)
    button.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    ways = [opened.pixels()]
    for _ in range(4):
        opened.settle()
        ways.append(opened.pixels())
    assert all((a != b).any() for a, b in zip(ways, ways[1:]))
    button.press("Enter")
    opened.settle()
    still = opened.pixels()
    assert button.get_attribute("aria-pressed") == "false" and opened.off(start) > 2
    base = np.frombuffer(base64.urlsafe_b64decode(opened.end().split(".")[0] + "="), np.int8)
    assert opened.off(torch.from_numpy(base / np.float32(32))) <= 2
    opened.settle()
    assert np.array_equal(opened.pixels(), still)


def test_save_gives_the_face_as_a_large_png(opened):
    with opened.page.expect_download() as download:
        opened.click("Save as PNG")
    assert download.value.suggested_filename == "face.png" and "Saved" in opened.told()
    with Image.open(BytesIO(Path(download.value.path()).read_bytes())) as picture:
        assert picture.format == "PNG" and picture.size == (512, 512)
        small = np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.BOX), int)
    assert np.abs(small - opened.pixels()).mean() < 8


def test_the_page_lets_nothing_in_or_out(opened):
    tried = "address => fetch(address).then(() => 'loaded', () => 'refused')"
    assert opened.page.evaluate(tried, "data:,x") == opened.page.evaluate(tried, opened.address) == "refused"
    assert all("Content Security Policy" in told for told in opened.complaints)
    opened.complaints.clear()


def test_every_kind_of_generator_is_painted_as_torch_paints_it(G, offline, tmp_path):
    ways = share.sliders(G)
    path = checkpoints.write_whole(tmp_path / "faces.html", share.page(G, ways).encode())
    for seed in (1, 2, 3):
        code = (32 * training.codes(1, G.z_dim, seed)[0]).round() / 32
        one = Opened(offline, path, G, ways, share.link(code, ways))
        assert one.complaints == [] and one.off(code) <= 2
        one.page.close()


def test_single_precision_is_read_too(steep, toy, offline, tmp_path):
    path = checkpoints.write_whole(tmp_path / "faces.html", share.page(steep, toy[1]).encode())
    code = (32 * training.codes(1, 8, 1)[0]).round() / 32
    one = Opened(offline, path, steep, toy[1], share.link(code, toy[1]))
    assert one.complaints == [] and one.off(code) <= 1
    one.page.close()


def test_how_many_faces_a_second_the_browser_paints(opened, capsys):
    """A number for the log; how fast it is on a busy machine, proves nothing."""
    rate = opened.page.evaluate("""() => {
        for (let i = 0; i < 20; i++) paint(base);
        const start = performance.now();
        for (let i = 0; i < 50; i++) paint(base);
        return 50_000 / (performance.now() - start);
    }""")
    with capsys.disabled():
        print(f"\nthe web page paints {rate:.0f} faces a second at width 24, load {os.getloadavg()[0]:.1f}")
    assert re.search(r"Here a face takes \d+ ms\.", opened.page.locator("footer").inner_text())
