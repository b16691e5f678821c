"""A community's battery of which each member owns a share of the energy and of the power.

In each slot a member with a surplus charges its share and one with a deficit draws from it, as far
as its own power and energy reach; nobody touches another member's share::

    charge = min(surplus, share p, (share capacity - stored) / eta_c)
    draw   = min(deficit, share p, stored eta_d)

The operator gets a fee per kWh each way. What is left over is settled with the retailer: surplus at
the export price, deficit at the import price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.flexibility.battery import Battery, check_hours
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="community_battery",
    line="battery of a community: each member uses its own share, for a fee each way",
    source="community storage with owned shares; the rule is tricell's own",
)

SHARE_RESIDUE = 1e-9
"""Shares that add up to this much more than 1 are rounded, not oversold."""


@dataclass(frozen=True)
class CommunityBatteryUse:
    """What the members do and pay.

    Attributes
    ----------
    charge_kwh, draw_kwh : at the terminals, shape (slots, members).
    stored_kwh : of each member at the end of each slot, shape (slots, members).
    import_kwh, export_kwh : left to the retailer, shape (slots, members).
    fee_eur : paid to the operator, shape (members,).
    retail_eur : paid to the retailer, negative where more is earned, shape (members,).
    """

    charge_kwh: Floats
    draw_kwh: Floats
    stored_kwh: Floats
    import_kwh: Floats
    export_kwh: Floats
    fee_eur: Floats
    retail_eur: Floats

    @property
    def bill_eur(self) -> Floats:
        """What each member pays in all, shape (members,)."""
        return self.fee_eur + self.retail_eur

    @property
    def operator_revenue_eur(self) -> float:
        """What the operator of the battery gets."""
        return float(self.fee_eur.sum())


def use_community_battery(
    net_kwh: ArrayLike,
    share: ArrayLike,
    battery: Battery,
    *,
    import_price: ArrayLike,
    export_price: ArrayLike,
    fee: float = 0.0,
    stored_kwh: ArrayLike = 0.0,
    hours: float = 1.0,
    names: Sequence[str] | None = None,
) -> CommunityBatteryUse:
    """Run the members' shares of a battery through consecutive slots.

    Parameters
    ----------
    net_kwh : load less generation, shape (slots, members), kWh.
    share : of the battery's energy and power, shape (members,), at least 0, at most 1 in sum.
    battery : the whole battery; what it holds is `stored_kwh`, not its own `stored_kwh`.
    import_price, export_price : one number or shape (slots,), EUR/kWh.
    fee : per kWh charged and per kWh drawn, EUR/kWh, at least 0.
    stored_kwh : of each member at the start, one number or shape (members,).
    hours : length of a slot, h.
    names : of the members, for errors; their numbers if none are given.

    Raises
    ------
    MarketError
        If a number is missing or not allowed; it names the member.

    Examples
    --------
    >>> net = [[-4.0, -1.0], [2.0, 2.0]]
    >>> battery = Battery(6.0, 4.0, charge_efficiency=0.9, discharge_efficiency=0.9)
    >>> prices = {"import_price": 0.30, "export_price": 0.08}
    >>> use_community_battery(net, [0.5, 0.5], battery, fee=0.02, **prices).bill_eur.round(4)
    array([0.0264, 0.3932])
    """
    net = np.asarray(net_kwh, dtype=np.float64)
    if net.ndim != 2 or not np.isfinite(net).all():
        raise MarketError("net_kwh needs shape (slots, members) and finite numbers")
    check_hours(hours)
    shares = _members(share, net.shape[1])
    stored = _members(stored_kwh, net.shape[1])
    _check_shares(shares, stored, battery, names)
    if not 0.0 <= fee < np.inf:
        raise MarketError(f"{battery.name}: fee is {fee}; allowed is a finite number of at least 0")
    charge, draw, level = _fill_and_draw(net, shares, stored, battery, hours)
    outside = net + charge - draw
    bought, sold = np.maximum(outside, 0.0), np.maximum(-outside, 0.0)
    buy_price = _prices("import_price", import_price, len(net))
    sell_price = _prices("export_price", export_price, len(net))
    return CommunityBatteryUse(
        charge_kwh=charge,
        draw_kwh=draw,
        stored_kwh=level,
        import_kwh=bought,
        export_kwh=sold,
        fee_eur=fee * (charge + draw).sum(axis=0),
        retail_eur=buy_price @ bought - sell_price @ sold,
    )


def _fill_and_draw(
    net: Floats, share: Floats, stored: Floats, battery: Battery, hours: float
) -> tuple[Floats, Floats, Floats]:
    """Charge and draw of all members, slot by slot, and what they hold after each."""
    charge, draw, level = np.zeros_like(net), np.zeros_like(net), np.zeros_like(net)
    most = share * min(battery.power_kw * hours, np.finfo(np.float64).max)
    size = share * battery.capacity_kwh
    now = stored
    for t, each in enumerate(net):
        room = np.maximum(size - now, 0.0) / battery.charge_efficiency
        charge[t] = np.minimum.reduce([np.maximum(-each, 0.0), most, room])
        supply = now * battery.discharge_efficiency
        draw[t] = np.minimum.reduce([np.maximum(each, 0.0), most, supply])
        change = battery.charge_efficiency * charge[t] - draw[t] / battery.discharge_efficiency
        now = np.clip(now + change, 0.0, size)
        level[t] = now
    return charge, draw, level


def _members(values: ArrayLike, members: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim and array.shape != (members,):
        raise MarketError(f"a column of {array.shape} members; allowed is one of ({members},)")
    return np.full(members, array) if array.ndim == 0 else array


def _prices(name: str, values: ArrayLike, slots: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    array = np.full(slots, array) if array.ndim == 0 else array
    if array.shape != (slots,) or not np.isfinite(array).all():
        raise MarketError(f"{name} needs one finite number, or one for each of {slots} slots")
    return array


def _check_shares(
    share: Floats, stored: Floats, battery: Battery, names: Sequence[str] | None
) -> None:
    wrong = np.flatnonzero(~((share >= 0.0) & (share <= 1.0)))
    if len(wrong):
        raise MarketError(
            f"{battery.name}: share of member {_name(names, wrong[0])} is {share[wrong[0]]}; "
            "allowed is 0 to 1"
        )
    if share.sum() > 1.0 + SHARE_RESIDUE:
        raise MarketError(
            f"{battery.name}: the shares add up to {share.sum():g}; allowed is at most 1"
        )
    size = share * battery.capacity_kwh
    wrong = np.flatnonzero(~((stored >= 0.0) & (stored <= size + SHARE_RESIDUE)))
    if len(wrong):
        raise MarketError(
            f"{battery.name}: member {_name(names, wrong[0])} holds {stored[wrong[0]]} kWh; "
            f"allowed is 0 to {size[wrong[0]]:g}, its share of the capacity"
        )


def _name(names: Sequence[str] | None, row: int) -> str:
    return names[row] if names is not None else str(row)
