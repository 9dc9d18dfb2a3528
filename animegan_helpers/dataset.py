"""Prepared faces or a folder of images become (N, 64, 64, 3) uint8 batches. Built on page 02."""

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from .drawn import has_labels
from .files import expand
from .image_files import find_images, in_words
from .images import read_image, stack
from .rng import rng
from .stop_signals import ignore_interrupts

Rows = int | slice | Sequence[int] | np.ndarray | torch.Tensor


@dataclass
class Report:
    """What `prepare` found in a folder of images. `unreadable` and `duplicates` are left out."""

    source: str
    fingerprint: str
    size: int
    found: int = 0
    unique: int = 0
    not_rgb: dict = field(default_factory=dict)  # name -> mode
    tiny: dict = field(default_factory=dict)  # name -> "WxH", the shorter side under size / 2
    unreadable: dict = field(default_factory=dict)  # name -> reason
    duplicates: dict = field(default_factory=dict)  # name -> the name of the image that is kept
    repeated: dict = field(default_factory=dict)  # folder -> folder that holds all its images, too
    unusual: list = field(default_factory=list)  # names, the most unusual image first
    sizes: dict = field(default_factory=dict)  # "WxH" -> count, the most frequent first
    passed_over: dict = field(default_factory=dict)  # other files: reason -> count
    labeled: bool = False  # whether the labels.csv of synthetic faces lies beside the images

    def __str__(self):
        lines = [
            f"{self.found:>9,}  images found in {self.source}",
            f"{len(self.unreadable):>9,}  can't be read (left out)",
            f"{len(self.not_rgb):>9,}  are not RGB (converted)",
            f"{len(self.tiny):>9,}  are tiny, under half of {self.size} pixels (kept)",
            f"{len(self.duplicates):>9,}  are exact duplicates, byte for byte (left out)",
            f"{self.unique:>9,}  unique images prepared at {self.size}x{self.size}",
        ]
        if self.passed_over:
            count = sum(self.passed_over.values())
            reasons = in_words(self.passed_over)
            lines.insert(1, f"{count:>9,}  other files passed over: {reasons}")
        details = [self._sizes_in_words(), *self._repeated_in_words()]
        if self.unusual:
            details.append(f"most unusual: {', '.join(self.unusual[:3])} ...")
        return "\n".join(lines + [" " * 11 + detail for detail in details])

    def _sizes_in_words(self) -> str:
        sizes = [f"{size} ({count:,})" for size, count in self.sizes.items()]
        more = " ..." if len(sizes) > 3 else ""
        return f"sizes: {', '.join(sizes[:3])}{more}"

    def _repeated_in_words(self) -> list[str]:
        names = {*self.duplicates, *self.duplicates.values()}
        counts = Counter(folder_of(name) for name in names)
        lines = []
        for copy, original in list(self.repeated.items())[:3]:
            lines.append(f"the folder {copy} repeats {original}: all its {counts[copy]:,} images")
        return lines


def folder_of(name: str) -> str:
    """The name of an image in a report -> the name of its folder, "." for the top one."""
    folder, _, _ = name.rpartition("/")
    return folder or "."


class Faces(Dataset):
    """A prepared set: (N, size, size, 3) uint8 images, read from one array that stays on disk.

    Raises ValueError if a file of the set is missing or damaged.
    """

    def __init__(self, folder: str | Path):
        self.folder = expand(folder)
        try:
            report = (self.folder / "report.json").read_text(encoding="utf-8")
            names = (self.folder / "names.txt").read_text(encoding="utf-8")
            self.report = Report(**json.loads(report))
            self.names = names.split("\n")
            self.array = np.load(self.folder / "faces.npy", mmap_mode="r")
            self._check()
        except Exception as error:  # damaged files raise many types, and all have the same cure
            raise ValueError(
                f"{folder} does not hold a complete prepared set ({error}): prepare its images"
                " again"
            ) from error

    def _check(self) -> None:
        count = len(self.names)
        size = self.report.size
        for name, kind in Report.__annotations__.items():
            if not isinstance(getattr(self.report, name), kind):
                raise ValueError(f"{name} in report.json is not of type {kind.__name__}")
        if self.array.dtype != np.uint8 or self.array.shape != (count, size, size, 3):
            raise ValueError("faces.npy does not match names.txt and report.json")
        if self.report.unique != count:
            raise ValueError("names.txt does not match report.json")

    def __reduce__(self):
        return Faces, (self.folder,)  # a worker process opens the array on disk itself

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows: Rows) -> torch.Tensor:
        """A row number -> (size, size, 3) uint8; a slice, list or array -> (N, size, size, 3).

        The pixels are copies: writing to them changes nothing on disk.
        """
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
        return torch.from_numpy(np.array(self.array[rows]))


def describe(faces: Dataset) -> dict:
    """A set, or a `Subset` of one -> its name, whether its images are labeled, and their number."""
    whole = faces
    while isinstance(whole, Subset):
        whole = whole.dataset
    if hasattr(whole, "report"):
        name, labeled = whole.report.source, whole.report.labeled
    else:
        folder = Path(getattr(whole, "folder", type(whole).__name__))
        name, labeled = folder.absolute().name, has_labels(folder)
    return {"name": name, "labeled": labeled, "images": len(faces)}


class LazyFaces(Dataset):
    """A folder of images: (N, size, size, 3) uint8, each read only when it is asked for.

    An image that can't be read causes one warning (in each worker), and the next image is used.
    """

    def __init__(self, folder: str | Path, size: int = 64):
        self.folder = expand(folder)
        self.paths = find_images(folder)
        self.size = size
        self.unreadable = set()

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, rows: Rows) -> torch.Tensor:
        """A row number -> (size, size, 3) uint8; a slice, list or array -> (N, size, size, 3)."""
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
        elif np.ndim(rows) == 0:
            pixels = self._read(self._checked(rows))
            return torch.from_numpy(pixels.copy())
        return stack(self._read(self._checked(row)) for row in rows)

    def _checked(self, row: int) -> int:
        row = int(row)
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row}: there are {len(self)} images")
        return row % len(self)

    def _read(self, row: int) -> np.ndarray:
        """-> the pixels of this row, or of the first readable one of the 100 rows after it."""
        for offset in range(101):
            path = self.paths[(row + offset) % len(self)]
            if path in self.unreadable:
                continue
            try:
                return read_image(path, self.size)
            except OSError as error:
                self.unreadable.add(path)
                warnings.warn(f"{error}; the next image is used instead", stacklevel=4)
        raise ValueError(
            f"neither {self.paths[row]} nor the 100 images after it can be read:"
            " prepare(folder) lists the reasons"
        )


def split(count: int, held_out: float = 0.1, seed: int = 0) -> tuple[list[int], list[int]]:
    """The number of unique faces -> the rows to train on and the rows held out, both sorted.

    `held_out`: a fraction. The same seed gives the same rows. Raises ValueError for an empty part.
    """
    size = round(count * held_out)
    if not 0 < size < count:
        raise ValueError(
            f"{held_out:g} of {count} faces are {size}: both parts need a face, so choose"
            " another fraction"
        )
    rows = torch.randperm(count, generator=rng(seed, "held out")).tolist()
    return sorted(rows[size:]), sorted(rows[:size])


class BatchOrder(Sampler):
    """Row numbers, batch by batch and without end, from step `start` on.

    Each epoch is shuffled by (seed, epoch). So the batch of any step is known without the steps
    before it, and a resumed run continues with the right one. Raises ValueError for fewer images
    than one batch.
    """

    def __init__(self, count: int, batch: int, seed: int = 0, start: int = 0):
        if count < batch:
            raise ValueError(
                f"{count} images are fewer than one batch of {batch}: add images, or choose a"
                " smaller batch"
            )
        self.count = count
        self.batch = batch
        self.seed = seed
        self.start = start

    def __len__(self):
        """-> the steps of one epoch: complete batches only."""
        return self.count // self.batch

    def __iter__(self) -> Iterator[list[int]]:
        epoch, step = divmod(self.start, len(self))
        while True:
            order = rng(self.seed, "order", epoch)
            rows = torch.randperm(self.count, generator=order).tolist()
            while step < len(self):
                yield rows[step * self.batch : (step + 1) * self.batch]
                step += 1
            epoch += 1
            step = 0


def batches(
    dataset: Dataset, batch: int, seed: int = 0, start: int = 0, workers: int = 0
) -> DataLoader:
    """`Faces` or `LazyFaces` -> endless (batch, size, size, 3) uint8 batches, in `BatchOrder`.

    Raises ValueError for fewer images than one batch.
    """
    order = BatchOrder(len(dataset), batch, seed, start)
    # batch_size=None: what the sampler gives is a list of rows already, and dataset[rows] a batch
    in_workers = {"num_workers": workers, "worker_init_fn": ignore_interrupts}
    return DataLoader(dataset, sampler=order, batch_size=None, **in_workers)
