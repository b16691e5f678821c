"""How third parties' simulators are started: as a module of this Python, or as a command.

mosaik has starters for both. These differ in that the command's quotes are understood on every
system, that its process is watched while it connects and stopped with all that it started, and
that the module is also looked for in a folder of the user's choice.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mosaik.proxies import BaseProxy, LocalProxy, RemoteProxy
from mosaik.starters import Starter
from mosaik_api_v3.connection import Channel

from tricell.simulators.child_process import ChildProcess, answer_in_time


class ModuleStarter(Starter):
    """Imports ``module:Class`` and makes one object of the class.

    Parameters
    ----------
    text : ``module:Class``.
    api_version : version of the mosaik API that the simulator speaks, if it is an old one.
    folder : where the module is looked for before the usual places.
    """

    def __init__(self, text: str, api_version: str | None, folder: Path | None) -> None:
        self.api_version = api_version
        self._text, self._folder = text, folder

    async def start(self, sim_id: str, mosaik_remote: Any, mosaik_config: Any) -> BaseProxy:
        """Import, make the object and wrap it for mosaik."""
        module_name, _, class_name = self._text.partition(":")
        if self._folder is not None:
            sys.path.insert(0, str(self._folder.resolve()))
        try:
            simulator = getattr(import_module(module_name), class_name)()
        finally:
            if self._folder is not None:
                sys.path.remove(str(self._folder.resolve()))
        return LocalProxy(simulator, mosaik_remote)

    @classmethod
    def from_starter_config(cls, starter_config: Any) -> None:
        """Made in Python only."""
        return


class CommandStarter(Starter):
    """Runs a command and waits until it connects over TCP.

    Parameters
    ----------
    command : text with ``%(addr)s`` in the place of mosaik's address; ``%(python)s`` is the
        Python that runs now.
    api_version : version of the mosaik API that the simulator speaks, if it is an old one.
    folder : working folder.
    environment : variables beside the current ones.
    timeout_s : longest wait for the connection.

    Attributes
    ----------
    process : the process, once it is started.
    """

    def __init__(
        self,
        command: str,
        api_version: str | None,
        folder: Path | None,
        environment: Mapping[str, str],
        timeout_s: float,
    ) -> None:
        self.api_version = api_version
        self._command, self._folder, self._environment = command, folder, environment
        self._timeout_s = timeout_s
        self.process: ChildProcess | None = None

    async def start(self, sim_id: str, mosaik_remote: Any, mosaik_config: Any) -> BaseProxy:
        """Run the command and wrap its connection for mosaik."""
        connection: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if connection.done():
                writer.close()
            else:
                connection.set_result(Channel(reader, writer, name=sim_id))

        server = await asyncio.start_server(connected, *mosaik_config["addr"])
        try:
            host, port = server.sockets[0].getsockname()[:2]
            words = self._words(f"{host}:{port}")
            self.process = ChildProcess(words, self._folder, self._environment)
            channel = await answer_in_time(connection, self._timeout_s, self.process)
        finally:
            server.close()
        return RemoteProxy(channel, mosaik_remote)

    def _words(self, address: str) -> list[str]:
        words = shlex.split(self._command, posix=os.name != "nt")
        places = {"%(addr)s": address, "%(python)s": sys.executable}
        for place, value in places.items():
            words = [word.replace(place, value) for word in words]
        return words

    @classmethod
    def from_starter_config(cls, starter_config: Any) -> None:
        """Made in Python only."""
        return
