"""The reference of charges and presets is made from registry and files: none is left out."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tricell.markets.charge_preset import charge_of, known_presets, load_preset
from tricell.markets.charge_registry import known_charges

GENERATOR = Path(__file__).parents[1] / "docs" / "reference_pages.py"
COMMON = {"kind", "name", "customers", "purpose"}


@pytest.fixture(scope="module")
def generator() -> Any:
    spec = spec_from_file_location("reference_pages", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(page: str, name: str) -> str:
    """The text below the heading of a charge or preset."""
    return page.split(f"\n### `{name}`\n")[1].split("\n### ", maxsplit=1)[0]


def test_every_charge_has_a_section_with_all_of_its_parameters(generator: Any) -> None:
    page = generator.charges_reference()
    for name, charge in known_charges().items():
        assert f"[`{name}`](#{name})" in page
        for parameter in set(charge.parameters.model_fields) - COMMON:
            assert f"| `{parameter}` |" in section(page, name), f"{name}: {parameter}"


def test_what_all_charges_share_is_said_once(generator: Any) -> None:
    page = generator.charges_reference()
    assert page.count("| `purpose` |") == 1
    # The rebate says in its own words who receives it.
    assert page.count("| `customers` |") == 2
    assert "| `customers` |" in section(page, "controllable_rebate")


def test_the_reference_says_when_a_charge_is_settled_and_what_agents_know(generator: Any) -> None:
    rows = {
        row.split("](#")[1].split(")")[0]: [cell.strip() for cell in row.split("|")][4:6]
        for row in generator.charges_reference().splitlines()
        if row.startswith("| [`")
    }
    assert rows["volumetric"] == ["per slot", "EUR/kWh"]
    assert rows["monthly_peak"] == ["per period", "EUR/kW"]
    assert rows["utilisation_hours"] == ["per period", "EUR/kWh, EUR/kW"]
    assert rows["loss_allocation"] == ["per slot", "nothing"]
    assert rows["fixed"] == ["per period", "nothing"]


def test_the_charges_shown_of_a_preset_are_those_that_it_loads(generator: Any) -> None:
    page = generator.presets_reference()
    for name in known_presets():
        shown = section(page, name).rsplit("```yaml\n", 1)[1].split("```")[0]
        fields = YAML(typ="safe", pure=True).load(shown)["charges"]
        assert tuple(charge_of(each) for each in fields) == load_preset(name)


def test_every_preset_states_country_year_quality_sources_and_assumptions(generator: Any) -> None:
    page = generator.presets_reference()
    for name, preset in known_presets().items():
        row = next(line for line in page.splitlines() if line.startswith(f"| [`{name}`]"))
        assert f"| {preset.country} | {preset.year} |" in row
        assert f"| {preset.quality} |" in row
        for source in preset.sources:
            assert source.name in section(page, name)
        for assumption in preset.assumptions:
            assert assumption.strip() in section(page, name)


def test_the_table_of_operators_links_to_all_price_sheets(generator: Any) -> None:
    rows = generator.operators_reference().splitlines()[2:]
    assert len([row for row in rows if row]) == 107
    assert all("](https://" in row or "](http://" in row for row in rows if row)


def test_the_scenario_reference_leads_to_the_page_of_charges(generator: Any) -> None:
    page = generator.scenario_reference()
    assert "| `charges` | a list of [charges and presets](charges.md) |" in page
    assert "## `charges[]`" not in page
