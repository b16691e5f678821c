"""Losses of a radial network, and who causes them.

With the withdrawals ``w_n`` (kW, negative injects), the path from the root ``R_nl`` (1 where
branch l lies above node n), resistances ``r_l`` (ohm) and the voltage ``V`` (V)::

    flow       P_l = sum_n R_nl w_n                          losses themselves are neglected
    loss       L_l = r_l (10^3 P_l)^2 / V^2 / 10^3           kW
    marginal   m_n = sum_l R_nl 2 r_l P_l 10^3 / V^2         kW of losses per kW withdrawn

    pro rata   a_n = L |w_n| / sum_m |w_m|
    marginal   a_n = m_n w_n s, with s such that sum_n a_n = L = sum_l L_l

``a`` by the marginal rule is negative for whoever lowers the losses.

Where lines are not known but meters are, `FeederLosses` reads an area as one feeder on which the
customers hang by their distance from its connection; see there.

Source: Baran and Wu 1989, Network reconfiguration in distribution systems for loss reduction and
load balancing (losses along a feeder).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

W_PER_KW = 1e3


def path_flows_kw(paths: Floats, withdrawal_kw: Floats) -> Floats:
    """Return the flow on every branch, kW.

    Parameters
    ----------
    paths : from the root to every node (`trade_paths.root_paths`), shape (N, L).
    withdrawal_kw : shape (..., N), negative injects.
    """
    return np.asarray(withdrawal_kw @ paths)


def branch_losses_kw(flow_kw: Floats, resistance_ohm: Floats, voltage: float) -> Floats:
    """Return the loss of every branch, kW.

    Parameters
    ----------
    flow_kw : shape (..., L).
    resistance_ohm : shape (L,).
    voltage : nominal, line to line, V.
    """
    return np.asarray(resistance_ohm * (W_PER_KW * flow_kw / voltage) ** 2 / W_PER_KW)


def marginal_loss_factors(
    paths: Floats, flow_kw: Floats, resistance_ohm: Floats, voltage: float
) -> Floats:
    """Return what one more kW withdrawn at each node adds to the losses, kW per kW, shape (..., N).

    Parameters
    ----------
    paths : from the root to every node, shape (N, L).
    flow_kw : on every branch, shape (..., L).
    resistance_ohm, voltage : as in `branch_losses_kw`.
    """
    per_branch = 2.0 * resistance_ohm * flow_kw * W_PER_KW / voltage**2
    return np.asarray(per_branch @ paths.T)


def share_pro_rata(total: float, weight: Floats) -> Floats:
    """Return shares of a total in proportion to the size of weights; zeros if all are zero.

    Examples
    --------
    >>> share_pro_rata(0.6, np.array([1.0, -2.0])).round(9).tolist()
    [0.2, 0.4]
    """
    size = np.abs(weight)
    whole = float(size.sum())
    return np.asarray(total * size / whole) if whole > 0.0 else np.zeros_like(size)


def share_by_margin(total: float, factor: Floats, withdrawal_kw: Floats) -> Floats:
    """Return shares of a total in proportion to factor times withdrawal; they may be negative.

    Without any loss at the margin all shares are zero.
    """
    cause = factor * withdrawal_kw
    whole = float(cause.sum())
    return np.asarray(total * cause / whole) if whole != 0.0 else np.zeros_like(cause)


# --- areas whose lines are not known ---


@dataclass(frozen=True)
class FeederLosses:
    """What meters tell about the losses of one area, its N customers read as one feeder.

    Customers hang on the feeder by their distance ``d_n`` from the area's connection, so the
    path of two customers to the connection has ``min(d_n, d_m)`` in common::

        flow beyond distance s    P(s) = sum of w_n with d_n > s
        shape of the losses       Q_t  = integral of P_t(s)^2 ds
        marginal factor           m_tn = 2 k integral from 0 to d_n of P_t(s) ds
        fit                       k    = sum_t L_t / sum_t Q_t

    One number ``k`` for each area and period, so that factors stay bounded in slots whose flows
    cancel; in every slot ``sum_n m_tn w_tn = 2 k Q_t``.

    Attributes
    ----------
    factor : marginal loss factor, kW per kW, shape (T, N).
    explained_kw : ``k Q_t``, shape (T,); over all slots as much as was measured.
    """

    factor: Floats
    explained_kw: Floats


def fit_feeder_losses(withdrawal_kw: Floats, distance: Floats, loss_kw: Floats) -> FeederLosses:
    """Fit the losses of an area to its meters.

    Parameters
    ----------
    withdrawal_kw : shape (T, N), negative injects.
    distance : of every customer from the area's connection, at least 0, shape (N,). Where all
        are 0 they count as equal.
    loss_kw : losses of the area, shape (T,).

    Examples
    --------
    >>> fitted = fit_feeder_losses(np.array([[2.0, 1.0]]), np.array([1.0, 2.0]), np.array([1.0]))
    >>> fitted.factor.round(9).tolist(), fitted.explained_kw.tolist()
    ([[0.6, 0.8]], [1.0])
    """
    away = distance if (distance > 0.0).any() else np.ones_like(distance)
    order = np.argsort(away, kind="stable")
    length = np.diff(away[order], prepend=0.0)
    beyond = np.cumsum(withdrawal_kw[:, order][:, ::-1], axis=1)[:, ::-1]
    shape = (beyond**2) @ length
    whole = float(shape.sum())
    scale = float(loss_kw.sum()) / whole if whole > 0.0 else 0.0
    factor = np.empty_like(withdrawal_kw)
    factor[:, order] = 2.0 * scale * np.cumsum(beyond * length, axis=1)
    return FeederLosses(factor, scale * shape)


def members_below(area: Indices, area_parent: Indices) -> NDArray[np.bool_]:
    """Return which customers are members of each area or of one below it, shape (A, N).

    Parameters
    ----------
    area : row of the area of every customer, shape (N,).
    area_parent : row of the area above each, -1 at the top, shape (A,).
    """
    below = np.zeros((len(area_parent), len(area)), np.bool_)
    at = area.copy()
    for _ in range(len(area_parent)):
        here = np.flatnonzero(at >= 0)
        if not len(here):
            break
        below[at[here], here] = True
        at[here] = area_parent[at[here]]
    return below


def distance_in_area(distance: Floats, own: NDArray[np.bool_]) -> Floats:
    """Return how far every customer is from the connection of an area, shape (N,).

    Customers of areas below hang where lines are not known; they count at the mean distance of
    the area's own customers, at 0 without any.

    Parameters
    ----------
    distance : of every customer from the connection of the own area, shape (N,).
    own : whether it is a member of the area itself, shape (N,).
    """
    mean = float(distance[own].mean()) if own.any() else 0.0
    return np.where(own, distance, mean)
