"""serve(): the review page on the loopback address, for the one browser that knows its token.

This is the standard library's server, because one person, a dozen routes and no form need no other: Starlette and
uvicorn would be six more packages to trust. It listens on 127.0.0.1 alone and answers nothing but four static files
without the token, which stands behind the # of the address and so in no request line, log or Referer. A Host that is
not ours (DNS rebinding) or an Origin that is not ours (another page) is refused before anything else.
"""

import hmac
import json
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from cache.shared.cli import complain
from cache.shared.errors import Interrupted, UserError
from cache.shared.text import printable
from train.report.page import styles
from train.review.desk import Desk

_FOLDER = Path(__file__).parent / "page"
_STATIC = {
    "/": ("review.html", "text/html; charset=utf-8"),
    "/review.js": ("review.js", "text/javascript; charset=utf-8"),
    "/edges.js": ("edges.js", "text/javascript; charset=utf-8"),
    "/near.js": ("near.js", "text/javascript; charset=utf-8"),
    "/review.css": ("review.css", "text/css; charset=utf-8"),
}
# The most bytes of a decision.
_MOST_POSTED = 10_000
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


# The index of an item, and of a view of it.
_ITEM = re.compile(r"/(item|picture|sound)/(\d{1,9})(?:/(-?\d{1,6}))?", re.ASCII)


class Reply(NamedTuple):
    """The answer to a request."""

    status: HTTPStatus
    content: bytes
    kind: str = "application/json"


class Server(ThreadingHTTPServer):
    """Serves the pages of a desk; `address` is what a browser opens."""

    daemon_threads = True

    def __init__(self, desk: Desk[Any, Any], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.desk, self.style, self.token = desk, styles(), secrets.token_urlsafe(24)
        self.hosts = tuple(f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost"))

    def handle_error(self, request: object, client_address: object) -> None:
        """Say in a line what went wrong with a request; a browser that hung up is nothing to speak of."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            complain(f"review: a request could not be answered ({type(error).__name__}: {error})")

    @property
    def address(self) -> str:
        """The address of the page, with its token."""
        return f"http://{self.hosts[0]}/#{self.token}"


@contextmanager
def opened_server(desk: Desk[Any, Any], port: int) -> Iterator[Server]:
    """Yield a server for a desk; a UserError says that its port is taken."""
    try:
        server = Server(desk, port)
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error.strerror}); leave out --port to take a free one") from None
    try:
        with server:
            yield server
    except Interrupted as stop:
        stop.kept = f"every decision is in {desk.file}; the same command goes on"
        raise


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "melcache", ""
    timeout = 60
    # Head and body are two packets; else the second waits 40 ms until the browser has acknowledged the first.
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        if self._is_from_us():
            self._answer(lambda: self._get(self.path))

    def do_POST(self) -> None:
        if self._is_from_us():
            self._answer(self._post)

    def log_message(self, *_: object) -> None:
        """Say nothing: a terminal full of requests hides what matters."""

    def _is_from_us(self) -> bool:
        """Refuse a request of another page or under another name."""
        origin, host = self.headers.get("Origin"), self.headers.get("Host", "")
        ours = host in self.server.hosts and (origin is None or origin == f"http://{host}")
        if not ours or self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            self.close_connection = True
            self._send(Reply(HTTPStatus.FORBIDDEN, b"{}"))
            return False
        return True

    def _answer(self, reply: Callable[[], Reply]) -> None:
        try:
            answer = reply()
        except UserError as error:
            answer = _json({"error": printable(str(error))}, HTTPStatus.UNPROCESSABLE_ENTITY)
        except OSError as error:
            answer = _json({"error": error.strerror or str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)
        try:
            self._send(answer)
        except (BrokenPipeError, ConnectionResetError):  # the browser has gone to the next clip
            self.close_connection = True

    def _get(self, path: str) -> Reply:
        if path in _STATIC:
            name, kind = _STATIC[path]
            text = (_FOLDER / name).read_text(encoding="utf-8")
            return Reply(HTTPStatus.OK, (self.server.style + text if name.endswith(".css") else text).encode(), kind)
        if not self._has_token():
            return Reply(HTTPStatus.UNAUTHORIZED, b"{}")
        if path == "/state":
            return _json(self.server.desk.state())
        asked = _ITEM.fullmatch(path)
        if asked is None or int(asked[2]) >= len(self.server.desk.items):
            return Reply(HTTPStatus.NOT_FOUND, b"{}")
        what, index, view = asked[1], int(asked[2]), int(asked[3] or 0)
        if what == "item":
            return _json(self.server.desk.item(index, view))
        if what == "picture":
            return Reply(HTTPStatus.OK, self.server.desk.picture(index, view), "image/png")
        return Reply(HTTPStatus.OK, self.server.desk.sound(index, view), "audio/wav")

    def _post(self) -> Reply:
        size = self.headers.get("Content-Length", "")
        if not (size.isascii() and size.isdecimal() and len(size) < 10 and int(size) <= _MOST_POSTED):
            self.close_connection = True  # what it sends on is not read
            return Reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"{}")
        content = self.rfile.read(int(size))
        if self.path != "/decide":
            return Reply(HTTPStatus.NOT_FOUND, b"{}")
        if not self._has_token():
            return Reply(HTTPStatus.UNAUTHORIZED, b"{}")
        try:
            asked = json.loads(content)
            index, decision, new, span = asked["item"], asked["decision"], asked.get("new", ""), asked.get("span")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return Reply(HTTPStatus.BAD_REQUEST, b"{}")
        return _json(self.server.desk.decide(index, decision, new, span))

    def _has_token(self) -> bool:
        given = self.headers.get("X-Token", "")
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.server.token.encode())

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.content)


def _json(content: dict[str, object], status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(status, json.dumps(content).encode())
