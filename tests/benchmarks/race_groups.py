"""The groups of recipes that race.py compares, and the CPU seconds at which it measures them."""

from animegan_helpers import recipes

OUR_LAST_MARK = 600  # CPU seconds; later ours is not needed for a comparison with the sources
OTHER_SEEDS_LAST_MARK = {"sources": 600}  # CPU seconds, by group; seed 0 runs to the end
DEFAULT = recipes.get("default")
OUR_SIZES = {"width": DEFAULT.width, "batch": DEFAULT.batch, "ema": DEFAULT.ema}
START = DEFAULT.changed(  # where the search began
    lr_decay_start=0, ema=0.999, r1=2.0, r1_every=8, betas=(0.0, 0.99)
)
STRONG_R1 = START.changed(r1=8.0, ema=0.995)


def page_09() -> dict[str, recipes.Recipe]:
    """-> page 09's rungs by name: the package's, and WGAN-GP, whose step is in variants.py."""
    rungs = {}
    for name, recipe in recipes.ladder().items():
        rungs[name] = recipe
        if name == "spectral norm, hinge":
            small = rungs["narrow, small batches, He init"]
            rungs["WGAN-GP"] = small.changed(d_norm="none", betas=(0.0, 0.9))
    return rungs


LADDER = page_09()

# The default with one of its parts taken away, or replaced by what the DCGAN paper has.
LEAVE_ONE_OUT = {
    "default": DEFAULT,
    "without R1": DEFAULT.changed(r1=0.0),
    "BCE, not relativistic": DEFAULT.changed(loss="bce"),
    "without EMA": DEFAULT.changed(ema=0.0),
    "with batch norm in D": DEFAULT.changed(d_norm="batch"),
    "D's weights from N(0, 0.02)": DEFAULT.changed(d_init="normal"),
    "learning rates of 2e-4": DEFAULT.changed(lr_g=2e-4, lr_d=2e-4),
    "constant learning rates": DEFAULT.changed(lr_decay_start=0),
    "Adam's betas (0.5, 0.999)": DEFAULT.changed(betas=(0.5, 0.999)),
}

# The sources' recipes at our width, batch size and EMA.
FAIR = {
    "1 and 4 (300-epochs, scores)": recipes.get("scores", **OUR_SIZES),
    "2 (noisy-labels)": recipes.get("noisy-labels", **OUR_SIZES),
    "3 (paper)": recipes.get("paper", **OUR_SIZES),
    "5 (sequential)": recipes.get("sequential", **OUR_SIZES),
    "ours (default)": DEFAULT,
}

SOURCES = {
    "1 and 4 (300-epochs, scores)": recipes.get("scores"),
    "2 (noisy-labels)": recipes.get("noisy-labels"),
    "3 (paper)": recipes.get("paper"),
    "5 (sequential)": recipes.get("sequential"),
    "ours (default)": DEFAULT,
}

# One change at a time; entries with dots change what the entry before them has.
SEARCH = {
    "start": START,
    "rates 4e-3": START.changed(lr_g=4e-3, lr_d=4e-3),
    "batch 16": START.changed(batch=16),
    "batch 64, rates 3e-3": START.changed(batch=64, lr_g=3e-3, lr_d=3e-3),
    "width 12": START.changed(width=12),
    "z_dim 32": START.changed(z_dim=32),
    "EMA over 100 steps": START.changed(ema=0.99),
    "Adam (0, 0.9)": START.changed(betas=(0.0, 0.9)),
    "R1 0.5": START.changed(r1=0.5),
    "R1 8": START.changed(r1=8.0),
    "G's rate halved": START.changed(lr_g=1e-3),
    "D's rate halved": START.changed(lr_d=1e-3),
    "R1 8, EMA over 200 steps": STRONG_R1,
    "... R1 16, every 16th step": STRONG_R1.changed(r1=16.0, r1_every=16),
    "... R1 32": STRONG_R1.changed(r1=32.0),
    "... Adam (0.5, 0.99)": STRONG_R1.changed(betas=(0.5, 0.99)),
    "... with flips": STRONG_R1.changed(flip=True),
    "... rates decay from step 500": STRONG_R1.changed(lr_decay_start=500),
    "... rates 3e-3, decay from step 250": STRONG_R1.changed(
        lr_g=3e-3, lr_d=3e-3, lr_decay_start=250
    ),
    "... decay, width 20": STRONG_R1.changed(lr_decay_start=500, width=20),
    "... decay, batch 16": STRONG_R1.changed(lr_decay_start=500, batch=16),
}

# The search's best at two minutes, against where it began.
FINALS = {
    "start": START,
    "EMA over 100 steps": START.changed(ema=0.99),
    "EMA over 100 steps, rates decay from step 500": START.changed(ema=0.99, lr_decay_start=500),
    "R1 8, EMA over 200 steps, decay from step 500": STRONG_R1.changed(lr_decay_start=500),
    "R1 8, EMA over 200 steps, decay from step 500, batch 16": STRONG_R1.changed(
        lr_decay_start=500, batch=16
    ),
}

TEN_MINUTES = {
    "start": START,
    "EMA over 100 steps, rates decay from step 500": START.changed(ema=0.99, lr_decay_start=500),
    "rates decay from step 2000": START.changed(lr_decay_start=2000),
    "width 24, rates decay from step 500": START.changed(width=24, lr_decay_start=500),
}

# The default with other layers in G.
LAYER_VARIANTS = {  # name in a group: name in variants.py
    "default: transposed convolutions": "",
    "transposed convolutions, blur": "transposed, blur",
    "bilinear upsampling": "bilinear",
    "pixel shuffle": "pixel shuffle",
}
LAYERS = {name: DEFAULT for name in LAYER_VARIANTS}
LEVEL_LAYERS = ("default: transposed convolutions", "pixel shuffle")  # level after 600 seconds
# R1 with higher weights, with and without R2.
PENALTIES = {
    "default: R1 of weight 2": DEFAULT,
    "R1 of weight 8": DEFAULT.changed(r1=8.0),
    "R1 of weight 16": DEFAULT.changed(r1=16.0),
    "R1 and R2 of weight 8": DEFAULT.changed(r1=8.0),
}
# R2 at the default's weight, and a wider D.
VARIANTS = {
    "default: R1 of weight 2": DEFAULT,
    "R1 and R2 of weight 2": DEFAULT,
    "D 1.5 times as wide": DEFAULT,
}
VARIANT_OF = LAYER_VARIANTS | {  # in any group
    "WGAN-GP": "WGAN-GP",
    "R1 and R2 of weight 8": "R2",
    "R1 and R2 of weight 2": "R2",
    "D 1.5 times as wide": "D 1.5 times as wide",
}
BY_TWO_JUDGES = {*LAYERS, *PENALTIES, *VARIANTS}  # names that the second judge measures, too

# For each group its recipes by name, and the CPU seconds at which they are measured.
GROUPS = {
    "ladder": (LADDER, (30, 60, 240)),
    "leave_one_out": (LEAVE_ONE_OUT, (30, 60, 120)),
    "fair": (FAIR, (30, 60)),
    "sources": (SOURCES, (60, 300, 600, 1200, 2400)),
    "search": (SEARCH, (60, 120, 240)),
    "finals": (FINALS, (60, 120, 240)),
    "ten_minutes": (TEN_MINUTES, (240, 600, 1200)),
    "variants": (VARIANTS, (60, 240, 600)),
    "layers": (LAYERS, (60, 240, 600)),
    "layers_hour": ({name: DEFAULT for name in LEVEL_LAYERS}, (600, 1800, 3600)),
    "penalties": (PENALTIES, (60, 240, 600)),
}


def marks_of(group: str, name: str, seed: int) -> list[int]:
    """-> the CPU seconds at which a recipe's run of this seed is measured."""
    marks = GROUPS[group][1]
    last = marks[-1]
    if name.startswith("ours"):
        last = OUR_LAST_MARK
    if seed > 0:
        last = min(last, OTHER_SEEDS_LAST_MARK.get(group, last))
    return [mark for mark in marks if mark <= last]
