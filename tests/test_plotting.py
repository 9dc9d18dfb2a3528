"""plotting: pictures and curves become figures."""

import base64
import io
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from animegan_helpers import plotting, preprocess


def colours(count, size=4):
    """-> (count, size, size, 3) uint8, each picture of one grey of its own."""
    return np.repeat(np.arange(1, count + 1, dtype=np.uint8) * 10, size * size * 3).reshape(count, size, size, 3)


def curves(steps=100):
    rng = np.random.default_rng(0)
    return {"step": np.arange(1, steps + 1)} | {
        name: rng.random(steps) for name in ("loss_d", "loss_g", "score_real", "score_fake")
    }


@pytest.fixture
def run(tmp_path):
    """The folder of a run of 10 grids, each of one colour."""
    (tmp_path / "grids").mkdir()
    for i in range(10):
        Image.new("RGB", (8 * 6 + 2, 8 * 6 + 2), (i * 25, 0, 0)).save(tmp_path / "grids" / f"step_{i**2:08d}.png")
    return tmp_path


def test_a_grid_has_every_picture_in_its_place():
    sheet = np.asarray(plotting.grid(colours(5), columns=3))
    assert sheet.shape == (2 * 6 + 2, 3 * 6 + 2, 3)
    for i in range(5):
        y, x = 2 + 6 * (i // 3), 2 + 6 * (i % 3)
        assert (sheet[y : y + 4, x : x + 4] == 10 * (i + 1)).all()
    assert (sheet[:2] == 255).all() and (sheet[6:8] == 255).all() and (sheet[8:, 14:] == 255).all()


def test_tensors_give_the_same_grid_as_pixels():
    pixels = colours(4)
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert plotting.grid(pictures).tobytes() == plotting.grid(pixels).tobytes()
    assert plotting.grid(torch.from_numpy(pixels)).tobytes() == plotting.grid(pixels).tobytes()


def test_zoom_makes_each_pixel_a_square():
    small, large = (np.asarray(plotting.grid(colours(4), zoom=zoom)) for zoom in (1, 3))
    assert (large[1::3, 1::3] == small).all() and large.shape == (42, 42, 3)


def test_a_figure_carries_its_alt_text_and_its_picture():
    figure = plotting.show_grid(colours(4), "Four greys.", alt="Four grey squares.")
    data, metadata = figure._repr_mimebundle_()
    assert metadata == {"image/png": {"alt": "Four grey squares."}}
    assert "Four grey squares." in data["text/plain"]
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size == figure.image.size


@pytest.mark.parametrize("make", [
    lambda: plotting.show_grid(colours(4), "Some faces."),
    lambda: plotting.show_losses(curves(), "Some losses."),
    lambda: plotting.show_scores(curves(), "Some scores."),
    lambda: plotting.live(plotting.grid(colours(4)), [{"step": 1, "loss_d": 1.0, "loss_g": 2.0}] * 3, "Some steps."),
    lambda: plotting.film_strip([plotting.grid(colours(64), 8)] * 2, ["step 1", "step 2"], "Some rows."),
])  # fmt: skip
def test_every_figure_has_a_caption_and_an_alt_text(make):
    figure = make()
    assert figure.caption.startswith("Some ") and figure.caption in figure.alt
    assert figure._repr_mimebundle_()[1]["image/png"]["alt"] == figure.alt


def test_a_caption_adds_height_and_is_visible():
    image = Image.new("RGB", (500, 50), "white")
    bare, one, two = (plotting.Figure(image, text, "alt").image for text in ("", "One line.", "Many words " * 10))
    assert bare.height < one.height < two.height
    assert np.asarray(one)[50:].min() < 128 <= 255 == np.asarray(bare)[50:].min(initial=255)


def test_a_figure_is_saved_as_a_png(tmp_path):
    figure = plotting.show_grid(colours(4), "Four greys.")
    with Image.open(figure.save(tmp_path / "new" / "a.png")) as picture:
        assert picture.format == "PNG" and picture.convert("RGB").tobytes() == figure.image.tobytes()


def test_curves_leave_no_figure_open_and_load_no_pyplot():
    loaded = "matplotlib.pyplot" in sys.modules
    plotting.show_losses(curves())
    assert ("matplotlib.pyplot" in sys.modules) == loaded


@pytest.mark.parametrize("steps", [1, 2, 300])
def test_a_history_of_any_length_can_be_shown(steps):
    assert plotting.show_losses(curves(steps)).image.width > 400


def test_both_curves_have_the_colours_that_can_be_told_apart():
    pixels = np.asarray(plotting.show_losses(curves()).image).reshape(-1, 3)
    for colour in (plotting.BLUE, plotting.ORANGE):
        assert (pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(1).sum() > 100


def test_a_film_has_a_frame_for_each_grid(run):
    with Image.open(plotting.film(run, run / "film.gif")) as film:
        assert film.n_frames == 10 and film.info["loop"] == 0
        film.seek(9)
        assert film.convert("RGB").getpixel((0, 0))[0] == pytest.approx(225, abs=8)


def test_sheets_are_the_first_the_last_and_some_between_ever_further_apart(run):
    sheets, steps = plotting.sheets(run, 4)
    assert (steps[0], steps[-1], len(sheets)) == (0, 81, 4)
    assert steps == [0, 16, 36, 81]  # nearest to 0, and to 16 ... 81 in even ratios
    assert [sheet.getpixel((0, 0))[0] for sheet in sheets] == [25 * round(step**0.5) for step in steps]


@pytest.mark.parametrize("count", [1, 2, 6, 10, 50])
def test_there_are_as_many_sheets_as_asked_for_where_there_are_grids_for_them(run, count):
    assert len(plotting.sheets(run, count)[0]) == min(count, 10)


@pytest.mark.parametrize("function", [plotting.sheets, lambda run: plotting.film(run, run / "film.gif")])
def test_a_folder_without_grids_is_named(function, tmp_path):
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        function(tmp_path)


def test_a_strip_has_a_row_for_each_sheet(run):
    sheets, steps = plotting.sheets(run, 3)
    strip = plotting.strip(sheets, [f"step {step}" for step in steps], faces=4)
    assert strip.height == 3 * 8 and strip.width > 4 * 6 + 2
    assert [strip.getpixel((strip.width - 1, 8 * row))[0] for row in range(3)] == [
        sheet.getpixel((0, 0))[0] for sheet in sheets
    ]


@pytest.fixture
def prepared(tmp_path):
    """120 greys, of which a few are odd in each way."""
    (tmp_path / "in").mkdir()
    for i in range(120):
        Image.new("RGB", (16, 16), (i + 50,) * 3).save(tmp_path / "in" / f"{i:03d}.bmp")
    for name in ("copy1", "copy2"):
        (tmp_path / "in" / f"{name}.bmp").write_bytes((tmp_path / "in" / "007.bmp").read_bytes())
    Image.new("L", (16, 16), 200).save(tmp_path / "in" / "grey.png")
    Image.new("L", (3, 3), 250).save(tmp_path / "in" / "tiny.png")
    return preprocess.prepare(tmp_path / "in", tmp_path / "out", 16)


def labels_of(figure):
    return figure.alt.removeprefix("Rows of small pictures: ").split(". ")[0].split("; ")


def test_health_has_a_labelled_row_for_each_kind_of_odd_picture(prepared):
    figure = plotting.show_health(prepared)
    assert labels_of(figure) == ["most unlike, the rest", "tiny, 1 picture", "not RGB, 2 pictures",
                                 "more than once, 1 picture"]  # fmt: skip
    assert "122 pictures of in" in figure.caption and figure.caption in figure.alt
    sheet = np.asarray(figure.image)[: 4 * 80]  # four rows of pictures, each enlarged to 64, and white around them
    first = sheet[8 + 32 :: 80, -(12 * 72 + 8) + 8 + 32]
    assert first[1:].tolist() == [[250] * 3, [200] * 3, [57] * 3]
    assert (sheet[100, -72 * 11 :] == 255).all(), "nothing stands beside the only tiny one"


def test_health_shows_only_what_there_is(prepared):
    report = prepared.report
    report.tiny, report.not_rgb, report.unusual = {}, {}, []
    assert labels_of(plotting.show_health(prepared)) == ["more than once, 1 picture"]
    report.duplicates = {}
    assert labels_of(plotting.show_health(prepared)) == ["all is well"]
    report.tiny = {name: "1x1" for name in prepared.names} | {"of another set": "1x1"}
    figure = plotting.show_health(prepared, "Some.", "Many.", columns=5)
    assert (figure.caption, figure.alt) == ("Some.", "Many.") and figure.image.width < 600


def test_a_history_comes_back_as_it_was_written(tmp_path):
    rows = [{"step": i, "loss_d": 1 / i, "loss_g": 0.1 * i, "score_real": 0.5, "score_fake": 0.25} for i in (1, 2, 3)]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    history = plotting.history(tmp_path)
    assert list(history) == list(rows[0])
    assert all(history[key].tolist() == [row[key] for row in rows] for key in history)
    (tmp_path / "history.jsonl").write_text("")
    assert plotting.history(tmp_path) == {}


def test_recorded_results_tell_where_they_come_from(tmp_path, monkeypatch):
    told = [path for path in plotting.RECORDED.glob("*.json") if path.with_suffix(".png").exists()]
    assert told and all(plotting.recorded(path.stem).caption for path in told)
    monkeypatch.setattr(plotting, "RECORDED", tmp_path)
    Image.new("RGB", (10, 10)).save(tmp_path / "x.png")
    (tmp_path / "x.json").write_text('{"caption": "Told.", "alt": "Black."}')
    assert (plotting.recorded("x").caption, plotting.recorded("x").alt) == ("Told.", "Black.")
