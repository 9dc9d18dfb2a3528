"""The page that trains in a browser: its gradients are PyTorch's, and it learns."""

import base64
import copy
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from common import missing
from torch.optim.swa_utils import update_bn

from animegan_helpers import trainer
from animegan_helpers.discriminator import Discriminator
from animegan_helpers.generator import Generator, generate
from animegan_helpers.losses import Relativistic, r1_penalty

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "browser"))
import build  # noqa: E402

pytestmark = pytest.mark.slow
PAGE = ROOT / "docs" / "train.html"
ENGINES = ("WebAssembly", "plain JavaScript")
BATCH = 16

# Tensors travel as base64 text: lists of numbers would take seconds.
TEXT = """() => {
    window.unpack = text => new Float32Array(decode(text).buffer);
    window.pack = tensor => {
        const bytes = new Uint8Array(tensor.slice().buffer);
        return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
    };
}"""
# The engine's code is also a script of the page, so that tests can call it there.
PREPARE = """async ({isFast, G, D}) => {
    if (await useKernel(isFast ? decode(KERNEL) : null) !== isFast) throw Error("no kernel");
    freeTensors();
    window.trainer = new Trainer(new Uint8Array(16 * 3072), {width: 8});
    const load = (network, values) => network.parameters().forEach(
        ({value}, i) => value.set(unpack(values[i])));
    load(trainer.G, G);
    load(trainer.ema, G);
    load(trainer.D, D);
}"""
ONE_STEP = """([real, z]) => {
    const {G, D, optG, optD} = trainer;
    const numbers = trainStep(
        G, D, optG, optD, unpack(real), unpack(z), 16,
        {loss: Relativistic, rateG: 0, rateD: 0, r1: 2});
    const gradients = network => network.parameters().map(({gradient}) => pack(gradient));
    return {...numbers, G: gradients(G), D: gradients(D)};
}"""
# Faults, each in one gradient.
FLIP = """name => {
    const {prototype} = {Conv2d, ConvTranspose2d, BatchNorm2d}[name], right = prototype.backward;
    prototype.backward = function (dy, count, options) {
        const result = right.call(this, dy, count, options);
        if (options.weights) this.weight.gradient.forEach((x, i, all) => { all[i] = -x; });
        return result;
    };
    window.repair = () => { prototype.backward = right; };
}"""
FLIP_INPUT = """() => {
    const {prototype} = LeakyReLU, right = prototype.backward;
    prototype.backward = function (dy, count) { return right.call(this, dy, count).map(x => -x); };
    window.repair = () => { prototype.backward = right; };
}"""
FLIP_R1 = """() => {
    const right = r1Penalty;
    r1Penalty = (D, real, count, weight) => right(D, real, count, -weight);
    window.repair = () => { r1Penalty = right; };
}"""
LEARN = """({isFast, steps}) => (async () => {
    await useKernel(isFast ? decode(KERNEL) : null);
    freeTensors();
    const { images } = await readSheets(), count = 1024;
    const real = Float32Array.from(images.subarray(0, count * 3072), byte => byte / 127.5 - 1);
    const statistics = colorStatistics(thumbnails(real, count), count);
    const trainer = new Trainer(images, {width: 8, seed: 0});
    const distance = () => colorDistance(
        colorStatistics(thumbnails(trainer.fixedFaces(), 64), 64), statistics);
    const before = distance();
    for (let i = 0; i < steps; i++) trainer.step();
    return [before, distance()];
})()"""


# ---- PyTorch's numbers in the order of the engine ----


def to_engine(tensor: torch.Tensor, transposed: bool) -> torch.Tensor:
    """A weight or bias -> the same numbers, flat, as engine.js stores them."""
    if tensor.dim() == 4:  # (out, in, 4, 4), or (in, out, 4, 4) of a transposed convolution
        tensor = tensor.permute(0, 2, 3, 1) if transposed else tensor.permute(2, 3, 1, 0)
    return tensor.detach().flatten()


def pack(tensor: torch.Tensor) -> str:
    return base64.b64encode(tensor.numpy().tobytes()).decode()


def unpack(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32)


def nhwc(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 2, 3, 1).contiguous()


@pytest.fixture(scope="module")
def networks():
    """Both networks at 32 pixels, width 8, with biases that are not 0. Read-only."""
    torch.manual_seed(5)
    G = Generator(width=8, z_dim=32, size=32)
    D = Discriminator(width=8, size=32, norm="none", init="he")
    for network in (G, D):
        for weight in network.parameters():
            if weight.dim() == 1:
                weight.data += 0.1 * torch.randn_like(weight)
    G.net[-2].weight.data *= 5  # so that tanh is not almost linear
    return G, D


@pytest.fixture(scope="module")
def expected(networks):
    """-> real images, z, and the package's losses and gradients for one step with R1."""
    G, D = copy.deepcopy(networks)
    real = torch.rand(BATCH, 3, 32, 32) * 2 - 1
    z = torch.randn(BATCH, 32)
    gradients = {}

    def keep_gradients(network, loss):
        network.zero_grad()
        loss.backward()
        name = "G" if network is G else "D"
        gradients[name] = [
            to_engine(weight.grad, transposed=name == "G") for weight in network.parameters()
        ]

    options = {"loss": Relativistic(), "r1": 2.0, "descend": keep_gradients}
    numbers = trainer.train_step(G, D, G, D, real, z, **options)
    return real, z, gradients, [number.item() for number in numbers]


# ---- the page in a browser without a network ----


class OpenPage:
    """The page in a tab, opened from disk. Its requests and its errors are recorded."""

    def __init__(self, context, end=""):
        self.requests = []
        self.errors = []
        self.page = context.new_page()
        self.page.on("console", self._record_message)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("worker", lambda worker: self.requests.append(worker.url))
        self.page.goto(PAGE.as_uri() + end)
        self.button("Train").wait_for()
        self.page.locator("#faces .train:enabled").wait_for()

    def _record_message(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def panel(self):
        return self.page.get_by_role("tabpanel")

    def button(self, name):
        return self.panel().get_by_role("button", name=name, exact=True)

    def press(self, name, key="Enter"):
        self.button(name).press(key)

    def slider(self, name):
        return self.panel().get_by_role("slider", name=name)

    def step(self) -> int:
        return int(self.panel().locator(".at-step").inner_text().replace(",", ""))

    def status(self) -> str:
        return self.panel().get_by_role("status").inner_text()

    def wait_until(self, condition, seconds=120):
        """Until the condition, a function, returns true."""
        for _ in range(20 * seconds):
            if condition():
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"nothing after {seconds} s: step {self.step()}, {self.status()}")


@pytest.fixture(scope="module")
def offline(chromium):
    """A window of the browser that has no network."""
    context = chromium.new_context(
        viewport={"width": 1100, "height": 900}, offline=True, has_touch=True
    )
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture(scope="module")
def opened(offline):
    """The page. It may not request anything or log an error."""
    opened = OpenPage(offline, "#width=8")
    opened.page.evaluate(TEXT)
    yield opened
    assert opened.errors == []
    for url in opened.requests:
        assert url.startswith(("data:", "blob:")) or url.partition("#")[0] == PAGE.as_uri()
    opened.page.close()


# ---- the engine ----


def prepare(opened, networks, engine):
    G, D = networks
    weights = {
        "G": [pack(to_engine(weight, transposed=True)) for weight in G.parameters()],
        "D": [pack(to_engine(weight, transposed=False)) for weight in D.parameters()],
    }
    opened.page.evaluate(PREPARE, {"isFast": engine == "WebAssembly", **weights})


def largest_error(opened, expected) -> float:
    """One step in the browser -> the largest relative error of the gradient of any weight."""
    real, z, gradients, numbers = expected
    result = opened.page.evaluate(ONE_STEP, [pack(nhwc(real)), pack(z)])
    errors = []
    for name in ("G", "D"):
        for ours, theirs in zip(result[name], gradients[name], strict=True):
            errors.append(((unpack(ours) - theirs).norm() / theirs.norm()).item())
    names = ("lossD", "lossG", "scoreReal", "scoreFake")
    assert [result[name] for name in names] == pytest.approx(numbers, rel=1e-4)
    return max(errors)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_gradients_of_one_step_with_r1_are_those_of_pytorch(
    opened, networks, expected, engine, capsys
):
    prepare(opened, networks, engine)
    error = largest_error(opened, expected)
    with capsys.disabled():
        print(f"\n{engine}: largest relative error of a gradient {error:.1e}")
    assert error < 1e-3


@pytest.mark.parametrize("layer", ["Conv2d", "ConvTranspose2d", "BatchNorm2d", "LeakyReLU", "R1"])
def test_a_gradient_with_the_wrong_sign_is_noticed(opened, networks, expected, layer):
    prepare(opened, networks, "WebAssembly")
    if layer == "LeakyReLU":
        opened.page.evaluate(FLIP_INPUT)
    elif layer == "R1":
        opened.page.evaluate(FLIP_R1)
    else:
        opened.page.evaluate(FLIP, layer)
    try:
        assert largest_error(opened, expected) > 0.1
    finally:
        opened.page.evaluate("() => repair()")
    prepare(opened, networks, "WebAssembly")
    assert largest_error(opened, expected) < 1e-3


def test_r1_is_that_of_pytorch_without_second_derivatives(opened, networks, expected):
    prepare(opened, networks, "WebAssembly")
    real = expected[0]
    script = "real => r1Penalty(trainer.D, unpack(real), 16)"
    penalty = opened.page.evaluate(script, pack(nhwc(real)))
    assert penalty == pytest.approx(r1_penalty(networks[1], real).item(), rel=1e-4)


def test_adam_is_that_of_pytorch(opened):
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    optimizer = torch.optim.Adam([weight], 2e-3, betas=(0.5, 0.99))
    gradients = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    script = """gradients => {
        const parameter = new Parameter(4);
        parameter.value.set([1, -2, 0.5, 3]);
        const adam = new Adam({parameters: () => [parameter]}, [0.5, 0.99]);
        for (const gradient of gradients) { parameter.gradient.set(gradient); adam.step(2e-3); }
        return Array.from(parameter.value);
    }"""
    assert opened.page.evaluate(script, gradients.tolist()) == pytest.approx(weight.tolist())


def test_the_ema_generator_gives_the_faces_of_pytorch(opened, networks):
    prepare(opened, networks, "WebAssembly")
    script = """() => [trainer.statisticsZ, trainer.fixedZ, trainer.fixedFaces()]
        .map(pack)"""
    statistics, fixed, faces = map(unpack, opened.page.evaluate(script))
    G = copy.deepcopy(networks[0])
    update_bn(statistics.view(4, 64, 32), G)
    theirs = generate(G.eval(), fixed.view(64, 32)).permute(0, 2, 3, 1)
    ours = faces.view(64, 32, 32, 3)
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() < 1e-3


def color_distances(opened) -> tuple[float, float]:
    """The color distance of 64 generated faces to the real ones, before and after 120 steps."""
    return opened.page.evaluate(LEARN, {"isFast": True, "steps": 120})


def test_training_learns_the_colors_of_faces(opened, capsys):
    before, after = color_distances(opened)
    with capsys.disabled():
        print(f"\ncolor distance {before:.3f}, after 120 steps {after:.3f}")
    assert after < before / 2.5


def test_training_with_a_wrong_sign_does_not_learn(opened):
    opened.page.evaluate(FLIP, "ConvTranspose2d")
    try:
        before, after = color_distances(opened)
    finally:
        opened.page.evaluate("() => repair()")
    assert after > before / 1.5


# ---- the page ----


def test_all_controls_work_by_keyboard(opened):
    opened.press("Train")
    opened.wait_until(lambda: opened.step() > 20)
    opened.press("Pause")
    opened.wait_until(lambda: "Paused" in opened.status())
    opened.page.wait_for_timeout(1000)
    paused = opened.step()
    opened.press("Step", "Space")
    opened.wait_until(lambda: opened.step() == paused + 1)
    rate = opened.slider("Learning rate")
    rate.press("ArrowRight")
    assert rate.get_attribute("aria-valuetext") == "0.0022"
    for name in ("R1", "EMA"):
        switch = opened.panel().get_by_role("switch", name=name)
        switch.press("Space")
        assert not switch.is_checked()
        switch.press("Space")
    film = opened.slider("Film")
    frames = int(film.get_attribute("max"))
    assert frames >= 2
    film.press("Home")
    assert film.get_attribute("aria-valuetext") == "step 0, earlier"
    film.press("End")
    assert film.get_attribute("aria-valuetext") == f"step {paused + 1}"
    score = opened.panel().locator("#at-score")
    assert score.inner_text().endswith("%")
    opened.press("Reset")
    opened.wait_until(lambda: opened.step() == 0)
    assert "New networks" in opened.status()
    assert score.inner_text() == "-"
    rate.press("ArrowLeft")


def test_it_breaks_on_purpose_and_recovers(opened):
    variety = opened.panel().locator("#at-variety")
    opened.press("Train")
    opened.wait_until(lambda: opened.step() >= 150)
    healthy = float(variety.inner_text())
    opened.press("Break it")
    assert "Broken on purpose" in opened.status()
    opened.wait_until(lambda: "mode collapse" in opened.status())
    assert float(variety.inner_text()) < healthy / 2
    opened.press("Recover")
    opened.wait_until(lambda: float(variety.inner_text()) > healthy / 2)  # a later view
    assert "Recovered: the weights of step" in opened.status()
    opened.press("Pause")
    opened.wait_until(lambda: float(variety.inner_text()) > 0.8 * healthy)
    opened.press("Reset")
    opened.wait_until(lambda: opened.step() == 0)


def test_the_game_in_two_dimensions_finds_the_clusters_in_seconds(opened):
    opened.page.get_by_role("tab", name="Faces").press("ArrowRight")
    opened.press("Train")
    opened.wait_until(lambda: opened.step() >= 1000)
    opened.wait_until(lambda: opened.panel().locator("#at-clusters").inner_text() >= "7 of 8")
    opened.press("Break it")
    opened.wait_until(lambda: "mode collapse" in opened.status())
    opened.press("Recover")
    opened.wait_until(lambda: opened.panel().locator("#at-clusters").inner_text() >= "7 of 8")
    opened.press("Pause")
    opened.page.get_by_role("tab", name="Points").press("ArrowLeft")


def test_the_page_trains_without_webassembly_too(offline):
    opened = OpenPage(offline, "#engine=plain&width=8")
    opened.press("Train")
    opened.wait_until(lambda: opened.step() > 2)
    assert "plain JavaScript" in opened.page.locator("footer").inner_text()
    assert opened.errors == []
    opened.page.close()


@pytest.mark.parametrize("width", [360, 700])
def test_nothing_is_wider_than_the_screen_of_a_phone(opened, width):
    opened.page.set_viewport_size({"width": width, "height": 800})
    for tab in ("Points", "Faces"):
        opened.page.get_by_role("tab", name=tab).tap()
        assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= width
    opened.page.set_viewport_size({"width": 1100, "height": 900})


def test_the_page_lets_nothing_in_or_out(offline):
    opened = OpenPage(offline)
    attempt = "address => fetch(address).then(() => 'loaded', () => 'refused')"
    assert opened.page.evaluate(attempt, "data:,x") == "refused"
    assert opened.page.evaluate(attempt, PAGE.as_uri()) == "refused"
    assert all("Content Security Policy" in error for error in opened.errors)
    opened.page.close()


# ---- the page without a browser ----


def in_node(script, pixel_sum=0):
    """Run JavaScript beside the page in Node (see page_in_node.mjs) -> what it returns."""
    node = shutil.which("node")
    if not node:
        missing("Node was not found")
    command = [node, Path(__file__).parent / "page_in_node.mjs", script, str(pixel_sum)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("press", ["faces.reset()", "get('width').onchange()"])
def test_new_networks_are_trained_with_the_settings_that_the_page_shows(press):
    script = f"""
        page("get('rate').value = -2; get('r1').checked = get('ema').checked = false");
        page("faces.change()");
        page("get('width').value = '12'; {press}; faces.step()");
        return worker("({{...game.settings, ...asked.at(-1)}})");
    """
    settings = in_node(script)
    assert settings["rate"] == 0.01
    assert settings["useR1"] is False and settings["useEma"] is False
    assert settings["run"] == 1
    assert settings["width"] == (12 if "width" in press else 8)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_looking_again_at_the_same_step_costs_no_frame_of_the_film(every):
    looks = "for (let i = 0; i < 6; i++) page(`faces.send('look')`);"
    script = f"""
        const film = () => page("faces.film.map(({{ step }}) => step)"), films = [];
        page("faces.every = {every}; faces.views = 0");
        for (let steps = 1; steps <= 9; steps++) {{
            page("faces.step()");
            const before = film();
            {looks}
            films.push([before, film()]);
        }}
        return films;
    """
    for steps, (before, after) in enumerate(in_node(script), 1):
        permanent = [0, *range(1, steps + 1, every)]
        assert before == after == sorted({*permanent, steps})


@pytest.mark.parametrize("game", ["faces", "points"])
def test_recovering_names_the_step_whose_weights_are_back(game):
    script = f"""
        page("{game}.train()");
        worker("for (let i = 0; i < 7; i++) takeStep()", "{game}");  // without a view
        page("{game}.break()");
        const first = page("{game}.broken[0][0]");
        worker("for (let i = 0; i < 5; i++) takeStep()", "{game}");
        page("{game}.break()");
        const trained = worker("game.trainer.trained", "{game}");
        return [first, trained, page("{game}.find('status').textContent")];
    """
    first, trained, status = in_node(script)
    assert first == trained == 7
    assert "the weights of step 7 are back" in status


@pytest.mark.parametrize("game", ["faces", "points"])
def test_a_reset_ends_a_warning_and_asks_for_training(game):
    script = f"""
        page("{game}.say('Warning: ...', true); {game}.warned = true; {game}.reset()");
        worker("sendView()", "{game}");
        return page("{game}.find('status').textContent");
    """
    assert "Press Train." in in_node(script)


@pytest.mark.parametrize("pixel_sum, is_altered", [(0, False), (7, True)])
def test_a_browser_that_changes_pixels_is_named_until_training_begins(pixel_sum, is_altered):
    status = in_node("return page(`faces.find('status').textContent`)", pixel_sum)
    assert "Press Train." in status
    assert ("changes the pixels" in status) == is_altered


def test_a_chosen_frame_of_the_film_stays_chosen_when_every_second_one_is_dropped():
    script = """
        const frame = () => page("faces.film[get('film').value].step"), frames = [];
        for (let step = 1; step <= 300; step++) {
            page("faces.step()");
            if (step === 60) page("get('film').value = 50; faces.showFrame()");
            if (step >= 60) frames.push(frame());
        }
        return frames;
    """
    frames = in_node(script)
    assert len(frames) == 241 and max(frames) - min(frames) <= 1


def test_a_warning_ends_with_its_cause():
    script = """
        const said = [];
        const warn = (variety, isBroken = false) => {
            const data = { variety, realVariety: 0.2, step: 300, isBroken };
            page(`faces.warn(${JSON.stringify(data)})`);
            said.push(page("faces.find('status').textContent"));
        };
        page("faces.train()");
        warn(0.01);
        warn(0.19);
        page("faces.lossD = [NaN]");
        warn(0.19);
        page("faces.broken = [[0, 1]]");  // broken at step 0, recovered at step 1
        warn(0.19);
        warn(0.01, true);  // a view of the broken game, sent before Recover was pressed
        return said;
    """
    collapse, healthy, not_finite, recovered, late = in_node(script)
    assert "mode collapse" in collapse and "not finite" in not_finite
    assert healthy == recovered == late == "Training."


# ---- the file ----


def test_the_page_is_what_build_makes():
    """All but the faces is compared byte by byte; every 64th face is drawn again."""
    html = PAGE.read_text(encoding="utf-8")
    sheets = build.sheets_in(html)
    assert build.page(sheets) == html, "run `python browser/build.py --keep`"
    faces = np.concatenate([build.from_sheet(sheet) for sheet in sheets])
    assert faces.shape == (build.COUNT, 32, 32, 3)
    for index in range(0, build.COUNT, 64):
        assert np.abs(faces[index].astype(int) - build.face(index)).mean() < 1


def test_a_sheet_loses_nothing():
    colors = np.random.default_rng(0).integers(0, 256, (64, 32, 1, 3), np.uint8)
    faces = np.repeat(colors, 32, axis=2)
    assert np.array_equal(build.from_sheet(build.to_sheet(faces)), faces)


def test_the_page_is_one_file_below_2_megabytes():
    html = PAGE.read_text(encoding="utf-8")
    assert len(html.encode()) < 2_000_000
    for text in ("http:", "https:", "//cdn", "url(", "import(", "importScripts", "{{"):
        assert text not in html
    kernel = base64.b64encode((ROOT / "browser" / "kernel.wasm").read_bytes()).decode()
    assert kernel in html
    assert json.loads(html.split("const FACES = ")[1].split(";")[0])["count"] == build.COUNT
    assert math.isclose(build.COUNT, 3000, abs_tol=1000)
