"""A proxy that bears a token: the official suite has no way to send one."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BYTES = 1 << 16


@contextmanager
def bearing(port: int, token: str) -> Iterator[str]:
    """Pass requests on to a local port with a token; returns the proxy's address."""
    added = f"Authorization: Bearer {token}\r\nConnection: close\r\n".encode()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                _pass_on(self.request, port, added)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as proxy:
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()


def _pass_on(client: socket.socket, port: int, added: bytes) -> None:
    """Pass one request and its answer on; each request has a connection of its own."""
    head = b""
    while b"\r\n" not in head:
        data = client.recv(_BYTES)
        if not data:
            return
        head += data
    line, _, rest = head.partition(b"\r\n")
    with socket.create_connection(("127.0.0.1", port)) as server:
        server.sendall(line + b"\r\n" + added + rest)
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_BYTES):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
