"""A name becomes every number of a run: the five sources' recipes, and ours. Imports no torch.

`default` and the generator's layers (transposed convolutions, 4x4, stride 2) are frozen. With three
seeds, only higher weights of R1 (with or without R2) were clearly better by two judges, after 600
CPU seconds; after 240, for which the default is meant, the gain in KID is small (docs/results.md).
"""

from dataclasses import dataclass, field, replace

CHOICES = {
    "loss": ("bce", "hinge", "relativistic"),
    "g_activation": ("relu", "leaky_relu"),
    "d_norm": ("batch", "spectral", "none"),
    "d_init": ("normal", "he"),
}


def check_size(size: int) -> None:
    """Raises ValueError for an image size that 4x4 can't be doubled to."""
    power_of_two = size & (size - 1) == 0
    if size < 16 or not power_of_two:
        raise ValueError(
            f"image size {size} can't work: take a power of two from 16 up, such as 32, 64 or 128"
        )


@dataclass(frozen=True)
class Recipe:
    """All that a run needs but its data and its seed.

    Raises ValueError that names the value that can't work.
    """

    name: str
    about: str = field(compare=False)  # a new wording is no other recipe
    width: int = 64
    z_dim: int = 128
    size: int = 64
    batch: int = 128
    steps: int = 0  # how long the recipe itself trains: steps, or else epochs
    epochs: int = 0
    loss: str = "bce"  # or "hinge", "relativistic"
    real_labels: tuple = (1.0, 1.0)  # each image's label is drawn between these two
    fake_labels: tuple = (0.0, 0.0)
    r1: float = 0.0  # weight of the R1 penalty ...
    r1_every: int = 1  # ... which is computed every r1_every steps (lazy regularization)
    lr_g: float = 2e-4
    lr_d: float = 2e-4
    lr_decay_start: int = 0  # from this step on both rates decay with 1/sqrt(step); 0: never
    betas: tuple = (0.5, 0.999)
    ema: float = 0.0  # decay of G's exponential moving average, at most; 0: no average
    g_activation: str = "relu"
    d_norm: str = "batch"
    d_norm_first: bool = False
    d_init: str = "normal"
    flip: bool = False  # mirror about half of the real images
    augment: bool = False  # DiffAugment, on all images that D sees
    held_out: float = 0.0  # fraction of the images kept from training, to be measured against

    def __post_init__(self):
        check_size(self.size)
        self._check_counts()
        self._check_choices()
        self._check_fractions()

    def _check_counts(self):
        for name in ("width", "z_dim", "r1_every", "batch", "steps", "epochs", "lr_decay_start"):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise ValueError(f"{name} is {value}: it must be a whole number")
        for name in ("width", "z_dim", "r1_every"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be 1 or more")
        for name in ("steps", "epochs", "lr_decay_start", "r1"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"{name} is {value}: it must be 0 or more")
        if self.batch < 2:
            raise ValueError(f"batch is {self.batch}: batch norm needs 2 images or more")

    def _check_choices(self):
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} {value!r}: choose one of {', '.join(choices)}")

    def _check_fractions(self):
        for name in ("lr_g", "lr_d"):
            rate = getattr(self, name)
            if not 0 < rate < 1:
                raise ValueError(f"{name} is {rate}: a learning rate must be above 0 and below 1")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}: Adam takes two, 0 or more and below 1")
        for low, high in (self.real_labels, self.fake_labels):
            if not 0 <= low <= high <= 1:
                raise ValueError(
                    f"labels between {low} and {high}: they must lie in [0, 1], the lower one first"
                )
        for name in ("ema", "held_out"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 0 (none) and below 1")

    def changed(self, **changes: object) -> "Recipe":
        """-> the recipe with some of its numbers changed; None leaves a number as it is."""
        return replace(
            self, **{name: value for name, value in changes.items() if value is not None}
        )


OURS = Recipe(
    "ours",
    "what our recipes share: relativistic loss with lazy R1, no batch norm in D",
    loss="relativistic",
    r1=2.0,
    r1_every=8,
    betas=(0.0, 0.99),
    d_norm="none",
    d_init="he",
)
RECIPES = {
    recipe.name: recipe
    for recipe in [
        OURS.changed(
            name="default",
            about="ours, for two CPU cores: relativistic loss with R1, EMA, decaying rates",
            width=16,
            batch=32,
            steps=2500,
            lr_g=2e-3,
            lr_d=2e-3,
            lr_decay_start=500,
            ema=0.99,
        ),
        OURS.changed(
            name="default-gpu",
            about="ours, at the sizes that suit a GPU",
            width=64,
            batch=128,
            steps=20_000,
            lr_g=2e-4,
            lr_d=2e-4,
            ema=0.999,
            flip=True,
        ),
        OURS.changed(
            name="wide",
            about="ours, for ten minutes or more on two CPU cores: wider, half the rates, constant",
            width=24,
            batch=32,
            steps=8704,
            lr_g=1e-3,
            lr_d=1e-3,
            ema=0.999,
        ),
        OURS.changed(
            name="long",
            about="ours, for an hour or two on two CPU cores: wider, half the rates, stronger R1",
            width=32,
            batch=32,
            steps=30_000,
            lr_g=1e-3,
            lr_d=1e-3,
            lr_decay_start=2000,
            ema=0.9995,
            flip=True,
            r1=16.0,
        ),
        OURS.changed(
            name="pretrained",
            about="ours, the generator that comes with the package, for a GPU",
            width=36,
            batch=128,
            steps=59_617,  # where the training of the published one ended
            lr_g=1e-3,
            lr_d=1e-3,
            lr_decay_start=2000,
            ema=0.9995,
        ),
        Recipe(
            "bce",
            "the non-saturating GAN loss of page 05, for two CPU cores",
            width=16,
            batch=32,
            steps=2500,
            lr_g=5e-4,
            lr_d=5e-4,
        ),
        Recipe(
            "300-epochs",
            "source 1: the plain DCGAN, sampled from Hugging Face",
            steps=149_100,
        ),
        Recipe(
            "noisy-labels",
            "source 2: LeakyReLU in G too, soft and noisy labels, two data sets",
            batch=256,
            steps=20_000,
            real_labels=(0.8, 1.0),
            fake_labels=(0.0, 0.2),
            lr_g=1.5e-4,
            g_activation="leaky_relu",
        ),
        Recipe("paper", "source 3: the numbers of the DCGAN paper", z_dim=100, epochs=25),
        Recipe("scores", "source 4: losses and scores over the iterations", epochs=25),
        Recipe(
            "sequential",
            "source 5: batch norm on D's first layer, too",
            d_norm_first=True,
            epochs=25,
        ),
    ]
}


def ladder() -> dict[str, Recipe]:
    """-> page 09's rungs by name, from the DCGAN of 2015 to our default; each builds on others."""
    small = RECIPES["scores"].changed(width=16, batch=32, lr_g=5e-4, lr_d=5e-4, d_init="he")
    with_r1 = small.changed(r1=2.0, r1_every=8)
    relativistic = with_r1.changed(loss="relativistic")
    with_ema = relativistic.changed(ema=0.99)
    return {
        "DCGAN": RECIPES["scores"],
        "narrow, small batches, He init": small,
        "soft, noisy labels": small.changed(real_labels=(0.8, 1.0), fake_labels=(0.0, 0.2)),
        "spectral norm, hinge": small.changed(loss="hinge", d_norm="spectral"),
        "R1": with_r1,
        "relativistic": relativistic,
        "EMA": with_ema,
        "DiffAugment": with_ema.changed(augment=True),
        "no batch norm in D": with_ema.changed(d_norm="none"),
        "tuned learning rate and Adam": RECIPES["default"],
    }


def get(name: str, gpu: bool = False, **changes: object) -> Recipe:
    """-> the recipe of that name, with some of its numbers changed.

    With `gpu`, "default" is "default-gpu". Raises ValueError for a name that is not in RECIPES.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}: choose one of {', '.join(RECIPES)}")
    if gpu and name == "default":
        name = "default-gpu"
    return RECIPES[name].changed(**changes)
