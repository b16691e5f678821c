"""What is on the disk of a run: nothing yet, a run that goes on, or a finished file.

While a run goes on its results are in a folder beside the file to come. After a failure both are
there, and after `tricell run --resume` the folder grows again; so the newer of them counts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.reader import open_results
from tricell.results.run_folder import FILE_ERRORS, master_path

SeenStatus = Literal["absent", "running", "complete", "failed", "unreadable"]
Mark = tuple[int, int, int]


@dataclass(frozen=True)
class SeenFile:
    """A run as it is on the disk.

    Attributes
    ----------
    source : the file to read; None where there is none.
    mark : inode, time of change in ns, size in bytes; another one whenever it is written anew.
    status : of the run; absent and unreadable speak about the file.
    message : why the run failed, or why the file cannot be read.
    slots_done, slots : in the file, and what the run is to have.
    """

    source: Path | None = None
    mark: Mark = (0, 0, 0)
    status: SeenStatus = "absent"
    message: str = ""
    slots_done: int = 0
    slots: int = 0


def look_at(path: Path) -> SeenFile:
    """Look at the results file of a run, or at the folder it is written in."""
    found = _newest(path)
    if found is None:
        return SeenFile()
    source, mark = found
    try:
        return _read(source, mark)
    except (ResultsError, *FILE_ERRORS, KeyError) as error:
        if _newest(path) != found:  # the run ended between looking and reading
            return look_at(path)
        return SeenFile(source, mark, "unreadable", _told(source, error))


def require_place(path: Path) -> None:
    """Refuse a path where no results file is or can come.

    Raises
    ------
    ResultsError
        If it is a folder or in a folder that does not exist, or if the file cannot be read.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise ResultsError(f"{path} is a folder; name a results file, e.g. {path / 'run.h5'}")
    if not folder.is_dir():
        raise ResultsError(f"{path}: the folder {folder} does not exist, so no run can write there")
    seen = look_at(path)
    if seen.status == "unreadable":
        raise ResultsError(seen.message)


def _newest(path: Path) -> tuple[Path, Mark] | None:
    marks = {each: _mark(each) for each in (path, master_path(path))}
    there = [(source, mark) for source, mark in marks.items() if mark is not None]
    return max(there, key=lambda each: each[1][1], default=None)


def _mark(path: Path) -> Mark | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(source: Path, mark: Mark) -> SeenFile:
    with open_results(source) as results:
        attrs, status = results.attrs, results.status
        done = len(results.times()) if layout.SLOT in results.groups else 0
    if status not in ("running", "complete", "failed"):
        raise ResultsError(f"{source}: run_status {status!r} is none of running, complete, failed")
    return SeenFile(
        source,
        mark,
        status,
        str(attrs.get("failure_message", "")),
        done,
        int(attrs.get("number_of_slots", done)),
    )


def _told(source: Path, error: Exception) -> str:
    known = isinstance(error, ResultsError)
    return (
        str(error) if known else f"{source} cannot be read; `tricell validate` says more: {error}"
    )
