"""Options that several commands take."""
# ruff: noqa: PLC0415 (imports inside the functions keep the start fast)

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tricell.scenarios.scenario_file import Override

ScenarioArgument = Annotated[
    str,
    typer.Argument(
        metavar="SCENARIO",
        help="Name of a shipped scenario, or path of a YAML file.",
        show_default=False,
    ),
]
StartOption = Annotated[
    str | None,
    typer.Option("--start", metavar="ISO", help="Start, UTC unless an offset is given."),
]
DaysOption = Annotated[
    str | None, typer.Option("--days", metavar="N", help="Length of the period in days.")
]
SeedOption = Annotated[
    str | None, typer.Option("--seed", metavar="N", help="Seed of everything random.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Set any field; may be repeated."),
]


def given_overrides(
    start: str | None, days: str | None, seed: str | None, assignments: list[str] | None
) -> list[Override]:
    """Return what the options change in a scenario."""
    from tricell.scenarios.scenario_file import Override

    overrides = [Override.from_assignment(text) for text in assignments or []]
    named = {
        "--start": ("time.start", start),
        "--days": ("time.days", days),
        "--seed": ("seed", seed),
    }
    return overrides + [
        Override(option, field, text) for option, (field, text) in named.items() if text is not None
    ]
