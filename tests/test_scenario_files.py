"""Scenario files: what is read, merged and refused, and how faults are told."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tricell.errors import DataError, GridError, ScenarioError
from tricell.scenarios.faults import PAGE_WIDTH, Fault, ScenarioFaultsError
from tricell.scenarios.participants import build_population
from tricell.scenarios.scenario_file import Override, as_yaml, load_scenario
from tricell.scenarios.schema import AreaOptions, Scenario, json_schema
from tricell.scenarios.shipped import shipped_names, shipped_scenarios
from tricell.scenarios.yaml_tree import Source, merged, parse, plain
from tricell.simulators.population import AgentKind, DeviceKind


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def faults_of(path: str, *assignments: str) -> tuple[Fault, ...]:
    with pytest.raises(ScenarioFaultsError) as caught:
        load_scenario(path, [Override.from_assignment(text) for text in assignments])
    return caught.value.faults


def the_fault(path: str, *assignments: str) -> Fault:
    faults = faults_of(path, *assignments)
    assert len(faults) == 1, [str(fault) for fault in faults]
    return faults[0]


# --- what is shipped ---


SHIPPED = ["district", "district_flexible", "region", "village", "village_flexible"]


def test_the_shipped_scenarios_are_village_district_and_region_and_two_with_devices() -> None:
    assert shipped_names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_scenario_is_valid_and_says_what_it_shows(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description
    listed = {shipped.name: shipped for shipped in shipped_scenarios()}[name]
    assert listed.days == scenario.time.days
    assert datetime.fromisoformat(listed.start) == scenario.time.start
    assert listed.description == scenario.description


# --- reading and merging ---


def test_a_file_that_extends_another_holds_only_what_differs(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, "extends: village\nname: mine\ntime: {days: 2}\n"))
    base = load_scenario("village")
    assert scenario.name == "mine"
    assert scenario.time.days == 2
    assert scenario.time.start == base.time.start
    assert scenario.prices == base.prices


def test_extending_goes_through_several_files_relative_to_each(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", "extends: village\nseed: 7\nname: inner\n", "base.yaml")
    scenario = load_scenario(write(tmp_path, "extends: inner/base.yaml\nname: outer\n"))
    assert (scenario.name, scenario.seed) == ("outer", 7)


def test_a_section_whose_kind_changes_is_replaced_as_a_whole(tmp_path: Path) -> None:
    text = (
        "extends: village\ngrid:\n  source: {kind: pandapower, function: create_cigre_network_lv}\n"
    )
    scenario = load_scenario(write(tmp_path, text))
    assert scenario.grid.source.kind == "pandapower"


def test_overrides_win_over_files_and_later_ones_over_earlier_ones() -> None:
    overrides = [Override.from_assignment(text) for text in ("time.days=2", "time.days=3")]
    assert load_scenario("village", overrides).time.days == 3


def test_an_override_reaches_into_lists(tmp_path: Path) -> None:
    text = (
        "extends: village\nsimulators:\n"
        "  - name: ev\n    connect: localhost:5555\n    model: M\n    connections:\n"
        "      - {from: {attr: p_kw}, to: {household: H, attr: p_kw}}\n"
    )
    path = write(tmp_path, text)
    scenario = load_scenario(path, [Override.from_assignment("simulators.0.timeout_s=5")])
    assert scenario.simulators[0].timeout_s == 5
    assert scenario.simulators[0].name == "ev"
    fault = the_fault(path, "simulators.1.timeout_s=5")
    assert fault.message == "`1` is not a position in the list `simulators`"
    assert fault.allowed == "0 to 0"


def test_the_resolved_scenario_can_be_written_and_read_again(tmp_path: Path) -> None:
    scenario = load_scenario("region", [Override.from_assignment("time.days=0.5")])
    again = load_scenario(write(tmp_path, as_yaml(scenario)))
    assert again == scenario


def test_paths_start_at_the_folder_of_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "grid.json").write_text("{}")
    text = "extends: village\ngrid: {source: {kind: file, path: data/grid.json}}\n"
    source = load_scenario(write(tmp_path, text)).grid.source
    assert source.kind == "file"
    assert source.path == tmp_path / "data" / "grid.json"


def test_times_without_an_offset_are_utc_and_others_are_converted() -> None:
    def start(text: str) -> datetime:
        return load_scenario("village", [Override("--start", "time.start", text)]).time.start

    assert start("2016-01-18") == datetime(2016, 1, 18, tzinfo=UTC)
    assert start("2016-01-18T06:00+01:00") == datetime(2016, 1, 18, 5, tzinfo=UTC)


def test_slots_are_labelled_by_their_start() -> None:
    time = load_scenario("village", [Override("--start", "time.start", "2016-01-18")]).time
    starts = time.slot_starts()
    assert len(starts) == time.slots == 96
    assert starts[0] == np.datetime64("2016-01-18T00:00:00")
    assert starts[-1] == np.datetime64("2016-01-18T23:45:00")


# --- faults: all at once, with place, value, what is allowed and a suggestion ---

MANY_FAULTS = """\
extends: village
name: mine
tme: {days: 2}
time:
  start: 2016
  days: -1
  step_minutes: "15"
grid:
  source: {kind: simbanch}
participants:
  battery: {kind: price_bnd}
prices:
  fees: {microgrid: 0.05, cell: 0.03}
market: {coordination: jiont}
"""


def test_all_faults_are_reported_at_once_with_line_field_and_value(tmp_path: Path) -> None:
    path = write(tmp_path, MANY_FAULTS)
    found = [(f.line, f.field, f.value) for f in faults_of(path)]
    assert found == [
        (3, "tme", '{"days": 2}'),
        (5, "time.start", "2016"),
        (6, "time.days", "-1"),
        (7, "time.step_minutes", "15"),
        (9, "grid.source.kind", "simbanch"),
        (11, "participants.battery.kind", "price_bnd"),
        (13, "prices.fees.cell", "0.03"),
        (14, "market.coordination", "jiont"),
    ]
    assert all(fault.file == path for fault in faults_of(path))
    assert all(fault.allowed for fault in faults_of(path))


def test_faults_are_shown_like_a_compiler_shows_them(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: village\nmarket:\n  coordination: jiont\n")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert str(caught.value) == (
        f"{path}:3:17: error: `market.coordination` cannot be `jiont`\n"
        "     3 |   coordination: jiont\n"
        "       |                 ^^^^^\n"
        "       = allowed: joint or local_first\n"
        "       = help: did you mean `joint`?\n"
        "\n"
        f"1 fault in {path}; nothing was run."
    )


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("tme: {days: 2}", "did you mean `time`?"),
        ("days: 2", "did you mean `time.days`?"),
        ("time: {dayz: 2}", "did you mean `days`?"),
        ("market: {coordination: Joint}", "did you mean `joint`?"),
        ("participants: {battery: {kind: selfconsumption}}", "did you mean `self_consumption`?"),
        ("participants: {profiles: constnt}", "did you mean `constant`?"),
        ("grid: {kind: simbench}", "did you mean `grid.source.kind`?"),
        ("grid: {source: {mv: MV2.101}}", "did you mean `[MV2.101]`?"),
        ("time: {local_zone: Europe/Berln}", "did you mean `Europe/Berlin`?"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(tmp_path: Path, text: str, suggestion: str) -> None:
    assert the_fault(write(tmp_path, f"extends: village\n{text}\n")).suggestion == suggestion


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time: {step_minutes: 7}", "fit neither into an hour"),
        ("time: {step_minutes: 90}", "fit neither into an hour"),
        ("time: {days: 0.001}", "not a whole number of slots"),
        ("time: {start: 2016-01-18T00:07}", "lies inside a slot"),
        ("time: {start: 1453075200}", "is not a date"),
        ("time: {days: true}", "must be a number"),
        ("time: {days: '2'}", "must be a number"),
        ("time: 3", "must be a section with fields"),
        ("prices: {fees: {cell: 0.03, multicell: 0.02}}", "fee of the multicell"),
        ("limits: {voltage_min_pu: 1.2}", "must be less than 1"),
        ("seed: 1.5", "must be a whole number"),
        ("seed: .nan", "is not a finite number"),
        ("name: my village", "cannot be `my village`"),
        ("participants: {battery: {kind: [1]}}", "cannot be"),
        ("participants: {battery: {wear: 1, kind: null}}", "cannot be"),
        ("participants: {battery: 3}", "must be a section"),
        ("grid: {source: null}", "must be a section"),
        ("simulators: []\nname: a/b", "cannot be `a/b`"),
    ],
)
def test_a_wrong_value_is_named_in_plain_words(tmp_path: Path, text: str, words: str) -> None:
    fault = the_fault(write(tmp_path, f"extends: village\n{text}\n"))
    assert words in fault.message
    assert fault.line in (2, 3)


BATTERY = "participants: {shared_batteries: [{name: b, area: A, energy_kwh: 1, power_kw: 1, %s}]}"


@pytest.mark.parametrize(
    ("text", "allowed", "suggestion"),
    [
        ("participants: {strategy: lookahed}", "lookahead, price_band or rule", "`lookahead`"),
        ("participants: {strategy: {kind: lookahead, horizon_h: 0}}", "at most 168", ""),
        ("participants: {strategy: {kind: price_band, horizon_h: 24}}", "fields kind", ""),
        (BATTERY % "members: {a: 0}", "a number, above 0", ""),
        (BATTERY % "members: []", "all or a section with fields", ""),
        (BATTERY % "members: everybody", "all or a section with fields", ""),
        ("forecasts: {kind: ar1, sigma: {pv: 20}}", "at most 1", ""),
    ],
)
def test_a_field_of_several_forms_says_all_that_is_allowed(
    tmp_path: Path, text: str, allowed: str, suggestion: str
) -> None:
    fault = the_fault(write(tmp_path, f"extends: village\n{text}\n"))
    assert allowed in fault.allowed
    assert suggestion in fault.suggestion
    assert bool(suggestion) == bool(fault.suggestion)
    assert "Node(" not in str(fault)


def test_a_quantity_that_no_device_can_have_names_its_field(tmp_path: Path) -> None:
    text = "extends: village\nparticipants: {inverters: {control: voltage, kva_per_kwp: 0}}\n"
    assert "`0` cannot be used for `kva_per_kwp`" in the_fault(write(tmp_path, text)).message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "is empty"),
        ("# only a comment\n", 1, "is empty"),
        ("- village\n", 1, "must hold fields"),
        ("extends: village\ntime:\n\tdays: 1\n", 3, "a tab is used"),
        ("extends: village\nseed: 1\nseed: 2\n", 3, "given twice (first on line 2)"),
        ("extends: village\ntime: {days: 1\n", 2, "not YAML"),
        ("extends: 'village\n", 1, "a quote is opened and never closed"),
        ("extends: village\n name: x\n", 2, "indented further"),
        ("name: a\n---\nname: b\n", 2, "second YAML document"),
        ("extends: village\nseed: !!python/object:os.system 1\n", 2, "tag"),
        ("extends: village\nname: \x07\n", 2, "control character"),
        ("extends: village\nsimulators: &loop [*loop]\n", 2, "contains itself"),
        ("extends: village\n? [1, 2]\n: 3\n", 2, "must be a plain word"),
    ],
)
def test_a_file_that_is_no_scenario_says_why(
    tmp_path: Path, text: str, line: int | None, words: str
) -> None:
    fault = the_fault(write(tmp_path, text))
    assert words in fault.message
    assert fault.line == line


def test_an_alias_bomb_is_refused_quickly(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x]"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)
    ]
    faults = faults_of(write(tmp_path, "\n".join(rows)))
    assert any("more than" in fault.message for fault in faults)


def test_a_file_that_is_not_text_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    assert the_fault(str(path)).message == "byte 9 is not UTF-8 text"


def test_a_name_that_does_not_exist_gets_the_nearest_shipped_one() -> None:
    fault = the_fault("vilage")
    assert fault.suggestion == "did you mean `village`?"
    assert ", ".join(SHIPPED) in fault.allowed


def test_a_path_that_does_not_exist_gets_the_nearest_file_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: village\n", "town.yaml")
    missing = str(tmp_path / "twon.yaml")
    assert the_fault(missing).suggestion == f"did you mean `{path}`?"
    assert "is a folder" in the_fault(str(tmp_path)).message


def test_a_missing_base_is_one_fault_and_not_many(tmp_path: Path) -> None:
    fault = the_fault(write(tmp_path, "name: mine\nextends: vilage\n"))
    assert (fault.line, fault.field) == (2, "extends")
    assert fault.suggestion == "did you mean `village`?"


def test_files_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    write(tmp_path, "extends: a.yaml\n", "b.yaml")
    faults = faults_of(str(tmp_path / "a.yaml"))
    assert "cannot extend itself" in faults[0].message


def test_missing_fields_are_named_one_by_one(tmp_path: Path) -> None:
    faults = faults_of(write(tmp_path, "name: mine\ntime: {days: 1}\n"))
    assert [fault.field for fault in faults] == [
        "grid",
        "participants",
        "prices",
        "time.start",
    ]
    assert faults[-1].line == 2


def test_a_file_that_is_named_but_missing_is_a_fault_with_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "town.json").write_text("{}")
    text = "extends: village\ngrid: {source: {kind: file, path: twon.json}}\n"
    fault = the_fault(write(tmp_path, text))
    assert fault.suggestion == "did you mean `town.json`?"
    assert fault.line == 2


def test_the_fault_of_an_option_names_the_option() -> None:
    fault = the_fault("village", "time.dys=2")
    assert fault.file == "--set time.dys=2"
    assert fault.line is None
    assert fault.suggestion == "did you mean `days`?"
    assert the_fault("village", "name.first=x").message == (
        "`name` is a single value and has no field `first`"
    )


def test_an_assignment_without_equals_is_a_fault() -> None:
    with pytest.raises(ScenarioFaultsError, match="this is not an assignment"):
        Override.from_assignment("time.days")


def test_long_lines_are_cut_around_the_fault() -> None:
    fault = Fault(
        "f.yaml", 1, "x", "y", "wrong", column=150, excerpt="a" * 149 + "y" * 99, marked=5
    )
    _, shown, marks = str(fault).splitlines()
    assert max(len(shown), len(marks)) <= PAGE_WIDTH
    assert shown[marks.index("^")] == "y"


# --- third-party simulators ---

SIMULATOR = """\
extends: village
simulators:
  - name: measured
    python: mosaik_csv:CSV
    model: Data
    init: {sim_start: "%(start)s", datafile: "%(folder)s/m.csv", step: "%(step_s)s"}
    connections:
      - {from: {attr: P}, to: {household: LV2.101 Load 3, attr: p_kw}, scale: 0.001}
"""


def test_a_simulator_gets_start_step_and_folder_of_the_scenario(tmp_path: Path) -> None:
    start = Override("--start", "time.start", "2016-01-18")
    scenario = load_scenario(write(tmp_path, SIMULATOR), [start])
    simulator, time = scenario.simulators[0], scenario.time
    assert simulator.starter == ("python", "mosaik_csv:CSV")
    assert simulator.filled(simulator.init, time.start, time.step_s) == {
        "sim_start": "2016-01-18 00:00:00",
        "datafile": f"{tmp_path}/m.csv",
        "step": 900,
    }
    connection = simulator.connections[0]
    assert connection.into_tricell
    assert connection.to.target == ("household", "LV2.101 Load 3")
    assert connection.source.own_entity == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("python: mosaik_csv:CSV", "cmd: run", "does not pass on mosaik's address"),
        ("python: mosaik_csv:CSV", "api_version: '3.0'", "nothing starts it"),
        (
            "python: mosaik_csv:CSV",
            "python: mosaik_csv:CSV\n    connect: a:1",
            "given together",
        ),
        ("python: mosaik_csv:CSV", "python: mosaik_csv", "cannot be `mosaik_csv`"),
        ("from: {attr: P}", "from: {attr: P, entity: 1}", "has no entity 1"),
        ("from: {attr: P}", "from: {attr: P, bus: B}", "neither end"),
        ("household: LV2.101 Load 3, ", "", "both ends"),
        ("household: LV2.101 Load 3, ", "household: H, bus: B, ", "names 2 entities"),
        ("name: measured", "name: 1st", "cannot be `1st`"),
    ],
)
def test_a_wrong_simulator_is_told_what_is_wrong(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert words in the_fault(write(tmp_path, SIMULATOR.replace(old, new))).message


def test_two_simulators_of_one_name_are_refused(tmp_path: Path) -> None:
    block = SIMULATOR.split("simulators:\n")[1]
    fault = the_fault(write(tmp_path, SIMULATOR + block))
    assert fault.field == "simulators.1.name"
    assert fault.line == 9


# --- extra participants ---


@pytest.fixture(scope="module")
def town() -> Any:
    """Return a transformer with one load of 2 kW behind it; pandapower's own catalogue data."""
    net = pp.create_empty_network()
    mv, lv = pp.create_bus(net, 20.0, name="MV bus"), pp.create_bus(net, 0.4, name="LV bus")
    pp.create_ext_grid(net, mv)
    pp.create_transformer(net, mv, lv, "0.25 MVA 20/0.4 kV")
    pp.create_load(net, lv, 0.002, name="house")
    return net


def scenario_with(tmp_path: Path, extra: str) -> Scenario:
    text = f"extends: village\nparticipants:\n  profiles: constant\n  extra: [{extra}]\n"
    return load_scenario(write(tmp_path, text))


def test_extra_participants_stand_behind_those_of_the_network(tmp_path: Path, town: Any) -> None:
    smith = "{name: Smith, bus: LV bus, load_kw: 3, pv_kwp: 5, pv_profile: PV, battery_kwh: 10, "
    scenario = scenario_with(
        tmp_path, smith + "battery_kw: 4}, {name: Mill, bus: MV bus, load_kw: 9}"
    )
    population = build_population(scenario, town)
    assert population.agents.id == ("house", "Smith", "Mill")
    assert list(population.agents.bus_row) == [1, 1, 0]
    assert population.rated_kw_by_agent(DeviceKind.BASE_LOAD).tolist() == [2, 3, 9]
    assert population.pv_kwp.tolist() == [0, 5, 0]
    assert population.battery_kwh.tolist() == [0, 10, 0]
    assert population.battery_kw.tolist() == [0, 4, 0]
    assert [AgentKind(kind).label for kind in population.agents.kind] == [
        "household",
        "household",
        "business",
    ]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("{name: A, bus: LV buss, load_kw: 1}", "did you mean `LV bus`"),
        ("{name: house, bus: LV bus, load_kw: 1}", "has the name of a participant"),
    ],
)
def test_an_extra_participant_that_does_not_fit_the_network_is_refused(
    tmp_path: Path, town: Any, extra: str, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        build_population(scenario_with(tmp_path, extra), town)


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ("{name: A, bus: LV bus, pv_kwp: 1}", "participants.extra.0.pv_profile"),
        ("{name: A, bus: LV bus, battery_kwh: 1}", "participants.extra.0.battery_kw"),
        ("{name: A, bus: LV bus}, {name: A, bus: LV bus}", "participants.extra.1.name"),
    ],
)
def test_an_incomplete_extra_participant_is_a_fault(tmp_path: Path, extra: str, field: str) -> None:
    with pytest.raises(ScenarioFaultsError) as caught:
        scenario_with(tmp_path, extra)
    assert [fault.field for fault in caught.value.faults] == [field]


def test_profiles_of_extra_participants_come_from_the_tables_of_the_scenario(
    tmp_path: Path, town: Any
) -> None:
    hours = [f"2016-01-18T{hour:02}:00Z" for hour in range(24)]
    rows = [f"{hour},{value / 24},0.5" for value, hour in enumerate(hours)]
    (tmp_path / "p.csv").write_text("\n".join(["time,house,shape", *rows]))
    scenario = load_scenario(
        write(
            tmp_path,
            "extends: village\ntime: {start: 2016-01-18, step_minutes: 60}\nparticipants:\n"
            "  profiles: {kind: csv, files: [p.csv]}\n"
            "  extra: [{name: A, bus: LV bus, load_kw: 4, load_profile: shape}]\n",
        )
    )
    population = build_population(scenario, town)
    column = population.devices.p_profile[-1]
    assert (population.profiles.values[:, column] == np.float32(0.5)).all()


# --- cut lines ---


def test_cut_lines_are_given_by_name_or_position() -> None:
    options = AreaOptions(cut_lines=("feeder 2", 0))
    assert options.cut_line_rows(["feeder 1", "feeder 2"]) == [1, 0]
    with pytest.raises(GridError, match="did you mean `feeder 2`"):
        AreaOptions(cut_lines=("feeder2",)).cut_line_rows(["feeder 2"])
    with pytest.raises(GridError, match="lines 0 to 1"):
        AreaOptions(cut_lines=(2,)).cut_line_rows(["feeder 1", "feeder 2"])


# --- the JSON Schema ---


def test_every_field_of_the_schema_is_described() -> None:
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    undescribed = [
        (section["title"], name)
        for section in sections
        for name, field in section.get("properties", {}).items()
        if name != "kind" and not {"description", "$ref"} & set(field)
    ]
    assert undescribed == []


# --- properties ---

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=10,
)
sections = st.dictionaries(st.sampled_from(["a", "b", "c"]), trees, max_size=3)
NOWHERE = Source("x.yaml", Path(), ("",))


def tree(data: Any) -> Any:
    node, faults = parse(json.dumps(data), NOWHERE)
    assert faults == []
    return node


@given(trees)
def test_what_json_holds_is_read_as_it_is(data: Any) -> None:
    assert plain(tree(data)) == data


@given(sections, sections)
def test_merging_keeps_every_field_and_lets_the_later_file_win(base: Any, over: Any) -> None:
    result = plain(merged(tree(base), tree(over)))
    assert isinstance(result, dict)
    assert set(result) == set(base) | set(over)
    for key, value in over.items():
        if not (isinstance(value, dict) and isinstance(base.get(key), dict)):
            assert result[key] == value


@given(sections)
def test_merging_a_file_with_itself_changes_nothing(base: Any) -> None:
    assert plain(merged(tree(base), tree(base))) == base


FIELDS = (
    "name",
    "time",
    "time.start",
    "time.days",
    "grid",
    "grid.source",
    "grid.source.kind",
    "grid.source.lv",
    "limits.voltage_min_pu",
    "participants.profiles",
    "participants.battery",
    "participants.extra",
    "prices.wholesale",
    "prices.fees",
    "simulators",
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FIELDS), trees)
def test_whatever_stands_in_a_field_is_a_scenario_or_faults_but_no_other_error(
    field: str, data: Any
) -> None:
    with suppress(ScenarioFaultsError):
        scenario = load_scenario("village", [Override("--set", field, json.dumps(data))])
        assert isinstance(scenario, Scenario)


def test_the_dump_is_plain_yaml() -> None:
    data = YAML(typ="safe", pure=True).load(as_yaml(load_scenario("village")))
    assert Scenario.model_validate_json(json.dumps(data)) == load_scenario("village")
