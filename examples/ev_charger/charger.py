"""An EV charger as a mosaik simulator of its own: it knows nothing of tricell.

Every day the car is plugged in at the same time and charges at full power until it has what it
needs. Run it as mosaik's `cmd` does (``python charger.py HOST:PORT``), or as a server that a
scenario's `connect` finds (``python charger.py --remote HOST:PORT``).
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

import mosaik_api_v3

META: Any = {
    "api_version": "3.0",
    "type": "time-based",
    "models": {
        "Charger": {
            "public": True,
            "params": ["plugged_in_at", "energy_kwh", "power_kw"],
            "attrs": ["p_kw"],
        }
    },
}


def mean_power_kw(
    begin: datetime, end: datetime, *, plugged_in_at: time, energy_kwh: float, power_kw: float
) -> float:
    """Return the charger's mean power (kW) between two moments (UTC) less than a day apart."""
    lasts = timedelta(hours=energy_kwh / power_kw)
    charging = timedelta()
    for day in (begin.date() - timedelta(days=1), begin.date(), end.date()):
        plugged_in = datetime.combine(day, plugged_in_at)
        overlap = min(end, plugged_in + lasts) - max(begin, plugged_in)
        charging = max(charging, overlap)
    return power_kw * (charging / (end - begin))


class Chargers(mosaik_api_v3.Simulator):
    """One charger per entity, stepping through time slot by slot."""

    def __init__(self) -> None:
        super().__init__(META)
        self._cars: dict[str, dict[str, Any]] = {}
        self._p_kw: dict[str, float] = {}

    def init(self, sid: str, time_resolution: float, **settings: Any) -> Any:
        """Take `start` (``YYYY-MM-DD HH:MM:SS``, UTC) and `step_s`, the length of a slot."""
        self._start = datetime.fromisoformat(settings["start"])
        self._step_s = int(settings["step_s"])
        return self.meta

    def create(self, num: int, model: str, **car: Any) -> Any:
        """Create chargers: `plugged_in_at` (``HH:MM``, UTC), `energy_kwh`, `power_kw`."""
        car["plugged_in_at"] = time.fromisoformat(car["plugged_in_at"])
        new = [f"charger {len(self._cars) + i}" for i in range(num)]
        self._cars |= dict.fromkeys(new, car)
        return [{"eid": name, "type": model} for name in new]

    def step(self, time: int, inputs: Any, max_advance: int) -> int:
        """Charge for one slot."""
        begin = self._start + timedelta(seconds=time)
        end = begin + timedelta(seconds=self._step_s)
        self._p_kw = {name: mean_power_kw(begin, end, **car) for name, car in self._cars.items()}
        return time + self._step_s

    def get_data(self, outputs: Any) -> Any:
        """Return the mean power of the slot, kW."""
        return {name: {"p_kw": self._p_kw[name]} for name in outputs}


if __name__ == "__main__":
    mosaik_api_v3.start_simulation(Chargers(), "An EV charger", configure_logging=False)
