"""A line to a server that lets so many bytes a second through in all."""

import contextlib
import socket
import threading
import time

_PIECE = 1 << 14


class SlowLine:
    """Listens on loopback and passes everything on to a server.

    Attributes:
        address: where it listens, as `host:port`.
        rate: bytes a second towards the client; 0 for no limit.
        passed: bytes that it let through towards clients.
    """

    def __init__(self, upstream: str, rate: float) -> None:
        host, port = upstream.rsplit(":", 1)
        self._upstream, self.rate = (host, int(port)), rate
        self._lock, self._free_at, self.passed = threading.Lock(), 0.0, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._upstream)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ways = ((client, server, False), (server, client, True))
                for way in ways:
                    threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                if slow:
                    self._wait(len(data))
                sink.sendall(data)
        for end in (source, sink):  # what one side has ended is over for both
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _wait(self, count: int) -> None:
        with self._lock:
            self.passed += count
            if not self.rate:
                return
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + count / self.rate
        time.sleep(max(0.0, begin - time.monotonic()))
