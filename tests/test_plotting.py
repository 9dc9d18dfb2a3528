"""plotting: images and histories become figures with a caption and alt text."""

import sys

import numpy as np
import pytest
import torch
from common import noise_image
from PIL import Image
from test_figures import grays

from animegan_helpers import plotting
from animegan_helpers.prepare import prepare


def history_of(steps=100):
    """-> a history of random numbers."""
    rng = np.random.default_rng(0)
    history = {"step": np.arange(1, steps + 1)}
    for name in ("loss_d", "loss_g", "score_real", "score_fake"):
        history[name] = rng.random(steps)
    return history


def show_grid():
    return plotting.show_grid(grays(4), "Some faces.")


def show_rows():
    return plotting.show_rows({"dark": grays(4), "light": grays(3)}, "Some rows.")


def film_strip():
    grids = [plotting.grid(grays(64), columns=8)] * 2
    return plotting.film_strip(grids, ["step 1", "step 2"], "Some steps.")


def show_losses():
    return plotting.show_losses(history_of(), "Some losses.")


def show_scores():
    return plotting.show_scores(history_of(), "Some scores.")


def live():
    rows = [{"step": step, "loss_d": 1.0, "loss_g": 2.0} for step in (1, 2, 3)]
    return plotting.live(plotting.grid(grays(4)), rows, "Some steps.")


EVERY_FIGURE = [show_grid, show_rows, film_strip, show_losses, show_scores, live]


@pytest.mark.parametrize("show", EVERY_FIGURE)
def test_every_figure_has_a_caption_and_an_alt_text(show):
    figure = show()
    assert figure.caption.startswith("Some ")
    assert figure.caption in figure.alt
    _, metadata = figure._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == figure.alt


def test_the_alt_text_can_be_chosen():
    assert plotting.show_grid(grays(4), "Some.", alt="Mine.").alt == "Mine."
    assert plotting.show_rows({"a": grays(1)}, "Some.", "Mine.").alt == "Mine."
    assert plotting.show_losses(history_of(), "Some.", "Mine.").alt == "Mine."


def test_the_labels_of_rows_and_steps_are_in_the_alt_text():
    assert "dark, light" in show_rows().alt
    assert "step 1, step 2" in film_strip().alt


@pytest.mark.parametrize("size, zoom", [(16, 4), (32, 2), (64, 1), (128, 1)])
def test_small_faces_are_enlarged_in_rows(size, zoom):
    assert plotting.zoom_for(grays(2, size)) == zoom
    images = torch.zeros(2, 3, size, size)
    assert plotting.zoom_for(images) == zoom
    assert plotting.zoom_for(images, pixels=256) == 256 // size
    figure = plotting.show_rows({"": images, " ": images}, "")
    assert figure.image.height == 2 * zoom * (size + 4)


def test_some_rows_may_have_labels_above_their_images():
    rows = {"a": grays(2, 64), "b": grays(2, 64)}
    plain = plotting.show_rows(rows, "Some.").image
    labeled = plotting.show_rows(rows, "Some.", columns={"b": ["left", "right"]}).image
    assert labeled.width == plain.width and labeled.height > plain.height


# ---- curves ----


def test_curves_leave_no_figure_open_and_load_no_pyplot():
    was_loaded = "matplotlib.pyplot" in sys.modules
    plotting.show_losses(history_of())
    assert ("matplotlib.pyplot" in sys.modules) == was_loaded


@pytest.mark.parametrize("steps", [1, 2, 300])
def test_a_history_of_any_length_can_be_shown(steps):
    assert plotting.show_losses(history_of(steps)).image.width > 400


def test_both_curves_have_colors_that_color_blind_readers_can_distinguish():
    for figure in (plotting.show_losses(history_of()), plotting.show_scores(history_of())):
        pixels = np.asarray(figure.image).reshape(-1, 3)
        for color in (plotting.BLUE, plotting.ORANGE):
            rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
            assert (pixels == rgb).all(axis=1).sum() > 100


def test_the_curve_of_a_small_loss_is_not_flat_beside_a_large_one():
    history = history_of()
    history["loss_d"] = np.linspace(0.1, 0, 100)
    history["loss_g"] = np.linspace(25, 0, 100)
    pixels = np.asarray(plotting.show_losses(history).image)
    left_half = pixels[:, : pixels.shape[1] // 2]  # the legend is on the right
    rgb = [int(plotting.BLUE[i : i + 2], 16) for i in (1, 3, 5)]
    rows = np.flatnonzero((left_half == rgb).all(axis=2).any(axis=1))
    assert rows.max() - rows.min() > 50  # half of the curve, in pixels


def test_a_spike_of_a_single_step_can_be_seen():
    history = history_of(300)
    history["score_real"] = np.full(300, 0.3)
    history["score_fake"] = np.full(300, 0.1)
    history["score_real"][150] = 1.0  # the moving average hardly rises
    pixels = np.asarray(plotting.show_scores(history).image)
    height, width, _ = pixels.shape
    middle = pixels[: height // 3, width // 2 - 50 : width // 2 + 50]
    assert middle[..., 0].min() < 190  # of red, a white pixel has 255


# ---- a prepared set's report ----


@pytest.fixture
def prepared(tmp_path):
    """120 grays, of which a few are unusual in each way, prepared at 16 pixels."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(120):
        Image.new("RGB", (16, 16), (i + 50, i + 50, i + 50)).save(folder / f"{i:03d}.bmp")
    for name in ("copy1.bmp", "copy2.bmp"):
        (folder / name).write_bytes((folder / "007.bmp").read_bytes())
    Image.new("L", (16, 16), 200).save(folder / "gray.png")
    Image.new("L", (3, 3), 250).save(folder / "tiny.png")
    return prepare(folder, tmp_path / "out", 16)


def labels_of(figure):
    """A figure of a report -> the labels of its rows."""
    labels = figure.alt.removeprefix("Rows of small images: ").split(". ")[0]
    return labels.split("; ")


def test_a_report_has_a_labeled_row_for_each_kind_of_unusual_image(prepared):
    figure = plotting.show_report(prepared)
    assert labels_of(figure) == [
        "most, unusual",
        "tiny, 1 image",
        "not RGB, 2 images",
        "duplicated, 1 image",
    ]
    assert "122 images of in" in figure.caption
    assert figure.caption in figure.alt


def test_the_rows_of_a_report_show_its_images(prepared):
    figure = plotting.show_report(prepared)
    tile = 16 * 4 + 2 * 4  # each pixel becomes 4 x 4, the gaps too
    row_height = tile + 2 * 4
    row_width = 12 * tile + 2 * 4
    page = np.asarray(figure.image)[: 4 * row_height, -row_width:]
    first_images = page[8 + 32 :: row_height, 8 + 32]
    assert first_images[1:].tolist() == [[250] * 3, [200] * 3, [57] * 3]
    after_the_tiny_one = page[row_height : 2 * row_height, 8 + tile :]
    assert (after_the_tiny_one == 255).all()


def test_a_report_shows_only_what_was_found(prepared):
    report = prepared.report
    report.tiny = {}
    report.not_rgb = {}
    report.unusual = []
    assert labels_of(plotting.show_report(prepared)) == ["duplicated, 1 image"]
    report.duplicates = {}
    assert labels_of(plotting.show_report(prepared)) == ["nothing, unusual"]


def test_a_report_shows_the_first_images_only_and_skips_those_that_are_not_in_the_set(prepared):
    report = prepared.report
    report.tiny = {name: "1x1" for name in ["of another set", *prepared.names]}
    figure = plotting.show_report(prepared, "Some.", "Many.", columns=5)
    assert (figure.caption, figure.alt) == ("Some.", "Many.")
    assert figure.image.width < 600


def test_a_report_shows_an_image_once_even_if_its_copies_are_listed_too(prepared):
    names = ["copy1.bmp", "007.bmp", "copy2.bmp", "008.bmp"]
    rows = plotting._rows_of(names, prepared)
    assert [prepared.names[row] for row in rows] == ["007.bmp", "008.bmp"]


def test_a_report_of_large_images_is_not_enlarged(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(3):
        noise_image(i, 128).save(tmp_path / "in" / f"{i}.png")
    figure = plotting.show_report(prepare(tmp_path / "in", tmp_path / "out", 128), columns=2)
    assert figure.image.height < 200


# ---- saved results ----


def test_saved_results_have_a_caption(tmp_path, monkeypatch):
    saved = [path for path in plotting.RECORDED.glob("*.json") if path.with_suffix(".png").exists()]
    assert saved
    assert all(plotting.recorded(path.stem).caption for path in saved)
    monkeypatch.setattr(plotting, "RECORDED", tmp_path)
    Image.new("RGB", (10, 10)).save(tmp_path / "x.png")
    (tmp_path / "x.json").write_text('{"caption": "Found.", "alt": "Black."}')
    figure = plotting.recorded("x")
    assert (figure.caption, figure.alt) == ("Found.", "Black.")
