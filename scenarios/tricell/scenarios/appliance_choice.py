"""Appliances of a scenario whose runs can wait: a share of the households, and jobs of a list.

::

    appliances:
      share: 0.5
      kinds: [dishwasher, {name: sauna, power_kw: [6, 6, 3, 3], runs_per_day: 0.2,
              earliest_h: 16, latest_end_h: 23}]
      list:
        - {name: Ann's dryer, owner: LV2.101 Load 3, power_kw: [2, 2, 1],
           earliest: "09:00", latest_end: "18:00"}
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from tricell.scenarios.adoption import Share
from tricell.scenarios.distribution_choice import (
    HourDrawn,
    HourOfTwoDays,
    distribution_of,
    values_within,
)
from tricell.scenarios.local_times import RunClock, When, hours_between, told
from tricell.scenarios.participant_faults import FieldFaults
from tricell.scenarios.section import Section, broken_rule
from tricell.scenarios.vehicle_choice import Name, NotNegative
from tricell.scenarios.yaml_tree import Key
from tricell.simulators.device_populations import (
    APPLIANCES,
    ApplianceKind,
    Owners,
    draw_shiftable_loads,
)
from tricell.simulators.distributions import ASSUMED
from tricell.simulators.population import IntArray
from tricell.simulators.shiftable_loads import ShiftableLoads

QUARTER_H = 0.25
"""Length of a step of an appliance's power, h."""
HOURS_UNIT = "hours after midnight"
KNOWN = {kind.name: kind for kind in APPLIANCES}

Powers = Annotated[tuple[NotNegative, ...], Field(min_length=1)]


class ApplianceOfKind(Section):
    """One kind of appliance that every chosen household has."""

    name: Name
    """Its name."""
    power_kw: Powers
    """Power in each quarter of an hour of a run, kW."""
    runs_per_day: Share
    """Share of the days on which it runs."""
    earliest_h: HourDrawn
    """Hour of the day from which on it may run, local clock."""
    latest_end_h: HourOfTwoDays
    """Hour by which it has to be done, local clock; above 24 on the day after."""

    @model_validator(mode="after")
    def _is_possible(self) -> ApplianceOfKind:
        _require_energy(self.name, self.power_kw)
        least_h = values_within(self.earliest_h)[1] + len(self.power_kw) * QUARTER_H
        if values_within(self.latest_end_h)[0] < least_h:
            raise broken_rule(
                f"a run of the `{self.name}` does not fit between its hours",
                at=("latest_end_h",),
                allowed=f"at least {least_h:g}, so that a run that begins late can end",
            )
        return self

    @property
    def kind(self) -> ApplianceKind:
        """What its runs are drawn from."""
        return ApplianceKind(
            self.name,
            self.power_kw,
            self.runs_per_day,
            distribution_of(self.earliest_h, HOURS_UNIT),
            distribution_of(self.latest_end_h, HOURS_UNIT),
            ASSUMED,
        )


def _form(value: object) -> str:
    return "name" if isinstance(value, str) else "section"


Appliance = Annotated[
    Annotated[Literal["washing machine", "dishwasher", "tumble dryer"], Tag("name")]
    | Annotated[ApplianceOfKind, Tag("section")],
    Discriminator(_form),
]


Kinds = Annotated[tuple[Appliance, ...], Field(min_length=1)]


class Job(Section):
    """One run of an appliance, on every day or once."""

    name: Name
    """Its name; unique."""
    owner: Name
    """Id of the participant where it runs."""
    power_kw: Powers
    """Power in each slot of the run, kW."""
    earliest: When
    """Time of the day by the local clock, on every day, or a date and time, from which it may
    run."""
    latest_end: When
    """As `earliest`: by when it has to be done; of the day after if it is not after it."""

    @model_validator(mode="after")
    def _is_possible(self) -> Job:
        _require_energy(self.name, self.power_kw)
        if hours_between(self.earliest, self.latest_end) <= 0:
            raise broken_rule(
                f"`{self.name}` is to be done at {told(self.latest_end)}, before it may run at "
                f"{told(self.earliest)}",
                at=("latest_end",),
                allowed="a time after `earliest`, and of its kind: both of the day, or both "
                "with a date",
            )
        return self


class ApplianceChoice(Section):
    """Appliances whose runs can wait; they start once and are not interrupted."""

    share: Share = 0.0
    """Share of the households that have one of each kind (0)."""
    kinds: Kinds = ("washing machine", "dishwasher", "tumble dryer")
    """Kinds of appliances: names of known ones (all of them), or sections for others."""
    in_base_load: bool = True
    """Whether the profiles of these households hold their energy already, so that these are
    scaled down by what the appliances use on average (true)."""
    list: tuple[Job, ...] = ()
    """Runs one by one, on top of all loads (none)."""

    @field_validator("kinds")
    @classmethod
    def _kinds_are_unique(cls, kinds: tuple[Appliance, ...]) -> tuple[Appliance, ...]:
        names = [kind if isinstance(kind, str) else kind.name for kind in kinds]
        for row, name in enumerate(names):
            if name in names[:row]:
                raise broken_rule(f"`{name}` occurs twice", at=(row,), allowed="each kind once")
        return kinds

    @property
    def drawn_kinds(self) -> tuple[ApplianceKind, ...]:
        """What runs are drawn from."""
        return tuple(KNOWN[each] if isinstance(each, str) else each.kind for each in self.kinds)

    @property
    def kwh_per_day(self) -> float:
        """Mean energy of the appliances of a household, kWh per day."""
        kinds = self.drawn_kinds
        return sum(sum(kind.power_kw) * QUARTER_H * kind.runs_per_day for kind in kinds)


def drawn_jobs(
    wanted: ApplianceChoice, owners: Owners, clock: RunClock, seed: int
) -> ShiftableLoads:
    """Draw the runs of the appliances of each owner."""
    return draw_shiftable_loads(owners, clock.run_time, seed, wanted.drawn_kinds)


def listed_jobs(
    jobs: Sequence[Job],
    agents: IntArray,
    clock: RunClock,
    path: tuple[Key, ...],
    faults: FieldFaults,
) -> ShiftableLoads:
    """Return the runs of a list that lie inside the run of the scenario.

    Parameters
    ----------
    jobs : as listed.
    agents : int64, shape (n_job,)
        Rows of their owners.
    clock : of the run.
    path : where the list stands in the scenario.
    faults : gets jobs that do not fit between their times.
    """
    longest = max(len(job.power_kw) for job in jobs)
    rows = []
    for row, job in enumerate(jobs):
        for day, slots in clock.intervals(job.earliest, job.latest_end).items():
            if slots.end - slots.first < len(job.power_kw):
                faults.add(
                    (*path, row, "power_kw"),
                    f"`{job.name}` takes {len(job.power_kw)} slots, but between its times lie "
                    f"{max(slots.end - slots.first, 0)} on {day}",
                    allowed="as many as fit, or times farther apart",
                )
                break
            if slots.first >= 0 and slots.end <= clock.slots:
                name = job.name if isinstance(job.earliest, datetime) else f"{job.name}, {day}"
                rows.append((name, row, slots))
    job_of = np.array([row for _, row, _ in rows], dtype=np.int64)
    lengths = np.array([len(job.power_kw) for job in jobs], dtype=np.int64)
    profile = np.array(
        [[*job.power_kw, *[0.0] * (longest - len(job.power_kw))] for job in jobs], dtype=np.float64
    )
    return ShiftableLoads(
        name=tuple(name for name, _, _ in rows),
        agent=agents[job_of],
        profile_kw=profile[job_of],
        slots=lengths[job_of],
        earliest_slot=np.array([slots.first for _, _, slots in rows], dtype=np.int64),
        latest_end_slot=np.array([slots.end for _, _, slots in rows], dtype=np.int64),
        hours=clock.hours,
    )


def joined_jobs(first: ShiftableLoads, second: ShiftableLoads) -> ShiftableLoads:
    """Put the jobs of two lists one after the other."""
    longest = max(first.profile_kw.shape[1], second.profile_kw.shape[1])
    profiles = [
        np.pad(loads.profile_kw, ((0, 0), (0, longest - loads.profile_kw.shape[1])))
        for loads in (first, second)
    ]
    arrays = {
        key: np.concatenate([getattr(first, key), getattr(second, key)])
        for key in ("agent", "slots", "earliest_slot", "latest_end_slot")
    }
    return ShiftableLoads(
        name=first.name + second.name,
        profile_kw=np.concatenate(profiles),
        hours=first.hours,
        **arrays,
    )


def _require_energy(name: str, power_kw: tuple[float, ...]) -> None:
    if not sum(power_kw) > 0:
        raise broken_rule(
            f"`{name}` uses no energy", at=("power_kw",), allowed="a power above 0 in some step"
        )
