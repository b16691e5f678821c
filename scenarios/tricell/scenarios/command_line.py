"""The command `tricell`.

Exit codes: 0 all went well; 1 a fault in tricell itself (with a traceback, please report it);
2 something the user can correct (the message says what); 130 stopped by Ctrl-C.

Networks, solvers and mosaik take seconds to import, so that commands import what they need.
"""
# ruff: noqa: PLC0415 (imports inside the commands keep the start fast)

from __future__ import annotations

import sys
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tricell.errors import TricellError
from tricell.scenarios.check_command import check
from tricell.scenarios.compare_command import compare
from tricell.scenarios.export_command import export
from tricell.scenarios.plot_command import plot
from tricell.scenarios.report_command import report
from tricell.scenarios.run_command import run
from tricell.scenarios.validate_command import schema, validate
from tricell.scenarios.view_command import view

if TYPE_CHECKING:
    from tricell.scenarios.study_file import LoadedStudy

EXIT_USER_ERROR = 2
EXIT_STOPPED = 130


class _Commands(TyperGroup):
    """Commands whose errors are messages, not tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TricellError as error:
            _show_error(error)
            raise typer.Exit(EXIT_USER_ERROR) from error
        except KeyboardInterrupt as error:
            left = " ".join(str(argument) for argument in error.args)
            typer.echo(f"tricell was stopped by Ctrl-C before the end. {left}".rstrip(), err=True)
            raise typer.Exit(EXIT_STOPPED) from error


app = typer.Typer(
    cls=_Commands,
    help="Peer-to-peer energy trading on three levels of a distribution grid.",
    epilog="Exit codes: 0 done, 1 a fault in tricell, 2 something to correct, 130 stopped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Listable(StrEnum):
    """What `tricell list` can list."""

    SCENARIOS = "scenarios"
    GRIDS = "grids"
    MECHANISMS = "mechanisms"
    CHARGES = "charges"
    STUDIES = "studies"


def _version_asked(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"tricell {version('tricell')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_version_asked, is_eager=True
        ),
    ] = False,
) -> None:
    pass


app.command(name="run")(run)
app.command(name="check")(check)


@app.command(name="list")
def list_(
    what: Annotated[Listable, typer.Argument(help="What to list.", show_default=False)],
) -> None:
    """List shipped scenarios and studies, grids to name, market mechanisms, or charges."""
    from tricell.scenarios.screen import grid_lines, scenario_table, standard_output

    if what is Listable.SCENARIOS:
        from tricell.scenarios.shipped import shipped_scenarios

        standard_output().print(scenario_table(shipped_scenarios()))
    elif what is Listable.GRIDS:
        from tricell.grid_models.grid_sources import list_grids

        typer.echo(grid_lines(list_grids()))
    elif what is Listable.CHARGES:
        from tricell.markets.charge_preset import known_presets
        from tricell.markets.charge_registry import known_charges
        from tricell.scenarios.charge_screen import show_charges

        show_charges(standard_output(), known_charges(), known_presets())
    elif what is Listable.STUDIES:
        from tricell.scenarios.study_file import load_study, shipped_study_names
        from tricell.scenarios.study_screen import show_studies

        show_studies(standard_output(), [load_study(name) for name in shipped_study_names()])
    else:
        from tricell.markets.mechanism_registry import known_mechanisms
        from tricell.scenarios.mechanism_screen import show_mechanisms

        show_mechanisms(standard_output(), known_mechanisms())


@app.command()
def clear(
    orders: Annotated[
        Path,
        typer.Argument(
            metavar="ORDERS", help="CSV or Parquet file with one order per row.", show_default=False
        ),
    ],
    *,
    mechanism: Annotated[
        str,
        typer.Option("--mechanism", "-m", metavar="NAME", help="See `tricell list mechanisms`."),
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--param", metavar="NAME=VALUE", help="Set a parameter of it; may be repeated."
        ),
    ] = None,
    retail: Annotated[
        float, typer.Option("--retail", metavar="PRICE", help="What the retailer takes, EUR/kWh.")
    ] = 0.30,
    feed_in: Annotated[
        float, typer.Option("--feed-in", metavar="PRICE", help="What the retailer pays, EUR/kWh.")
    ] = 0.08,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Seed of everything random.")
    ] = 1,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write all orders with results, CSV."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing FILE.")] = False,
) -> None:
    """Clear the orders of a file with a market mechanism, and show who trades at which price.

    Columns: side (buy or sell), energy_kwh, price_eur_per_kwh; if there are any also id, agent,
    time, node; all others are attributes of the orders.
    """
    from tricell.markets.mechanism import MarketTerms
    from tricell.results.output_file import require_output
    from tricell.scenarios.mechanism_choice import chosen_mechanism, refuse_outside_prices
    from tricell.scenarios.mechanism_screen import show_clearing, write_clearing
    from tricell.scenarios.order_file import read_orders
    from tricell.scenarios.screen import standard_output

    if output is not None:
        require_output(output, (), (orders,), force=force)
    refuse_outside_prices(retail, feed_in)
    market = chosen_mechanism(mechanism, parameters or ())
    book = read_orders(orders)
    terms = MarketTerms(retail, feed_in, seed, book.agent_names)
    result = market.clear(book.orders, terms)
    console = standard_output()
    show_clearing(console, book, market, terms, result)
    if output is not None:
        write_clearing(output, book, result)
        typer.echo(f"\nOrders with results: {output}")


@app.command()
def study(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY",
            help="Name of a shipped study (`tricell list studies`), or path of a YAML file.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Results (default: NAME.study in this folder)."
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler", metavar="ADDRESS", help="Dask scheduler of a cluster, tcp://HOST:PORT."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="Processes (one per core)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite existing results; runs are reused.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the path of the results file.")
    ] = False,
    dry: Annotated[
        bool, typer.Option("--dry", help="Show what would be studied; run nothing.")
    ] = False,
) -> None:
    """Study network charges: designs, axes and closures of a study file; results and a report.

    A study that was stopped goes on where it was: runs that are done are reused. Where a run fails
    the others go on, its message is in the results, and the exit code is 2.
    """
    from tricell.scenarios.screen import standard_output
    from tricell.scenarios.study_file import load_study, require_name

    loaded = load_study(require_name(study))
    if dry:
        from tricell.scenarios.study_screen import show_plan

        show_plan(standard_output(), loaded)
        return
    folder = output or Path(f"{loaded.study.name}.study")
    _study_and_report(loaded, folder, scheduler, workers, force=force, quiet=quiet)


app.command(name="compare")(compare)
app.command(name="report")(report)
app.command(name="plot")(plot)
app.command(name="view")(view)
app.command(name="validate")(validate)
app.command(name="export")(export)
app.command(name="schema")(schema)


def main() -> None:
    """Run the command line; see the module for exit codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows `?`
    try:
        app(prog_name="tricell")
    except KeyboardInterrupt:
        sys.exit(EXIT_STOPPED)


def _study_and_report(
    loaded: LoadedStudy,
    folder: Path,
    scheduler: str | None,
    workers: int | None,
    *,
    force: bool,
    quiet: bool,
) -> None:
    from tricell.results.study_report import write_report
    from tricell.scenarios.screen import standard_output
    from tricell.scenarios.study_engine import require_free, run_study
    from tricell.scenarios.study_screen import StudyProgress, show_outcome

    require_free(loaded, folder, force=force)
    try:
        with StudyProgress(loaded.study.name, shown=not quiet) as progress:
            outcome = run_study(
                loaded,
                folder,
                scheduler=scheduler,
                workers=workers,
                force=force,
                progress=progress.update,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"The runs done so far are kept in {folder}; the same command goes on from there."
        ) from None
    report = write_report(outcome.output, folder)
    if quiet:
        typer.echo(str(outcome.output))
        for message in outcome.messages:
            typer.echo(message, err=True)
    else:
        show_outcome(standard_output(), outcome, report[0])
    if outcome.state.failed:
        raise typer.Exit(EXIT_USER_ERROR)


def _show_error(error: TricellError) -> None:
    from tricell.scenarios.screen import error_output, error_text

    console, text = error_output(), error_text(str(error))
    is_laid_out = "\n" in text.plain
    console.print(text, soft_wrap=is_laid_out or not console.is_terminal)
