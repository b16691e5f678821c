"""Speed of the market mechanisms beside their targets, and of the auctions beside pymarket.

    python benchmarks/mechanisms.py [--repeats N] [--sizes 1000 3000]

All is measured in one process; a time is the median of the repeats. Books are drawn from a seed.
In the comparison both packages are given the same orders as a ready table, and only the clearing
is timed. pymarket is not needed: without it that part says so.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from statistics import median
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.bill_sharing import bill_sharing
from tricell.markets.mechanisms.consensus_dispatch import ConsensusDispatch
from tricell.markets.mechanisms.continuous_double_auction import (
    Cancel,
    Change,
    ContinuousDoubleAuction,
    NewOrder,
    OrderEvent,
    play_order_events,
)
from tricell.markets.mechanisms.mid_market_rate import mid_market_rate
from tricell.markets.mechanisms.random_halves import RandomHalves
from tricell.markets.mechanisms.supply_demand_ratio import supply_demand_ratio
from tricell.markets.mechanisms.trade_reduction import TradeReduction
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.mechanisms.vickrey import Vickrey
from tricell.markets.order_table import Orders

SEED = 11
TERMS = MarketTerms(retail_price=0.30, feed_in_price=0.08, seed=SEED)
EVENTS = 100_000
LARGEST_RANDOM_PAIRING = 1000
"""Orders above which pymarket's random pairs are left out: time grows faster than n cubed."""


@dataclass(frozen=True)
class Measure:
    """What is timed, and the target in seconds; None where none is set."""

    name: str
    work: Callable[[], object]
    target: float | None = None


@dataclass(frozen=True)
class Rival:
    """A mechanism of pymarket and the one of tricell nearest to it.

    Attributes
    ----------
    name : of pymarket's.
    ours : what is timed of tricell.
    theirs : given pymarket's table of bids, what is timed of pymarket.
    largest : orders up to which pymarket's is timed; None for any number.
    """

    name: str
    ours: Callable[[Orders], object]
    theirs: Callable[[ModuleType, Any], object]
    largest: int | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000])
    arguments = parser.parse_args()
    console = Console()
    console.print(against_targets(arguments.repeats))
    try:
        rival = import_module("pymarket")
    except ImportError as error:
        console.print(f"pymarket is not installed ({error}): no comparison with it.")
        return
    console.print(beside_pymarket(rival, arguments.sizes, arguments.repeats))


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of the work."""
    times = []
    for _ in range(repeats):
        started = perf_counter()
        work()
        times.append(perf_counter() - started)
    return median(times)


# --- beside the targets ---


def measures() -> tuple[Measure, ...]:
    """What has a target, and the other auctions with one price per side."""
    large, small, few = random_orders(10_000), random_orders(1000), random_orders(100)
    events = random_events(EVENTS)
    net = np.random.default_rng(SEED).normal(0.0, 1.0, 10_000)
    prices = (TERMS.retail_price, TERMS.feed_in_price)
    return (
        Measure("uniform price, 10 000 orders", lambda: UniformPrice().clear(large, TERMS), 5e-3),
        Measure(
            f"continuous double auction, {EVENTS} events",
            lambda: play_order_events(events),
            EVENTS / 100_000,
        ),
        Measure("bill sharing, 10 000 members", lambda: bill_sharing(net, *prices), 1e-3),
        Measure("mid-market rate, 10 000 members", lambda: mid_market_rate(net, *prices), 1e-3),
        Measure(
            "supply-demand ratio, 10 000 members", lambda: supply_demand_ratio(net, *prices), 1e-3
        ),
        Measure(
            "consensus dispatch, 100 agents", lambda: ConsensusDispatch().clear(few, TERMS), 1.0
        ),
        Measure("random halves, 10 000 orders", lambda: RandomHalves().clear(large, TERMS)),
        Measure("Vickrey, 1000 orders", lambda: Vickrey().clear(small, TERMS)),
    )


def against_targets(repeats: int) -> Table:
    """Time every measure."""
    table = Table("mechanism", "ms", "target ms", "target / time", title="Clearings")
    for measure in measures():
        time = seconds(measure.work, repeats)
        aim = measure.target
        table.add_row(
            measure.name,
            f"{time * 1e3:.3f}",
            "" if aim is None else f"{aim * 1e3:g}",
            "" if aim is None else f"{aim / time:.1f}",
        )
    return table


def random_orders(count: int) -> Orders:
    """Return a book of as many buys as sells, every order of its own agent, prices all unlike."""
    random = np.random.default_rng(SEED)
    price = random.permutation(np.linspace(0.05, 0.35, count))
    return Orders.of(
        id=[f"o{n:05d}" for n in range(count)],
        side=np.where(np.arange(count) % 2, 1.0, -1.0),
        energy_kwh=random.uniform(0.1, 3.0, count),
        price_eur_per_kwh=price,
        time=np.arange(count),
        agent=np.arange(count),
    )


def random_events(count: int) -> list[OrderEvent]:
    """Seven new orders to two cancels and one change, each of one of the last 500 events."""
    random = np.random.default_rng(SEED)
    kinds, back = random.random(count), random.integers(1, 500, count)
    energy, price = random.uniform(0.1, 2.0, count), random.uniform(0.1, 0.3, count)
    buys, agents = random.random(count) < 0.5, random.integers(0, 50, count)
    events: list[OrderEvent] = []
    for number, kind in enumerate(kinds.tolist()):
        old = str(number - int(back[number]))
        kwh, limit = float(energy[number]), float(price[number])
        if kind < 0.2:
            events.append(Cancel(old))
        elif kind < 0.3:
            events.append(Change(old, kwh, limit))
        else:
            side = 1.0 if buys[number] else -1.0
            events.append(NewOrder(str(number), side, kwh, limit, int(agents[number])))
    return events


# --- beside pymarket ---


def rivals() -> tuple[Rival, ...]:
    """Mechanisms of pymarket with what they are compared to."""
    return (
        Rival("demand and supply curves", _clear(UniformPrice()), _where_curves_meet),
        Rival("huang", _clear(TradeReduction()), _runs("huang")),
        Rival("muda", _clear(RandomHalves()), _runs("muda")),
        Rival(
            "p2p (random pairs)",
            _clear(ContinuousDoubleAuction()),
            _runs("p2p"),
            LARGEST_RANDOM_PAIRING,
        ),
    )


def _clear(mechanism: Any) -> Callable[[Orders], object]:
    return lambda orders: mechanism.clear(orders, TERMS)


def _runs(name: str) -> Callable[[ModuleType, Any], object]:
    """Return pymarket's mechanism of that name; those with chance are given a seed."""

    def run(pymarket: ModuleType, bids: Any) -> object:
        chance = {} if name == "huang" else {"r": np.random.RandomState(SEED)}
        return pymarket.market.MECHANISM[name](bids, **chance).run()

    return run


def _where_curves_meet(pymarket: ModuleType, bids: Any) -> object:
    """Price and volume of a call auction; pymarket has none, but the curves that it needs."""
    curves = import_module("pymarket.bids.demand_curves")
    demand, _ = curves.demand_curve_from_bids(bids)
    supply, _ = curves.supply_curve_from_bids(bids)
    return curves.intersect_stepwise(demand, supply)


def beside_pymarket(pymarket: ModuleType, sizes: Sequence[int], repeats: int) -> Table:
    """Time both packages on the same books."""
    table = Table(
        "pymarket", "orders", "pymarket ms", "tricell ms", "ratio", title="Beside pymarket"
    )
    for count in sizes:
        orders = random_orders(count)
        bids = bids_of(pymarket, orders)
        for rival in rivals():
            ours = seconds(partial(rival.ours, orders), repeats)
            if rival.largest is not None and count > rival.largest:
                table.add_row(rival.name, str(count), "not run", f"{ours * 1e3:.2f}", "")
                continue
            theirs = their_seconds(pymarket, rival, bids)
            table.add_row(
                rival.name,
                str(count),
                f"{theirs * 1e3:.1f}",
                f"{ours * 1e3:.2f}",
                f"{theirs / ours:.0f}",
            )
    return table


def their_seconds(pymarket: ModuleType, rival: Rival, bids: Any) -> float:
    """Median of three runs, or one run if that takes above a second."""
    work = partial(rival.theirs, pymarket, bids)
    with warnings.catch_warnings():
        # pymarket warns of what newer versions of pandas will refuse.
        warnings.simplefilter("ignore")
        first = seconds(work, 1)
        return first if first > 1.0 else seconds(work, 3)


def bids_of(pymarket: ModuleType, orders: Orders) -> Any:
    """Return the book as pymarket's table."""
    market = pymarket.Market()
    columns: tuple[NDArray[Any], ...] = (
        orders.energy_kwh,
        orders.price_eur_per_kwh,
        orders.agent,
        orders.side > 0.0,
    )
    for bid in zip(*(column.tolist() for column in columns), strict=True):
        market.accept_bid(*bid)
    return market.bm.get_df()


if __name__ == "__main__":
    main()
