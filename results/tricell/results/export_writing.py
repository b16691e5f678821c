"""Tables that pass by in blocks, written as CSV or Parquet: whole, or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from tricell.errors import ResultsError

TIME_TYPE = pa.timestamp("ms", tz="UTC")
WORD_TYPE = pa.dictionary(pa.int32(), pa.string())
NEEDS_QUOTES = '[,"\r\n]'
UNIT, MEANING = b"units", b"long_name"


@dataclass(frozen=True)
class Stream:
    """A table that comes in blocks.

    Attributes
    ----------
    schema : names and types; the metadata of a field are its unit and meaning.
    blocks : some rows each, in order; read once.
    """

    schema: pa.Schema
    blocks: Iterator[pa.RecordBatch]


def field(name: str, kind: pa.DataType, unit: str = "", meaning: str = "") -> pa.Field:
    """Describe a column."""
    told = {UNIT: unit.encode(), MEANING: meaning.encode()}
    return pa.field(name, kind, metadata={key: text for key, text in told.items() if text})


def write_csv(stream: Stream, output: Path, *, with_units: bool = False) -> int:
    """Write CSV by RFC 4180 in UTF-8: times ISO 8601, gaps empty, a point before decimals.

    Parameters
    ----------
    with_units : add the unit to the names in the first line, such as ``energy [kWh]``.

    Returns
    -------
    Number of rows.

    Raises
    ------
    ResultsError
        If the file cannot be written; then there is none.
    """
    rows = 0
    with whole_file(output) as part, part.open("wb") as file:
        file.write(_heading(stream.schema, with_units=with_units))
        for block in stream.blocks:
            _write_rows(block, file)
            rows += block.num_rows
    return rows


def write_parquet(stream: Stream, output: Path, about: Mapping[str, str]) -> int:
    """Write Parquet; units and meanings are metadata of the fields.

    Parameters
    ----------
    about : what the metadata of the file say.

    Returns
    -------
    Number of rows.

    Raises
    ------
    ResultsError
        If the file cannot be written; then there is none.
    """
    rows = 0
    schema = stream.schema.with_metadata(dict(about))
    with (
        whole_file(output) as part,
        pyarrow.parquet.ParquetWriter(part, schema, compression="zstd") as writer,
    ):
        for block in stream.blocks:
            writer.write_batch(block.cast(schema))
            rows += block.num_rows
    return rows


@contextmanager
def whole_file(output: Path) -> Iterator[Path]:
    """Give a path to write to; what is there at the end gets the name of the output.

    Raises
    ------
    ResultsError
        If there is no room, or no permission; what was there before is still there.
    """
    part = output.with_name(f"{output.name}.{os.getpid()}.tmp")
    try:
        yield part
        os.replace(part, output)
    except (OSError, RuntimeError) as error:
        raise ResultsError(
            f"{output} cannot be written: {getattr(error, 'strerror', None) or error}; make room, "
            f"or choose another place with --output"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _heading(schema: pa.Schema, *, with_units: bool) -> bytes:
    def title(column: pa.Field) -> str:
        unit = (column.metadata or {}).get(UNIT, b"").decode()
        is_told = not with_units or unit in ("", "1") or column.name.endswith(f"_{unit.lower()}")
        return column.name if is_told else f"{column.name} [{unit}]"

    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([title(column) for column in schema])
    return line.getvalue().encode()


def _write_rows(block: pa.RecordBatch, file: Any) -> None:
    if not block.num_rows:
        return
    plain = pa.table(
        [_as_text(column) for column in block.columns],
        names=[str(n) for n in range(block.num_columns)],
    )
    texts = [column for column in plain.columns if pa.types.is_string(column.type)]
    # Arrow quotes all texts or none.
    quoting = "needed" if any(map(_needs_quotes, texts)) else "none"
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style=quoting)
    pyarrow.csv.write_csv(plain, file, options)


def _needs_quotes(texts: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts.unique(), NEEDS_QUOTES)).as_py())


def _as_text(column: pa.Array) -> pa.Array:
    """Turn times and words into texts; numbers stay."""
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        return iso_times(column)
    return column


def iso_times(times: pa.Array) -> pa.Array:
    """Write instants as ISO 8601, UTC.

    Examples
    --------
    >>> iso_times(pa.array([900_000], TIME_TYPE)).to_pylist()
    ['1970-01-01T00:15:00Z']
    """
    once = times.dictionary_encode()
    # Not `strftime`, and without a zone, because those take ten times as long.
    spaced = once.dictionary.cast(pa.timestamp("s")).cast(pa.string())
    texts = pc.binary_join_element_wise(pc.replace_substring(spaced, " ", "T"), "Z", "")
    return pc.take(texts, once.indices)
