"""Ctrl-C at the right moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = tuple(
    signal.Signals[name]
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if name in signal.Signals.__members__
)
"""Ctrl-C, being asked to end, and a terminal that is closed (which Windows does not tell)."""


def stop_like_ctrl_c() -> None:
    """Let a process that is asked to end, or loses its terminal, stop as after Ctrl-C.

    What the process was told to ignore, as by `nohup`, it goes on ignoring.
    """
    for number in STOPPING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Let the signals of `STOPPING` wait until what is inside is done.

    An interruption in the middle of a write would leave it half done. Signals reach the main
    thread only, so that other threads have nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        arrived.append(number)

    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if arrived:
        signal.raise_signal(arrived[0])
