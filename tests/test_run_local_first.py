"""Real runs with markets level by level: files that agree with themselves, and wrong scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tricell.errors import ScenarioError
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario

MIDDAY = ("time.start=2016-05-23T10:00Z", "time.days=0.25", "market.coordination=local_first")
RUNS = {
    "redispatch": (
        *MIDDAY,
        "market.network=redispatch",
        "limits.trafo_loading_percent=25",
        "limits.voltage_max_pu=1.05",
    ),
    "mid-market rate": (*MIDDAY, "market.microgrid.kind=mid_market_rate"),
}
VERDICT_BROKEN = 2


@dataclass(frozen=True)
class Run:
    """A finished run's file."""

    path: Path

    def read(self, name: str) -> Any:
        with h5py.File(self.path) as file:
            return file[name][()]

    def kpi(self, name: str) -> float:
        names = [one.decode() for one in self.read("tables/kpi/name")]
        return float(self.read("tables/kpi/value")[names.index(name)])


def overrides(assignments: tuple[str, ...]) -> list[Override]:
    return [Override.from_assignment(text) for text in assignments]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    wanted = {**RUNS, "redispatch again": RUNS["redispatch"]}
    done = {}
    for name, assignments in wanted.items():
        scenario = load_scenario("village", overrides(assignments))
        done[name] = Run(run_scenario(scenario, folder / f"{name}.h5").output)
    return done


@pytest.mark.parametrize("name", RUNS)
def test_bills_are_what_the_others_receive(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    parts = ("energy_p2p", "energy_retail", "export", "network", "congestion", "redispatch")
    total = run.read("tables/bill/total")
    by_part = sum(run.read(f"tables/bill/{part}") for part in parts)
    np.testing.assert_allclose(total, by_part, rtol=1e-12, atol=1e-9)
    others = ("retailer_receives", "network_operator_receives", "market_operators_receive")
    assert total.sum() == pytest.approx(sum(run.kpi(other) for other in others), abs=1e-6)
    assert total.sum() == pytest.approx(run.kpi("agents_pay"), abs=1e-6)
    bought, sold = (run.read(f"tables/bill/{side}_p2p").sum() for side in ("bought", "sold"))
    assert bought == pytest.approx(sold)
    assert bought > 0.0


@pytest.mark.parametrize("name", RUNS)
def test_figures_of_the_run_are_those_of_its_slots(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    for figure in ("gain", "optimal_gain", "redispatch_moved", "redispatch_cost"):
        of_slots = run.read(f"timeseries/slot/{figure}").sum()
        assert run.kpi(figure) == pytest.approx(of_slots, abs=1e-9)
    share = run.kpi("gain") / run.kpi("optimal_gain")
    assert run.kpi("welfare_share") == pytest.approx(share)
    saving = run.read("tables/bill/no_trading_total") - run.read("tables/bill/total")
    np.testing.assert_allclose(run.read("tables/bill/saving"), saving, rtol=1e-12, atol=1e-9)
    assert run.kpi("saving") == pytest.approx(saving.sum())


def test_without_binding_limits_markets_reach_a_share_of_the_optimum(
    runs: dict[str, Run],
) -> None:
    run = runs["mid-market rate"]
    assert 0.5 < run.kpi("welfare_share") <= 1.0 + 1e-9


def test_redispatch_moves_energy_and_keeps_the_limits_of_the_power_flow(
    runs: dict[str, Run],
) -> None:
    run = runs["redispatch"]
    assert run.kpi("redispatch_moved") > 0.1
    assert (run.read("timeseries/slot/verdict") != VERDICT_BROKEN).all()
    assert run.kpi("limits_met_share") == 1.0
    assert (run.read("timeseries/slot/breach_kw") <= 1e-6).all()
    scenario = load_scenario("village", overrides(RUNS["redispatch"]))
    loading = 25.0 + scenario.limits.loading_tolerance_percent
    assert np.nanmax(run.read("timeseries/trafo/loading")) <= loading
    highest = 1.05 + scenario.limits.voltage_tolerance_pu
    assert np.nanmax(run.read("timeseries/bus/vm")) <= highest


def test_the_same_seed_gives_the_same_bits(runs: dict[str, Run]) -> None:
    with h5py.File(runs["redispatch"].path) as one, h5py.File(runs["redispatch again"].path) as two:
        paths: list[str] = []
        one["timeseries"].visititems(
            lambda path, item: paths.append(path) if hasattr(item, "dtype") else None
        )
        assert len(paths) > 40
        for path in paths:
            here, there = one["timeseries"][path][()], two["timeseries"][path][()]
            same = here.tolist() == there.tolist() if here.dtype == object else None
            assert here.tobytes() == there.tobytes() if same is None else same, path


# --- wrong scenarios ---


def written(folder: Path, market: str) -> str:
    path = folder / "wrong.yaml"
    path.write_text(f"extends: village\nname: wrong\nmarket: {market}\n")
    return str(path)


@pytest.mark.parametrize(
    ("market", "said"),
    [
        ("{microgrid: {kind: mcafee}}", (":3:", "the microgrid", "local_first")),
        ("{network: redispatch}", (":3:", "network: redispatch", "local_first")),
        (
            "{coordination: local_first, cell: {kind: uniform_prize}}",
            ("market.cell", "uniform_prize", "did you mean", "uniform_price"),
        ),
        (
            "{coordination: local_first, cell: {kind: uniform_price, kk: 1}}",
            ("market.cell", "kk"),
        ),
        ("{coordination: local_frist}", ("market.coordination", "local_frist", "local_first")),
    ],
)
def test_a_wrong_market_is_refused_with_file_and_field(
    tmp_path: Path, market: str, said: tuple[str, ...]
) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(written(tmp_path, market), [])
    message = str(caught.value)
    for word in ("wrong.yaml", *said):
        assert word.lower() in message.lower(), message
