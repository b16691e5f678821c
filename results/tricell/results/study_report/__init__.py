"""The report of a study: one page, tables T1 to T8 and figures F1 to F10, for people to read.

::

    write_report(Path("district.study.h5"), Path("district_report"))

writes ``report.html``, which needs nothing beside it and no network, ``tables/`` with CSV and
Parquet, and ``figures/`` with PNG and SVG. The same study makes the same files, byte for byte.
"""

from tricell.results.study_report.export import FORMATS, write_report

__all__ = ["FORMATS", "write_report"]
