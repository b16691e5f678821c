"""A run that was stopped, opened to go on with it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.datasets import Column
from tricell.results.run_folder import HEADER, RunFolder, part_path
from tricell.results.run_header import RunHeader, header_from_json
from tricell.results.segments import Segment, saved_grown, saved_memory, saved_segments


class SavedRun:
    """A run that was stopped, its lock held; get one from `SavedRun.open`.

    Attributes
    ----------
    path : name of the results file that it will become.
    folder : where it lies.
    header : what was known about the run before it started.
    status : "running" for a run that was killed, "failed" for one that could still say why.
    entities : tables of entities, as they were given.
    segments : what was saved, without a gap.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._handed_over = False
        self.folder = folder
        self.path = folder.output
        self.header = _read_header(folder)
        self.status, self.entities = _read_master(folder.master)
        self.segments: list[Segment] = saved_segments(folder.path)

    @classmethod
    def open(cls, path: Path | str) -> SavedRun:
        """Open the stopped run of a results file, named by the file or by the run's folder.

        Raises
        ------
        ResultsError
            If there is nothing to go on with, if the run still goes on, or if what it left is
            damaged or of another version.
        """
        target = Path(path)
        if target.is_dir() and part_path(target.with_suffix("")) == target:
            target = target.with_suffix("")
        folder = RunFolder(target)
        if folder.path.is_dir():
            folder.lock()
        try:
            if not folder.holds_a_run:
                folder.remove()
                raise _nothing_to_resume(folder)
            saved = cls(folder)
            saved._check_output()
        except BaseException:
            folder.unlock()
            raise
        return saved

    def __enter__(self) -> SavedRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def slots_saved(self) -> int:
        """Number of slots that are not computed again."""
        return self.segments[-1].end if self.segments else 0

    @cached_property
    def memory(self) -> dict[str, Any]:
        """What the last checkpoint was given; empty if there is none."""
        return saved_memory(self.segments[-1]) if self.segments else {}

    @cached_property
    def grown(self) -> dict[str, NDArray[Any]]:
        """The rows that all checkpoints were given, joined along the first axis."""
        return saved_grown(self.segments)

    def close(self) -> None:
        """Let go of the run, unless a writer goes on with it."""
        if not self._handed_over:
            self.folder.unlock()

    def hand_over(self) -> RunFolder:
        """Give the folder and its lock to a writer."""
        if self._handed_over:
            raise ResultsError(f"{self.path}: a writer goes on with this run already")
        self._handed_over = True
        return self.folder

    def is_own_failure(self) -> bool:
        """Whether the finished file is what this run left when it failed."""
        return _status_of(self.path) == ("failed", self.header.run_id)

    def _check_output(self) -> None:
        """Refuse to go on where a finished file of this run, or a file of another one, lies."""
        if not self.path.exists():
            return
        status, run_id = _status_of(self.path)
        if run_id != self.header.run_id:
            raise ResultsError(
                f"{self.path} is not of the run in {self.folder.path} "
                f"(found {run_id or 'no results file'}, expected {self.header.run_id}); "
                f"move the file away and resume again"
            )
        if status == "complete":
            self.folder.remove()
            raise _is_complete(self.path)


def _nothing_to_resume(folder: RunFolder) -> ResultsError:
    """Say why a run without its folder cannot go on."""
    path = folder.output
    if not path.exists():
        return ResultsError(
            f"{path}: there is neither this file nor a stopped run of it in {folder.path}; "
            f"start the run without --resume"
        )
    status, run_id = _status_of(path)
    if status == "complete":
        return _is_complete(path)
    if not run_id:
        return ResultsError(
            f"{path} is no results file, and there is no stopped run of it in {folder.path}; "
            f"name the file that the run was to write"
        )
    return ResultsError(
        f"{path}: the folder {folder.path} with the checkpoints of this run is missing; put it "
        f"back beside the file, or run the scenario again with --force"
    )


def _is_complete(path: Path) -> ResultsError:
    return ResultsError(f"{path} is complete, there is nothing to resume")


def _status_of(path: Path) -> tuple[str, str]:
    """Give the status and the name of the run of a file, empty texts if it is no results file."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("run_status", "")), str(file.attrs.get("run_id", ""))
    except (OSError, RuntimeError):
        return "", ""


def _read_header(folder: RunFolder) -> RunHeader:
    path = folder.path / HEADER
    try:
        return header_from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ResultsError(
            f"{path} cannot be read: {error}; without it the run cannot go on: "
            f"run the scenario again with --force"
        ) from error


def _read_master(path: Path) -> tuple[str, dict[str, dict[str, Column]]]:
    """Read the status and the tables of entities."""
    try:
        with h5py.File(path, "r") as file:
            version = str(file.attrs["schema_version"])
            if version.partition(".")[0] != layout.SCHEMA_VERSION.partition(".")[0]:
                raise ResultsError(
                    f"{path} has schema version {version}, this tricell writes "
                    f"{layout.SCHEMA_VERSION}; resume with the version that began the run"
                )
            tables = file[layout.TABLE_ROOT]
            entities = {name: tables[name] for name in layout.ENTITY_TABLES if name in tables}
            return str(file.attrs["run_status"]), {
                name: _columns(layout.TABLES[name], group) for name, group in entities.items()
            }
    except (OSError, RuntimeError, KeyError) as error:
        raise ResultsError(
            f"{path} is damaged or cut off: {error}; without it the run cannot go on: "
            f"run the scenario again with --force"
        ) from error


def _columns(table: layout.Table, group: h5py.Group) -> dict[str, Column]:
    return {
        column.name: (
            group[column.name].asstr()[:] if column.dtype == "str" else group[column.name][:]
        )
        for column in table.columns
        if column.name in group
    }
