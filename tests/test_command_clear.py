"""`tricell list mechanisms` and `tricell clear`: what they print, write and refuse."""

from __future__ import annotations

import csv
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tricell.errors import DataError
from tricell.markets.mechanism_registry import known_mechanisms
from tricell.scenarios.command_line import app
from tricell.scenarios.order_file import FAULTS_SHOWN, OrderFaultsError, read_orders

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "orders.csv"
HEADER = "id,side,energy_kwh,price_eur_per_kwh"
SLOT_MARKETS = sorted(name for name, each in known_mechanisms().items() if each.parameters)
FUNCTIONS = sorted(name for name, each in known_mechanisms().items() if not each.parameters)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tricell(*arguments: str, width: int = 80) -> Result:
    plain = {"COLUMNS": str(width), "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner(env=plain).invoke(app, arguments)


def book(*rows: str, header: str = HEADER) -> Path:
    path = Path("book.csv")
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def faults_of(path: Path) -> str:
    with pytest.raises(OrderFaultsError) as caught:
        read_orders(path)
    return " ".join(str(caught.value).split())


def one_line(text: str) -> str:
    return " ".join(text.split())


# --- list mechanisms ---


@pytest.mark.parametrize("width", [80, 120])
def test_every_mechanism_is_listed_with_its_guarantees_and_fits(width: int) -> None:
    result = tricell("list", "mechanisms", width=width)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= width
    for name in known_mechanisms():
        assert any(line.split()[:1] == [name] for line in lines), name
    assert "budget strong" in result.stdout
    assert "Mengelkamp et al. 2018" in result.stdout


def test_library_functions_are_listed_apart() -> None:
    before, heading, after = tricell("list", "mechanisms").stdout.partition("Library functions")
    starts = {line.split()[0] for line in after.splitlines() if line.split()}
    assert bool(heading) == bool(FUNCTIONS)
    assert set(FUNCTIONS) <= starts
    assert "uniform_price" in before


# --- clear ---


def test_the_example_book_clears_at_one_price() -> None:
    """The book and its result are those of the specification: 5 kWh at 0.24, welfare 0.47."""
    result = tricell("clear", str(EXAMPLE), "--mechanism", "uniform_price")
    assert result.exit_code == 0, result.stderr
    text = one_line(result.stdout)
    assert "volume 5 kWh price 0.2400 EUR/kWh welfare 0.4700 EUR" in text
    assert "plant fred sell 4 0.2400 1 0.2400 -0.2400" in text
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_pairs_are_shown_where_a_mechanism_makes_them() -> None:
    text = one_line(tricell("clear", str(EXAMPLE), "-m", "pay_as_bid").stdout)
    assert "home 2 roof 2 2 0.2500 0.1800" in text
    assert "every order has its own" in text
    assert "operator keeps 0.4700 EUR" in text


def test_a_parameter_changes_the_result() -> None:
    rows = book("b,buy,1,0.3", "s,sell,1,0.1")
    for k, price in (("0", "0.1000"), ("0.5", "0.2000"), ("1", "0.3000")):
        shown = tricell("clear", str(rows), "-m", "uniform_price", "--param", f"k={k}").stdout
        assert f"price {price} EUR/kWh" in one_line(shown)


@pytest.mark.parametrize("name", SLOT_MARKETS)
@pytest.mark.parametrize("rows", [[], ["b,buy,1,0.3"], ["b,buy,1,0.3", "s,sell,2,0.1"]])
def test_every_slot_market_can_be_tried_on_any_book(name: str, rows: list[str]) -> None:
    result = tricell("clear", str(book(*rows)), "-m", name)
    assert result.exit_code == 0, result.output
    assert "Totals" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_market_without_trade_says_so() -> None:
    text = one_line(tricell("clear", str(book("b,buy,1,0.1")), "-m", "uniform_price").stdout)
    assert "volume nothing was traded price none welfare 0.0000 EUR" in text


def test_a_long_book_is_shown_in_part() -> None:
    rows = [f"o{n},buy,1,0.2" for n in range(100)]
    shown = tricell("clear", str(book(*rows)), "-m", "uniform_price").stdout
    assert "and 40 more" in shown
    assert "o99" not in shown


def test_the_output_holds_every_order_with_its_result() -> None:
    result = tricell("clear", str(EXAMPLE), "-m", "uniform_price", "-o", "accepted.csv")
    assert result.exit_code == 0, result.stderr
    assert "Orders with results: accepted.csv" in result.stdout
    with Path("accepted.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows][:2] == ["home 1", "home 2"]
    assert [float(row["accepted_kwh"]) for row in rows] == [2.0, 3.0, 0.0, 1.0, 3.0, 1.0]
    assert rows[2]["paid_eur_per_kwh"] == "", "without trade there is no price"
    assert sum(float(row["payment_eur"]) for row in rows) == pytest.approx(0.0)
    assert [float(row["time"]) for row in rows] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert rows[5]["agent"] == "fred"


def test_an_existing_output_is_kept_unless_forced() -> None:
    Path("mine.csv").write_text("precious")
    arguments = ["clear", str(EXAMPLE), "-m", "uniform_price", "-o", "mine.csv"]
    refused = tricell(*arguments)
    assert refused.exit_code == 2
    assert "exists already" in refused.stderr
    assert Path("mine.csv").read_text() == "precious"
    assert tricell(*arguments, "--force").exit_code == 0


def test_the_orders_are_never_overwritten_by_what_comes_of_them() -> None:
    orders = Path("orders.csv")
    orders.write_bytes(EXAMPLE.read_bytes())
    refused = tricell("clear", "orders.csv", "-m", "uniform_price", "-o", "orders.csv", "--force")
    assert refused.exit_code == 2
    assert "is what is read" in refused.stderr
    assert orders.read_bytes() == EXAMPLE.read_bytes()


# --- what it refuses ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "unifrom_price"], ["no mechanism", "did you mean `uniform_price`?"]),
        (["-m", "unifrom_price"], ["`tricell list mechanisms` shows all"]),
        (["-m", "uniform_price", "--param", "k=2"], ["`k` must be less", "default 0.5"]),
        (["-m", "uniform_price", "--param", "k=half"], ["`k` must be a number", "k=half"]),
        (["-m", "uniform_price", "--param", "kk=1"], ["no parameter `kk`", "at most 1"]),
        (["-m", "uniform_price", "--param", "kind=1"], ["no parameter `kind`"]),
        (["-m", "uniform_price", "--param", "0.5"], ["this is no parameter", "--param k=0.5"]),
        (["-m", "uniform_price", "--param", "k=0", "--param", "k=1"], ["given twice"]),
        (["-m", "uniform_price", "--retail", "nan"], ["--retail nan", "this is no price"]),
        (["-m", "uniform_price", "--feed-in", "0.4"], ["pays more than it takes"]),
    ],
)
def test_a_wrong_option_exits_2_and_says_what_is_allowed(
    arguments: list[str], words: list[str]
) -> None:
    result = tricell("clear", str(EXAMPLE), *arguments)
    assert result.exit_code == 2
    for each in words:
        assert each in one_line(result.stderr)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_library_function_is_named_as_such(name: str) -> None:
    result = tricell("clear", str(EXAMPLE), "-m", name)
    assert result.exit_code == 2
    assert f"`{name}` is a library function" in one_line(result.stderr)
    assert f"tricell.markets.mechanisms.{name}" in one_line(result.stderr)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,by,1,0.2", ["`side` is `by`", "buy or sell", "did you mean `buy`?"]),
        ("a,buy,0,0.2", ["`energy_kwh` is `0`", "a number above 0"]),
        ("a,buy,-1,0.2", ["`energy_kwh` is `-1`", "a number above 0"]),
        ("a,buy,nan,0.2", ["`energy_kwh` is `nan`", "a number above 0"]),
        ("a,buy,,0.2", ["`energy_kwh` is empty"]),
        ("a,buy,1,inf", ["`price_eur_per_kwh` is `inf`", "within +-3 EUR/kWh"]),
        ("a,buy,1,250", ["`price_eur_per_kwh` is `250`", "a price per MWh is 1000 times"]),
        ('a,buy,1,"0,2"', ["`price_eur_per_kwh` is `0,2`", "write `0.2`, with a point"]),
        (",buy,1,0.2", ["`id` is empty"]),
        ("x,buy,1,0.2", ["`id` is `x`, as in line 2"]),
        ("a,buy,1", ["this row has 3 cells, but the header has 4"]),
    ],
)
def test_a_wrong_cell_is_named_with_file_row_column_and_value(row: str, words: list[str]) -> None:
    shown = faults_of(book("x,sell,1,0.1", row))
    assert "book.csv:3" in shown
    assert "1 fault in book.csv; nothing was cleared." in shown
    for each in words:
        assert each in shown


def test_a_wrong_cell_is_underlined_in_its_row() -> None:
    result = tricell("clear", str(book("a,buy,1,0.2", "b, sel ,1,0.2")), "-m", "uniform_price")
    assert result.exit_code == 2
    assert "book.csv:3:4: error: `side` is `sel`" in result.stderr
    assert "     3 | b, sel ,1,0.2\n       |    ^^^\n" in result.stderr
    assert "Traceback" not in result.output


def test_all_faults_come_at_once_up_to_a_page() -> None:
    shown = faults_of(book(*[f"o{n},buy,0,9" for n in range(20)]))
    assert f"40 faults in book.csv ({40 - FAULTS_SHOWN} not shown)" in shown


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("id,sid,energy_kwh,price_eur_per_kwh", ["`side` is missing", "did you mean `sid`?"]),
        ("id,side,energy_kwh,limit", ["`price_eur_per_kwh` is missing", "found: id, side"]),
        ("side,quantity,energy_kwh,price", ["`energy_kwh` is there twice (quantity, energy_kwh)"]),
        ("side,energy_kwh,price,", ["column 4 has no name"]),
    ],
)
def test_a_wrong_header_is_named(header: str, words: list[str]) -> None:
    shown = faults_of(book(header=header))
    for each in words:
        assert each in shown


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the column `side` is missing"),
        (b"\x89HDF\r\n\x1a\n\x00", "neither Parquet nor text"),
        (b'side,energy_kwh,price\n"buy,1,0.2\n', "this is not CSV"),
    ],
)
def test_what_is_no_csv_is_refused(content: bytes, words: str) -> None:
    Path("book.csv").write_bytes(content)
    result = tricell("clear", "book.csv", "-m", "uniform_price")
    assert result.exit_code == 2
    assert words in one_line(result.stderr)


def test_a_missing_file_is_named_with_the_likely_one() -> None:
    book()
    with pytest.raises(DataError, match=r"no file `bok\.csv`.*Did you mean `book\.csv`"):
        read_orders(Path("bok.csv"))
    with pytest.raises(DataError, match="directory"):
        read_orders(Path())


# --- what a file may hold ---


def test_other_names_separators_and_blank_lines_are_understood() -> None:
    header = "\ufeffSide;Quantity;Price"
    orders = read_orders(book("BUY;1;0.2", "", "sell;2.5;-0.1", header=header)).orders
    assert orders.side.tolist() == [1.0, -1.0]
    assert orders.energy_kwh.tolist() == [1.0, 2.5]
    assert orders.price_eur_per_kwh.tolist() == [0.2, -0.1]


def test_rows_without_an_id_are_numbered_so_that_earlier_rows_go_first() -> None:
    rows = ["buy,1,0.2"] * 11
    orders = read_orders(book(*rows, header="side,energy_kwh,price_eur_per_kwh")).orders
    assert orders.id[[0, 10]].tolist() == ["01", "11"]
    assert orders.priority.tolist() == list(range(11))


def test_agents_nodes_times_and_attributes_are_read() -> None:
    header = "side,energy_kwh,price,agent,time,node,zone,slope,divisible,remark"
    read = read_orders(
        book(
            "buy,1,0.2,ann,2016-01-18T00:15,3,north,0.5,true,",
            "sell,1,0.1,,2016-01-18T00:00Z,,south,2,False,",
            "sell,1,0.1,ann,2016-01-18T01:15+01:00,4,south,2,true,",
            header=header,
        )
    )
    orders = read.orders
    assert read.agent_names == ("ann",)
    assert orders.agent.tolist() == [0, -1, 0]
    assert orders.node.tolist() == [3, -1, 4]
    assert orders.priority.tolist() == [1, 0, 2], "00:15 UTC twice, then the row"
    assert orders.attributes["zone"].tolist() == ["north", "south", "south"]
    assert orders.attribute("slope", 0.0).tolist() == [0.5, 2.0, 2.0]
    assert orders.attributes["divisible"].tolist() == [True, False, True]
    assert "remark" not in orders.attributes, "an empty column is none"


@pytest.mark.parametrize(
    ("column", "cells", "words"),
    [
        ("time", ["1", "noon"], "`time` is `noon`"),
        ("time", ["1", "2016-01-18"], "in the row before it is `1`"),
        ("node", ["1", "1.5"], "`node` is `1.5`"),
        ("node", ["1", "-2"], "a whole number from 0"),
        ("zone", ["a", ""], "`zone` is empty"),
    ],
)
def test_wrong_further_columns_are_named(column: str, cells: list[str], words: str) -> None:
    rows = [f"buy,1,0.2,{cell}" for cell in cells]
    shown = faults_of(book(*rows, header=f"side,energy_kwh,price,{column}"))
    assert "book.csv:3" in shown
    assert words in shown


price = st.floats(-3, 3, allow_nan=False)
energy = st.floats(1e-6, 1e6, allow_nan=False)
ORDERS = st.lists(st.tuples(st.sampled_from(["buy", "sell"]), energy, price), max_size=20)


@given(rows=ORDERS)
def test_numbers_are_read_as_they_were_written(
    rows: list[tuple[str, float, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("book") / "book.csv"
    frame = pd.DataFrame(rows, columns=["side", "energy_kwh", "price_eur_per_kwh"])
    frame.to_csv(path, index=False)
    orders = read_orders(path).orders
    np.testing.assert_array_equal(orders.energy_kwh, [row[1] for row in rows])
    np.testing.assert_array_equal(orders.price_eur_per_kwh, [row[2] for row in rows])


# --- Parquet ---


def pretend_parquet(monkeypatch: pytest.MonkeyPatch, read: Any) -> Path:
    """Write a file that begins like Parquet, and read it without the package pyarrow."""
    path = Path("book.parquet")
    path.write_bytes(b"PAR1....PAR1")
    monkeypatch.setattr(pd, "read_parquet", read)
    return path


def test_a_table_of_parquet_is_read_like_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(
        {
            "side": ["buy", "sell"],
            "energy_kwh": [0.1 + 0.2, 1.0],
            "price_eur_per_kwh": [0.3, 0.1],
            "time": pd.to_datetime(["2016-01-18 00:15", "2016-01-18 00:00"], utc=True),
            "node": [3.0, None],
        }
    )
    orders = read_orders(pretend_parquet(monkeypatch, lambda path: frame)).orders
    assert orders.energy_kwh.tolist() == [0.1 + 0.2, 1.0]
    assert orders.node.tolist() == [3, -1]
    assert orders.priority.tolist() == [1, 0]
    frame.loc[1, "side"] = "sel"
    shown = faults_of(pretend_parquet(monkeypatch, lambda path: frame))
    assert "book.parquet:2: error: `side` is `sel`" in shown


def test_parquet_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Any:
        raise ImportError("Unable to find a usable engine")

    with pytest.raises(DataError, match="pip install pyarrow"):
        read_orders(pretend_parquet(monkeypatch, refuse))


def test_a_damaged_parquet_file_and_another_file_of_that_name_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: Path) -> Any:
        raise ValueError("Couldn't deserialize the footer")

    path = pretend_parquet(monkeypatch, refuse)
    with pytest.raises(DataError, match="damaged Parquet file"):
        read_orders(path)
    path.write_text("side,energy_kwh,price\n")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_orders(path)


def test_parquet_written_by_pandas_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "book.parquet"
    pd.read_csv(EXAMPLE).to_parquet(path)
    from_csv, from_parquet = read_orders(EXAMPLE), read_orders(path)
    assert from_parquet.agent_names == from_csv.agent_names
    np.testing.assert_array_equal(from_parquet.orders.energy_kwh, from_csv.orders.energy_kwh)


def test_reading_csv_needs_no_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", ModuleType("pandas"))
    assert len(read_orders(EXAMPLE).orders) == 6


# --- the page of the documentation ---


def test_the_generated_page_names_every_mechanism_and_its_parameters() -> None:
    spec = spec_from_file_location("reference_pages", ROOT / "docs" / "reference_pages.py")
    assert spec is not None
    assert spec.loader is not None
    pages = module_from_spec(spec)
    spec.loader.exec_module(pages)
    page = pages.on_page_markdown("<!-- reference: mechanisms -->")
    for name in known_mechanisms():
        assert f"| `{name}` |" in page
    assert "| `k` | a number, at least 0 and at most 1 (default 0.5) |" in page
