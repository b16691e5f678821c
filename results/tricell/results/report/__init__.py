"""The report of a run: one HTML page for people, which needs nothing beside it.

::

    write_report(Path("week.h5"), Path("week.html"))

`tricell.results.report.parts` says what a page is made of, `tricell.results.report.run_data` what
is known about the run, `tricell.results.report.look` how it looks; each module of figures turns
run data into parts, and `tricell.results.report.page` puts them on the page.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_report"]


def write_report(path: Path, output: Path) -> Path:
    """Write the report of the run in a results file as one HTML page.

    Parameters
    ----------
    path : the results file; that of a run which failed or still goes on will do.
    output : the page; it gets this name once it is whole, and takes the place of what had it.

    Returns
    -------
    The page.

    Raises
    ------
    ResultsError
        If the results file cannot be read or the page cannot be written.
    """
    from tricell.results.report.page import write_page  # noqa: PLC0415 (plotly)

    return write_page(path, output)
