"""Network charges in real runs: zero changes nothing, and what agents see moves their trades."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from tricell.errors import TricellError
from tricell.markets.charge import Calendar, Customers, EnergyRates, SlotCharge
from tricell.scenarios.charge_choice import ChargeError
from tricell.scenarios.command_line import app
from tricell.scenarios.network_charges import energy_rates
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.world import build_world

DAY = ("time.start=2016-05-23T00:00Z", "time.days=1")
COORDINATION = {
    "joint": (*DAY,),
    "local_first": (*DAY, "market.coordination=local_first", "market.network=redispatch"),
}
ZERO = (
    "charges=[{kind: volumetric}, {kind: monthly_peak}, {kind: injection}, {kind: net_metering},"
    " {kind: local_use_discount, microgrid_discount: 0.5}, {kind: electrical_distance},"
    " {kind: level_fee}, {kind: fixed}]"
)


def scenario_of(*assignments: str, name: str = "village") -> Any:
    return load_scenario(name, [Override.from_assignment(text) for text in assignments])


def run(folder: Path, *assignments: str) -> Path:
    name = f"{len(list(folder.iterdir()))}.h5"
    return run_scenario(scenario_of(*assignments), folder / name).output


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs without any charges."""
    folder = tmp_path_factory.mktemp("plain")
    return {name: run(folder, *assignments) for name, assignments in COORDINATION.items()}


def read(path: Path, name: str) -> Any:
    with h5py.File(path) as file:
        return file[name][()]


def numbers(path: Path) -> dict[str, np.ndarray]:
    """All numbers of a results file but the time that the run took."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fi" and "timing" not in name:
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def traded_kwh(path: Path, level: str) -> float:
    return float(read(path, f"timeseries/{level}/energy_traded").sum())


@pytest.mark.parametrize("coordination", COORDINATION)
def test_charges_of_zero_give_the_run_without_them_bit_for_bit(
    plain: dict[str, Path], tmp_path: Path, coordination: str
) -> None:
    without = numbers(plain[coordination])
    with_zero = numbers(run(tmp_path, *COORDINATION[coordination], ZERO))
    for name in without:
        if name.startswith(("timeseries/", "tables/bill/", "tables/kpi/")):
            assert without[name].tobytes() == with_zero[name].tobytes(), name


@pytest.mark.parametrize("coordination", COORDINATION)
def test_a_fee_on_trade_between_microgrids_keeps_energy_at_home(
    plain: dict[str, Path], tmp_path: Path, coordination: str
) -> None:
    free = plain[coordination]
    dear = run(
        tmp_path,
        *COORDINATION[coordination],
        "charges=[{kind: level_fee, cell: 0.25, multicell: 0.25}]",
    )
    assert traded_kwh(free, "cell") > 1.0
    assert traded_kwh(dear, "cell") == pytest.approx(0.0, abs=1e-9)
    assert traded_kwh(dear, "microgrid") >= traded_kwh(free, "microgrid") - 1e-6


@pytest.mark.parametrize("coordination", COORDINATION)
def test_those_who_take_no_part_deal_with_the_retailer_only(
    tmp_path: Path, coordination: str
) -> None:
    half = "participants.adoption.participation=0.5"
    scenario = scenario_of(*COORDINATION[coordination], half)
    world = build_world(scenario)
    outside = ~world.areas.takes_part
    assert 0 < outside.sum() < len(outside)
    path = run_scenario(scenario, tmp_path / "half.h5").output
    bought, sold = (read(path, f"tables/bill/{side}_p2p") for side in ("bought", "sold"))
    np.testing.assert_array_equal(bought[outside], 0.0)
    np.testing.assert_array_equal(sold[outside], 0.0)
    assert bought[~outside].sum() > 0.0
    net = read(path, "timeseries/agent/p_net")[:, outside]
    hours, prices = 0.25, scenario.prices
    paid = np.maximum(net, 0.0).sum(axis=0) * hours * prices.retail.price_eur_per_kwh
    earned = np.maximum(-net, 0.0).sum(axis=0) * hours * prices.feed_in.price_eur_per_kwh
    total = read(path, "tables/bill/total")[outside]
    np.testing.assert_allclose(total, paid - earned, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        total, read(path, "tables/bill/no_trading_total")[outside], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("coordination", COORDINATION)
def test_power_of_those_who_take_no_part_flows_through_the_grid(
    plain: dict[str, Path], tmp_path: Path, coordination: str
) -> None:
    everybody = plain[coordination]
    nobody = run(tmp_path, *COORDINATION[coordination], "participants.adoption.participation=0")
    # Self-consuming batteries act alike either way, so that meters do, and with them the grid.
    for name in ("timeseries/agent/p_net", "timeseries/bus/vm", "timeseries/trafo/loading"):
        np.testing.assert_allclose(read(nobody, name), read(everybody, name), rtol=0, atol=1e-5)


def test_a_price_per_kwh_reaches_the_network_operator(tmp_path: Path) -> None:
    path = run(
        tmp_path,
        *COORDINATION["joint"],
        "charges=[{kind: volumetric, rate_eur_per_kwh: 0.07}]",
        "prices.fees.microgrid=0",
        "prices.fees.cell=0",
        "prices.fees.multicell=0",
    )
    imported = np.maximum(read(path, "timeseries/agent/p_net"), 0.0).sum(axis=0) * 0.25
    np.testing.assert_allclose(read(path, "tables/bill/network"), 0.07 * imported, atol=1e-9)


class Falling(SlotCharge):
    """A charge, as somebody else might write it, that makes distant energy cheap."""

    kind: Literal["falling"] = "falling"

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        return EnergyRates.of(by_source=np.array([[0.05, 0.02, 0.02, 0.10]]))


def test_energy_from_farther_away_must_not_be_cheaper() -> None:
    start = np.datetime64("2016-05-23T00:00", "s") + np.arange(4) * np.timedelta64(900, "s")
    with pytest.raises(ChargeError, match=r"microgrid costs 0\.05 EUR.*cell only 0\.02 EUR"):
        energy_rates([Falling()], Calendar(start, 0.25), Customers.plain(2))


def test_two_charges_of_one_name_are_refused() -> None:
    twice = scenario_of(*DAY, "charges=[{kind: volumetric}, {kind: volumetric}]")
    with pytest.raises(ChargeError, match=r"two charges are called 'volumetric'.*`name`"):
        build_world(twice)


def test_a_matrix_that_misses_a_pair_is_refused() -> None:
    with pytest.raises(TricellError, match=r"charges"):
        scenario_of(
            *DAY,
            "charges=[{kind: fee_matrix, clusters: {a: [LV2.101]}, fees_eur_per_kwh: {}}]",
        )


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{kind: volumetric}", "two charges are called 'volumetric'"),
        ("{kind: monthly_peak, customers: [farm]}", "there are no customers 'farm'; classes here:"),
        (
            "{kind: fee_matrix, clusters: {a: [LV9]}, fees_eur_per_kwh: {a: {a: 0.01}}}",
            "cluster 'a' names the area 'LV9', which does not exist",
        ),
    ],
)
def test_a_charge_that_does_not_fit_is_named_with_its_line(
    tmp_path: Path, entry: str, words: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: village\ncharges:\n  - {{kind: volumetric}}\n  - {entry}\n")
    shown = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["check", str(file)])
    assert shown.exit_code == 2
    assert "mine.yaml:4:5: error: " in shown.output
    assert words in " ".join(shown.output.split())
    assert "Traceback" not in shown.output
