"""Power of PV plants from the weather, by the models of pvlib.

From light on the level to the grid:

1. light on the modules, by the sky model of Hay and Davies (1980), with 20 % of the light from the
   ground reflected;
2. temperature of the modules, by Faiman (2008), for modules with air behind them;
3. direct current, by PVWatts (Dobos 2014, NREL/TP-6A20-62641): proportional to the light, less by
   `TEMPERATURE_LOSS_PER_K` for every kelvin above 25 degrees, and less by the losses;
4. alternating current, by PVWatts' inverter of `INVERTER_EFFICIENCY`, rated for the peak power of
   the modules.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tricell.scenarios.weather import fine_step_s, over_the_year, sky, slot_means, station

Floats = NDArray[np.float64]

USUAL_LOSSES = 0.14
"""Dirt, shade, mismatch, wires, age and downtime together, as PVWatts has them."""
TEMPERATURE_LOSS_PER_K = 0.0035
"""Of crystalline silicon modules, PVWatts' "premium"."""
INVERTER_EFFICIENCY = 0.96
"""At rated power, as PVWatts has it."""
STANDARD_LIGHT_W_PER_M2 = 1000.0


@lru_cache(maxsize=128)
def pv_power_over_the_year(
    region: int, tilt_deg: float, azimuth_deg: float, losses: float, step_s: int
) -> Floats:
    """Return the power of a PV plant per peak power, means of slots over a test reference year.

    Parameters
    ----------
    region : climate region, 1 to 15.
    tilt_deg : of the modules, 0 level to 90 upright.
    azimuth_deg : of the modules, from north over east: 180 faces south.
    losses : share of the direct current that is lost before the inverter, 0 to below 1.
    step_s : length of a slot, s.

    Returns
    -------
    float64, shape (365 days / step,)
        kW per kWp, at least 0, from new year UTC on.
    """
    # pvlib takes more than a second to import; few scenarios need it.
    from pvlib import inverter, irradiance, pvsystem, temperature  # noqa: PLC0415

    fine_s = fine_step_s(step_s)
    light, weather = sky(region, fine_s), station(region)
    on_modules = irradiance.get_total_irradiance(
        tilt_deg,
        azimuth_deg,
        light.zenith_deg,
        light.azimuth_deg,
        dni=light.normal_w_per_m2,
        ghi=light.direct_w_per_m2 + light.diffuse_w_per_m2,
        dhi=light.diffuse_w_per_m2,
        dni_extra=light.outside_w_per_m2,
        model="haydavies",
        albedo=0.2,
    )["poa_global"]
    module_c = temperature.faiman(
        on_modules,
        over_the_year(weather.temperature_c, fine_s),
        over_the_year(weather.wind_m_per_s, fine_s),
    )
    direct_kw = pvsystem.pvwatts_dc(on_modules, module_c, 1.0, -TEMPERATURE_LOSS_PER_K)
    power = inverter.pvwatts(
        direct_kw * (1.0 - losses), 1.0 / INVERTER_EFFICIENCY, INVERTER_EFFICIENCY
    )
    year = slot_means(np.maximum(power, 0.0), fine_s, step_s)
    year.flags.writeable = False
    return year
