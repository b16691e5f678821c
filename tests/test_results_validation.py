"""`tricell validate`: a good file has no deviation, and any damage is named where it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.golden_file import (
    CHECKPOINTS,
    entities_of,
    header_of,
    unpacked_golden,
    write_running,
)
from typer.testing import CliRunner

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.deviations import DeviationKind
from tricell.results.layout_text import layout_description
from tricell.results.validation import Validation, validate
from tricell.results.writer import ResultsWriter
from tricell.scenarios.command_line import app

PLAIN = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
K = DeviationKind
Found = set[tuple[DeviationKind, str]]
Damage = Callable[[h5py.File], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_golden(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module", params=["1.0.0", "1.1.0"])
def any_good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_golden(tmp_path_factory.mktemp("any_good"), request.param)


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_golden(tmp_path_factory.mktemp("newest"), layout.SCHEMA_VERSION)


def damaged(good: Path, folder: Path, damage: Damage) -> Path:
    path = folder / "damaged.h5"
    copyfile(good, path)
    with h5py.File(path, "r+") as file:
        damage(file)
    return path


def found(checked: Validation) -> Found:
    return {(each.kind, each.path) for each in checked.deviations}


def found_after(good: Path, folder: Path, damage: Damage) -> Found:
    return found(validate(damaged(good, folder, damage)))


def tables_of(file: h5py.File) -> Iterator[tuple[layout.Table, h5py.Group]]:
    for table in layout.TABLES.values():
        if table.name in file[layout.TABLE_ROOT]:
            yield table, file[layout.table_path(table.name)]


def series_of(file: h5py.File) -> Iterator[tuple[layout.SeriesGroup, h5py.Group]]:
    for group in layout.SERIES.values():
        if group.name in file[layout.SERIES_ROOT]:
            yield group, file[layout.series_path(group.name)]


def plain_variables(file: h5py.File) -> Iterator[tuple[layout.Variable, h5py.Dataset]]:
    """List all series and columns that are no axes."""
    for group, found_group in series_of(file):
        for variable in group.variables:
            if variable.name in found_group:
                yield variable, found_group[variable.name]
    for table, found_group in tables_of(file):
        for column in table.columns:
            if column.name != table.axis and column.name in found_group:
                yield column, found_group[column.name]


def replaced(dataset: h5py.Dataset, **change: Any) -> h5py.Dataset:
    """Write a dataset anew with the same values, axes and attributes but for a change."""
    parent, name = dataset.parent, dataset.name
    scales = [list(axis.values()) for axis in dataset.dims]
    own = {key: value for key, value in dataset.attrs.items() if key != "DIMENSION_LIST"}
    # Scales list who uses them; without that a reader of the scale follows a dead reference.
    for number, attached in enumerate(scales):
        for scale in attached:
            dataset.dims[number].detach_scale(scale)
    packing = {
        "dtype": dataset.dtype,
        "data": dataset[...],
        "chunks": dataset.chunks,
        "maxshape": (None,) * np.ndim(change.get("data", dataset)) if dataset.chunks else None,
        "compression": dataset.compression,
        "shuffle": dataset.shuffle or None,
        "fillvalue": dataset.fillvalue if dataset.dtype.kind == "f" else None,
    }
    del parent[name]
    new = parent.create_dataset(name, **{**packing, **change})
    for key, value in own.items():
        new.attrs[key] = value
    for number, attached in enumerate(scales[: new.ndim]):
        for scale in attached:
            new.dims[number].attach_scale(scale)
    return new


# --- a file that follows the layout ---


def test_a_good_file_has_no_deviation_and_says_what_was_checked(good: Path) -> None:
    checked = validate(good)
    assert checked.deviations == ()
    assert checked.notes == ()
    assert checked.is_fine
    with h5py.File(good) as file:
        sizes: list[int] = []
        file.visititems(
            lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None
        )
    assert (checked.size.datasets, checked.size.values) == (len(sizes), sum(sizes))
    assert checked.size.slots == 12


def test_the_file_is_not_touched(good: Path) -> None:
    before = good.read_bytes()
    validate(good)
    assert good.read_bytes() == before


def test_parts_that_need_not_be_there_are_not_missed(any_good: Path, tmp_path: Path) -> None:
    def drop(file: h5py.File) -> None:
        for table, group in tables_of(file):
            if table.presence == "rows":
                del file[group.name]
        for table, group in tables_of(file):
            for column in table.columns:
                if not column.required and column.name in group:
                    del group[column.name]

    assert found_after(any_good, tmp_path, drop) == set()


# --- what is missing, and what should not be there: each is named, wherever it is ---


def test_every_missing_attribute_of_the_file_is_named(good: Path, tmp_path: Path) -> None:
    kept = {"schema_name", "schema_version"}  # without these it is no results file
    names = {each.name for each in layout.ROOT_ATTRIBUTES if each.required == layout.ALWAYS} - kept

    def drop(file: h5py.File) -> None:
        for name in names:
            del file.attrs[name]

    assert found_after(good, tmp_path, drop) == {(K.MISSING, f"/@{name}") for name in names}


def test_every_missing_dataset_is_named(any_good: Path, tmp_path: Path) -> None:
    expected: Found = set()

    def drop(file: h5py.File) -> None:
        for variable, dataset in list(plain_variables(file)):
            if variable.required:
                expected.add((K.MISSING, dataset.name))
            del file[dataset.name]
        for name in layout.META:
            expected.add((K.MISSING, layout.meta_path(name)))
            del file[layout.meta_path(name)]

    seen = found_after(any_good, tmp_path, drop)
    assert seen == expected
    assert len(seen) > 100


def test_every_missing_axis_is_named_once(any_good: Path, tmp_path: Path) -> None:
    expected: Found = set()

    def drop(file: h5py.File) -> None:
        for group, found_group in series_of(file):
            for axis in group.axes:
                expected.add((K.MISSING, found_group[axis.name].name))
                del found_group[axis.name]
        for table, found_group in tables_of(file):
            expected.add((K.MISSING, found_group[table.axis].name))
            del found_group[table.axis]

    assert found_after(any_good, tmp_path, drop) == expected


def test_every_missing_group_is_named(any_good: Path, tmp_path: Path) -> None:
    expected: Found = set()

    def drop(file: h5py.File) -> None:
        for _, group in series_of(file):
            expected.add((K.MISSING, group.name))
            del file[group.name]
        for table, group in tables_of(file):
            if table.presence == "complete":
                expected.add((K.MISSING, group.name))
                del file[group.name]

    assert found_after(any_good, tmp_path, drop) == expected


def test_every_missing_unit_gap_and_code_is_named(any_good: Path, tmp_path: Path) -> None:
    expected: Found = set()

    def drop(file: h5py.File) -> None:
        for variable, dataset in plain_variables(file):
            wanted = {"long_name"}
            wanted |= {"units"} if variable.unit else set()
            wanted |= {"calendar"} if variable.is_time else set()
            wanted |= {"_FillValue"} if variable.is_float else set()
            wanted |= {"flag_values"} if variable.flags else set()
            for name in wanted:
                expected.add((K.MISSING, f"{dataset.name}@{name}"))
                del dataset.attrs[name]

    assert found_after(any_good, tmp_path, drop) == expected


def test_what_the_layout_does_not_know_is_named(good: Path, tmp_path: Path) -> None:
    def add(file: h5py.File) -> None:
        file.attrs["colour"] = "red"
        file.attrs["_NCProperties"] = "version=2"  # netCDF's own, left alone
        file.create_group("pictures")
        file.create_group("timeseries/house")
        file["timeseries/bus"]["angle"] = np.zeros(3)
        file["tables/bill"].create_group("copy")

    assert found_after(good, tmp_path, add) == {
        (K.UNKNOWN, "/@colour"),
        (K.UNKNOWN, "/pictures"),
        (K.UNKNOWN, "/timeseries/house"),
        (K.UNKNOWN, "/timeseries/bus/angle"),
        (K.UNKNOWN, "/tables/bill/copy"),
    }


def test_additions_of_a_higher_minor_version_are_notes_only(newest: Path, tmp_path: Path) -> None:
    def add(file: h5py.File) -> None:
        file.attrs["schema_version"] = "1.7.0"
        file["timeseries/bus"]["angle"] = np.zeros(3)

    checked = validate(damaged(newest, tmp_path, add))
    assert checked.is_fine
    assert [(each.kind, each.path) for each in checked.notes] == [
        (K.UNKNOWN, "/timeseries/bus/angle")
    ]


# --- types, shapes, axes, packing ---


def test_every_wrong_type_is_named(any_good: Path, tmp_path: Path) -> None:
    other = {"f8": "f4", "f4": "f8", "i1": "i8", "i4": "i8", "i8": "i4"}
    expected: Found = set()

    def change(file: h5py.File) -> None:
        for variable, dataset in list(plain_variables(file)):
            expected.add((K.TYPE, dataset.name))
            if variable.dtype == "str":
                values = np.array([text.encode() for text in dataset.asstr()[...]], dtype="S40")
                replaced(dataset, data=values, dtype=values.dtype)
                continue
            dtype = np.dtype(other[variable.dtype])
            new = replaced(dataset, dtype=dtype, data=dataset[...].astype(dtype))
            if variable.is_float:
                new.attrs.create("_FillValue", np.nan, dtype=dtype)

    seen = found_after(any_good, tmp_path, change)
    assert seen == expected
    assert len(seen) > 150


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"compression": "lzf"}, K.STORAGE),
        ({"shuffle": None}, K.STORAGE),
        ({"fletcher32": True}, K.STORAGE),
        ({"chunks": (4, 26)}, K.STORAGE),
        ({"fillvalue": 0.0}, K.STORAGE),
        ({"data": np.zeros((12, 25)), "chunks": (96, 26)}, K.SHAPE),
        ({"data": np.zeros(12), "chunks": (96,)}, K.SHAPE),
    ],
    ids=["lzf", "no shuffle", "checksum", "chunks", "fill value", "too narrow", "one dimension"],
)
def test_a_wrong_packing_or_shape_is_named(
    good: Path, tmp_path: Path, change: dict[str, Any], expected: DeviationKind
) -> None:
    path = "/timeseries/agent/p_load"
    seen = found_after(good, tmp_path, lambda file: replaced(file[path], **change))
    assert (expected, path) in seen
    assert {where for _, where in seen} == {path}


def test_an_unattached_or_wrong_scale_is_named(good: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        agents = file["timeseries/agent"]
        agents["soc"].dims[0].detach_scale(agents["time"])
        agents["p_net"].dims[0].detach_scale(agents["time"])
        agents["p_net"].dims[0].attach_scale(file["timeseries/bus/time"])
        agents["p_pv"].dims[1].attach_scale(file["tables/agent/agent"])

    assert found_after(good, tmp_path, change) == {
        (K.AXIS, "/timeseries/agent/soc"),
        (K.AXIS, "/timeseries/agent/p_net"),
        (K.AXIS, "/timeseries/agent/p_pv"),
    }


def test_a_run_that_goes_on_follows_the_layout_and_is_found_by_its_name(
    good: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run.h5"
    master = write_running(good, output)
    for path in (output, master, master.parent):
        checked = validate(path)
        assert checked.deviations == ()
        assert (checked.status, checked.size.slots) == ("running", CHECKPOINTS[-1])


def test_a_run_that_has_just_begun_follows_the_layout(good: Path, tmp_path: Path) -> None:
    with h5py.File(good) as file:
        entities = entities_of(file)
        writer = ResultsWriter(tmp_path / "run.h5", header_of(file), entities)
    writer.begin()
    checked = validate(tmp_path / "run.h5")
    writer.abandon()
    assert checked.deviations == ()
    assert checked.size.slots == 0


def test_values_in_another_file_are_only_for_a_run_that_goes_on(good: Path, tmp_path: Path) -> None:
    path = "/timeseries/slot/vm_min"

    def change(file: h5py.File) -> None:
        dataset = file[path]
        own = dict(dataset.attrs)
        dataset.dims[0].detach_scale(file["timeseries/slot/time"])
        del file[path]
        values = h5py.VirtualLayout((12,), "f4")
        values[:] = h5py.VirtualSource(good, path, (12,))
        new = file.create_virtual_dataset(path, values, fillvalue=np.nan)
        for name in ("long_name", "units", "_FillValue"):
            new.attrs[name] = own[name]
        new.dims[0].attach_scale(file["timeseries/slot/time"])

    def running(file: h5py.File) -> None:
        change(file)
        file.attrs["run_status"] = "running"

    assert found_after(good, tmp_path, change) == {(K.STORAGE, path)}
    assert found_after(good, tmp_path, running) == set()


def test_attributes_as_other_programs_write_them_are_read_and_fine(
    good: Path, tmp_path: Path
) -> None:
    def fixed(file: h5py.File) -> None:
        for name in ("schema_name", "schema_version", "run_status", "source"):
            file.attrs[name] = np.bytes_(file.attrs[name].encode())

    assert found_after(good, tmp_path, fixed) == set()


# --- values ---


def set_values(path: str, where: Any, value: Any) -> Damage:
    def change(file: h5py.File) -> None:
        file[path][where] = value

    return change


def set_attribute(name: str, value: Any, path: str = "/") -> Damage:
    def change(file: h5py.File) -> None:
        file[path].attrs[name] = value

    return change


VALUES: dict[str, tuple[Damage, Found]] = {
    "status": (set_attribute("run_status", "done"), {(K.ATTRIBUTE, "/@run_status")}),
    "no reason": (set_attribute("run_status", "failed"), {(K.MISSING, "/@failure_message")}),
    "seed": (set_attribute("random_seed", "7"), {(K.TYPE, "/@random_seed")}),
    "date": (set_attribute("date_created", "yesterday"), {(K.ATTRIBUTE, "/@date_created")}),
    "too few slots": (
        set_attribute("number_of_slots", np.int64(13)),
        {(K.TIME, "/@number_of_slots")},
    ),
    "unit": (
        set_attribute("units", "MW", "timeseries/agent/p_net"),
        {(K.ATTRIBUTE, "/timeseries/agent/p_net@units")},
    ),
    "gap": (
        set_attribute("_FillValue", -1.0, "timeseries/agent/p_net"),
        {(K.ATTRIBUTE, "/timeseries/agent/p_net@_FillValue")},
    ),
    "words": (
        set_attribute("flag_meanings", "good better best bad", "timeseries/slot/verdict"),
        {(K.ATTRIBUTE, "/timeseries/slot/verdict@flag_meanings")},
    ),
    "scenario": (
        set_values("meta/scenario_yaml", (), "name: another"),
        {(K.VALUE, "/meta/scenario_yaml")},
    ),
    "provenance": (
        set_values("meta/provenance_json", (), "{"),
        {(K.VALUE, "/meta/provenance_json")},
    ),
    "time of a group": (
        set_values("timeseries/bus/time", slice(0, 12), np.arange(12)),
        {(K.TIME, "/timeseries/bus/time")},
    ),
    "a code": (
        set_values("timeseries/slot/verdict", 3, 9),
        {(K.VALUE, "/timeseries/slot/verdict")},
    ),
    "infinite": (
        set_values("timeseries/agent/p_net", (3, 4), np.inf),
        {(K.VALUE, "/timeseries/agent/p_net")},
    ),
    "row of a bus": (
        set_values("timeseries/slot/vm_min_bus", 3, 29),
        {(K.REFERENCE, "/timeseries/slot/vm_min_bus")},
    ),
    "binding element": (
        lambda file: (
            set_values("timeseries/slot/binding_kind", 3, 3)(file),
            set_values("timeseries/slot/binding_element", 3, 2)(file),
        )[0],
        {(K.REFERENCE, "/timeseries/slot/binding_element")},
    ),
    "ids of a group": (
        set_values("timeseries/bus/bus", 0, "elsewhere"),
        {(K.REFERENCE, "/timeseries/bus/bus")},
    ),
    "buyer": (
        set_values("tables/trade/buyer", 0, -3),
        {(K.REFERENCE, "/tables/trade/buyer")},
    ),
    "charge of a posting": (
        set_values("tables/posting/charge", 0, 4),
        {(K.REFERENCE, "/tables/posting/charge")},
    ),
    "area of a bus": (
        set_values("tables/bus/area", 0, "nowhere"),
        {(K.REFERENCE, "/tables/bus/area")},
    ),
    "a word": (
        set_values("tables/charge/purpose", 0, "profit"),
        {(K.VALUE, "/tables/charge/purpose")},
    ),
    "scope": (
        set_values("tables/kpi/scope", 0, "the whole world"),
        {(K.REFERENCE, "/tables/kpi/scope")},
    ),
    "row number": (
        set_values("tables/kpi/kpi", 0, 5),
        {(K.VALUE, "/tables/kpi/kpi")},
    ),
    "time of a trade": (
        set_values("tables/trade/time", 0, 7),
        {(K.TIME, "/tables/trade/time")},
    ),
    "a gap in a bill": (
        set_values("tables/bill/saving", 2, np.nan),
        {(K.MONEY, "/tables/bill/saving")},
    ),
    "a receipt": (
        set_values("tables/receipt/amount", 0, 1e3),
        {(K.MONEY, "/tables/receipt/amount"), (K.MONEY, "/tables/charge/revenue")},
    ),
    "revenue": (
        set_values("tables/charge/revenue", 1, 1e3),
        {(K.MONEY, "/tables/charge/revenue")},
    ),
    "a posting": (
        set_values("tables/posting/amount", 0, 1e3),
        {(K.MONEY, "/tables/posting/amount")},
    ),
    "an attribute that is no UTF-8": (
        set_attribute("source", np.bytes_(b"\xff\xfe")),
        {(K.TYPE, "/@source")},
    ),
    "a factor that readers apply": (
        set_attribute("scale_factor", 2.0, "tables/bill/total"),
        {(K.ATTRIBUTE, "/tables/bill/total@scale_factor")},
    ),
    "a gap of whole numbers": (
        set_attribute("_FillValue", np.int8(0), "timeseries/slot/verdict"),
        {(K.ATTRIBUTE, "/timeseries/slot/verdict@_FillValue")},
    ),
    "codes of another type": (
        set_attribute("flag_values", np.arange(4), "timeseries/slot/verdict"),
        {(K.TYPE, "/timeseries/slot/verdict@flag_values")},
    ),
    "a figure twice": (
        set_values("tables/kpi/name", 1, "load"),
        {(K.VALUE, "/tables/kpi/name")},
    ),
    "the level of an agent": (
        set_values("tables/agent/level", 0, "cell"),
        {(K.VALUE, "/tables/agent/level")},
    ),
    "an area above itself": (
        lambda file: set_values("tables/area/parent", 0, file["tables/area/area"][0])(file),
        {(K.REFERENCE, "/tables/area/parent")},
    ),
    "the count of agents": (
        set_values("tables/area/n_agent", 0, 77),
        {(K.VALUE, "/tables/area/n_agent")},
    ),
    "an empty id": (
        set_values("tables/charge/charge", 0, ""),
        {(K.VALUE, "/tables/charge/charge")},
    ),
    "bills in another order": (
        lambda file: set_values(
            "tables/bill/agent", slice(0, 2), file["tables/bill/agent"][:2][::-1]
        )(file),
        {(K.MONEY, "/tables/receipt/amount")},
    ),
    "a link to nowhere": (
        lambda file: (
            file.__delitem__("tables/warning"),
            file.__setitem__("tables/warning", h5py.SoftLink("/nowhere")),
        )[0],
        {(K.UNREADABLE, "/tables/warning")},
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_wrong_value_is_named_and_nothing_else(good: Path, tmp_path: Path, name: str) -> None:
    damage, expected = VALUES[name]
    assert found_after(good, tmp_path, damage) == expected


def test_a_wrong_total_is_named_with_both_sums(good: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["tables/bill/total"][4] += 0.01

    checked = validate(damaged(good, tmp_path, change))
    assert found(checked) == {
        (K.MONEY, "/tables/bill/total"),
        (K.MONEY, "/tables/bill/saving"),
        (K.MONEY, "/tables/receipt/amount"),
    }
    with h5py.File(good) as file:
        total = float(file["tables/bill/total"][4])
    wrong = next(each for each in checked.deviations if each.path == "/tables/bill/total")
    assert wrong.found == f"row 4: {total + 0.01:.6f} EUR"
    assert wrong.expected == f"{total:.6f} EUR, the sum of its parts"


def test_a_repeated_id_is_named(good: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        for path in ("tables/line/line", "timeseries/line/line"):
            file[path][1] = file[path].asstr()[0]

    assert found_after(good, tmp_path, change) == {(K.VALUE, "/tables/line/line")}


def test_a_wrong_step_is_named_with_its_row(good: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        for _, group in series_of(file):
            group["time"][11] += 900

    checked = validate(damaged(good, tmp_path, change))
    assert (K.TIME, "/timeseries/slot/time") in found(checked)
    assert checked.deviations[0].found == "steps of 1800 s, first at row 10"


def test_a_damaged_chunk_is_named(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    copyfile(good, path)
    with h5py.File(good) as file:
        chunk = file["timeseries/agent/p_net"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    path.write_bytes(content)
    checked = validate(path)
    assert found(checked) == {(K.UNREADABLE, "/timeseries/agent/p_net")}


def test_a_dataset_that_cannot_be_opened_is_named_and_the_rest_is_checked(
    good: Path, tmp_path: Path
) -> None:
    path = damaged(good, tmp_path, set_attribute("units", "MW", "timeseries/agent/p_net"))
    with h5py.File(path) as file:
        header = h5py.h5o.get_info(file["timeseries/bus/vm"].id).addr
    content = bytearray(path.read_bytes())
    content[header : header + 16] = bytes(255 for _ in range(16))
    path.write_bytes(content)
    assert found(validate(path)) == {
        (K.UNREADABLE, "/timeseries/bus/vm"),
        (K.ATTRIBUTE, "/timeseries/agent/p_net@units"),
    }


# --- any one change, anywhere ---

ATTRIBUTES = ("long_name", "units", "_FillValue", "flag_values", "flag_meanings", "calendar")


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, str]:
    """Choose a place of the layout and what to do there."""
    places = [
        layout.series_path(group.name, variable.name)
        for group in layout.SERIES.values()
        if group.name != "multicell"
        for variable in group.variables
        if variable.required
    ] + [
        layout.table_path(table.name, column.name)
        for table in layout.TABLES.values()
        for column in table.columns
        if column.required and column.name != table.axis
    ]
    deed = st.sampled_from(["drop", "rename", "group", "one more", *ATTRIBUTES])
    return draw(st.sampled_from(places)), draw(deed)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damages())
def test_one_change_anywhere_is_named_there_and_only_there(
    newest: Path, tmp_path: Path, damage: tuple[str, str]
) -> None:
    path, deed = damage
    expected: Found = set()

    def change(file: h5py.File) -> None:
        dataset = file[path]
        if deed == "drop":
            expected.add((K.MISSING, path))
            del file[path]
        elif deed == "rename":
            expected.update({(K.MISSING, path), (K.UNKNOWN, f"{path}_new")})
            file.move(path, f"{path}_new")
        elif deed == "group":
            expected.add((K.TYPE, path))
            del file[path]
            file.create_group(path)
        elif deed == "one more":
            expected.add((K.UNKNOWN, f"{path}_copy"))
            file.copy(dataset, f"{path}_copy", without_attrs=True)
        elif deed in dataset.attrs:
            expected.add((K.MISSING, f"{path}@{deed}"))
            del dataset.attrs[deed]

    assert found_after(newest, tmp_path, change) == expected


# --- the command ---


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner(env=PLAIN).invoke(app, ["validate", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command_says_that_a_file_is_fine(good: Path) -> None:
    code, output = run(good)
    assert code == 0
    text = " ".join(output.split())
    assert f"follows tricell-results {layout.SCHEMA_VERSION}" in text
    assert "12 slots; the run is complete" in text


def test_the_command_lists_all_deviations_and_ends_with_2(good: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["tables/kpi/unit"]
        file.attrs["currency"] = "CHF"

    code, output = run(damaged(good, tmp_path, change))
    assert code == 2
    assert "2 deviations" in " ".join(output.split())
    for words in ("/tables/kpi/unit", "missing", "/@currency", "'CHF'", "'EUR'"):
        assert words in output


def test_a_missing_root_group_is_a_deviation(good: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["tables"], file["meta"]

    assert found_after(good, tmp_path, change) == {(K.MISSING, "/tables"), (K.MISSING, "/meta")}


@pytest.mark.parametrize("kind", ["no file", "text", "cut off", "other schema", "higher major"])
def test_what_is_no_results_file_is_an_error_and_no_list(
    good: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "wrong.h5"
    if kind == "text":
        path.write_text("time,price\n")
    elif kind == "cut off":
        path.write_bytes(good.read_bytes()[:100_000])
    elif kind != "no file":
        name, value = (
            ("schema_name", "mosaik") if kind == "other schema" else ("schema_version", "2.0.0")
        )
        path = damaged(good, tmp_path, set_attribute(name, value))
    with pytest.raises(ResultsError):
        validate(path)
    code, output = run(path)
    assert code == 2
    assert path.name in output.replace("\n", "")
    assert "Traceback" not in output


# --- the layout as data ---


def test_the_layout_as_json_names_every_dataset_with_its_unit_and_dimensions() -> None:
    described = json.loads(json.dumps(layout_description()))
    assert described["schema_version"] == layout.SCHEMA_VERSION
    agent = {each["name"]: each for each in described["timeseries"]["agent"]["datasets"]}
    assert agent["p_net"]["dimensions"] == ["time", "agent"]
    assert agent["p_net"]["unit"] == "kW"
    assert agent["time"]["required"] is True
    trade = {each["name"]: each for each in described["tables"]["trade"]["datasets"]}
    assert trade["seller"]["points_to"] == "/tables/agent"
    assert [each["value"] for each in trade["seller"]["outside"]] == [-1, -2]
    assert {each["word"] for each in trade["level"]["codes"]} >= {"microgrid", "retail"}
    groups = [*described["timeseries"].values(), *described["tables"].values()]
    assert all(dataset["meaning"] for group in groups for dataset in group["datasets"])


def test_the_command_prints_the_layout() -> None:
    results = CliRunner(env=PLAIN).invoke(app, ["schema", "results"])
    assert json.loads(results.output) == json.loads(json.dumps(layout_description()))
