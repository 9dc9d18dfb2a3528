"""Pictures on disk become (N, 3, 64, 64) tensors in [-1, 1], and back. Built in page 02."""

import hashlib
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from . import download
from .device import data_folder, generator


def find_pictures(folder) -> list[Path]:
    """-> the pictures in a folder and the folders below it, sorted. Raises FileNotFoundError if there are none."""
    folder = Path(folder)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in download.ENDINGS and path.is_file())
    if not found:
        raise FileNotFoundError(f"no pictures ({', '.join(download.ENDINGS)}) in {folder}: is it the right folder?")
    return found


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any picture -> RGB, upright, with white where it was transparent."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255 instead of scaling them
        picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def to_square(picture: Image.Image, size: int = 64) -> Image.Image:
    """Shorter side to `size` pixels, then the centre cut out: (W, H) -> (size, size)."""
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS) if scale != 1 else picture
    left, top = (width - size) // 2, (height - size) // 2
    return picture.crop((left, top, left + size, top + size))


def read_picture(path, size: int = 64) -> np.ndarray:
    """A file -> (size, size, 3) uint8. Raises OSError if it can't be read to its last byte."""
    with Image.open(path) as picture:
        return np.asarray(to_square(to_rgb(picture), size))


def stack(pictures) -> torch.Tensor:
    """Pillow pictures or arrays of one size, (H, W, 3) each -> (N, H, W, 3) uint8."""
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))


def to_tensor(pixels) -> torch.Tensor:
    """(N, H, W, 3) uint8 in 0..255 -> (N, 3, H, W) float32 in [-1, 1]."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(pictures: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) in [-1, 1] -> (N, H, W, 3) uint8 in 0..255: `to_tensor` undone, without loss."""
    return ((pictures.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu()


def flip(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(N, H, W, 3) -> the same, about half of the pictures mirrored left to right."""
    mirrored = torch.rand(len(pixels), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], pixels.flip(2), pixels)


class PictureFolder(Dataset):
    """Lazy: a batch of row numbers -> (N, size, size, 3) uint8, reading just those pictures from a folder."""

    def __init__(self, folder, size: int = 64):
        self.paths, self.size = find_pictures(folder), size

    def __len__(self):
        return len(self.paths)

    def __getitems__(self, rows):
        return stack(read_picture(self.paths[row], self.size) for row in rows)


class Prepared(Dataset):
    """Prepared: a batch of row numbers -> (N, size, size, 3) uint8, cut from one array that stays on the disk."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.report = Report(**json.loads((self.folder / "report.json").read_text(encoding="utf-8")))
        self.names = (self.folder / "names.txt").read_text(encoding="utf-8").splitlines()
        self.array = np.load(self.folder / "faces.npy", mmap_mode="r")

    def __len__(self):
        return len(self.array)

    def __getitems__(self, rows):
        return torch.from_numpy(self.array[rows])


class BatchOrder(Sampler):
    """Row numbers, batch by batch: epoch after epoch from step `start` on, each epoch shuffled by (seed, epoch).

    Any step's batch can be told without the steps before it: so a run that was cut goes on with the right one.
    """

    def __init__(self, count: int, batch: int, seed: int = 0, start: int = 0):
        if count < batch:
            raise ValueError(
                f"{count} pictures are fewer than one batch of {batch}: add pictures, or take a smaller batch"
            )
        self.count, self.batch, self.seed, self.start = count, batch, seed, start

    def __len__(self):
        """-> the steps of one epoch: whole batches only."""
        return self.count // self.batch

    def __iter__(self):
        epoch, first = divmod(self.start, len(self))
        while True:
            rows = torch.randperm(self.count, generator=generator(self.seed, epoch)).tolist()
            for step in range(first, len(self)):
                yield rows[step * self.batch : (step + 1) * self.batch]
            epoch, first = epoch + 1, 0


def batches(dataset: Dataset, batch: int, seed: int = 0, start: int = 0, workers: int = 0) -> DataLoader:
    """A `PictureFolder` or a `Prepared` set -> endless (batch, size, size, 3) uint8 batches, shuffled each epoch."""
    order = BatchOrder(len(dataset), batch, seed, start)
    return DataLoader(dataset, batch_sampler=order, collate_fn=_as_it_is, num_workers=workers)


def _as_it_is(batch):  # the datasets return whole batches; a named function, since workers can't be sent a lambda
    return batch


@dataclass
class Report:
    """What was found in a folder of pictures. `unreadable` and `duplicates` name the files left out."""

    source: str
    fingerprint: str
    size: int
    found: int = 0
    unique: int = 0
    not_rgb: int = 0
    unreadable: dict = field(default_factory=dict)
    duplicates: dict = field(default_factory=dict)
    sizes: dict = field(default_factory=dict)

    def __str__(self):
        most = ", ".join(f"{size} ({count:,})" for size, count in list(self.sizes.items())[:3])
        return "\n".join([
            f"{self.found:>9,}  pictures found in {self.source}",
            f"{len(self.unreadable):>9,}  can't be read (left out)",
            f"{self.not_rgb:>9,}  are not RGB (converted)",
            f"{len(self.duplicates):>9,}  are exact copies, byte for byte, of another (left out)",
            f"{self.unique:>9,}  unique pictures prepared at {self.size}x{self.size}",
            f"           sizes: {most}{' ...' if len(self.sizes) > 3 else ''}",
        ])  # fmt: skip


def prepare(folder, out=None, size: int = 64) -> Prepared:
    """A folder of pictures -> faces.npy (N, size, size, 3) uint8, names.txt and report.json in the folder `out`.

    Each picture is decoded once, exact copies and unreadable files are left out and named in the report.
    A folder prepared before and unchanged since is not prepared again.
    Raises ValueError when more than 1 % can't be read.
    """
    folder = Path(folder)
    out = Path(out or data_folder() / "prepared" / f"{folder.resolve().name}_{size}")
    paths = find_pictures(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    stats = [path.stat() for path in paths]
    marks = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in zip(names, stats)]
    report = Report(folder.name, hashlib.sha256("\n".join([*marks, str(size)]).encode()).hexdigest(), size)
    if (out / "report.json").exists() and (ready := Prepared(out)).report.fingerprint == report.fingerprint:
        return ready
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").unlink(missing_ok=True)  # written last: a set without it is not whole
    kept = _decode(paths, names, report, out / "faces.npy")
    if len(report.unreadable) > 0.01 * len(paths):
        name, reason = next(iter(report.unreadable.items()))
        raise ValueError(
            f"{len(report.unreadable):,} of {len(paths):,} pictures in {folder} can't be read"
            f" (the first: {name}: {reason}): the download is damaged, get it again, or delete these files"
        )
    (out / "names.txt").write_text("\n".join(kept), encoding="utf-8")
    (out / "report.json").write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")
    return Prepared(out)


def _decode(paths, names, report: Report, target: Path) -> list[str]:
    """Fill `target` with the unique readable pictures and `report` with what was seen; -> the names of the rows."""
    first_of, kept, sizes = {}, [], Counter()
    with open(target, "w+b") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        _write_header(file, 0, report.size)
        bar = tqdm(total=len(paths), desc="preparing", unit="picture")
        for i in range(0, len(paths), 512):  # a piece at a time, so that memory stays small
            for name, (digest, mode, shape, pixels) in zip(
                names[i:], pool.map(_examine, paths[i : i + 512], [report.size] * 512)
            ):
                report.found += 1
                if mode is None:
                    report.unreadable[name] = pixels
                elif digest in first_of:
                    report.duplicates[name] = first_of[digest]
                else:
                    first_of[digest] = name
                    kept.append(name)
                    file.write(pixels)
                if mode is not None:
                    sizes[f"{shape[0]}x{shape[1]}"] += 1
                    report.not_rgb += mode != "RGB"
                bar.update()
        bar.close()
        file.seek(0)
        _write_header(file, len(kept), report.size)
    report.unique, report.sizes = len(kept), dict(sizes.most_common())
    return kept


def _examine(path: Path, size: int):
    """A file -> (digest of its bytes, mode, size, pixels as bytes), or (None, None, None, why it can't be read)."""
    try:
        raw = path.read_bytes()
        with Image.open(path) as picture:
            mode, shape = picture.mode, picture.size
            return hashlib.sha256(raw).digest(), mode, shape, np.asarray(to_square(to_rgb(picture), size)).tobytes()
    except Exception as error:  # Pillow raises many kinds: whatever it is, this file can't be used
        return None, None, None, (str(error) or type(error).__name__).replace(str(path), path.name)


def _write_header(file, count: int, size: int) -> None:
    # NumPy leaves room for the count to grow, so that the header can be written again when the count is known.
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    )


def ready(source=None, size: int = 64) -> Prepared:
    """Any source (a prepared set, a folder, a zip, "drawn", None for the default) -> the prepared set."""
    if source and Path(source, "faces.npy").exists():
        prepared = Prepared(source)
        if prepared.report.size != size:
            raise ValueError(f"{source} was prepared at {prepared.report.size} pixels, not {size}: prepare it again")
        return prepared
    return prepare(download.get(source), size=size)
