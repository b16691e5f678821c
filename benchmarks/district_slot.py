"""Milliseconds per slot of `district`, by part, beside the floors of the same work.

    python benchmarks/district_slot.py [--scenario NAME] [--days N]

The floors are measured in the same process on the same data, right after the run:

* bare highspy: the identical sequence of linear programs, warm, numbers handed over ready-made,
  solution and duals read as arrays;
* bare power flow: the fixed-point loop on the factorised admittance matrix, same tolerance;
* bare h5py: the same blocks appended a day at a time, with the same gzip filter.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import highspy
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tricell.grid_models.power_flow import VOLTAGE_TOLERANCE_PU, Admittances
from tricell.markets.compiled_program import HIGHS_OPTIONS, CompiledProgram
from tricell.results.writer import ResultsWriter
from tricell.scenarios.co_simulation import CoSimulation, start_co_simulation
from tricell.scenarios.results_sink import ResultsSink, entity_tables
from tricell.scenarios.runner import run_header
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.world import World, build_world
from tricell.simulators.recorder_simulator import RecorderSimulator
from tricell.simulators.slot_block import SlotBlock

Floats = NDArray[np.float64]


@dataclass
class Tape:
    """What a run did, so that the floors can do it again."""

    thetas: list[Floats] = field(default_factory=list)
    powers: list[tuple[Admittances, Floats, Floats]] = field(default_factory=list)
    blocks: list[dict[str, dict[str, NDArray[Any]]]] = field(default_factory=list)
    lp_seconds: float = 0.0
    market_seconds: float = 0.0
    power_flow_seconds: float = 0.0


class TapingSink:
    """Keeps a copy of the blocks and passes them on to the results file."""

    def __init__(self, inner: ResultsSink, tape: Tape) -> None:
        self._inner, self._tape = inner, tape
        self.seconds = 0.0

    def write(self, block: SlotBlock) -> None:
        started = perf_counter()
        self._inner.write(block)
        self.seconds += perf_counter() - started
        copied = {g: {n: v.copy() for n, v in vs.items()} for g, vs in block.series.items()}
        self._tape.blocks.append(copied)

    def close(self, recorder: RecorderSimulator) -> None:
        self._inner.close(recorder)


def put_on_tape(world: World, tape: Tape) -> None:
    """Time the market's clearing and the power flow, and keep what they were given."""
    program, market, flow = world.market.hard.program, world.market, world.controller
    update, clear, regulate = program.update, market.clear, flow.regulate

    def taped_update() -> None:
        tape.thetas.append(program.theta.copy())
        started = perf_counter()
        update()
        tape.lp_seconds += perf_counter() - started

    def taped_clear(*arguments: Any) -> Any:
        before, started = len(tape.thetas), perf_counter()
        clearing = clear(*arguments)
        tape.market_seconds += perf_counter() - started
        assert len(tape.thetas) == before + 1
        return clearing

    def taped_regulate(p_kw: Floats, q_kvar: Floats) -> Any:
        started = perf_counter()
        state = regulate(p_kw, q_kvar)
        tape.power_flow_seconds += perf_counter() - started
        tape.powers.append((world.controller._power_flow.admittances, p_kw, q_kvar))
        return state

    program.update = taped_update  # type: ignore[method-assign]  # a tape, not a product
    market.clear = taped_clear  # type: ignore[method-assign]  # likewise
    flow.regulate = taped_regulate  # type: ignore[method-assign]  # likewise


def bare_highspy(program: CompiledProgram, thetas: list[Floats]) -> float:
    """Solve the same sequence with nothing but highspy; seconds."""
    form, first = program.form, thetas[0]
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = form.matrix.shape
    lp.col_cost_ = form.cost(first)
    lp.col_lower_, lp.col_upper_ = form.column_lower(first), form.column_upper(first)
    lp.row_lower_, lp.row_upper_ = form.row_lower(first), form.row_upper(first)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = form.matrix.indptr, form.matrix.indices
    lp.a_matrix_.value_ = form.matrix.data
    highs = highspy.Highs()
    for option, value in HIGHS_OPTIONS.items():
        highs.setOptionValue(option, value)
    highs.passModel(lp)
    costs = form.cost.moving.astype(np.int32)
    moving = np.union1d(form.column_lower.moving, form.column_upper.moving).astype(np.int32)
    rows = np.union1d(form.row_lower.moving, form.row_upper.moving).astype(np.int32)
    total = 0.0
    for theta in thetas:
        cost = form.cost(theta)[costs]
        lower, upper = form.column_lower(theta)[moving], form.column_upper(theta)[moving]
        row_lower, row_upper = form.row_lower(theta)[rows], form.row_upper(theta)[rows]
        started = perf_counter()
        highs.changeColsCost(len(costs), costs, cost)
        highs.changeColsBounds(len(moving), moving, lower, upper)
        highs.changeRowsBounds(len(rows), rows, row_lower, row_upper)
        highs.run()
        solution = highs.getSolution()
        np.array(solution.col_value), np.array(solution.row_dual)
        total += perf_counter() - started
    return total


def bare_power_flow(world: World, powers: list[tuple[Admittances, Floats, Floats]]) -> float:
    """Iterate the fixed point of every slot, warm; seconds."""
    grid = world.grid
    nodes = np.setdiff1d(np.arange(grid.n_nodes), grid.slack_nodes)
    v = powers[0][0].no_load_voltage
    total = 0.0
    for admittances, p_kw, q_kvar in powers:
        base_kva = grid.base_mva * 1e3
        p_all, q_all = p_kw + grid.node_constant_p_kw, q_kvar + grid.node_constant_q_kvar
        started = perf_counter()
        injected = (-p_all[nodes] + 1j * q_all[nodes]) / base_kva
        while True:
            after = admittances.no_load_voltage + admittances.solve(injected / np.conj(v))
            step = np.abs(after - v).max()
            v = after
            if step < VOLTAGE_TOLERANCE_PU:
                break
        total += perf_counter() - started
    return total


def bare_h5py(
    blocks: list[dict[str, dict[str, NDArray[Any]]]], folder: Path, gzip: int | None
) -> float:
    """Append the same blocks to plain datasets; seconds."""
    filters = {"compression": "gzip", "compression_opts": gzip, "shuffle": True} if gzip else {}
    single = {("bus", "vm"), ("line", "loading"), ("line", "p_from"), ("trafo", "loading")}
    started = perf_counter()
    with h5py.File(folder / f"bare{gzip}.h5", "w", libver=("earliest", "v108")) as file:
        datasets = {}
        for block in blocks:
            for group, values in block.items():
                for name, array in values.items():
                    key = f"{group}/{name}"
                    if key not in datasets:
                        kind = "f4" if (group, name) in single else array.dtype
                        datasets[key] = file.create_dataset(
                            key,
                            (0, *array.shape[1:]),
                            kind,
                            maxshape=(None, *array.shape[1:]),
                            chunks=(96, *(min(n, 512) for n in array.shape[1:])),
                            **filters,
                        )
                    dataset = datasets[key]
                    end = len(dataset) + len(array)
                    dataset.resize(end, axis=0)
                    dataset[end - len(array) :] = array
            file.flush()
    return perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenario", default="district")
    parser.add_argument("--days", type=int, default=7)
    options = parser.parse_args()
    scenario = load_scenario(
        options.scenario, [Override.from_assignment(f"time.days={options.days}")]
    )
    world, tape = build_world(scenario), Tape()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = ResultsWriter(folder / "run.h5", run_header(world), entity_tables(world))
        writer.begin()
        sink = ResultsSink(world, writer)
        taping = TapingSink(sink, tape)
        co_simulation = start_co_simulation(world, taping)
        put_on_tape(world, tape)
        started = perf_counter()
        co_simulation.run()
        whole = perf_counter() - started - (co_simulation.recorder.write_seconds - taping.seconds)
        floors = {
            "linear program": bare_highspy(world.market.hard.program, tape.thetas),
            "power flow": bare_power_flow(world, tape.powers),
            "results file": bare_h5py(tape.blocks, folder, scenario.output.compression_level),
        }
        unpacked = bare_h5py(tape.blocks, folder, None)
        co_simulation.shut_down()
    report(
        scenario.name,
        scenario.time.slots,
        whole=whole,
        tape=tape,
        write=taping.seconds,
        co_simulation=co_simulation,
        world=world,
        floors=floors,
        unpacked=unpacked,
    )


def report(
    name: str,
    slots: int,
    *,
    whole: float,
    tape: Tape,
    write: float,
    co_simulation: CoSimulation,
    world: World,
    floors: dict[str, float],
    unpacked: float,
) -> None:
    """Print the parts, the floors and the ratios."""
    per_slot, program = 1e3 / slots, world.market.hard.program
    simulators = {n: s.seconds for n, s in co_simulation.simulators.items()}
    recorder = co_simulation.recorder
    simulators["recorder"] -= recorder.write_seconds
    parts = {
        "linear program": (tape.market_seconds, floors["linear program"]),
        "power flow": (tape.power_flow_seconds, floors["power flow"]),
        "results file": (write, floors["results file"]),
        "market, rest": (simulators["market"] - tape.market_seconds, None),
        "grid, rest": (simulators["grid"] - tape.power_flow_seconds, None),
        "households": (simulators["households"], None),
        "storage": (simulators["storage"], None),
        "recorder and settlement": (simulators["recorder"], None),
    }
    known = sum(seconds for seconds, _ in parts.values())
    parts["mosaik"] = (whole - known, None)
    table = Table("part", "ms per slot", "floor", "ratio", title=f"{name}: {slots} slots")
    for part, (seconds, floor) in parts.items():
        table.add_row(
            part,
            f"{seconds * per_slot:.3f}",
            "" if floor is None else f"{floor * per_slot:.3f}",
            "" if floor is None else f"{seconds / floor:.2f}",
        )
    total = sum(floors.values())
    table.add_row(
        "whole slot",
        f"{whole * per_slot:.3f}",
        f"{total * per_slot:.3f}",
        f"{whole / total:.2f}",
        style="bold",
    )
    console = Console()
    console.print(table)
    strict = total - floors["results file"] + unpacked
    console.print(
        f"h5py without packing: {unpacked * per_slot:.3f} ms; the whole slot against the floors "
        f"with that: {whole / strict:.2f}\n"
        f"clearings: {len(tape.thetas)}, of which {program.reused} kept the last basis; "
        f"{world.market.elastic_slots} needed the elastic form"
    )


if __name__ == "__main__":
    main()
