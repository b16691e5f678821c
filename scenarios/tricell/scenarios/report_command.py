"""`tricell report`: the results of a run as one page for people."""
# ruff: noqa: PLC0415 (imports inside the functions keep the start fast)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BYTES_PER_MB = 1e6


def report(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Results file of a run.", show_default=False),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The page, .html (FILE.html beside FILE)."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing page.")] = False,
) -> None:
    """Write the report of a run: one HTML page with maps, figures and tables, for any browser.

    The page needs no network. A run that failed or still goes on has a report of what is done.
    """
    from tricell.results.output_file import require_output
    from tricell.results.report import write_report

    target = output or file.with_suffix(".html")
    require_output(target, (".html", ".htm"), [file], force=force)
    page = write_report(file, target)
    typer.echo(f"{page}  {page.stat().st_size / BYTES_PER_MB:.1f} MB")
