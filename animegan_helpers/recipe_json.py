"""A recipe becomes a dict that JSON can hold, and back. Imports no torch. Used from page 05 on."""

from dataclasses import asdict, fields

from . import __version__
from .recipes import Recipe

RENAMED_SINCE_0_1 = {"lr_fall", "d_start"}


def to_json(recipe: Recipe) -> dict:
    """-> a dict that JSON can hold."""
    return asdict(recipe)


def with_version(recipe: Recipe) -> dict:
    """-> the same, and the version of the package that wrote it, for the files of a run."""
    return {"version": __version__, **to_json(recipe)}


def from_json(data: dict) -> Recipe:
    """The dict of `to_json` or `with_version` -> the recipe.

    Raises ValueError if it is not one, or if another version of the package wrote it.
    """
    if not isinstance(data, dict) or not {"name", "about"} <= set(data):
        raise ValueError("this is not a recipe")
    if RENAMED_SINCE_0_1 & set(data):
        raise ValueError("made by version 0.1: its recipes can't be read any more, train again")
    values = {}
    for name, value in data.items():
        values[name] = tuple(value) if isinstance(value, list) else value
    version = values.pop("version", "")
    try:
        unknown = set(values) - {field.name for field in fields(Recipe)}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return Recipe(**values)
    except (TypeError, ValueError) as error:
        if _is_newer(version):
            raise ValueError(
                f"made by version {version}, and this is version {__version__}: update the package"
            ) from error
        raise ValueError(f"this is not a recipe: {error}") from error


def differences(recipe: Recipe, other: Recipe) -> list[str]:
    """-> what a recipe does not share with another one but `about`, such as "width 16"."""
    others = to_json(other) | {"about": recipe.about}
    return [f"{name} {value}" for name, value in to_json(recipe).items() if value != others[name]]


def _is_newer(version: str) -> bool:
    """-> whether a version, such as "0.10.1", is newer than this package's."""
    try:
        numbers = [int(number) for number in version.split(".")]
    except (AttributeError, ValueError):
        return False
    return numbers > [int(number) for number in __version__.split(".")]
