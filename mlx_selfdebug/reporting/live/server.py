"""Serve the page of a run on 127.0.0.1, to those who know its token and to nobody else.

    GET /TOKEN/                   the page
    GET /TOKEN/changes?since=7    its changes after version 7: {"version": 9, "title": "...", "parts": {"now": "<p>...</p>"}}
    GET /TOKEN/report.html        the report, once it is written

The token is drawn anew for each server. A request without it, for another host name or for any other address is answered with an
empty 404, so that the answer does not tell which of these was wrong. The host name is checked because a page from elsewhere may
have its own name resolved to 127.0.0.1 (DNS rebinding). Nothing is written, and only the run's folder is read.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import socketserver
from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.reporting.live import page
from mlx_selfdebug.reporting.live.watcher import Watcher

HOST = "127.0.0.1"
HOST_NAMES = ("127.0.0.1", "localhost")
"""The names under which a browser may ask for the page. The port may be another one, as it is through a tunnel."""
TOKEN_BYTES = 24
"""The number of random bytes in a token."""
MAX_DIGITS = 18
"""The largest number of digits of the version after ``since=``. No version has more, and a longer number is slow to convert."""
TIMEOUT_S = 30.0
"""How long a connection may be silent before it is closed."""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every answer. The first two keep the token, which stands in the address, from going elsewhere."""
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The content security policy of the finished report, which states the same in its head."""

logger = logging.getLogger(__name__)


class LiveServer(ThreadingHTTPServer):
    """A server of the page of the run at ``path``. The run need not have begun. Use the server as a context manager.

    ``port`` is 0 for any free port. Raises UsageError if the port is in use, and StoreError if there is a run that cannot be read.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self.watcher = Watcher(path)
        self.is_closed = False
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UsageError(
                f"port {port} of {HOST} cannot be used: {error.strerror}",
                hint="choose another one with --port, or leave it out to have a free one chosen",
            ) from error
        try:
            self.watcher.start()
        except BaseException:
            self.server_close()
            raise

    def server_bind(self) -> None:
        # The method of the base class looks up the name of the host, which may take seconds and is not needed.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]

    def server_close(self) -> None:
        # The thread of an open connection may outlive the server. It then refuses the next request of the page.
        self.is_closed = True
        super().server_close()
        self.watcher.close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log an error of a connection, such as a page that was closed. The method of the base class would print it."""
        logger.debug("a request from %s could not be answered", client_address, exc_info=True)

    @property
    def url(self) -> str:
        """The address of the page, with its token."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: LiveServer
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        """Answer with the page, the changes in it or the finished report, or refuse the request."""
        path, _, query = self.path.partition("?")
        if self.server.is_closed or not (self._is_for_this_host() and self._has_token(path)):
            self._refuse()
            return
        match path.split("/")[2:]:
            case [""]:
                self._send_page()
            case ["changes"]:
                self._send_changes(parse_qs(query).get("since", ["0"])[-1])
            case ["report.html"]:
                self._send_report()
            case _:
                self._refuse()

    def _is_for_this_host(self) -> bool:
        # The header is a name and a port, such as "127.0.0.1:8890", or the name alone.
        header = self.headers.get("Host", "")
        name, colon, _ = header.rpartition(":")
        return (name if colon else header) in HOST_NAMES

    def _has_token(self, path: str) -> bool:
        parts = path.split("/")
        token = parts[1] if len(parts) > 2 else ""
        # This comparison takes the same time wherever the two differ, so it cannot be used to guess the token.
        return hmac.compare_digest(token.encode(), self.server.token.encode())

    def _send_page(self) -> None:
        changes = self.server.watcher.changes()
        text = page.frame(self.server.watcher.path, changes.title, changes.version, changes.parts)
        self._send("text/html", text.encode(), {"Content-Security-Policy": page.content_security_policy()})

    def _send_changes(self, since: str) -> None:
        if not (since.isascii() and since.isdigit() and len(since) <= MAX_DIGITS):
            self._refuse()
            return
        changes = self.server.watcher.changes(int(since))
        self._send("application/json", json.dumps(asdict(changes)).encode())

    def _send_report(self) -> None:
        try:
            report = (self.server.watcher.path / "report.html").read_bytes()
        except OSError:
            self._refuse()
            return
        self._send("text/html", report, {"Content-Security-Policy": REPORT_POLICY})

    def _send(self, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a body. ``headers`` are added to those of every answer."""
        self.send_response_only(HTTPStatus.OK)
        headers = {
            **HEADERS,
            **(headers or {}),
            "Content-Type": f"{content_type}; charset=utf-8",
            "Content-Length": str(len(body)),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer with nothing but the status, and close the connection. The method of the base class would name the server."""
        self.send_response_only(code)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing, because the address of a request holds the token."""
