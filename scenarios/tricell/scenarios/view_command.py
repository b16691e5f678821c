"""`tricell view`: the report of a run on a local address, also of one that is still going on."""
# ruff: noqa: PLC0415 (imports inside the command keep the start fast)

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def view(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Results file; a run may still be writing it, or not have begun.",
            show_default=False,
        ),
    ],
    *,
    port: Annotated[
        int,
        typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 takes a free one."),
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address; open no browser.")
    ] = False,
) -> None:
    """Serve the report of a run on this machine only, and follow a run that is going on.

    The page is made anew while the run writes its results. Ctrl-C ends it; the run goes on.
    """
    from tricell.results.report import write_report
    from tricell.results.view import Viewer

    try:
        with Viewer(file, write_report, port) as viewer:
            typer.echo(f"The report of {file} is at {viewer.address} (Ctrl-C ends).")
            if not no_browser:
                _open_browser(viewer.address)
            viewer.serve()
    except KeyboardInterrupt:
        typer.echo("")


def _open_browser(address: str) -> None:
    """Open a browser that has a window; one in the terminal would take it away."""
    import webbrowser

    has_windows = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if has_windows:
        webbrowser.open(address)
