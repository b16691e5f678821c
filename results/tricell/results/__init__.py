"""The results file of a run: `open_results` reads it.

Examples
--------
::

    from tricell.results import open_results

    with open_results("village.h5") as results:
        bills = results.table("bill")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tricell.results.reader import Results, open_results

__all__ = ["Results", "open_results"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # On demand, so that the layout alone can be had without h5py and pandas.
        if name in __all__:
            from tricell.results import reader  # noqa: PLC0415

            return getattr(reader, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
