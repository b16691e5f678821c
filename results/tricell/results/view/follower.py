"""Following a run: look at its file, make a page whenever there is more, say how far it is."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Literal

from tricell.results.view.page_maker import MadePage, PageMaker, WritePage
from tricell.results.view.seen_file import SeenFile, look_at

ViewStatus = Literal["waiting", "gone", "running", "complete", "failed", "unreadable"]

LOOK_EVERY_S = 0.5
LEAST_PAUSE_S = 4.0
PAUSE_PER_WORK = 3.0
"""Pauses are at least so many times as long as making the page took: the run needs the cores."""


@dataclass(frozen=True)
class ViewState:
    """What the open page is told.

    Attributes
    ----------
    status, message : of the run or of its file, and why it is so.
    slots_done, slots : in the file, and what the run is to have.
    page : number of the newest page, 0 where there is none.
    page_slots : slots on that page.
    is_making : a newer page is being made.
    unchanged_s : for how long nothing was written, s.
    page_error : why the newest page could not be made.
    """

    status: ViewStatus = "waiting"
    message: str = ""
    slots_done: int = 0
    slots: int = 0
    page: int = 0
    page_slots: int = 0
    is_making: bool = False
    unchanged_s: int = 0
    page_error: str = ""

    def as_dict(self) -> dict[str, object]:
        """Give the state as JSON holds it."""
        return asdict(self)


class Follower:
    """Follows the file of a run in a thread until `stop`; `state` and `page` may be read always."""

    def __init__(self, path: Path, write_page: WritePage) -> None:
        self._path = path
        self._write_page = write_page
        self._state = ViewState()
        self._page = b""
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._maker: PageMaker | None = None
        self._seen = SeenFile()
        self._changed_at = monotonic()
        self._in_work: SeenFile | None = None
        self._begun_at = self._next_at = monotonic()
        self._thread = threading.Thread(target=self._follow, name="tricell view", daemon=True)

    def start(self) -> None:
        """Look at the file once, then begin to follow."""
        self._step()
        self._thread.start()

    def stop(self) -> None:
        """Stop following, and whatever is being made."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._maker is not None:
            self._maker.stop()

    @property
    def state(self) -> ViewState:
        """What is known by now."""
        with self._lock:
            return replace(self._state, unchanged_s=int(monotonic() - self._changed_at))

    @property
    def page(self) -> tuple[int, bytes]:
        """Number and HTML of the newest page; number 0 where there is none yet."""
        with self._lock:
            return self._state.page, self._page

    def _follow(self) -> None:
        while not self._end.wait(LOOK_EVERY_S):
            self._step()

    def _step(self) -> None:
        self._look()
        self._take_page()
        self._begin_page()

    def _look(self) -> None:
        seen = look_at(self._path)
        if seen == self._seen:
            return
        with self._lock:
            self._changed_at = monotonic()
            self._state = replace(
                self._state,
                status=_view_status(seen, self._state),
                message=seen.message,
                slots_done=seen.slots_done,
                slots=seen.slots,
            )
        self._seen = seen

    def _take_page(self) -> None:
        made = None if self._maker is None else self._maker.result()
        if made is None or self._in_work is None:
            return
        self._maker = None
        now = monotonic()
        self._next_at = now + max(LEAST_PAUSE_S, PAUSE_PER_WORK * (now - self._begun_at))
        with self._lock:
            if made.html:
                self._page = made.html
            self._state = _with_page(self._state, made, self._in_work)

    def _begin_page(self) -> None:
        seen = self._seen
        is_readable = seen.status != "unreadable" and seen.slots_done > 0
        is_new = self._in_work is None or seen.mark != self._in_work.mark
        is_time = monotonic() >= self._next_at or seen.status != "running"
        if self._maker is not None or not (is_readable and is_new and is_time):
            return
        assert seen.source is not None
        self._in_work, self._begun_at = seen, monotonic()
        self._maker = PageMaker(seen.source, self._write_page)
        with self._lock:
            self._state = replace(self._state, is_making=True)


def _view_status(seen: SeenFile, before: ViewState) -> ViewStatus:
    if seen.status != "absent":
        return seen.status
    return "waiting" if before.status == "waiting" else "gone"


def _with_page(state: ViewState, made: MadePage, source: SeenFile) -> ViewState:
    if not made.html:
        return replace(state, is_making=False, page_error=made.error)
    return replace(
        state, is_making=False, page_error="", page=state.page + 1, page_slots=source.slots_done
    )
