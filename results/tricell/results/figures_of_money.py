"""Key figures of money: bills, effective prices, fairness, accounts of the parties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.results import kpis
from tricell.results.charge_indicators import (
    community_saving_per_member,
    lowest_quintile_burden,
    share_clearly_worse,
)
from tricell.results.figure_list import BILL_COMPONENTS, PERCENTILES
from tricell.results.figure_scopes import AGENT, RUN, Scope, Scopes
from tricell.results.figures_of_energy import Values
from tricell.results.reader import Results

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

BILL_SUMS = {
    "bill": "total",
    "bill_no_trading": "no_trading_total",
    "network_charge_revenue": "network",
}
"""Figures of groups that are the sum of a column of tables/bill."""
AGENT_SUMS = {"saving": "saving", "curtailed": "curtailed", "energy_not_served": "unserved"}
"""The same, and of agents their entry."""
TSO_PAYS = "transmission_operator_pays"
ENERGY_BOUGHT = ("energy_p2p", "energy_retail")
ENERGY_SOLD = ("energy_p2p", "export")


def bill_figures(results: Results, scopes: Scopes, year_share: float) -> Values:
    """Compute the figures that come from the bills, which cover `year_share` of a year."""
    if "bill" not in results.tables or not scopes.agent:
        return {}
    bills = results.table("bill").set_index("agent").reindex(list(scopes.agent))
    members = scopes.members()
    figures: Values = {}
    for figure, column in (BILL_SUMS | AGENT_SUMS).items():
        if column in bills:
            amounts = bills[column].to_numpy(dtype=np.float64)
            figures[figure] = {scope: _sum(amounts[rows]) for scope, rows in members.items()}
            if figure in AGENT_SUMS:
                named = zip(scopes.agent, amounts.tolist(), strict=True)
                figures[figure] |= {Scope(AGENT, name): amount for name, amount in named}
    for name in BILL_COMPONENTS:
        if name in bills:
            parts = bills[name].to_numpy(dtype=np.float64)
            figures[f"bill_share_{name}"] = {
                scope: kpis.component_share(float(parts[rows].sum()), total)
                for scope, rows in members.items()
                if (total := figures["bill"][scope]) is not None
            }
    return figures | _saving_figures(bills, members) | _losers(bills, members, year_share)


def _losers(bills: pd.DataFrame, members: Mapping[Scope, Bools], year_share: float) -> Values:
    """Say what trading saves a year, how bills change, and who is clearly worse off by it."""
    pairs = bills[["no_trading_total", "total"]].to_numpy(dtype=np.float64)
    is_known = np.isfinite(pairs).all(axis=1)
    known = {scope: pairs[rows & is_known].T for scope, rows in members.items()}
    return {
        "saving_per_agent": {
            scope: community_saving_per_member(alone, bill, np.ones(len(bill)), year_share)
            for scope, (alone, bill) in known.items()
        },
        "share_clearly_worse": {
            scope: share_clearly_worse(bill, alone, year_share)
            for scope, (alone, bill) in known.items()
        },
        "relative_bill_change": {
            scope: kpis.relative_change(float(bill.sum()), float(alone.sum()))
            for scope, (alone, bill) in known.items()
        },
        **_spread("bill_change", {s: bill - alone for s, (alone, bill) in known.items()}),
        **_spread(
            "relative_bill_change",
            {s: bill[alone > 0.0] / alone[alone > 0.0] - 1.0 for s, (alone, bill) in known.items()},
        ),
    }


def _spread(name: str, changes: Mapping[Scope, Floats]) -> Values:
    """Give the percentiles of what changes for the members of each scope."""
    return {
        f"{name}_p{percent}": {s: kpis.percentile(of, percent) for s, of in changes.items()}
        for percent in PERCENTILES
    }


def _saving_figures(bills: pd.DataFrame, members: Mapping[Scope, Bools]) -> Values:
    """Say how savings are shared out."""
    amounts = bills[["saving", "total"]].to_numpy(dtype=np.float64)
    savings = kpis.settled_savings(amounts[:, 0], amounts[:, 1])
    known = {scope: savings[rows & np.isfinite(savings)] for scope, rows in members.items()}
    return {
        "willingness": {
            scope: kpis.willingness(amounts[rows & np.isfinite(savings), 0])
            for scope, rows in members.items()
        },
        "jain_saving": {scope: kpis.jain(each) for scope, each in known.items()},
        "gini_saving": {scope: kpis.gini(each) for scope, each in known.items()},
        "equality": {scope: kpis.equality(each) for scope, each in known.items()},
    }


def price_figures(
    results: Results, scopes: Scopes, price_range: tuple[float, float] | None
) -> Values:
    """Compute what a bought kWh costs, and how equal that is.

    Parameters
    ----------
    results : an open file.
    scopes : who belongs to what.
    price_range : lowest and highest tariff, EUR/kWh; None if unknown.
    """
    if "receipt" not in results.tables or not scopes.agent:
        return {}
    paid, bought = _paid_and_bought(results.table("receipt"), len(scopes.agent))
    members = scopes.members()
    each = [kpis.unit_price(*pair) for pair in zip(paid.tolist(), bought.tolist(), strict=True)]
    prices = np.array(each, dtype=np.float64)
    known = {scope: prices[rows & np.isfinite(prices)] for scope, rows in members.items()}
    effective = {
        scope: kpis.unit_price(float(paid[rows].sum()), float(bought[rows].sum()))
        for scope, rows in members.items()
    }
    named = zip(scopes.agent, each, strict=True)
    low, high = _range(price_range, prices)
    return {
        "effective_price": effective | {Scope(AGENT, name): price for name, price in named},
        "low_consumers_relative_price": {
            scope: lowest_quintile_burden(paid[rows], bought[rows]).relative_price
            for scope, rows in ((scope, rows & (bought > 0.0)) for scope, rows in members.items())
        },
        "jain_price": {scope: kpis.jain(x) for scope, x in known.items()},
        "gini_price": {scope: kpis.gini(x) for scope, x in known.items()},
        "qoe": {scope: kpis.quality_of_experience(x, low, high) for scope, x in known.items()},
        "mim": {scope: kpis.min_max_ratio(x) for scope, x in known.items()},
    }


def _range(tariffs: tuple[float, float] | None, prices: Floats) -> tuple[float, float]:
    """Give the range that unit prices have; beside the tariffs lie those of charges by power."""
    known = prices[np.isfinite(prices)]
    if tariffs is None:
        return (0.0, 0.0)
    return (float(known.min(initial=tariffs[0])), float(known.max(initial=tariffs[1])))


def _paid_and_bought(receipts: pd.DataFrame, n_agent: int) -> tuple[Floats, Floats]:
    """Return what agents pay but for sales of energy, EUR, and the energy bought, kWh, (N,)."""
    kind, agent = receipts["kind"].astype(str), receipts["agent"].to_numpy()
    energy, amount = (receipts[name].to_numpy(np.float64) for name in ("energy", "amount"))
    is_sale = kind.isin(ENERGY_SOLD).to_numpy() & (energy < 0.0)
    is_bought = kind.isin(ENERGY_BOUGHT).to_numpy() & (energy > 0.0)
    paid, bought = np.zeros(n_agent), np.zeros(n_agent)
    np.add.at(paid, agent, np.where(is_sale, 0.0, amount))
    np.add.at(bought, agent, np.where(is_bought, energy, 0.0))
    return paid, bought


def account_figures(results: Results) -> Values:
    """Compute what the parties receive and pay, from the postings of all slots."""
    if "posting" not in results.tables:
        return {}
    blocks = [_accounts(block) for block in results.table_blocks("posting")]
    names = sorted({name for block in blocks for name in block})
    return {name: {RUN: sum(block.get(name, 0.0) for block in blocks)} for name in names}


def _accounts(postings: pd.DataFrame) -> dict[str, float]:
    """Return what the parties receive and pay in some postings, EUR."""
    flows = postings.groupby(["payer", "payee"], observed=True)["amount"].sum().reset_index()
    paid = {
        (str(payer), str(payee)): float(eur)
        for payer, payee, eur in zip(*(flows[name] for name in flows), strict=True)
    }
    parties = {party for pair in paid for party in pair}
    of_tso = {TSO_PAYS: -_received("tso", paid)} if "tso" in parties else {}
    return of_tso | {
        "agents_pay": -_received("agents", paid),
        "retailer_receives": _received("retailer", paid),
        "network_operator_receives": _received("dso", paid),
        "market_operators_receive": _received("operator", paid),
        "retailer_pays_wholesale": _to_wholesale("retailer", paid),
        "network_operator_pays_wholesale": _to_wholesale("dso", paid),
    }


def _received(party: str, paid: Mapping[tuple[str, str], float]) -> float:
    """Return what a party receives less what it pays, without the wholesale market, EUR."""
    inside = {pair: eur for pair, eur in paid.items() if "wholesale" not in pair}
    received = sum(eur for (_, payee), eur in inside.items() if payee == party)
    return received - sum(eur for (payer, _), eur in inside.items() if payer == party)


def _to_wholesale(party: str, paid: Mapping[tuple[str, str], float]) -> float:
    """Return what a party pays to the wholesale market less what that pays it, EUR."""
    return paid.get((party, "wholesale"), 0.0) - paid.get(("wholesale", party), 0.0)


def _sum(amounts: Floats) -> float | None:
    """Add up amounts; None if one is unknown."""
    return None if np.isnan(amounts).any() else float(amounts.sum())
