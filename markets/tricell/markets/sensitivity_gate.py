"""A gate before delivery: trades one by one, each only if the network can carry it.

In the order of the book, with the resistance ``R_nm`` that the paths of two nodes to the root
have in common (ohm), a trade of ``q`` kW changes voltages (V) and flows (kW) by::

    dV_n = 10^3 (R_n,seller - R_n,buyer) q / V
    dP_l = +q on the way from the root to the buyer, -q on the way to the seller

If the new state breaks any limit the trade is refused and its orders go back to the book;
otherwise the new state is what the next trade is checked against. A state that already breaks a
limit lets only trades pass after which no limit is broken any more.

Source: Guerrero, Chapman and Verbic 2019, Decentralized P2P energy trading under network
constraints in a low-voltage network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

W_PER_KW = 1e3
LIMIT_TOLERANCE = 1e-9
"""By which rounding may exceed a limit, V or kW."""


@dataclass(frozen=True)
class GateLimits:
    """Limits of a network: largest flow per branch (kW, L) and voltage per node (V, N)."""

    cap_kw: Floats
    v_min: Floats
    v_max: Floats


@dataclass(frozen=True)
class NetworkState:
    """State of a network: flow per branch (kW, away from the root) and voltage per node (V)."""

    flow_kw: Floats
    voltage: Floats

    def keeps(self, limits: GateLimits) -> bool:
        """Whether no limit is broken."""
        return bool(
            (np.abs(self.flow_kw) <= limits.cap_kw + LIMIT_TOLERANCE).all()
            and (self.voltage <= limits.v_max + LIMIT_TOLERANCE).all()
            and (self.voltage >= limits.v_min - LIMIT_TOLERANCE).all()
        )


@dataclass(frozen=True)
class GateResult:
    """Which trades pass (K), and the state after them."""

    accepted: NDArray[np.bool_]
    state: NetworkState


def pass_gate(
    paths: Floats,
    resistance_ohm: Floats,
    limits: GateLimits,
    state: NetworkState,
    *,
    seller: Indices,
    buyer: Indices,
    power_kw: Floats,
    voltage: float,
) -> GateResult:
    """Check trades in the order of the book.

    Parameters
    ----------
    paths : from the root to every node (`trade_paths.root_paths`), shape (N, L).
    resistance_ohm : of every branch, shape (L,).
    limits, state : limits, and the state before any trade.
    seller, buyer : node of either side of every trade, shape (K,).
    power_kw : of every trade, shape (K,).
    voltage : nominal, line to line, V.
    """
    shared = (paths * resistance_ohm) @ paths.T
    accepted = np.zeros(len(power_kw), np.bool_)
    for k, (source, sink, power) in enumerate(zip(seller, buyer, power_kw, strict=True)):
        rise = W_PER_KW * (shared[:, source] - shared[:, sink]) * power / voltage
        moved = NetworkState(
            state.flow_kw + (paths[sink] - paths[source]) * power, state.voltage + rise
        )
        accepted[k] = moved.keeps(limits)
        if accepted[k]:
            state = moved
    return GateResult(accepted, state)
