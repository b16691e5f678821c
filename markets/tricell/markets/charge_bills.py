"""What network charges bill in a block of slots, by where the energy was traded.

A charge that agents know in rates is billed by them, source by source; what any other charge bills
an agent in a slot is shared among the sources of its energy in proportion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.markets.charge import (
    Calendar,
    Charge,
    Customers,
    EnergyRates,
    MeterData,
    SlotCharge,
    Source,
)
from tricell.markets.postings import Kind, Party, Posting
from tricell.markets.traded_block import ClearedBlock, SlotTrades, Totals, TradingAreas, ratio

Floats = NDArray[np.float64]

LOSS_CHARGE = "loss_allocation"
"""The kind of charge for which the network operator buys losses."""
ALL_RATES = "fees"
"""Name in bills of what the rates ask for where no charges are named."""


@dataclass(frozen=True)
class Billing:
    """What is billed beside energy.

    Attributes
    ----------
    charges : all network charges; those of a billing period are left to its end. Without any,
        the block's rates are billed as one charge.
    calendar, customers : the block's slots, and who is billed; needed where there are charges.
    levy_eur_per_kwh : levies in the price of a kWh from the retailer.
    """

    charges: tuple[Charge, ...] = ()
    calendar: Calendar | None = None
    customers: Customers | None = None
    levy_eur_per_kwh: float = 0.0


@dataclass(frozen=True)
class ChargePart:
    """What a charge bills in a block, by where energy was traded.

    Attributes
    ----------
    label, kind : name in the books, and what is paid for.
    rate : EUR per kWh bought, shape (T or 1, 4).
    extra : EUR beside it, shape (4, T, agents); None for nothing.
    on_sales : whether it is billed on what is sold, too.
    """

    label: str
    kind: Kind
    rate: Floats
    extra: Floats | None = None
    on_sales: bool = False

    def postings(self, trades: SlotTrades, totals: Totals) -> list[Posting]:
        """Return one posting per source where anything is to be paid."""
        found = []
        for source in Source:
            rate = np.broadcast_to(self.rate[:, source], totals.bought[source].shape)
            by_slot = totals.bought[source] * rate
            by_agent = rate @ trades.bought_kwh[source]
            if self.extra is not None:
                by_slot = by_slot + self.extra[source].sum(axis=1)
                by_agent = by_agent + self.extra[source].sum(axis=0)
            if not by_slot.any() and not by_agent.any():
                continue
            sold = (totals.sold[source], totals.sold_by_agent[source])
            of_sales = sold if self.on_sales else (0.0, 0.0)
            found.append(
                Posting(
                    Party.AGENTS,
                    Party.DSO,
                    self.kind,
                    totals.bought[source] + of_sales[0],
                    by_slot,
                    source,
                    self.label,
                    totals.bought_by_agent[source] + of_sales[1],
                    by_agent,
                )
            )
        return found


@dataclass(frozen=True)
class ChargeBook:
    """Turns charges into what they bill in a block."""

    areas: TradingAreas
    block: ClearedBlock
    trades: SlotTrades

    def parts(self, billing: Billing) -> list[ChargePart]:
        """Return what every charge that is settled slot by slot bills."""
        if not billing.charges:
            return [self._by_rates(self.block.rates, ALL_RATES, Kind.NETWORK)]
        calendar, customers = billing.calendar, billing.customers
        assert calendar is not None
        assert customers is not None
        meters = MeterData(
            calendar=calendar,
            customers=customers,
            net_kw=self.block.p_net_kw,
            bought_kwh=self.trades.bought_kwh,
            area_net_kw=self.block.p_net_kw @ self.areas.within,
            area_loss_kw=self.block.area_loss_kw,
            wholesale_price=self.block.wholesale_price,
        )
        slot_charges = [each for each in billing.charges if isinstance(each, SlotCharge)]
        return [self._part(charge, meters) for charge in slot_charges]

    def _part(self, charge: SlotCharge, meters: MeterData) -> ChargePart:
        kind = kind_of_charge(charge)
        if type(charge).amounts_eur is SlotCharge.amounts_eur:
            rates = charge.rates(meters.calendar, meters.customers)
            assert rates is not None, f"{charge.kind} has no rates and no rule of its own"
            return self._by_rates(rates, charge.label, kind)
        traded = self.trades.bought_kwh + self.trades.sold_kwh
        extra = spread(charge.amounts_eur(meters), traded)
        return ChargePart(charge.label, kind, np.zeros((1, len(Source))), extra, True)

    def _by_rates(self, rates: EnergyRates, label: str, kind: Kind) -> ChargePart:
        net, hours, member = self.block.p_net_kw, self.block.hours, self.areas.agent_area
        bought, sold = self.trades.bought_kwh, self.trades.sold_kwh
        extra: list[Floats] = []
        if rates.imported.any():
            extra.append(spread(np.maximum(net, 0.0) * hours * rates.imported, bought))
        if rates.exported.any():
            extra.append(spread(np.maximum(-net, 0.0) * hours * rates.exported, sold))
        if rates.entry.any():
            extra.append(bought * self.areas.border_cost(rates.entry)[:, :, member])
        if rates.exit.any():
            extra.append(sold * self.areas.border_cost(rates.exit)[:, :, member])
        together = np.asarray(sum(extra)) if extra else None
        on_sales = bool(rates.exported.any() or rates.exit.any())
        return ChargePart(label, kind, rates.by_source, together, on_sales)


def kind_of_charge(charge: Charge) -> Kind:
    """Return what a charge is paid for: levies, losses, or the network."""
    if charge.purpose == "levy":
        return Kind.LEVY
    return Kind.LOSSES if charge.kind == LOSS_CHARGE else Kind.NETWORK


def spread(amount: Floats, energy: Floats) -> Floats:
    """Share amounts among the sources of each agent's energy; without any, they are retail's.

    Parameters
    ----------
    amount : shape (T, agents).
    energy : shape (4, T, agents).
    """
    whole = energy.sum(axis=0)
    per_kwh = ratio(amount, whole)
    shared = energy * per_kwh
    shared[Source.RETAIL] += np.where(whole > 0.0, 0.0, amount)
    return shared
