"""The exceptions of tricell: everything a user can cause is a `TricellError`.

::

    TricellError
    ├── ScenarioError      a scenario file or an option is wrong (all faults at once)
    ├── GridError          a network cannot be used as it is
    │   └── PowerFlowError     no AC solution was found
    ├── DataError          a profile, price or other input series is wrong
    ├── MarketError        a clearing could not be carried out
    ├── SimulatorError     a simulator (ours or a third party's) failed; its name is in the text
    └── ResultsError       a results file cannot be written or read

This module belongs to no room: it is the floor that all of them stand on.
A message says what is wrong, where, what is allowed and what to do next.
"""

from __future__ import annotations


class TricellError(Exception):
    """Root of all errors that a user of tricell can cause; shown without a traceback."""


class ScenarioError(TricellError):
    """A scenario file or a command-line option is wrong."""


class GridError(TricellError):
    """A network cannot be used as it is (an island, a missing rating, no grid connection)."""


class PowerFlowError(GridError):
    """The AC power flow of a network state has no solution that was found."""


class DataError(TricellError):
    """An input series is wrong: too short, not a number, a wrong unit."""


class MarketError(TricellError):
    """A market could not be cleared."""


class SimulatorError(TricellError):
    """A simulator failed, died or did not answer; the message names it."""


class ResultsError(TricellError):
    """A results file cannot be written or read."""
