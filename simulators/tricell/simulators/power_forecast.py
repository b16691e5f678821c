r"""What is known at the gate of the power that a slot will bring, and of slots further ahead.

Three kinds of forecasts of the power of all agents' loads and plants ``a``:

* *perfect*: the power itself.
* *persistence*: that of the same time of the latest day that is over. At the gate of slot
  :math:`t` this is :math:`f_t = a_{t-D}`, with :math:`D` slots in a day; slots further ahead go
  back whole days, too: :math:`f_{t+h} = a_{t+h-kD}` with :math:`k = \lfloor h/D \rfloor + 1`.
  Days before the first row of the profiles are those at their end, as if the profiles repeated.
* *AR(1)*: :math:`f_t = a_t / (1 + \varepsilon_t)` with the relative errors of
  `tricell.markets.forecast_error`, which each agent has for each kind of load and plant. Reactive
  power is wrong by the same factor. No plants are expected to give more than their rated power,
  unless more comes. What is foreseen of a later slot is what will be its forecast at the gate:
  errors do not grow with the time ahead.

Forecasts are of what follows profiles. What connected simulators add, and what devices draw that
are decided upon slot by slot, is no part of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.errors import DataError
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.forecast_error import ErrorModel, forecast_from_actual, relative_errors
from tricell.markets.random_streams import AgentSlots, agent_numbers
from tricell.simulators.household_power import AgentPower, PowerBlock
from tricell.simulators.population import (
    BoolArray,
    DeviceKind,
    Devices,
    FloatArray,
    IntArray,
    Population,
)
from tricell.simulators.slot_simulator import SLOTS_PER_BLOCK


class Source(StrEnum):
    """Kinds of loads and plants that have errors of their own."""

    LOAD = "load"
    EV = "ev"
    HEAT_PUMP = "heat_pump"
    PV = "pv"
    WIND = "wind"
    OTHER = "other"


SOURCE_OF_KIND = {
    DeviceKind.BASE_LOAD: Source.LOAD,
    DeviceKind.LOWER_GRID_LOAD: Source.LOAD,
    DeviceKind.EV: Source.EV,
    DeviceKind.HEAT_PUMP: Source.HEAT_PUMP,
    DeviceKind.PV: Source.PV,
    DeviceKind.WIND: Source.WIND,
}
"""All other kinds of devices are `Source.OTHER`."""


@dataclass(frozen=True)
class RunSlots:
    """The slots of a run.

    Attributes
    ----------
    first_row : profile row of slot 0.
    count : number of slots.
    per_day : slots in a day.
    """

    first_row: int
    count: int
    per_day: int


class PowerForecast:
    """Perfect forecasts; other kinds are subclasses.

    Parameters
    ----------
    population : agents with devices and profiles.
    run : the slots.

    Attributes
    ----------
    is_perfect : whether forecasts are the truth itself.
    """

    is_perfect = True

    def __init__(self, population: Population, run: RunSlots) -> None:
        self._run = run
        self._truth = AgentPower(population)
        self._blocks: dict[int, PowerBlock] = {}

    def of_slots(self, first_slot: int, count: int) -> PowerBlock:
        """Return the forecasts at the gates of consecutive slots of the run.

        Parameters
        ----------
        first_slot, count : the slots.

        Returns
        -------
        PowerBlock
            Arrays of shape (count, n_agent).
        """
        return self._of(np.arange(first_slot, first_slot + count), first_slot)

    def ahead(self, slot: int, count: int) -> tuple[FloatArray, FloatArray]:
        """Return what is foreseen at the gate of a slot for it and those that follow.

        Slots after the end of the run are taken to be like those of its last day.

        Parameters
        ----------
        slot : the slot whose orders are due.
        count : slots from this one on.

        Returns
        -------
        tuple
            Load and available generation, kW, arrays of shape (count, n_agent).
        """
        coming = np.arange(slot, slot + count)
        block = self._of(like_the_last_day(coming, self._run.count, self._run.per_day), slot)
        return block.p_load_kw, block.p_generation_available_kw

    def _of(self, slots: IntArray, now: int) -> PowerBlock:
        """Return the power of some slots; blocks that lie well before `now` are forgotten."""
        number = slots // SLOTS_PER_BLOCK
        oldest = min(int(number.min()), now // SLOTS_PER_BLOCK - 1)
        self._blocks = {kept: block for kept, block in self._blocks.items() if kept >= oldest}
        parts = np.split(slots, np.flatnonzero(np.diff(slots) != 1) + 1)
        return _joined([piece for part in parts for piece in self._pieces(part)])

    def _pieces(self, slots: IntArray) -> list[PowerBlock]:
        """Return the power of slots that follow each other, cut where blocks begin."""
        first, end = int(slots[0]), int(slots[-1]) + 1
        pieces = []
        while first < end:
            number = first // SLOTS_PER_BLOCK
            start = number * SLOTS_PER_BLOCK
            if number not in self._blocks:
                self._blocks[number] = self._block(start)
            until = min(end, start + SLOTS_PER_BLOCK)
            pieces.append(_rows(self._blocks[number], slice(first - start, until - start)))
            first = until
        return pieces

    def _block(self, first_slot: int) -> PowerBlock:
        """Return a whole block, but for what lies behind the end of the run."""
        count = min(SLOTS_PER_BLOCK, self._run.count - first_slot)
        return self._truth.block(self._run.first_row + first_slot, count)


class PersistenceForecast(PowerForecast):
    """Forecasts that take each slot to be like that of the latest day that is over.

    Raises
    ------
    DataError
        If the profiles are shorter than a day.
    """

    is_perfect = False

    def __init__(self, population: Population, run: RunSlots) -> None:
        super().__init__(population, run)
        days = len(population.profiles.values) // run.per_day
        if not days:
            raise DataError(
                "forecasts: persistence takes each slot to be like the day before, but the "
                f"profiles ({population.profiles.source or 'of this scenario'}) are shorter than a "
                "day. Supply longer profiles, or choose another kind of forecasts; constant "
                "profiles last as long as the run."
            )
        self._rows_of_days = days * run.per_day

    def of_slots(self, first_slot: int, count: int) -> PowerBlock:
        """Return the power of the day before; see `PowerForecast.of_slots`."""
        return self._of(np.arange(first_slot, first_slot + count) - self._run.per_day, first_slot)

    def ahead(self, slot: int, count: int) -> tuple[FloatArray, FloatArray]:
        """Return the power of the latest day that is over; see `PowerForecast.ahead`."""
        per_day = self._run.per_day
        slots = slot - per_day + np.arange(count) % per_day
        block = self._of(slots, slot)
        return block.p_load_kw, block.p_generation_available_kw

    def _block(self, first_slot: int) -> PowerBlock:
        row = self._run.first_row + first_slot
        if row >= 0:
            return super()._block(first_slot)
        count = min(SLOTS_PER_BLOCK, self._run.count - first_slot)
        rows = np.arange(row, row + count)
        rows = np.where(rows < 0, rows % self._rows_of_days, rows)
        parts = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        return _joined([self._truth.block(int(part[0]), len(part)) for part in parts])


class Ar1Forecast(PowerForecast):
    """Forecasts that miss by relative errors with a memory.

    Parameters
    ----------
    population, run : as for `PowerForecast`.
    models : errors of each kind of load and plant; those that are not named have none.
    seed : of the run.
    """

    is_perfect = False

    def __init__(
        self,
        population: Population,
        run: RunSlots,
        models: Mapping[Source, ErrorModel],
        seed: int,
    ) -> None:
        super().__init__(population, run)
        source = _source_of_devices(population.devices)
        wrong = [each for each in Source if each in models and models[each].sigma > 0.0]
        numbers = agent_numbers(population.agents.id)
        self._wrong = [
            _WrongSource(_of_devices(population, source == each), numbers, each, models[each], seed)
            for each in wrong
        ]
        self._exact = AgentPower(_of_devices(population, ~np.isin(source, wrong)))

    def _block(self, first_slot: int) -> PowerBlock:
        count = min(SLOTS_PER_BLOCK, self._run.count - first_slot)
        row = self._run.first_row + first_slot
        parts = [self._exact.block(row, count)]
        parts += [each.block(row, first_slot, count) for each in self._wrong]
        return _each(parts, lambda arrays: np.sum(arrays, axis=0))


class _WrongSource:
    """Forecasts of all loads or plants of one kind."""

    def __init__(
        self,
        population: Population,
        numbers: NDArray[np.uint64],
        source: Source,
        model: ErrorModel,
        seed: int,
    ) -> None:
        self._power = AgentPower(population)
        devices = population.devices
        self._owners = np.unique(devices.agent)
        plants_kw = np.where(devices.generates, devices.rated_kw, 0.0)
        self._rated_kw = sum_by_key(devices.agent, plants_kw, len(population.agents))
        self._numbers = numbers[self._owners]
        self._source, self._model, self._seed = source, model, seed
        self._end, self._last = -1, np.zeros(0)

    def block(self, row: int, first_slot: int, count: int) -> PowerBlock:
        """Return the forecasts of a block; quickest where blocks follow each other."""
        # The errors of a slot are the same bits with those before it and without.
        before = self._last if first_slot == self._end else None
        slots = AgentSlots(self._numbers, first_slot, count)
        errors = relative_errors(self._model, self._seed, self._source, slots, before)
        self._end, self._last = first_slot + count, errors[-1]

        def missed(actual: FloatArray) -> FloatArray:
            forecast = np.zeros_like(actual)
            forecast[:, self._owners] = forecast_from_actual(actual[:, self._owners], errors)
            return forecast

        actual = self._power.block(row, count)
        forecast = _each([actual], lambda arrays: missed(arrays[0]))
        highest_kw = np.maximum(self._rated_kw, actual.p_generation_available_kw)
        return _held_back(forecast, highest_kw)


def like_the_last_day(slots: IntArray, count: int, slots_per_day: int) -> IntArray:
    """Return slots of the run in place of those after its end: whole days earlier.

    Examples
    --------
    >>> like_the_last_day(np.array([6, 7, 8, 11]), count=8, slots_per_day=4)
    array([6, 7, 4, 7])
    """
    days_beyond = np.maximum(slots - count, -slots_per_day) // slots_per_day + 1
    return np.asarray(np.maximum(slots - days_beyond * slots_per_day, 0) % count)


def _source_of_devices(devices: Devices) -> NDArray[np.str_]:
    """Return the kind of load or plant that each device is, shape (n_device,)."""
    of_code = [SOURCE_OF_KIND.get(kind, Source.OTHER).value for kind in DeviceKind]
    return np.array(of_code)[devices.kind]


def _of_devices(population: Population, chosen: BoolArray) -> Population:
    """Return the same agents with some of their devices."""
    devices = population.devices
    kept: dict[str, Any] = {
        each.name: getattr(devices, each.name)[chosen]
        for each in fields(Devices)
        if each.name != "name"
    }
    names = tuple(compress(devices.name, chosen))
    return replace(population, devices=Devices(name=names, **kept))


def _each(parts: Sequence[PowerBlock], combine: Callable[[list[FloatArray]], Any]) -> PowerBlock:
    """Combine blocks array by array into one that is read-only."""
    arrays = {}
    for each in fields(PowerBlock):
        arrays[each.name] = combine([getattr(part, each.name) for part in parts])
        arrays[each.name].flags.writeable = False
    return PowerBlock(**arrays)


def _held_back(block: PowerBlock, highest_kw: FloatArray) -> PowerBlock:
    """Return a block whose plants give no more than a power, their reactive power in proportion."""
    given = block.p_generation_available_kw
    share = np.minimum(1.0, np.divide(highest_kw, given, out=np.ones_like(given), where=given > 0))
    kept = {
        "p_generation_available_kw": np.minimum(given, highest_kw),
        "q_generation_kvar": block.q_generation_kvar * share,
    }
    return _each([replace(block, **kept)], lambda arrays: arrays[0])


def _joined(parts: Sequence[PowerBlock]) -> PowerBlock:
    """Put blocks one after the other."""
    return parts[0] if len(parts) == 1 else _each(parts, np.concatenate)


def _rows(block: PowerBlock, rows: slice) -> PowerBlock:
    """Return consecutive slots of a block."""
    return PowerBlock(*(getattr(block, each.name)[rows] for each in fields(PowerBlock)))
