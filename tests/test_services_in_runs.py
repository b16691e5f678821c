"""Services of flexibility in runs: what is called flows, is measured, paid, and adds up."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tricell.errors import TricellError
from tricell.markets.flexibility.flexibility_market import baseline_from_like_days
from tricell.markets.postings import Kind, Party
from tricell.markets.settlement import Settlement
from tricell.scenarios.co_simulation import start_co_simulation
from tricell.scenarios.preview import preview
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.world import World, build_world
from tricell.simulators.battery import power_bounds
from tricell.simulators.recorder_simulator import RecorderSimulator
from tricell.simulators.slot_block import SlotBlock

KW = 1e-6
KWH = 1e-6
EVENING = ("time.start=2016-05-23T14:00Z", "time.days=0.25")
TRAFO = "MV1.101-LV2.101-Trafo 1"
REQUEST = (
    f"{{kind: dso_request, name: relief, trafo: {TRAFO}, need_kw: 4, "
    "from: '18:00', until: '18:30', max_price_eur_per_kwh: 0.6}"
)
TSO = (
    "{kind: tso_request, name: balance, need_kw: 6, from: 2016-05-23T16:00Z, "
    "until: 2016-05-23T16:30Z, capacity_price_eur_per_kw_h: 0.01}"
)
RESERVE = "{kind: reserve, name: held, power_kw: 5, capacity_price_eur_per_kw_h: 0.02}"
SHAVING = "{kind: peak_shaving, name: connection, area: LV2.101, limit_kw: 12}"


@dataclass
class Kept:
    """Sink that keeps everything."""

    series: list[dict[str, dict[str, NDArray[Any]]]] = field(default_factory=list)
    services: list[pd.DataFrame] = field(default_factory=list)
    money: list[Settlement] = field(default_factory=list)

    def write(self, block: SlotBlock) -> None:
        copied = {
            g: {n: v.copy() for n, v in columns.items()} for g, columns in block.series.items()
        }
        self.series.append(copied)
        if block.services is not None:
            self.services.append(pd.DataFrame(block.services))
        self.money.append(block.settlement)

    def close(self, recorder: RecorderSimulator) -> None:
        pass


@dataclass
class Done:
    """A run and what it left."""

    world: World
    kept: Kept
    recorder: RecorderSimulator
    saved: Mapping[int, Mapping[str, Any]]

    def of(self, group: str, name: str) -> NDArray[Any]:
        return np.concatenate([block[group][name] for block in self.kept.series])

    @property
    def rows(self) -> pd.DataFrame:
        return pd.concat(self.kept.services, ignore_index=True)

    def sold(self, kind: str) -> pd.DataFrame:
        return self.rows[self.rows["kind"] == kind].set_index("slot")


@cache
def run(*overrides: str) -> Done:
    return carried_out(load(*overrides))


def load(*overrides: str) -> Any:
    return load_scenario("village", [Override.from_assignment(text) for text in overrides])


def carried_out(
    scenario: Any, memory: Mapping[str, Any] | None = None, first_slot: int = 0
) -> Done:
    world, kept = build_world(scenario), Kept()
    co_simulation = start_co_simulation(world, kept, memory, first_slot)
    recorder, saved = co_simulation.recorder, {}

    def save() -> None:
        remembered: dict[str, Any] = deepcopy(recorder.memory())
        remembered["recorder"]["rows"] = recorder.unsaved_rows()
        saved[recorder.slots_done] = remembered

    recorder.on_block = save
    co_simulation.run()
    co_simulation.shut_down()
    return Done(world, kept, recorder, saved)


def with_services(*services: str, more: tuple[str, ...] = ()) -> Done:
    return run(*EVENING, f"services=[{', '.join(services)}]", *more)


def test_without_services_nothing_is_asked_and_nothing_is_earned() -> None:
    done = run(*EVENING)
    assert not done.kept.services
    assert not done.recorder.totals.bills["flexibility"].any()


def test_what_is_called_behind_a_transformer_relieves_it_in_the_ac_power_flow() -> None:
    plain, done = run(*EVENING), with_services(REQUEST, TSO)
    rows = done.sold("dso_request")
    assert rows.index.tolist() == [8, 9]
    np.testing.assert_allclose(rows["need"], 1.0)
    np.testing.assert_allclose(rows["accepted"] + rows["unmet"], rows["need"])
    accepted_kw = rows["accepted"][8] / 0.25
    assert accepted_kw > 1.0
    trafo = done.world.names.trafo.index(TRAFO)
    flow, before = (each.of("trafo", "p_from")[8, trafo] for each in (done, plain))
    other = done.sold("set_point")
    inside = list(done.world.tree.id).index("LV2.101")
    more = other[other["area"] == inside]["accepted"].get(8, 0.0) / 0.25
    # Losses fall a little as well.
    assert before - flow == pytest.approx(accepted_kw + more, rel=0.05)


def test_a_request_of_all_cells_is_split_into_set_points_that_add_up() -> None:
    done = with_services(REQUEST, TSO)
    asked, points = done.sold("tso_request"), done.sold("set_point")
    names = np.array(done.world.tree.id)
    for slot in asked.index:
        here = points.loc[[slot]]
        assert set(names[here["area"]]) <= {"LV2.101", "LV4.101"}
        assert here["accepted"].sum() == pytest.approx(asked["accepted"][slot], abs=KWH)
        assert not here["cost"].any()
    assert (asked["accepted"] > 0.1).all()


def test_no_battery_moves_beyond_its_band_whatever_was_sold() -> None:
    done = with_services(REQUEST, TSO)
    batteries = done.world.population.batteries
    power, stored = (done.of("agent", name)[:, batteries.agent] for name in ("p_storage", "soc"))
    for slot in range(len(power)):
        charge, discharge = power_bounds(batteries, stored[slot], 0.25)
        assert (power[slot] <= charge + KW).all()
        assert (power[slot] >= -discharge - KW).all()


def test_what_services_cost_is_what_participants_earn_and_who_asked_pays() -> None:
    done = with_services(REQUEST, TSO)
    paid = dict.fromkeys(Party, 0.0)
    for money in done.kept.money:
        for posting in money.postings:
            if posting.kind is Kind.CAPACITY and posting.payee is Party.AGENTS:
                paid[posting.payer] += float(posting.amount_eur.sum())
    assert paid[Party.DSO] == pytest.approx(done.sold("dso_request")["cost"].sum())
    assert paid[Party.TSO] == pytest.approx(done.sold("tso_request")["cost"].sum())
    earned = -done.recorder.totals.bills["flexibility"]
    assert earned.sum() == pytest.approx(paid[Party.DSO] + paid[Party.TSO])
    assert (earned > -1e-12).all()
    held = done.sold("tso_request")
    assert (held["cost"] > 0.01 * held["accepted"]).all()
    assert not done.recorder.totals.bills["imbalance"].any()


def test_reserve_stays_in_the_batteries_and_is_paid_for_being_there() -> None:
    done = with_services(RESERVE)
    rows, batteries = done.sold("reserve"), done.world.population.batteries
    np.testing.assert_allclose(rows["accepted"] + rows["unmet"], 5.0 * 0.25)
    np.testing.assert_allclose(rows["cost"], 0.02 * rows["accepted"])
    assert (rows["accepted"].to_numpy()[-8:] > 1.0).all()
    power, stored = (done.of("agent", name)[:, batteries.agent] for name in ("p_storage", "soc"))
    for slot in rows.index:
        _, discharge = power_bounds(batteries, stored[slot], 0.25)
        free = (discharge + np.minimum(power[slot], 0.0)).sum()
        assert free >= rows["accepted"][slot] / 0.25 - KW
    # In the evening the batteries would rather have been empty.
    assert stored[-1].sum() > run(*EVENING).of("agent", "soc")[-1].sum()


def test_shaving_a_peak_lowers_the_import_of_its_area() -> None:
    plain, done = run(*EVENING), with_services(SHAVING)
    area = list(done.world.tree.id).index("LV2.101")
    shaved, before = (each.of("area", "p_import")[:, area] for each in (done, plain))
    rows = done.sold("peak_shaving")
    met = rows.index[rows["unmet"] < KWH]
    assert len(met) > 2
    assert (shaved[met] <= 12.0 + KW).all()
    assert (before[met] > 12.0).any()
    untouched = np.setdiff1d(np.arange(rows.index[0]), rows.index)
    np.testing.assert_allclose(shaved[untouched], before[untouched])


def test_delivery_is_measured_against_like_days_and_a_run_goes_on_with_the_same_bits() -> None:
    """A request on Tuesday: Monday is a working day like it."""
    hour = "from: 2016-05-24T16:00Z, until: 2016-05-24T16:15Z"
    services = f"services=[{{kind: dso_request, name: one, need_kw: 12, {hour}}}]"
    scenario = load("time.start=2016-05-23T00:00Z", "time.days=2", services)
    done = carried_out(scenario)
    (row,) = done.rows.to_dict("records")
    assert row["slot"] == 96 + 64
    posting = next(
        each
        for each in done.kept.money[-1].postings
        if each.kind is Kind.CAPACITY and each.payee is Party.AGENTS
    )
    assert posting.agent_kwh is not None
    accepted = -posting.agent_kwh
    assert accepted.sum() == pytest.approx(row["accepted"])
    meter = done.of("agent", "p_net").reshape(2, 96, -1)[:, 64] * 0.25
    baseline = baseline_from_like_days(meter[:-1], ["work"], [False], "work")
    delivered = np.minimum(np.maximum(baseline - meter[-1], 0.0), accepted)
    assert row["delivered"] == pytest.approx(delivered.sum())
    assert 0.0 < row["delivered"] < row["accepted"]
    assert row["unmet"] == pytest.approx(row["need"] - row["delivered"])
    again = carried_out(scenario, done.saved[96], 96)
    assert again.rows.to_dict("records") == [row]
    for name, bill in done.recorder.totals.bills.items():
        assert again.recorder.totals.bills[name].tobytes() == bill.tobytes(), name
    for group, columns in again.kept.series[-1].items():
        for name, values in columns.items():
            assert values.tobytes() == done.kept.series[-1][group][name].tobytes(), (group, name)


def test_vehicles_and_batteries_serve_where_levels_clear_apart_and_forecasts_err() -> None:
    """The books of such a slot hold trades, imbalance and services, and are checked in the run."""
    done = with_services(
        REQUEST.replace("need_kw: 4", "need_kw: 60"),
        more=(
            "participants.evs={share: 0.5}",
            "market={coordination: local_first, network: none}",
            "forecasts={kind: ar1, sigma: {load: 0.1, pv: 0.1}}",
        ),
    )
    rows = done.sold("dso_request")
    batteries = done.world.population.batteries
    assert (rows["accepted"] > 0.0).all()
    assert done.recorder.totals.bills["imbalance"].any()
    owners = np.flatnonzero(done.recorder.totals.bills["flexibility"])
    assert np.setdiff1d(owners, batteries.agent).size > 0
    moved, hours = done.of("agent", "p_service"), done.world.scenario.time.step_hours
    assert set(np.flatnonzero(moved.any(axis=0))) == set(owners)
    assert -moved.sum() * hours == pytest.approx(rows["accepted"].sum())
    net, told = done.of("agent", "p_net"), done.of("agent", "p_contracted")
    missed = done.of("agent", "p_load") - done.of("agent", "p_load_forecast")
    missed -= done.of("agent", "p_pv") - done.of("agent", "p_pv_forecast")
    np.testing.assert_allclose(net - told - moved, missed, atol=1e-9)


@pytest.mark.parametrize(
    ("service", "told"),
    [
        ("{kind: peak_shaving, name: x, limit_kw: 1, until: '17:00'}", "`x` has no `from`"),
        ("{kind: peak_shaving, name: x, limit_kw: 1, from: '17:00', until: '17:00'}",
         "`x` ends when it begins, or before"),
        ("{kind: peak_shaving, name: x, limit_kw: 1, from: '17:00', until: 2016-05-23}",
         "`x` begins at a time of another kind than it ends"),
        ("{kind: dso_request, name: x, area: LV2.101, line: y, need_kw: 1}",
         "`x` names area and line"),
        ("{kind: dso_request, name: x, need_kw: 0}", "need_kw"),
        ("{kind: dso_request, name: x, need_kw: 1, threshold: 1.5}", "threshold"),
        ("{kind: up_or_down, name: x}", "dso_request"),
    ],
)  # fmt: skip
def test_faults_name_the_service_the_field_and_what_is_allowed(service: str, told: str) -> None:
    with pytest.raises(TricellError) as caught:
        load(*EVENING, f"services=[{service}]")
    assert told in str(caught.value)


def test_all_that_does_not_fit_the_network_or_the_run_is_told_at_once() -> None:
    wrong = [
        "{kind: dso_request, name: x, trafo: nix, need_kw: 1}",
        "{kind: reserve, name: x, area: LV2.102, power_kw: 1, capacity_price_eur_per_kw_h: 0}",
        "{kind: tso_request, name: y, need_kw: 1, from: 2017-01-01, until: 2017-01-02}",
    ]
    with pytest.raises(TricellError) as caught:
        preview(load(*EVENING, f"services=[{', '.join(wrong)}]"))
    text = str(caught.value)
    assert "services.0.trafo: there is no trafo `nix`" in text
    assert f"one of {TRAFO}" in text
    assert "services.1.name: two services are called `x`" in text
    assert "services.1.area: there is no area `LV2.102`" in text
    assert "did you mean `LV2.101`?" in text
    assert "services.2.from: service `y` is open in no whole slot of the run" in text


def test_a_service_that_nobody_can_serve_is_refused() -> None:
    lonely = ("grid.source.scenario=0", f"services=[{REQUEST}]")
    with pytest.raises(TricellError, match="service `relief` asks nobody: no battery"):
        preview(load(*EVENING, *lonely))
