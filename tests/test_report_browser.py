"""The report in a real browser: all is drawn, can be used by mouse and keys, and can be read."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page
from tests.browser import Witness, axe_violations, load_probe, running_browser, watch
from tests.colours import VISION, closest, contrast, lightness, seen_as

from tricell.results.report import write_report
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario

SETTINGS = ("market.coordination=local_first",)
GOLDEN = Path(__file__).parent / "golden" / "results-1.0.h5.gz"
WIDE, NARROW = 1280, 390
SMALLEST_TYPE_PX = 11.0
LEAST_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3, for type of any size."""
APART = 15.0
"""CIE76; about 2.3 is the least that is seen side by side (Mahy et al., Color Res. Appl. 1994)."""
FAR_APART = 40.0
LEAST_OUTLINE_PX = 2.0
"""WCAG 2.2, 2.4.13."""
MOST_CONTROLS = 400
CONTROL = re.compile(
    r'^\s*- (button|link|combobox|slider|checkbox|radio|textbox|spinbutton)(?P<name> ".+")?'
)
PATIENCE_MS = 120_000.0


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a day of the village, with markets level by level."""
    folder = tmp_path_factory.mktemp("report")
    scenario = load_scenario("village", [Override.from_assignment(text) for text in SETTINGS])
    output = run_scenario(scenario, folder / "village.h5").output
    return write_report(output, folder / "village.html")


@pytest.fixture(scope="module")
def browser(report: Path) -> Iterator[Browser]:
    """Start a browser after the run: both want the process's event loop."""
    with running_browser() as started:
        yield started


def opened(browser: Browser, report: Path, width: int, **settings: Any) -> tuple[Page, Witness]:
    context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    witness = watch(page)
    page.goto(report.as_uri())
    load_probe(page)
    return page, witness


def scroll_through(page: Page) -> None:
    """Go down the page as a reader does, and wait until all that came into view is drawn."""
    for part in page.locator("[data-part]").all():
        part.scroll_into_view_if_needed()
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-part]')].every(p => p.dataset.drawn === 'yes')"
    )


@pytest.fixture(scope="module", params=[WIDE, NARROW])
def drawn(
    request: pytest.FixtureRequest, browser: Browser, report: Path
) -> Iterator[tuple[Page, Witness]]:
    """The page with all its figures, on a wide and on a narrow screen; only looked at."""
    page, witness = opened(browser, report, request.param, reduced_motion="reduce")
    scroll_through(page)
    yield page, witness
    page.context.close()


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """A page to play with; what it complains about in the end is a fault."""
    page, witness = opened(browser, report, WIDE, reduced_motion="reduce")
    yield page
    assert witness.complaints == []
    assert witness.requests == []
    page.context.close()


def test_what_looks_at_the_page_finds_the_faults_of_a_bad_one(browser: Browser) -> None:
    with browser.new_context(viewport={"width": NARROW, "height": 600}) as context:
        page = context.new_page()
        witness = watch(page)
        page.set_content(
            """<html><body style="margin: 0; width: 500px">
            <p style="color: #999">pale type</p> <p style="font-size: 9px">small type</p>
            <svg><g class="trace"><path d="M0 0" fill="red"></path></g></svg>
            <button style="position: absolute; top: 200px">under</button>
            <div style="position: absolute; top: 150px; width: 300px; height: 150px;
              background: #eee"></div>
            <button style="position: absolute; top: 400px; outline: none">one</button>
            <button style="position: absolute; top: 405px; outline: none">two</button>
            <img src="http://example.org/a.png" alt="">
            <script>console.error("a complaint"); undefined_function();</script></body></html>"""
        )
        load_probe(page)
        texts = {each["text"]: each for each in page.evaluate("probe.texts()")}
        assert contrast(texts["pale type"]["ink"], texts["pale type"]["ground"]) < LEAST_CONTRAST
        assert texts["small type"]["size"] < SMALLEST_TYPE_PX
        assert any("under" in fault for fault in page.evaluate("probe.covered()"))
        assert len(page.evaluate("probe.overlaps()")) == 1
        assert page.evaluate("document.documentElement.scrollWidth") > NARROW
        page.locator("button", has_text="one").focus()
        assert page.evaluate("probe.focused().outline") < LEAST_OUTLINE_PX
        assert witness.requests == ["http://example.org/a.png"]
        assert any("a complaint" in complaint for complaint in witness.complaints)
        assert any("undefined_function" in complaint for complaint in witness.complaints)


# --- everything is drawn ---


def test_all_is_drawn_without_a_complaint_and_without_a_network(
    drawn: tuple[Page, Witness],
) -> None:
    page, witness = drawn
    assert witness.complaints == []
    assert witness.requests == []
    assert page.locator("[data-part]").count() >= 10
    assert page.get_by_text("Drawn when it comes into view").count() == 0


def test_every_figure_has_marks_that_can_be_seen(drawn: tuple[Page, Witness]) -> None:
    page, _ = drawn
    for plot in page.evaluate("probe.marks()"):
        assert plot["marks"] or plot["canvases"], f"{plot['part']} is empty"


def test_every_part_has_a_table_or_a_figure_or_says_what_is_missing(
    drawn: tuple[Page, Witness],
) -> None:
    page, _ = drawn
    for part in page.locator("article.part").all():
        content = part.locator("[data-part], table tbody tr, details, .missing, .notes")
        assert content.count(), part.get_attribute("id")


def test_the_page_of_another_run_is_drawn_without_a_complaint_too(
    browser: Browser, tmp_path: Path
) -> None:
    golden = tmp_path / "golden.h5"
    golden.write_bytes(gzip.decompress(GOLDEN.read_bytes()))
    page, witness = opened(browser, write_report(golden, tmp_path / "golden.html"), NARROW)
    page.get_by_role("button", name="Draw all figures").click()
    page.locator("#spoken", has_text="All figures are drawn.").wait_for(state="attached")
    assert all(each["marks"] for each in page.evaluate("probe.marks()"))
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW
    assert (witness.complaints, witness.requests) == ([], [])
    page.context.close()


# --- choosing an area ---


def first_microgrid(page: Page) -> tuple[str, str]:
    """Return id and name of an area without areas in it."""
    page.wait_for_function("window.tricellPage")
    options = page.locator("#area option").all()
    last = options[-1]
    value, label = last.get_attribute("value"), last.inner_text().strip()
    assert value
    return value, label


def chosen(page: Page) -> str:
    return page.locator("#area").input_value()


def draw(page: Page, part: str) -> Locator:
    plot = page.locator(f'[data-part="{part}"]')
    plot.scroll_into_view_if_needed()
    page.locator(f'[data-part="{part}"][data-drawn="yes"]').wait_for()
    return plot


def points_on_the_map(page: Page) -> int:
    count: int = page.evaluate(
        """() => document.querySelector('[data-part="grid_map"]').data
        .filter(trace => trace.name === "bus").reduce((sum, trace) => sum + trace.x.length, 0)"""
    )
    return count


def shown_rows(page: Page) -> list[str]:
    """Return the areas of those rows of tables that are about an area and shown."""
    areas: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("tr[data-area]")]
        .filter(row => !row.hidden).map(row => row.dataset.area)"""
    )
    return areas


def click_beside_the_name(page: Page, block: Locator) -> None:
    """Click into a block of the hierarchy near its upper left corner: others stand on it."""
    block.scroll_into_view_if_needed()
    box = block.locator("path.surface").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 20.0, box["y"] + 12.0)


def test_a_click_into_the_hierarchy_shows_that_area_everywhere_and_a_click_above_all_again(
    page: Page,
) -> None:
    draw(page, "grid_map")
    whole, rows = points_on_the_map(page), shown_rows(page)
    area, _ = first_microgrid(page)
    hierarchy = draw(page, "hierarchy")
    click_beside_the_name(page, hierarchy.locator("g.slice", has_text=area).first)
    page.wait_for_function("area => document.getElementById('area').value === area", arg=area)
    assert f"area={area}" in page.url
    assert hierarchy.get_attribute("data-level") == area
    assert area in page.locator("#spoken").inner_text()
    page.wait_for_function(
        """whole => document.querySelector('[data-part="grid_map"]').data
        .filter(trace => trace.name === "bus")[0].x.length < whole""",
        arg=whole,
    )
    assert 0 < points_on_the_map(page) < whole
    assert set(shown_rows(page)) == {area} < set(rows)

    click_beside_the_name(page, hierarchy.locator("g.pathbar").first)
    page.wait_for_function("area => document.getElementById('area').value !== area", arg=area)
    assert f"area={area}" not in page.url
    page.wait_for_function(
        """whole => document.querySelector('[data-part="grid_map"]').data
        .filter(trace => trace.name === "bus")[0].x.length === whole""",
        arg=whole,
    )
    assert len(shown_rows(page)) == len(rows)


def test_the_list_of_areas_and_the_list_inside_the_hierarchy_do_the_same(page: Page) -> None:
    area, _ = first_microgrid(page)
    draw(page, "hierarchy")
    page.get_by_label("Area", exact=True).select_option(area)
    assert f"area={area}" in page.url
    page.locator(f'[data-part="hierarchy"][data-level="{area}"]').wait_for()

    inside = page.locator("#hierarchy-list")
    inside.locator("summary").press("Enter")
    inside.locator("button").first.press("Enter")
    page.wait_for_function("area => document.getElementById('area').value !== area", arg=area)
    table = inside.locator("table")
    assert table.locator("tbody tr").count() > 0
    table.get_by_role("button", name=area).first.press("Enter")
    page.locator(f'[data-part="hierarchy"][data-level="{area}"]').wait_for()
    assert chosen(page) == area


def test_an_address_with_an_area_opens_that_area(browser: Browser, report: Path) -> None:
    page, witness = opened(browser, report, NARROW)
    area, _ = first_microgrid(page)
    page.goto("about:blank")
    page.goto(f"{report.as_uri()}#area={area}")
    page.wait_for_function("area => document.getElementById('area').value === area", arg=area)
    draw(page, "hierarchy")
    page.locator(f'[data-part="hierarchy"][data-level="{area}"]').wait_for()
    page.goto(f"{report.as_uri()}#area=no-such-area")
    page.wait_for_function("document.getElementById('area').value === ''")
    assert witness.complaints == []
    page.context.close()


def test_the_back_button_leads_to_the_area_chosen_before(page: Page) -> None:
    area, _ = first_microgrid(page)
    page.get_by_label("Area", exact=True).select_option(area)
    assert f"area={area}" in page.url
    page.go_back()
    page.wait_for_function("document.getElementById('area').value === ''")
    page.go_forward()
    page.wait_for_function("area => document.getElementById('area').value === area", arg=area)


def test_a_figure_that_cannot_follow_the_area_says_that_it_shows_all(page: Page) -> None:
    draw(page, "savings")
    area, _ = first_microgrid(page)
    page.get_by_label("Area", exact=True).select_option(area)
    note = page.locator("#part-savings .about-area")
    assert "All areas are shown here" in note.inner_text()
    page.get_by_label("Area", exact=True).select_option("")
    assert note.is_hidden()


def test_names_of_flows_are_short_on_a_narrow_screen(browser: Browser, report: Path) -> None:
    names = []
    for width in (WIDE, NARROW):
        page, witness = opened(browser, report, width)
        draw(page, "energy_flows")
        names.append(page.locator('[data-part="energy_flows"] .node-label').all_text_contents())
        assert witness.complaints == []
        page.context.close()
    assert sum(map(len, names[1])) < 0.7 * sum(map(len, names[0]))
    assert "bought outside" in names[0]
    assert "bought" in names[1]


# --- the slider of the grid ---


def colours_on_the_map(page: Page) -> list[float]:
    colours: list[float] = page.evaluate(
        """() => document.querySelector('[data-part="grid_map"]').data
        .filter(trace => trace.name === "bus").flatMap(trace => [...trace.marker.color])"""
    )
    return colours


def wait_for_stop(page: Page, stop: int) -> str:
    page.locator(f'[data-part="grid_map"][data-stop="{stop}"]').wait_for()
    return page.locator("#grid-moment-text").inner_text()


def test_the_slider_moves_the_grid_through_time_by_mouse_and_by_keys(page: Page) -> None:
    draw(page, "grid_map")
    slider = page.get_by_role("slider", name="Moment")
    seen = {0: (wait_for_stop(page, 0), colours_on_the_map(page))}
    painted = [page.locator('[data-part="grid_map"]').screenshot()]
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    middle = int(slider.input_value())
    assert 40 <= middle <= 56, "96 slots, clicked in the middle"
    seen[middle] = (wait_for_stop(page, middle), colours_on_the_map(page))
    painted.append(page.locator('[data-part="grid_map"]').screenshot())
    for key, step in (("ArrowRight", 1), ("ArrowLeft", -1), ("End", 96 - middle), ("Home", -96)):
        before = int(slider.input_value())
        slider.press(key)
        now = int(slider.input_value())
        assert now - before == step, key
        seen[now] = (wait_for_stop(page, now), colours_on_the_map(page))
        assert slider.get_attribute("aria-valuetext") == seen[now][0]
    assert len({time for time, _ in seen.values()}) == len(seen), "each moment has its own time"
    assert seen[0][1] != seen[middle][1] != seen[96][1]
    assert painted[0] != painted[1]


def test_the_moments_worth_a_look_are_buttons(page: Page) -> None:
    draw(page, "grid_map")
    group = page.get_by_role("group", name="Moments worth a look")
    button = group.get_by_role("button").nth(1)
    stop = button.get_attribute("data-stop")
    assert stop is not None
    button.click()
    assert wait_for_stop(page, int(stop)) != ""
    assert button.get_attribute("aria-pressed") == "true"
    assert group.locator("[aria-pressed=true]").count() == 1
    assert page.get_by_role("slider", name="Moment").input_value() == stop


# --- by keyboard alone ---


def test_the_skip_link_comes_first_and_leads_to_the_content(page: Page) -> None:
    page.keyboard.press("Tab")
    focused = page.evaluate("probe.focused()")
    assert "Skip to the content" in focused["name"]
    assert focused["isInView"]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_the_tab_key_reaches_every_control_and_shows_where_it_is(
    drawn: tuple[Page, Witness],
) -> None:
    page, _ = drawn
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    controls = dict(page.evaluate("probe.controls()"))
    reached: dict[int, dict[str, Any]] = {}
    for _ in range(MOST_CONTROLS):
        page.keyboard.press("Tab")
        focused = page.evaluate("probe.focused()")
        if focused is None:
            break
        assert focused["place"] > max(reached, default=-1), f"{focused['name']} is out of order"
        reached[focused["place"]] = focused
    else:
        pytest.fail("the keyboard never leaves the page")
    assert [
        each["name"]
        for each in reached.values()
        if each["outline"] < LEAST_OUTLINE_PX or not each["isInView"]
    ] == [], "has the keyboard, but one does not see it"
    assert [name for place, name in controls.items() if place not in reached] == []


# --- names, order and landmarks ---


def test_the_page_has_a_title_a_language_landmarks_and_headings_in_order(
    drawn: tuple[Page, Witness],
) -> None:
    page, _ = drawn
    assert page.locator("html").get_attribute("lang") == "en"
    assert "village" in page.title()
    for role in ("banner", "main", "navigation", "contentinfo"):
        assert page.get_by_role(role).count() == 1, role
    levels = [int(h.evaluate("h => h.tagName[1]")) for h in page.locator("h1,h2,h3,h4,h5,h6").all()]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(later - former <= 1 for former, later in pairwise(levels))


def test_every_control_has_a_name_for_those_who_do_not_see_it(
    drawn: tuple[Page, Witness],
) -> None:
    page, _ = drawn
    lines = page.locator("body").aria_snapshot().splitlines()
    controls = [found for found in map(CONTROL.match, lines) if found]
    assert len(controls) > 20
    assert [found.group(0) for found in controls if not found.group("name")] == []


def test_axe_finds_nothing_serious(drawn: tuple[Page, Witness]) -> None:
    page, _ = drawn
    assert axe_violations(page, ("serious", "critical")) == []


# --- can be read ---


def test_nothing_is_wider_than_the_screen_and_nothing_covers_a_control(
    drawn: tuple[Page, Witness],
) -> None:
    page, _ = drawn
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate("probe.covered()") == []
    assert page.evaluate("probe.overlaps()") == []


def test_type_is_large_and_dark_enough(drawn: tuple[Page, Witness]) -> None:
    page, _ = drawn
    texts = page.evaluate("probe.texts()")
    assert len(texts) > 200
    assert [each for each in texts if each["size"] < SMALLEST_TYPE_PX] == []
    assert [
        each
        for each in texts
        if "ink" in each and contrast(each["ink"], each["ground"]) < LEAST_CONTRAST
    ] == []


def test_motion_is_left_out_for_those_who_ask_for_it(
    browser: Browser, report: Path, page: Page
) -> None:
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    page.get_by_role("link", name="Grid", exact=True).click()
    assert page.evaluate("document.getAnimations().length") == 0
    moving, _ = opened(browser, report, WIDE, reduced_motion="no-preference")
    assert moving.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "smooth"
    moving.context.close()


# --- colours ---


def test_lines_and_bars_that_differ_only_in_colour_differ_for_everybody(
    drawn: tuple[Page, Witness],
) -> None:
    page, _ = drawn
    marks = [
        each for each in page.evaluate("probe.palette().lines") if each["colour"].startswith("#")
    ]
    assert len(marks) > 10
    for one, other in combinations(marks, 2):
        if one["part"] != other["part"] or one["other"] != other["other"]:
            continue
        if one["colour"].lower() == other["colour"].lower():
            continue
        for vision in VISION:
            distance, _ = closest([one["colour"], other["colour"]], vision)
            names = (one["part"], one["name"], other["name"], vision)
            assert distance >= APART, names


def test_scales_of_colours_keep_their_order_for_everybody(drawn: tuple[Page, Witness]) -> None:
    page, _ = drawn
    scales = {tuple(each["scale"]) for each in page.evaluate("probe.palette().scales")}
    assert scales
    for scale in scales:
        colours = list(dict.fromkeys(scale))
        for vision in VISION:
            if len(colours) < len(scale):  # bands of one colour each: categories
                assert closest(colours, vision)[0] >= APART, (colours, vision)
                continue
            steps = np.diff(lightness(colours, vision))
            middle = int(np.argmax(lightness(colours, vision)))
            rises, falls = steps[:middle], steps[middle:]
            assert (rises > 0.0).all(), (colours, vision)
            assert (falls < 0.0).all(), (colours, vision)
            ends = [seen_as(colours[end], vision) for end in (0, -1)]
            assert float(np.linalg.norm(ends[0] - ends[1])) >= FAR_APART, (colours, vision)
