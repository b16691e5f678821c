"""Adoption: how many households own devices and trade, who they are, and what they get."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import DataError
from tricell.scenarios.adoption import (
    Adoption,
    ProfileShelf,
    participation_mask,
    with_adoption,
)
from tricell.scenarios.faults import ScenarioFaultsError
from tricell.scenarios.network import load_network
from tricell.scenarios.participants import build_population
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.schema import Scenario
from tricell.simulators.population import (
    AgentKind,
    AgentTable,
    Batteries,
    DeviceKind,
    Devices,
    Population,
    Profiles,
)

KINDS = {
    "pv_share": DeviceKind.PV,
    "ev_share": DeviceKind.EV,
    "heat_pump_share": DeviceKind.HEAT_PUMP,
}
ROWS_OF_A_YEAR = 366 * 24
RAMP = np.linspace(0.0, 1.0, ROWS_OF_A_YEAR, dtype=np.float32)

shares = st.floats(0.0, 1.0)
seeds = st.integers(0, 2**32 - 1)


def shelf(**offered: tuple[str, ...]) -> ProfileShelf:
    """Profiles that all are one ramp from 0 to 1; by default some of each kind may be drawn."""
    names = {
        "PV": ("PV1", "PV2", "PV3"),
        "EV": ("HLS_A_3.7", "HLS_A_11.0"),
        "HEAT_PUMP": ("Air_1", "Soil_1"),
    } | offered
    return ProfileShelf(lambda name, kind: RAMP, {DeviceKind[k]: v for k, v in names.items()})


def population_of(n_household: int = 20, n_pv: int = 5, n_battery: int = 2) -> Population:
    """A business and households, the first of which own PV and batteries; one row per hour."""
    n_agent = n_household + 1
    owners = np.arange(1, n_pv + 1)
    agents = np.concatenate([np.arange(n_agent), owners, [0]])
    kind = np.full(len(agents), int(DeviceKind.BASE_LOAD))
    kind[n_agent:] = int(DeviceKind.PV)
    battery = np.concatenate([np.arange(1, n_battery + 1), [0]])

    def each(value: float) -> Any:
        return np.full(len(battery), value)

    return Population(
        AgentTable(
            id=tuple(f"agent {row}" for row in range(n_agent)),
            bus_row=np.zeros(n_agent, np.int64),
            kind=np.array([int(AgentKind.BUSINESS)] + [int(AgentKind.HOUSEHOLD)] * n_household),
        ),
        Devices(
            name=tuple(f"device {row}" for row in range(len(agents))),
            agent=agents,
            kind=kind,
            generates=kind == DeviceKind.PV,
            p_profile=np.zeros(len(agents), np.int64),
            rated_kw=np.full(len(agents), 3.0),
            q_profile=np.full(len(agents), -1),
            rated_kvar=np.zeros(len(agents)),
        ),
        Batteries(battery, each(6.0), each(2.0), each(2.0), each(0.9), each(0.9), each(0), each(1)),
        Profiles(RAMP[:, None], ("own",), np.datetime64("2016-01-01T00:00:00"), 3600),
    )


def adoption_of(field: str, share: float) -> Adoption:
    return Adoption.model_validate({field: share})


def owners(population: Population, kind: DeviceKind) -> set[int]:
    """Households that own a kind of device."""
    agents = set(population.devices.agent[population.devices.kind == kind].tolist())
    return agents & households(population)


def battery_owners(population: Population) -> set[int]:
    return set(population.batteries.agent.tolist()) & households(population)


def households(population: Population) -> set[int]:
    return set(np.flatnonzero(population.agents.kind == AgentKind.HOUSEHOLD).tolist())


def test_without_shares_nothing_changes() -> None:
    before = population_of()
    assert with_adoption(before, Adoption(), shelf(), 1) is before


@given(shares, seeds, st.sampled_from(sorted(KINDS)))
@settings(max_examples=50, deadline=None)
def test_exactly_the_rounded_share_of_the_households_owns_a_device(
    share: float, seed: int, field: str
) -> None:
    after = with_adoption(population_of(), adoption_of(field, share), shelf(), seed)
    assert len(owners(after, KINDS[field])) == round(20 * share)


@given(shares, shares, seeds)
@settings(max_examples=50, deadline=None)
def test_owners_keep_theirs_first_and_pv_owners_get_batteries_first(
    pv_share: float, battery_share: float, seed: int
) -> None:
    before = population_of()
    adoption = Adoption(pv_share=pv_share, battery_share=battery_share)
    after = with_adoption(before, adoption, shelf(), seed)
    for had, have in (
        (owners(before, DeviceKind.PV), owners(after, DeviceKind.PV)),
        (battery_owners(before), battery_owners(after)),
    ):
        assert have <= had or had <= have
    with_pv = owners(after, DeviceKind.PV)
    new = battery_owners(after) - battery_owners(before)
    assert len(battery_owners(after)) == round(20 * battery_share)
    assert new <= with_pv or with_pv <= battery_owners(after)


@given(st.tuples(shares, shares), seeds, st.sampled_from([*sorted(KINDS), "battery_share"]))
@settings(max_examples=60, deadline=None)
def test_owners_at_a_smaller_share_are_among_those_at_a_larger_one(
    pair: tuple[float, float], seed: int, field: str
) -> None:
    def have(share: float) -> set[int]:
        after = with_adoption(population_of(), adoption_of(field, share), shelf(), seed)
        return battery_owners(after) if field == "battery_share" else owners(after, KINDS[field])

    assert have(min(pair)) <= have(max(pair))


@given(st.tuples(shares, shares), seeds)
@settings(max_examples=40, deadline=None)
def test_more_pv_does_not_move_the_batteries(pair: tuple[float, float], seed: int) -> None:
    few, many = (
        with_adoption(population_of(), Adoption(pv_share=share, battery_share=0.3), shelf(), seed)
        for share in pair
    )
    assert battery_owners(few) == battery_owners(many)


@given(st.tuples(shares, shares), seeds)
@settings(max_examples=50, deadline=None)
def test_a_share_of_the_households_and_everybody_else_trade(
    pair: tuple[float, float], seed: int
) -> None:
    population = population_of()
    few, many = (
        participation_mask(population, Adoption(participation=share), seed)
        for share in sorted(pair)
    )
    assert few[0]
    assert few[1:].sum() == round(20 * min(pair))
    assert not (few & ~many).any()


def test_who_does_not_trade_is_told_by_the_population() -> None:
    adoption = Adoption(participation=0.25)
    after = with_adoption(population_of(), adoption, shelf(), 7)
    np.testing.assert_array_equal(
        after.takes_part, participation_mask(population_of(), adoption, 7)
    )
    assert population_of().takes_part.all()


def test_a_new_owner_keeps_its_profile_when_others_join() -> None:
    def profiles(share: float) -> dict[int, str]:
        after = with_adoption(population_of(), Adoption(pv_share=share), shelf(), 3)
        added = range(len(population_of().devices), len(after.devices))
        column = after.devices.p_profile
        return {int(after.devices.agent[row]): after.profiles.columns[column[row]] for row in added}

    few, many = profiles(0.5), profiles(1.0)
    assert few.items() <= many.items()
    assert len(set(many.values())) == 3


def test_new_devices_have_the_ratings_that_are_asked_for() -> None:
    adoption = Adoption(
        pv_share=1, battery_share=1, ev_share=1, heat_pump_share=1, pv_kwp=6, battery_kwh=9
    )
    before = population_of()
    after = with_adoption(before, adoption, shelf(), 1)
    np.testing.assert_array_equal(after.pv_kwp[1:6], 3.0)
    np.testing.assert_array_equal(after.pv_kwp[6:], 6.0)
    np.testing.assert_array_equal(after.battery_kwh[1:3], 6.0)
    np.testing.assert_array_equal(after.battery_kwh[3:], 9.0)
    assert set(after.rated_kw_by_agent(DeviceKind.EV)[1:]) == {3.7, 11.0}
    energy = after.device_energy_kwh()[after.devices.kind == DeviceKind.HEAT_PUMP]
    # 4000 kWh in 8760 hours; the profiles here have those of a leap year.
    np.testing.assert_allclose(energy, 4000.0 * ROWS_OF_A_YEAR / 8760.0)
    np.testing.assert_array_equal(after.devices.rated_kw[:27], before.devices.rated_kw)
    assert not after.devices.rated_kvar.any()


def test_a_share_of_zero_takes_devices_from_households_only() -> None:
    after = with_adoption(population_of(), Adoption(pv_share=0, battery_share=0), shelf(), 1)
    assert after.pv_kwp[0] == 3.0
    assert not after.pv_kwp[1:].any()
    np.testing.assert_array_equal(after.batteries.agent, [0])
    assert after.notes == (
        "Adoption: 0 of 20 households own a PV plant (0 new, 5 taken away).",
        "Adoption: 0 of 20 households own a battery (0 new, 2 taken away).",
    )


@pytest.mark.parametrize(
    ("adoption", "offered", "message"),
    [
        ({"ev_share": 1}, {"EV": ()}, "adoption.ev_profile to the name of a profile"),
        ({"ev_share": 1, "ev_profile": "car"}, {}, "Set participants.adoption.ev_kw"),
        ({"pv_share": 1}, {"PV": ()}, "15 more households with a PV plant"),
    ],
)
def test_what_is_missing_for_new_devices_is_said(
    adoption: dict[str, Any], offered: dict[str, tuple[str, ...]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        with_adoption(population_of(), Adoption(**adoption), shelf(**offered), 1)


def test_shares_of_a_network_without_households_are_refused() -> None:
    with pytest.raises(DataError, match="the network has no households"):
        with_adoption(population_of(0, 0, 0), Adoption(pv_share=0.5), shelf(), 1)


def test_a_share_beyond_one_is_a_fault_of_the_file() -> None:
    with pytest.raises(ScenarioFaultsError, match="pv_share"):
        scenario_of("pv_share: 1.2")


# Scenarios -----------------------------------------------------------------------------------


def scenario_of(adoption: str, *overrides: str, name: str = "village") -> Scenario:
    assignments = [f"participants.adoption={{{adoption}}}", *overrides]
    return load_scenario(name, [Override.from_assignment(text) for text in assignments])


@cache
def village_net() -> Any:
    return load_network(scenario_of("")).net


def test_a_simbench_village_gets_the_devices_of_its_own_profiles() -> None:
    """Chargers of SimBench use some 0.8 to 1.6 MWh a year; its heat pumps are set to 4 MWh."""
    wanted = "pv_share: 0.5, battery_share: 0.3, ev_share: 0.6, heat_pump_share: 0.4"
    population = build_population(scenario_of(wanted), village_net())
    n_household = len(households(population))
    assert n_household == 124
    assert [len(owners(population, kind)) for kind in KINDS.values()] == [62, 74, 50]
    assert len(battery_owners(population)) == 37
    adopted = np.array(["adopted" in name for name in population.devices.name])
    energy = population.device_energy_kwh()
    chargers = energy[adopted & (population.devices.kind == DeviceKind.EV)]
    assert 700 < chargers.min() < chargers.max() < 1700
    pumps = energy[adopted & (population.devices.kind == DeviceKind.HEAT_PUMP)]
    np.testing.assert_allclose(pumps, 4000.0 * 366 / 365, rtol=1e-4)


def test_a_village_without_adoption_is_that_of_the_data() -> None:
    plain = build_population(load_scenario("village"), village_net())
    given = build_population(scenario_of("pv_kwp: 3"), village_net())
    np.testing.assert_array_equal(plain.devices.rated_kw, given.devices.rated_kw)
    assert given.notes == plain.notes


def test_an_unknown_simbench_profile_is_named_with_a_close_one() -> None:
    scenario = scenario_of("ev_share: 1, ev_profile: HLS_A_3.8")
    with pytest.raises(DataError, match=r"'HLS_A_3.8'.*HLS_A_3.7"):
        build_population(scenario, village_net())


NETWORK = """
name: own
time: {start: 2016-05-23T00:00Z, days: 1}
grid:
  source: {kind: pandapower, function: create_cigre_network_lv}
participants:
  profiles: PROFILES
prices:
  wholesale: {kind: constant, price_eur_per_kwh: 0.05}
  retail: {kind: fixed, price_eur_per_kwh: 0.3}
  feed_in: {kind: fixed, price_eur_per_kwh: 0.08}
"""


def own_scenario(folder: Path, profiles: str, adoption: str) -> Scenario:
    path = folder / "own.yaml"
    path.write_text(NETWORK.replace("PROFILES", profiles))
    return scenario_of(adoption, name=str(path))


def test_tables_of_ones_own_need_named_profiles(tmp_path: Path) -> None:
    scenario = own_scenario(tmp_path, "constant", "pv_share: 1")
    net = load_network(scenario).net
    with pytest.raises(DataError, match="pv_profile"):
        build_population(scenario, net)


def test_constant_profiles_make_constant_devices(tmp_path: Path) -> None:
    wanted = "pv_share: 1, pv_profile: any, heat_pump_share: 1, heat_pump_profile: any"
    scenario = own_scenario(tmp_path, "constant", f"{wanted}, heat_pump_kw: 2")
    population = build_population(scenario, load_network(scenario).net)
    new = population.devices.kind == DeviceKind.PV
    assert new.sum() == len(households(population))
    np.testing.assert_array_equal(
        population.profiles.values[:, population.devices.p_profile[new]], 1.0
    )


def test_a_heat_pump_whose_profile_covers_a_day_needs_its_power(tmp_path: Path) -> None:
    scenario = own_scenario(tmp_path, "constant", "heat_pump_share: 1, heat_pump_profile: any")
    with pytest.raises(DataError, match=r"covers 1 days.*heat_pump_kw"):
        build_population(scenario, load_network(scenario).net)


def test_columns_of_a_csv_file_are_profiles_of_new_devices(tmp_path: Path) -> None:
    net = load_network(own_scenario(tmp_path, "constant", "")).net
    names = [*net.load["name"], "sun", "car"]
    clock = [f"2016-05-23 {slot // 4:02d}:{slot % 4 * 15:02d}" for slot in range(96)]
    rows = [",".join([when, *["0.5"] * len(net.load), "0.25", "0.75"]) for when in clock]
    (tmp_path / "own.csv").write_text("\n".join([",".join(["time", *names]), *rows]))
    profiles = "{kind: csv, files: [own.csv]}"
    wanted = "pv_share: 0.5, pv_profile: sun, ev_share: 0.5, ev_profile: car, ev_kw: 7"
    population = build_population(own_scenario(tmp_path, profiles, wanted), net)
    car = population.devices.kind == DeviceKind.EV
    assert set(population.devices.rated_kw[car]) == {7.0}
    column = population.devices.p_profile[car]
    np.testing.assert_allclose(population.profiles.values[:, column], 0.75)
    wrong = own_scenario(tmp_path, profiles, "pv_share: 1, pv_profile: sum")
    with pytest.raises(DataError, match=r"no column 'sum' \(did you mean 'sun'\?\)"):
        build_population(wrong, net)


def test_extra_participants_are_as_the_file_says(tmp_path: Path) -> None:
    extra = "participants.extra=[{name: guest, bus: 'Bus R1', load_kw: 1}]"
    path = tmp_path / "own.yaml"
    path.write_text(NETWORK.replace("PROFILES", "constant"))
    scenario = scenario_of("pv_share: 1, pv_profile: any, participation: 0", extra, name=str(path))
    population = build_population(scenario, load_network(scenario).net)
    assert population.agents.id[-1] == "guest"
    assert population.pv_kwp[-1] == 0.0
    assert population.takes_part[-1]
