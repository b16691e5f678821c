"""`tricell plot`: single figures of a run for papers."""
# ruff: noqa: PLC0415 (imports inside the commands keep the start fast)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tricell.results.plots.kinds import KINDS


def _list_asked(asked: bool) -> None:
    if asked:
        width = max(map(len, KINDS))
        for kind in KINDS.values():
            typer.echo(f"{kind.name:<{width}}  {kind.shows}")
        raise typer.Exit


def plot(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Results file of a run.", show_default=False),
    ],
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}.", show_default=False),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help=".png, .svg or .pdf (KIND.png in this folder)."
        ),
    ] = None,
    area: Annotated[
        str | None, typer.Option("--area", metavar="ID", help="Only this area and those inside it.")
    ] = None,
    level: Annotated[
        str | None,
        typer.Option("--level", metavar="LEVEL", help="Only microgrid, cell or multicell."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="ISO", help="First slot, UTC unless an offset is given."),
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--stop", metavar="ISO", help="End; this slot is not drawn.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="ISO", help="Slot of `grid` (default: the worst).")
    ] = None,
    width: Annotated[
        str,
        typer.Option("--width", metavar="WIDTH", help="single (8.5 cm) or double (17 cm)."),
    ] = "double",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    list_: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Show the kinds of figures and exit.",
            callback=_list_asked,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Draw one figure of a run for a paper, and print its caption."""
    from tricell.results.plots.plotting import Order, require_kind, write_plot

    require_kind(kind)
    target = output or Path(f"{kind}.png")
    order = Order(kind, area, level, start, stop, at, width)
    caption = write_plot(file, order, target, force=force)
    typer.echo(f"{target}\n{caption}")
