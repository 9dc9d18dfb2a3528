"""history: the numbers of the steps become rows, lines of history.jsonl, and columns."""

import pytest
import torch

from animegan_helpers.history import Log, columns, json_lines, parse_rows, read_history

ROWS = [
    {"step": 1, "loss_d": 1.0, "loss_g": 0.1, "score_real": 0.5, "score_fake": 0.25},
    {"step": 2, "loss_d": 1 / 2, "loss_g": 0.2, "score_real": 0.5, "score_fake": 0.25},
    {"step": 3, "loss_d": 1 / 3, "loss_g": 0.3, "score_real": 0.5, "score_fake": 0.25},
]


def numbers(value=0.5):
    """What a step returns: loss_d, loss_g, score_real, score_fake."""
    return torch.tensor([value, 0.25, 0.75, 1.0])


# ---- the log ----


def test_the_numbers_of_each_step_become_a_row():
    log = Log()
    log.append(numbers(0.5))
    log.fetch()
    log.append(numbers(1.5))
    log.fetch()
    assert log.rows == [
        {"step": 1, "loss_d": 0.5, "loss_g": 0.25, "score_real": 0.75, "score_fake": 1.0},
        {"step": 2, "loss_d": 1.5, "loss_g": 0.25, "score_real": 0.75, "score_fake": 1.0},
    ]
    assert not log.finished


def test_numbers_are_fetched_every_few_steps_in_order():
    log = Log(fetch_every=3)
    lengths = []
    for step in range(1, 8):
        log.append(numbers(step))
        has_news = log.fetched()
        assert has_news == (step in (3, 6))
        lengths.append(len(log.rows))
    assert lengths == [0, 0, 3, 3, 3, 6, 6]
    log.fetch()
    assert [row["step"] for row in log.rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["loss_d"] for row in log.rows] == [1, 2, 3, 4, 5, 6, 7]


def test_rows_fetched_early_are_reported_once():
    log = Log(fetch_every=5)
    log.append(numbers())
    assert not log.fetched()
    log.fetch()  # before a save
    assert log.fetched()
    assert not log.fetched()


def test_fetching_nothing_adds_nothing():
    log = Log()
    log.fetch()
    assert not log.fetched()
    assert log.rows == []


def test_the_log_of_a_resumed_run_goes_on_after_its_rows():
    log = Log(fetch_every=1, steps_done=3, rows=list(ROWS))
    assert not log.fetched(), "the rows of the file are no news"
    log.append(numbers())
    assert log.fetched()
    assert log.rows[:3] == ROWS
    assert [row["step"] for row in log.rows] == [1, 2, 3, 4]


def test_steps_are_counted_from_the_trainers_even_if_rows_were_lost():
    log = Log(fetch_every=1, steps_done=7, rows=list(ROWS))
    log.append(numbers())
    log.fetch()
    assert log.rows[-1]["step"] == 8


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("index, name", [(0, "loss_d"), (1, "loss_g")])
def test_a_loss_that_is_not_finite_is_named_by_its_own_step_though_it_is_fetched_later(
    index, name, value
):
    log = Log(fetch_every=3, steps_done=4)
    bad = numbers()
    bad[index] = value
    for step_numbers in (numbers(), bad, numbers()):
        log.append(step_numbers)
    with pytest.raises(FloatingPointError, match=f"{name} is {value} at step 6: .*learning rate"):
        log.fetched()
    assert [row["step"] for row in log.rows] == [5], "the rows before it are kept"


# ---- the file ----


def test_a_history_comes_back_as_it_was_written(tmp_path):
    (tmp_path / "history.jsonl").write_text(json_lines(ROWS))
    history = read_history(tmp_path)
    assert list(history) == list(ROWS[0])
    for name, values in history.items():
        assert values.tolist() == [row[name] for row in ROWS]


def test_the_history_of_a_run_without_a_step_is_empty(tmp_path):
    (tmp_path / "history.jsonl").write_text("")
    assert read_history(tmp_path) == {}
    assert columns([]) == {}


def test_a_run_is_named_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "history.jsonl").write_text(json_lines(ROWS))
    assert read_history("~")["step"].tolist() == [1, 2, 3]


def test_rows_survive_the_way_to_text_and_back():
    text = json_lines(ROWS)
    assert text.count("\n") == 3
    assert parse_rows(text) == ROWS


@pytest.mark.parametrize("torn", ['{"step": 4, "lo', "\x00\x00\x00\n", '{"step": 4}}\n'])
def test_rows_are_read_up_to_a_line_that_a_power_cut_has_torn(torn):
    assert parse_rows(json_lines(ROWS) + torn + json_lines(ROWS)) == ROWS


def test_rows_become_an_array_for_each_name():
    arrays = columns(ROWS)
    assert arrays["step"].tolist() == [1, 2, 3]
    assert arrays["loss_g"].tolist() == [0.1, 0.2, 0.3]
    assert {values.shape for values in arrays.values()} == {(3,)}
