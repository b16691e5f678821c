"""Adoption: which share of the households owns PV, a battery, a charger, a heat pump, and trades.

Of ``n`` households exactly ``round(share * n)`` own a device. They are the first in an order of
all households that the seed draws once per kind of device: first those that own one in the data
(they keep their own), then the others. A share below that of the data therefore takes devices
away. As the order does not depend on the share, the owners at a smaller share are a subset of
those at a larger one, and so are the households that trade: axes of a study compare like with
like. Batteries follow the order of PV, so that they go to PV owners first.

New devices draw their profile by the seed, too, from what SimBench offers: ``PV*``, chargers at
home ``HLS_*`` and heat pumps ``Air_*``, ``Soil_*``. Tables of the planner's own need a name for
each. A heat pump is rated so that its profile uses the energy of a year that is asked for:
``rated_kw = kwh_per_year / (8760 h * mean(profile))``. New devices have no reactive power. Only
households (`AgentKind.HOUSEHOLD`) of the network's data change; all others stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tricell.errors import DataError
from tricell.scenarios.section import Section
from tricell.simulators.population import (
    NO_PROFILE,
    AgentKind,
    Batteries,
    BoolArray,
    DeviceKind,
    Devices,
    FloatArray,
    IntArray,
    Population,
)

HOURS_PER_YEAR = 8760.0
FULL_YEAR_H = 360 * 24.0
"""Profiles that cover this count as a year, h."""
TRADING_STREAM = 1000
"""Number of the random stream of participation, apart from those of `DeviceKind`."""
PROFILE_STREAM = 100
RATING_IN_NAME = re.compile(r"_(\d+(?:\.\d+)?)$")

OWNED = {
    DeviceKind.PV: "PV plant",
    DeviceKind.EV: "charger",
    DeviceKind.HEAT_PUMP: "heat pump",
}
"""What a household owns, in words."""

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Column = NDArray[np.float32]


class Adoption(Section):
    """Shares of households with a device, and of those that trade; null for the network's data."""

    pv_share: Share | None = None
    """Share of the households with PV, 0 to 1 (null: as in the network's data)."""
    battery_share: Share | None = None
    """Share of the households with a battery, PV owners first (null: as in the data)."""
    ev_share: Share | None = None
    """Share of the households with a charger for an electric car (null: as in the data)."""
    heat_pump_share: Share | None = None
    """Share of the households with a heat pump (null: as in the data)."""
    participation: Share | None = None
    """Share of the households that trade; all others that are no household do (null: all)."""
    pv_kwp: Positive = 8.0
    """Rated power of a new PV plant, kW (8)."""
    pv_profile: str | None = None
    """Profile of new PV plants (null: drawn from SimBench's PV profiles of the network)."""
    battery_kwh: Positive = 10.0
    """Usable capacity of a new battery, kWh (10)."""
    battery_kw: Positive = 5.0
    """Largest charging and discharging power of a new battery, kW (5)."""
    battery_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Efficiency of charging a new battery, and of discharging it (0.95)."""
    ev_kw: Positive | None = None
    """Rated power of a new charger, kW (null: the number at the end of its profile's name)."""
    ev_profile: str | None = None
    """Profile of new chargers (null: drawn from SimBench's `HLS_*` of the network)."""
    heat_pump_kwh_per_year: Positive = 4000.0
    """Electricity of a new heat pump in a year, kWh (4000: some 12 MWh of heat)."""
    heat_pump_kw: Positive | None = None
    """Rated power of a new heat pump, kW (null: from `heat_pump_kwh_per_year`)."""
    heat_pump_profile: str | None = None
    """Profile of new heat pumps (null: drawn from SimBench's `Air_*` and `Soil_*`)."""

    def share_of(self, kind: DeviceKind) -> float | None:
        """Return the wanted share of owners of a kind of device."""
        shares = {
            DeviceKind.PV: self.pv_share,
            DeviceKind.EV: self.ev_share,
            DeviceKind.HEAT_PUMP: self.heat_pump_share,
        }
        return shares[kind]

    def profile_of(self, kind: DeviceKind) -> str | None:
        """Return the profile that new devices of a kind follow, if the planner names one."""
        profiles = {
            DeviceKind.PV: self.pv_profile,
            DeviceKind.EV: self.ev_profile,
            DeviceKind.HEAT_PUMP: self.heat_pump_profile,
        }
        return profiles[kind]


@dataclass(frozen=True)
class ProfileShelf:
    """Where new devices find their profiles.

    Attributes
    ----------
    read : function of (name, kind of device)
        Gives the values of a profile, shape (n_row,).
    offered : names that may be drawn, by kind of device; none for tables of one's own.
    """

    read: Callable[[str, DeviceKind], Column]
    offered: Mapping[DeviceKind, tuple[str, ...]]


@dataclass(frozen=True)
class Draw:
    """What the owners and profiles of new devices follow from: sizes, profiles, and the seed."""

    adoption: Adoption
    shelf: ProfileShelf
    seed: int


def with_adoption(
    population: Population, adoption: Adoption, reader: ProfileShelf, seed: int
) -> Population:
    """Give households devices, or take them away, until the shares are as wanted.

    Parameters
    ----------
    population : Population
        Participants of the network's data.
    adoption : Adoption
        Wanted shares; a share of None changes nothing.
    reader : ProfileShelf
        Profiles of new devices.
    seed : int
        Draws owners, profiles and those that trade.

    Returns
    -------
    Population
        With other devices and batteries; `Population.not_trading` names who stays out of the
        markets, `Population.notes` tells what changed.

    Raises
    ------
    DataError
        If there are no households to own the devices, or a profile is missing or unusable.
    """
    draw = Draw(adoption, reader, seed)
    pv_order = _order(population, DeviceKind.PV, seed)
    _require_households(population, adoption)
    for kind in (DeviceKind.PV, DeviceKind.EV, DeviceKind.HEAT_PUMP):
        if (share := adoption.share_of(kind)) is not None:
            wanted = _order(population, kind, seed)[: _count(population, share)]
            population = _with_owners(population, kind, wanted, draw)
    if (share := adoption.battery_share) is not None:
        wanted = _battery_order(population, pv_order)[: _count(population, share)]
        population = _with_battery_owners(population, wanted, adoption)
    if adoption.participation is not None:
        outside = np.flatnonzero(~participation_mask(population, adoption, seed))
        population = replace(population, not_trading=outside)
    return population


def participation_mask(population: Population, adoption: Adoption, seed: int) -> BoolArray:
    """Return who trades: a share of the households, drawn by seed, and everybody else.

    Parameters
    ----------
    population : Population
        The participants.
    adoption : Adoption
        Its `participation`; None for all.
    seed : int
        Draws the households; those of a smaller share are among those of a larger one.

    Returns
    -------
    bool, shape (n_agent,)
    """
    takes_part = np.ones(len(population.agents), np.bool_)
    if adoption.participation is None:
        return takes_part
    households = _households(population)
    drawn = np.random.default_rng([seed, TRADING_STREAM]).permutation(households)
    takes_part[drawn[_count(population, adoption.participation) :]] = False
    return takes_part


def _households(population: Population) -> IntArray:
    return np.flatnonzero(population.agents.kind == AgentKind.HOUSEHOLD)


def _count(population: Population, share: float) -> int:
    return round(share * len(_households(population)))


def _order(population: Population, kind: DeviceKind, seed: int) -> IntArray:
    return device_order(population, kind, seed, _households(population))


def device_order(
    population: Population, kind: DeviceKind, seed: int, households: IntArray
) -> IntArray:
    """Return households in the order in which they own a device of a kind.

    Parameters
    ----------
    population : Population
        Says who owns one already; they come first.
    kind : DeviceKind
    seed : int
        Draws the order.
    households : int64, shape (n,)
        Rows of the households of the network's data.
    """
    drawn = np.random.default_rng([seed, int(kind)]).permutation(households)
    owners = population.devices.agent[population.devices.kind == kind]
    return _owners_first(drawn, owners)


def with_device_each(
    population: Population,
    kind: DeviceKind,
    owners: IntArray,
    draw: Draw,
) -> Population:
    """Give those of some agents a device of a kind who have none; see `with_adoption`."""
    without = np.setdiff1d(owners, population.devices.agent[population.devices.kind == kind])
    return _with_new_devices(population, kind, without, draw) if len(without) else population


def _battery_order(population: Population, pv_order: IntArray) -> IntArray:
    return _owners_first(pv_order, population.batteries.agent)


def _owners_first(order: IntArray, owners: IntArray) -> IntArray:
    owns = np.isin(order, owners)
    return np.concatenate([order[owns], order[~owns]])


def _require_households(population: Population, adoption: Adoption) -> None:
    wanted = {
        name: share
        for name in ("pv_share", "battery_share", "ev_share", "heat_pump_share")
        if (share := getattr(adoption, name))
    }
    if wanted and not len(_households(population)):
        listed = ", ".join(f"{name}: {share:g}" for name, share in wanted.items())
        raise DataError(
            f"participants.adoption asks for {listed}, but the network has no households that "
            "could own the devices. Choose a network with households, leave the shares out, or "
            "name owners in participants.extra."
        )


def _split(
    population: Population, owners: IntArray, wanted: IntArray
) -> tuple[BoolArray, IntArray]:
    """Return which owned things stay, and the agents that get one, in the order of agents."""
    household = population.agents.kind[owners] == AgentKind.HOUSEHOLD
    return ~household | np.isin(owners, wanted), np.setdiff1d(wanted, owners)


def _with_owners(
    population: Population,
    kind: DeviceKind,
    wanted: IntArray,
    draw: Draw,
) -> Population:
    devices = population.devices
    of_kind = devices.kind == kind
    kept, new = _split(population, devices.agent[of_kind], wanted)
    stays = ~of_kind
    stays[of_kind] = kept
    lost = len(np.unique(devices.agent[~stays]))
    population = replace(
        population,
        devices=chosen_devices(devices, stays),
        notes=(*population.notes, _note(population, OWNED[kind], wanted, len(new), lost)),
    )
    if not len(new):
        return population
    return _with_new_devices(population, kind, new, draw)


def _note(population: Population, what: str, wanted: IntArray, new: int, lost: int) -> str:
    return (
        f"Adoption: {len(wanted)} of {len(_households(population))} households own a "
        f"{what} ({new} new, {lost} taken away)."
    )


def chosen_devices(devices: Devices, stays: BoolArray) -> Devices:
    """Return the devices that stay."""
    arrays = {key: value[stays] for key, value in vars(devices).items() if key != "name"}
    name = tuple(devices.name[row] for row in np.flatnonzero(stays))
    return Devices(name=name, **arrays)


def _with_new_devices(
    population: Population,
    kind: DeviceKind,
    new: IntArray,
    draw: Draw,
) -> Population:
    names, choice = _drawn_profiles(population, kind, new, draw)
    columns = [_read(draw.shelf, name, kind, population) for name in names]
    rated = np.array(
        [
            _rated_kw(kind, name, column, draw.adoption, population)
            for name, column in zip(names, columns, strict=True)
        ]
    )
    profiles = population.profiles
    added = _new_devices(
        population, kind, new, column=len(profiles.columns) + choice, rated_kw=rated[choice]
    )
    return replace(
        population,
        devices=_joined(population.devices, added),
        profiles=replace(
            profiles,
            values=np.column_stack([profiles.values, *columns]),
            columns=(*profiles.columns, *(f"adoption/{kind.label}/{name}" for name in names)),
        ),
    )


def _drawn_profiles(
    population: Population,
    kind: DeviceKind,
    new: IntArray,
    draw: Draw,
) -> tuple[tuple[str, ...], IntArray]:
    """Return the names of the profiles in use, and which of them each new owner follows."""
    named = draw.adoption.profile_of(kind)
    offered = (named,) if named is not None else tuple(sorted(draw.shelf.offered.get(kind, ())))
    if not offered:
        raise DataError(
            f"{len(new)} more households with a {OWNED[kind]} are wanted, but the profiles of this "
            "scenario offer none to draw from. Set "
            f"participants.adoption.{kind.label}_profile to the name of a profile, or choose a "
            "network whose data have some, such as SimBench's scenario 2."
        )
    # One draw per agent, whatever the share: an owner keeps its profile when others join.
    stream = np.random.default_rng([draw.seed, PROFILE_STREAM + int(kind)])
    drawn = stream.random(len(population.agents))
    choice = (drawn[new] * len(offered)).astype(np.int64)
    used, position = np.unique(choice, return_inverse=True)
    return tuple(offered[row] for row in used), position.astype(np.int64)


def _read(shelf: ProfileShelf, name: str, kind: DeviceKind, population: Population) -> Column:
    values = shelf.read(name, kind)
    if len(values) != len(population.profiles.values) or not np.isfinite(values).all():
        raise DataError(
            f"The profile {name!r} of participants.adoption has gaps. Fill them, or choose "
            f"another one as {kind.label}_profile."
        )
    return values


def _rated_kw(
    kind: DeviceKind, name: str, column: Column, adoption: Adoption, population: Population
) -> float:
    match kind:
        case DeviceKind.PV:
            return adoption.pv_kwp
        case DeviceKind.EV:
            return adoption.ev_kw or _rating_in(name)
        case _:
            return adoption.heat_pump_kw or _for_a_year(name, column, adoption, population)


def _rating_in(name: str) -> float:
    found = RATING_IN_NAME.search(name)
    if found is None or float(found[1]) <= 0:
        raise DataError(
            f"The charger profile {name!r} does not end with its power in kW, as HLS_A_3.7 does. "
            "Set participants.adoption.ev_kw."
        )
    return float(found[1])


def _for_a_year(name: str, column: Column, adoption: Adoption, population: Population) -> float:
    covered_h = len(column) * population.profiles.step_s / 3600.0
    mean = float(column.mean(dtype=np.float64))
    if covered_h < FULL_YEAR_H or mean <= 0:
        why = "it is not above 0 on average" if mean <= 0 else f"it covers {covered_h / 24:g} days"
        raise DataError(
            f"The heat-pump profile {name!r} does not tell the energy of a year: {why}. Set "
            "participants.adoption.heat_pump_kw to the rated power that multiplies it."
        )
    return adoption.heat_pump_kwh_per_year / (HOURS_PER_YEAR * mean)


def _new_devices(
    population: Population,
    kind: DeviceKind,
    agent: IntArray,
    *,
    column: IntArray,
    rated_kw: FloatArray,
) -> Devices:
    count = len(agent)
    label = f"adopted {OWNED[kind]}"
    return Devices(
        name=tuple(f"{population.agents.id[row]} {label}" for row in agent),
        agent=agent,
        kind=np.full(count, int(kind)),
        generates=np.full(count, kind is DeviceKind.PV),
        p_profile=column,
        rated_kw=rated_kw,
        q_profile=np.full(count, NO_PROFILE),
        rated_kvar=np.zeros(count),
    )


def _joined(devices: Devices, more: Devices) -> Devices:
    arrays = {
        key: np.concatenate([value, getattr(more, key)])
        for key, value in vars(devices).items()
        if key != "name"
    }
    return Devices(name=(*devices.name, *more.name), **arrays)


def _with_battery_owners(
    population: Population, wanted: IntArray, adoption: Adoption
) -> Population:
    batteries = population.batteries
    stays, new = _split(population, batteries.agent, wanted)
    lost = len(np.unique(batteries.agent[~stays]))
    added = _new_batteries(new, adoption)
    columns = {
        key: np.concatenate([value[stays], getattr(added, key)])
        for key, value in vars(batteries).items()
    }
    note = _note(population, "battery", wanted, len(new), lost)
    return replace(population, batteries=Batteries(**columns), notes=(*population.notes, note))


def _new_batteries(owners: IntArray, adoption: Adoption) -> Batteries:
    count = len(owners)
    efficiency = np.full(count, adoption.battery_efficiency)
    return Batteries(
        agent=owners,
        energy_kwh=np.full(count, adoption.battery_kwh),
        charge_kw=np.full(count, adoption.battery_kw),
        discharge_kw=np.full(count, adoption.battery_kw),
        eta_charge=efficiency,
        eta_discharge=efficiency,
        self_discharge_per_day=np.zeros(count),
        soc0_kwh=np.zeros(count),
    )
