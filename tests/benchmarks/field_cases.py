"""Each input from the field that once failed, made anew and run on the package: a table.

python tests/benchmarks/field_cases.py [--package FOLDER] [--only A,B] [--json FILE]
-> a table in Markdown; the exit code is 1 if a case fails

The package is a black box. Each case builds its input in an empty folder, runs commands or short
programs as new processes there, and compares what they do with what a user expects. The cases are
public reports, `owner/repo#N`. The kind L, a busy machine, is measured by busy.py.
"""

import argparse
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, features

PROJECT = Path(__file__).resolve().parents[2]
TIMEOUT = 180  # seconds for one command
LONG = 1_000_000  # steps that no case waits for
OF_THE_SHELL = (  # not for the cases
    "ANIMEGAN_DATA",
    "ANIMEGAN_DATA_FOLDER",
    "PYTHONIOENCODING",
    "PYTHONUTF8",
)
APPLE_DOUBLE = bytes.fromhex("00051607 00020000") + b"Mac OS X        " + bytes(4000)
PASSED_OVER = r"\b{}\b.*(passed over|skipped|ignored|left out|companion|macOS|hidden)"

Verdict = tuple[bool, str]  # whether the case is ok, and what was seen


# ---- running the package ----


@dataclass
class Outcome:
    """What a process did. `code` is None if it did not end in time."""

    code: int | None
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that was printed."""
        return self.out + self.err

    @property
    def seen(self) -> str:
        """The exit code, and the last line on stderr unless all went well."""
        code = "no end" if self.code is None else f"exit {self.code}"
        lines = [line.strip() for line in re.split(r"[\r\n]+", self.err)]
        lines = [line for line in lines if line]
        if self.code == 0 or not lines:
            return code
        return f"{code}: {lines[-1]}"


@dataclass
class Place:
    """An empty folder for one case, and the project whose package the case runs."""

    folder: Path
    package: Path

    def environment(self, **changes: str) -> dict[str, str]:
        """-> the environment of a process that runs the package."""
        environment = {k: text for k, text in os.environ.items() if k not in OF_THE_SHELL}
        paths = [str(self.package), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        environment["OMP_WAIT_POLICY"] = "PASSIVE"  # processes side by side do not spin
        return environment | changes

    def python(self, *words: object, **changes: str) -> Outcome:
        """Run Python with these arguments and changes of the environment, to its end."""
        try:
            done = subprocess.run(
                [sys.executable, *map(str, words)],
                cwd=self.folder,
                env=self.environment(**changes),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return Outcome(None, "", f"still running after {TIMEOUT} s")
        return Outcome(done.returncode, done.stdout, done.stderr)

    def command(self, *words: object, **changes: str) -> Outcome:
        """Run a command of the package."""
        return self.python("-m", "animegan_helpers", *words, **changes)

    def snippet(self, code: str, **changes: str) -> Outcome:
        """Run a short program."""
        return self.python("-c", code, **changes)

    def train(self, data: str, run: str, *words: object, **changes: str) -> Outcome:
        """Run `train` for one step, or as the further words say."""
        return self.command("train", "--data", data, "--run", run, *small(), *words, **changes)

    def prepare(self, source: str) -> tuple[Outcome, int]:
        """Run `prepare`; -> its outcome, and how many images the array holds."""
        outcome = self.command("prepare", source, "--size", 16, "--out", "prepared")
        array = self.folder / "prepared" / "faces.npy"
        if outcome.code != 0 or not array.exists():
            return outcome, 0
        return outcome, len(np.load(array, mmap_mode="r"))

    @contextmanager
    def started(self, *words: object) -> Iterator[subprocess.Popen]:
        """Within it a Python process runs with these arguments; afterwards it is killed."""
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def small(size: int = 16, steps: int = 1) -> list[str]:
    """-> the options of a training that takes no time."""
    words = f"--size {size} --batch 4 --width 2 --z-dim 4 --steps {steps}"
    return words.split()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, seconds: int = 90) -> bool:
    """Wait until the condition holds, the process ends or the time is over; -> the condition."""
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def steps_of(run: Path) -> list[int]:
    """A run's folder -> the steps in its history; a row that is being written is left out."""
    try:
        text = (run / "history.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    lines = text.splitlines()
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def saved_step(run: Path) -> int:
    """A run's folder -> the step of its newest checkpoint, or -1."""
    paths = sorted((run / "checkpoints").glob("step_*.pt"))
    return int(paths[-1].stem.removeprefix("step_")) if paths else -1


def found_in(outcome: Outcome) -> int:
    """The outcome of `train` -> how many images it says that it found, or -1."""
    match = re.search(r"([\d,]+)\s+images? found", outcome.out)
    return int(match[1].replace(",", "")) if match else -1


# ---- making images and archives ----


def noise(seed: int = 0, size: int = 16) -> Image.Image:
    """-> an image of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    """-> the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def write_jpegs(folder: Path, count: int, first: int = 0) -> list[Path]:
    """Write JPEGs of noise, each unlike all others; -> their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in range(first, first + count):
        path = folder / f"{seed:03d}.jpg"
        path.write_bytes(encoded(noise(seed)))
        paths.append(path)
    return paths


def slow_jpegs(count: int = 400) -> dict[str, bytes]:
    """-> files by name, slow to decode: each the same image with another end, which is ignored."""
    content = encoded(noise(size=512))
    return {f"{i:03d}.jpg": content + str(i).encode() for i in range(count)}


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    """Write a zip of these files, compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_password_zip(path: Path) -> None:
    """Write a zip whose headers say that each file is encrypted."""
    write_zip(path, {f"{i}.png": encoded(noise(i), "PNG") for i in range(4)})
    content = bytearray(path.read_bytes())
    for signature, distance in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + distance] |= 1  # bit 0 of the flags
            at = content.find(signature, at + 4)
    path.write_bytes(content)


def write_tar(path: Path) -> None:
    """Write a tar.gz of four images."""
    with tarfile.open(path, "w:gz") as archive:
        for i in range(4):
            content = encoded(noise(i))
            info = tarfile.TarInfo(f"{i}.jpg")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def exif_of(tag: int, kind: int, count: int, value: bytes) -> bytes:
    """-> metadata of an image that lies on its side, with one more entry."""
    sideways = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
    entry = struct.pack("<HHI", tag, kind, count) + value
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + sideways + entry + bytes(4)


def with_exif(image: bytes, exif: bytes) -> bytes:
    """A JPEG and what follows "Exif" in its metadata -> the JPEG with them."""
    payload = b"Exif\0\0" + exif
    segment = b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
    return image[:2] + segment + image[2:]


# ---- the cases: each returns whether it is ok, and what was seen ----

CASES = []


def case(kind: str, source: str) -> Callable:
    """Add a function to the cases, with its kind and the report that it comes from."""

    def add(function: Callable[[Place], Verdict]) -> Callable[[Place], Verdict]:
        CASES.append((kind, source, function))
        return function

    return add


@case("A", "hako-mikan/sd-webui-traintrain#26")
def companions(place: Place) -> Verdict:
    """40 JPEGs, beside each a macOS `._name.jpg`."""
    for path in write_jpegs(place.folder / "set", 40):
        path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE)
    outcome, count = place.prepare("set")
    if outcome.code != 0:
        return False, outcome.seen
    counted = bool(re.search(PASSED_OVER.format(40), outcome.text))
    state = "counted" if counted else "not counted"
    return count == 40 and counted, f"{count} found, the companions {state}"


@case("A", "soumith/dcgan.torch#32")
def linked_folders(place: Place) -> Verdict:
    """Class folders that are symbolic links, and a loop."""
    folder = place.folder / "set"
    folder.mkdir()
    for number, name in enumerate(("long hair", "short hair")):
        write_jpegs(place.folder / "elsewhere" / name, 5, first=5 * number)
        (folder / name).symlink_to(Path("..") / "elsewhere" / name)
    (folder / "loop").symlink_to(".")
    (place.folder / "elsewhere" / "long hair" / "back").symlink_to(folder)
    outcome, count = place.prepare("set")
    if outcome.code != 0:
        return False, outcome.seen
    return count == 10, f"{count} of 10 found"


@case("A", "fast-stable-diffusion#1249")
def run_inside_the_data(place: Place) -> Verdict:
    """Images in `data/`, a run in `data/runs/first`, then `--resume` and a second run."""
    write_jpegs(place.folder / "data", 40)
    first = place.train("data", "data/runs/first")
    resumed = place.train("data", "data/runs/first", "--resume", "--steps", 2)
    second = place.train("data", "data/runs/second")
    for outcome in (first, resumed, second):
        if outcome.code != 0:
            return False, outcome.seen
    counts = [found_in(outcome) for outcome in (first, resumed, second)]
    return counts == [40, 40, 40], f"{counts} found"


@case("A", "thumbsup#368")
def many_endings(place: Place) -> Verdict:
    """70 images: .jpg, .jfif, .gif, .avif, .tif, no ending, `.jpg?17`."""
    kinds = {".jpg": "JPEG", ".jfif": "JPEG", ".gif": "GIF", ".tif": "TIFF", "": "PNG"}
    kinds[".jpg?17"] = "JPEG"
    kinds[".avif"] = "AVIF" if features.check("avif") else "JPEG"
    folder = place.folder / "set"
    folder.mkdir()
    for i in range(70):
        ending, kind = list(kinds.items())[i % 7]
        (folder / f"{i:03d}{ending}").write_bytes(encoded(noise(i), kind))
    outcome, count = place.prepare("set")
    if outcome.code != 0:
        return False, outcome.seen
    return count == 70, f"{count} of 70 found"


def two_at_once(place: Place, sources: list[str]) -> Verdict:
    """Start two trainings on the same new data; -> whether both end well.

    Those on the first source start together, those on the second half a second apart: whichever
    of the two is ahead must not be disturbed.
    """

    def train(source: str, number: int, wait: float) -> Outcome:
        """Train on a source after a wait."""
        time.sleep(wait)
        return place.train(source, f"run{number} of {source}", "--seed", number)

    for source, wait in zip(sources, (0, 0.5)):
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(train, (source, source), (1, 2), (0, wait)))
        for outcome in outcomes:
            if outcome.code != 0:
                return False, f"one, started {wait} s apart: {outcome.seen}"
        counts = [found_in(outcome) for outcome in outcomes]
        if counts != [400, 400]:
            return False, f"{counts} images, started {wait} s apart"
    return True, "both exit 0, with all images"


@case("B", "datasets#4661, MONAI#2374")
def two_on_a_folder(place: Place) -> Verdict:
    """Two runs with other seeds, started together on a new folder."""
    sources = ["first", "second"]
    for source in sources:
        (place.folder / source).mkdir()
        for name, content in slow_jpegs().items():
            (place.folder / source / name).write_bytes(content)
    return two_at_once(place, sources)


@case("B", "datasets#4661, MONAI#2374")
def two_on_a_zip(place: Place) -> Verdict:
    """Two runs with other seeds, started together on a new zip."""
    sources = ["first.zip", "second.zip"]
    for source in sources:
        write_zip(place.folder / source, slow_jpegs())
    return two_at_once(place, sources)


@case("B", "clgen#116")
def resumed_while_training(place: Place) -> Verdict:
    """`--resume` while the first process still trains; then kill that one and resume."""
    write_jpegs(place.folder / "set", 40)
    run = place.folder / "first"
    words = ("-m", "animegan_helpers", "train", "--data", "set", "--run", "first")
    with place.started(*words, *small(steps=LONG)) as process:
        if not wait_for(lambda: bool(steps_of(run)), process):
            return False, "the first process wrote no history"
        more = steps_of(run)[-1] + 300
        second = place.train("set", "first", "--resume", "--steps", more)
        went_on = wait_for(lambda: steps_of(run)[-1] > more + 50, process)
    steps = steps_of(run)
    if second.code == 0:
        twice = len(steps) - len(set(steps))
        return False, f"exit 0, {twice} of {len(steps)} rows twice"
    if not went_on:
        return False, "the first process did not go on"
    named = re.search(rf"\b{process.pid}\b", second.err)
    resumed = place.train("set", "first", "--resume", "--steps", steps[-1] + 50)
    if resumed.code != 0:
        return False, f"after the kill: {resumed.seen}"
    once = steps_of(run) == list(range(1, steps[-1] + 51))
    naming = "the process named" if named else f"the process not named: {second.seen}"
    rows = "each step once" if once else "history wrong"
    return bool(named and once), f"refused, {naming}; {rows}; resumed after the kill"


@case("C", "DeepDanbooru#88")
def narrow_output(place: Place) -> Verdict:
    """`PYTHONIOENCODING=cp1252`, a folder named 顔, output to a pipe."""
    write_jpegs(place.folder / "顔", 40)
    outcome = place.train("顔", "r", PYTHONIOENCODING="cp1252")
    trained = (place.folder / "r" / "G.pth").exists()
    return outcome.code == 0 and trained, outcome.seen


@case("D", "datasets#5105")
def foreign_report(place: Place) -> Verdict:
    """`prepare --out own`, where `own` holds a report.json of mine."""
    write_jpegs(place.folder / "set", 40)
    report = place.folder / "own" / "report.json"
    report.parent.mkdir()
    report.write_text('{"mine": 1}\n')
    outcome = place.command("prepare", "set", "--size", 16, "--out", "own")
    kept = report.exists() and report.read_text() == '{"mine": 1}\n'
    state = "kept" if kept else "replaced"
    return kept and outcome.code == 2, f"report.json {state}, {outcome.seen}"


@case("E", "torchgeo#282")
def prepared_by_environment(place: Place) -> Verdict:
    """`ANIMEGAN_DATA=prepared`, and `train` without `--data`."""
    write_jpegs(place.folder / "set", 40)
    place.prepare("set")
    words = ("train", "--run", "r", *small())
    outcome = place.command(*words, ANIMEGAN_DATA="prepared")
    return outcome.code == 0, outcome.seen


HOME = """
from animegan_helpers.dataset import LazyFaces
from animegan_helpers.prepare import load_faces, prepare

ways = {
    "load_faces": lambda: load_faces("~/set", 16),
    "prepare": lambda: prepare("~/set", "prepared", 16),
    "LazyFaces": lambda: LazyFaces("~/set", 16),
}
for name, way in ways.items():
    try:
        print(name, len(way()), end="; ")
    except Exception as error:
        print(name, error, end="; ")
"""


@case("E", "torchgeo#282")
def home_folder(place: Place) -> Verdict:
    """`~/set` in a program: load_faces, prepare, LazyFaces."""
    write_jpegs(place.folder / "home" / "set", 40)
    outcome = place.snippet(HOME, HOME=str(place.folder / "home"))
    seen = outcome.out.rstrip("; \n")
    return seen == "load_faces 40; prepare 40; LazyFaces 40", seen or outcome.seen


def draw_faces(place: Place, size: int) -> None:
    """Write 300 synthetic faces to the folder `set`: enough to measure with."""
    code = f"drawn.write('set', 300, size={size}, workers=1)"
    outcome = place.snippet(f"from animegan_helpers import drawn; {code}")
    if outcome.code != 0:
        raise RuntimeError(f"no faces were drawn: {outcome.seen}")


MEASURE = ("measure", "--data", "set", "--count", 130, "--seeds", 1, "--run")


def other_size(place: Place, size: int) -> Verdict:
    """Train at this size; measure it, and find its directions as page 06 does."""
    draw_faces(place, size)
    trained = place.command("train", "--data", "set", "--run", "r", *small(size))
    if trained.code != 0:
        return False, f"train: {trained.seen}"
    measured = place.command(*MEASURE, "r")
    if measured.code != 0:
        return False, f"measure: {measured.seen}"
    if not re.search(r"resiz|scaled|64 pixels|64x64", measured.text):
        return False, "measure does not say that it resizes"
    call = "print(len(pretrained.latest_or_pretrained('r')[1]))"
    directions = place.snippet(f"from animegan_helpers import pretrained; {call}")
    if directions.code != 0:
        return False, f"latest_or_pretrained: {directions.seen}"
    count = int(directions.out)
    return count > 0, f"measured; {count} directions"


@case("F", "pytorch/examples#486")
def run_of_32_pixels(place: Place) -> Verdict:
    """A run of 32 pixels: `measure`, and page 06's latest-or-pretrained."""
    return other_size(place, 32)


@case("F", "pytorch/examples#486")
def run_of_128_pixels(place: Place) -> Verdict:
    """A run of 128 pixels: `measure`, and page 06's latest-or-pretrained."""
    return other_size(place, 128)


BROKEN_EXIF = {  # the first three make Pillow's `exif_transpose` raise an error
    "resolution in words": exif_of(0x11A, 2, 4, b"abc\0"),  # ASCII, not a fraction
    "width of -1": exif_of(0x100, 9, 1, b"\xff\xff\xff\xff"),
    "height in words": exif_of(0x101, 2, 4, b"abc\0"),
    "offset outside": b"II*\0" + struct.pack("<I", 2**32 - 16),
    "no TIFF": b"broken metadata",
}


@case("G", "Pillow#5528, #8965")
def broken_exif(place: Place) -> Verdict:
    """Whole JPEGs with broken EXIF."""
    (place.folder / "set").mkdir()
    for i, (name, exif) in enumerate(BROKEN_EXIF.items()):
        content = with_exif(encoded(noise(i)), exif)
        (place.folder / "set" / f"{name}.jpg").write_bytes(content)
    outcome, count = place.prepare("set")
    if outcome.code != 0:
        return False, outcome.seen
    return count == len(BROKEN_EXIF), f"{count} of {len(BROKEN_EXIF)} kept"


TALL = """
import resource
from animegan_helpers.images import read_image

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before = peak()
shape = read_image("tall.png", 64).shape
print(shape, round(peak() - before))
"""


@case("G", "image-rs/image#3083")
def tall_image(place: Place) -> Verdict:
    """A PNG of under 1 kB, 1 x 200,000 pixels: under 500 MB to read."""
    image = Image.new("RGB", (1, 200_000), "white")
    (place.folder / "tall.png").write_bytes(encoded(image, "PNG"))
    outcome = place.snippet(TALL)
    if outcome.code != 0:
        return False, outcome.seen
    megabytes = int(outcome.out.split()[-1])
    return outcome.out.startswith("(64, 64, 3)") and megabytes < 500, f"{megabytes:,} MB more"


@case("H", "Pithus/bazaar#28")
def long_name(place: Place) -> Verdict:
    """A zip with one name of 120 kanji among ten."""
    files = {f"{i}.jpg": encoded(noise(i)) for i in range(9)}
    files["顔" * 120 + ".jpg"] = encoded(noise(9))
    write_zip(place.folder / "set.zip", files)
    outcome, count = place.prepare("set.zip")
    if outcome.code != 0:
        return False, outcome.seen
    named = re.search(r"too long|" + PASSED_OVER.format(1), outcome.text)
    how = "the other named" if named else "the other not named"
    return count == 10 or (count == 9 and bool(named)), f"{count} of 10 unpacked, {how}"


@case("H", "xberg#1499")
def flat_images(place: Place) -> Verdict:
    """A zip of 20 flat 512-pixel BMPs, far smaller than its content."""
    files = {}
    for i in range(20):
        image = Image.new("RGB", (512, 512), (10 * i, 100, 100))
        files[f"{i}.bmp"] = encoded(image, "BMP")
    archive = write_zip(place.folder / "set.zip", files)
    ratio = sum(map(len, files.values())) / archive.stat().st_size
    outcome, count = place.prepare("set.zip")
    if outcome.code != 0:
        return False, f"ratio {ratio:.0f}, {outcome.seen}"
    return count == 20, f"ratio {ratio:.0f}, {count} of 20 unpacked"


def unusable(place: Place, name: str, reason: str) -> Verdict:
    """Train on this file; -> whether the message has the reason, or whether it just works."""
    outcome = place.train(name, "r")
    if outcome.code == 0:
        return True, "it trains"
    message = outcome.err.replace(name, "it")  # the name would tell
    is_named = bool(re.search(reason, message, re.IGNORECASE))
    is_wrong = "download it again" in message or "Traceback" in message
    return outcome.code == 2 and is_named and not is_wrong, outcome.seen


@case("H", "croissant#873")
def password(place: Place) -> Verdict:
    """A zip with a password as `--data`."""
    write_password_zip(place.folder / "set.zip")
    return unusable(place, "set.zip", r"password|encrypted")


@case("H", "croissant#873")
def tar_gz(place: Place) -> Verdict:
    """A tar.gz as `--data`."""
    write_tar(place.folder / "set.tar.gz")
    return unusable(place, "set.tar.gz", r"\b(tar|gzip|gz)\b")


@case("H", "croissant#873")
def seven_zip(place: Place) -> Verdict:
    """A 7z as `--data`."""
    (place.folder / "set.7z").write_bytes(b"7z\xbc\xaf\x27\x1c\0\4" + bytes(1000))
    return unusable(place, "set.7z", r"\b7-?z(ip)?\b")


@case("H", "croissant#873")
def one_png(place: Place) -> Verdict:
    """One PNG as `--data`."""
    (place.folder / "face.png").write_bytes(encoded(noise(), "PNG"))
    return unusable(place, "face.png", r"\b(an|one|a single) (\w+ )?image\b|\bPNG\b")


@case("I", "CycleGAN#1133")
def killed_run(place: Place) -> Verdict:
    """A run killed after a checkpoint; then `sample`, `share`, `measure`."""
    draw_faces(place, 64)
    run = place.folder / "r"
    words = ("-m", "animegan_helpers", "train", "--data", "set", "--run", "r")
    with place.started(*words, *small(64, steps=LONG)) as process:
        if not wait_for(lambda: saved_step(run) >= 16, process):
            return False, "the run saved no checkpoint"
    sample = ("sample", "--run", "r")
    share = ("share", "--out", "shared", "--run", "r")
    measure = (*MEASURE, "r")
    works = 0
    for words in (sample, share, measure):
        outcome = place.command(*words)
        works += outcome.code == 0
        if outcome.code != 0 and "resume" not in outcome.err:
            return False, f"{words[0]}: {outcome.seen}"
    return True, f"{works} of 3 commands work, {3 - works} say how to go on"


@case("I", "OpenPrompt#238")
def without_torch(place: Place) -> Verdict:
    """Installed without torch: `--version`, and a command."""
    (place.folder / "none").mkdir()
    error = "raise ImportError(\"No module named 'torch'\", name='torch')\n"
    (place.folder / "none" / "torch.py").write_text(error)
    path = os.pathsep.join([str(place.folder / "none"), str(place.package)])
    version = place.command("--version", PYTHONPATH=path)
    if version.code != 0 or not re.fullmatch(r"\d+(\.\d+)+\S*", version.out.strip()):
        return False, f"--version: {version.seen}"
    command = place.command("sample", "--run", "r", PYTHONPATH=path)
    is_line = len(command.err.strip().splitlines()) == 1 and "torch" in command.err
    return command.code not in (0, None) and is_line, f"{version.out.strip()}; {command.seen}"


WINDOWS = """
import concurrent.futures, multiprocessing, os, sys
from concurrent.futures import Future
from PIL import Image
from animegan_helpers import drawn

asked = []

class Pool:
    def __init__(self, max_workers=None, *rest, **named):
        max_workers = max_workers or 61
        if max_workers > 61:
            raise ValueError("max_workers must be <= 61")
        asked.append(max_workers)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        return None
    def shutdown(self, *rest, **named):
        pass
    def map(self, function, *iterables, **named):
        return map(function, *iterables)
    def submit(self, function, *arguments, **named):
        future = Future()
        future.set_result(function(*arguments, **named))
        return future

concurrent.futures.ProcessPoolExecutor = Pool
drawn.ProcessPoolExecutor = Pool
drawn.draw = lambda face, size=64: Image.new("RGB", (size, size))
os.cpu_count = multiprocessing.cpu_count = os.process_cpu_count = lambda: 64
os.sched_getaffinity = lambda process: set(range(64))
sys.platform = "win32"
folder = drawn.write("faces", 4000, size=16)
print(max(asked, default=1), len(list((folder / "images").iterdir())))
"""


@case("J", "FragPipe#347, cpython#13132")
def windows_workers(place: Place) -> Verdict:
    """Drawing 4,000 faces on a pretended Windows with 64 CPUs."""
    outcome = place.snippet(WINDOWS)
    if outcome.code != 0:
        return False, outcome.seen
    workers, count = map(int, outcome.out.split())
    return workers <= 61 and count == 4000, f"{workers} workers, {count:,} faces"


THREE_TRAININGS = f"""
from animegan_helpers import recipes
from animegan_helpers.prepare import load_faces
from animegan_helpers.training import train

faces = load_faces("set", 16)
recipe = recipes.get("default", width=2, batch=4, z_dim=4, size=16)
for name in ("first", "second", "third"):
    train(recipe, faces, name, steps={LONG})
"""


@case("K", "own finding")
def three_trainings(place: Place) -> Verdict:
    """SIGTERM for a program with three trainings, during the first."""
    write_jpegs(place.folder / "set", 40)
    first = place.folder / "first"
    second = place.folder / "second"
    with place.started("-c", THREE_TRAININGS) as process:
        if not wait_for(lambda: bool(steps_of(first)), process):
            return False, "the first training wrote no history"
        process.send_signal(signal.SIGTERM)
        wait_for(second.exists, process)
        has_ended = process.poll() is not None
    last = steps_of(first)[-1]
    saved = saved_step(first)
    end = f"exit {process.returncode}" if has_ended else "the process lives on"
    others = "the second run began" if second.exists() else "no second run"
    ok = has_ended and saved == last and not second.exists()
    return ok, f"{end}; saved at step {saved:,} of {last:,}; {others}"


WITHOUT_DISTRIBUTED = """
import sys
import torch

torch.distributed.is_available = lambda: False
sys.modules["torch.distributed.nn"] = None
from animegan_helpers import recipes
from animegan_helpers.trainer import Trainer

trainer = Trainer(recipes.get("default", width=2, batch=4, z_dim=4, size=16))
print(trainer.step(torch.zeros(4, 16, 16, 3, dtype=torch.uint8)).tolist())
"""


@case("M", "TheRock#1314")
def without_distributed(place: Place) -> Verdict:
    """A torch without distributed: import the trainer, train one step."""
    outcome = place.snippet(WITHOUT_DISTRIBUTED)
    return outcome.code == 0, outcome.seen


P100 = """
from types import SimpleNamespace
import torch

def fail(*arguments, **named):
    raise RuntimeError(
        "CUDA error: no kernel image is available for execution on the device")

name = "Tesla P100-PCIE-16GB"
cuda = torch.cuda
cuda.is_available = lambda: True
cuda.device_count = lambda: 1
cuda.current_device = lambda: 0
cuda.get_device_name = lambda device=None: name
cuda.get_device_capability = lambda device=None: (6, 0)
cuda.get_device_properties = lambda device=None: SimpleNamespace(name=name, major=6, minor=0)
cuda.get_arch_list = lambda: ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
cuda.synchronize = fail
cuda._lazy_init = fail  # each operation on the device begins with it
from animegan_helpers import device

machine = device.pick()
print(machine.device.type, "|", machine)
"""


@case("M", "kaggle-cli#1151")
def old_gpu(place: Place) -> Verdict:
    """A pretended P100, for which torch has no kernels: `device.pick`."""
    outcome = place.snippet(P100)
    if outcome.code != 0:
        return False, outcome.seen
    kind, _, text = outcome.out.partition("|")
    says_why = bool(re.search(r"P100|kernel|sm_60", text))
    return kind.strip() == "cpu" and says_why, outcome.out.strip()


# ---- all of them ----


def run_case(kind: str, source: str, function: Callable, package: Path) -> dict:
    """Run one case in an empty folder -> its row of the table."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="field_") as folder:
        try:
            ok, seen = function(Place(Path(folder), package))
        except Exception as error:  # of this script: the other cases still run
            ok, seen = False, f"the case itself broke: {error!r}"
    return {
        "kind": kind,
        "source": source,
        "case": function.__doc__.rstrip("."),
        "result": "ok" if ok else "fails",
        "seen": seen.replace(folder, "."),
        "seconds": round(time.monotonic() - start, 1),
    }


def table_line(row: dict) -> str:
    """A row -> a line of the table in Markdown."""
    seen = row["seen"].replace("|", "/")
    if len(seen) > 160:
        seen = seen[:160] + " ..."
    cells = (row["kind"], row["source"], row["case"], row["result"], seen)
    return f"| {' | '.join(cells)} |"


def check_package(package: Path) -> None:
    """End the script unless processes import the package of this folder."""
    code = "import animegan_helpers; print(animegan_helpers.__file__)"
    with tempfile.TemporaryDirectory() as folder:
        outcome = Place(Path(folder), package).snippet(code)
    if not outcome.out.startswith(str(package)):
        sys.exit(f"{package} holds no package: {outcome.out.strip() or outcome.seen}")


def main(package: Path, only: str, out: Path | None) -> int:
    """Run the cases of these kinds, print their table, write their rows; -> the exit code."""
    package = package.resolve()
    check_package(package)
    known = {kind for kind, _, _ in CASES}
    kinds = {kind.strip() for kind in only.upper().split(",")} if only else known
    if kinds - known:
        sys.exit(f"no case is of kind {min(kinds - known)}: choose from {', '.join(sorted(known))}")
    rows = []
    print("| kind | source | case | result | what was seen |")
    print("|---|---|---|---|---|", flush=True)
    for kind, source, function in CASES:
        if kind in kinds:
            rows.append(run_case(kind, source, function, package))
            print(table_line(rows[-1]), flush=True)
    if out:
        out.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    failures = [row for row in rows if row["result"] != "ok"]
    return 1 if failures else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, default=PROJECT, help="the project's folder")
    parser.add_argument("--only", default="", help="kinds of cases, such as A,B")
    parser.add_argument("--json", type=Path, help="a file for the rows")
    args = parser.parse_args()
    sys.exit(main(args.package, args.only, args.json))
