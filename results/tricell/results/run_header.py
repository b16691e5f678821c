"""What is known about a run before it starts, and the attributes and texts that tell it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tricell.results import layout
from tricell.results.datasets import epoch_seconds, storable_text


def now_text() -> str:
    """Give the present, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat("T", "seconds")


@dataclass(frozen=True)
class RunHeader:
    """What is known about a run before it starts.

    `start` is the start of the first slot (UTC), `provenance` anything that JSON can hold:
    packages, inputs with version and licence, solver, machine. `history` has a line for each
    time that a program worked on the run.
    """

    run_id: str
    scenario_yaml: str
    random_seed: int
    start: np.datetime64
    number_of_slots: int
    time_step_s: int = 900
    time_zone_local: str = "UTC"
    currency: str = "EUR"
    provenance: Mapping[str, object] = field(default_factory=dict)
    date_created: str = field(default_factory=now_text)
    history: tuple[str, ...] = ()

    def times(self, first: int, count: int) -> NDArray[np.int64]:
        """Give the starts of some slots, seconds since 1970."""
        start = int(epoch_seconds(np.asarray(self.start)))
        return start + self.time_step_s * np.arange(first, first + count, dtype=np.int64)


def begun(header: RunHeader) -> RunHeader:
    """Give the header with the first line of its history."""
    line = f"{header.date_created} {_program()} ran {storable_text(header.run_id)}"
    return replace(header, history=header.history or (line,))


def resumed(header: RunHeader, slots: int) -> RunHeader:
    """Give the header with a line about being resumed after so many slots."""
    line = f"{now_text()} {_program()} resumed it after {slots} of {header.number_of_slots} slots"
    return replace(header, history=(*header.history, line))


def header_as_json(header: RunHeader) -> str:
    """Write a header as JSON."""
    told = asdict(header) | {
        "provenance": dict(header.provenance),
        "start": int(epoch_seconds(np.asarray(header.start))),
        "random_seed": int(header.random_seed),
        "number_of_slots": int(header.number_of_slots),
        "time_step_s": int(header.time_step_s),
    }
    return json.dumps(told, indent=1, default=str)


def header_from_json(text: str) -> RunHeader:
    """Read what `header_as_json` wrote.

    Raises
    ------
    ValueError, TypeError, KeyError
        If it is anything else.
    """
    told: dict[str, Any] = json.loads(text)
    told["start"] = np.datetime64(told["start"], "s")
    told["history"] = tuple(told["history"])
    return RunHeader(**told)


def write_header(file: h5py.File, header: RunHeader) -> None:
    """Write the attributes of the root, with the status running, and the texts about the run."""
    scenario = storable_text(header.scenario_yaml)
    attributes: dict[str, str | np.int64] = {
        "Conventions": layout.CONVENTIONS,
        "schema_name": layout.SCHEMA_NAME,
        "schema_version": layout.SCHEMA_VERSION,
        "run_id": storable_text(header.run_id),
        "run_status": "running",
        "date_created": header.date_created,
        "source": _program(),
        "history": storable_text("\n".join(header.history)),
        "scenario_sha256": hashlib.sha256(scenario.encode()).hexdigest(),
        "random_seed": np.int64(header.random_seed),
        "time_step_s": np.int64(header.time_step_s),
        "number_of_slots": np.int64(header.number_of_slots),
        "time_label": layout.TIME_LABEL,
        "time_zone_local": header.time_zone_local,
        "currency": header.currency,
        "sign_convention": layout.SIGN_CONVENTION,
    }
    for name, value in attributes.items():
        file.attrs[name] = value
    meta = file.create_group(layout.META_ROOT, track_order=True)
    texts = {
        layout.SCENARIO_YAML: scenario,
        layout.PROVENANCE_JSON: json.dumps(dict(header.provenance), indent=1, default=str),
    }
    for name, text in texts.items():
        dataset = meta.create_dataset(name, data=storable_text(text), dtype=h5py.string_dtype())
        dataset.attrs["long_name"] = layout.META[name]


def _program() -> str:
    try:
        return f"tricell {version('tricell')}"
    except PackageNotFoundError:
        return "tricell from source"
