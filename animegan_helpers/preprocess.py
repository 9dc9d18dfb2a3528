"""Pictures on disk become (N, 3, 64, 64) tensors in [-1, 1], and back. Built in page 02."""

import hashlib
import io
import json
import os
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from . import download
from .device import data_folder, generator

HELD_OUT = 301  # what a seed is used for, as in `training`


def find_pictures(folder) -> list[Path]:
    """-> the pictures in a folder and the folders below it, sorted; a broken link counts, so that it is told later.

    Raises FileNotFoundError if there are none.
    """
    folder = Path(folder)
    named = (path for path in folder.rglob("*") if path.suffix.lower() in download.ENDINGS)
    found = sorted(path for path in named if path.is_file() or _is_broken_link(path))
    if not found:
        raise FileNotFoundError(f"no pictures ({', '.join(download.ENDINGS)}) in {folder}: is it the right folder?")
    return found


def _is_broken_link(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


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
    """A file -> (size, size, 3) uint8. Raises OSError, with the reason, if it can't be read to its last byte."""
    with _bombs_raise():
        digest, _, _, pixels = _examine(Path(path), size)
    if digest is None:
        raise OSError(f"{Path(path).name} can't be read: {pixels}")
    return pixels


def _examine(path: Path, size: int):
    """A file -> digest of its bytes, mode, (width, height), pixels; or None, None, None, why it can't be read."""
    try:
        raw = path.read_bytes()
        with Image.open(io.BytesIO(raw)) as picture:
            mode = picture.tile[0][3] if ";16B" in str(picture.tile) else picture.mode  # for Pillow RGB;16B is RGB
            return hashlib.sha256(raw).digest(), mode, picture.size, np.asarray(to_square(to_rgb(picture), size))
    except Exception as error:  # Pillow raises many kinds: whatever it is, this file can't be used
        reason = (str(error) or type(error).__name__).replace(str(path), path.name)
        reason = "it is no picture" if isinstance(error, UnidentifiedImageError) else " ".join(reason.split())
        return None, None, None, "a link that leads to no file" if _is_broken_link(path) else reason


@contextmanager
def _bombs_raise():
    """Within it a file that claims too many pixels raises before it is decoded, where Pillow may only warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


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
    mirrored = (torch.rand(len(pixels), generator=generator) < 0.5).to(pixels.device)
    return torch.where(mirrored[:, None, None, None], pixels.flip(2), pixels)


def split(count: int, held_out: float = 0.1, seed: int = 0) -> tuple[list[int], list[int]]:
    """How many faces, duplicates gone -> the rows to train on and the rows held out, both sorted; same seed, same rows.

    Raises ValueError if one of the two would be empty.
    """
    held = round(count * held_out)
    if not 0 < held < count:
        raise ValueError(f"{held_out:g} of {count} faces are {held}: both parts need a face, so hold out another share")
    rows = torch.randperm(count, generator=generator(seed, HELD_OUT)).tolist()
    return sorted(rows[held:]), sorted(rows[:held])


class PictureFolder(Dataset):
    """Lazy: (N, size, size, 3) uint8 pictures, each read from its folder only when it is asked for.

    A picture that can't be read is warned of once (by each worker), and the next one takes its place.
    """

    def __init__(self, folder, size: int = 64):
        self.paths, self.size, self.unreadable = find_pictures(folder), size, set()

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, rows):
        """A row number -> (size, size, 3) uint8; a slice, list or array of them -> (N, size, size, 3) uint8."""
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
        elif np.ndim(rows) == 0:
            return torch.from_numpy(self._readable(self._row(rows)).copy())
        return stack(self._readable(self._row(row)) for row in rows)

    def _row(self, row) -> int:
        row = int(row)
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row}: there are {len(self)} pictures")
        return row % len(self)

    def _readable(self, row):
        for path in (self.paths[(row + i) % len(self)] for i in range(101)):
            if path not in self.unreadable:
                try:
                    return read_picture(path, self.size)
                except OSError as error:
                    self.unreadable.add(path)
                    warnings.warn(f"{error}; the next picture takes its place", stacklevel=4)
        raise ValueError(f"neither {self.paths[row]} nor the 100 after it can be read: preprocess.prepare tells why")


class Prepared(Dataset):
    """Prepared: (N, size, size, 3) uint8 pictures, cut from one array that stays on the disk."""

    def __init__(self, folder):
        self.folder = Path(folder)
        try:
            self.report = Report(**json.loads((self.folder / "report.json").read_text(encoding="utf-8")))
            self.names = (self.folder / "names.txt").read_text(encoding="utf-8").split("\n")
            self.array = np.load(self.folder / "faces.npy", mmap_mode="r")
            right = (len(self.names), self.report.size, self.report.size, 3), np.uint8, len(self.names)
            typed = all(isinstance(vars(self.report)[key], kind) for key, kind in Report.__annotations__.items())
            if (self.array.shape, self.array.dtype, self.report.unique) != right or not typed:
                raise ValueError("its files don't fit together")
        except Exception as error:  # cut or garbage raises many kinds, and all have the same cure
            raise ValueError(f"{folder} holds no whole prepared set ({error}): prepare its pictures again") from error

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        """A row number -> (size, size, 3) uint8; a slice, list or array of them -> (N, size, size, 3) uint8.

        The pixels are copies: writing to them changes nothing on the disk.
        """
        rows = rows if isinstance(rows, slice) else np.asarray(rows)
        return torch.from_numpy(np.array(self.array[rows]))


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
    return DataLoader(dataset, sampler=order, batch_size=None, num_workers=workers)  # a sample is a whole batch


@dataclass
class Report:
    """What was found in a folder of pictures. `unreadable` and `duplicates` name the files left out.

    `not_rgb`: name -> mode; `tiny`: name -> "WxH", the shorter side under half of `size`; `repeated`: folder -> folder
    in which each of its pictures stands, too; `unusual`: the names of those most unlike the rest, the oddest first.
    """

    source: str
    fingerprint: str
    size: int
    found: int = 0
    unique: int = 0
    not_rgb: dict = field(default_factory=dict)
    tiny: dict = field(default_factory=dict)
    unreadable: dict = field(default_factory=dict)
    duplicates: dict = field(default_factory=dict)
    repeated: dict = field(default_factory=dict)
    unusual: list = field(default_factory=list)
    sizes: dict = field(default_factory=dict)

    def __str__(self):
        most = ", ".join(f"{size} ({count:,})" for size, count in list(self.sizes.items())[:3])
        held = Counter(map(_folder, {*self.duplicates, *self.duplicates.values()}))
        lines = [
            f"{self.found:>9,}  pictures found in {self.source}",
            f"{len(self.unreadable):>9,}  can't be read (left out)",
            f"{len(self.not_rgb):>9,}  are not RGB (converted)",
            f"{len(self.tiny):>9,}  are tiny, under half of {self.size} pixels (kept)",
            f"{len(self.duplicates):>9,}  are exact copies, byte for byte, of another (left out)",
            f"{self.unique:>9,}  unique pictures prepared at {self.size}x{self.size}",
            f"           sizes: {most}{' ...' if len(self.sizes) > 3 else ''}",
        ]
        for copy, first in list(self.repeated.items())[:3]:
            lines.append(f"           the folder {copy} repeats {first}: {held[copy]:,} of {held[copy]:,} pictures")
        lines += [f"           most unlike the rest: {', '.join(self.unusual[:3])} ..."] if self.unusual else []
        return "\n".join(lines)


def prepare(folder, out=None, size: int = 64) -> Prepared:
    """A folder of pictures -> faces.npy (N, size, size, 3) uint8, names.txt and report.json in the folder `out`.

    Each picture is decoded once, exact copies and unreadable files are left out and named in the report.
    A folder prepared before and unchanged since is not prepared again. What can't be read is listed in unreadable.txt;
    raises ValueError when that is more than 1 %.
    """
    folder = Path(folder)
    out = Path(out or data_folder() / "prepared" / f"{folder.resolve().name}_{size}")
    paths = find_pictures(folder)
    names = [_in_one_line(path.relative_to(folder).as_posix()) for path in paths]
    stats = [path.stat(follow_symlinks=not _is_broken_link(path)) for path in paths]
    marks = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in zip(names, stats)]
    marks += [str(size), *Report.__annotations__]  # what an older version has prepared is prepared again
    report = Report(folder.name, hashlib.sha256("\n".join(marks).encode()).hexdigest(), size)
    with suppress(ValueError):  # not prepared yet, or damaged since
        if (ready := Prepared(out)).report.fingerprint == report.fingerprint:
            return ready
    out.mkdir(parents=True, exist_ok=True)
    for name in ("report.json", "faces.npy", "unreadable.txt"):  # the report is written last: without it, none is whole
        (out / name).unlink(missing_ok=True)
    with _bombs_raise():
        kept = _decode(paths, names, report, out / "faces.npy")
    bad = [f"{name}: {reason}" for name, reason in report.unreadable.items()]
    if bad:
        (out / "unreadable.txt").write_text("\n".join(bad) + "\n", encoding="utf-8")
    if len(bad) > 0.01 * len(paths):
        raise ValueError(
            f"{len(bad):,} of {len(paths):,} pictures in {folder} can't be read (the first: {bad[0]}): the download is"
            f" damaged, get it again, or delete these files: {out / 'unreadable.txt'} names them all"
        )
    report.repeated = _repeated([name for name in names if name not in report.unreadable], report.duplicates)
    report.unusual = _unusual(np.load(out / "faces.npy", mmap_mode="r"), kept)
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
                    if mode != "RGB":
                        report.not_rgb[name] = mode
                    if 2 * min(shape) < report.size:
                        report.tiny[name] = f"{shape[0]}x{shape[1]}"
                bar.update()
        bar.close()
        file.seek(0)
        _write_header(file, len(kept), report.size)
    report.unique, report.sizes = len(kept), dict(sizes.most_common())
    return kept


def _write_header(file, count: int, size: int) -> None:
    # NumPy leaves room for the count to grow, so that the header can be written again when the count is known.
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    )


def _in_one_line(name: str) -> str:  # names that can't be written as a line of UTF-8 are escaped
    return name.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n").replace("\r", "\\r")


def _folder(name: str) -> str:
    return name.rpartition("/")[0] or "."


def _repeated(names, duplicates) -> dict[str, str]:
    """Each folder whose pictures all stand in another, too -> that folder. Of two alike, the lower is the copy."""
    held, folders_of, repeated = defaultdict(set), defaultdict(set), {}
    for name in names:
        first = duplicates.get(name, name)
        held[_folder(name)].add(first)
        folders_of[first].add(_folder(name))
    for folder, pictures in held.items():
        others = [other for other in folders_of[next(iter(pictures))] if pictures <= held[other]]
        best = min(others, key=lambda other: (-len(held[other]), other.count("/"), other))
        if best != folder:
            repeated[folder] = best
    return repeated


def _unusual(array, names, count: int = 16) -> list[str]:
    """The names of the pictures whose colours, in 4x4 blocks, lie furthest from the mean (Mahalanobis distance)."""
    side = array.shape[1] // 4
    if len(array) < 100 or not side:
        return []
    pieces = (array[i : i + 512, : 4 * side, : 4 * side] for i in range(0, len(array), 512))
    rows = (piece.reshape(-1, 4, side, 12 * side).sum(2, dtype=np.uint32) for piece in pieces)  # the long sums first
    blocks = np.concatenate([row.reshape(-1, 16, side, 3).sum(2).reshape(-1, 48) for row in rows]) / side**2
    blocks -= blocks.mean(0)
    spread = blocks.T @ blocks / len(blocks) + np.eye(48)  # one grey level more, so that it can be inverted
    distance = (blocks @ np.linalg.inv(spread) * blocks).sum(1)
    return [names[i] for i in np.argsort(-distance, kind="stable")[:count] if distance[i] > 1]


def ready(source=None, size: int = 64) -> Prepared:
    """Any source (a prepared set, a folder, a zip, "drawn", None for the default) -> the prepared set."""
    if source and any(Path(source, name).exists() for name in ("faces.npy", "report.json")):
        prepared = Prepared(source)
        if prepared.report.size != size:
            raise ValueError(f"{source} was prepared at {prepared.report.size} pixels, not {size}: prepare it again")
        return prepared
    return prepare(download.get(source), size=size)
