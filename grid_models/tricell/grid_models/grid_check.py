"""Look a network over before a run: what is wrong, what is missing, what is assumed instead.

Errors stop a run. Warnings say which limit is not enforced or which value is assumed; they go
into the results file.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandapower as pp
from numpy.typing import NDArray

from tricell.grid_models.area_tree import buses_with_injection, element_name, find_islands
from tricell.grid_models.electrical_grid import (
    DEFAULT_VM_MAX_PU,
    DEFAULT_VM_MIN_PU,
    UNSUPPORTED_TABLES,
    column_or,
    line_rating_ka,
    trafo_rating_mva,
)
from tricell.grid_models.findings import GridFinding, Severity

__all__ = ["GridFinding", "check_grid"]

MAX_NAMES_IN_A_FINDING = 5


def check_grid(net: pp.pandapowerNet) -> list[GridFinding]:
    """Check a network.

    Parameters
    ----------
    net : pandapowerNet
        It is not changed.

    Returns
    -------
    list of GridFinding
        Errors first; empty if there is nothing to say.
    """
    checks = (
        _external_grid,
        _islands,
        _unsupported_elements,
        _zero_impedance_lines,
        _line_ratings,
        _trafo_ratings,
        _voltage_limits,
        _voltage_dependent_loads,
        _voltage_controlled_generators,
        _unbalanced_elements,
    )
    findings = [finding for check in checks for finding in check(net)]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def _external_grid(net: pp.pandapowerNet) -> Iterator[GridFinding]:
    if not _in_service(net, "ext_grid").any() and not _slack_generators(net).any():
        yield GridFinding(
            severity="error",
            table="ext_grid",
            row=-1,
            name="ext_grid",
            message="no external grid is in service",
            treatment="add one with pandapower.create_ext_grid where the grid above feeds in",
        )


def _islands(net: pp.pandapowerNet) -> Iterator[GridFinding]:
    injection = buses_with_injection(net)
    for rows in find_islands(net):
        used = bool(injection[rows].any())
        yield _about_rows(
            net,
            "bus",
            rows,
            severity="error" if used else "warning",
            message="no path to an external grid"
            + (", but loads or generation stand here" if used else ""),
            treatment="close a switch, set a line in service, or set the buses out of service"
            if used
            else "left out: nothing is connected there",
        )


def _unsupported_elements(net: pp.pandapowerNet) -> Iterator[GridFinding]:
    for table in UNSUPPORTED_TABLES:
        rows = np.flatnonzero(_in_service(net, table))
        if len(rows):
            yield _about_rows(
                net,
                table,
                rows,
                severity="error",
                message=f"elements of the table '{table}' cannot be modelled",
                treatment="set them out of service, or replace them by loads of the same power",
            )


def _zero_impedance_lines(net: pp.pandapowerNet) -> Iterator[GridFinding]:
    ohm = np.hypot(
        column_or(net.line, "r_ohm_per_km", 0.0), column_or(net.line, "x_ohm_per_km", 0.0)
    ) * column_or(net.line, "length_km", 0.0)
    rows = np.flatnonzero(_in_service(net, "line") & ~(ohm > 0.0))
    if len(rows):
        yield _about_rows(
            net,
            "line",
            rows,
            severity="error",
            message="the line has no impedance (or none is given)",
            treatment="give its length, r_ohm_per_km and x_ohm_per_km, or use a closed switch",
        )


def _line_ratings(net: pp.pandapowerNet) -> Iterator[GridFinding]:
    rows = np.flatnonzero(_in_service(net, "line") & ~np.isfinite(line_rating_ka(net)))
    if len(rows):
        yield _about_rows(
            net,
            "line",
            rows,
            severity="warning",
            message="max_i_ka is missing, not positive or a placeholder (9999 kA and more)",
            treatment="no thermal limit is enforced there",
        )


def _trafo_ratings(net: pp.pandapowerNet) -> Iterator[GridFinding]:
    windings = [column_or(net.trafo3w, f"sn_{side}_mva", np.nan) for side in ("hv", "mv", "lv")]
    rated = {
        "trafo": np.isfinite(trafo_rating_mva(net)),
        "trafo3w": np.min(windings, axis=0) > 0.0,
    }
    for table, has_rating in rated.items():
        rows = np.flatnonzero(_in_service(net, table) & ~has_rating)
        if len(rows):
            yield _about_rows(
                net,
                table,
                rows,
                severity="error",
                message="the rated power is missing or not positive",
                treatment="give sn_mva: impedance and loading of a transformer depend on it",
            )


def _voltage_limits(net: pp.pandapowerNet) -> Iterator[GridFinding]:
    low = column_or(net.bus, "min_vm_pu", np.nan)
    high = column_or(net.bus, "max_vm_pu", np.nan)
    live = _in_service(net, "bus")
    rows = np.flatnonzero(live & (np.isnan(low) | np.isnan(high)))
    if len(rows):
        yield _about_rows(
            net,
            "bus",
            rows,
            severity="warning",
            message="min_vm_pu or max_vm_pu is missing",
            treatment=f"{DEFAULT_VM_MIN_PU} to {DEFAULT_VM_MAX_PU} pu is used unless the scenario "
            "says otherwise",
        )
    rows = np.flatnonzero(live & (low > high))
    if len(rows):
        yield _about_rows(
            net,
            "bus",
            rows,
            severity="error",
            message="min_vm_pu is above max_vm_pu",
            treatment="correct the voltage limits",
        )


def _voltage_dependent_loads(net: pp.pandapowerNet) -> Iterator[GridFinding]:
    share = np.zeros(len(net.load))
    for name in net.load.columns:
        if name.startswith(("const_z", "const_i")):
            share += column_or(net.load, name, 0.0)
    rows = np.flatnonzero(_in_service(net, "load") & (share > 0.0))
    if len(rows):
        yield _about_rows(
            net,
            "load",
            rows,
            severity="warning",
            message="the load depends on the voltage (constant impedance or current)",
            treatment="it is treated as constant power",
        )


def _voltage_controlled_generators(net: pp.pandapowerNet) -> Iterator[GridFinding]:
    rows = np.flatnonzero(_in_service(net, "gen") & ~_slack_generators(net))
    if len(rows):
        yield _about_rows(
            net,
            "gen",
            rows,
            severity="warning",
            message="the generator holds a voltage",
            treatment="it runs at its fixed p_mw and takes no part in trading: its power is in no "
            "bill and in no area import; every power flow takes the slower Newton method. Use sgen "
            "to let it trade, and for speed",
        )
    rows = np.flatnonzero(_in_service(net, "xward"))
    if len(rows):
        yield _about_rows(
            net,
            "xward",
            rows,
            severity="warning",
            message="the extended ward holds a voltage",
            treatment="every power flow takes the slower Newton method",
        )


def _unbalanced_elements(net: pp.pandapowerNet) -> Iterator[GridFinding]:
    for table in ("asymmetric_load", "asymmetric_sgen"):
        rows = np.flatnonzero(_in_service(net, table))
        if len(rows):
            yield _about_rows(
                net,
                table,
                rows,
                severity="warning",
                message="the phases carry different powers",
                treatment="their sum is taken as a balanced, constant power",
            )


def _in_service(net: pp.pandapowerNet, table: str) -> NDArray[np.bool_]:
    elements = net[table] if table in net else net.bus.iloc[:0]
    return column_or(elements, "in_service", 1.0) > 0.0


def _slack_generators(net: pp.pandapowerNet) -> NDArray[np.bool_]:
    return _in_service(net, "gen") & (column_or(net.gen, "slack", 0.0) > 0.0)


def _about_rows(
    net: pp.pandapowerNet,
    table: str,
    rows: NDArray[np.int64],
    *,
    severity: Severity,
    message: str,
    treatment: str,
) -> GridFinding:
    """Make one finding for all elements with the same fault, naming the first few."""
    names = [element_name(net, table, int(row)) for row in rows[:MAX_NAMES_IN_A_FINDING]]
    rest = len(rows) - len(names)
    name = ", ".join(names) + (f" and {rest} more" if rest else "")
    return GridFinding(severity, table, int(rows[0]), name, message, treatment)
