"""The figures F1 to F10 of a study's report, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tricell.results.study_report import figures_bills, figures_grid, figures_market
from tricell.results.study_report.data import StudyData
from tricell.results.study_report.style import ReportFigure


def all_figures(data: StudyData) -> tuple[ReportFigure, ...]:
    """Draw F1 to F10; call it inside `style.drawing`."""
    makers: Sequence[Callable[[StudyData], ReportFigure]] = (
        figures_bills.bill_changes,
        figures_bills.bill_components,
        figures_grid.load_duration,
        figures_grid.days_before_after,
        figures_market.feedback,
        figures_bills.efficiency_equity,
        figures_grid.interface_tree,
        figures_grid.coincidence,
        figures_market.traded_energy,
        figures_bills.revenue_gap,
    )
    return tuple(make(data) for make in makers)
