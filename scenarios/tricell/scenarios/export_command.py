"""The command `tricell export`: parts of a results file for other programs."""
# ruff: noqa: PLC0415 (imports inside the command keep the start fast)

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tricell.errors import ResultsError

if TYPE_CHECKING:
    from tricell.results.export import Period
    from tricell.results.export_writing import Stream
    from tricell.results.reader import Results


class ExportFormat(StrEnum):
    """What a part of a results file can be written as."""

    CSV = "csv"
    PARQUET = "parquet"
    MOSAIK = "mosaik-hdf5"


class What(StrEnum):
    """What part of a results file is exported."""

    TABLE = "table"
    SERIES = "series"
    METERS = "meters"
    ALL = "all"


ENDINGS = {
    ExportFormat.CSV: (".csv",),
    ExportFormat.PARQUET: (".parquet",),
    ExportFormat.MOSAIK: (".h5", ".hdf5"),
}


def export(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Results of a run.", show_default=False),
    ],
    *,
    table: Annotated[
        str | None,
        typer.Option("--table", "-t", metavar="NAME", help="A table, such as trade or bill."),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            "--series",
            metavar="GROUP[/VARIABLE]",
            help="A variable, one column per entity; or a group, one column per variable.",
        ),
    ] = None,
    meters: Annotated[
        bool,
        typer.Option("--meters", help="Import, export and shared energy per meter and slot."),
    ] = False,
    to: Annotated[
        ExportFormat | None,
        typer.Option("--to", help="By default that of the output's ending, or csv."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Default: named after FILE, in this folder."
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="ISO", help="From this time on, UTC.")
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--stop", metavar="ISO", help="Before this time, UTC.")
    ] = None,
    units: Annotated[
        bool, typer.Option("--units", help="Add units to the names of the columns of a CSV.")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="List the tables and time series of FILE.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing output.")] = False,
) -> None:
    """Write a table, time series or the energy of all meters as CSV or Parquet.

    With --to mosaik-hdf5 write all time series in the layout of mosaik-hdf5.
    """
    from tricell.results import open_results
    from tricell.results.export import Period, contents
    from tricell.results.output_file import require_output

    with open_results(file) as results:
        if list_:
            typer.echo(contents(results))
            return
        kind = _format(to, output)
        if units and kind is not ExportFormat.CSV:
            raise ResultsError(
                "--units is for CSV: Parquet files and those of mosaik-hdf5 are not changed by it. "
                "Leave it out."
            )
        what, name = _chosen(results, table, series, meters, kind)
        period = Period(start, stop)
        target = output or _default_output(file, what, name, kind)
        require_output(target, ENDINGS[kind], (file, results.path), force=force)
        if kind is ExportFormat.MOSAIK:
            from tricell.results.export_mosaik import write_mosaik

            count = write_mosaik(results, target, period)
        else:
            count = _write(results, _stream(results, what, name, period), kind, target, units)
    typer.echo(f"{target}: {count} {'entities' if kind is ExportFormat.MOSAIK else 'rows'}")


def _format(to: ExportFormat | None, output: Path | None) -> ExportFormat:
    if to is not None:
        return to
    ending = ".csv" if output is None else output.suffix.lower()
    found = [each for each, endings in ENDINGS.items() if ending in endings]
    if not found:
        raise ResultsError(
            f"The output `{output}` does not tell its format. Choose one with --to: "
            f"{', '.join(ExportFormat)}."
        )
    return found[0]


def _chosen(
    results: Results, table: str | None, series: str | None, meters: bool, kind: ExportFormat
) -> tuple[What, str]:
    """Give what was asked for, and the name of the table or series.

    Raises
    ------
    ResultsError
        If nothing was asked for, or more than one thing.
    """
    from tricell.results.export import contents

    asked = [
        (what, name)
        for what, name in (
            (What.TABLE, table),
            (What.SERIES, series),
            (What.METERS, "meters" if meters else None),
        )
        if name is not None
    ]
    if kind is ExportFormat.MOSAIK:
        if asked:
            raise ResultsError(
                "The layout of mosaik-hdf5 has no tables and holds all time series. Leave out "
                "--table, --series and --meters."
            )
        return What.ALL, "mosaik"
    if len(asked) == 1:
        return asked[0]
    problem = "Choose only one of" if asked else "Choose what to export:"
    raise ResultsError(
        f"{problem} --table NAME, --series GROUP[/VARIABLE] and --meters.\n\n"
        f"{results.path} has\n\n{contents(results)}"
    )


def _default_output(file: Path, what: What, name: str, kind: ExportFormat) -> Path:
    run = Path(file.name.removesuffix(".part")).stem
    part = f"{name}_series" if what is What.SERIES and "/" not in name else name
    return Path(f"{run}_{part.replace('/', '_')}{ENDINGS[kind][0]}")


def _stream(results: Results, what: What, name: str, period: Period) -> Stream:
    from tricell.results.export import group_stream, series_stream, table_stream
    from tricell.results.export_meters import meter_stream

    if what is What.TABLE:
        return table_stream(results, name, period)
    if what is What.METERS:
        return meter_stream(results, period)
    group, separator, variable = name.partition("/")
    if separator:
        return series_stream(results, group, variable, period)
    return group_stream(results, group, period)


def _write(results: Results, stream: Stream, kind: ExportFormat, output: Path, units: bool) -> int:
    from tricell.results.export_writing import write_csv, write_parquet

    if kind is ExportFormat.CSV:
        return write_csv(stream, output, with_units=units)
    about = ("run_id", "source", "schema_name", "schema_version", "time_label", "sign_convention")
    return write_parquet(stream, output, {name: str(results.attrs[name]) for name in about})
