"""Random numbers by name, agent and slot: the same whoever else is asked for, and in any order.

Each agent has a stream of its own in the counter-based generator Philox; the slot is the counter,
so any slot can be read without those before it. A block of a day gives the bits of a whole year.

Source: Salmon, Moraes, Dror, Shaw 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError

Floats = NDArray[np.float64]
Numbers = NDArray[np.uint64]

_WORDS_PER_COUNT = 4
"""Philox gives four numbers for each value of its counter."""
_DROPPED_BITS = np.uint64(12)
_STEP = 2.0**-52


def agent_numbers(ids: Sequence[str]) -> Numbers:
    """Return a number for each id that depends on nothing but the id.

    Examples
    --------
    >>> bool((agent_numbers(["a", "b"])[1:] == agent_numbers(["b"])).all())
    True
    """
    return np.array([_number_of(each) for each in ids], dtype=np.uint64)


@dataclass(frozen=True)
class AgentSlots:
    """The agents and slots that random numbers are asked for.

    Attributes
    ----------
    agents : number of each agent, at least 0, such as those of `agent_numbers`; shape (N,).
    first_slot, slots : the block of slots, counted from the run's first; both at least 0.
    """

    agents: ArrayLike
    first_slot: int
    slots: int

    def __post_init__(self) -> None:
        """Refuse negative slots and numbers of agents."""
        if self.first_slot < 0 or self.slots < 0:
            raise MarketError(
                f"random numbers: first_slot is {self.first_slot} and slots {self.slots}; allowed "
                "is at least 0"
            )
        given = np.asarray(self.agents).reshape(-1)
        if not len(given):
            return
        if given.dtype.kind not in "iu" or (given < 0).any():
            wrong = given if given.dtype.kind not in "iu" else given[given < 0]
            raise MarketError(
                f"random numbers: an agent has the number {wrong[0]!r}; allowed are whole numbers "
                "from 0 on"
            )

    @property
    def numbers(self) -> Numbers:
        """Number of each agent."""
        return np.asarray(self.agents).reshape(-1).astype(np.uint64)


def uniforms(seed: int, stream: str, block: AgentSlots) -> Floats:
    """Return numbers uniform between 0 and 1, both excluded, shape (slots, agents).

    Parameters
    ----------
    seed : of the run, at least 0.
    stream : what they are for; other names give independent numbers.
    block : for whom and when.

    Raises
    ------
    MarketError
        If the seed is negative.

    Examples
    --------
    >>> week = uniforms(1, "pv", AgentSlots([7, 8], 0, 672))
    >>> later = uniforms(1, "pv", AgentSlots([8], 100, 3))
    >>> bool((later[:, 0] == week[100:103, 1]).all())
    True
    """
    if seed < 0:
        raise MarketError(f"random numbers for {stream}: seed is {seed}; allowed is at least 0")
    whole_counts, skipped = divmod(block.first_slot, _WORDS_PER_COUNT)
    generator = np.random.Philox(key=0)
    start = generator.state
    start["state"]["counter"][:] = [whole_counts, 0, 0, 0]
    start["state"]["key"][0] = _stream_key(seed, stream)
    words = np.empty((len(block.numbers), block.slots), dtype=np.uint64)
    for row, number in enumerate(block.numbers):
        # setting the state is ten times faster than making a generator for each agent
        start["state"]["key"][1] = number
        generator.state = start
        words[row] = generator.random_raw(skipped + block.slots)[skipped:]
    # half a step away from 0 and 1, so that the inverse of a distribution function is finite
    return np.asarray(((words >> _DROPPED_BITS) + 0.5) * _STEP).T


def _stream_key(seed: int, stream: str) -> np.uint64:
    key: np.uint64 = np.random.SeedSequence([seed, _number_of(stream)]).generate_state(
        1, np.uint64
    )[0]
    return key


def _number_of(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")
