"""Checking a results file against the layout, and telling all that deviates.

Examples
--------
::

    checked = validate("week.h5")
    for deviation in checked.deviations:
        print(deviation)
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py

from tricell.results import layout
from tricell.results.deviations import UNUSABLE, Deviation, DeviationKind, guarded
from tricell.results.open_file import DAMAGE, OpenFile, open_hdf5
from tricell.results.reader import checked_schema, run_file
from tricell.results.structure_checks import check_structure
from tricell.results.usable_file import UsableFile
from tricell.results.value_checks import check_values


@dataclass(frozen=True)
class FileSize:
    """What there was to check."""

    slots: int
    groups: int
    datasets: int
    values: int


@dataclass(frozen=True)
class Validation:
    """What the check of a file found.

    Attributes
    ----------
    path
        The file.
    schema_version
        The version of the layout that the file says it follows.
    status
        Status of the run.
    deviations
        All deviations; none if the file follows the layout.
    notes
        What this program does not know in a file of a higher minor version, where that is no
        deviation.
    size
        What there was to check.
    """

    path: Path
    schema_version: str
    status: str
    deviations: tuple[Deviation, ...]
    notes: tuple[Deviation, ...]
    size: FileSize

    @property
    def is_fine(self) -> bool:
        """Whether the file follows the layout."""
        return not self.deviations


def validate(path: Path | str) -> Validation:
    """Check a results file, or a run that still goes on, against the layout.

    All groups, datasets and attributes are looked at and all values are read, in blocks.

    Raises
    ------
    ResultsError
        If there is no such file or if it is no results file that this program knows; see
        `tricell.results.reader.open_results`.
    """
    target = run_file(Path(path))
    goes_on = target != Path(path)  # a lock could keep the run from writing
    with (
        OpenFile(target, open_hdf5(target, locking=False if goes_on else None)) as opened,
        opened.reading("the structure of the file"),
    ):
        file = opened._file
        checked_schema(dict(file.attrs.items()), target)
        version = str(file.attrs["schema_version"])
        found = list(check_structure(file))
        unusable = {each.path for each in found if each.kind in UNUSABLE}
        usable = UsableFile(file, unusable)
        found += guarded("/", check_values(usable))
        notes = [e for e in found if e.kind is DeviationKind.UNKNOWN and _is_newer(version)]
        return Validation(
            path=target,
            schema_version=version,
            status=str(file.attrs.get("run_status", "")),
            deviations=tuple(each for each in found if each not in notes),
            notes=tuple(notes),
            size=_size(file, usable),
        )


def _is_newer(version: str) -> bool:
    """Whether the file is of a higher minor version than this program's layout."""
    theirs, ours = map(layout.version_numbers, (version, layout.SCHEMA_VERSION))
    return theirs[1] > ours[1]


def _size(file: h5py.File, usable: UsableFile) -> FileSize:
    sizes: list[int | None] = []

    def count(_: str, item: h5py.Group | h5py.Dataset) -> None:
        sizes.append(item.size if isinstance(item, h5py.Dataset) else None)

    with suppress(*DAMAGE):  # told where the structure is checked
        file.visititems(count)
    datasets = [size for size in sizes if size is not None]
    clock = usable.dataset(layout.series_path(layout.SLOT, layout.TIME.name))
    slots = 0 if clock is None else clock.size
    return FileSize(slots, len(sizes) - len(datasets), len(datasets), sum(datasets))
