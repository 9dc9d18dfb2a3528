"""One line says what a page works with: this machine, the chosen set, the newest run."""

from . import device, sources
from .pretrained import newest_run
from .runs import read_data

BRING = {  # how a run made elsewhere gets here
    "colab": "; to bring one, mount Drive and run the first cell again",
    "kaggle": "; to bring one, add the output of its notebook as an input",
    "here": "",
}


def trained_on() -> str | None:
    """-> the set of the newest run, as `load_faces` takes it.

    It is None, the chosen set, for a run on a folder of its own: a run keeps only its name.
    """
    run = newest_run()
    name = read_data(run).get("name") if run else "drawn"
    return name if name in ("drawn", *sources.PUBLIC_SETS) else None


def summary() -> str:
    """-> such as "Tesla T4: ...; faces: drawn; generator: your run page-05 (trained on drawn)"."""
    run = newest_run()
    if run:
        name = read_data(run).get("name", "faces that it does not name")
        generator = f"your run {run.name} (trained on {name})"
    else:
        generator = f"the pretrained one (page 05 trains yours{BRING[device.where()]})"
    try:
        faces = sources.resolve()
        name = faces.name if faces.kind in ("drawn", "public") else faces.path
    except (OSError, ValueError) as error:
        name = f"none ({error})"
    return f"{device.pick()}; faces: {name}; generator: {generator}"
