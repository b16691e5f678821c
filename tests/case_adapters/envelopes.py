"""Cases of the operating envelopes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.markets.operating_envelopes import (
    equal_envelopes,
    max_total_envelopes,
    proportional_envelopes,
)

RULES = {
    "equal": equal_envelopes,
    "proportional": proportional_envelopes,
    "max_total": max_total_envelopes,
}


def envelopes(case: dict[str, Any]) -> dict[str, Any]:
    voltage = np.array(case["v0"], dtype=float)
    importing = case.get("v_max") is None
    margin = voltage - case["v_min"] if importing else case["v_max"] - voltage
    sensitivity = np.array(case["sens"], dtype=float)
    caps = case.get("cap") or [None] * sensitivity.shape[1]
    cap = np.array([np.inf if value is None else value for value in caps])
    limits = RULES[case["rule"]](margin, sensitivity, cap)
    return {"limits": limits.tolist(), "total": float(limits.sum())}


ADAPTERS = {"G2_doe": envelopes}
