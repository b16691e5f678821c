"""`tricell check`: a scenario validated and shown, without running it."""
# ruff: noqa: PLC0415 (imports inside the functions keep the start fast)

from __future__ import annotations

from typing import TYPE_CHECKING

from tricell.scenarios.command_options import (
    DaysOption,
    ScenarioArgument,
    SeedOption,
    SetOption,
    StartOption,
    given_overrides,
)

if TYPE_CHECKING:
    from tricell.scenarios.schema import Scenario


def check(
    scenario: ScenarioArgument,
    start: StartOption = None,
    days: DaysOption = None,
    assignments: SetOption = None,
    seed: SeedOption = None,
) -> None:
    """Validate a scenario and show its areas, without running it."""
    from tricell.scenarios.scenario_file import faults_located, load_scenario

    overrides = given_overrides(start, days, seed, assignments)
    loaded = load_scenario(scenario, overrides)
    with faults_located(scenario, overrides, loaded):
        show_scenario(loaded)


def show_scenario(scenario: Scenario) -> None:
    """Show what a scenario would run."""
    from tricell.scenarios.screen import error_output, show_preview, standard_output

    with error_output().status("Building the network ..."):
        from tricell.scenarios.preview import preview

        seen = preview(scenario)
    show_preview(standard_output(), seen)
