"""The folder of a run that goes on, `<name>.h5.part/`, beside the file that it will become.

It holds::

    header.json          what is known about the run before it starts
    run.h5               everything so far, readable by any program (virtual datasets)
    slots-<first>.h5     segments: some slots each, and a checkpoint to go on from
    lock                 held by whoever works on the run; the system frees it at a crash

Files get their names when they are whole: `.tmp`, fsync, rename. A folder without `run.h5` holds
nothing. Removing begins with that file, so that a removal cut short leaves no half run.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock, Timeout

from tricell.errors import ResultsError

MASTER = "run.h5"
HEADER = "header.json"
LOCK = "lock"
JOINED = "joined.h5"
SEGMENT = "slots-{:07d}.h5"
SEGMENTS = "slots-*.h5"
UNFINISHED = ".tmp"

FILE_ERRORS = (OSError, RuntimeError)
"""What the system, or h5py for it, raises when it refuses a write."""


def part_path(path: Path | str) -> Path:
    """Give the folder of a results file while its run goes on.

    Examples
    --------
    >>> part_path("out/week.h5").name
    'week.h5.part'
    """
    target = Path(path)
    return target.with_name(target.name + ".part")


def master_path(path: Path | str) -> Path:
    """Give the file that shows a run that still goes on, or was stopped."""
    return part_path(path) / MASTER


def check_output(path: Path | str, *, force: bool = False) -> None:
    """Refuse an output that exists or a folder that cannot be written, before a run starts.

    Raises
    ------
    ResultsError
        If a run is writing it, if the file or the folder of a stopped run exists and `force` is
        not set, or if the folder around it is missing or read-only.
    """
    target = Path(path)
    around = target.absolute().parent
    if not around.is_dir():
        raise ResultsError(f"{target}: the folder {around} does not exist; create it first")
    if not os.access(around, os.W_OK | os.X_OK):
        raise ResultsError(f"{target}: no permission to write in {around}; choose another output")
    if target.is_dir():
        raise ResultsError(f"{target} is a folder; name a file in it, e.g. {target / 'run.h5'}")
    folder = RunFolder(target)
    if folder.is_locked():
        raise folder.is_written_error()
    if force:
        return
    if folder.holds_a_run:
        raise ResultsError(
            f"{folder.path} holds a run that was stopped; go on with "
            f"`{resume_command(target)}`, replace it with --force or choose another output"
        )
    if folder.path.is_file():
        raise ResultsError(
            f"{folder.path} exists and is no folder of a run; move it away, replace it with "
            f"--force or choose another output"
        )
    if target.exists():
        raise ResultsError(
            f"{target} exists and is not overwritten; choose another output or use --force"
        )


def resume_command(path: Path) -> str:
    """Give what to type in a shell to go on with the run of a results file.

    Examples
    --------
    >>> resume_command(Path("my week.h5"))
    "tricell run --resume 'my week.h5'"
    """
    return f"tricell run --resume {shlex.quote(str(path))}"


class RunFolder:
    """The folder of one run, and the lock in it.

    Parameters
    ----------
    output
        Name of the finished file.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = part_path(output)
        self._lock: FileLock | None = None

    @property
    def master(self) -> Path:
        """The file that shows everything so far."""
        return self.path / MASTER

    @property
    def holds_a_run(self) -> bool:
        """Whether there is a run to go on with."""
        return self.master.is_file()

    def is_locked(self) -> bool:
        """Whether somebody else works on the run."""
        if not (self.path / LOCK).exists():
            return False
        is_free = self._try_lock()
        self.unlock()
        return not is_free

    def is_written_error(self) -> ResultsError:
        """Give the error for a folder whose lock somebody else holds."""
        return ResultsError(
            f"{self.output}: a run is writing it at this moment, in {self.path}; wait until it has "
            f"ended, stop it, or choose another output"
        )

    def create(self) -> None:
        """Make the folder, take its lock and remove what an earlier run left in it."""
        with clear_file_errors(self.path, "start the run again"):
            if self.path.is_file():
                os.unlink(self.path)
            self.path.mkdir(exist_ok=True)
        self.lock()
        with clear_file_errors(self.path, "start the run again"):
            self._remove_files()

    def lock(self) -> None:
        """Take the lock; the system frees it when the process ends, however it ends.

        Raises
        ------
        ResultsError
            If somebody else holds it, or if the folder cannot be written.
        """
        if not self._try_lock():
            raise self.is_written_error()

    def _try_lock(self) -> bool:
        lock = FileLock(self.path / LOCK, timeout=0, thread_local=False)
        with clear_file_errors(self.path, "try again"):
            try:
                lock.acquire()
            except Timeout:
                return False
        self._lock = lock
        return True

    def unlock(self) -> None:
        """Let go of the lock, if it is held."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def remove(self) -> None:
        """Remove the folder; a part that cannot be removed stays and hinders nobody."""
        with suppress(OSError):
            self._remove_files()
            os.unlink(self.path / LOCK)
        self.unlock()
        with suppress(OSError):
            os.rmdir(self.path)

    def remove_leftovers(self, segments: Iterable[Path]) -> None:
        """Remove all files but those of a run with these segments."""
        self._remove_all_but({MASTER, HEADER, *(path.name for path in segments)})

    def _remove_files(self) -> None:
        self.master.unlink(missing_ok=True)
        self._remove_all_but(set())

    def _remove_all_but(self, names: set[str]) -> None:
        for file in sorted(self.path.iterdir()):
            if _is_of_a_run(file.name) and file.name not in names | {LOCK}:
                os.unlink(file)


def _is_of_a_run(name: str) -> bool:
    whole = name.removesuffix(UNFINISHED)
    return whole in (MASTER, HEADER, JOINED) or fnmatch(whole, SEGMENTS)


def unfinished(path: Path) -> Path:
    """Give the name of a file before it is whole."""
    return path.with_name(path.name + UNFINISHED)


def publish(path: Path) -> None:
    """Give a file that was written as `unfinished(path)` its name, so that a crash keeps it."""
    sync(unfinished(path))
    os.replace(unfinished(path), path)
    sync_folder(path.parent)


def sync(path: Path) -> None:
    """Wait until the disk has a file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in a folder; Windows needs and knows no such thing."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def clear_file_errors(path: Path, then: str) -> Iterator[None]:
    """Turn what the system refuses into an error that says what, where and what to do.

    Parameters
    ----------
    path
        What is being written.
    then
        What to do once the cause is gone, e.g. "start the run again".
    """
    try:
        yield
    except FILE_ERRORS as error:
        code = getattr(error, "errno", None)
        reason = os.strerror(code) if code else str(error)
        raise ResultsError(
            f"{path} cannot be written: {reason}; {_cure(code)} and {then}"
        ) from error


def _cure(code: int | None) -> str:
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "free some space"
    if code == errno.EFBIG:
        return "raise the limit on the size of a file (`ulimit -f`; or of this kind of disk)"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "mend the permissions"
    if code in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return "it was moved or removed meanwhile: put it back"
    return "free some space or mend the permissions"
