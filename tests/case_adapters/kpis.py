"""Cases of the key figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.results import kpis


def figures(case: dict[str, Any]) -> dict[str, Any]:
    load, generation = np.array(case["load"]), np.array(case["gen"])
    net = kpis.community_net(load, generation)
    imports = float(np.maximum(net, 0.0).sum())
    savings = kpis.saving(case["cost_conv"], case["cost_p2p"])
    prices = case["unit_price"]
    return {
        "self_sufficiency": kpis.self_sufficiency(net, load),
        "self_consumption": kpis.self_consumption(net, generation),
        "par": kpis.peak_to_average_ratio(net),
        "share_ratio": kpis.share_ratio(kpis.shared_energy(load, generation), load),
        "loss_ratio": kpis.loss_ratio(case["loss"], imports, float(generation.sum())),
        "volt_viol_rate": kpis.voltage_violation_rate(case["volt"], case["v_min"], case["v_max"]),
        "gini": kpis.gini(savings),
        "equality": kpis.equality(savings),
        "willingness": kpis.willingness(savings),
        "jain": kpis.jain(prices),
        "qoe": kpis.quality_of_experience(prices, case["L"], case["H"]),
        "mim": kpis.min_max_ratio(prices),
        "liquidity": kpis.liquidity(case["traded"], case["offered"]),
        "charge_recovery": kpis.charge_recovery(case["network_revenue"], case["network_cost"]),
        "value_tapping": kpis.value_tapping(
            sum(case["cost_p2p"]), sum(case["cost_conv"]), case["cost_opt"]
        ),
        "energy_balance": kpis.energy_balance(load - generation),
        "flatness": kpis.flatness(net),
    }


ADAPTERS = {"N_kpi": figures}
