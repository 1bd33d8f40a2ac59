"""Access tokens of an issuer: an OAuth resource server through the SDK's token verifier."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support import ERAS, job_of
from tests.system.over_http.test_access import declare, mcp_client
from tests.web import problem, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Place
    from tests.web import WebServer

AUDIENCE = "http://localhost:9/mcp"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer:
    """An issuer on a socket of this machine."""

    def __init__(self, port: int) -> None:
        self.url = f"http://localhost:{port}"
        self.asked: list[str] = []

    def token(self, key: Any = KEY, kid: str = "one", algorithm: str = "RS256", **more: Any) -> str:
        """Return a token for ann that may do everything, unless `more` says otherwise."""
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ann",
            "exp": int(time.time()) + 600,
            "scope": "read start cancel",
            **more,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid})

    def answer(self, path: str) -> Any:
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
        return {"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]}


@contextmanager
def issuing() -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = json.dumps(running.answer(self.path)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Issuer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture
def server(place: Place, issuer: Issuer) -> Iterator[WebServer]:
    declare(place)
    flags = ("--only-declared", "--oidc-issuer", issuer.url, "--oidc-audience", AUDIENCE)
    with serving(place, *flags) as running:
        yield running


def test_a_token_of_the_issuer_comes_in_as_an_owner_of_its_own(
    server: WebServer, issuer: Issuer
) -> None:
    with server.client() as user, server.client(issuer.token()) as ann:
        job = ann.post("/jobs", json={"type": "hello", "wait_seconds": 30})
        assert (job.status_code, job.json()["status"]) == (201, "completed")
        problem(user.get(f"/jobs/{job.json()['job_id']}"), 404, "unknown_job")
        with server.client(issuer.token(sub="bob")) as bob:
            assert bob.get("/jobs").json()["jobs"] == []
        problem(ann.get("/metrics"), 403, "forbidden")
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_token_of_the_issuer_serves_for_mcp(
    server: WebServer, issuer: Issuer, mode: str
) -> None:
    async with mcp_client(server, mode, issuer.token()) as client:
        job = job_of(await client.call_tool("start_job", {"type": "hello", "wait_seconds": 30}))
        assert job["status"] == "completed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"aud": "https://other.example/mcp"},
        {"aud": None},
        {"iss": "https://other.example"},
        {"nbf": int(time.time()) + 6000},
        {"kid": "unknown"},
        {"scope": 5},
        {"scope": ["read", {"x": 1}]},
        {"scope": None, "scp": {"read": True}},
        {"key": OTHER_KEY},
        {"key": "a shared secret of more than 32 bytes", "algorithm": "HS256"},
        {"key": None, "algorithm": "none"},
    ],
)
def test_a_token_that_is_not_valid_here_is_refused(
    server: WebServer, issuer: Issuer, wrong: dict[str, Any]
) -> None:
    token = issuer.token(**wrong)
    with server.client(token) as client:
        answer = client.get("/jobs")
    problem(answer, 401, "unauthorized")
    assert token not in server.text


def test_scopes_of_a_token_hold(server: WebServer, issuer: Issuer) -> None:
    with server.client(issuer.token(scope="read other")) as reader:
        assert reader.get("/jobs").status_code == 200
        problem(reader.post("/jobs", json={"type": "hello"}), 403, "forbidden")
    with server.client(issuer.token(scope=None, scp=["start"])) as starter:
        assert starter.post("/jobs", json={"type": "hello"}).status_code == 201


def test_unknown_keys_do_not_make_the_server_ask_each_time(
    server: WebServer, issuer: Issuer
) -> None:
    for n in range(5):
        with server.client(issuer.token(kid=f"unknown-{n}")) as client:
            assert client.get("/jobs").status_code == 401
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_clients_are_told_which_issuer_to_ask(server: WebServer, issuer: Issuer) -> None:
    with server.client("wrong") as client:
        challenge = client.post("/mcp").headers["www-authenticate"]
        assert "resource_metadata=" in challenge
        del client.headers["authorization"]
        told = client.get("/.well-known/oauth-protected-resource/mcp").json()
    assert told["resource"] == AUDIENCE
    assert [url.rstrip("/") for url in told["authorization_servers"]] == [issuer.url]
    assert told["scopes_supported"] == ["read", "start", "cancel"]
