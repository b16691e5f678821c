"""Answering a browser on this machine, and nobody else.

The address is 127.0.0.1. A page of another site can make a browser ask it all the same, under a
name of its own (DNS rebinding), so the name that is asked for is checked. There are three
addresses and no files behind them.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from tricell.errors import ResultsError
from tricell.results.view.follower import Follower
from tricell.results.view.page import followed_page, waiting_page
from tricell.results.view.page_maker import WritePage
from tricell.results.view.seen_file import require_place

HOST = "127.0.0.1"
IDLE_S = 60.0
METHODS = ("GET", "HEAD")
HTML, JSON, TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        # The report's scripts and styles stand in the page; nothing is loaded from anywhere.
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
            "img-src data: blob:; font-src data:; connect-src 'self'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)


class Viewer:
    """Serves the report of a run and follows it; use it in a ``with`` block.

    Parameters
    ----------
    path : results file; it may still be written or not be there yet.
    write_page : makes the page of a results file, the first path, at the second; a function that
        another process can import.
    port : 0 for any that is free.

    Raises
    ------
    ResultsError
        If the file cannot be read or never come, or if the port is taken.
    """

    def __init__(self, path: Path, write_page: WritePage, port: int = 0) -> None:
        require_place(path)
        self._follower = Follower(path, write_page)
        self._server = _listening(_Server(path.name, self._follower), port)

    def __enter__(self) -> Self:
        self._follower.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._follower.stop()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self._server.server_port}/"

    def serve(self) -> None:
        """Answer until `stop` is called from another thread, or until Ctrl-C."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """End `serve`."""
        self._server.shutdown()


class _Server(ThreadingHTTPServer):
    """Holds what the requests ask for."""

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere it would share a port that is taken

    def __init__(self, name: str, follower: Follower) -> None:
        super().__init__((HOST, 0), _Request, bind_and_activate=False)
        self.name = name
        self.follower = follower
        self.token = secrets.token_hex(4)  # another server may have had the port before

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):  # a closed tab
            super().handle_error(request, client_address)


def _listening(server: _Server, port: int) -> _Server:
    server.server_address = (HOST, port)
    try:
        server.server_bind()
        server.server_activate()
    except OSError as error:
        server.server_close()
        why = {
            errno.EADDRINUSE: "is used by another program",
            errno.EACCES: "needs permissions that you do not have",
        }.get(error.errno or 0, f"cannot be used ({error.strerror or error})")
        raise ResultsError(
            f"The port {port} of {HOST} {why}. Choose another with --port, or leave --port out "
            "for one that is free."
        ) from error
    return server


class _Request(BaseHTTPRequestHandler):
    """Answers one request; HTTP/1.0, so that no connection outlives the server."""

    server: _Server
    server_version = "tricell"
    sys_version = ""
    timeout = IDLE_S

    def do_GET(self) -> None:
        if self.headers.get("Host", "").lower() not in self._own_names():
            self._send(HTTPStatus.MISDIRECTED_REQUEST, TEXT, b"Ask for 127.0.0.1.\n")
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._send_page()
        elif path == "/state.json":
            state = {"server": self.server.token, **self.server.follower.state.as_dict()}
            body = json.dumps(state).encode()
            self._send(HTTPStatus.OK, JSON, body, {"Cache-Control": "no-store"})
        elif path == "/favicon.ico":
            self._send(HTTPStatus.NO_CONTENT, "image/x-icon", b"")
        else:
            self._send(HTTPStatus.NOT_FOUND, TEXT, b"There is only the page / here.\n")

    def do_HEAD(self) -> None:
        self.do_GET()

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command in METHODS:
            return True
        self.close_connection = True  # a body may follow, which nobody reads
        allow = {"Allow": ", ".join(METHODS)}
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, TEXT, b"Only GET and HEAD.\n", allow)
        return False

    def _own_names(self) -> set[str]:
        port = self.server.server_port
        names = {f"{name}:{port}" for name in (HOST, "localhost")}
        return names | {HOST, "localhost"} if port == 80 else names

    def _send_page(self) -> None:
        number, html = self.server.follower.page
        token = self.server.token
        tag = f'"{token}-{number}"'
        caching = {"Cache-Control": "no-cache", "ETag": tag}
        if tag in self.headers.get("If-None-Match", ""):
            self._send(HTTPStatus.NOT_MODIFIED, HTML, b"", caching)
            return
        is_made = number > 0
        page = (
            followed_page(html, number, token) if is_made else waiting_page(self.server.name, token)
        )
        self._send(HTTPStatus.OK, HTML, page, caching)

    def _send(
        self, status: HTTPStatus, kind: str, body: bytes, extra: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **(extra or {})}.items():
            self.send_header(name, value)
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal shows the address."""
