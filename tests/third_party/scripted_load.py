"""A mosaik simulator that behaves or misbehaves as its parameters say.

As a command it writes its process number to the file that the variable PID_FILE names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time as clock
from pathlib import Path
from typing import Any

import mosaik_api_v3

P_KW = 2.5
ATTRIBUTES = ["p_kw", "vm_pu", "price", "soc_kwh"]


class ScriptedLoad(mosaik_api_v3.Simulator):
    """A load of 2.5 kW, until `misbehaves` says otherwise at the slot `at`."""

    def __init__(self) -> None:
        model = {"public": True, "params": [], "attrs": ATTRIBUTES}
        hidden = {"public": False, "params": [], "attrs": []}
        meta: Any = {"type": "time-based", "models": {"ScriptedLoad": model, "Hidden": hidden}}
        super().__init__(meta)  # type: ignore[no-untyped-call]  # mosaik's own gap

    def init(self, sid: str, time_resolution: float = 1.0, **script: Any) -> Any:
        self.misbehaves, self.at = script.get("misbehaves", ""), script.get("at", 3)
        self.now = -1
        if self.misbehaves == "raises in init":
            raise ValueError("no licence file")
        return self.meta

    def create(self, num: int, model: str, **_: Any) -> Any:
        if self.misbehaves == "creates too few":
            num -= 1
        return [{"eid": f"load {i}", "type": model} for i in range(num)]

    def step(self, time: int, inputs: Any, max_advance: int) -> Any:
        self.now = time // 900
        if self.now == self.at:
            self.misbehave()
            if self.misbehaves == "steps back":
                return 0
        return time + 900

    def misbehave(self) -> None:
        if self.misbehaves == "raises":
            raise ZeroDivisionError("the car has no battery")
        if self.misbehaves == "dies":
            print("out of memory", file=sys.stderr, flush=True)
            os._exit(7)
        if self.misbehaves == "exits":
            sys.exit(4)
        if self.misbehaves.startswith("hangs"):
            hang(stubborn=self.misbehaves == "hangs stubbornly")

    def get_data(self, outputs: Any) -> Any:
        odd: dict[str, Any] = {
            "sends nan": float("nan"),
            "sends text": "2.5 kW",
            "sends none": None,
        }
        value = odd.get(self.misbehaves, P_KW) if self.now == self.at else P_KW
        if self.misbehaves == "sends nothing" and self.now == self.at:
            return {}
        if self.misbehaves == "speaks for others":
            return {eid: {"p_kw": value} for eid in [*outputs, "ghost"]}
        return {eid: {"p_kw": value} for eid in outputs}

    def finalize(self) -> None:
        if self.misbehaves == "raises in finalize":
            raise OSError("disk full")
        if self.misbehaves == "writes at the end":
            clock.sleep(0.5)
            Path(os.environ["PID_FILE"]).with_suffix(".end").write_text("written", encoding="utf-8")


class Thermostat(mosaik_api_v3.Simulator):
    """Consumes what it hears, as p_kw: 10 * vm_pu + price + soc_kwh; nothing is nothing."""

    def __init__(self) -> None:
        model = {"public": True, "params": [], "attrs": ATTRIBUTES}
        meta: Any = {"type": "time-based", "models": {"Thermostat": model}}
        super().__init__(meta)  # type: ignore[no-untyped-call]  # mosaik's own gap

    def init(self, sid: str, time_resolution: float = 1.0, **_: Any) -> Any:
        return self.meta

    def create(self, num: int, model: str, **_: Any) -> Any:
        return [{"eid": "thermostat", "type": model}]

    def step(self, time: int, inputs: Any, max_advance: int) -> int:
        heard = {name: sum(of.values()) for name, of in inputs["thermostat"].items()}
        self.p_kw = 10.0 * heard["vm_pu"] + heard["price"] + heard["soc_kwh"]
        return time + 900

    def get_data(self, outputs: Any) -> Any:
        return {"thermostat": {"p_kw": self.p_kw}}


class OldLoad(mosaik_api_v3.Simulator):
    """A load of 2.5 kW as one wrote it for version 2 of mosaik's API."""

    def __init__(self) -> None:
        model = {"public": True, "params": [], "attrs": ATTRIBUTES}
        meta: Any = {"api_version": "2.2", "models": {"ScriptedLoad": model}}
        super().__init__(meta)  # type: ignore[no-untyped-call]  # mosaik's own gap

    def init(self, sid: str) -> Any:  # type: ignore[override]  # as it was in version 2
        return self.meta

    def create(self, num: int, model: str, **_: Any) -> Any:
        return [{"eid": "load 0", "type": model}]

    def step(self, time: int, inputs: Any) -> int:  # type: ignore[override]  # as in version 2
        return time + 900

    def get_data(self, outputs: Any) -> Any:
        return {eid: {"p_kw": P_KW} for eid in outputs}


def hang(*, stubborn: bool) -> None:
    """Never come back; if stubborn, catch whatever interrupts."""
    while True:
        try:
            clock.sleep(600)
        except BaseException:
            if not stubborn:
                raise


if __name__ == "__main__":
    Path(os.environ["PID_FILE"]).write_text(str(os.getpid()), encoding="utf-8")
    if sys.argv[1] == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(os.environ["PID_FILE"]).with_suffix(".child").write_text(str(child.pid))
        hang(stubborn=True)
    if sys.argv[1] == "fail":
        raise RuntimeError("cannot find the charging station")
    mosaik_api_v3.start_simulation(ScriptedLoad(), "A load that may misbehave")
