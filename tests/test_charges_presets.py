"""Published tariffs: what they bill is what their sources say, and an independent package agrees.

Sources of numbers stand with each test. Real cases: section 14a module 1 and 2 (Braunschweiger Netz
and swa Netze 2025), Austria's community discounts (Land Salzburg), Flanders' capacity tariff (VREG,
Fluvius 2023 and 2024), Passau's price sheet 2022.
"""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from typer.testing import CliRunner

from tricell.errors import MarketError
from tricell.markets.charge import Calendar, Charge, Customers, Floats, MeterData, Source
from tricell.markets.charge_preset import (
    PARAMETERS,
    ChargePreset,
    charge_of,
    known_presets,
    load_preset,
    read_preset,
)
from tricell.markets.charge_registry import charge_classes, known_charges
from tricell.markets.charges.controllable_rebate import ControllableRebate
from tricell.markets.charges.fixed import Fixed
from tricell.markets.charges.monthly_peak import MonthlyPeak
from tricell.markets.charges.time_bands import TimeBands
from tricell.markets.charges.utilisation_hours import UtilisationHours
from tricell.markets.charges.volumetric import Volumetric
from tricell.markets.section_14a import PRESET_FOLDER, module_3_prices
from tricell.scenarios.charge_choice import ChargeEntry, PresetEntry, expanded
from tricell.scenarios.command_line import app
from tricell.scenarios.schema_faults import validated
from tricell.scenarios.section import Section
from tricell.scenarios.yaml_tree import Node, parse
from tricell.scenarios.yaml_tree import Source as YamlSource

CASES = Path(__file__).parent / "cases"
PRESETS = known_presets()
ENTRIES: TypeAdapter[tuple[ChargeEntry, ...]] = TypeAdapter(tuple[ChargeEntry, ...])


class Charges(Section):
    """A file that holds nothing but charges."""

    charges: tuple[ChargeEntry, ...]


def written(text: str) -> Node:
    """The tree of a file with one line."""
    node, faults = parse(text, YamlSource("mine.yaml", Path(), (text,)))
    assert node is not None
    assert not faults
    return node


def choices() -> Iterator[tuple[str, dict[str, str]]]:
    """Every preset with every choice that it leaves; of the 107 operators only a few."""
    for preset in PRESETS.values():
        if preset.parameter is None:
            yield preset.name, {}
        for choice in preset.choices[:4]:
            assert preset.parameter is not None
            yield preset.name, {preset.parameter.name: choice}


def year_of(zone: str, year: int, hours: float = 0.25) -> Calendar:
    """The slots of a year by local time, given in UTC."""
    first, last = (
        np.datetime64(datetime(y, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None))
        for y in (year, year + 1)
    )
    step = np.timedelta64(round(hours * 3600), "s")
    return Calendar(np.arange(first, last, step).astype("datetime64[s]"), hours, zone)


def meters(calendar: Calendar, kilowatts: Any, customers: Customers | None = None) -> MeterData:
    net = np.broadcast_to(np.asarray(kilowatts, np.float64), (len(calendar), 1)).copy()
    return MeterData(calendar, customers or Customers.plain(1), net)


def controllable(is_so: bool) -> Customers:
    plain = Customers.plain(1)
    return Customers(**{**vars(plain), "controllable": np.array([is_so])})


def bill(charges: tuple[Charge, ...], metered: MeterData) -> float:
    return float(sum(charge.bill_eur(metered)[0] for charge in charges))


def source_rates(charges: tuple[Charge, ...], calendar: Calendar) -> Floats:
    """EUR/kWh of all charges together by slot and source."""
    total = np.zeros((len(calendar), len(Source)))
    for charge in charges:
        rates = charge.rates(calendar, Customers.plain(1))
        assert rates is not None
        total = total + rates.by_source
    return total


# --- every preset ---


def test_the_tariffs_of_eight_countries_are_shipped() -> None:
    countries = {preset.country[:2] for preset in PRESETS.values()}
    assert countries == {"AT", "AU", "BE", "DE", "GB", "NL", "PT"}
    assert {"de_14a_module_1", "de_14a_module_2", "de_14a_module_3", "nl_flat"} <= PRESETS.keys()


@pytest.mark.parametrize("preset", tuple(PRESETS.values()), ids=lambda preset: preset.name)
def test_every_preset_says_what_it_is_where_from_and_how_good(preset: ChargePreset) -> None:
    assert preset.line.endswith(".")
    assert len(preset.line) <= 88
    assert preset.vat == "net"
    assert all(source.name for source in preset.sources)
    assert all(not source.url or source.url.startswith("https://") for source in preset.sources)
    if preset.quality in {"low", "placeholder", "secondary"}:
        assert preset.assumptions, "prices that are not official need to say what is assumed"
    assert preset.parameter is None or preset.parameter.name in PARAMETERS
    assert preset.parameter is None or preset.parameter.default not in preset.variants


@pytest.mark.parametrize(("name", "chosen"), list(choices()))
def test_every_choice_of_every_preset_gives_charges_that_bill(
    name: str, chosen: dict[str, Any]
) -> None:
    charges = load_preset(name, **chosen)
    calendar = year_of("Europe/Berlin", 2026, hours=1.0)
    assert bill(charges, meters(calendar, 0.5)) > 0.0


@pytest.mark.parametrize(("name", "chosen"), list(choices()))
def test_the_rates_of_a_preset_scale(name: str, chosen: dict[str, Any]) -> None:
    household = meters(year_of("Europe/Berlin", 2026, hours=1.0), 0.5)
    entry = PresetEntry(preset=name, scale=1.5, **_typed(chosen))
    full = bill(load_preset(name, **chosen), household)
    assert bill(entry.charges(), household) == pytest.approx(1.5 * full, rel=1e-12)


def _typed(chosen: dict[str, Any]) -> dict[str, Any]:
    return {key: int(value) if key == "year" else value for key, value in chosen.items()}


def test_charges_of_different_presets_can_stand_in_one_list_since_no_two_share_a_name() -> None:
    labels = [charge.label for name in PRESETS for charge in load_preset(name)]
    assert len(set(labels)) == len(labels)


# --- Germany ---


@pytest.mark.parametrize(
    ("operator", "net_eur"),
    [("Braunschweiger Netz", 137.43), ("swa Netze Augsburg", 148.63 / 1.19)],
)
def test_module_1_gives_the_published_lump_sum(operator: str, net_eur: float) -> None:
    """137.43 EUR net (bs-netz.de 2025) and 148.63 EUR with VAT (swa Netze 2025)."""
    charges = load_preset("de_14a_module_1", operator=operator)
    calendar = year_of("Europe/Berlin", 2025, hours=1.0)
    paid = {
        is_so: bill(charges, meters(calendar, 0.5, controllable(is_so))) for is_so in (False, True)
    }
    assert paid[False] - paid[True] == pytest.approx(net_eur, abs=0.01)
    rebate = charges[1]
    assert isinstance(rebate, ControllableRebate)
    assert rebate.lump_sum_eur_per_year == pytest.approx(80 / 1.19, abs=1e-6)
    assert rebate.energy_kwh_per_year == 3750 * 0.20


def test_module_1_and_2_of_braunschweig_are_recomputed_from_their_rules() -> None:
    """TR01: bs-netz.de 2025."""
    given_ = json.loads((CASES / "TR01" / "input.json").read_text("utf-8"))
    stated = json.loads((CASES / "TR01" / "expected.json").read_text("utf-8"))
    working = given_["working_price_ct_per_kwh"] / 100
    rebate = ControllableRebate(
        lump_sum_eur_per_year=given_["lump_sum_eur_with_vat"] / (1 + given_["vat_percent"] / 100),
        energy_kwh_per_year=given_["energy_kwh_per_year"] * given_["share"],
        working_rate_eur_per_kwh=working,
    )
    year = year_of("Europe/Berlin", 2025, hours=1.0)
    found = -bill((rebate,), meters(year, 0.5, controllable(True)))
    assert found == pytest.approx(
        stated["expected"]["net_eur_per_year"], abs=stated["tolerance"]["eur"]
    )
    _, shipped = load_preset("de_14a_module_1")
    assert isinstance(shipped, ControllableRebate)
    assert shipped.rebate_eur_per_year == pytest.approx(found, abs=1e-6)
    _, reduced = load_preset("de_14a_module_2")
    assert isinstance(reduced, Volumetric)
    assert 100 * reduced.rate_eur_per_kwh == pytest.approx(
        stated["expected"]["module_2_ct_per_kwh"], abs=stated["tolerance"]["ct"]
    )


def test_module_1_never_gives_more_than_the_customer_pays() -> None:
    charges = load_preset("de_14a_module_1")
    calendar = year_of("Europe/Berlin", 2025, hours=1.0)
    assert bill(charges, meters(calendar, 0.01, controllable(True))) == pytest.approx(0.0, abs=1e-9)


def test_module_2_takes_40_percent_of_the_working_price() -> None:
    """3.74 ct/kWh (bs-netz.de 2025), recomputed 3.744."""
    charges = load_preset("de_14a_module_2")
    calendar = year_of("Europe/Berlin", 2025, hours=1.0)
    for is_so, ct in ((False, 9.36), (True, 3.744)):
        metered = meters(calendar, 1.0, controllable(is_so))
        assert 100 * bill(charges, metered) / len(calendar) == pytest.approx(ct, abs=1e-9)


@pytest.mark.parametrize("operator", ["Westnetz GmbH", "Bayernwerk Netz GmbH", "Netze BW GmbH"])
def test_module_3_takes_the_prices_and_windows_of_the_chosen_operator(operator: str) -> None:
    (charge,) = load_preset("de_14a_module_3", operator=operator)
    assert isinstance(charge, TimeBands)
    sheet = module_3_prices()[operator]
    assert charge.rates_eur_per_kwh == {"NT": sheet.low, "ST": sheet.standard, "HT": sheet.high}
    assert len(charge.windows) == len(sheet.windows)


def test_module_3_follows_the_local_clock_through_the_year() -> None:
    """Westnetz 2026: HT 15.65 ct from 15 to 20 h, NT 0.95 ct from 0 to 7 h, else 9.53 ct."""
    (charge,) = load_preset("de_14a_module_3", operator="Westnetz GmbH")
    calendar = year_of("Europe/Berlin", 2026)
    hour = calendar.hour
    expected = np.where((hour >= 15) & (hour < 20), 0.1565, np.where(hour < 7, 0.0095, 0.0953))
    np.testing.assert_allclose(source_rates((charge,), calendar)[:, Source.RETAIL], expected)


@pytest.mark.parametrize("level", ["lv", "mv_lv", "mv"])
def test_passau_s_bills_below_and_above_2500_h_cross_at_2500_h(level: str) -> None:
    """Stadtwerke Passau 2022; prices are rounded to 0.01 ct/kWh, that is 0.25 EUR/kW."""
    (charge,) = load_preset("de_passau_2022", level=level)
    assert isinstance(charge, UtilisationHours)
    below = charge.below_rate_eur_per_kwh * 2500 + charge.below_rate_eur_per_kw_year
    above = charge.above_rate_eur_per_kwh * 2500 + charge.above_rate_eur_per_kw_year
    assert below == pytest.approx(above, abs=0.26)
    stated = PRESETS["de_passau_2022"].published["levels"][level]
    for side, (power, cents) in (
        ("below", stated["below_2500_h"]),
        ("above", stated["above_2500_h"]),
    ):
        assert getattr(charge, f"{side}_rate_eur_per_kw_year") == power
        assert getattr(charge, f"{side}_rate_eur_per_kwh") == pytest.approx(cents / 100)


# --- Austria ---


@pytest.mark.parametrize(
    ("name", "chosen", "ct"),
    [
        ("at_local_energy_community", {}, [3.87, 9.0, 9.0, 9.0]),
        ("at_regional_energy_community", {}, [6.48, 6.48, 9.0, 9.0]),
        ("at_regional_energy_community", {"level": "4-5"}, [3.24, 3.24, 9.0, 9.0]),
    ],
)
def test_austria_s_communities_pay_the_reduced_working_price(
    name: str, chosen: dict[str, str], ct: list[float]
) -> None:
    """57 % local, 28 % and 64 % regional (Land Salzburg), of 9.00 ct/kWh."""
    calendar = year_of("Europe/Vienna", 2026, hours=1.0)
    found = source_rates(load_preset(name, **chosen), calendar)
    np.testing.assert_allclose(100 * found, np.tile(ct, (len(calendar), 1)), atol=1e-9)


def test_snap_is_for_retail_energy_at_summer_noon_only() -> None:
    """20 % off, 1 April to 30 September, 10 to 16 h, not for energy shared (press, March 2026)."""
    calendar = year_of("Europe/Vienna", 2026)
    found = 100 * source_rates(load_preset("at_snap_2026"), calendar)
    month = calendar.local.month.to_numpy()
    is_snap = (month >= 4) & (month <= 9) & (calendar.hour >= 10) & (calendar.hour < 16)
    np.testing.assert_allclose(found[:, Source.RETAIL], np.where(is_snap, 7.2, 9.0))
    shared = np.tile([3.87, 6.48, 9.0], (len(calendar), 1))
    np.testing.assert_allclose(found[:, : Source.RETAIL], shared)
    assert is_snap.sum() == 183 * 6 * 4


# --- Belgium ---


def test_the_flemish_capacity_tariff_bills_the_mean_of_floored_monthly_peaks() -> None:
    """Peaks of 12 months, floor 2.5 kW each, 40.40 EUR/kW (VREG, Fluvius 2023): 154.87 EUR.

    A floor after the mean would give 3.666667 kW, not 3.833333.
    """
    peaks = np.array([1.8, 2.2, 3.9, 4.4, 5.0, 2.1, 1.9, 2.6, 3.3, 4.8, 6.1, 5.9])
    charge = load_preset("be_flanders_2023")[0]
    assert isinstance(charge, MonthlyPeak)
    calendar = year_of("Europe/Brussels", 2023)
    kilowatts = np.full((len(calendar), 1), 0.3)
    for month, peak in enumerate(peaks, start=1):
        kilowatts[np.flatnonzero(calendar.local.month == month)[700], 0] = peak
    assert float(charge.bill_eur(meters(calendar, kilowatts))[0]) == pytest.approx(154.87, abs=0.01)


def test_flanders_example_of_a_household_is_met() -> None:
    """3500 kWh and 4.26 kW: 337 EUR with VAT (Fluvius 2023)."""
    calendar = year_of("Europe/Brussels", 2023)
    kilowatts = np.full((len(calendar), 1), 0.0)
    months = calendar.local.month.to_numpy()
    peaks = [int(np.flatnonzero(months == month)[0]) for month in range(1, 13)]
    rest = (3500 - 12 * 4.26 / 4) / ((len(calendar) - 12) / 4)
    kilowatts[:] = rest
    kilowatts[peaks] = 4.26
    net_eur = bill(load_preset("be_flanders_2023"), meters(calendar, kilowatts))
    assert 1.06 * net_eur == pytest.approx(337, abs=0.01)


def test_the_walloon_bands_are_where_the_regulator_puts_them() -> None:
    """CWaPE 2026: eco 1-7 and 11-17, medium 7-11 and 22-1, peak 17-22 h."""
    bands = {
        **dict.fromkeys([1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16], "eco"),
        **dict.fromkeys([7, 8, 9, 10, 22, 23, 0], "medium"),
        **dict.fromkeys([17, 18, 19, 20, 21], "peak"),
    }
    (charge,) = load_preset("be_wallonia_2026")
    assert isinstance(charge, TimeBands)
    calendar = year_of("Europe/Brussels", 2026)
    expected = [charge.rates_eur_per_kwh[bands[int(hour)]] for hour in calendar.hour]
    np.testing.assert_allclose(charge.rate_of_slot(calendar), expected)


def test_the_walloon_placeholder_prices_meet_the_published_average_bill() -> None:
    """327 EUR (2026), taken for a constant use of 3500 kWh; ratio 1 to 2 to 4, ours."""
    charges = load_preset("be_wallonia_2026")
    assert isinstance(charges[0], TimeBands)
    eco, medium, peak = charges[0].rates_eur_per_kwh.values()
    assert (medium / eco, peak / eco) == pytest.approx((2.0, 4.0))
    calendar = year_of("Europe/Brussels", 2026)
    assert bill(charges, meters(calendar, 3500 / 8760)) == pytest.approx(327, abs=0.05)


# --- Portugal, United Kingdom, Netherlands, Australia ---


@pytest.mark.parametrize(("name", "waived"), [("individual", 0.5), ("collective", 1.0)])
def test_portugal_waives_the_policy_cost_on_shared_energy_and_nothing_of_the_network(
    name: str, waived: float
) -> None:
    """CIEG, 43 % of the access tariff (2024), is waived by 50 % or 100 % (ERSE 2020)."""
    charges = load_preset(f"pt_{name}_self_consumption")
    near, cell, far, retail = source_rates(charges, year_of("Europe/Lisbon", 2024, 1.0))[0]
    levies = [charge for charge in charges if charge.purpose == "levy"]
    (levy,) = source_rates(tuple(levies), year_of("Europe/Lisbon", 2024, 1.0))[:1]
    assert levy[Source.RETAIL] == pytest.approx(0.43 * retail)
    assert near == cell == pytest.approx(retail - waived * 0.43 * retail)
    assert far == retail


@pytest.mark.parametrize("operator", PRESETS["uk_red_amber_green"].choices)
def test_british_bands_are_the_published_pounds_in_euro(operator: str) -> None:
    preset = PRESETS["uk_red_amber_green"]
    (charge,) = load_preset(preset.name, operator=operator)
    assert isinstance(charge, TimeBands)
    euro = preset.published["eur_per_gbp"]
    stated = preset.published["gbp_per_mwh"][operator]
    assert charge.rates_eur_per_kwh == pytest.approx(
        {band: pounds * euro / 1000 for band, pounds in stated.items()}
    )
    calendar = year_of("Europe/London", 2026)
    rates = charge.rate_of_slot(calendar)
    weekend = calendar.weekday >= 5
    assert rates[weekend].max() < charge.rates_eur_per_kwh["red"]
    is_five = (calendar.hour == 17.0) & ~weekend
    np.testing.assert_allclose(rates[is_five], charge.rates_eur_per_kwh["red"])
    np.testing.assert_allclose(rates[calendar.hour == 3.0], charge.rates_eur_per_kwh["green"])
    assert preset.quality == "low"


@pytest.mark.parametrize(("year", "eur"), [(2020, 225), (2025, 468), (2030, 640)])
def test_the_dutch_price_does_not_depend_on_use(year: int, eur: float) -> None:
    """Energiepodium 2025."""
    charges = load_preset("nl_flat", year=year)
    calendar = year_of("Europe/Amsterdam", 2025)
    for kilowatts in (0.0, 3.0):
        assert bill(charges, meters(calendar, kilowatts)) == pytest.approx(eur)


def test_the_australian_preset_is_the_published_tariff_in_euro() -> None:
    preset = PRESETS["au_ausgrid_ea025"]
    bands, daily = load_preset(preset.name)
    assert isinstance(bands, TimeBands)
    assert isinstance(daily, Fixed)
    euro = preset.published["eur_per_aud"] / 100
    cents = preset.published["aud_cent_per_kwh"]
    assert bands.rates_eur_per_kwh == pytest.approx({b: c * euro for b, c in cents.items()})
    assert daily.rate_eur_per_year == pytest.approx(
        365 * preset.published["aud_cent_per_day"] * euro
    )


# --- an independent package ---

EVERY_DAY: dict[str, Any] = {}
WORKDAYS = {"weekdays": ["mon", "tue", "wed", "thu", "fri"]}
WEEKENDS = {"weekdays": ["sat", "sun"]}
HIGH_SEASON, LOW_SEASON = [11, 12, 1, 2, 3], [4, 5, 6, 7, 8, 9, 10]
AUSTRALIAN_TARIFFS: dict[tuple[str, str], tuple[dict[str, float], str, list[dict[str, Any]]]] = {
    ("ausgrid", "EA025"): (
        {"peak": 29.2450, "off": 5.1535},
        "off",
        [{"band": "peak", "hours": [15, 21], "months": [11, 12, 1, 2, 3, 6, 7, 8]}],
    ),
    ("essential", "BLNT3AL"): (
        {"peak": 18.4298, "shoulder": 13.3044, "off": 5.4026},
        "off",
        [
            {"band": "peak", "hours": [17, 20], **WORKDAYS},
            {"band": "shoulder", "hours": [7, 17], **WORKDAYS},
            {"band": "shoulder", "hours": [20, 22], **WORKDAYS},
        ],
    ),
    ("endeavour", "N71"): (
        {"high": 21.7964, "low": 13.8419, "soak": 3.4252, "off": 10.4931},
        "off",
        [
            {"band": "high", "hours": [16, 20], "months": HIGH_SEASON, **WORKDAYS},
            {"band": "low", "hours": [16, 20], "months": LOW_SEASON, **WORKDAYS},
            {"band": "soak", "hours": [10, 14]},
        ],
    ),
    ("sapower", "RESELE"): (
        {"peak": 31.98, "shoulder": 9.49, "sponge": 2.84},
        "shoulder",
        [{"band": "peak", "hours": [17, 21]}, {"band": "sponge", "hours": [10, 16]}],
    ),
    ("sapower", "SBTOU"): (
        {"peak": 27.50, "shoulder": 19.14, "off": 10.34},
        "off",
        [
            {"band": "peak", "hours": [17, 21], "months": HIGH_SEASON},
            {"band": "shoulder", "hours": [7, 17]},
        ],
    ),
    ("tasnetworks", "TAS94"): (
        {"peak": 16.784, "shoulder": 9.886, "off": 2.426},
        "off",
        [
            {"band": "peak", "hours": [7, 10], **WORKDAYS},
            {"band": "peak", "hours": [16, 21], **WORKDAYS},
            {"band": "shoulder", "hours": [7, 22], **WEEKENDS},
        ],
    ),
    ("jemena", "PRTOU"): (
        {"peak": 18.34, "off": 4.87},
        "off",
        [{"band": "peak", "hours": [16, 21]}],
    ),
    ("united", "URTOU"): (
        {"peak": 19.13, "off": 4.76},
        "off",
        [{"band": "peak", "hours": [15, 21]}],
    ),
    ("energex", "6900"): (
        {"evening": 19.367, "day": 0.476, "night": 4.868},
        "night",
        [{"band": "evening", "hours": [16, 21]}, {"band": "day", "hours": [11, 16]}],
    ),
}
"""Network prices of July 2025 to June 2026, Australian cents per kWh without GST, by band."""


def package_cents(network: Any, tariff: str, calendar: Calendar) -> Floats:
    """Prices of aemo-to-tariff by slot, without spot price and GST.

    The package takes the end of a five-minute interval, by local time.
    """
    gst = getattr(network, "GST", 1.0)
    five_minutes = timedelta(minutes=5)
    ends = (start.to_pydatetime() + five_minutes for start in calendar.local)
    return np.array([network.convert(end, tariff, 0.0) / gst for end in ends])


@pytest.mark.parametrize(("network", "tariff"), list(AUSTRALIAN_TARIFFS))
def test_an_independent_package_computes_the_same_prices_over_a_year(
    network: str, tariff: str
) -> None:
    """aemo-to-tariff 0.7 (MIT): every half hour from July 2025 to June 2026, by local time."""
    package = pytest.importorskip("aemo_to_tariff")
    module = importlib.import_module(f"{package.__name__}.{network}")
    rates, default, windows = AUSTRALIAN_TARIFFS[network, tariff]
    fields = {"rates_eur_per_kwh": rates, "default": default, "windows": windows}
    charge = charge_of({"kind": "time_bands", **fields})
    assert isinstance(charge, TimeBands)
    zone = module.time_zone()
    calendar = financial_year(zone)
    assert len(calendar) == 17520
    np.testing.assert_allclose(
        charge.rate_of_slot(calendar), package_cents(module, tariff, calendar), rtol=1e-12
    )


def financial_year(zone: str) -> Calendar:
    first, last = (
        np.datetime64(datetime(y, 7, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None))
        for y in (2025, 2026)
    )
    return Calendar(
        np.arange(first, last, np.timedelta64(1800, "s")).astype("datetime64[s]"), 0.5, zone
    )


def test_the_bill_of_the_australian_preset_is_that_of_the_independent_package() -> None:
    """Ausgrid EA025, a household with a random load over the financial year 2025/26."""
    package = pytest.importorskip("aemo_to_tariff")
    ausgrid = importlib.import_module(f"{package.__name__}.ausgrid")
    calendar = financial_year("Australia/Sydney")
    household = meters(calendar, np.random.default_rng(1).uniform(0, 2, (len(calendar), 1)))
    cents = float(package_cents(ausgrid, "EA025", calendar) @ household.import_kwh[:, 0])
    when = datetime(2025, 12, 1, tzinfo=ZoneInfo("Australia/Sydney"))
    cents += 365 * ausgrid.get_daily_fee("EA025", interval_time=when)
    euro = PRESETS["au_ausgrid_ea025"].published["eur_per_aud"] / 100
    assert bill(load_preset("au_ausgrid_ea025"), household) == pytest.approx(cents * euro, rel=1e-9)


# --- presets in scenarios ---


def test_a_list_of_charges_may_mix_charges_and_presets() -> None:
    entries = ENTRIES.validate_python(
        [
            {"kind": "volumetric", "rate_eur_per_kwh": 0.05},
            {"preset": "be_flanders_2023"},
            {"preset": "de_14a_module_3", "operator": "Westnetz GmbH", "customers": ["household"]},
        ]
    )
    charges = expanded(entries)
    kinds = [charge.kind for charge in charges]
    assert kinds == ["volumetric", "monthly_peak", "volumetric", "time_bands"]
    assert charges[3].customers == ("household",)
    assert charges[:1] == (Volumetric(rate_eur_per_kwh=0.05),)


def test_an_entry_changes_only_what_it_names() -> None:
    assert PresetEntry(preset="nl_flat").charges() == load_preset("nl_flat")
    assert expanded(()) == ()


def test_an_entry_can_rename_its_charges_to_stand_in_a_list_twice() -> None:
    (one,) = PresetEntry(preset="nl_flat", name="homes").charges()
    assert one.label == "homes"
    both = PresetEntry(preset="be_flanders_2023", name="homes").charges()
    labels = [charge.label for charge in both]
    assert labels == ["homes: Flanders capacity", "homes: Flanders energy"]


@pytest.mark.parametrize(
    ("entry", "message", "help_"),
    [
        (
            {"preset": "de_14a_modul_3"},
            "no preset `de_14a_modul_3`",
            "did you mean `de_14a_module_3`? `tricell list charges` shows all",
        ),
        (
            {"preset": "de_14a_module_3", "operator": "Westnez GmbH"},
            "no operator `Westnez GmbH`",
            "did you mean `Westnetz GmbH`?",
        ),
        ({"preset": "nl_flat", "operator": "x"}, "no operator to choose", "remove `operator`"),
        ({"preset": "nl_flat", "year": 2026}, "no year `2026`", ""),
        ({"preset": "at_snap_2026", "customers": ["a"]}, "cannot be limited", "remove `customers`"),
        (
            {"preset": "de_14a_module_2", "customers": ["a"]},
            "says itself who pays what",
            "remove `customers`",
        ),
    ],
)
def test_a_wrong_preset_is_refused_with_what_there_is(
    entry: dict[str, Any], message: str, help_: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        ENTRIES.validate_python([entry])
    (fault,) = caught.value.errors()
    assert message in fault["msg"]
    assert fault["ctx"]["help"].startswith(help_)


@pytest.mark.parametrize(
    ("entry", "kind_of_fault"),
    [
        ({"kind": "volumetrc"}, "union_tag_invalid"),
        ({"rate_eur_per_kwh": 0.1}, "union_tag_not_found"),
        ({"preset": "nl_flat", "kind": "fixed"}, "scenario_rule"),
        ({"preset": "nl_flat", "operatr": "x"}, "extra_forbidden"),
        ({"preset": "nl_flat", "scale": -1}, "greater_than_equal"),
        ({"kind": "volumetric", "rate_eur_per_kwh": -0.1}, "greater_than_equal"),
    ],
)
def test_a_wrong_entry_is_one_fault_and_not_one_per_charge(
    entry: dict[str, Any], kind_of_fault: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        ENTRIES.validate_python([entry])
    assert [fault["type"] for fault in caught.value.errors()] == [kind_of_fault]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("nothing", {}, "no preset 'nothing'.*nl_flat"),
        ("nl_flat", {"level": "lv"}, "no parameter `level`, it has only `year`"),
        ("be_flanders_2023", {"level": "lv"}, "no parameter `level`, it has none"),
        ("de_14a_module_3", {"operator": "x"}, "no operator 'x'. Choose one of Netze BW.* more"),
    ],
)
def test_a_wrong_preset_is_refused_from_python_too(
    name: str, parameters: dict[str, str], message: str
) -> None:
    with pytest.raises(MarketError, match=message):
        load_preset(name, **parameters)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "volumetrc"}, "no charge 'volumetrc'.*volumetric"),
        ({}, "no charge None"),
        ({"kind": "volumetric", "rate": 1}, "rate: Extra inputs"),
    ],
)
def test_fields_that_are_no_charge_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(MarketError, match=message):
        charge_of(fields)


def test_a_wrong_field_of_a_preset_is_told_the_fields_of_presets_only() -> None:
    _, (fault,) = validated(written("charges: [{preset: nl_flat, operatr: x}]"), Charges)
    assert fault.allowed == "fields preset, operator, level, year, name, scale, customers"
    assert fault.suggestion == "did you mean `operator`?"


def test_a_missing_kind_is_told_the_names_of_all_charges() -> None:
    _, (fault,) = validated(written("charges: [{rate_eur_per_kwh: 0.1}]"), Charges)
    assert all(name in fault.allowed for name in known_charges())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: nl_flat", "name: nl"), "calls itself 'nl'"),
        (("quality: secondary", "quality: fine"), "cannot be used.*quality"),
        (("vat: net", "vat: gross"), "cannot be used.*vat"),
        (("year: 2025", "yaer: 2025"), "cannot be used.*yaer"),
    ],
)
def test_a_file_that_is_no_preset_is_refused(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "nl_flat.yaml"
    file.write_text(
        (PRESET_FOLDER / "nl_flat.yaml").read_text("utf-8").replace(*change, 1), "utf-8"
    )
    with pytest.raises(MarketError, match=f"(?s){message}"):
        read_preset(file)


# --- the list ---


@pytest.mark.parametrize("columns", [80, 140])
def test_the_list_shows_every_charge_and_every_preset(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = CliRunner().invoke(app, ["list", "charges"])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    first = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    shown = [name for name in first if name in known_charges() or name in PRESETS]
    assert shown == [*known_charges(), *PRESETS]
    for word in ("kWh imported", "placeholder", "BE-VL", "2023"):
        assert word in result.stdout


def test_every_charge_of_the_registry_may_stand_in_a_list() -> None:
    tags = {each.model_fields["kind"].default for each in charge_classes()}
    assert tags == known_charges().keys()
    assert list(itertools.chain(*(preset.charges for preset in PRESETS.values())))
