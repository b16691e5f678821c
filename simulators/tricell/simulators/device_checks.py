"""Checks of device fleets that name the device, and the power band that fleets hand to markets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sized
from dataclasses import dataclass

import numpy as np

from tricell.errors import DataError, SimulatorError
from tricell.simulators.population import BoolArray, FloatArray, IntArray

POWER_TOLERANCE = 1e-6
"""Share of a rating by which a power or an energy may overshoot and still count as rounding: what
the solver of a market leaves."""


@dataclass(frozen=True)
class PowerBand:
    """What a market may do with each device in a slot, arrays of shape (n_device,).

    Attributes
    ----------
    lowest_kw, highest_kw : float64
        Least and largest power at the terminals, kW, positive when consumed; the least is below
        zero where a device may give energy back. Any power between them keeps the promise of the
        device (a need, a comfort band) within reach.
    """

    lowest_kw: FloatArray
    highest_kw: FloatArray


@dataclass(frozen=True)
class NamedDevices:
    """Devices that errors call by name.

    Attributes
    ----------
    kind : str
        What they are, such as ``electric vehicle``.
    names : tuple of str
        One per device.

    Examples
    --------
    >>> size = np.array([40.0, 0.0])
    >>> NamedDevices("battery", ("a", "b")).require("energy_kwh", size, size > 0, "above 0")
    Traceback (most recent call last):
    tricell.errors.DataError: battery 'b': energy_kwh is 0; allowed is above 0
    """

    kind: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, kind: str, names: tuple[str, ...], table: Mapping[str, Sized]) -> NamedDevices:
        """Take the columns of a fleet, ``name`` among them; refuse those that do not fit together.

        Raises
        ------
        DataError
            If a column has another length than the names, or if a name occurs twice.
        """
        devices = cls(kind, names)
        devices.require_columns(table)
        return devices

    def require(
        self, quantity: str, values: FloatArray | IntArray, good: BoolArray, allowed: str
    ) -> None:
        """Refuse a device whose value is not good.

        Parameters
        ----------
        quantity : name of the value with its unit.
        values, good : arrays of shape (n_device,).
        allowed : what is allowed, in words.

        Raises
        ------
        DataError
            Naming the first device that is not good.
        """
        if not good.all():
            row = int(np.argmin(good))
            raise DataError(
                f"{self.kind} {self.names[row]!r}: {quantity} is {values[row]:g}; allowed is "
                f"{allowed}"
            )

    def require_columns(self, columns: Mapping[str, Sized]) -> None:
        """Refuse columns of another length than the names, and names that occur twice."""
        for column, values in columns.items():
            if len(values) != len(self.names):
                raise DataError(
                    f"{self.kind}s: the column {column} has {len(values)} entries for "
                    f"{len(self.names)} names; every device needs one"
                )
        if len(set(self.names)) < len(self.names):
            twice = Counter(self.names).most_common(1)[0][0]
            raise DataError(f"{self.kind} {twice!r} occurs more than once; names must be unique")

    def require_positive(self, **columns: FloatArray) -> None:
        """Refuse values that are not finite numbers above 0."""
        for quantity, values in columns.items():
            good = np.isfinite(values) & (values > 0)
            self.require(quantity, values, good, "a finite number above 0")

    def require_not_negative(self, **columns: FloatArray) -> None:
        """Refuse values that are not finite numbers of at least 0."""
        for quantity, values in columns.items():
            good = np.isfinite(values) & (values >= 0)
            self.require(quantity, values, good, "a finite number of at least 0")

    def require_share(self, **columns: FloatArray) -> None:
        """Refuse values that are not above 0 and at most 1."""
        for quantity, values in columns.items():
            good = (values > 0) & (values <= 1)
            self.require(quantity, values, good, "above 0 and at most 1")

    def refuse_power(self, power_kw: FloatArray, good: BoolArray, why: str) -> None:
        """Refuse set-points that a device cannot carry out.

        Raises
        ------
        SimulatorError
            Naming the first device and its power.
        """
        if not good.all():
            row = int(np.argmin(good))
            raise SimulatorError(
                f"{self.kind} {self.names[row]!r} cannot run at {power_kw[row]:g} kW: {why}. "
                "Whoever sets its power must keep to its power band."
            )


def require_hours(hours: float) -> None:
    """Refuse a length of the slots that is not above 0."""
    if not 0 < hours < np.inf:
        raise DataError(f"slots last {hours:g} h; allowed is a finite number above 0")
