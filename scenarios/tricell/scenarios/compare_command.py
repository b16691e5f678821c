"""`tricell compare`: runs, or two designs of a study, side by side; on the screen or as a page."""
# ruff: noqa: PLC0415 (imports inside the commands keep the start fast)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tricell.errors import ResultsError


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Results of two or more runs, or of one study with --designs.",
            show_default=False,
        ),
    ],
    *,
    designs: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two designs of the study in FILE.", metavar="A B", show_default=False),
    ] = None,
    closure: Annotated[
        str | None,
        typer.Option(
            help="none, fixed or resolved (the last that both designs have).",
            metavar="CLOSURE",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write a page (.html) instead of the tables."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing FILE.")] = False,
) -> None:
    """Show the key figures of several runs side by side, and who gains and loses between them.

    With --designs, compare two designs of a study instead: for the same seeds at the same closure.
    With --output, write it as one HTML page that also draws prices, loading and bills.
    """
    from tricell.results.design_comparison import require_designs
    from tricell.results.output_file import require_output

    if output is not None:
        require_output(output, (".html", ".htm"), files, force=force)
    elif force:
        raise ResultsError("--force overwrites a page; name one with --output PAGE.html.")
    wanted = require_designs(files, designs, closure)
    if wanted is None:
        _compare_runs(files, output)
    else:
        _compare_designs(wanted, output)


def _compare_runs(files: list[Path], output: Path | None) -> None:
    from tricell.results.comparison import compare_runs

    comparison = compare_runs(files)
    if output is not None:
        from tricell.results.comparison_page.page import write_comparison

        typer.echo(str(write_comparison(comparison, output)))
        return
    from tricell.results.comparison_screen import print_comparison
    from tricell.scenarios.screen import standard_output

    print_comparison(comparison, standard_output())


def _compare_designs(wanted: tuple[Path, tuple[str, str], str | None], output: Path | None) -> None:
    from tricell.results.design_comparison import compare_designs

    comparison = compare_designs(*wanted)
    if output is not None:
        from tricell.results.comparison_page.page import write_design_comparison

        typer.echo(str(write_design_comparison(comparison, output)))
        return
    from tricell.results.comparison_screen import print_design_comparison
    from tricell.scenarios.screen import standard_output

    print_design_comparison(comparison, standard_output())
