"""controls: names of directions become sliders, a seed and buttons."""

import pytest

from animegan_helpers.controls import Controls, button


@pytest.fixture
def changes():
    """-> a list that grows with each change of the controls."""
    return []


@pytest.fixture
def controls(changes):
    """Two directions, one component, seed 3, a reach of 4."""
    return Controls(
        ["dark to light", "cold to warm"],
        ["component 1"],
        z_dim=8,
        seed=3,
        reach=4.0,
        buttons=[],
        on_change=lambda: changes.append(1),
    )


def test_each_change_of_a_value_is_reported_once(controls, changes):
    for slider in controls.sliders.values():
        slider.value = 2.0
    controls.truncation.value = 0.5
    controls.seed.value = 4
    controls.seed.value = 4
    assert len(changes) == 5


def test_all_values_are_set_with_one_report(controls, changes):
    controls.sliders["cold to warm"].value = 1.0
    changes.clear()
    controls.set(5, 0.7, {"dark to light": 1.5, "component 1": -2.0})
    assert len(changes) == 1
    assert controls.seed.value == 5
    assert controls.truncation.value == 0.7
    assert controls.offsets() == {"dark to light": 1.5, "component 1": -2.0}


def test_a_value_that_does_not_fit_is_named_and_nothing_changes(controls, changes):
    for offsets in ({"nose": 1.0}, {"dark to light": 4.5}, {"dark to light": -4.5}):
        with pytest.raises(ValueError, match="dark to light, cold to warm, component 1"):
            controls.set(9, 1.0, offsets)
    for seed, truncation in ((-1, 1.0), (1_000_000, 1.0), (9, 1.5), (9, -0.1)):
        with pytest.raises(ValueError, match=f"seed {seed}, truncation {truncation}"):
            controls.set(seed, truncation, {})
    assert controls.seed.value == 3
    assert not changes


def test_a_failed_report_does_not_disable_the_controls(changes):
    def fail():
        changes.append(1)
        raise RuntimeError("no image")

    controls = Controls(["a"], [], 8, 0, 4.0, [], fail)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no image"):
            controls.set(len(changes) + 1, 1.0, {})
    assert len(changes) == 2


def test_without_components_nothing_is_folded():
    controls = Controls(["a", "b"], [], 8, 0, 4.0, [], print)
    assert list(controls.children[:2]) == [controls.sliders["a"], controls.sliders["b"]]
    assert controls.children[2] is controls.truncation


def test_texts_are_shown_as_they_are_and_a_new_command_clears_the_status(controls):
    controls.show_command("go('<b>')")
    controls.show_status("<i>")
    assert "go(&#x27;&lt;b&gt;&#x27;)" in controls.command.value
    assert "&lt;i&gt;" in controls.status.value
    controls.show_command("go()")
    assert controls.status.value == ""


def test_a_button_calls_its_function_without_arguments():
    clicks = []
    widget = button("Press", "play", "What it does", lambda: clicks.append(1))
    widget.click()
    assert clicks == [1]
    assert (widget.description, widget.tooltip) == ("Press", "What it does")
