"""The package from a shell: python -m animegan_helpers draw, download, prepare, train and more.

What needs torch is imported only when a command runs: --help and --version do without.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import TextIO

from . import arguments, device

# While they wait for each other, the threads of libgomp (Linux) spin 300,000 times before they
# sleep. Beside another busy process that costs most of the speed; tests/benchmarks/busy.py shows
# what this number costs on a quiet machine, and gains on a busy one.
SPIN_COUNT = 1000
OUT_OF_MEMORY = (
    "out of memory: choose smaller batches, networks or images (train: --batch, --width, --size),"
    " fewer faces (sample, measure: --count), or close other programs"
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; -> its exit code. An error is one line on stderr, with exit code 2."""
    with redirect_stdout(SafeStream(sys.stdout)), redirect_stderr(SafeStream(sys.stderr)):
        return _main(words)


class SafeStream:
    """A console that can't end a command: what it can't show is escaped, or lost if it is gone.

    None stands for no console, as in a program without windows.
    """

    def __init__(self, stream: TextIO | None):
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text if it can be written."""
        with suppress(OSError, ValueError):  # a broken pipe, a full disk; a closed stream
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError, ValueError):
            self._stream.flush()


def _main(words: Sequence[str] | None) -> int:
    args = arguments.parser().parse_args(words)
    _share_cores()
    try:
        from . import commands
    except (ImportError, OSError) as error:  # OSError: a library that torch needs can't be loaded
        name = getattr(error, "name", None) or "torch"
        _print_error(f"{name} can't be imported ({error}): pip install -r requirements.txt")
        return 2
    return _run(commands, args)


def _share_cores() -> None:
    """Let waiting threads sleep early, unless the user has set how they wait."""
    is_set = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
    if not is_set and "torch" not in sys.modules:  # it is read when torch is loaded
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


def _run(commands, args) -> int:
    from .checkpoints import CheckpointError
    from .download import DownloadError

    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            commands.COMMANDS[args.command](args)
        except DownloadError as error:  # several lines: what was tried, and what to do
            _print_error(error)
            return 2
        except (ValueError, OSError, ArithmeticError, ImportError, CheckpointError) as error:
            _print_error(" ".join(str(error).split()))
            return 2
        except (MemoryError, RuntimeError) as error:
            if not device.is_out_of_memory(error):
                raise
            _print_error(f"{OUT_OF_MEMORY} ({' '.join(str(error).split()) or 'in Python'})")
            return 2
        except KeyboardInterrupt:  # not while training, which ends by itself and returns
            _print_error("stopped")
            return 130
    return 0


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """A warning of ours is one line, as an error is."""
    _print_error(f"warning: {' '.join(str(message).split())}")


def _print_error(text: object) -> None:
    print(f"animegan_helpers: {text}", file=sys.stderr)


def _drop_what_remains(stream: TextIO | None) -> None:
    """Flush a console. What it can't take is dropped, or Python would fail on it at its exit."""
    try:
        if stream:
            stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    try:
        code = main()
    finally:  # also after --help, which leaves `main` by SystemExit
        for console in (sys.stdout, sys.stderr):
            _drop_what_remains(console)
    sys.exit(code)
