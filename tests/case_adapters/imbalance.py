"""Cases of imbalance."""

from __future__ import annotations

from typing import Any

from tricell.markets.imbalance import ImbalancePrices, settle_imbalance


def imbalance(case: dict[str, Any]) -> dict[str, Any]:
    positions = case["positions"]
    settled = settle_imbalance(
        [each["actual"] for each in positions.values()],
        [each.get("contracted", 0.0) for each in positions.values()],
        ImbalancePrices(case["p_im"], case["p_ex"], case["p"], case.get("p_imb")),
        case["scheme"],
    )
    return {
        "deviation": dict(zip(positions, settled.deviation_kwh.tolist(), strict=True)),
        "bills": dict(zip(positions, settled.bill_eur.tolist(), strict=True)),
        "retailer_cost": float(settled.retailer_eur),
        "balance": float(settled.balance_eur),
    }


ADAPTERS = {"M2_imbalance": imbalance}
