"""The books of real runs, read back from their results files and added up again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from tricell.markets.postings import SettlementError, check_postings
from tricell.results import layout
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario

Floats = NDArray[np.float64]

CHARGED = """\
extends: village
name: charged
time: {start: 2016-05-23T10:00Z, days: 0.25}
prices:
  retail: {kind: fixed, price_eur_per_kwh: 0.22}
  levies_eur_per_kwh: 0.02
participants: {adoption: {participation: %s}}
market: {coordination: %s, network: %s}
limits: {trafo_loading_percent: 25, voltage_max_pu: 1.05}
charges:
  - {kind: local_use_discount, rate_eur_per_kwh: 0.08, microgrid_discount: 0.57}
  - {kind: volumetric, name: tax, rate_eur_per_kwh: 0.02, purpose: levy}
  - {kind: electrical_distance, rate_eur_per_kwh_unit: 0.01}
  - {kind: loss_allocation}
  - {kind: annual_peak, rate_eur_per_kw_year: 40}
  - {kind: coincident_peak, rate_eur_per_kw_year: 20}
"""
RUNS = {
    "joint": ("1.0", "joint", "endogenous"),
    "joint, some alone": ("0.6", "joint", "endogenous"),
    "redispatch": ("1.0", "local_first", "redispatch"),
    "redispatch, some alone": ("0.6", "local_first", "redispatch"),
}
AMOUNTS = (
    "energy_p2p",
    "energy_retail",
    "export",
    "network",
    "congestion",
    "losses",
    "levy",
    "redispatch",
)
PERIOD = ("annual_peak", "coincident_peak")
EUR = 1e-9


@dataclass(frozen=True)
class Run:
    """A finished run's file."""

    path: Path

    def read(self, name: str) -> Any:
        with h5py.File(self.path) as file:
            return file[name][()]

    def table(self, name: str) -> dict[str, Any]:
        with h5py.File(self.path) as file:
            return {
                column: file[f"tables/{name}/{column}"][()] for column in file[f"tables/{name}"]
            }

    def kpi(self, name: str) -> float:
        names = [one.decode() for one in self.read("tables/kpi/name")]
        return float(self.read("tables/kpi/value")[names.index(name)])

    def charge_rows(self, *labels: str) -> list[int]:
        names = [one.decode() for one in self.read("tables/charge/charge")]
        return [names.index(label) for label in labels]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    done = {}
    for name, options in RUNS.items():
        (folder / "charged.yaml").write_text(CHARGED % options)
        scenario = load_scenario(str(folder / "charged.yaml"), [])
        done[name] = Run(run_scenario(scenario, folder / f"{name}.h5").output)
    return done


@pytest.mark.parametrize("name", RUNS)
def test_receipts_of_every_participant_add_up_to_its_bill(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    bill, receipt = run.table("bill"), run.table("receipt")
    total = bill["total"]
    by_agent = np.bincount(receipt["agent"], receipt["amount"], len(total))
    np.testing.assert_allclose(by_agent, total, rtol=0, atol=EUR)
    np.testing.assert_allclose(sum(bill[part] for part in AMOUNTS), total, rtol=0, atol=EUR)
    for part, kind in (("network", "NETWORK"), ("levy", "LEVY"), ("losses", "LOSSES")):
        of_kind = receipt["kind"] == layout.PostingKind[kind]
        paid = np.bincount(receipt["agent"][of_kind], receipt["amount"][of_kind], len(total))
        np.testing.assert_allclose(paid, bill[part], rtol=0, atol=EUR)
        assert np.abs(bill[part]).sum() > 0.0


@pytest.mark.parametrize("name", RUNS)
def test_every_kilowatt_hour_of_a_meter_is_in_one_posting_of_energy(
    runs: dict[str, Run], name: str
) -> None:
    run = runs[name]
    receipt, net = run.table("receipt"), run.read("timeseries/agent/p_net")
    kinds = [layout.PostingKind[one] for one in ("ENERGY_P2P", "ENERGY_RETAIL", "EXPORT", "FLEX")]
    metered = np.isin(receipt["kind"], kinds)
    energy = np.bincount(receipt["agent"][metered], receipt["energy"][metered], net.shape[1])
    np.testing.assert_allclose(energy, net.sum(axis=0) * 0.25, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", RUNS)
def test_books_give_what_every_party_receives(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    posting = run.table("posting")
    assert (np.diff(posting["time"]) >= 0).all()
    times, slot = np.unique(posting["time"], return_inverse=True)
    balance = np.zeros((len(layout.Party), len(times)))
    np.add.at(balance, (posting["payee"], slot), posting["amount"])
    np.subtract.at(balance, (posting["payer"], slot), posting["amount"])
    np.testing.assert_allclose(balance.sum(axis=0), 0.0, rtol=0, atol=EUR)
    of_party = {party: float(balance[party].sum()) for party in layout.Party}
    assert -of_party[layout.Party.AGENTS] == pytest.approx(run.kpi("agents_pay"), abs=1e-8)
    bought = {
        party: run.kpi(f"{name}_pays_wholesale")
        for party, name in (
            (layout.Party.RETAILER, "retailer"),
            (layout.Party.DSO, "network_operator"),
        )
    }
    for party, figure in (
        (layout.Party.RETAILER, "retailer_receives"),
        (layout.Party.DSO, "network_operator_receives"),
        (layout.Party.OPERATOR, "market_operators_receive"),
    ):
        gross = of_party[party] + bought.get(party, 0.0)
        assert gross == pytest.approx(run.kpi(figure), abs=1e-8)
    assert of_party[layout.Party.WHOLESALE] == pytest.approx(sum(bought.values()), abs=1e-8)


@pytest.mark.parametrize("name", RUNS)
def test_receipts_of_traded_energy_add_up_to_the_books(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    posting, trade = run.table("posting"), run.table("trade")
    sign = np.where(posting["payer"] == layout.Party.DSO, -1.0, 1.0)
    of_slots = ~np.isin(posting["charge"], run.charge_rows(*PERIOD))
    of_slots &= posting["payee"] != layout.Party.WHOLESALE
    for column, kind in (
        ("network_charge", layout.PostingKind.NETWORK),
        ("losses", layout.PostingKind.LOSSES),
        ("congestion", layout.PostingKind.CONGESTION),
        ("levy", layout.PostingKind.LEVY),
    ):
        chosen = of_slots & (posting["kind"] == kind)
        posted = float((sign * posting["amount"])[chosen].sum())
        assert trade[column].sum() == pytest.approx(posted, abs=1e-8), column
    assert trade["network_charge"].sum() > 0.0


@pytest.mark.parametrize("name", RUNS)
def test_charges_of_the_period_are_booked_in_its_last_slot(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    posting, charge = run.table("posting"), run.table("charge")
    last = run.read("timeseries/slot/time")[-1]
    for row in run.charge_rows(*PERIOD):
        booked = posting["charge"] == row
        assert posting["time"][booked].tolist() == [last]
        assert posting["amount"][booked].sum() == pytest.approx(charge["revenue"][row])
        assert charge["revenue"][row] > 0.0
    peak = np.maximum(run.read("timeseries/agent/p_net"), 0.0).max(axis=0)
    expected = 40.0 * 0.25 / 365.0 * peak.sum()
    assert charge["revenue"][run.charge_rows("annual_peak")[0]] == pytest.approx(expected)


@pytest.mark.parametrize("name", RUNS)
def test_the_network_operator_recovers_what_losses_cost(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    paid = run.table("charge")["revenue"][run.charge_rows("loss_allocation")[0]]
    assert paid == pytest.approx(run.kpi("network_operator_pays_wholesale"), abs=1e-8)


def test_a_day_that_cannot_be_settled_ends_the_run_and_the_days_before_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsound(postings: Any, net_kwh: Any, first_slot: int = 0) -> Any:
        if first_slot >= 96:
            raise SettlementError("settlement of slot 97: payments miss zero")
        return check_postings(postings, net_kwh, first_slot)

    monkeypatch.setattr("tricell.markets.settlement.check_postings", unsound)
    assignments = ("time.days=1.125", "time.start=2016-05-23T00:00Z")
    options = [Override.from_assignment(text) for text in assignments]
    with pytest.raises(SettlementError, match=r"slot 97: payments miss zero(.|\n)*96 slots"):
        run_scenario(load_scenario("village", options), tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5") as file:
        assert file.attrs["run_status"] == "failed"
        assert "slot 97" in file.attrs["failure_message"]
        assert len(file["timeseries/slot/time"]) == 96
        assert len(np.unique(file["tables/posting/time"])) == 96


@pytest.mark.parametrize("name", ["joint, some alone", "redispatch, some alone"])
def test_whoever_takes_no_part_deals_with_the_retailer_only(
    runs: dict[str, Run], name: str
) -> None:
    run = runs[name]
    bill = run.table("bill")
    alone = (bill["bought_p2p"] == 0.0) & (bill["sold_p2p"] == 0.0)
    assert 0.1 < alone.mean() < 0.9
    ids, parents = run.read("tables/area/area"), run.read("tables/area/parent")
    top = next(one for one, parent in zip(ids, parents, strict=True) if parent == b"").decode()
    level = next(each for each in layout.AREA_LEVELS if top in names(run, each))
    imported = run.read(f"timeseries/{level}/p_import")[:, names(run, level).index(top)]
    net = run.read("timeseries/agent/p_net").sum(axis=1)
    np.testing.assert_allclose(imported, net, rtol=0, atol=1e-6)


def names(run: Run, level: str) -> list[str]:
    with h5py.File(run.path) as file:
        if level not in file["timeseries"]:
            return []
        return [one.decode() for one in file[f"timeseries/{level}/{level}"][()]]
