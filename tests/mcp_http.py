"""MCP over HTTP, message by message, where a real client would be too polite."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support import MODERN

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

Message = dict[str, Any]

VERSIONS = ("2025-06-18", "2025-11-25", MODERN)
TASKS: Message = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
FORMS: Message = {"elicitation": {}}

_PREFIX = "io.modelcontextprotocol/"
_WHO = {"name": "raw", "version": "1"}
_ACCEPT = {"accept": "application/json, text/event-stream"}
_NAMED_BY = {"tools/call": "name", "resources/read": "uri", "prompts/get": "name"}


class RawHttp:
    """One client at one protocol version; `client` bears the token."""

    def __init__(self, client: httpx2.Client, version: str, capabilities: Message) -> None:
        self.client = client
        self.version = version
        self.capabilities = capabilities
        self.session: str | None = None
        self._ids = 0

    @property
    def modern(self) -> bool:
        return self.version == MODERN

    def open(self) -> int:
        """Shake hands, where this version does; returns the HTTP status of the answer."""
        if self.modern:
            return 200
        offer = {
            "protocolVersion": self.version,
            "capabilities": self.capabilities,
            "clientInfo": _WHO,
        }
        answer = self.post(self.message("initialize", offer))
        self.session = answer.headers.get("mcp-session-id")
        if answer.status_code == 200:
            self.notify("notifications/initialized", {})
        return answer.status_code

    def message(self, method: str, params: Message) -> Message:
        """Return a request with a fresh id."""
        self._ids += 1
        if self.modern:
            meta = {
                f"{_PREFIX}protocolVersion": self.version,
                f"{_PREFIX}clientInfo": _WHO,
                f"{_PREFIX}clientCapabilities": self.capabilities,
            }
            params = {**params, "_meta": {**meta, **params.get("_meta", {})}}
        return {"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}

    def headers(self, message: Message) -> dict[str, str]:
        """Return the headers that go with a message."""
        headers = {**_ACCEPT, "mcp-protocol-version": self.version}
        if self.session is not None:
            headers["mcp-session-id"] = self.session
        method, params = message.get("method"), message.get("params", {})
        if self.modern and method is not None:
            headers["mcp-method"] = method
            name = params.get(_NAMED_BY.get(method, "taskId"))
            if name is not None:
                headers["mcp-name"] = str(name)
        return headers

    def post(self, message: Message) -> httpx2.Response:
        """Send a message and read the whole answer."""
        return self.client.post("/mcp", json=message, headers=self.headers(message))

    def notify(self, method: str, params: Message) -> int:
        """Send a notification; returns the HTTP status."""
        message = self.message(method, params)
        del message["id"]
        return self.post(message).status_code

    def request(self, method: str, params: Message) -> Message:
        """Send a request and return its answer: the first message with its id."""
        with self.streaming(method, params) as messages:
            return next(message for message in messages if "method" not in message)

    @contextmanager
    def streaming(self, method: str, params: Message) -> Iterator[Iterator[Message]]:
        """Send a request and read what comes, as it comes."""
        message = self.message(method, params)
        with self.client.stream(
            "POST", "/mcp", json=message, headers=self.headers(message)
        ) as answer:
            yield _messages(answer)

    @contextmanager
    def listening(self) -> Iterator[httpx2.Response]:
        """Open the stream of the session that no request belongs to."""
        with self.client.stream("GET", "/mcp", headers=self.headers({})) as answer:
            yield answer


def _messages(answer: httpx2.Response) -> Iterator[Message]:
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        body = json.loads(answer.read() or b"{}")
        # A problem of the HTTP side is told as the fault of the request.
        problem = {"error": {"code": answer.status_code, "message": body.get("detail", "")}}
        yield body if "jsonrpc" in body else problem
        return
    for line in answer.iter_lines():
        if line.startswith("data: ") and len(line) > len("data: "):
            yield json.loads(line.removeprefix("data: "))
