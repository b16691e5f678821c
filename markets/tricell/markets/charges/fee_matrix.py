"""A fee on every traded kWh by the cluster it comes from and the cluster it goes to.

Clusters are areas, or groups of areas, that lie side by side; what lies below an area belongs to
its cluster. The table ``f_ij`` states the fee from cluster i to cluster j. A pooled market does not
know who trades with whom, only what crosses borders, so the table must have the form::

    f_ij = exit_i + entry_j + local      i != j, and i = j between separate areas of one cluster
    f_ii = local                         inside one area, the same for all clusters

solved by least squares. Of all solutions it is the one with the smallest exit and entry fees,
which gives either side half of a symmetric table. A pair that misses by more than 1e-9 EUR/kWh is
refused, and so are ``exit_i + entry_j < 0`` of any two clusters, the same one too: who leaves and
comes back must not earn. Three clusters have the form if
``f_12 + f_23 + f_31 = f_13 + f_32 + f_21``.

Energy from and to the retailer crosses the borders as well, and pays entry and exit. Areas of no
cluster are passed through and pay only ``local``. In bands of the local clock other tables hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from tricell.errors import MarketError
from tricell.markets.charge import (
    AboutCharge,
    Bools,
    Calendar,
    Customers,
    EnergyRates,
    Floats,
    Indices,
    SlotCharge,
)
from tricell.markets.time_windows import Window, band_shares, check_bands

ABOUT = AboutCharge(
    name="fee_matrix",
    line="A fee on every traded kWh by the cluster it comes from and the one it goes to.",
    base="kWh that cross borders of clusters",
    source="Cluster-to-cluster tariffs in the sense of Baroche et al. 2019, Exogenous cost "
    "allocation in peer-to-peer electricity markets (zonal)",
)

PLAIN = "outside all windows"
LARGEST_MISMATCH = 1e-9
"""EUR/kWh by which entry and exit fees may miss the table."""
NO_CLUSTER = -1

Table = dict[str, dict[str, float]]


class FeeMatrix(SlotCharge):
    """A fee from cluster to cluster."""

    RATES: ClassVar[tuple[str, ...]] = ("fees_eur_per_kwh", "bands")

    kind: Literal["fee_matrix"] = "fee_matrix"
    clusters: dict[str, tuple[str, ...]]
    """Areas of every cluster, by their ids; what lies below them belongs to the cluster."""
    fees_eur_per_kwh: Table
    """Fee from each cluster (outer name) to each cluster (inner name), EUR/kWh; all pairs."""
    bands: dict[str, Table] = Field(default_factory=dict)
    """Other tables by the name of a band, EUR/kWh (none)."""
    windows: tuple[Window, ...] = ()
    """When the bands hold, by local time; outside all of them the table above holds (none)."""

    _named: tuple[tuple[int, ...], ...] | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.customers:
            raise ValueError(
                "a fee between clusters holds for everybody who trades; leave `customers` empty"
            )
        check_bands(self.windows, (*self.bands, PLAIN), PLAIN)
        for band, table in ((PLAIN, self.fees_eur_per_kwh), *self.bands.items()):
            _check_table(table, tuple(self.clusters), band)
        owner: dict[str, str] = {}
        for cluster, areas in self.clusters.items():
            if not areas:
                raise ValueError(f"cluster {cluster!r} has no area; name one, or drop the cluster")
            for area in areas:
                if area in owner:
                    raise ValueError(
                        f"area {area!r} is in the clusters {owner[area]!r} and {cluster!r}; "
                        "allowed is one cluster for each area"
                    )
                owner[area] = cluster
        return self

    def resolved(self, area_ids: Sequence[str]) -> Self:
        """Return the charge with its areas found in the grid.

        Parameters
        ----------
        area_ids : id of every area, in the order of the grid's areas.

        Raises
        ------
        MarketError
            If a cluster names an area that does not exist.
        """
        row = {name: place for place, name in enumerate(area_ids)}
        for cluster, areas in self.clusters.items():
            for area in areas:
                if area not in row:
                    raise MarketError(
                        f"charge {self.label!r}: cluster {cluster!r} names the area {area!r}, "
                        f"which does not exist; areas here: {', '.join(area_ids)}"
                    )
        found = self.model_copy()
        found._named = tuple(tuple(row[area] for area in areas) for areas in self.clusters.values())
        return found

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return entry and exit fees of every area, and the fee inside one.

        Raises
        ------
        MarketError
            If the areas are not resolved yet, clusters contain each other, or no entry and exit
            fees have the form of the table.
        """
        cluster, border, separate = self._borders(customers.area_parent)
        tables = (*self.bands.values(), self.fees_eur_per_kwh)
        fees = [self._entry_and_exit(self._table(table), separate) for table in tables]
        at_border = np.where(border, cluster, NO_CLUSTER)

        def of_areas(of_clusters: Floats) -> Floats:
            # The appended fee of 0 is that of areas without a border.
            return np.asarray(np.append(of_clusters, 0.0)[at_border])

        exits = np.array([of_areas(leaving) for leaving, _, _ in fees])
        entries = np.array([of_areas(entering) for _, entering, _ in fees])
        local = np.array([[inside, inside, inside, 0.0] for _, _, inside in fees])
        if self.bands:
            names = (*self.bands, PLAIN)
            shares = band_shares(calendar, self.windows, names, PLAIN)
            exits, entries, local = shares @ exits, shares @ entries, shares @ local
        return EnergyRates.of(by_source=local, entry=entries, exit=exits)

    def _borders(self, area_parent: Indices) -> tuple[Indices, Bools, Bools]:
        """Return the cluster of every area, which areas have a border, which clusters several."""
        if self._named is None:
            raise MarketError(
                f"charge {self.label!r}: its areas are not resolved; call `resolved` with the ids "
                "of the grid's areas first"
            )
        named = np.full(len(area_parent), NO_CLUSTER, np.int64)
        for number, areas in enumerate(self._named):
            named[list(areas)] = number
        cluster, names = named.copy(), tuple(self.clusters)
        # Parents come before their children.
        for area, parent in enumerate(area_parent.tolist()):
            above = NO_CLUSTER if parent < 0 else int(cluster[parent])
            if NO_CLUSTER not in (named[area], above) and named[area] != above:
                raise MarketError(
                    f"charge {self.label!r}: cluster {names[above]!r} contains an area of cluster "
                    f"{names[named[area]]!r}; allowed are clusters side by side. Name the areas "
                    "of the lower level one by one."
                )
            cluster[area] = above if named[area] == NO_CLUSTER else named[area]
        inherits = (area_parent >= 0) & (cluster[area_parent] == cluster)
        border = (cluster != NO_CLUSTER) & ~inherits & (area_parent >= 0)
        count = np.bincount(cluster[border], minlength=len(names))
        return cluster, border, np.asarray(count > 1)

    def _table(self, table: Mapping[str, Mapping[str, float]]) -> Floats:
        names = tuple(self.clusters)
        return np.array([[table[start][end] for end in names] for start in names])

    def _entry_and_exit(self, table: Floats, separate: Bools) -> tuple[Floats, Floats, float]:
        names = tuple(self.clusters)
        inside = np.diagonal(table)
        other = int(np.argmax(np.abs(inside - inside[0])))
        if abs(inside[other] - inside[0]) > LARGEST_MISMATCH:
            raise MarketError(
                f"charge {self.label!r}: the fee inside cluster {names[0]!r} is {inside[0]:g} and "
                f"inside {names[other]!r} {inside[other]:g} EUR/kWh. What is traded inside an area "
                "crosses no border, so it must be the same for all clusters; make it so, and bill "
                "differences by a `level_fee` or `volumetric` of some customers."
            )
        local = float(inside[0])
        crossing = ~np.eye(len(names), dtype=np.bool_) | np.diag(separate)
        exits, entries = exit_and_entry(table - local, crossing)
        self._check_form(exits[:, None] + entries + local, table, crossing)
        circle = exits[:, None] + entries
        i, j = np.unravel_index(int(np.argmin(circle)), circle.shape)
        if circle[i, j] < -LARGEST_MISMATCH:
            raise MarketError(
                f"charge {self.label!r}: who leaves cluster {names[i]!r} and enters cluster "
                f"{names[j]!r} would earn {-circle[i, j]:g} EUR/kWh, for any amount of energy. "
                f"Raise the fees from {names[i]!r} or those to {names[j]!r}."
            )
        return exits, entries, local

    def _check_form(self, reached: Floats, table: Floats, crossing: Bools) -> None:
        names = tuple(self.clusters)
        miss = np.where(crossing, np.abs(reached - table), 0.0)
        i, j = np.unravel_index(int(np.argmax(miss)), miss.shape)
        if miss[i, j] > LARGEST_MISMATCH:
            raise MarketError(
                f"charge {self.label!r}: in a pooled market a fee is one for leaving a cluster "
                f"plus one for entering another. The table has not this form: from {names[i]!r} "
                f"to {names[j]!r} it states {table[i, j]:.6g} EUR/kWh, and the nearest such fees "
                f"come to {reached[i, j]:.6g}, {miss[i, j]:.3g} away. Around every circle of "
                "clusters the fees must add up to the same both ways; change them so, or take "
                "`level_fee`."
            )


def exit_and_entry(table: Floats, pairs: Bools | None = None) -> tuple[Floats, Floats]:
    """Return the exit and entry fees that come nearest to a table, by least squares.

    Parameters
    ----------
    table : fee from each cluster to each, EUR/kWh, shape (C, C).
    pairs : pairs that count, shape (C, C); None for all.

    Returns
    -------
    tuple of float64, shape (C,)
        Exit and entry fee of every cluster, the smallest among equals.

    Examples
    --------
    >>> off_diagonal = ~np.eye(2, dtype=bool)
    >>> leave, enter = exit_and_entry(np.array([[0.0, 0.02], [0.04, 0.0]]), off_diagonal)
    >>> leave.round(9).tolist(), enter.round(9).tolist()
    ([0.01, 0.02], [0.02, 0.01])
    """
    count = len(table)
    start, end = np.nonzero(np.ones((count, count), np.bool_) if pairs is None else pairs)
    if not len(start):
        return np.zeros(count), np.zeros(count)
    form = np.zeros((len(start), 2 * count))
    row = np.arange(len(start))
    form[row, start] = 1.0
    form[row, count + end] = 1.0
    fees = np.linalg.lstsq(form, table[start, end], rcond=None)[0]
    return np.asarray(fees[:count], np.float64), np.asarray(fees[count:], np.float64)


def _check_table(table: Table, clusters: tuple[str, ...], band: str) -> None:
    for start in clusters:
        for end in clusters:
            if end not in table.get(start, {}):
                raise ValueError(
                    f"the table ({band}) has no fee from {start!r} to {end!r}; all pairs of the "
                    f"clusters {', '.join(clusters)} need one, also inside a cluster"
                )
    for start, row in table.items():
        for name in (start, *row):
            if name not in clusters:
                raise ValueError(
                    f"the table ({band}) names the cluster {name!r}, which has no areas; clusters: "
                    f"{', '.join(clusters)}"
                )
