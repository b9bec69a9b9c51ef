"""An HTTP proxy in front of a store's server: counts requests, and lets some fail."""

import http.client
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """What happens to a request.

    Attributes:
        status: answer with this status and `body` instead of asking the server.
        kind: what becomes of the server's answer: `reset` or `truncate` (after half of
            the body), `flip` (its last byte) or `slow` (in ten pieces). Of a write:
            `reset` (after half of the request), `flip` (a byte of the request),
            `lost` (the server acts, and the answer is cut off) or `slow`.
        before: called before the server is asked.
    """

    status: int = 0
    body: bytes = b""
    kind: str = ""
    before: Callable[[], None] | None = None


@dataclass
class Request:
    """What was asked for."""

    method: str
    path: str
    begin: str
    is_read: bool
    place: str = ""
    size: int = 0
    sent: bytes = b""

    @property
    def asked(self) -> int:
        """Bytes of the range that was asked for, which must have an end."""
        first, last = self.begin.removeprefix("bytes=").split("-")
        return int(last) - int(first) + 1


@dataclass
class FaultProxy:
    """Forwards to a server on loopback, which it leaves alone.

    Attributes:
        upstream: the server, as `host:port`.
        is_read: tells from a path whether a GET reads an object (or lists).
        faults: what happens to the next reads, in order.
        always: what happens to every read when `faults` is empty.
        on_list: what happens to the next listings, in order.
        on_write: what happens to the next requests that change something, in order.
        always_write: what happens to those when `on_write` is empty.
        always_remove: what happens to removals instead.
        changed: called after each of these with the path.
        requests: what was asked so far.
        sessions: how far each of Google's resumable uploads is: the last answer to it.
    """

    upstream: str
    is_read: Callable[[str], bool]
    faults: list[Fault] = field(default_factory=list)
    always: Fault | None = None
    on_list: list[Fault] = field(default_factory=list)
    on_write: list[Fault] = field(default_factory=list)
    always_write: Fault | None = None
    always_remove: Fault | None = None
    changed: Callable[[str], None] | None = None
    sessions: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        proxy, self._lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                proxy._answer(self)

            do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, format: str, *values: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Say nothing of readers that went away: some are meant to."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def reads(self) -> list[Request]:
        return [request for request in self.requests if request.is_read]

    @property
    def lists(self) -> list[Request]:
        return [
            request
            for request in self.requests
            if request.method == "GET" and not request.is_read
        ]

    @property
    def writes(self) -> list[Request]:
        """Requests that send something."""
        return [one for one in self.requests if one.method in {"PUT", "POST"}]

    def reset(self) -> None:
        """Forget requests and faults."""
        self.requests.clear()
        self.faults.clear()
        self.on_list.clear()
        self.on_write.clear()
        self.always = self.always_write = self.always_remove = None
        self.changed = None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, is_read: bool, is_write: bool) -> Fault:
        with self._lock:
            waiting = self.faults if is_read else self.on_list
            if is_write:
                waiting = self.on_write
            if waiting:
                return waiting.pop(0)
            always = self.always if is_read else None
            return (self.always_write if is_write else always) or Fault()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        is_write = handler.command in {"POST", "PUT", "DELETE"}
        is_read = handler.command == "GET" and self.is_read(handler.path)
        begin = handler.headers.get("Range", "")
        fault = self._take(is_read, is_write)
        if handler.command == "DELETE" and self.always_remove is not None:
            fault = self.always_remove
        if is_write and fault.kind == "reset":
            handler.rfile.read(length // 2)
            _cut_off(handler)
            return
        sent = handler.rfile.read(length)
        request = Request(handler.command, handler.path, begin, is_read, sent=sent)
        request.place, request.size = handler.headers.get("Content-Range", ""), length
        self.requests.append(request)
        if is_write and fault.kind == "flip":
            at = max(0, len(sent) - 60)  # before the end of a MIME body
            sent = sent[:at] + bytes([sent[at] ^ 1]) + sent[at + 1 :]
        if fault.before is not None:
            fault.before()
        if fault.status:
            handler.send_response(fault.status)
            handler.send_header("Content-Length", str(len(fault.body)))
            handler.end_headers()
            handler.wfile.write(fault.body)
            return
        if sent == b"" and request.place.startswith("bytes */"):
            # fake-gcs-server would take this question for the upload's end.
            status, known, body = self.sessions.get(handler.path, (308, "", b""))
            handler.send_response(status)
            if known:
                handler.send_header("Range", known)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            return
        upstream = http.client.HTTPConnection(self.upstream, timeout=30)
        headers = {k: v for k, v in handler.headers.items() if k != "Connection"}
        upstream.request(handler.command, handler.path, sent, headers)
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        if is_write:
            if "upload_id=" in handler.path:
                known = answer.headers["Range"] if answer.status == 308 else ""
                self.sessions[handler.path] = (answer.status, known or "", body)
            if self.changed is not None:
                self.changed(handler.path)
            if fault.kind == "lost":
                _cut_off(handler)
                return
        handler.send_response(answer.status)
        skipped = {"transfer-encoding", "content-length", "connection", "date"}
        for name, value in answer.getheaders():
            if name.lower() not in skipped:
                handler.send_header(name, value)
        size = answer.headers["Content-Length"] if handler.command == "HEAD" else None
        handler.send_header("Content-Length", size or str(len(body)))
        handler.end_headers()
        kind = fault.kind if not is_write or fault.kind == "slow" else ""
        self._send(handler, body, kind)

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        if kind == "flip":
            body = body[:-1] + bytes([body[-1] ^ 1])
        if kind in {"reset", "truncate"}:
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            handler.close_connection = True
            if kind == "reset":
                time.sleep(0.02)  # or the reader would not get the first half
                _cut_off(handler)
            return
        pieces = 10 if kind == "slow" else 1
        step = -(-len(body) // pieces) or 1
        for at in range(0, len(body), step):
            handler.wfile.write(body[at : at + step])
            if pieces > 1:
                time.sleep(0.02)


def _cut_off(handler: BaseHTTPRequestHandler) -> None:
    """Reset the connection."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.connection.close()
    handler.rfile.close()


def quoted(key: str) -> str:
    return urllib.parse.quote(key, safe="")
