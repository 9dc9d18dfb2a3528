"""Signals that ask a process to end become a stop request: the current step is finished first."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Within it SIGINT, SIGTERM and SIGHUP only set the event that it gives; a second one acts.

    At its end the signals that end a process, all but SIGINT, act as they would have before.
    Outside the main thread, where Python handles no signals, the event is never set.
    """
    event = threading.Event()
    handlers = {}
    received = []

    def request(number, frame):
        event.set()
        received.append(number)
        signal.signal(number, handlers[number])

    if threading.current_thread() is threading.main_thread():
        for number in _stop_signals():
            handlers[number] = signal.signal(number, request)
    try:
        yield event
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number in received:
        if number != signal.SIGINT:
            sys.stdout.flush()  # the process may end here
            signal.raise_signal(number)


def _stop_signals() -> list[int]:
    """-> SIGINT, and other signals that ask a process to end unless it ignores them (`nohup`)."""
    numbers = [signal.SIGINT]
    for name in ("SIGTERM", "SIGHUP"):  # SIGHUP: a terminal is closed; Windows has no such signal
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            numbers.append(number)
    return numbers


def ignore_interrupts(worker: int) -> None:
    """For a worker of a `DataLoader`: what a terminal sends to all, the main process will handle.

    It gets Ctrl-C, or that the terminal was closed, saves its run, and ends its workers.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
