"""The documentation is true: its code blocks run, its links lead somewhere, its pages are whole.

Blocks of a page run from top to bottom in one empty folder and one Python namespace:

* ``python`` is executed, ``pycon`` is compared like a doctest;
* ``console`` holds commands after ``$`` and, below, what they print (``...`` stands for anything);
* a block with ``title="NAME"`` is written to that file;
* ``sh`` and ``text`` are for people.
"""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tricell.results.layout_text import filled
from tricell.scenarios.command_line import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TOP_PAGES = [ROOT / n for n in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*TOP_PAGES, *sorted(DOCS.glob("*.md"))]
PLAIN = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
CODE_NAME = re.compile(r"`(tricell(?:\.\w+)+)`")
ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the file it is written to, its text and first line."""

    language: str
    title: str
    text: str
    line: int


@dataclass
class Session:
    """What the blocks of a page share."""

    page: Path
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    exit_code: int = 0

    def run(self, block: Block) -> None:
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            # Line numbers in a traceback are those of the page.
            source = "\n" * block.line + block.text
            exec(compile(source, str(self.page), "exec"), self.namespace)
        elif block.language == "pycon":
            self._compare_like_a_doctest(block)
        elif block.language == "console":
            for command, expected in commands(block.text):
                self._compare(command, expected, self._output_of(command), block)

    def _compare_like_a_doctest(self, block: Block) -> None:
        failures: list[str] = []
        parser = doctest.DocTestParser()
        test = parser.get_doctest(block.text, {}, self.page.name, str(self.page), block.line)
        test.globs = self.namespace
        runner = doctest.DocTestRunner(optionflags=ELLIPSIS, verbose=False)
        runner.run(test, out=failures.append, clear_globs=False)
        assert not failures, "".join(failures)

    def _output_of(self, command: str) -> str:
        if command == "echo $?":
            return f"{self.exit_code}\n"
        program, *arguments = shlex.split(command)
        if program == "touch":
            Path(arguments[0]).touch()
            return ""
        assert program == "tricell", f"{self.page.name}: `{program}` cannot be tried here"
        result = CliRunner(env=PLAIN).invoke(app, arguments)
        self.exit_code = result.exit_code
        assert self.exit_code in (0, 2), result.output
        return result.output

    def _compare(self, command: str, expected: str, output: str, block: Block) -> None:
        matches = doctest.OutputChecker().check_output(expected or "...", output, ELLIPSIS)
        where = f"{self.page.name}:{block.line + 1}"
        assert matches, f"{where}: `{command}` printed\n{output}\nbut the page says\n{expected}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, title, inside = match.groups()
        yield Block(language, title or "", inside, text[: match.start(3)].count("\n"))


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Split a console block into commands and what each prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command.strip(), expected


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_code_blocks_of_a_page_run_as_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    session = Session(page)
    for block in blocks(page):
        session.run(block)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_relative_links_lead_to_files(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        shown_from_the_top = ROOT / target.upper().replace(".MD", ".md")
        file = page.parent / target
        found = file.exists() or (page.parent == DOCS and shown_from_the_top in TOP_PAGES)
        assert found, f"{relative(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_functions_and_modules_that_pages_name_exist(page: Path) -> None:
    for name in CODE_NAME.findall(page.read_text(encoding="utf-8")):
        assert exists(name), f"{relative(page)} names {name}"


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute (of an attribute) of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def test_the_readme_begins_with_the_two_commands_of_a_fresh_machine() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = next(blocks(ROOT / "README.md"))
    assert [line.split("#")[0].strip() for line in first.text.splitlines()] == [
        "pip install -e . && tricell run region",
        'pip install -e ".[dev]" && pytest',
    ]
    assert text.count("\n", 0, text.index(first.text)) < 15, "they stand at the top"


def test_no_page_is_missing_from_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.glob("*.md"):
        assert page.name in navigation, f"mkdocs.yml does not show docs/{page.name}"


def test_generated_reference_pages_name_every_field_and_error() -> None:
    generated = import_generator()
    scenario = generated.scenario_reference()
    for field_name in ("step_minutes", "lv_per_mv", "sell_quantile", "timeout_s", "time_shifted"):
        assert f"`{field_name}`" in scenario
    assert "PowerFlowError" in generated.errors_reference()


def test_the_page_of_the_results_file_says_what_the_layout_says() -> None:
    text = (DOCS / "results_file.md").read_text(encoding="utf-8")
    assert filled(text) == text, "write it anew: python docs/reference_pages.py"
    for name in ("vm_min_bus", "p_curtailed", "no_trading_total", "scenario_sha256", "scope_kind"):
        assert f"| `{name}` |" in text


def import_generator() -> Any:
    from importlib.util import module_from_spec, spec_from_file_location  # noqa: PLC0415 (one use)

    spec = spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_summary_in_the_readme_has_the_sections_that_a_run_prints() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for section in ("Energy by level", "Grid", "Bills against no trading"):
        assert f"\n{section} ─" in text
