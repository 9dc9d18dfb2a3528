"""What version 0.1 recorded becomes what version 0.2 reads: names change, numbers do not.

python tests/benchmarks/convert_records.py
-> rewrites what it converts; converted files stay as they are
"""

import json
from pathlib import Path

from convert_recorded import convert_recorded
from pretrained_card import pretrained_card

from animegan_helpers import recipe_json, recipes
from animegan_helpers.checkpoints import atomic_write
from animegan_helpers.judge import PRETRAINED

RECIPE_FIELDS = {"lr_fall": "lr_decay_start", "d_start": "d_init"}
RECIPE_NAMES = {"ready": "pretrained"}
ROW_NAMES = {
    "hair and eye colours seen together": "hair and eye color pairs",
    "wrong shares of attributes, %": "total variation distance, %",
}
EFFECT_NAMES = {"right": "correct"}
# How version 0.1 trained the generator that comes with the package.
TRAINING_FACTS = {
    "faces": 16_384,
    "steps": 8704,
    "hours": 1.4,
    "machine": "1 core of AMD EPYC",
    "torch": "2.15.0",
    "date": "2026-11-22",
}


# ---- names ----


def renamed(numbers: dict, names: dict[str, str]) -> dict:
    """A dict -> the same values in the same order, under the new name where `names` has one."""
    return {names.get(name, name): value for name, value in numbers.items()}


def convert_recipe(data: dict) -> dict:
    """A recipe of version 0.1, as JSON -> one that `recipe_json.from_json` reads.

    Raises ValueError if a recipe of that name exists and has other numbers.
    """
    converted = renamed(data, RECIPE_FIELDS)
    converted["name"] = RECIPE_NAMES.get(data["name"], data["name"])
    recipe = recipe_json.from_json(converted)
    known = recipes.RECIPES.get(recipe.name)
    if known is None:
        return recipe_json.to_json(recipe)
    recipe = recipe.changed(about=known.about)
    if recipe != known:
        raise ValueError(f"recipe {recipe.name} has other numbers than the package's: {recipe}")
    return recipe_json.to_json(recipe)


def convert_measures(measures: dict) -> dict:
    """Rows of `metrics.measure`, numbers by name -> the same under the new names."""
    names = dict(ROW_NAMES)
    for old, new in ROW_NAMES.items():
        names[f"{old} (real)"] = f"{new} (real)"
    return renamed(measures, names)


# ---- the pretrained generator ----


def with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """A safetensors file -> the same with other metadata; its tensors are copied byte for byte.

    The file begins with the length of its header (8 bytes), and the header, padded to 8 bytes.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = metadata
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def convert_safetensors(path: Path) -> None:
    """A shared generator of version 0.1 -> the file that `load_safetensors` reads, in place."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    if "version" in metadata:
        return
    metadata["version"] = "0.2.0"
    if "recipe" in metadata:
        metadata["recipe"] = json.dumps(convert_recipe(json.loads(metadata["recipe"])))
    atomic_write(path, with_metadata(content, metadata))


def convert_tables(path: Path) -> dict:
    """tables.json of version 0.1 -> the same numbers under the new names, in place and returned."""
    tables = json.loads(path.read_text(encoding="utf-8"))
    tables["measures"] = convert_measures(tables["measures"])
    effects = {name: renamed(row, EFFECT_NAMES) for name, row in tables["effects"].items()}
    tables["effects"] = effects
    atomic_write(path, (json.dumps(tables, indent=1) + "\n").encode())
    return tables


def convert_pretrained(folder: Path) -> None:
    """The folder of the pretrained generator: its metadata, its tables, and its card."""
    convert_safetensors(folder / "generator.safetensors")
    tables = convert_tables(folder / "tables.json")
    card = pretrained_card(tables, TRAINING_FACTS)
    atomic_write(folder / "README.md", card.encode())


def main() -> None:
    convert_pretrained(PRETRAINED)
    convert_recorded()


if __name__ == "__main__":
    main()
