"""`tricell validate`: does a results file follow its layout; and `tricell schema`: what that is."""
# ruff: noqa: PLC0415 (imports inside the commands keep the start fast)

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EXIT_DEVIATIONS = 2


class SchemaOf(StrEnum):
    """What `tricell schema` can print."""

    SCENARIO = "scenario"
    RESULTS = "results"


def validate(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Results file of a run.", show_default=False),
    ],
) -> None:
    """Check a results file against its layout, and list every deviation.

    All values are read. The exit code is 0 if the file follows the layout, 2 if it does not.
    """
    from tricell.results.validation import validate as checked_file
    from tricell.results.validation_screen import print_validation
    from tricell.scenarios.screen import error_output, standard_output

    with error_output().status(f"Checking {file} ..."):
        checked = checked_file(file)
    print_validation(checked, standard_output())
    if not checked.is_fine:
        raise typer.Exit(EXIT_DEVIATIONS)


def schema(
    of: Annotated[
        SchemaOf, typer.Argument(metavar="[scenario|results]", help="Of which kind of file.")
    ] = SchemaOf.SCENARIO,
) -> None:
    """Print the JSON Schema of scenario files, for editors, or the layout of results files."""
    if of is SchemaOf.SCENARIO:
        from tricell.scenarios.schema import json_schema

        described = json_schema()
    else:
        from tricell.results.layout_text import layout_description

        described = layout_description()
    typer.echo(json.dumps(described, indent=2, ensure_ascii=False))
