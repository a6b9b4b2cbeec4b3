"""A place for bytes that loses some: what signed URLs point to."""

import hashlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bloomery.common.v1 import SignedRequest

DROP = 0
"""Instead of a status: close the connection in the middle."""


class Blobs:
    """Bytes by key over HTTP. `faults` are statuses that the next requests get instead."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.faults: deque[int] = deque()
        self.refused = ""
        """How keys end that nobody may use."""
        self.log: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.retry_after = ""
        self.most_at_once = 0
        self._at_once = 0
        self._counting = threading.Lock()
        handler = type("Handler", (_Handler,), {"blobs": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def signed(self, key: str, headers: dict[str, str] | None = None) -> SignedRequest:
        return SignedRequest(url=f"http://127.0.0.1:{self._server.server_port}/{key}", headers=headers or {})

    @contextmanager
    def counted(self) -> Iterator[None]:
        """A request, from its first to its last byte."""
        with self._counting:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        yield
        with self._counting:
            self._at_once -= 1

    def keep(self, content: bytes) -> str:
        """Hold bytes under their digest and return it."""
        digest = digest_of(content)
        self.held[digest] = content
        return digest

    def drop_connections(self) -> None:
        """Close all that are open."""
        self._server.drop_connections()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _Server(ThreadingHTTPServer):
    def __init__(self, *arguments: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().close_request(request)

    def drop_connections(self) -> None:
        for one in list(self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is none of the server's business."""


class _Handler(BaseHTTPRequestHandler):
    blobs: Blobs
    protocol_version = "HTTP/1.1"
    # Or the body would wait for the client's word about the head, 40 ms.
    disable_nagle_algorithm = True

    def do_PUT(self) -> None:
        with self.blobs.counted():
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if self._fails():
                return
            self.blobs.held[self.path[1:]] = content
            time.sleep(0.001)
        self._reply(200, b"")

    def do_GET(self) -> None:
        if self._fails():
            return
        content = self.blobs.held.get(self.path[1:])
        self._reply(404, b"") if content is None else self._reply(200, content)

    def _fails(self) -> bool:
        self.blobs.log.append((self.command, self.path[1:]))
        self.blobs.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.blobs.refused and self.path.endswith(self.blobs.refused):
            self._reply(403, b"")
            return True
        if not self.blobs.faults:
            return False
        fault = self.blobs.faults.popleft()
        if fault == DROP:
            self.close_connection = True
            self.connection.close()
        else:
            self._reply(fault, b"")
        return True

    def _reply(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status >= 400 and self.blobs.retry_after:
            self.send_header("Retry-After", self.blobs.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass
