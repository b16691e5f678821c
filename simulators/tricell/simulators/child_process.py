"""The process of a third party's simulator: heard, watched, and ended for certain."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

LOOK_EVERY_S = 0.1
TERMINATE_S = 1.0
HEARD_BYTES = 4000
LINES_SHOWN = 5
CHATTER = "mosaik_api_v3:"
"""Marks log lines of mosaik's own library, which say nothing about a failure."""

Answer = TypeVar("Answer")


class NoAnswerError(Exception):
    """Something took longer than it may."""


class ProcessEndedError(Exception):
    """A process ended while something was expected from it; the text says how."""


class ChildProcess:
    """A process in a session of its own, so that Ctrl-C and kills reach it only through us.

    What it prints does not go to the terminal; the end of it is kept for error messages.

    Parameters
    ----------
    words : command and arguments.
    folder : working folder.
    environment : variables beside the current ones.
    """

    def __init__(
        self, words: Sequence[str], folder: Path | None, environment: Mapping[str, str]
    ) -> None:
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self._heard = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        with pipe:
            while chunk := os.read(pipe.fileno(), 4096):
                self._heard = (self._heard + chunk)[-HEARD_BYTES:]

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def how_it_ended(self) -> str:
        """Say how the process ended, and what it printed last."""
        code = self._process.poll()
        if code is None:
            return f"its process runs on{self._last_words()}"
        self._listener.join(LOOK_EVERY_S)
        if code < 0:
            name = signal.strsignal(-code) or "unknown"
            return f"its process was ended by signal {-code} ({name}){self._last_words()}"
        return f"its process ended with exit code {code}{self._last_words()}"

    def _last_words(self) -> str:
        """Return the last lines that are no part of a traceback's list of calls."""
        lines = self._heard.decode(errors="replace").splitlines()
        told = [line for line in lines if line.strip() and CHATTER not in line]
        indented = [position for position, line in enumerate(told) if line.startswith("  ")]
        end = told[indented[-1] + 1 :] if indented else told
        return "".join(f"\n    {line}" for line in end[-LINES_SHOWN:])

    async def stop(self, patience_s: float) -> None:
        """Wait for the process to end, then end it and all that it started.

        Parameters
        ----------
        patience_s : time it has to end by itself.
        """
        if not await self.ends_within(patience_s):
            self._signal(signal.SIGTERM)
            await self.ends_within(TERMINATE_S)
        self._signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        await self.ends_within(TERMINATE_S)

    async def ends_within(self, seconds: float) -> bool:
        """Wait for the process to end, at most so long; return whether it did."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not self.has_ended and loop.time() < deadline:
            await asyncio.sleep(0.02)
        return self.has_ended

    def _signal(self, number: signal.Signals) -> None:
        if not hasattr(os, "killpg"):
            self._process.send_signal(number)
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def answer_in_time(
    awaited: Awaitable[Answer], timeout_s: float, process: ChildProcess | None
) -> Answer:
    """Wait for an answer, but neither for ever nor for a process that is gone.

    Raises
    ------
    NoAnswerError
        If the answer does not come in time.
    ProcessEndedError
        If the process ended without giving it.
    """
    loop = asyncio.get_running_loop()
    answer = asyncio.ensure_future(awaited)
    deadline = loop.time() + timeout_s
    try:
        while not answer.done():
            left_s = deadline - loop.time()
            if left_s <= 0.0:
                raise NoAnswerError
            had_ended = process is not None and process.has_ended
            await asyncio.wait({answer}, timeout=min(left_s, LOOK_EVERY_S))
            # One more look after the end: its last answer may still be under way.
            if process is not None and had_ended and not answer.done():
                raise ProcessEndedError(process.how_it_ended())
        return answer.result()
    finally:
        answer.cancel()
