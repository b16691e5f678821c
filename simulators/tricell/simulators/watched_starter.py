"""Starting simulators under mosaik so that none can hang a run or fail without a name.

`InstanceStarter` hands mosaik a simulator object that exists already, so that the runner keeps
hold of it. `WatchedStarter` wraps any other way of starting one (in this process, as a command,
over TCP) and watches every call: how long it took, whether it answered in time, what went wrong.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from io import StringIO
from operator import index
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

import mosaik
import mosaik_api_v3
from mosaik.exceptions import ConnectionClosedError
from mosaik.exceptions import ScenarioError as MosaikScenarioError
from mosaik.exceptions import SimulationError as MosaikSimulationError
from mosaik.proxies import BaseProxy, LocalProxy
from mosaik.starters import Starter
from mosaik_api_v3.connection import RemoteException

from tricell.errors import SimulatorError, TricellError
from tricell.simulators.child_process import (
    ChildProcess,
    NoAnswerError,
    ProcessEndedError,
    answer_in_time,
)
from tricell.simulators.simulator_starters import CommandStarter, ModuleStarter

STOP_TIMEOUT_S = 2.0
RING_AGAIN_S = 1.0
FRAME = re.compile(r' *File "(.+)", line (\d+)')
OUR_FOLDER = str(Path(__file__).parent) + os.sep
MOSAIK_FOLDER = str(Path(mosaik.__file__).parent) + os.sep
LOST = (ConnectionClosedError, ConnectionError, EOFError)
"""How a connection that broke shows itself."""


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
    starter : how to start it.
    timeout_s : longest wait for the start and for any answer.
    advice : what to do if it does not start.

    Attributes
    ----------
    seconds, calls : time spent in the simulator's steps, and their number.
    notes : what went wrong without ending the run.
    """

    def __init__(self, name: str, starter: Starter, timeout_s: float, advice: str) -> None:
        self.name, self._starter, self.timeout_s = name, starter, timeout_s
        self.api_version = starter.api_version
        self.seconds = 0.0
        self.calls = 0
        self.notes: list[str] = []
        self._advice = advice
        self._proxy: _WatchedProxy | None = None

    @property
    def process(self) -> ChildProcess | None:
        """The simulator's process, if we started one."""
        return self._starter.process if isinstance(self._starter, CommandStarter) else None

    async def start(self, sim_id: str, mosaik_remote: Any, mosaik_config: Any) -> BaseProxy:
        """Start the simulator and put a watch on it."""
        starting = self._starter.start(sim_id, mosaik_remote, mosaik_config)
        try:
            if isinstance(self._starter, ModuleStarter):
                with _interrupted_after(self.timeout_s):
                    proxy = await starting
            else:
                proxy = await answer_in_time(starting, self.timeout_s + RING_AGAIN_S, None)
        # A stranger's module may raise anything when it is imported.
        except (Exception, SystemExit) as error:
            told = self._told_of_start(error)
            if self.process is not None:
                await self.process.stop(0.0)
            raise SimulatorError(
                f"simulator {self.name!r} did not start: {told}\n{self._advice}"
            ) from error
        self._proxy = _WatchedProxy(self, proxy)
        return self._proxy

    async def stop(self) -> None:
        """Stop the simulator for certain; nothing happens if it is stopped already."""
        if self._proxy is not None:
            await self._proxy.stop()
        elif self.process is not None:
            await self.process.stop(0.0)

    @classmethod
    def from_starter_config(cls, starter_config: Any) -> None:
        """Made in Python only."""
        return

    def _told_of_start(self, error: BaseException) -> str:
        if isinstance(error, NoAnswerError):
            late = f"it was not ready within {self.timeout_s:g} s"
            if self.process is None:
                return late
            return f"{late}, it did not connect to mosaik; {self.process.how_it_ended()}"
        if isinstance(error, ProcessEndedError):
            return f"before it connected to mosaik, {error}"
        if isinstance(error, MosaikScenarioError | MosaikSimulationError):
            return str(error)
        if isinstance(error, OSError) and error.filename:
            return f"{error.strerror}: {error.filename}"
        return _told(error)


class _WatchedProxy(BaseProxy):
    """Passes calls on; turns every kind of failure into an error that names the simulator."""

    def __init__(self, owner: WatchedStarter, proxy: BaseProxy) -> None:
        super().__init__()
        self._owner, self._proxy = owner, proxy
        self._is_local = isinstance(proxy, LocalProxy)
        self._has_failed = self._is_stopped = False

    @property
    def meta(self) -> Any:
        return self._proxy.meta

    async def init(self, sid: str, **kwargs: Any) -> list[int]:
        # mosaik prints a line about an outdated simulator in this process.
        printed = StringIO()
        try:
            with redirect_stdout(printed) if self._is_local else nullcontext():
                version: list[int] = await self._watch("init", self._proxy.init(sid, **kwargs))
        except SimulatorError:
            await self.stop()
            raise
        self._owner.notes += printed.getvalue().splitlines()
        return version

    async def send(self, request: Any) -> Any:
        call = str(request[0])
        answer = await self._watch(call, self._proxy.send(request))
        if call == "step":
            return self._checked_step(request[1][0], answer)
        if call == "get_data" and not isinstance(answer, Mapping):
            raise self._failed(call, f"it returned {answer!r} instead of a dictionary")
        return answer

    async def stop(self) -> None:
        if self._is_stopped:
            return
        self._is_stopped = True
        # A simulator that is well may have files to write in its finalize().
        patience_s = STOP_TIMEOUT_S if self._has_failed else self._owner.timeout_s
        try:
            if self._is_local:
                with _interrupted_after(patience_s):
                    await self._proxy.stop()
            else:
                await answer_in_time(self._proxy.stop(), patience_s, None)
        # Whatever a stranger's finalize() raises, the others must be stopped too.
        except (Exception, SystemExit) as error:
            if not self._has_failed:
                self._owner.notes.append(f"failed when it was stopped: {_told(error)}")
        if self._owner.process is not None:
            await self._owner.process.stop(0.0 if self._has_failed else patience_s)

    def _checked_step(self, time: int, answer: Any) -> int | None:
        if answer is None and self.meta.get("type") != "time-based":
            return None
        try:
            next_time = index(answer)
        except TypeError:
            next_time = -1
        if next_time <= time:
            raise self._failed(
                "step",
                f"at {time} s it returned {answer!r} as the time of its next step; that must be "
                f"a whole number of seconds above {time}",
            )
        return next_time

    async def _watch(self, call: str, awaited: Any) -> Any:
        owner, started = self._owner, perf_counter()
        try:
            if self._is_local:
                with _interrupted_after(owner.timeout_s):
                    return await awaited
            return await answer_in_time(awaited, owner.timeout_s, owner.process)
        except TricellError:
            raise
        except asyncio.CancelledError:
            # The run ends while the simulator still works: no use to wait for it.
            self._has_failed = True
            raise
        except NoAnswerError as error:
            raise self._failed(
                call,
                f"it gave no answer within {owner.timeout_s:g} s; mend it, or raise its "
                "timeout_s in the scenario",
            ) from error
        except ProcessEndedError as error:
            raise self._failed(call, str(error)) from error
        except LOST as error:
            raise self._failed(call, await self._how_it_was_lost()) from error
        # A stranger's code may raise anything; whatever it is, the user must learn whose it was.
        except (Exception, SystemExit) as error:
            raise self._failed(call, _told(error)) from error
        finally:
            if call == "step":
                owner.seconds += perf_counter() - started
                owner.calls += 1

    def _failed(self, call: str, told: str) -> SimulatorError:
        self._has_failed = True
        return SimulatorError(f"simulator {self._owner.name!r} failed in {call}(): {told}")

    async def _how_it_was_lost(self) -> str:
        process = self._owner.process
        if process is None:
            return "it closed its connection; look at what it printed where it runs"
        await process.ends_within(STOP_TIMEOUT_S)
        return process.how_it_ended()


def _told(error: BaseException) -> str:
    """Say what an exception says and where it was raised, also if a remote process reports it."""
    if isinstance(error, RemoteException):
        place = _place(_remote_frames(error))
        return f"{error.remote_type}: {error.remote_msg}{place}"
    steps = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error}{_place([(s.filename, s.lineno or 0) for s in steps])}"


def _remote_frames(error: RemoteException) -> list[tuple[str, int]]:
    lines = "".join(error.further_args).splitlines()
    matches = [FRAME.match(line) for line in lines]
    return [(match[1], int(match[2])) for match in matches if match is not None]


def _place(frames: list[tuple[str, int]]) -> str:
    """Name the innermost place in the stranger's own code rather than in what it uses.

    >>> _place([("/home/ann/charger.py", 12), ("/usr/lib/python3/site-packages/numpy/a.py", 99)])
    ' (charger.py, line 12)'
    """
    theirs = [frame for frame in frames if not frame[0].startswith((OUR_FOLDER, MOSAIK_FOLDER))]
    written = [frame for frame in theirs if "site-packages" not in frame[0]]
    known = written or theirs
    return f" ({Path(known[-1][0]).name}, line {known[-1][1]})" if known else ""


class _Alarm(BaseException):
    """Interrupts a simulator; no `except Exception` of its own can keep it."""


@contextmanager
def _interrupted_after(timeout_s: float) -> Iterator[None]:
    """Raise NoAnswerError in the main thread if the block takes too long.

    A simulator in this process cannot be waited for from outside; the alarm signal reaches it,
    again and again if it catches the first. Elsewhere than in the main thread, or where the
    alarm is in use, there is no such guard.
    """
    usable = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if not usable or signal.getitimer(signal.ITIMER_REAL)[0] > 0.0:
        yield
        return

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise _Alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout_s, RING_AGAIN_S)
    try:
        yield
    except _Alarm as alarm:
        raise NoAnswerError from alarm
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
