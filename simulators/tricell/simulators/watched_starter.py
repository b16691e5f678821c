"""Starting simulators under mosaik so that none can hang a run or fail without a name.

`InstanceStarter` hands mosaik a simulator object that exists already, so that the runner keeps
hold of it. `WatchedStarter` wraps any other way of starting one (in this process, as a command,
over TCP) and watches every call: how long it took, whether it answered in time, what went wrong.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from types import FrameType
from typing import Any

import mosaik_api_v3
from mosaik.exceptions import ScenarioError as MosaikScenarioError
from mosaik.exceptions import SimulationError as MosaikSimulationError
from mosaik.proxies import BaseProxy, LocalProxy
from mosaik.starters import Starter

from tricell.errors import SimulatorError, TricellError

STOP_TIMEOUT_S = 2.0


class InstanceStarter(Starter):
    """Lets mosaik use a simulator object of ours."""

    api_version = None

    def __init__(self, simulator: mosaik_api_v3.Simulator) -> None:
        self._simulator = simulator

    async def start(self, sim_id: str, mosaik_remote: Any, mosaik_config: Any) -> BaseProxy:
        """Wrap the object for mosaik."""
        return LocalProxy(self._simulator, mosaik_remote)

    @classmethod
    def from_starter_config(cls, starter_config: Any) -> None:
        """There is no textual form of an object."""
        return


class WatchedStarter(Starter):
    """Starts a third party's simulator and watches it.

    Parameters
    ----------
    name : name of the simulator in messages.
    starter : how mosaik would start it.
    timeout_s : longest wait for the start and for any answer.

    Attributes
    ----------
    seconds, calls : time spent in the simulator's steps, and their number.
    """

    def __init__(self, name: str, starter: Starter, timeout_s: float) -> None:
        self.name, self._starter, self._timeout_s = name, starter, timeout_s
        self.api_version = starter.api_version
        self.seconds = 0.0
        self.calls = 0

    async def start(self, sim_id: str, mosaik_remote: Any, mosaik_config: Any) -> BaseProxy:
        """Start the simulator and put a watch on it."""
        config: Any = {**mosaik_config, "start_timeout": self._timeout_s}
        try:
            proxy = await self._starter.start(sim_id, mosaik_remote, config)
        except (MosaikScenarioError, MosaikSimulationError, OSError) as error:
            raise SimulatorError(
                f"simulator {self.name!r} did not start: {error}. Check its python, cmd or connect "
                "line in the scenario, and that its packages are installed."
            ) from error
        return _WatchedProxy(self, proxy, self._timeout_s)

    @classmethod
    def from_starter_config(cls, starter_config: Any) -> None:
        """Made in Python only."""
        return


class _WatchedProxy(BaseProxy):
    """Passes calls on; turns every kind of failure into an error that names the simulator."""

    def __init__(self, owner: WatchedStarter, proxy: BaseProxy, timeout_s: float) -> None:
        super().__init__()
        self._owner, self._proxy, self._timeout_s = owner, proxy, timeout_s

    @property
    def meta(self) -> Any:
        return self._proxy.meta

    async def init(self, sid: str, **kwargs: Any) -> list[int]:
        version: list[int] = await self._watch("init", self._proxy.init(sid, **kwargs))
        return version

    async def send(self, request: Any) -> Any:
        return await self._watch(str(request[0]), self._proxy.send(request))

    async def stop(self) -> None:
        # A dead simulator cannot be stopped politely; the run has been told about it already.
        with suppress(Exception):
            await asyncio.wait_for(self._proxy.stop(), STOP_TIMEOUT_S)

    async def _watch(self, call: str, answer: Any) -> Any:
        name, started = self._owner.name, perf_counter()
        local = isinstance(self._proxy, LocalProxy)
        try:
            if local:
                with _interrupted_after(self._timeout_s):
                    return await answer
            return await asyncio.wait_for(answer, self._timeout_s)
        except TimeoutError as error:
            raise SimulatorError(
                f"simulator {name!r} did not answer {call}() within {self._timeout_s:g} s. Mend "
                "it, or raise its timeout_s in the scenario."
            ) from error
        except TricellError:
            raise
        # A stranger's code may raise anything; whatever it is, the user must learn whose it was.
        except Exception as error:
            raise SimulatorError(
                f"simulator {name!r} failed in {call}(): {_told(error)}"
            ) from error
        finally:
            if call == "step":
                self._owner.seconds += perf_counter() - started
                self._owner.calls += 1


def _told(error: Exception) -> str:
    """Say what an exception says, including what a remote process reported."""
    remote = getattr(error, "remote_type", None)
    if remote is not None:
        return f"{remote}: {getattr(error, 'remote_msg', '')}"
    if isinstance(error, ConnectionError | EOFError | asyncio.IncompleteReadError) or (
        type(error).__name__ == "ConnectionClosedError"
    ):
        return "it closed its connection (the process ended or was killed)"
    return f"{type(error).__name__}: {error}"


@contextmanager
def _interrupted_after(timeout_s: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread if the block takes too long.

    A simulator in this process cannot be waited for from outside; the alarm signal reaches it.
    Elsewhere than in the main thread, or where the alarm is in use, there is no such guard.
    """
    usable = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if not usable or signal.getitimer(signal.ITIMER_REAL)[0] > 0.0:
        yield
        return

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
