r"""Curtailable PV inverters with a fixed power factor or a Q(U) characteristic.

Power has the sign of generators: active power and reactive power are positive when generated, so
that an inverter that absorbs reactive power to hold the voltage down has :math:`q < 0`.

With a rated apparent power :math:`S`, available power :math:`p_a` and an upper limit from the
market or the network operator:

.. math:: p_0 = \min(p_a, \text{limit}, S), \quad
    |q| \le \min(p_0 \tan\varphi, S \sin\varphi), \quad p^2 + q^2 \le S^2

where :math:`\cos\varphi` is the power factor. What the last condition cuts off is reactive power
if active power comes first, and active power if reactive power comes first. Power factor control
asks for :math:`\mp p_0 \tan\varphi`; voltage control for :math:`S` times a piecewise linear
function of the voltage [1]_ and keeps within the power factor. Without active power there is no
reactive power.

.. [1] VDE-AR-N 4105:2018-11, Generators connected to the low-voltage distribution network,
   section 5.7.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from tricell.errors import DataError
from tricell.simulators.device_checks import NamedDevices
from tricell.simulators.population import BoolArray, FloatArray, IntArray

KIND = "inverter"
SMALL_KVA = 4.6
"""Up to this apparent power VDE-AR-N 4105 asks for a power factor of 0.95, above it for 0.90."""
POWER_FACTOR_SMALL, POWER_FACTOR_LARGE = 0.95, 0.90
Q_OF_U_VOLTAGE_PU = (0.93, 0.97, 1.03, 1.07)
"""Corners of the standard characteristic: all reactive power generated up to the first, none
between the middle two, all absorbed from the last one on."""


class ReactiveControl(IntEnum):
    """What sets the reactive power; the codes are stable."""

    POWER_FACTOR = 0
    VOLTAGE = 1


@dataclass(frozen=True)
class Inverters:
    """Ratings and settings of inverters, arrays of shape (n_inverter,).

    Attributes
    ----------
    name : tuple of str
        Unique names, for errors.
    agent : int64
        Row of the owner in the table of agents.
    rated_kva : float64
        Rated apparent power, kVA, above 0.
    control : int64
        Codes of `ReactiveControl`.
    power_factor : float64
        The one that is held, or with voltage control the least one; above 0 and at most 1.
    absorbs : bool
        With power factor control: whether reactive power is absorbed (under-excited).
    reactive_first : bool
        Whether active power gives way where both do not fit.
    voltage_pu : float64, shape (n_inverter, n_point)
        Corners of the characteristic, pu, rising.
    reactive_share : float64, shape (n_inverter, n_point)
        Reactive power at the corners as a share of `rated_kva`, from -1 to 1, never rising.

    Raises
    ------
    DataError
        If a value is not allowed; the inverter is named.
    """

    name: tuple[str, ...]
    agent: IntArray
    rated_kva: FloatArray
    control: IntArray
    power_factor: FloatArray
    absorbs: BoolArray
    reactive_first: BoolArray
    voltage_pu: FloatArray
    reactive_share: FloatArray

    def __post_init__(self) -> None:
        check = NamedDevices.of(KIND, self.name, vars(self))
        check.require_positive(rated_kva=self.rated_kva)
        check.require_share(power_factor=self.power_factor)
        known = np.isin(self.control, list(ReactiveControl))
        allowed = "0 (power factor) or 1 (voltage)"
        check.require("control", self.control, known, allowed)
        if self.voltage_pu.ndim != 2 or self.voltage_pu.shape != self.reactive_share.shape:
            raise DataError(
                f"{KIND}s: voltage_pu and reactive_share need one row per inverter and one column "
                f"per corner, but have the shapes {self.voltage_pu.shape} and "
                f"{self.reactive_share.shape}"
            )
        step = np.diff(self.voltage_pu, axis=1).min(axis=1, initial=np.inf)
        rise = "above 0: the voltages of the characteristic rise"
        check.require("least step of voltage_pu", step, step > 0, rise)
        climb = np.diff(self.reactive_share, axis=1).max(axis=1, initial=-np.inf)
        fall = "at most 0: more voltage never asks for more reactive power"
        check.require("largest rise of reactive_share", climb, climb <= 0, fall)
        size = np.abs(self.reactive_share).max(axis=1, initial=0.0)
        check.require("largest reactive_share", size, size <= 1, "from -1 to 1")

    def __len__(self) -> int:
        return len(self.name)


def least_power_factor(rated_kva: FloatArray) -> FloatArray:
    """Return the power factor that VDE-AR-N 4105 asks inverters of a size for."""
    return np.where(rated_kva <= SMALL_KVA, POWER_FACTOR_SMALL, POWER_FACTOR_LARGE)


def standard_characteristic(power_factor: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the standard Q(U) characteristic of inverters that reach a power factor.

    Parameters
    ----------
    power_factor : float64, shape (n_inverter,)
        Least power factor at rated apparent power.

    Returns
    -------
    voltage_pu, reactive_share : float64, shape (n_inverter, 4)
        For `Inverters`.

    Examples
    --------
    >>> standard_characteristic(np.array([0.9]))[1].round(3)
    array([[ 0.436,  0.   , -0.   , -0.436]])
    """
    most = np.sqrt(1.0 - power_factor**2)
    voltage = np.tile(Q_OF_U_VOLTAGE_PU, (len(power_factor), 1))
    return voltage, most[:, None] * np.array([1.0, 0.0, -0.0, -1.0])


def characteristic_share(inverters: Inverters, voltage_pu: FloatArray) -> FloatArray:
    """Return the reactive power that the characteristic asks for, as a share of rated power.

    Parameters
    ----------
    inverters : Inverters
    voltage_pu : float64, shape (..., n_inverter)
        Voltage at the terminals, pu.

    Returns
    -------
    float64, shape (..., n_inverter)
        Positive when generated.
    """
    corner, share = inverters.voltage_pu, inverters.reactive_share
    asked = np.broadcast_to(share[:, 0], voltage_pu.shape).copy()
    for left in range(corner.shape[1] - 1):
        width = corner[:, left + 1] - corner[:, left]
        way = np.clip((voltage_pu - corner[:, left]) / width, 0.0, 1.0)
        asked += way * (share[:, left + 1] - share[:, left])
    return asked


@dataclass(frozen=True)
class InverterPower:
    """What inverters feed in, arrays of the shape of the available power.

    Attributes
    ----------
    p_kw : float64
        Active power, kW, positive when generated.
    q_kvar : float64
        Reactive power, kvar, positive when generated.
    curtailed_kw : float64
        Available power that is not fed in, kW: ``p_kw + curtailed_kw`` is what is available.
    """

    p_kw: FloatArray
    q_kvar: FloatArray
    curtailed_kw: FloatArray


def inverter_power(
    inverters: Inverters,
    available_kw: FloatArray,
    voltage_pu: FloatArray,
    limit_kw: FloatArray | float = np.inf,
) -> InverterPower:
    """Return active and reactive power of inverters.

    Parameters
    ----------
    inverters : Inverters
    available_kw : float64, shape (..., n_inverter)
        What the modules give, kW, at least 0.
    voltage_pu : float64, shape (..., n_inverter)
        Voltage at the terminals, pu; used with voltage control only.
    limit_kw : float64, shape (..., n_inverter) or float
        Largest active power that a market or the network operator allows, kW, at least 0.

    Returns
    -------
    InverterPower

    Raises
    ------
    DataError
        If available power or a limit is negative; the inverter is named.
    """
    limit = np.broadcast_to(limit_kw, available_kw.shape)
    for quantity, values in (("available_kw", available_kw), ("limit_kw", limit)):
        least = values.reshape(-1, len(inverters)).min(axis=0, initial=np.inf)
        NamedDevices(KIND, inverters.name).require(quantity, least, least >= 0, "at least 0 kW")
    rated, cosine = inverters.rated_kva, inverters.power_factor
    sine = np.sqrt(1.0 - cosine**2)
    wanted_kw = np.minimum(np.minimum(available_kw, limit), rated)
    asked = _asked_kvar(inverters, wanted_kw * sine / cosine, voltage_pu)
    most = np.minimum(wanted_kw * sine / cosine, rated * sine)
    reactive = np.clip(asked, -most, most)
    left_kvar = np.sqrt(np.maximum(rated**2 - wanted_kw**2, 0.0))
    left_kw = np.sqrt(np.maximum(rated**2 - reactive**2, 0.0))
    first = inverters.reactive_first
    p_kw = np.where(first, np.minimum(wanted_kw, left_kw), wanted_kw)
    q_kvar = np.where(first, reactive, np.clip(reactive, -left_kvar, left_kvar))
    return InverterPower(p_kw, q_kvar, available_kw - p_kw)


def _asked_kvar(
    inverters: Inverters, at_power_factor_kvar: FloatArray, voltage_pu: FloatArray
) -> FloatArray:
    """Return the reactive power that the control asks for, before any limit, kvar."""
    held = np.where(inverters.absorbs, -at_power_factor_kvar, at_power_factor_kvar)
    by_voltage = characteristic_share(inverters, voltage_pu) * inverters.rated_kva
    return np.where(inverters.control == ReactiveControl.VOLTAGE, by_voltage, held)
