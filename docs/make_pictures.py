"""Draws the pictures of the documentation from real runs.

``python docs/make_pictures.py`` runs the shipped scenario `district` and writes
``docs/images/district.png``, figures of ``tricell plot`` and views of the report of the run. Then
it carries out the study of ``docs/study.md`` over four days and writes figures of its report, and
runs the scenario of ``docs/flexibility.md`` by every strategy for ``docs/images/flexibility.png``.
It needs the packages of ``pip install -e ".[dev,docs]"`` and Chromium.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import matplotlib as mpl
import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from PIL import Image
from playwright.sync_api import FloatRect, Locator, Page, sync_playwright

from tricell.results.plots.plotting import Order, write_plot
from tricell.results.reader import Results, open_results
from tricell.results.report import write_report as write_run_report
from tricell.results.study_report import write_report
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.study_engine import run_study
from tricell.scenarios.study_file import load_study

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"
FILE_BLOCK = re.compile(r'^```yaml title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
STRATEGIES = {
    "rule": "rule",
    "price_band": "price_band",
    "lookahead, household": "{kind: lookahead, manager: household}",
    "lookahead, community": "{kind: lookahead, manager: community}",
}
STRATEGY_COLOURS = ("#8c8c8c", "#c2557a", "#e6862c", "#2c7fb8")
DEVICE_KINDS = {
    "vehicle": "vehicles",
    "heat_store": "heat pumps with stores",
    "appliance": "appliances",
    "shared_battery": "shared batteries",
}
STUDY_BLOCK = re.compile(r'^```yaml title="[^"]+"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
STUDY_PERIOD = {"time.start: ": "2016-02-27T00:00Z", "time.days: ": "4"}
STUDY_FIGURES = {
    "F1_bill_changes.png": "study_bill_changes.png",
    "F3_load_duration.png": "study_load_duration.png",
    "F10_revenue_gap.png": "study_revenue_gap.png",
}
COLOURS_OF_FIGURE = 128
PLOTS = {
    "prices": Order("prices", start="2016-05-27T22:00Z"),
    "duration": Order("duration"),
    "voltage_map": Order("voltage-map"),
    "grid": Order("grid", area="MV2.101"),
}
PLOT_WIDTH = 900
"""Pixels."""
REPORT_WIDTH, REPORT_SCALE = 1100, 1.5
"""Pixels of the browser's window, and how many of the picture each of them is."""
COLOURS_OF_REPORT = 256
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SHOWN_AREA = "LV3.201"
"""Area that a view of the report is about."""
DAY = ("2016-05-25", "2016-05-26")
COLOURS = {
    "microgrid": "#e6862c",
    "cell": "#2c7fb8",
    "retail": "#8c8c8c",
    "limit": "#c23b3b",
}
MICROGRID_COLOURS = ("#e6862c", "#7a9a3a", "#8e5ba6", "#c2557a", "#3b9c95", "#b08a2e")


def main() -> None:
    """Write all pictures."""
    IMAGES.mkdir(exist_ok=True)
    picture_of_district()
    picture_of_strategies()
    pictures_of_study()


def picture_of_strategies() -> None:
    """Run the scenario of the guide to devices by every strategy and draw what each does."""
    guide = (DOCS / "flexibility.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in FILE_BLOCK.findall(guide):
            (folder / file).write_text(text, encoding="utf-8")
        runs = {}
        for strategy, value in STRATEGIES.items():
            override = Override.from_assignment(f"participants.strategy={value}")
            scenario = load_scenario(str(folder / "street.yaml"), [override])
            runs[strategy] = run_scenario(scenario, folder / f"{len(runs)}.h5").output
        figure = draw_strategies(runs)
    figure.savefig(IMAGES / "flexibility.png", dpi=110)


def draw_strategies(runs: dict[str, Path]) -> plt.Figure:
    """Return what crosses the border by each strategy, and what devices draw by the last one."""
    mpl.rcParams |= {"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False}
    figure, (border, devices) = plt.subplots(2, 1, figsize=(9.0, 5.6), layout="constrained")
    for (strategy, file), colour in zip(runs.items(), STRATEGY_COLOURS, strict=True):
        with open_results(file) as results:
            imported = results.frame("cell", "p_import").sum(axis=1)
        border.step(imported.index, imported, where="post", color=colour, label=strategy)
    border.set_title("What both streets together take from outside, kW", loc="left")
    with open_results(file) as results:
        power, kinds = results.frame("device", "p"), results.table("device").set_index("device")
    for (kind, label), colour in zip(DEVICE_KINDS.items(), MICROGRID_COLOURS, strict=False):
        drawn = power[kinds.index[kinds["kind"] == kind]].sum(axis=1)
        devices.step(drawn.index, drawn, where="post", color=colour, label=label)
    devices.set_title(f"What devices draw with {strategy}, kW", loc="left")
    for axes in (border, devices):
        axes.axhline(0.0, color="#cccccc", linewidth=0.8, zorder=0)
        axes.legend(frameon=False, fontsize=8.5, ncols=4, loc="upper center")
        axes.set_ylim(top=1.25 * axes.get_ylim()[1])
        axes.xaxis.set_major_formatter(mdates.DateFormatter("%H:%M"))
        axes.margins(x=0)
    return figure


def picture_of_district() -> None:
    """Run the scenario and write its picture."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_scenario(load_scenario("district"), Path(folder) / "district.h5")
        with open_results(outcome.output) as results:
            figure = draw(results)
        pictures_of_kinds(outcome.output)
        pictures_of_report(outcome.output)
    figure.savefig(IMAGES / "district.png", dpi=110)


def pictures_of_kinds(results: Path) -> None:
    """Write figures of `tricell plot` of a run of `district`."""
    for name, order in PLOTS.items():
        picture = IMAGES / f"plot_{name}.png"
        write_plot(results, order, picture, force=True)
        shrink(picture, picture, PLOT_WIDTH)


def pictures_of_report(results: Path) -> None:
    """Write views of the report of a run of `district`, as a browser shows it."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"no browser on the PATH: none of {', '.join(BROWSERS)}")
    report = write_run_report(results, results.with_suffix(".html"))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser)
        page = chromium.new_page(
            viewport={"width": REPORT_WIDTH, "height": 900}, device_scale_factor=REPORT_SCALE
        )
        page.goto(report.as_uri())
        photograph(page, "hierarchy", "report", from_top=True)
        page.get_by_label("Area", exact=True).select_option(SHOWN_AREA)
        drawn(page, "grid_map")
        page.get_by_role("button", name="highest voltage").click()
        photograph(page, "grid_map", "report_grid")
        chromium.close()


def photograph(page: Page, part: str, name: str, *, from_top: bool = False) -> None:
    """Write a part of a page as a picture, all above it too if that is asked for."""
    plot = drawn(page, part)
    page.evaluate("window.scrollTo(0, 0)")  # the bar of sections then lies over nothing
    box = plot.bounding_box()
    head = page.locator(f'[data-controls="{part}"]').locator("..").bounding_box()
    assert box is not None
    assert head is not None
    top = 0.0 if from_top else head["y"]
    picture = IMAGES / f"{name}.png"
    height = box["y"] + box["height"] - top
    clip = FloatRect(x=0.0, y=top, width=REPORT_WIDTH, height=height)
    page.screenshot(path=picture, full_page=True, clip=clip)
    with Image.open(picture) as image:
        few = image.convert("RGB").quantize(COLOURS_OF_REPORT)
    few.save(picture, optimize=True)


def drawn(page: Page, part: str) -> Locator:
    """Scroll to a figure, wait until it is drawn, and return it."""
    plot = page.locator(f'[data-part="{part}"]')
    plot.scroll_into_view_if_needed()
    page.wait_for_function("plot => plot.dataset.drawn", arg=plot.element_handle())
    page.wait_for_timeout(1000)  # figures move to where they belong
    return plot


def shrink(source: Path, target: Path, width: int | None = None) -> None:
    """Keep a picture in few colours and, if it is asked for, so many pixels wide."""
    with Image.open(source) as image:
        small = image.convert("RGB")
        if width is not None:
            small = small.resize((width, round(width * small.height / small.width)))
        method = (
            Image.Quantize.MAXCOVERAGE
        )  # keeps colours of which there is little, such as scales
        small.quantize(COLOURS_OF_FIGURE, method).save(target, optimize=True)


def pictures_of_study() -> None:
    """Carry out the study of the guide over a longer period and keep figures of its report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "study.yaml"
        file.write_text(study_of_the_guide(), encoding="utf-8")
        outcome = run_study(load_study(str(file)), folder)
        write_report(outcome.output, folder, formats=("png",))
        for figure, picture in STUDY_FIGURES.items():
            shrink(folder / "figures" / figure, IMAGES / picture)


def study_of_the_guide() -> str:
    """Return the study file of ``docs/study.md`` with the period of the pictures."""
    found = STUDY_BLOCK.search((DOCS / "study.md").read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit("docs/study.md has no study file any more: no block ```yaml title=...")
    text = found.group(1)
    for field, value in STUDY_PERIOD.items():
        text = re.sub(rf"{re.escape(field)}\S+", field + value, text)
    return text


def draw(results: Results) -> plt.Figure:
    """Return the picture of one day: the network, the trades, the prices and the grid."""
    mpl.rcParams |= {"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False}
    figure = plt.figure(figsize=(11.0, 6.2), layout="constrained")
    parts = figure.subplot_mosaic(
        [["map", "energy"], ["map", "price"], ["map", "loading"]], width_ratios=[1.0, 1.15]
    )
    draw_network(parts["map"], results)
    draw_energy(parts["energy"], results)
    draw_prices(parts["price"], results)
    draw_loading(parts["loading"], results)
    for name in ("energy", "price", "loading"):
        parts[name].xaxis.set_major_formatter(mdates.DateFormatter("%H:%M"))
        parts[name].margins(x=0)
    return figure


def draw_network(axes: Axes, results: Results) -> None:
    """Draw all lines in the colour of their area."""
    bus = results.table("bus").set_index("bus")
    line = results.table("line")
    areas = results.table("area")
    microgrids = areas.loc[areas["level"] == "microgrid", "area"]
    colours = dict.fromkeys(areas["area"], COLOURS["cell"])
    colours |= dict(zip(microgrids, MICROGRID_COLOURS, strict=False))
    for area, lines in line.groupby("area", observed=True):
        ends = [
            (tuple(bus.loc[a, ["x", "y"]]), tuple(bus.loc[b, ["x", "y"]]))
            for a, b in zip(lines["from_bus"], lines["to_bus"], strict=True)
        ]
        is_cell = colours[area] == COLOURS["cell"]
        axes.add_collection(
            LineCollection(ends, colors=colours[area], linewidths=1.0 if is_cell else 1.8)
        )
        kind = "cell" if is_cell else "microgrid"
        axes.plot([], [], color=colours[area], linewidth=2.5, label=f"{area} ({kind})")
    axes.autoscale()
    axes.set_aspect(1.65)
    axes.set_axis_off()
    axes.legend(loc="lower left", frameon=False, fontsize=8.5)
    axes.set_title("SimBench MV2.101 with six of its LV grids", loc="left")


def draw_energy(axes: Axes, results: Results) -> None:
    """Draw where the energy of the microgrids' buyers came from, kW."""
    hours = results.attrs["time_step_s"] / 3600.0
    inside = day(results.frame("microgrid", "energy_traded")).sum(axis=1) / hours
    imported = day(results.frame("microgrid", "p_import")).clip(lower=0.0).sum(axis=1)
    axes.stackplot(
        inside.index,
        inside,
        imported,
        labels=["from the own microgrid", "from the cell or above"],
        colors=[COLOURS["microgrid"], COLOURS["cell"]],
        step="post",
    )
    axes.set_title("What the microgrids' buyers took on 2016-05-25 (UTC), kW", loc="left")
    axes.legend(loc="upper left", frameon=False, ncols=2, fontsize=8.5)
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])


def draw_prices(axes: Axes, results: Results) -> None:
    """Draw the price of each microgrid between feed-in and retail price, EUR/kWh."""
    microgrids = day(results.frame("microgrid", "price"))
    slots = day(results.slots())
    for (name, price), colour in zip(microgrids.items(), MICROGRID_COLOURS, strict=False):
        axes.step(price.index, price, where="post", color=colour, linewidth=1.4, label=name)
    for name, label, above in (
        ("retail_price", "retail", 0.01),
        ("feed_in_price", "feed-in", -0.035),
    ):
        axes.step(slots.index, slots[name], where="post", color=COLOURS["retail"], linestyle="--")
        axes.annotate(label, (slots.index[2], slots[name].iloc[2] + above), color="#666666")
    axes.set_title("Price in each microgrid, EUR/kWh", loc="left")
    axes.set_ylim(-0.01, 0.37)


def draw_loading(axes: Axes, results: Results) -> None:
    """Draw the loading of the transformers that feed the microgrids, percent."""
    trafo = results.table("trafo")
    loading = day(results.frame("trafo", "loading"))
    areas = results.table("area")
    microgrids = areas.loc[areas["level"] == "microgrid", "area"]
    for area, colour in zip(microgrids, MICROGRID_COLOURS, strict=False):
        ids = trafo.loc[trafo["area"] == area, "trafo"]
        axes.plot(loading.index, loading[ids].max(axis=1), color=colour, linewidth=1.4)
    axes.axhline(100.0, color=COLOURS["limit"], linestyle="--", linewidth=1.2)
    axes.annotate("limit", (loading.index[2], 103), color=COLOURS["limit"])
    axes.set_title("Loading of each microgrid's transformer by the AC power flow, %", loc="left")
    axes.set_ylim(0, 118)


def day(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the day of the picture."""
    return frame.loc[(frame.index >= DAY[0]) & (frame.index < DAY[1])]


if __name__ == "__main__":  # the processes of the study import this file
    main()
