"""The name of a data source becomes a `Source`: what it is and where it is. Shown on page 01."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from .device import data_folder, run_folders
from .files import expand

WITHDRAWN = "Mckinsey666/Anime-Face-Dataset"


@dataclass(frozen=True)
class PublicSet:
    """A set that others have uploaded, and where. The pins name the version these pages expect."""

    images: int  # as its page says
    kaggle: str = ""
    version: int = 0  # the pin on Kaggle; taken from other people's notebooks, not tried by us
    hub: str = ""
    commit: str = ""  # the pin on Hugging Face

    def page(self) -> str:
        """-> the address of the set's page, to download it by hand."""
        if self.kaggle:
            return f"https://www.kaggle.com/datasets/{self.kaggle}"
        return f"https://huggingface.co/datasets/{self.hub}"


HUB = {"hub": "DrishtiSharma/Anime-Face-Dataset", "commit": "852f24a"}
PUBLIC_SETS = {
    "animefacedataset": PublicSet(63_632, "splcher/animefacedataset", 3, **HUB),
    "anime-faces": PublicSet(21_551, "soumikrakshit/anime-faces", 1),
    "animecharacterfaces": PublicSet(9_754, "aadilmalik94/animecharacterfaces", 1),
    "anime-face-dataset": PublicSet(63_565, **HUB),
}


@dataclass(frozen=True)
class Source:
    """A data source whose name has been read.

    `kind` is "drawn", "prepared", "folder", "archive" or "public". `path` is the folder or the
    archive; for "drawn" and "public", the folder that the images go to unless another is given.
    """

    kind: str
    name: str  # for "public", a key of PUBLIC_SETS; otherwise as it was given
    path: Path


def resolve(source: str | Path | Source | None = None) -> Source:
    """The name of a source -> what it is and where it is. Nothing is downloaded or written.

    "drawn" stands for the synthetic faces. Otherwise a folder or a zip of that name comes first,
    then the public sets; a name that is both causes a warning. None stands for what the environment
    variable ANIMEGAN_DATA names, or else what `download.choose` has kept, or else "drawn". What
    `resolve` has returned is returned as it is.
    Raises FileNotFoundError for an unknown name, ValueError for "" and the set that was withdrawn.
    """
    if isinstance(source, Source):
        return source
    name = _default() if source is None else str(source)
    if not name.strip():
        raise ValueError("an empty name for the data: name a folder, a zip, a set, or 'drawn'")
    path = expand(name)
    if name == "drawn":
        drawn = data_folder() / "drawn"
        if path.exists() and path.resolve() != drawn.resolve():
            _warn("'drawn' stands for the synthetic faces; the folder of that name is './drawn'")
        return Source("drawn", name, drawn)
    public = _public_name(name)
    if public and path.exists():
        _warn(f"{name} is taken as {path.resolve()}, not as the public set of that name")
    if path.is_dir():
        if _is_prepared(path):
            return Source("prepared", name, path)
        return Source("folder", name, path)
    if path.is_file():
        return Source("archive", name, path)
    if public:
        return Source("public", public, data_folder() / public)
    if WITHDRAWN.lower() in name.lower():
        raise ValueError(
            f"{WITHDRAWN} was withdrawn by its author in 2022, for copyright reasons. Copies that"
            " others uploaded are still available: 'animefacedataset' (Kaggle) and"
            " 'anime-face-dataset' (Hugging Face). Page 01 explains"
        )
    was_chosen = source is None and not os.environ.get("ANIMEGAN_DATA")
    raise FileNotFoundError(_unknown(name, was_chosen))


def _unknown(name: str, was_chosen: bool) -> str:
    """-> a message for a name that stands for nothing; `was_chosen`: by `download.choose`."""
    origin = " (chosen on page 01, perhaps on another machine)" if was_chosen else ""
    cure = ". download.choose(...) keeps another choice for all pages" if was_chosen else ""
    return (
        f"{name}{origin}: no such folder or zip. Name one that exists, or a public set"
        f" ({', '.join(PUBLIC_SETS)}), or 'drawn' for synthetic faces{cure}"
    )


def _is_prepared(folder: Path) -> bool:
    """-> whether a folder is a prepared set, perhaps a damaged one."""
    from .image_files import holds_images  # needs Pillow, which --help does without

    if (folder / "faces.npy").exists():
        return True
    return (folder / "report.json").exists() and not holds_images(folder)


def _public_name(name: str) -> str | None:
    """-> the key in PUBLIC_SETS of a set's name, here or on Kaggle."""
    for key, public in PUBLIC_SETS.items():
        if name in (key, public.kaggle):
            return key
    return None


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def _default() -> str:
    """-> the name that stands for no name."""
    named = os.environ.get("ANIMEGAN_DATA")
    if named:
        return named
    return chosen_name() or "drawn"


def chosen_file() -> Path:
    """-> the file that keeps what `download.choose` chose: a path as its bytes, or a set's name.

    It lies beside the runs, since these are what outlives a session on Colab and Kaggle.
    """
    return data_folder() / "runs" / "chosen.txt"


def keep_choice(choice: str | Path) -> None:
    """Keep the name of a set, or a folder, for all pages. "drawn" needs no file."""
    file = chosen_file()
    file.unlink(missing_ok=True)
    if choice != "drawn" or chosen_name():  # on Kaggle, an attached output may hold another choice
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.fsencode(choice))


def chosen_name() -> str | None:
    """-> the choice that was kept, on Kaggle also in an attached output; None without one."""
    for folder in run_folders():
        file = folder / chosen_file().name
        if file.is_file():
            return os.fsdecode(file.read_bytes()).strip()
    return None
