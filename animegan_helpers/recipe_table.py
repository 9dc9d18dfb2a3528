"""All recipes become a table of text, for the shell."""

from . import recipes

RECIPE_ROW = "{:<14}{:>5}{:>7}{:>7}  {:<14}{:<9}{:<9}{:<14}{:<9}{}"
RECIPE_TITLES = (
    "name",
    "width",
    "z_dim",
    "batch",
    "loss",
    "lr of G",
    "lr of D",
    "labels",
    "EMA",
    "length",
)


def recipe_table() -> str:
    """-> the numbers of every recipe, two lines each, below their titles, and what a source is."""
    lines = [RECIPE_ROW.format(*RECIPE_TITLES)]
    for recipe in recipes.RECIPES.values():
        length = f"{recipe.steps:,} steps" if recipe.steps else f"{recipe.epochs} epochs"
        row = RECIPE_ROW.format(
            recipe.name,
            recipe.width,
            recipe.z_dim,
            recipe.batch,
            recipe.loss,
            f"{recipe.lr_g:g}",
            f"{recipe.lr_d:g}",
            format_labels(recipe),
            recipe.ema or "-",
            length,
        )
        lines.append(row)
        lines.append(f"    {recipe.about}")
    lines.append("Sources 1 to 5 are public projects; page 09 names them.")
    return "\n".join(lines)


def format_labels(recipe: recipes.Recipe) -> str:
    """A recipe -> its labels for real and fake images: "1, 0", "0.8-1, 0-0.2" or "-"."""
    if recipe.loss != "bce":
        return "-"
    return f"{_range(*recipe.real_labels)}, {_range(*recipe.fake_labels)}"


def _range(low, high) -> str:
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"
