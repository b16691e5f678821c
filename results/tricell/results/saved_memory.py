"""Memory of a run as bytes in an HDF5 group, bit for bit, and back.

The memory is a mapping of texts to numpy arrays, numbers, texts, None, and to lists, tuples and
mappings of those. Its shape is kept as a JSON text, the bytes of all arrays one behind the other
in one dataset: so any type of array comes back as it was, and a checkpoint is two writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from tricell.errors import ResultsError

Memory: TypeAlias = Mapping[str, Any]

SHAPE = "shape"
BYTES = "bytes"
_PLAIN = (bool, int, float, str)


class PackedMemory(NamedTuple):
    """A memory as bytes: the JSON text of its shape, and all arrays one behind the other."""

    shape: NDArray[np.uint8]
    octets: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """Bytes on the disk."""
        return self.shape.nbytes + self.octets.nbytes


def pack_memory(memory: Memory, name: str) -> PackedMemory:
    """Turn a memory into bytes.

    Raises
    ------
    ResultsError
        If it holds what cannot be kept; `name` is named in the message.
    """
    arrays: list[NDArray[Any]] = []
    text = json.dumps(_described(memory, name, arrays))
    flat = [np.ascontiguousarray(each).reshape(-1).view(np.uint8) for each in arrays if each.size]
    octets = np.concatenate(flat) if flat else np.empty(0, np.uint8)
    return PackedMemory(np.frombuffer(text.encode(), np.uint8), octets)


def write_memory(parent: h5py.Group, name: str, memory: PackedMemory) -> None:
    """Write a packed memory as a group."""
    group = parent.create_group(name)
    group.create_dataset(SHAPE, data=memory.shape)
    group.create_dataset(BYTES, data=memory.octets)


def read_memory(group: h5py.Group) -> dict[str, Any]:
    """Read what `write_memory` wrote; its arrays are copies of their own."""
    description = json.loads(group[SHAPE][()].tobytes())
    restored: dict[str, Any] = _restored(description, _Bytes(group[BYTES][()]))
    return restored


class _Bytes:
    """Bytes that are taken from the front, piece by piece."""

    def __init__(self, octets: NDArray[np.uint8]) -> None:
        self._octets = octets
        self._taken = 0

    def take(self, count: int) -> bytes:
        begin, self._taken = self._taken, self._taken + count
        return self._octets[begin : self._taken].tobytes()


def _described(value: Any, where: str, arrays: list[NDArray[Any]]) -> Any:
    """Describe a value in JSON's types; arrays are put on the list, in the order of the text."""
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.hasobject or array.dtype.names:
            raise ResultsError(f"the checkpoint cannot keep {where}: {array.dtype} is no number")
        arrays.append(array)
        kind = "array" if isinstance(value, np.ndarray) else "number"
        return {kind: [array.dtype.str, list(array.shape)]}
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise ResultsError(f"the checkpoint cannot keep {where}: {wrong[0]!r} is no text")
        items = {key: _described(each, f"{where}/{key}", arrays) for key, each in value.items()}
        return {"mapping": items}
    if type(value) in (list, tuple):
        items_of = [_described(each, f"{where}[{k}]", arrays) for k, each in enumerate(value)]
        return {type(value).__name__: items_of}
    raise ResultsError(
        f"the checkpoint cannot keep {where}: it is a {type(value).__name__}; allowed are numpy "
        f"arrays, numbers, texts, None, and lists, tuples and mappings of those"
    )


def _restored(described: Any, octets: _Bytes) -> Any:
    if not isinstance(described, dict):
        return described
    ((kind, content),) = described.items()
    if kind == "mapping":
        return {key: _restored(each, octets) for key, each in content.items()}
    if kind in ("list", "tuple"):
        items = [_restored(each, octets) for each in content]
        return items if kind == "list" else tuple(items)
    dtype, shape = np.dtype(content[0]), tuple(content[1])
    count = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    array = np.frombuffer(octets.take(count), dtype).reshape(shape).copy()
    return array if kind == "array" else array[()]
