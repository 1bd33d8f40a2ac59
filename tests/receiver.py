"""A receiver of webhooks on a socket of this machine."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """Return the message if its signature is good."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """What came so far. `answer` says what each request gets: a status and headers."""

    url: str
    answer: Callable[[Received], tuple[int, dict[str, str]]]
    got: list[Received] = field(default_factory=list)


@contextmanager
def receiving(
    answer: Callable[[Received], tuple[int, dict[str, str]]] = lambda _: (204, {}),
) -> Iterator[Receiver]:
    """Receive until the context ends."""
    receiver = Receiver("", answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = Received(self.path, headers, self.rfile.read(length))
            receiver.got.append(received)
            status, more = receiver.answer(received)
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
