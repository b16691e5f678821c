"""Populations of vehicles, heat pumps, appliances and inverters, drawn from stated distributions.

Each device has random numbers of its own by its name, and each quantity a stream of its own (see
`tricell.markets.random_streams`). So a device is the same with the same seed, however many others
are drawn; and the days of a vehicle are the same, however many days are asked for.

The distributions are data, each with its unit and source: `HOME_VEHICLES`, `HOME_HEATING`,
`APPLIANCES`, `ROOF_INVERTERS`; `dataclasses.replace` changes single ones. Charging
was measured on the profiles of home charging points in SimBench 1.6 (``HLS_*``, scenario 2, ODbL
1.0), in which a vehicle charges at full power as soon as it is plugged in: the start of charging
is the arrival, and the energy of a day is what the day's drives took.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tricell.errors import DataError
from tricell.markets.random_streams import AgentSlots, agent_numbers, uniforms
from tricell.simulators.distributions import (
    ASSUMED,
    Choice,
    Distribution,
    LogNormal,
    Normal,
    Uniform,
)
from tricell.simulators.electric_vehicles import ElectricVehicles, PlugWindows, VehicleFleet
from tricell.simulators.heat_pumps import (
    Buildings,
    HeatPumps,
    HeatSource,
    coefficient_of_performance,
)
from tricell.simulators.inverter import (
    Inverters,
    ReactiveControl,
    least_power_factor,
    standard_characteristic,
)
from tricell.simulators.population import FloatArray, IntArray
from tricell.simulators.shiftable_loads import ShiftableLoads

SIMBENCH_CHARGING = "measured on the HLS profiles of SimBench 1.6, scenario 2 (ODbL 1.0)"
SIMBENCH_CHARGERS = "home charging points in the complete data set of SimBench 1.6, scenario 2"
TABULA = "TABULA, German single-family house 1958-1968 (DE.N.SFH.05)"
ISO_13790 = "ISO 13790:2008, table 12"


@dataclass(frozen=True)
class Owners:
    """Who gets a device: names of the devices and rows of their owners, shape (n_device,)."""

    name: tuple[str, ...]
    agent: IntArray

    def drawn(self, seed: int, quantity: str, distribution: Distribution) -> FloatArray:
        """Return one value for each device, shape (n_device,)."""
        return distribution.at(self.uniforms(seed, quantity, 1)[0])

    def uniforms(self, seed: int, quantity: str, rows: int) -> FloatArray:
        """Return uniform numbers of each device, shape (rows, n_device)."""
        return uniforms(seed, f"device {quantity}", AgentSlots(agent_numbers(self.name), 0, rows))


@dataclass(frozen=True)
class RunTime:
    """The slots of a run.

    Attributes
    ----------
    slots : int
        How many, at least 1.
    hours : float
        Length of a slot, h; a day is a whole number of them.
    first_slot_of_day : int
        Slots between local midnight and the start of the run.
    """

    slots: int
    hours: float
    first_slot_of_day: int = 0

    def __post_init__(self) -> None:
        whole = self.hours > 0 and abs(24 / self.hours - round(24 / self.hours)) < 1e-9
        if self.slots < 1 or not whole or not 0 <= self.first_slot_of_day < round(24 / self.hours):
            raise DataError(
                f"run of {self.slots} slots of {self.hours:g} h from slot {self.first_slot_of_day} "
                "of the day on; allowed is at least one slot, whole numbers of them in a day, and "
                "a start within the day"
            )

    @property
    def slots_of_day(self) -> int:
        """Slots in a day."""
        return round(24 / self.hours)

    @property
    def days(self) -> int:
        """Days that the run touches."""
        return -(-(self.first_slot_of_day + self.slots) // self.slots_of_day)


@dataclass(frozen=True)
class VehicleDistributions:
    """What vehicles are drawn from.

    Attributes
    ----------
    charger_kw, battery_kwh : Distribution
    target_share : Distribution
        Energy wanted at departure as a share of the battery.
    charge_efficiency : Distribution
        Also that of giving back.
    charges_on_a_day : float
        Share of days on which a vehicle is plugged in at home.
    arrival_h : Distribution
        Hour of the day.
    departure_h : Distribution
        Hour of the next day.
    charged_kwh : Distribution
        Energy at the charger that a day's drives cost.
    reserve_share : float
        Share of the battery that a vehicle which gives back keeps.
    """

    charger_kw: Distribution
    battery_kwh: Distribution
    target_share: Distribution
    charge_efficiency: Distribution
    charges_on_a_day: float
    arrival_h: Distribution
    departure_h: Distribution
    charged_kwh: Distribution
    reserve_share: float


HOME_VEHICLES = VehicleDistributions(
    charger_kw=Choice((3.7, 11.0, 22.0), (0.625, 0.272, 0.103), "kW", SIMBENCH_CHARGERS),
    battery_kwh=Choice((40.0, 60.0, 80.0), (0.4, 0.4, 0.2), "kWh", ASSUMED),
    target_share=Choice((0.8, 1.0), (0.7, 0.3), "share of battery_kwh", ASSUMED),
    charge_efficiency=Uniform(0.88, 0.94, "1", ASSUMED),
    charges_on_a_day=0.477,
    arrival_h=Normal(16.1, 4.1, 9.0, 23.75, "hour of the day", SIMBENCH_CHARGING),
    departure_h=Normal(7.5, 1.0, 5.0, 9.0, "hour of the next day", ASSUMED),
    charged_kwh=LogNormal(3.52, 1.11, "kWh at the charger", SIMBENCH_CHARGING),
    reserve_share=0.3,
)
"""Vehicles at home; `charges_on_a_day` was measured like `arrival_h`, the reserve is assumed."""


def draw_vehicles(
    owners: Owners,
    seed: int,
    from_data: VehicleDistributions = HOME_VEHICLES,
    gives_back_share: float = 0.0,
) -> ElectricVehicles:
    """Draw vehicles.

    Parameters
    ----------
    owners : Owners
    seed : int
        At least 0.
    from_data : VehicleDistributions
        What they are drawn from.
    gives_back_share : float
        Share of the vehicles that may give energy back.

    Returns
    -------
    ElectricVehicles
    """
    battery = owners.drawn(seed, "ev battery", from_data.battery_kwh)
    target = battery * owners.drawn(seed, "ev target", from_data.target_share)
    efficiency = owners.drawn(seed, "ev efficiency", from_data.charge_efficiency)
    back = owners.uniforms(seed, "ev gives back", 1)[0] < gives_back_share
    return ElectricVehicles(
        name=owners.name,
        agent=owners.agent,
        battery_kwh=battery,
        target_kwh=target,
        charger_kw=owners.drawn(seed, "ev charger", from_data.charger_kw),
        charge_efficiency=efficiency,
        discharge_efficiency=efficiency,
        gives_back=back,
        reserve_kwh=np.minimum(from_data.reserve_share * battery, target),
    )


def draw_windows(
    vehicles: ElectricVehicles,
    time: RunTime,
    seed: int,
    from_data: VehicleDistributions = HOME_VEHICLES,
) -> VehicleFleet:
    """Draw when vehicles are plugged in and what they need.

    A vehicle that charges on a day is plugged in from the arrival on that day to the departure on
    the next. The night before the run counts: such windows begin in slot 0, and the vehicle has
    been charged at full power since it came. A need is at most what the battery was to hold and
    what the charger gives in the window.

    Parameters
    ----------
    vehicles : ElectricVehicles
    time : RunTime
    seed : int
        At least 0.
    from_data : VehicleDistributions
        What they are drawn from.

    Returns
    -------
    VehicleFleet
        Vehicles with windows that overlap the run.
    """
    owners = Owners(vehicles.name, vehicles.agent)
    days = time.days + 1
    charges = owners.uniforms(seed, "ev charges", days) < from_data.charges_on_a_day
    arrival_h = from_data.arrival_h.at(owners.uniforms(seed, "ev arrival", days))
    departure_h = from_data.departure_h.at(owners.uniforms(seed, "ev departure", days)) + 24.0
    drive_kwh = from_data.charged_kwh.at(owners.uniforms(seed, "ev drive", days))
    # row 0 is the day before the run
    midnight = (np.arange(days) - 1)[:, None] * time.slots_of_day - time.first_slot_of_day
    came = midnight + np.ceil(arrival_h / time.hours).astype(np.int64)
    arrive = np.maximum(came, 0)
    depart = midnight + np.floor(departure_h / time.hours).astype(np.int64)
    day, vehicle = np.nonzero(charges & (depart > arrive) & (arrive < time.slots))
    came, arrive, depart = came[day, vehicle], arrive[day, vehicle], depart[day, vehicle]
    efficiency = vehicles.charge_efficiency[vehicle]
    per_slot = time.hours * vehicles.charger_kw[vehicle] * efficiency
    gives = (depart - arrive) * per_slot
    need = np.minimum(drive_kwh[day, vehicle] * efficiency, vehicles.target_kwh[vehicle])
    need = np.maximum(need - (arrive - came) * per_slot, 0.0)
    return VehicleFleet(
        vehicles, PlugWindows(vehicle, arrive, depart, np.minimum(need, gives)), time.hours
    )


@dataclass(frozen=True)
class HeatDistributions:
    """What heated houses are drawn from.

    Attributes
    ----------
    floor_m2 : Distribution
    loss_w_per_m2_k, capacity_kj_per_m2_k : Distribution
        Heat loss coefficient and effective heat capacity per floor area.
    ground_share : float
        Share of pumps that draw from the ground.
    floor_heating_share : float
        Share of houses with floor heating; the others have radiators.
    cop_factor : float
        What plants in the field reach of the COP of the fit.
    comfort_low_c, comfort_width_k : Distribution
        Lower end and width of the comfort band.
    design_c : float
        Outdoor temperature at which the pump just heats the house, degC.
    """

    floor_m2: Distribution
    loss_w_per_m2_k: Distribution
    capacity_kj_per_m2_k: Distribution
    ground_share: float
    floor_heating_share: float
    cop_factor: float
    comfort_low_c: Distribution
    comfort_width_k: Distribution
    design_c: float


FLOOR_HEATING, RADIATORS = (30.0, 0.5), (40.0, 1.0)
"""Flow temperature at 0 degC outdoors, degC, and its rise per kelvin colder: Ruhnau, Hirth,
Praktiknjo 2019, Time series of heat demand and heat pump efficiency for energy system modeling."""

HOME_HEATING = HeatDistributions(
    floor_m2=Normal(121.2, 30.0, 60.0, 250.0, "m2", f"mean: {TABULA}; the rest assumed"),
    loss_w_per_m2_k=Uniform(0.8, 2.0, "W/(m2 K) of floor", ASSUMED),
    capacity_kj_per_m2_k=Choice(
        (110.0, 165.0, 260.0),
        (0.25, 0.5, 0.25),
        "kJ/(m2 K) of floor",
        f"{ISO_13790} (light, medium, heavy); shares assumed",
    ),
    ground_share=0.234,
    floor_heating_share=0.5,
    cop_factor=0.85,
    comfort_low_c=Uniform(19.5, 21.0, "degC", ASSUMED),
    comfort_width_k=Uniform(1.0, 3.0, "K", ASSUMED),
    design_c=-12.0,
)
"""Single-family houses. `ground_share`: 1 134 of 4 836 heat pumps in SimBench 1.6, scenario 2, are
of the kind ``Soil``; `cop_factor`: Ruhnau et al. 2019; the other two shares and `design_c` are
assumed."""


def draw_heat_pumps(
    owners: Owners, seed: int, from_data: HeatDistributions = HOME_HEATING
) -> tuple[HeatPumps, Buildings]:
    """Draw heat pumps, each just large enough for its house at the design temperature.

    Parameters
    ----------
    owners : Owners
    seed : int
        At least 0.
    from_data : HeatDistributions
        What they are drawn from.

    Returns
    -------
    HeatPumps, Buildings
    """
    floor = owners.drawn(seed, "hp floor", from_data.floor_m2)
    loss_kw_per_k = floor * owners.drawn(seed, "hp loss", from_data.loss_w_per_m2_k) / 1000
    per_m2 = owners.drawn(seed, "hp capacity", from_data.capacity_kj_per_m2_k)
    low = owners.drawn(seed, "hp comfort", from_data.comfort_low_c)
    high = low + owners.drawn(seed, "hp comfort width", from_data.comfort_width_k)
    ground = owners.uniforms(seed, "hp source", 1)[0] < from_data.ground_share
    floor_heating = owners.uniforms(seed, "hp floor heating", 1)[0] < from_data.floor_heating_share
    unit = HeatPumps(
        name=owners.name,
        agent=owners.agent,
        rated_kw=np.ones(len(floor)),
        source=np.where(ground, int(HeatSource.GROUND), int(HeatSource.AIR)),
        flow_at_0_c=np.where(floor_heating, FLOOR_HEATING[0], RADIATORS[0]),
        flow_slope=np.where(floor_heating, FLOOR_HEATING[1], RADIATORS[1]),
        cop_factor=np.full(len(floor), from_data.cop_factor),
    )
    cop = coefficient_of_performance(unit, np.array([from_data.design_c]))
    rated = loss_kw_per_k * (high - from_data.design_c) / cop
    pumps = HeatPumps(**{**vars(unit), "rated_kw": rated})
    start = low + (high - low) * owners.uniforms(seed, "hp start", 1)[0]
    return pumps, Buildings(floor * per_m2 / 3600, 1 / loss_kw_per_k, low, high, start)


@dataclass(frozen=True)
class ApplianceKind:
    """One kind of appliance.

    Attributes
    ----------
    name : str
    power_kw : tuple of float
        Power in each quarter of an hour of a run, kW.
    runs_per_day : float
        Probability of a run on a day.
    earliest_h, latest_end_h : Distribution
        Between which hours after midnight it may run; the end may lie on the next day.
    source : str
        Of power and runs.
    """

    name: str
    power_kw: tuple[float, ...]
    runs_per_day: float
    earliest_h: Distribution
    latest_end_h: Distribution
    source: str = ASSUMED


def _hours(mean: float, deviation: float, least: float, most: float) -> Normal:
    return Normal(mean, deviation, least, most, "hours after midnight", ASSUMED)


APPLIANCES = (
    ApplianceKind(
        "washing machine", (2.0, 0.6, 0.1, 0.1, 0.1, 0.2), 0.5,
        _hours(9.0, 2.5, 6.0, 14.0), _hours(20.0, 1.0, 18.0, 22.0),
    ),
    ApplianceKind(
        "dishwasher", (1.9, 0.1, 0.1, 0.1, 1.5, 0.1), 0.6,
        _hours(19.0, 1.5, 15.0, 22.0), _hours(30.0, 1.0, 28.0, 32.0),
    ),
    ApplianceKind(
        "tumble dryer", (2.2, 2.0, 1.6, 1.2, 0.8), 0.35,
        _hours(12.0, 2.5, 8.0, 16.0), _hours(22.0, 0.5, 21.0, 23.0),
    ),
)  # fmt: skip
"""Assumed in the order of size of today's appliances: about 0.8, 1.0 and 2.0 kWh a run."""


def draw_shiftable_loads(
    owners: Owners,
    time: RunTime,
    seed: int,
    kinds: tuple[ApplianceKind, ...] = APPLIANCES,
) -> ShiftableLoads:
    """Draw the jobs of the appliances in some homes; only those that lie inside the run.

    Parameters
    ----------
    owners : Owners
        Names and rows of the homes; each has one appliance of each kind.
    time : RunTime
        Slots of a quarter of an hour, the step of the profiles.
    seed : int
        At least 0.
    kinds : tuple of ApplianceKind
        What they are drawn from.

    Returns
    -------
    ShiftableLoads
        Jobs named ``"<home>, <kind>, day <number>"``.

    Raises
    ------
    DataError
        If slots do not last a quarter of an hour.
    """
    if time.hours != 0.25:
        raise DataError(
            f"profiles of appliances have steps of 0.25 h, but slots last {time.hours:g} h"
        )
    longest = max(len(kind.power_kw) for kind in kinds)
    drawn = [_jobs_of_kind(owners, time, seed, kind, longest) for kind in kinds]
    return ShiftableLoads(
        name=tuple(name for jobs in drawn for name in jobs.name),
        hours=time.hours,
        **{
            key: np.concatenate([getattr(jobs, key) for jobs in drawn])
            for key in ("agent", "profile_kw", "slots", "earliest_slot", "latest_end_slot")
        },
    )


def _jobs_of_kind(
    owners: Owners, time: RunTime, seed: int, kind: ApplianceKind, longest: int
) -> ShiftableLoads:
    days, length = time.days, len(kind.power_kw)
    runs = owners.uniforms(seed, f"{kind.name} runs", days) < kind.runs_per_day
    earliest_h = kind.earliest_h.at(owners.uniforms(seed, f"{kind.name} earliest", days))
    latest_h = kind.latest_end_h.at(owners.uniforms(seed, f"{kind.name} latest", days))
    midnight = np.arange(days)[:, None] * time.slots_of_day - time.first_slot_of_day
    earliest = midnight + np.ceil(earliest_h / time.hours).astype(np.int64)
    latest = midnight + np.floor(latest_h / time.hours).astype(np.int64)
    inside = (earliest >= 0) & (latest <= time.slots) & (latest - earliest >= length)
    day, home = np.nonzero(runs & inside)
    profile = np.concatenate([kind.power_kw, np.zeros(longest - length)])
    return ShiftableLoads(
        name=tuple(
            f"{owners.name[row]}, {kind.name}, day {number}"
            for number, row in zip(day, home, strict=True)
        ),
        agent=owners.agent[home],
        profile_kw=np.tile(profile, (len(home), 1)),
        slots=np.full(len(home), length),
        earliest_slot=earliest[day, home],
        latest_end_slot=latest[day, home],
        hours=time.hours,
    )


@dataclass(frozen=True)
class InverterDistributions:
    """What PV inverters are drawn from.

    Attributes
    ----------
    kva_per_kwp : Distribution
        Rated apparent power per peak power of the modules.
    voltage_control_share : float
        Share of inverters with the standard Q(U) characteristic; the others hold a fixed power
        factor, absorbing.
    """

    kva_per_kwp: Distribution
    voltage_control_share: float


ROOF_INVERTERS = InverterDistributions(Uniform(0.85, 1.0, "kVA per kWp", ASSUMED), 0.5)
"""Inverters of PV plants on roofs; both assumed."""


def draw_inverters(
    owners: Owners,
    peak_kw: FloatArray,
    seed: int,
    from_data: InverterDistributions = ROOF_INVERTERS,
) -> Inverters:
    """Draw inverters of PV plants, set as VDE-AR-N 4105 asks, reactive power first.

    Parameters
    ----------
    owners : Owners
    peak_kw : float64, shape (n_inverter,)
        Peak power of the modules, kW, above 0.
    seed : int
        At least 0.
    from_data : InverterDistributions
        What they are drawn from.

    Returns
    -------
    Inverters
    """
    rated = peak_kw * owners.drawn(seed, "pv inverter", from_data.kva_per_kwp)
    by_voltage = owners.uniforms(seed, "pv control", 1)[0] < from_data.voltage_control_share
    power_factor = least_power_factor(rated)
    voltage, share = standard_characteristic(power_factor)
    n = len(rated)
    return Inverters(
        name=owners.name,
        agent=owners.agent,
        rated_kva=rated,
        control=np.where(by_voltage, int(ReactiveControl.VOLTAGE), 0),
        power_factor=power_factor,
        absorbs=np.ones(n, dtype=np.bool_),
        reactive_first=np.ones(n, dtype=np.bool_),
        voltage_pu=voltage,
        reactive_share=share,
    )
