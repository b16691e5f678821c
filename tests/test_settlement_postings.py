"""Books in double entry: every payment once, every kWh once, and receipts that add up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tricell.markets.charge import (
    Calendar,
    Charge,
    Customers,
    EnergyRates,
    Floats,
    SlotCharge,
    Source,
)
from tricell.markets.charges.annual_peak import AnnualPeak
from tricell.markets.charges.injection import Injection
from tricell.markets.charges.level_fee import LevelFee
from tricell.markets.charges.local_use_discount import LocalUseDiscount
from tricell.markets.charges.loss_allocation import LossAllocation
from tricell.markets.charges.volumetric import Volumetric
from tricell.markets.level_settlement import LevelTrade, settle_level_trades
from tricell.markets.postings import (
    Kind,
    Party,
    Posting,
    Receipts,
    SettlementError,
    check_postings,
)
from tricell.markets.settlement import (
    Billing,
    ClearedBlock,
    Settlement,
    TradingAreas,
    joint_trades,
    settle,
)
from tricell.simulators.no_trading import MeterRates, NoTradingReference
from tricell.simulators.population import Batteries

EUR = 1e-9
HOURS = 0.25
SLOTS, AGENTS = 3, 6
RETAIL, FEED_IN, WHOLESALE = 0.32, 0.08, 0.06
PARENT = np.array([-1, 0, 0, 1, 1, 2])
LEVEL = np.array([3, 2, 2, 1, 1, 1])


class Borders(SlotCharge):
    """A charge on crossing borders of areas, and on exports of one class."""

    kind: Literal["borders"] = "borders"
    entry: float = 0.0
    exit: float = 0.0
    exported: float = 0.0

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        areas = len(customers.area_level)
        return EnergyRates.of(
            entry=np.full((1, areas), self.entry),
            exit=np.full((1, areas), self.exit),
            exported=np.full((1, 1), self.exported),
        )


def customers_in(area: NDArray[np.int64], parent: NDArray[np.int64] = PARENT) -> Customers:
    count = len(area)
    return replace(
        Customers.plain(count),
        group=("household", "business") * (count // 2) + ("household",) * (count % 2),
        area=area,
        area_level=LEVEL[: len(parent)],
        area_parent=parent,
        distance_ohm=np.linspace(0.0, 1.0, count),
    )


def calendar_of(slots: int) -> Calendar:
    start = np.datetime64("2016-05-23T10:00:00") + np.arange(slots) * np.timedelta64(900, "s")
    return Calendar(start, HOURS)


def rates_of(charges: tuple[Charge, ...], calendar: Calendar, who: Customers) -> EnergyRates:
    known = [charge.rates(calendar, who) for charge in charges]
    return sum((rates for rates in known if rates is not None), EnergyRates.of())


@dataclass(frozen=True)
class Case:
    """A block of slots in a tree of six areas, and what is billed."""

    areas: TradingAreas
    block: ClearedBlock
    billing: Billing


def case_of(
    net_kw: Floats,
    area: NDArray[np.int64],
    charges: tuple[Charge, ...],
    *,
    takes_part: NDArray[np.bool_] | None = None,
    price: Floats | None = None,
    levy: float = 0.0,
) -> Case:
    slots, agents = net_kw.shape
    who, calendar = customers_in(area), calendar_of(slots)
    areas = TradingAreas.of(PARENT, LEVEL, area)
    if takes_part is not None:
        areas = replace(areas, takes_part=takes_part)
    rates = rates_of(charges, calendar, who)
    price = np.full((slots, len(PARENT)), 0.2) if price is None else price
    block = ClearedBlock(
        p_net_kw=net_kw,
        area_price=price,
        agent_price=price[:, area] + np.linspace(-0.02, 0.05, agents),
        retail_price=RETAIL + np.broadcast_to(rates.by_source[:, Source.RETAIL], slots),
        feed_in_price=np.full(slots, FEED_IN),
        hours=HOURS,
        rates=rates,
        wholesale_price=np.full(slots, WHOLESALE),
        area_loss_kw=np.full((slots, len(PARENT)), 0.1),
        first_slot=96,
    )
    return Case(areas, block, Billing(charges, calendar, who, levy))


RATE = st.sampled_from([0.0, 0.01, 0.05])


@st.composite
def charge_lists(draw: Any) -> tuple[Charge, ...]:
    fee = sorted(draw(st.tuples(RATE, RATE, RATE)))
    rate = draw(RATE)
    pool: list[Charge] = [
        Volumetric(name="tax", purpose="levy", rate_eur_per_kwh=rate),
        Volumetric(name="homes", rate_eur_per_kwh=rate, customers=("household",)),
        LocalUseDiscount(rate_eur_per_kwh=rate, microgrid_discount=0.6, cell_discount=0.2),
        Borders(entry=rate, exit=draw(RATE), exported=draw(RATE)),
        LossAllocation(),
        AnnualPeak(rate_eur_per_kw_year=40.0),
    ]
    chosen = draw(st.lists(st.sampled_from(pool), unique_by=lambda each: each.label))
    return (level_fee(*fee), *chosen)


def level_fee(microgrid: float, cell: float, multicell: float) -> LevelFee:
    names = ("microgrid", "cell", "multicell")
    fees = dict(zip(names, (microgrid, cell, multicell), strict=True))
    return LevelFee.model_validate({"name": "fees", **fees})


@st.composite
def cases(draw: Any) -> Case:
    power = st.floats(-20.0, 20.0).map(lambda value: round(value, 3))
    net = draw(hnp.arrays(np.float64, (SLOTS, AGENTS), elements=power))
    area = draw(hnp.arrays(np.int64, AGENTS, elements=st.integers(0, len(PARENT) - 1)))
    price = st.sampled_from([-0.1, 0.0, 0.1, 0.25, 5.0])
    return case_of(
        net,
        area,
        draw(charge_lists()),
        takes_part=draw(hnp.arrays(np.bool_, AGENTS)),
        price=draw(hnp.arrays(np.float64, (SLOTS, len(PARENT)), elements=price)),
        levy=draw(RATE),
    )


def level_trades_of(case: Case, random: np.random.Generator) -> list[LevelTrade]:
    """Take the energies of the joint clearing, pay anything for them, and move some of it."""
    joint = joint_trades(case.areas, case.block)
    trades = []
    for slot in range(len(case.block.p_net_kw)):
        bought, sold = joint.bought_kwh[:, slot], joint.sold_kwh[:, slot]
        price = random.uniform(0.1, 0.3, (len(Source), 1))
        price[Source.RETAIL] = 0.0
        drawn = random.uniform(-1.0, 1.0, bought.shape[1])
        moved = np.asarray(drawn * case.areas.takes_part, np.float64)
        energy_price = case.block.retail_price[slot] - float(
            case.block.rates.part(slot, 1).by_source[0, Source.RETAIL]
        )
        trades.append(
            LevelTrade(
                bought=bought,
                sold=sold,
                energy_bought=bought * price,
                energy_sold=sold * price * 0.9,
                energy_retail=bought[Source.RETAIL] * energy_price,
                export=-sold[Source.RETAIL] * FEED_IN,
                moved=moved,
                redispatch=np.asarray(0.3 * moved, np.float64),
                area_traded=joint.area_traded_kwh[slot],
                area_residual=joint.area_residual_kwh[slot],
                operator_surplus=0.0,
                redispatch_moved=float(np.abs(moved).sum()),
                redispatch_cost=0.0,
                redispatch_retail=0.1,
                gain=0.0,
                optimal_gain=0.0,
                iterations=0,
                unfinished=0,
            )
        )
    return trades


def settled_level_by_level(case: Case, seed: int = 0) -> tuple[Case, Settlement]:
    trades = level_trades_of(case, np.random.default_rng(seed))
    moved = np.array([trade.moved for trade in trades]) / HOURS
    block = replace(case.block, p_net_kw=case.block.p_net_kw + moved)
    case = replace(case, block=block)
    return case, settle_level_trades(trades, case.areas, block, case.billing)


def assert_books(case: Case, money: Settlement) -> None:
    """Work everything out again from the postings alone."""
    slots, agents = case.block.p_net_kw.shape
    balance = {party: np.zeros(slots) for party in Party}
    bill, energy = np.zeros(agents), np.zeros(agents)
    for posting in money.postings:
        balance[posting.payer] -= posting.amount_eur
        balance[posting.payee] += posting.amount_eur
        if posting.agent_eur is not None and posting.agent_kwh is not None:
            bill += posting.agent_eur
            charged = (Kind.NETWORK, Kind.LEVY, Kind.LOSSES)
            energy += 0.0 if posting.kind in charged else posting.agent_kwh
    np.testing.assert_allclose(sum(balance.values()), 0.0, rtol=0, atol=EUR)
    parts = (
        money.energy_p2p,
        money.energy_retail,
        money.export,
        money.network,
        money.congestion,
        money.losses,
        money.levy,
        money.redispatch,
    )
    np.testing.assert_allclose(bill, np.sum(parts, axis=0), rtol=0, atol=EUR)
    metered = case.block.p_net_kw.sum(axis=0) * HOURS
    np.testing.assert_allclose(energy, metered, rtol=0, atol=1e-9)
    received = money.retailer_eur + money.network_operator_eur + money.market_operator_eur
    np.testing.assert_allclose(money.agents_eur + received, 0.0, rtol=0, atol=EUR)
    assert -money.agents_eur.sum() == pytest.approx(bill.sum(), abs=EUR)
    net = case.block.p_net_kw.sum(axis=1) * HOURS
    np.testing.assert_allclose(money.retailer_pays_eur, net * WHOLESALE, rtol=0, atol=EUR)


def assert_receipts(money: Settlement) -> None:
    """Receipts of traded energy add up to the postings of every kind."""
    receipts = money.receipts
    told = {
        Kind.NETWORK: receipts.network_eur,
        Kind.LOSSES: receipts.losses_eur,
        Kind.LEVY: receipts.levy_eur,
        Kind.CONGESTION: receipts.congestion_eur,
    }
    for kind, amounts in told.items():
        posted = sum(
            posting.amount_eur * (-1.0 if posting.payer is Party.DSO else 1.0)
            for posting in money.postings
            if posting.kind is kind and Party.WHOLESALE not in (posting.payer, posting.payee)
        )
        np.testing.assert_allclose(amounts.sum(axis=1), posted, rtol=0, atol=EUR)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_joint_clearings_are_booked_once_and_receipts_add_up(case: Case) -> None:
    money = settle(case.areas, case.block, case.billing)
    assert_books(case, money)
    # Buyers' and sellers' sides of a market meet in its operator, who keeps nothing.
    np.testing.assert_allclose(money.market_operator_eur, 0.0, rtol=0, atol=EUR)
    assert_receipts(money)
    # Money for energy that meets in a market stays among the agents; all else is in their bills.
    receipts = money.receipts
    beside = receipts.network_eur + receipts.losses_eur + receipts.levy_eur
    paid = receipts.energy_eur[:, len(PARENT) :].sum(axis=1)
    paid += (beside + receipts.congestion_eur).sum(axis=1)
    np.testing.assert_allclose(paid, -money.agents_eur, rtol=0, atol=EUR)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 9))
def test_markets_level_by_level_are_booked_once_and_receipts_add_up(case: Case, seed: int) -> None:
    case, money = settled_level_by_level(case, seed)
    assert_books(case, money)
    assert_receipts(money)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_losses_are_bought_for_exactly_what_the_agents_pay(case: Case) -> None:
    money = settle(case.areas, case.block, case.billing)
    charged = any(charge.kind == "loss_allocation" for charge in case.billing.charges)
    lost = 0.1 * len(PARENT) * HOURS * WHOLESALE * SLOTS if charged else 0.0
    assert money.losses.sum() == pytest.approx(lost, abs=EUR)
    assert money.network_operator_pays_eur.sum() == pytest.approx(lost, abs=EUR)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_charges_of_zero_reproduce_the_bills_without_them_bit_for_bit(case: Case) -> None:
    idle = tuple(charge.scaled(0.0) for charge in case.billing.charges if charge.RATES)
    more = replace(case.billing, charges=(*idle, Borders()))
    calendar, who = more.calendar, more.customers
    assert calendar is not None
    assert who is not None
    block = replace(
        case.block,
        rates=rates_of(more.charges, calendar, who),
        retail_price=np.full(SLOTS, RETAIL),
    )
    with_zero = settle(case.areas, block, more)
    without = settle(
        case.areas,
        replace(block, rates=EnergyRates.of()),
        replace(case.billing, charges=(level_fee(0.0, 0.0, 0.0),)),
    )
    for name in ("energy_p2p", "energy_retail", "export", "network", "congestion", "levy"):
        assert getattr(with_zero, name).tobytes() == getattr(without, name).tobytes(), name
    assert with_zero.agents_eur.tobytes() == without.agents_eur.tobytes()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_a_trade_costs_its_buyer_the_price_of_the_area_and_its_fee_all_in(case: Case) -> None:
    """Whatever the level and the borders on the way: the charge only moves what is left."""
    trades = joint_trades(case.areas, case.block)
    rates, member = case.block.rates, case.areas.agent_area
    into = case.areas.border_cost(rates.entry)[:, :, member]
    network = trades.bought_kwh * (rates.by_source.T[:, :, None] + into)
    all_in = (trades.bought_eur + network).sum(axis=0)
    fee = case.areas.seen_fee(rates, case.block.retail_price, case.block.feed_in_price)
    borders = case.areas.border_cost(rates.entry)[Source.RETAIL]
    ceiling = case.block.retail_price[:, None] - fee + borders
    out = case.areas.border_cost(rates.exit)[Source.RETAIL]
    floor = np.minimum(FEED_IN - out, 0.0)
    base = np.clip(case.block.area_price, floor, ceiling)
    expected = trades.bought_kwh.sum(axis=0) * (base + fee)[:, member]
    np.testing.assert_allclose(all_in, expected, rtol=0, atol=1e-9)


# --- by hand ---


def village(**given: Any) -> Settlement:
    """Two buyers of 4 and 8 kW and a seller of 4 kW in microgrid 3, in slots of 15 minutes."""
    net = np.array([[4.0, 8.0, -4.0]])
    case = case_of(net, np.array([3, 3, 3]), **given)
    flat = replace(case.block, agent_price=np.full((1, 3), 0.2))
    return settle(case.areas, flat, case.billing)


def lines(money: Settlement) -> dict[tuple[str, str, str, str, str], tuple[float, float]]:
    """Energy and amount of every posting that is not zero."""
    return {
        (
            str(each.payer),
            str(each.payee),
            str(each.kind),
            "" if each.source is None else each.source.label,
            each.charge,
        ): (float(each.energy_kwh.sum()), float(each.amount_eur.sum()))
        for each in money.postings
        if abs(each.energy_kwh.sum()) > 1e-12 or abs(each.amount_eur.sum()) > 1e-12
    }


def test_the_books_of_a_village_by_hand() -> None:
    """1 kWh meets in the village and pays 0.02 and 0.05; 2 kWh come from the retailer at 0.32.

    The village's price is 0.30: 0.37 all in, less the 0.07 that trade in the village pays. At the
    households' own bus it is 0.10 lower, for a net purchase of 2 kWh.
    """
    charges = (
        level_fee(0.02, 0.03, 0.04),
        Volumetric(name="grid", rate_eur_per_kwh=0.05),
    )
    price = np.full((1, len(PARENT)), RETAIL + 0.05 - 0.07)
    money = village(charges=charges, price=price, levy=0.01)
    assert lines(money) == {
        ("agents", "operator", "energy_p2p", "microgrid", ""): pytest.approx((1.0, 0.30)),
        ("operator", "agents", "energy_p2p", "microgrid", ""): pytest.approx((1.0, 0.30)),
        ("agents", "dso", "levy", "retail", ""): pytest.approx((2.0, 0.02)),
        ("agents", "retailer", "energy_retail", "retail", ""): pytest.approx((2.0, 0.62)),
        ("agents", "dso", "congestion", "", ""): pytest.approx((0.0, -0.2)),
        ("agents", "dso", "network", "microgrid", "fees"): pytest.approx((1.0, 0.02)),
        ("agents", "dso", "network", "microgrid", "grid"): pytest.approx((1.0, 0.05)),
        ("agents", "dso", "network", "retail", "grid"): pytest.approx((2.0, 0.10)),
        ("retailer", "wholesale", "energy_retail", "retail", ""): pytest.approx((2.0, 0.12)),
    }
    assert money.network == pytest.approx([0.17 / 3, 0.34 / 3, 0.0])


def test_whoever_takes_no_part_buys_at_retail_and_feeds_in() -> None:
    charges = (level_fee(0.02, 0.03, 0.04), Volumetric(name="grid", rate_eur_per_kwh=0.05))
    alone = village(charges=charges, takes_part=np.array([True, False, False]))
    assert alone.bought_p2p_kwh == pytest.approx([0.0, 0.0, 0.0])
    assert alone.bought_retail_kwh == pytest.approx([1.0, 2.0, 0.0])
    assert alone.sold_retail_kwh == pytest.approx([0.0, 0.0, 1.0])
    assert alone.energy_retail[1] == pytest.approx(2.0 * RETAIL)
    assert alone.network[1] == pytest.approx(2.0 * 0.05)
    assert alone.export[2] == pytest.approx(-FEED_IN)
    assert alone.congestion[1:] == pytest.approx([0.0, 0.0])
    # The retailer buys on the wholesale market what the village takes as a whole.
    assert alone.retailer_pays_eur == pytest.approx([2.0 * WHOLESALE])


def test_borders_are_paid_on_the_way_up_and_down_by_hand() -> None:
    """A seller in village 3 and a buyer in village 5: 1 kWh meets in the multi-cell area."""
    charges = (level_fee(0.0, 0.0, 0.0), Borders(entry=0.01, exit=0.02))
    case = case_of(np.array([[-4.0, 4.0]]), np.array([3, 5]), charges)
    money = settle(case.areas, case.block, case.billing)
    assert money.bought_p2p_kwh == pytest.approx([0.0, 1.0])
    # Two borders each: of the village and of the cell.
    assert money.network == pytest.approx([0.04, 0.02])
    network = [each for each in money.postings if each.kind is Kind.NETWORK]
    assert {each.source for each in network} == {Source.MULTICELL}


# --- what must not pass ---


def posting(**changed: Any) -> Posting:
    given: dict[str, Any] = {
        "payer": Party.AGENTS,
        "payee": Party.RETAILER,
        "kind": Kind.ENERGY_RETAIL,
        "energy_kwh": np.array([1.0, 2.0]),
        "amount_eur": np.array([0.3, 0.6]),
        "source": Source.RETAIL,
        "agent_kwh": np.array([3.0]),
        "agent_eur": np.array([0.9]),
    }
    return Posting(**{**given, **changed})


NET = np.array([[1.0], [2.0]])


def test_sound_books_give_the_balance_of_every_party() -> None:
    balance = check_postings([posting()], NET)
    assert balance[Party.RETAILER] == pytest.approx([0.3, 0.6])
    assert balance[Party.AGENTS] == pytest.approx([-0.3, -0.6])
    assert balance[Party.DSO] == pytest.approx([0.0, 0.0])


@pytest.mark.parametrize(
    ("books", "told"),
    [
        (
            [posting(), posting()],
            "at the level retail, paid by agents to retailer, is booked twice",
        ),
        ([posting(amount_eur=np.array([0.3, np.nan]))], "slot 97: payments miss zero"),
        ([posting(agent_eur=np.array([0.8]))], "0.900000000 EUR over the slots, but to 0.8"),
        (
            [posting(energy_kwh=np.array([1.0, 1.5]))],
            "slot 97: settled and metered energy differ, in kWh, by -0.500000000",
        ),
        ([posting(agent_kwh=np.array([2.0]))], "by -1.000000000 for the agent in row 0"),
        (
            [
                posting(),
                posting(
                    payee=Party.OPERATOR,
                    kind=Kind.ENERGY_P2P,
                    source=Source.CELL,
                    agent_kwh=None,
                    agent_eur=None,
                ),
            ],
            "slot 97: purchases and sales at the level cell differ, in kWh, by 2.0",
        ),
    ],
)
def test_books_that_do_not_balance_are_refused_with_slot_and_gap(
    books: list[Posting], told: str
) -> None:
    with pytest.raises(SettlementError) as caught:
        check_postings(books, NET, first_slot=96)
    assert told in str(caught.value)


def test_a_mechanism_that_gives_away_energy_stops_the_run() -> None:
    case = case_of(np.array([[4.0, -4.0]]), np.array([3, 3]), (level_fee(0.0, 0.0, 0.0),))
    (trade,) = level_trades_of(case, np.random.default_rng(1))
    trade = replace(trade, sold=trade.sold * 0.5, moved=np.array([0.0, -0.5]))
    with pytest.raises(SettlementError, match="slot 96: purchases and sales at the level microgr"):
        settle_level_trades(
            [trade],
            case.areas,
            replace(case.block, p_net_kw=np.array([[4.0, -4.0]])),
            case.billing,
        )


def test_two_charges_of_one_name_are_refused() -> None:
    twice = (Volumetric(rate_eur_per_kwh=0.1), Volumetric(rate_eur_per_kwh=0.2))
    with pytest.raises(
        SettlementError, match="network volumetric at the level microgrid, paid by agents to dso"
    ):
        village(charges=twice)


# --- over several blocks ---


def test_receipts_of_blocks_add_up_agent_by_agent() -> None:
    charges = (level_fee(0.02, 0.03, 0.04), Volumetric(name="grid", rate_eur_per_kwh=0.05))
    receipts, bill = Receipts(), np.zeros(3)
    for _ in range(3):
        money = village(charges=charges)
        receipts.add(money.postings)
        bill += money.network + money.energy_p2p + money.energy_retail + money.export
        bill += money.congestion
    np.testing.assert_allclose(sum(each.eur for each in receipts.all), bill, rtol=0, atol=EUR)
    assert receipts.revenue_eur("grid") == pytest.approx(3 * 3.0 * 0.05)
    sold = [each for each in receipts.all if each.kwh.sum() < 0.0]
    assert {each.kind for each in sold} == {Kind.ENERGY_P2P}


# --- no trading ---


def no_batteries() -> Batteries:
    none = np.zeros(0)
    return Batteries(np.zeros(0, dtype=np.int64), none, none, none, none, none, none, none)


def test_the_bill_without_trading_pays_the_charges_of_its_own_meter() -> None:
    """4 kWh bought at 0.40 all in and 0.02; 1 kWh fed in at 0.08 less 0.03; 8760 EUR/kW/yr.

    The peak of 16 kW is billed for half an hour of a year.
    """
    charges = (Volumetric(name="homes", rate_eur_per_kwh=0.02, customers=("household",)),)
    peak = AnnualPeak(rate_eur_per_kw_year=8760.0)
    who = Customers.plain(1)
    reference = NoTradingReference(no_batteries(), 1, (*charges, peak), who)
    rates = MeterRates(np.array([[0.02]]), np.array([[0.03]]), np.array([[0.03]]))
    load, generation = np.array([[16.0], [0.0]]), np.array([[0.0], [4.0]])
    reference.add(load, generation, np.full(2, 0.40), np.full(2, FEED_IN), HOURS, rates=rates)
    assert reference.bill_eur == pytest.approx([4.0 * 0.42 - 1.0 * 0.05])
    reference.bill_period(calendar_of(2))
    assert reference.bill_eur == pytest.approx([4.0 * 0.42 - 0.05 + 16.0 * 0.5])


def test_without_trading_nobody_feeds_in_at_a_loss() -> None:
    reference = NoTradingReference(no_batteries(), 1)
    rates = MeterRates(np.zeros((1, 1)), np.array([[0.1]]), np.array([[0.1]]))
    load, generation = np.zeros((1, 1)), np.array([[4.0]])
    reference.add(load, generation, np.full(1, RETAIL), np.full(1, FEED_IN), HOURS, rates=rates)
    assert reference.bill_eur == pytest.approx([0.0])


def test_rates_of_charges_billed_by_the_period_are_not_billed_twice() -> None:
    """Agents reckon with an injection charge, but its bill comes at the end of the period."""
    who, calendar = Customers.plain(2), calendar_of(1)
    areas = TradingAreas.of(np.array([-1]), np.array([1]), np.zeros(2, np.int64))
    injection = Injection(rate_eur_per_kwh=0.03)
    rates = rates_of((injection, Volumetric(rate_eur_per_kwh=0.05)), calendar, who)
    of_period = injection.rates(calendar, who)
    of_meters = MeterRates.of(areas, rates, of_period)
    assert of_meters.exported == pytest.approx(np.zeros((1, 2)))
    assert of_meters.known_exported == pytest.approx(np.full((1, 2), 0.03))
    assert of_meters.imported == pytest.approx(np.zeros((1, 2)))
