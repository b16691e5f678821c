"""Pages that are made at once, in place of the report, for tests of what serves them."""

from __future__ import annotations

from pathlib import Path
from time import sleep

from tricell.errors import ResultsError
from tricell.results.reader import open_results

PAGE = """<!doctype html>
<html lang="en"><head><title>Small</title></head><body>
<h1>Small</h1>
<p id="slots">{slots}</p>
<label for="time">Time</label> <input id="time" type="range" min="0" max="50" value="0">
<output id="shown">0</output>
<label for="level">Level</label>
<select id="level"><option>cell</option><option>all</option></select>
<details id="more"><summary>More</summary>text</details>
<p id="place" style="margin-top: 3000px; height: 2000px">far down</p>
<script>
document.getElementById("time").addEventListener("input", event => {{
  document.getElementById("shown").textContent = event.target.value;
}});
</script>
</body></html>
"""


def write_small_page(source: Path, output: Path) -> None:
    """Write a page with a few controls and the number of slots."""
    with open_results(source) as results:
        output.write_text(PAGE.format(slots=len(results.times())), encoding="utf-8")


def write_slowly(source: Path, output: Path) -> None:
    """Take longer than anybody waits."""
    sleep(60.0)


def refuse(source: Path, output: Path) -> None:
    """Be unable to make a page, and say so."""
    raise ResultsError(f"{source.name} has nothing to draw")


def end_at_once(source: Path, output: Path) -> None:
    """End the process without a word, as a fault in a library of C does."""
    raise SystemExit(3)
