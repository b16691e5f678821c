"""`tricell view`: the report on a local address, made anew while the run goes on."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from tests.browser import running_browser, watch
from tests.small_pages import end_at_once, refuse, write_slowly, write_small_page
from typer.testing import CliRunner

from tricell.results import layout
from tricell.results.view import Viewer, follower
from tricell.results.view.page_maker import WritePage
from tricell.results.view.seen_file import look_at
from tricell.results.writer import ResultsWriter, RunHeader
from tricell.scenarios.command_line import app

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120.0
"""Two cores may be busy with other tests; nothing waits that long by itself."""
SLOTS = 8
HOME = {
    "agent": ["home 1"],
    "area": ["LV1"],
    "level": ["microgrid"],
    "bus": ["bus 1"],
    "class": ["household"],
}
WHOLE_SLOT = {variable.name: 0.0 for variable in layout.SERIES[layout.SLOT].variables}
# A shell's background job ignores Ctrl-C, and so would its children without the first line.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from tricell.scenarios.command_line import main
main()
"""
TRICELL = [sys.executable, "-c", PROGRAM]


@pytest.fixture(autouse=True)
def _children_find_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that make pages import `tests.small_pages`."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "LEAST_PAUSE_S", 0.3)
    monkeypatch.setattr(follower, "PAUSE_PER_WORK", 0.0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        context.set_default_timeout(1000.0 * PATIENCE_S)
        yield context.new_page()


def begun(path: Path, slots: int) -> ResultsWriter:
    """Begin a run of one home and 8 slots anew, and compute so many of them."""
    header = RunHeader("tiny", "name: tiny\n", 1, np.datetime64("2016-07-01T00:00:00"), SLOTS)
    writer = ResultsWriter(path, header, {"agent": HOME}, force=True)
    writer.begin()
    for _ in range(slots):
        writer.write_slot({"slot": WHOLE_SLOT})
    return writer


def write_run(path: Path, slots: int = SLOTS) -> Path:
    """Write a run to its end; with less than 8 slots it failed."""
    with begun(path, slots) as writer:
        if slots == SLOTS:
            writer.finish("complete")
        else:
            writer.finish("failed", failure_message="The solver gave up.")
    return path


def go_on(path: Path, slots: int) -> None:
    """Leave a run on the disk that has computed so many slots and has not ended."""
    writer = begun(path, slots)
    writer.checkpoint({}, {})
    writer.abandon()


@contextmanager
def viewed(path: Path, write_page: WritePage = write_small_page) -> Iterator[Viewer]:
    with Viewer(path, write_page) as viewer:
        thread = Thread(target=viewer.serve)
        thread.start()
        try:
            yield viewer
        finally:
            viewer.stop()
            thread.join()


def ask(
    viewer: Viewer, path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], str]:
    address = viewer.address.removeprefix("http://").rstrip("/")
    connection = HTTPConnection(address, timeout=PATIENCE_S)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode()
    finally:
        connection.close()


def state(viewer: Viewer) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ask(viewer, "/state.json")[2])
    return answer


def wait_until(holds: Callable[[], bool], what: str) -> None:
    until = monotonic() + PATIENCE_S
    while not holds():
        assert monotonic() < until, f"waited in vain until {what}"
        sleep(0.05)


def wait_for(viewer: Viewer, **wanted: object) -> dict[str, Any]:
    wait_until(
        lambda: {name: state(viewer)[name] for name in wanted} == wanted,
        f"{wanted}; found {state(viewer)}",
    )
    return state(viewer)


# --- what is served ---


def test_the_report_of_a_finished_run_is_at_the_address(tmp_path: Path) -> None:
    with viewed(write_run(tmp_path / "run.h5")) as viewer:
        found = wait_for(viewer, page=1, is_making=False)
        status, headers, html = ask(viewer)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", viewer.address)
    assert found["status"] == "complete"
    assert (found["slots_done"], found["slots"], found["page_slots"]) == (SLOTS, SLOTS, SLOTS)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert f'<p id="slots">{SLOTS}</p>' in html
    assert html.count('<aside id="following"') == 1
    assert html.rstrip().endswith("</body></html>")


def test_a_page_that_the_browser_has_is_not_sent_again(tmp_path: Path) -> None:
    with viewed(write_run(tmp_path / "run.h5")) as viewer:
        first = ask(viewer)[1]
        wait_for(viewer, page=1)
        made = ask(viewer)[1]
        same = ask(viewer, headers={"If-None-Match": made["ETag"]})
        assert ask(viewer, headers={"If-None-Match": first["ETag"]})[0] == 200
        assert ask(viewer, "/state.json")[1]["Cache-Control"] == "no-store"
    assert made["Cache-Control"] == "no-cache", "kept, but asked for before it is shown"
    assert (same[0], same[2]) == (304, "")
    assert same[1]["ETag"] == made["ETag"]


def test_two_viewers_never_take_each_others_pages_for_the_same(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.h5")
    tags = []
    for _ in range(2):
        with viewed(path) as viewer:
            wait_for(viewer, page=1)
            tags.append(ask(viewer)[1]["ETag"])
    assert tags[0] != tags[1]


def test_only_names_of_this_machine_are_answered(tmp_path: Path) -> None:
    with viewed(tmp_path / "run.h5") as viewer:
        port = viewer.address.rstrip("/").rpartition(":")[2]
        for name in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}"):
            assert ask(viewer, headers={"Host": name})[0] == 200, name
        for name in (f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}", ""):
            status, _, text = ask(viewer, "/state.json", headers={"Host": name})
            assert (status, text) == (421, "Ask for 127.0.0.1.\n"), name


def test_nothing_but_the_page_and_its_state_is_served(tmp_path: Path) -> None:
    with viewed(write_run(tmp_path / "run.h5")) as viewer:
        for path in ("/run.h5", "/../run.h5", "/%2e%2e/run.h5", "//etc/passwd", "/state.json/"):
            assert ask(viewer, path)[0] == 404, path


def test_nothing_can_be_done_but_reading(tmp_path: Path) -> None:
    with viewed(tmp_path / "run.h5") as viewer:
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"):
            status, headers, _ = ask(viewer, method=method)
            assert (status, headers["Allow"]) == (405, "GET, HEAD"), method


def test_head_tells_the_same_without_the_page(tmp_path: Path) -> None:
    with viewed(tmp_path / "run.h5") as viewer:
        _, get, html = ask(viewer)
        status, head, nothing = ask(viewer, method="HEAD")
    assert (status, nothing) == (200, "")
    assert int(head["Content-Length"]) == len(html.encode())
    assert get["ETag"] == head["ETag"]


def test_every_answer_shuts_out_other_sites(tmp_path: Path) -> None:
    with viewed(tmp_path / "run.h5") as viewer:
        for path in ("/", "/state.json", "/nothing", "/favicon.ico"):
            headers = ask(viewer, path)[1]
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Server"].strip() == "tricell", "no versions"


# --- following a run ---


def test_a_run_is_followed_from_before_it_begins_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with viewed(path) as viewer:
        assert wait_for(viewer, status="waiting")["page"] == 0
        assert "appears here as soon as it is made" in ask(viewer)[2]
        go_on(path, 0)
        found = wait_for(viewer, status="running", slots_done=0)
        assert (found["page"], found["is_making"]) == (0, False), "there is nothing to draw"
        go_on(path, 2)
        found = wait_for(viewer, status="running", page=1, page_slots=2)
        assert (found["slots_done"], found["slots"]) == (2, SLOTS)
        go_on(path, 5)
        found = wait_for(viewer, slots_done=5)
        assert found["page_slots"] == 2, "a run that goes on is left in peace for some seconds"
        write_run(path)
        found = wait_for(viewer, status="complete", page_slots=SLOTS, is_making=False)
    assert found["message"] == ""
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_failed_says_why_and_is_followed_when_it_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    go_on(path, 3)
    write_run(path, 3)
    with viewed(path) as viewer:
        found = wait_for(viewer, status="failed", page_slots=3)
        assert found["message"] == "The solver gave up."
        go_on(path, 6)
        wait_for(viewer, status="running", slots_done=6, message="")
        write_run(path)
        wait_for(viewer, status="complete", page_slots=SLOTS)


def test_the_last_page_stays_when_the_file_vanishes_or_breaks(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.h5")
    with viewed(path) as viewer:
        wait_for(viewer, page=1)
        path.rename(tmp_path / "away.h5")
        wait_for(viewer, status="gone", page=1)
        assert f'<p id="slots">{SLOTS}</p>' in ask(viewer)[2]
        path.write_text("no results")
        found = wait_for(viewer, status="unreadable", page=1)
        assert "expected HDF5" in found["message"]
        write_run(tmp_path / "other.h5", 4).replace(path)
        wait_for(viewer, status="failed", page=2, page_slots=4)


def test_requests_are_answered_while_a_page_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for_pages = tmp_path / "pages"
    for_pages.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(for_pages))
    with viewed(write_run(tmp_path / "run.h5"), write_slowly) as viewer:
        wait_for(viewer, is_making=True, status="complete")
        assert len(list(for_pages.iterdir())) == 1
        begun = monotonic()
        for _ in range(20):
            assert ask(viewer)[0] == 200
        assert monotonic() - begun < 2.0
        begun = monotonic()
    assert monotonic() - begun < 5.0, "what is being made is given up at the end"
    assert list(for_pages.iterdir()) == []


@pytest.mark.parametrize(
    ("write_page", "said"),
    [(refuse, "run.h5 has nothing to draw"), (end_at_once, r"exit code 3")],
)
def test_a_page_that_cannot_be_made_is_told(
    tmp_path: Path, write_page: WritePage, said: str
) -> None:
    with viewed(write_run(tmp_path / "run.h5"), write_page) as viewer:
        wait_until(lambda: bool(state(viewer)["page_error"]), "the page is given up")
        found = state(viewer)
    assert said in found["page_error"]
    assert (found["page"], found["is_making"]) == (0, False)


# --- in the browser ---


@pytest.mark.usefixtures("_little_patience")
def test_the_open_page_follows_and_keeps_what_was_set(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with viewed(path) as viewer:
        witness = watch(page, viewer.address)
        page.goto(viewer.address)
        said = page.get_by_role("status")
        said.filter(has_text="No slots yet").wait_for()
        go_on(path, 2)
        said.filter(has_text="Running: 2 of 8 slots").wait_for()
        page.locator("#slots", has_text="2").wait_for()

        page.evaluate("location.hash = 'area=LV1'")
        page.locator("#time").fill("7")
        page.locator("#level").select_option("all")
        page.locator("#more summary").click()
        page.locator("#place").scroll_into_view_if_needed()
        top = page.evaluate("scrollY")
        go_on(path, 5)
        page.locator("#slots", has_text="5").wait_for()
        assert page.locator("#shown").inner_text() == "7"
        assert page.locator("#level").input_value() == "all"
        assert page.locator("#more").get_attribute("open") is not None
        assert page.url.endswith("#area=LV1")
        page.wait_for_function("top => Math.abs(scrollY - top) < 2", arg=top)

        write_run(path)
        said.filter(has_text="Complete: 8 of 8 slots.").wait_for()
        page.locator("#slots", has_text="8").wait_for()
        assert page.locator("#shown").inner_text() == "7"
    said.filter(has_text="`tricell view` has ended").wait_for()
    assert witness.requests == []
    assert [text for text in witness.complaints if "ERR_CONNECTION_REFUSED" not in text] == []


def test_who_does_not_want_updates_is_offered_them(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    go_on(path, 2)
    with viewed(path) as viewer:
        wait_for(viewer, page=1)
        page.goto(viewer.address)
        page.get_by_role("checkbox", name="update by itself").uncheck()
        write_run(path)
        button = page.get_by_role("button", name="Show the new slots")
        button.wait_for()
        assert page.locator("#slots").inner_text() == "2"
        button.click()
        page.locator("#slots", has_text="8").wait_for()
        page.get_by_role("status").filter(has_text="Complete").wait_for()
        assert button.is_hidden()


# --- the command ---


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        result = tricell("view", str(write_run(tmp_path / "run.h5")), "--port", port)
    assert result.exit_code == 2
    assert f"The port {port} of 127.0.0.1 is used by another program." in words(result.output)
    assert "--port" in words(result.output)


def test_a_file_that_cannot_be_viewed_is_refused_before_serving(tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("no results")
    for path, said in (
        (text, "expected HDF5"),
        (tmp_path, "is a folder"),
        (tmp_path / "missing" / "run.h5", "does not exist"),
    ):
        result = tricell("view", str(path))
        assert result.exit_code == 2
        assert said in words(result.output), result.output
    assert text.read_text() == "no results"


def test_no_browser_is_opened_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from tricell.scenarios import view_command  # noqa: PLC0415

    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    view_command._open_browser("http://127.0.0.1:1/")
    monkeypatch.setenv("DISPLAY", ":0")
    view_command._open_browser("http://127.0.0.1:2/")
    assert opened == ["http://127.0.0.1:2/"]


def test_ctrl_c_ends_with_exit_code_zero(tmp_path: Path) -> None:
    with process_of("view", str(write_run(tmp_path / "run.h5")), "--no-browser") as viewing:
        address_of(viewing)
        viewing.send_signal(signal.SIGINT)
        _, errors = viewing.communicate(timeout=PATIENCE_S)
    assert viewing.returncode == 0
    assert errors == ""


def test_a_real_run_is_followed_to_its_end_in_the_browser(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "village.h5"
    begin = ("run", "village", "--days", "2", "--set", "output.checkpoint_s=0.01", "-o", str(path))
    with process_of("view", str(path), "--no-browser") as viewing:
        address = address_of(viewing)
        witness = watch(page, address)
        page.goto(address)
        page.get_by_role("status").filter(has_text="No slots yet").wait_for()
        with process_of(*begin, "--quiet") as running:
            wait_until(lambda: look_at(path).slots_done > 0, "the first day is on the disk")
            running.send_signal(signal.SIGSTOP)  # a short run would be over before its first page
            try:
                said = page.get_by_text(re.compile(r"Running: \d+ of 192 slots are written"))
                said.wait_for()
                page.get_by_role("heading", level=1, name="village", exact=True).wait_for()
                assert page.locator("#following").get_attribute("data-page") != "0"
                assert "still going on" in page.locator("header .banner").inner_text()
            finally:
                running.send_signal(signal.SIGCONT)
            assert running.wait(PATIENCE_S) == 0
        page.get_by_text("Complete: 192 of 192 slots.", exact=True).wait_for()
        page.locator("header .banner").wait_for(state="detached")
        page.locator('[data-part="hierarchy"][data-drawn="yes"]').wait_for()
        viewing.send_signal(signal.SIGINT)
        assert viewing.wait(PATIENCE_S) == 0
    assert witness.requests == []
    assert witness.complaints == []


def address_of(viewing: subprocess.Popen[str]) -> str:
    assert viewing.stdout is not None
    line = viewing.stdout.readline()
    found = re.search(r"(http://127\.0\.0\.1:\d+/) \(Ctrl-C ends\)", line)
    assert found, line
    return found.group(1)


@contextmanager
def process_of(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start tricell; whatever is left of it at the end of the block is killed."""
    process = subprocess.Popen(
        [*TRICELL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def tricell(*arguments: str) -> Any:
    return CliRunner(env={"NO_COLOR": "1", "TERM": "dumb"}).invoke(app, list(arguments))


def words(text: str) -> str:
    """Take the breaks of lines out."""
    return " ".join(text.split())
