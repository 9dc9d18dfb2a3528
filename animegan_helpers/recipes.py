"""A name becomes every number of a run. The five sources' recipes, and ours."""

from dataclasses import asdict, dataclass, fields, replace

from .layers import halvings


@dataclass(frozen=True)
class Recipe:
    """All that a run needs but its data and its seed. Raises ValueError that names the value that can't work."""

    name: str
    about: str
    width: int = 64
    z_dim: int = 128
    size: int = 64
    batch: int = 128
    steps: int = 0  # how long the recipe itself trains: steps, or else epochs
    epochs: int = 0
    loss: str = "bce"  # or "hinge", "relativistic"
    real_labels: tuple = (1.0, 1.0)  # each picture's label is drawn between these two
    fake_labels: tuple = (0.0, 0.0)
    r1: float = 0.0  # weight of the gradient penalty on real pictures
    r1_every: int = 1  # ... and on which steps
    lr_g: float = 2e-4
    lr_d: float = 2e-4
    lr_fall: int = 0  # from this step on both rates fall with the root of the step; 0: never
    betas: tuple = (0.5, 0.999)
    ema: float = 0.0  # what G's moving average keeps of itself each step, at most; 0: no average
    g_activation: str = "relu"
    d_norm: str = "batch"
    d_norm_first: bool = False
    d_start: str = "normal"
    flip: bool = False
    augment: bool = False  # DiffAugment: D sees real and fake pictures shifted, cut and tinted
    held_out: float = 0.0  # share of the pictures that is kept from training, to be measured against

    def __post_init__(self):
        halvings(self.size)
        for name in ("width", "z_dim", "batch", "r1_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        for name in ("lr_g", "lr_d"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: a learning rate lies between 0 and 1")
        if self.batch < 2:
            raise ValueError(f"batch is {self.batch}: batch norm needs 2 pictures or more")
        choices = {"loss": ("bce", "hinge", "relativistic"), "g_activation": ("relu", "leaky_relu")}
        for name, known in (choices | {"d_norm": ("batch", "spectral", "none"), "d_start": ("normal", "he")}).items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: choose one of {', '.join(known)}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}: they must be 0 or more, and below 1")
        for low, high in (self.real_labels, self.fake_labels):
            if not 0 <= low <= high <= 1:
                raise ValueError(f"labels between {low} and {high}: they must lie in [0, 1], the lower one first")
        for name in ("ema", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 0 (none) or below 1")

    def changed(self, **changes) -> "Recipe":
        """-> the recipe with some of its numbers changed; None leaves one as it is."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})


RECIPES = {
    recipe.name: recipe
    for recipe in [
        Recipe(
            "default",
            "ours, for two CPU cores: relativistic pairing with R1, no batch norm in D, averaged G, falling rates",
            width=16, batch=32, steps=2500, loss="relativistic", r1=2.0, r1_every=8, lr_g=2e-3, lr_d=2e-3,
            lr_fall=500, betas=(0.0, 0.99), ema=0.99, d_norm="none", d_start="he",
        ),
        Recipe(
            "default-gpu",
            "ours, at the sizes a GPU deserves",
            width=64, batch=128, steps=20_000, loss="relativistic", r1=2.0, r1_every=8, lr_g=2e-4, lr_d=2e-4,
            betas=(0.0, 0.99), ema=0.999, d_norm="none", d_start="he", flip=True,
        ),
        Recipe(
            "ready",
            "ours, wider and for longer: the generator that comes with the package",
            width=24, batch=32, steps=8704, loss="relativistic", r1=2.0, r1_every=8, lr_g=1e-3, lr_d=1e-3,
            betas=(0.0, 0.99), ema=0.999, d_norm="none", d_start="he",
        ),
        Recipe(
            "long",
            "ours, for an hour or two on two CPU cores: wider, half the rates, a longer average, mirrored faces",
            width=32, batch=32, steps=30_000, loss="relativistic", r1=2.0, r1_every=8, lr_g=1e-3, lr_d=1e-3,
            lr_fall=2000, betas=(0.0, 0.99), ema=0.9995, d_norm="none", d_start="he", flip=True,
        ),
        Recipe(
            "bce",
            "the plain game of page 05, for two CPU cores",
            width=16, batch=32, steps=2500, lr_g=5e-4, lr_d=5e-4,
        ),
        Recipe("300-epochs", "source 1: the plain DCGAN, sampled from Hugging Face", steps=149_100),
        Recipe(
            "noisy-labels",
            "source 2: LeakyReLU in G too, soft and noisy labels, two data sets",
            batch=256, steps=20_000, real_labels=(0.8, 1.0), fake_labels=(0.0, 0.2), lr_g=1.5e-4,
            g_activation="leaky_relu",
        ),
        Recipe("paper", "source 3: the numbers of the DCGAN paper", z_dim=100, epochs=25),
        Recipe("scores", "source 4: losses and scores over the iterations", epochs=25),
        Recipe("sequential", "source 5: batch norm on D's first layer, too", d_norm_first=True, epochs=25),
    ]
}  # fmt: skip


def ladder() -> dict[str, Recipe]:
    """-> page 09's rungs by name, each built on an earlier one: from the DCGAN of 2015 to our default."""
    small = RECIPES["scores"].changed(width=16, batch=32, lr_g=5e-4, lr_d=5e-4, d_start="he")
    steep = small.changed(r1=2.0, r1_every=8)
    pairs = steep.changed(loss="relativistic")
    average = pairs.changed(ema=0.99)
    bare = average.changed(d_norm="none")
    return {
        "DCGAN": RECIPES["scores"],
        "narrow, small batches, he": small,
        "soft, noisy labels": small.changed(real_labels=(0.8, 1.0), fake_labels=(0.0, 0.2)),
        "spectral norm, hinge": small.changed(loss="hinge", d_norm="spectral"),
        "R1": steep,
        "pairs": pairs,
        "average": average,
        "DiffAugment": average.changed(augment=True),
        "no batch norm in D": bare,
        "our pace": RECIPES["default"],
    }


def get(name: str, gpu: bool = False, **changes) -> Recipe:
    """-> the recipe of that name, with some of its numbers changed; "default" has numbers of its own on a GPU."""
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES["default-gpu" if gpu and name == "default" else name].changed(**changes)


def to_json(recipe: Recipe) -> dict:
    """-> a dict that JSON can hold."""
    return asdict(recipe)


def from_json(data: dict) -> Recipe:
    """The dict of `to_json` -> the recipe. Raises ValueError if it is not one."""
    names = {field.name for field in fields(Recipe)}
    if not isinstance(data, dict) or set(data) - names or not {"name", "about"} <= set(data):
        raise ValueError("this is not a recipe")
    try:
        return Recipe(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})
    except TypeError as error:
        raise ValueError(f"this is not a recipe: {error}") from None
