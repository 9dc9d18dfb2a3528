"""step_rate: steps and seconds become a rate, and a warning if a training gets slow."""

import pytest

from animegan_helpers.step_rate import OPENMP_SETTINGS, StepRate


def rates(*per_second, seconds=60):
    """Rates, each kept for a while -> the warnings, and the StepRate at the end."""
    rate = StepRate()
    steps = 0.0
    time = 0
    warnings = []
    for steps_per_second in per_second:
        for _ in range(seconds):
            steps += steps_per_second
            time += 1
            warnings.append(rate.update(round(steps), time))
    return [warning for warning in warnings if warning], rate


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """The shell that runs the tests may have set how threads wait."""
    for name in OPENMP_SETTINGS:
        monkeypatch.delenv(name, raising=False)


def test_a_training_that_falls_below_half_of_its_best_rate_warns_once():
    warnings, rate = rates(10, 4, 10, 3)
    assert len(warnings) == 1
    assert "4.0 steps/s, less than half of its best rate, 10.0" in warnings[0]
    assert "OMP_WAIT_POLICY=PASSIVE before Python starts" in warnings[0]
    assert (rate.per_second, rate.best) == (3, 10)


@pytest.mark.parametrize("per_second", [(10, 6), (10, 10), (3, 10), (5,)])
def test_a_steady_a_little_slower_or_faster_training_does_not_warn(per_second):
    assert rates(*per_second)[0] == []


def test_one_slow_moment_as_of_a_laptop_that_slept_does_not_warn():
    rate = StepRate()
    for time in range(1, 60):
        assert rate.update(10 * time, time) == ""
    assert rate.update(600, 4000) == ""
    for time in range(1, 60):
        assert rate.update(600 + 10 * time, 4000 + time) == ""


@pytest.mark.parametrize("name", OPENMP_SETTINGS)
def test_who_has_set_how_threads_wait_is_not_told_to(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    (warning,), _ = rates(10, 4)
    assert "another process may be using the CPU" in warning
    assert "OMP_WAIT_POLICY" not in warning


def test_the_rate_of_a_resumed_training_counts_its_own_steps_only():
    rate = StepRate(steps_done=1000, seconds=500)
    rate.update(1050, 505)
    assert rate.per_second == 10


def test_a_rate_is_shown_before_the_first_window_is_over():
    rate = StepRate()
    assert rate.per_second == 0
    rate.update(0, 0)
    rate.update(8, 2)
    assert rate.per_second == 4
