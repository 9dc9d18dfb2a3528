"""widgets: training becomes one picture that changes; sliders move a code, and its face follows."""

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

from animegan_helpers import latent, plotting, recipes, training, widgets
from animegan_helpers.generator import Generator


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, figure):
        self.shown.append(("update", figure))


def watched(monkeypatch, faces, run, seconds):
    shown = []

    def display(figure, display_id):
        shown.append(("display", figure))
        return Handle(shown)

    monkeypatch.setattr(widgets, "display", display)  # outside a notebook there is nothing to look at
    recipe = recipes.get("bce", width=2, z_dim=4, batch=4, size=16)
    training.train(recipe, faces, run, steps=4, watch=widgets.LiveView(seconds))
    return shown


def test_one_picture_is_shown_and_then_changed(monkeypatch, faces, tmp_path):
    shown = watched(monkeypatch, faces, tmp_path, seconds=0)
    assert [how for how, _ in shown] == ["display", *["update"] * 4]
    assert all(isinstance(figure, plotting.Figure) for _, figure in shown)
    assert "Step 1," in shown[0][1].caption and "Step 4," in shown[-1][1].caption


def test_it_is_not_drawn_at_every_step_but_surely_at_the_end(monkeypatch, faces, tmp_path):
    shown = watched(monkeypatch, faces, tmp_path, seconds=1e6)
    assert "Step 4," in shown[-1][1].caption and len(shown) <= 2


def test_of_a_long_history_some_hundred_points_are_drawn(monkeypatch):
    drawn = []
    monkeypatch.setattr(widgets, "display", lambda figure, display_id: None)
    monkeypatch.setattr(plotting, "live", lambda faces, rows, caption: drawn.append(rows))
    game = SimpleNamespace(fixed_faces=lambda count=64: torch.zeros(count, 3, 16, 16), step=4000, seconds=60.0)
    for length in (400, 4000):
        widgets.LiveView(0)(game, [{"step": step, "score_real": 0.6, "score_fake": 0.4} for step in range(length)])
    assert [len(rows) for rows in drawn] == [400, 445]


def test_what_goes_wrong_stands_below_the_picture(monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "display", lambda figure, display_id: shown.append(figure))
    game = SimpleNamespace(fixed_faces=lambda count=64: torch.zeros(count, 3, 16, 16), step=400, seconds=60.0)
    row = {"loss_d": 0.01, "loss_g": 9.0, "score_real": 1.0, "score_fake": 0.0}
    for gap, one in ((1.0, False), (0.1, True)):
        history = [row | {"step": step, "score_real": gap} for step in range(1, 401)]
        game.fixed_faces = (lambda count=64: torch.rand(count, 3, 16, 16)) if one else game.fixed_faces
        widgets.LiveView(0)(game, history)
    wrong, well = (figure.caption for figure in shown)
    assert "Step 400, 60 seconds" in wrong and wrong.count("WARNING, ") == 2
    assert "WARNING, D has won" in wrong and "WARNING, collapse: the faces are alike" in wrong
    assert "WARNING" not in well and wrong in shown[0].alt


@pytest.fixture(scope="module")
def toy():
    """A small generator whose batch norm knows what it sees (a fresh one paints uniform grey), and two directions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G = Generator(width=4, z_dim=8, size=16, start="he")
        for _ in range(30):
            G(training.codes(64, 8))
    return G.eval(), {"dark to light": torch.eye(8)[6], "cold to warm": torch.eye(8)[7]}


@pytest.fixture
def explorer(toy, home):
    return widgets.Explorer(*toy, seed=3)


@pytest.fixture
def pictures(explorer):
    """-> the list of all pictures the explorer has shown since."""
    shown = []
    explorer.image.observe(lambda change: shown.append(change.new), "value")
    return shown


@pytest.fixture
def paints(explorer, monkeypatch):
    """-> the list of all codes the explorer has painted since."""
    painted, show = [], explorer._show
    monkeypatch.setattr(explorer, "_show", lambda code: (painted.append(code), show(code)))
    return painted


def button(explorer, name):
    return next(button for button in explorer.buttons if button.description == name)


def test_each_control_changes_the_picture_once(explorer, pictures, paints):
    for slider in explorer.moves.values():
        slider.value = 2.0
    explorer.truncation.value = 0.5
    explorer.seed.value = 4
    assert len(set(pictures)) == len(pictures) == len(paints) == len(explorer.moves) + 2


def test_several_controls_set_at_once_cost_one_repaint(explorer, paints):
    explorer.go(5, truncation=0.7, moves={"dark to light": 1.5, "number 2": -2.0})
    assert len(paints) == 1 and explorer.moves["number 2"].value == -2.0 and explorer.truncation.value == 0.7
    button(explorer, "Random").click()
    assert len(paints) == 2 and not explorer.moved()
    button(explorer, "Reset").click()
    assert len(paints) == 3


def test_a_code_is_the_seeds_truncated_then_moved(explorer):
    explorer.go(5, truncation=0.5, moves={"number 1": 2.0, "cold to warm": -1.0})
    expected = 0.5 * training.codes(1, 8, 5)[0] + torch.tensor([2.0, 0, 0, 0, 0, 0, 0, -1.0])
    assert torch.allclose(explorer.code(), expected)


def test_the_copied_line_typed_in_again_shows_the_same_face(explorer, toy, monkeypatch):
    run = []
    monkeypatch.setattr(widgets, "display", run.append)
    explorer.go(8, truncation=0.65, moves={"dark to light": 0.1 + 0.2, "number 4": -3.9})
    button(explorer, "Copy the code").click()
    (line,) = re.findall(r"<textarea readonly .*>(.*)</textarea>", explorer.line.value, re.DOTALL)
    assert unescape(line) == explorer.text() and "'dark to light': 0.3" in unescape(line)
    assert "navigator.clipboard" in run[0].data and "number 4" in run[0].data
    other = widgets.Explorer(*toy)
    eval(unescape(line), {"explorer": other})
    assert torch.equal(other.code(), explorer.code()) and other.png() == explorer.png()


def test_a_move_that_is_not_there_or_too_far_is_refused_and_nothing_changes(explorer, paints):
    for moves in ({"nose": 1.0}, {"dark to light": 4.5}):
        with pytest.raises(ValueError, match="dark to light, cold to warm, number 1"):
            explorer.go(9, moves=moves)
    for seed, truncation in ((-1, 1.0), (9, 1.5)):
        with pytest.raises(ValueError, match=f"seed {seed}, truncation {truncation}"):
            explorer.go(seed, truncation)
    assert not paints and explorer.seed.value == 3


def test_random_codes_differ_and_reset_brings_the_first_back(explorer, pictures):
    first = explorer.image.value
    explorer.random()
    explorer.random()
    explorer.reset()
    assert len(set(pictures)) == 3 and pictures[-1] == first


def test_a_walk_goes_in_small_steps_from_here_to_another_code(explorer, paints):
    start = explorer.code()
    explorer.walk(seconds=0)
    way = torch.stack([start, *paints])
    assert len(way) == widgets.FRAMES and torch.equal(way[-1], explorer.code()) and explorer.seed.value != 3
    steps = (way[1:] - way[:-1]).norm(dim=1)
    assert steps.max() < 1.5 * steps.mean()


def test_the_face_is_large_and_its_neighbours_stand_below(explorer):
    shown, face = (Image.open(io.BytesIO(png)).convert("RGB") for png in (explorer.image.value, explorer.png()))
    assert (shown.size, face.size) == ((268, 336), (268, 268))
    assert shown.crop((0, 0, 268, 268)).tobytes() == face.tobytes()


def test_a_saved_face_overwrites_none_and_knows_its_code(explorer, home):
    explorer.moves["dark to light"].value = 1.5
    button(explorer, "Save as PNG").click()
    first = explorer.save()
    assert {path.name for path in (home / "data" / "pictures").iterdir()} == {"seed-3-1.png", "seed-3-2.png"}
    assert str(first) in explorer.told.value and first.read_bytes() == explorer.png()
    assert Image.open(first).text["code"] == explorer.text()


def test_a_face_that_cannot_be_saved_is_told_beside_the_buttons(explorer, home):
    (home / "data").mkdir()
    (home / "data" / "pictures").write_text("in the way")
    assert explorer.save() is None and "Not saved" in explorer.told.value and "can&#x27;t" in explorer.told.value


def test_the_figure_has_a_row_of_eight_faces_for_each_direction(explorer, toy):
    figure = explorer.figure()
    assert isinstance(figure, plotting.Figure) and "dark to light, cold to warm" in figure.alt
    rows = widgets.Explorer(*latent.ready()).figure().image
    assert rows.width > 8 * 66 and 8 * 68 <= rows.height < 8 * 68 + 50
    assert "-4 to 4" in figure.caption and not explorer.moved()


def test_the_figures_rows_go_the_whole_way_wherever_the_slider_stands(explorer, monkeypatch):
    painted = []
    monkeypatch.setattr(widgets, "paint", lambda G, z: (painted.append(z), training.paint(G, z))[1])
    explorer.figure()
    explorer.moves["dark to light"].value = explorer.reach
    explorer.figure()
    assert torch.allclose(painted[0], painted[3], atol=1e-5)  # the first row of each; between them the slider's move


def test_it_is_a_widget_with_a_short_text_for_where_there_are_none(explorer):
    assert len(repr(explorer)) < 80
    if hasattr(explorer, "_repr_mimebundle_"):  # ipywidgets 8; 7 has `_ipython_display_`
        data = explorer._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in data and data["text/plain"] == repr(explorer)
    else:
        assert explorer._ipython_display_


def test_every_control_says_what_it_does(explorer):
    for control in (*explorer.moves.values(), explorer.truncation, explorer.seed):
        assert control.description and control.style.description_width == "150px"
    assert all(button.description and button.tooltip for button in explorer.buttons)


def test_only_what_colabs_ipywidgets_has_is_used():
    """7.7.1 has neither Stack nor TagsInput; with it, this file's other tests were run by hand, and passed."""
    used = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(widgets)))
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "ipywidgets"
    }
    assert used <= set("Accordion BoundedIntText Button FloatSlider HBox HTML Image Output VBox".split())


def resident() -> int:
    """-> the kilobytes of memory this process has."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_five_hundred_moves_leave_memory_as_it_was(explorer):
    slider = explorer.moves["dark to light"]

    def move(times):
        for i in range(times):
            slider.value = (i % 80) / 10 - 4 + 0.05 * (i // 80 % 2)

    move(50)
    before = resident()
    move(500)
    assert resident() - before < 20_000
