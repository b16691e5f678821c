"""Files that pictures and pages are written to: refused before the work, complete afterwards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tricell.errors import ResultsError


def require_output(
    output: Path, suffixes: Sequence[str], inputs: Sequence[Path] = (), *, force: bool = False
) -> None:
    """Raise an error if a file could not be written in the end.

    Parameters
    ----------
    output : path of the file.
    suffixes : endings that it may have, such as ``.html``; none for any.
    inputs : files that are read for it; none of them is ever overwritten.
    force : whether a file that is there is overwritten.

    Raises
    ------
    ResultsError
        If the ending is another, if the path is a folder or one of the inputs, if the file is there
        without `force`, or if its folder is not there or cannot be written to.
    """
    allowed = " or ".join([", ".join(suffixes[:-1]), suffixes[-1]] if suffixes[1:] else suffixes)
    if suffixes and output.suffix.lower() not in suffixes:
        raise ResultsError(
            f"The output `{output}` ends in {output.suffix or 'nothing'}; allowed is {allowed}, "
            f"such as `{output.with_suffix(suffixes[0])}`."
        )
    if output.is_dir():
        raise ResultsError(f"The output `{output}` is a folder. Give the path of a file.")
    if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        raise ResultsError(f"The output `{output}` is what is read. Choose another name.")
    if output.exists() and not force:
        raise ResultsError(
            f"The file `{output}` exists already. Choose another name with --output, or overwrite "
            "it with --force."
        )
    folder = output.absolute().parent
    if not folder.is_dir():
        raise ResultsError(
            f"The folder `{folder}` for `{output.name}` does not exist. Create it, or choose "
            "another place with --output."
        )
    if not os.access(folder, os.W_OK):
        raise ResultsError(
            f"The folder `{folder}` cannot be written to. Choose another place with --output."
        )


def write_whole(output: Path, content: bytes) -> Path:
    """Write a file that is either complete or not there, and return its path.

    Raises
    ------
    ResultsError
        If there is no room, or no permission; what was there before is still there.
    """
    part = output.with_name(f"{output.name}.{os.getpid()}.tmp")
    try:
        part.write_bytes(content)
        os.replace(part, output)
    except OSError as error:
        raise ResultsError(
            f"{output} cannot be written: {error.strerror or error}. Choose another place with "
            "--output, or make room."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return output
