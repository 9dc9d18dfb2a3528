"""What a process does becomes MB: the most memory that it had meanwhile, on the machine and GPU."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

KINDS = ("RssAnon", "RssFile")  # the process's own memory, and pages of mapped files


def resident_memory() -> dict[str, float]:
    """-> MB of this process in memory, by kind. Empty on systems other than Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    megabytes = {}
    for line in lines:
        if line.startswith(KINDS):
            kind, value = line.split(":")
            megabytes[kind] = int(value.split()[0]) / 1024
    return megabytes


def sample_memory(peak: dict[str, int], stop: threading.Event) -> None:
    """Until `stop` is set: raise the numbers in `peak` to what is in memory."""
    while True:
        for kind, value in resident_memory().items():
            peak[kind] = max(peak.get(kind, 0), round(value))
        if stop.wait(0.02):
            return


@contextmanager
def peak_memory(peaks: dict[str, dict], name: str) -> Iterator[None]:
    """Within it memory is measured; afterwards `peaks[name]` has the most MB of each kind."""
    peak = peaks.setdefault(name, {})
    stop = threading.Event()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    thread = threading.Thread(target=sample_memory, args=(peak, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if torch.cuda.is_available():
            megabytes = round(torch.cuda.max_memory_allocated() / 2**20)
            peak["GPU"] = max(peak.get("GPU", 0), megabytes)
