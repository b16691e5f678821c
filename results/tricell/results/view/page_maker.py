"""Making the page in a process of its own.

A page of a year takes tens of seconds. In a thread it would hold up the answers to the browser;
and what it needs of memory is given back when the process ends.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from tricell.errors import ResultsError

WritePage: TypeAlias = Callable[[Path, Path], object]
"""Write the page of a results file, the first path, to the second."""

NICENESS = 10
"""The run that is followed goes first."""


@dataclass(frozen=True)
class MadePage:
    """A page, or why there is none."""

    html: bytes = b""
    error: str = ""


class PageMaker:
    """Makes one page; ask `result` now and then whether it is done."""

    def __init__(self, source: Path, write_page: WritePage) -> None:
        context = get_context("spawn")  # a fork would copy the threads' locks
        self._folder = TemporaryDirectory(prefix="tricell-view-")
        self._page = Path(self._folder.name) / "report.html"
        self._answer, answer = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_make, args=(source, self._page, write_page, answer), daemon=True
        )
        self._process.start()
        answer.close()  # so that the end of the process is the end of the pipe

    def result(self, wait_s: float = 0.0) -> MadePage | None:
        """Give the page, or None while it is being made."""
        if not self._answer.poll(wait_s):
            return None
        try:
            error: str = self._answer.recv()
        except EOFError:
            self._process.join()
            error = (
                "The page could not be made; the terminal of `tricell view` says why "
                f"(exit code {self._process.exitcode})."
            )
        made = MadePage(error=error) if error else MadePage(self._page.read_bytes())
        self.stop()
        return made

    def stop(self) -> None:
        """End the process, whether it is done or not, and remove its files."""
        self._process.terminate()
        self._process.join()
        self._answer.close()
        self._folder.cleanup()


def _make(source: Path, page: Path, write_page: WritePage, answer: Connection) -> None:
    """Write the page and send why that was not possible, "" where it was."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that serves
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    try:
        write_page(source, page)
    except ResultsError as error:
        answer.send(str(error))
    else:
        answer.send("")
