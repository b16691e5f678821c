"""Writing a study's report: the page, tables as CSV and Parquet, figures as PNG and SVG."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from tricell.errors import ResultsError
from tricell.results.study_report import page
from tricell.results.study_report.data import StudyData, load
from tricell.results.study_report.figures import all_figures
from tricell.results.study_report.style import ReportFigure, drawing
from tricell.results.study_report.tables import ReportTable, all_tables

FORMATS = ("html", "csv", "parquet", "png", "svg")
PAGE = "report.html"
TABLES = "tables"
FIGURES = "figures"
CAPTIONS = "captions.txt"
DRAWN = frozenset({"html", "png", "svg"})
"""Formats that need the figures."""
PNG_DPI = 200
CSV_DIGITS = "%.7g"
"""Numbers in CSV; Parquet has all digits."""


def write_report(study_file: Path, folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write the report of a study and return the paths of its files.

    Files of an earlier report in the same folder are replaced; a figure that is no longer drawn is
    removed.

    Parameters
    ----------
    study_file : results of a study.
    folder : where to write; made if it is not there.
    formats : which of `FORMATS`.

    Raises
    ------
    ResultsError
        If a format is unknown, if the study cannot be read or has nothing to report, or if the
        folder cannot be written to.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ResultsError(
            f"The report has no format {', '.join(unknown)}; choose from {', '.join(FORMATS)}."
        )
    data = load(study_file)
    with drawing():
        figures = all_figures(data) if set(formats) & DRAWN else ()
    return save_report(data, all_tables(data), figures, folder, formats)


def save_report(
    data: StudyData,
    tables: Sequence[ReportTable],
    figures: Sequence[ReportFigure],
    folder: Path,
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Write tables and figures of a study, as `write_report` does, and return the paths.

    Raises
    ------
    ResultsError
        If the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with drawing():
            drawn = {each.key: _svg(each.drawing) for each in figures if each.drawing is not None}
            paths = [
                *_write_figures(folder / FIGURES, figures, drawn, formats),
                *_write_tables(folder / TABLES, tables, formats),
            ]
        if "html" in formats:
            text = page.render(data, tables, figures, drawn)
            paths.insert(0, _written(folder / PAGE, text.encode("utf-8")))
    except OSError as error:
        raise ResultsError(
            f"The report cannot be written to {folder}: {error}. Choose another folder, or make "
            "room."
        ) from error
    return paths


def file_stem(part: ReportTable | ReportFigure) -> str:
    """Name the files of a table or figure, such as ``T1_revenue``."""
    return f"{part.key}_{part.slug}"


def _write_tables(
    folder: Path, tables: Sequence[ReportTable], formats: Sequence[str]
) -> Iterator[Path]:
    for table in tables:
        stem = folder / file_stem(table)
        if "csv" in formats:
            text = table.full.to_csv(index=False, lineterminator="\n", float_format=CSV_DIGITS)
            yield _written(stem.with_suffix(".csv"), text.encode("utf-8"))
        if "parquet" in formats:
            buffer = io.BytesIO()
            table.full.to_parquet(buffer, index=False)
            yield _written(stem.with_suffix(".parquet"), buffer.getvalue())


def _write_figures(
    folder: Path, figures: Sequence[ReportFigure], svg: dict[str, bytes], formats: Sequence[str]
) -> Iterator[Path]:
    for figure in figures:
        stem = folder / file_stem(figure)
        for name in ("svg", "png"):
            if figure.drawing is None and name in formats:
                stem.with_suffix(f".{name}").unlink(missing_ok=True)
        if figure.drawing is not None and "svg" in formats:
            yield _written(stem.with_suffix(".svg"), svg[figure.key])
        if figure.drawing is not None and "png" in formats:
            yield _written(stem.with_suffix(".png"), _png(figure.drawing))
    if "png" in formats or "svg" in formats:
        yield _written(folder / CAPTIONS, _captions(figures).encode("utf-8"))


def _captions(figures: Sequence[ReportFigure]) -> str:
    """Return what to print below each figure where it is used elsewhere."""
    blocks = [
        "\n".join(line for line in (f"{each.key} {each.title}", each.caption, *each.notes) if line)
        for each in figures
    ]
    return "\n\n".join(blocks) + "\n"


def _svg(figure: Figure) -> bytes:
    """Draw a figure, which keeps the layout that it finds for what is drawn next."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=PNG_DPI, metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")
    return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
