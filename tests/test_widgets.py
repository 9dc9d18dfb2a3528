"""widgets: a run becomes an image that changes, and sliders move a latent vector."""

import ast
import inspect
import io
import re
import sys
from html import unescape
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from small_generators import small_generator, two_directions

from animegan_helpers import controls, plotting, recipes, widgets
from animegan_helpers.generator import generate, sample_z
from animegan_helpers.history import Log
from animegan_helpers.pretrained import load_pretrained
from animegan_helpers.training import train

# ---- the live view ----


class Handle:
    """A display handle that keeps a record of its updates."""

    def __init__(self, events):
        self.events = events

    def update(self, figure):
        self.events.append(("update", figure))


@pytest.fixture
def events(monkeypatch):
    """-> the list of all that is displayed or updated; outside a notebook nothing is visible."""
    events = []

    def display(figure, display_id):
        events.append(("display", figure))
        return Handle(events)

    monkeypatch.setattr(widgets, "display", display)
    return events


def train_with_live_view(faces, run, seconds):
    recipe = recipes.get("bce", width=2, z_dim=4, batch=4, size=16)
    train(recipe, faces, run, steps=4, callback=widgets.LiveView(seconds))


def gray_faces(count=64):
    return torch.zeros(count, 3, 16, 16)


def random_faces(count=64):
    return torch.rand(count, 3, 16, 16)


def log_of(steps, score_real, score_fake):
    """-> the log of a run whose scores were always the same."""
    numbers = {"loss_d": 0.01, "loss_g": 9.0, "score_real": score_real, "score_fake": score_fake}
    return Log(rows=[{"step": step, **numbers} for step in range(1, steps + 1)])


def test_one_image_is_displayed_and_then_updated(events, faces, tmp_path):
    train_with_live_view(faces, tmp_path, seconds=0)
    assert [event for event, _ in events] == ["display", *["update"] * 4]
    assert all(isinstance(figure, plotting.Figure) for _, figure in events)
    assert "Step 1," in events[0][1].caption
    assert "Step 4," in events[-1][1].caption


def test_it_is_not_updated_at_every_step_but_always_at_the_end(events, faces, tmp_path):
    train_with_live_view(faces, tmp_path, seconds=1e6)
    assert len(events) <= 2
    assert "Step 4," in events[-1][1].caption


def test_of_a_long_history_some_hundred_points_are_shown(monkeypatch, events):
    shown = []
    monkeypatch.setattr(plotting, "live", lambda faces, rows, caption: shown.append(rows))
    trainer = SimpleNamespace(fixed_faces=gray_faces, steps_done=4000, seconds=60.0)
    for steps in (400, 4000):
        widgets.LiveView(0)(trainer, log_of(steps, 0.6, 0.4))
    assert [len(rows) for rows in shown] == [400, 445]


@pytest.mark.parametrize("size", [16, 32, 128])
def test_faces_of_any_size_are_shown_at_least_64_pixels_wide(monkeypatch, events, size):
    grids = []
    monkeypatch.setattr(plotting, "live", lambda faces, rows, caption: grids.append(faces))
    trainer = SimpleNamespace(
        fixed_faces=lambda count: torch.zeros(count, 3, size, size), steps_done=4, seconds=1.0
    )
    widgets.LiveView(0)(trainer, log_of(4, 0.6, 0.4))
    assert grids[0].width >= 8 * 66


def test_a_run_that_ends_before_its_first_step_shows_nothing(events):
    trainer = SimpleNamespace(fixed_faces=gray_faces, steps_done=0, seconds=0.0)
    log = Log()
    log.finished = True
    widgets.LiveView(0)(trainer, log)
    assert events == []


def test_the_caption_warns_of_what_goes_wrong(events):
    trainer = SimpleNamespace(fixed_faces=gray_faces, steps_done=400, seconds=60.0)
    widgets.LiveView(0)(trainer, log_of(400, score_real=1.0, score_fake=0.0))
    figure = events[0][1]
    assert "Step 400, 60 seconds" in figure.caption
    assert figure.caption.count("WARNING: ") == 2
    assert "WARNING: D has won" in figure.caption
    assert "WARNING: mode collapse" in figure.caption
    assert figure.caption in figure.alt


def test_the_caption_of_a_good_run_has_no_warning(events):
    trainer = SimpleNamespace(fixed_faces=random_faces, steps_done=400, seconds=60.0)
    widgets.LiveView(0)(trainer, log_of(400, score_real=0.1, score_fake=0.0))
    assert "WARNING" not in events[0][1].caption


# ---- the explorer ----


@pytest.fixture(scope="module")
def toy():
    """A small generator and two directions. Read-only."""
    return small_generator(width=4, z_dim=8, size=16), two_directions()


@pytest.fixture
def explorer(toy, home):
    return widgets.Explorer(*toy, seed=3)


@pytest.mark.parametrize("seed", [-1, 1_000_000, 2_000_000])
def test_an_explorer_of_a_seed_that_its_control_lacks_is_refused(seed, toy):
    with pytest.raises(ValueError, match=f"seed {seed}, .*choose a seed from 0 to 999999"):
        widgets.Explorer(*toy, seed=seed)
    for edge in (0, 999_999):
        explorer = widgets.Explorer(*toy, seed=edge)
        explorer.reset()
        assert explorer.controls.seed.value == edge


@pytest.fixture
def images(explorer):
    """-> the list of all images that the explorer has shown since."""
    images = []
    explorer.image.observe(lambda change: images.append(change.new), "value")
    return images


@pytest.fixture
def generated(explorer, monkeypatch):
    """-> the list of all latent vectors whose faces the explorer has shown since."""
    generated = []
    show = explorer._show

    def record(z):
        generated.append(z)
        show(z)

    monkeypatch.setattr(explorer, "_show", record)
    return generated


def press(explorer, name):
    """Click the button of that name."""
    for button in explorer.controls.buttons:
        if button.description == name:
            button.click()
            return
    raise AssertionError(f"no button {name}")


def read_png(content):
    return Image.open(io.BytesIO(content)).convert("RGB")


def test_each_control_changes_the_image_once(explorer, images, generated):
    sliders = explorer.controls.sliders
    for slider in sliders.values():
        slider.value = 2.0
    explorer.controls.truncation.value = 0.5
    explorer.controls.seed.value = 4
    assert len(generated) == len(sliders) + 2
    assert len(images) == len(generated)
    assert len(set(images)) == len(images)


def test_several_controls_set_at_once_generate_once(explorer, generated):
    explorer.go(5, truncation=0.7, offsets={"dark to light": 1.5, "component 2": -2.0})
    assert len(generated) == 1
    assert explorer.offsets() == {"dark to light": 1.5, "component 2": -2.0}
    assert explorer.controls.truncation.value == 0.7
    press(explorer, "Random")
    assert len(generated) == 2
    assert explorer.offsets() == {}
    press(explorer, "Reset")
    assert len(generated) == 3


def test_z_is_that_of_the_seed_truncated_then_moved(explorer):
    explorer.go(5, truncation=0.5, offsets={"component 1": 2.0, "cold to warm": -1.0})
    moves = torch.tensor([2.0, 0, 0, 0, 0, 0, 0, -1.0])
    assert torch.allclose(explorer.z(), 0.5 * sample_z(1, 8, 5)[0] + moves)


def test_the_copied_command_shows_the_same_face_again(explorer, toy, monkeypatch):
    scripts = []
    monkeypatch.setattr(widgets, "display", scripts.append)
    explorer.go(8, truncation=0.65, offsets={"dark to light": 0.1 + 0.2, "component 4": -3.9})
    press(explorer, "Copy the command")
    html = explorer.controls.command.value
    (line,) = re.findall(r"<textarea readonly .*>(.*)</textarea>", html, re.DOTALL)
    line = unescape(line)
    assert line == explorer.command()
    assert "'dark to light': 0.3" in line
    assert "navigator.clipboard" in scripts[0].data
    assert "component 4" in scripts[0].data
    other = widgets.Explorer(*toy)
    eval(line, {"explorer": other})
    assert torch.equal(other.z(), explorer.z())
    assert other.png() == explorer.png()


def test_an_offset_that_does_not_fit_is_refused_and_nothing_changes(explorer, generated):
    for offsets in ({"nose": 1.0}, {"dark to light": 4.5}):
        with pytest.raises(ValueError, match="dark to light, cold to warm, component 1"):
            explorer.go(9, offsets=offsets)
    for seed, truncation in ((-1, 1.0), (9, 1.5)):
        with pytest.raises(ValueError, match=f"seed {seed}, truncation {truncation}"):
            explorer.go(seed, truncation)
    assert not generated
    assert explorer.controls.seed.value == 3


def test_random_faces_differ_and_reset_brings_the_first_one_back(explorer, images):
    first = explorer.image.value
    explorer.random()
    explorer.random()
    explorer.reset()
    assert len(set(images)) == 3
    assert images[-1] == first


def test_a_walk_goes_in_small_steps_to_another_latent_vector(explorer, generated):
    start = explorer.z()
    explorer.walk(seconds=0)
    path = torch.stack([start, *generated])
    assert len(path) == widgets.WALK_FRAMES
    assert torch.equal(path[-1], explorer.z())
    assert explorer.controls.seed.value != 3
    steps = (path[1:] - path[:-1]).norm(dim=1)
    assert steps.max() < 1.5 * steps.mean()


def test_the_face_is_large_and_its_neighbors_are_below_it(explorer):
    shown = read_png(explorer.image.value)
    face = read_png(explorer.png())
    assert shown.size == (268, 336)
    assert face.size == (268, 268)
    assert shown.crop((0, 0, 268, 268)).tobytes() == face.tobytes()


@pytest.mark.parametrize("size", [16, 32, 128])
def test_faces_of_any_size_can_be_explored(size, home):
    G = small_generator(width=2, z_dim=8, size=size)
    explorer = widgets.Explorer(G, two_directions())
    first = explorer.image.value
    explorer.controls.sliders["dark to light"].value = 3.0
    assert explorer.image.value != first
    assert read_png(explorer.image.value).size == (268, 336)
    assert read_png(explorer.png()).size == (268, 268)
    rows = explorer.figure().image
    assert rows.width >= 9 * 66
    assert rows.height >= 2 * 68


def test_a_saved_face_replaces_no_other_and_has_its_command(explorer, home):
    explorer.controls.sliders["dark to light"].value = 1.5
    press(explorer, "Save as PNG")
    second = explorer.save()
    names = {path.name for path in (home / "data" / "saved_faces").iterdir()}
    assert names == {"seed-3-1.png", "seed-3-2.png"}
    assert second.name == "seed-3-2.png"
    assert str(second) in explorer.controls.status.value
    assert second.read_bytes() == explorer.png()
    assert Image.open(second).text["command"] == explorer.command()


def test_a_face_that_cannot_be_saved_is_reported_below_the_buttons(explorer, home):
    (home / "data").mkdir()
    (home / "data" / "saved_faces").write_text("not a folder")
    assert explorer.save() is None
    assert "Not saved" in explorer.controls.status.value
    assert "can&#x27;t" in explorer.controls.status.value


def test_the_figure_has_a_row_of_nine_faces_for_each_direction(explorer):
    figure = explorer.figure()
    assert isinstance(figure, plotting.Figure)
    assert "dark to light, cold to warm" in figure.alt
    assert "-4 to 4" in figure.caption
    assert explorer.offsets() == {}
    rows = widgets.Explorer(*load_pretrained()).figure().image
    assert rows.width > 9 * 66
    assert 8 * 68 <= rows.height < 8 * 68 + 50


def test_the_rows_of_the_figure_go_from_end_to_end_whatever_the_sliders_value(
    explorer, monkeypatch
):
    batches = []

    def record(G, z):
        batches.append(z)
        return generate(G, z)

    monkeypatch.setattr(widgets, "generate", record)
    explorer.figure()
    first_row = batches[0]
    assert torch.allclose(first_row[4], explorer.z(), atol=1e-5)  # the face itself
    explorer.controls.sliders["dark to light"].value = explorer.reach
    batches.clear()
    explorer.figure()
    assert torch.allclose(batches[0], first_row, atol=1e-5)


def test_it_is_a_widget_with_a_short_text_for_where_there_are_none(explorer):
    assert len(repr(explorer)) < 80
    if hasattr(explorer, "_repr_mimebundle_"):  # ipywidgets 8; version 7 has `_ipython_display_`
        data = explorer._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in data
        assert data["text/plain"] == repr(explorer)
    else:
        assert explorer._ipython_display_


def test_every_control_says_what_it_does(explorer):
    panel = explorer.controls
    for control in (*panel.sliders.values(), panel.truncation, panel.seed):
        assert control.description
        assert control.style.description_width == "180px"
    assert all(button.description and button.tooltip for button in panel.buttons)


@pytest.mark.parametrize("module", [controls, widgets])
def test_only_what_the_ipywidgets_of_colab_has_is_used(module):
    """7.7.1 has neither Stack nor TagsInput; all tests of this file were run with it by hand."""
    used = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "ipywidgets":
            used.add(node.attr)
    inputs = {"Accordion", "BoundedIntText", "Button", "FloatSlider"}
    others = {"HBox", "HTML", "Image", "Layout", "Output", "VBox", "Widget"}
    assert used <= inputs | others


def memory_kilobytes() -> int:
    """-> the kilobytes of memory that this process has."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_five_hundred_moves_of_a_slider_do_not_grow_the_memory(explorer):
    slider = explorer.controls.sliders["dark to light"]

    def move(times):
        for i in range(times):
            slider.value = (i % 80) / 10 - 4 + 0.05 * (i // 80 % 2)

    move(50)
    before = memory_kilobytes()
    move(500)
    assert memory_kilobytes() - before < 20_000
