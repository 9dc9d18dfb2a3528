"""arguments: words from a shell become the arguments of a command."""

import argparse
from pathlib import Path

import pytest

import animegan_helpers
from animegan_helpers import arguments, commands, export, recipes, sources

COMMANDS = ("draw", "download", "prepare", "train", "sample", "measure", "share", "recipes")
REQUIRED = {
    "download": ["drawn"],
    "prepare": ["folder", "--out", "x"],
    "train": ["--run", "r"],
    "sample": ["--run", "r"],
    "measure": ["--run", "r"],
    "share": ["--out", "s"],
}


def parse(*words):
    return arguments.parser().parse_args([str(word) for word in words])


def help_of(capsys, *command):
    """-> the help page of a command, as one line."""
    with pytest.raises(SystemExit) as stopped:
        parse(*command, "--help")
    assert stopped.value.code == 0
    return " ".join(capsys.readouterr().out.split())


# ---- types ----


@pytest.mark.parametrize("text, number", [("1", 1), ("64", 64), ("007", 7)])
def test_positive_is_a_whole_number_of_1_or_more(text, number):
    assert arguments.positive(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "1e3", "٣.٥"])
def test_what_is_not_positive_is_named(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number of 1 or more"):
        arguments.positive(text)


@pytest.mark.parametrize("text, number", [("0", 0), ("3", 3)])
def test_natural_is_a_whole_number_of_0_or_more(text, number):
    assert arguments.natural(text) == number


@pytest.mark.parametrize("text", ["-1", "x", "0.5", ""])
def test_what_is_not_natural_is_named(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number of 0 or more"):
        arguments.natural(text)


@pytest.mark.parametrize("text, number", [("2", 2.0), ("0.5", 0.5), ("1e2", 100.0)])
def test_minutes_is_a_number_above_0(text, number):
    assert arguments.minutes(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "", "1e6"])
def test_what_is_not_minutes_is_named(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of minutes above 0"):
        arguments.minutes(text)


# ---- commands ----


def test_every_command_has_a_function():
    assert tuple(commands.COMMANDS) == COMMANDS
    for name in COMMANDS:
        assert parse(name, *REQUIRED.get(name, [])).command == name


@pytest.mark.parametrize(
    "command, defaults",
    [
        ("draw", {"count": 4096, "seed": 0, "size": 64, "out": Path("data/drawn")}),
        ("download", {"name": "drawn"}),
        ("prepare", {"source": "folder", "size": 64, "out": Path("x")}),
        (
            "train",
            {"data": None, "recipe": None, "minutes": None, "epochs": None, "steps": None}
            | {"run": Path("r"), "seed": 0, "resume": False, "from_run": None, "hold_out": None}
            | {"rate": 1.0, "plain": False, "width": None, "z_dim": None, "batch": None}
            | {"size": None},
        ),
        ("sample", {"run": Path("r"), "count": 64, "seed": 0, "out": Path("faces.png")}),
        ("measure", {"run": Path("r"), "data": None, "count": 2000, "seeds": 3, "out": None}),
        ("share", {"run": None, "out": Path("s"), "data": None, "title": None}),
        ("recipes", {}),
    ],
)
def test_commands_and_options_keep_their_names_and_defaults(command, defaults):
    args = parse(command, *REQUIRED.get(command, []))
    assert vars(args) == {"command": command} | defaults


def test_numbers_and_paths_are_parsed():
    args = parse("train", "--run", "a/b", "--steps", 5, "--rate", "0.5", "--hold-out", "0.1")
    assert (args.run, args.steps, args.rate, args.hold_out) == (Path("a/b"), 5, 0.5, 0.1)


@pytest.mark.parametrize(
    "first, second",
    [("--steps", "--epochs"), ("--epochs", "--minutes"), ("--minutes", "--steps")],
)
def test_a_run_has_only_one_length(capsys, first, second):
    with pytest.raises(SystemExit) as stopped:
        parse("train", "--run", "r", first, 1, second, 1)
    assert stopped.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_an_error_is_one_line_with_exit_code_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse("draw", "--count", 0)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith("python -m animegan_helpers draw: ")
    assert "0 is not a whole number of 1 or more" in printed.err and "--help" in printed.err


# ---- help ----


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse("--version")
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == animegan_helpers.__version__


def test_help_lists_every_command(capsys):
    text = help_of(capsys)
    assert text.startswith("usage: python -m animegan_helpers")
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys, command):
    text = help_of(capsys, command)
    assert text.startswith(f"usage: python -m animegan_helpers {command}")
    assert "default: None" not in text and "default: False" not in text


@pytest.mark.parametrize("command, default", [("draw", 4096), ("measure", 2000), ("sample", 64)])
def test_help_shows_defaults(capsys, command, default):
    assert f"(default: {default})" in help_of(capsys, command)


@pytest.mark.parametrize("command", ["draw", "train", "sample"])
def test_help_shows_a_default_of_0(capsys, command):
    text = help_of(capsys, command)
    assert "(default: 0)" in text.partition("--seed SEED ")[2].partition(" --")[0]


def test_help_says_that_a_resumed_run_keeps_its_rates(capsys):
    text = help_of(capsys, "train")
    assert "ignored with --resume" in text.partition("--rate RATE ")[2]


def test_the_examples_in_the_help_use_options_that_exist(capsys):
    lines = [line.split() for line in arguments.EXAMPLE.splitlines()]
    commands = [words for words in lines if words[:2] == ["python", "-m"]]
    assert len(commands) >= 3
    text = help_of(capsys)
    for words in commands:
        parse(*words[3:])
        assert " ".join(words) in text


def test_help_lists_the_public_sets(capsys):
    text = help_of(capsys, "download")
    for name, public_set in sources.PUBLIC_SETS.items():
        assert f"{name}: {public_set.images:,} images, {public_set.page()}" in text


def test_the_title_in_the_help_is_the_one_that_is_used(capsys):
    assert arguments.DEFAULT_TITLE == export.TITLE
    assert f"(default: {export.TITLE})" in help_of(capsys, "share")


def test_the_default_recipe_in_the_help_exists(capsys):
    assert "default: 'default'" in help_of(capsys, "train") and "default" in recipes.RECIPES
