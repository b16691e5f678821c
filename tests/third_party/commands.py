"""Run the command `tricell run scenario.yaml` in one folder after another.

Each run is a process of its own, forked from this one, which has imported once what every run
needs: that takes longer than the runs. For every line of its input, a folder, it prints the number
of the process, and, once that has ended, its exit code. What the process says goes to the file
`said.txt` in the folder.
"""

from __future__ import annotations

import os
import signal
import sys
import time

# What the command imports only once it runs.
import tricell.results.run_summary
import tricell.results.summary
import tricell.scenarios.runner
import tricell.scenarios.screen  # noqa: F401
from tricell.scenarios.command_line import main

LONGEST_S = 60.0
"""A process that takes longer hangs, and is killed."""


def answer() -> None:
    """Start a process for every line; return only in those processes."""
    while folder := sys.stdin.readline().strip():
        process = os.fork()
        if process == 0:
            enter(folder)
            main()
            return
        print(process, flush=True)
        print(exit_code(process), flush=True)


def exit_code(process: int) -> int:
    """Wait for the end of a process."""
    deadline = time.monotonic() + LONGEST_S
    ended = 0
    while not ended:
        ended, status = os.waitpid(process, os.WNOHANG)
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(status)


def enter(folder: str) -> None:
    """Be a process that a shell has started in a folder."""
    os.chdir(folder)
    sys.argv = ["tricell", "run", "scenario.yaml"]
    # A shell's background job ignores Ctrl-C, and so would its children without this line.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


if __name__ == "__main__":
    answer()
