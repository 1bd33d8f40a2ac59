"""Whatever a stranger presents as a token is a valid one or none, and never a fault."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import time
from typing import Any

import anyio
import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_jobs.interfaces.mcp.oidc import OidcVerifier, Visitor

ISSUER = "http://localhost:1"
AUDIENCE = "http://localhost:9/mcp"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
SECRET = "x" * 64
CLIENT = httpx2.AsyncClient


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    algorithms: dict[type, Any] = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    maker = next(made for kind, made in algorithms.items() if isinstance(key, kind))
    return {**json.loads(maker.to_jwk(key.public_key())), **more}


KEYS = {
    "rsa": jwk(RSA_KEY, kid="rsa", use="sig", alg="RS256"),
    "any-rsa": jwk(RSA_KEY, kid="any-rsa"),
    "ec": jwk(EC_KEY, kid="ec"),
    "ed": jwk(ED_KEY, kid="ed", key_ops=["verify"]),
    "enc": jwk(RSA_KEY, kid="enc", use="enc"),
    "use-list": jwk(RSA_KEY, kid="use-list", use=["sig"]),
    "null-use": jwk(RSA_KEY, kid="null-use", use=None),
    "sign": jwk(RSA_KEY, kid="sign", key_ops=["sign", "encrypt"]),
    "ops-text": jwk(RSA_KEY, kid="ops-text", key_ops="verify"),
    "weak": jwk(WEAK_KEY, kid="weak"),
    "other-alg": jwk(RSA_KEY, kid="other-alg", alg="RS512"),
    "oaep": jwk(RSA_KEY, kid="oaep", alg="RSA-OAEP"),
    "shared": {
        "kty": "oct", "kid": "shared", "use": "sig",
        "k": base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    },
}  # fmt: skip


def told(keys: Any) -> httpx2.MockTransport:
    """Answer as an issuer does."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/openid-configuration"):
            return httpx2.Response(200, json={"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"})
        return httpx2.Response(200, content=json.dumps(keys))

    return httpx2.MockTransport(answer)


@pytest.fixture(autouse=True)
def issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, {"keys": list(KEYS.values())})


def answer_with(monkeypatch: pytest.MonkeyPatch, keys: Any) -> None:
    monkeypatch.setattr(
        "mcp_jobs.interfaces.mcp.oidc.httpx2.AsyncClient",
        lambda **options: CLIENT(transport=told(keys), **options),
    )


def claims(**more: Any) -> dict[str, Any]:
    return {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": int(time.time()) + 600,
        "scope": "read start", **more,
    }  # fmt: skip


def signed(
    body: Any, *, key: Any = RSA_KEY, kid: Any = "rsa", alg: Any = "RS256", **header: Any
) -> str:
    """Return a token with a good signature over any header and any claims."""
    head = {"typ": "JWT", "alg": alg, "kid": kid, **header}
    segments = [_segment(json.dumps(part).encode()) for part in (head, body)]
    text = b".".join(segments)
    algorithm = jwt.get_algorithm_by_name(alg if isinstance(alg, str) and alg else "RS256")
    return b".".join([text, _segment(algorithm.sign(text, algorithm.prepare_key(key)))]).decode()


def _segment(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


async def visitor(token: str) -> Visitor | None:
    return await OidcVerifier(issuer=ISSUER, audience=AUDIENCE).visitor(token)


@pytest.mark.parametrize(
    ("kid", "key", "alg"),
    [
        ("rsa", RSA_KEY, "RS256"),
        ("any-rsa", RSA_KEY, "RS256"),
        ("any-rsa", RSA_KEY, "PS512"),
        ("other-alg", RSA_KEY, "RS512"),
        ("ec", EC_KEY, "ES256"),
        ("ed", ED_KEY, "EdDSA"),
    ],
)
async def test_a_key_for_signatures_is_taken_for_its_algorithm(
    kid: str, key: Any, alg: str
) -> None:
    found = await visitor(signed(claims(), key=key, kid=kid, alg=alg))
    assert found is not None
    assert (found.subject, sorted(found.scopes)) == ("ann", ["read", "start"])


@pytest.mark.parametrize(
    "kid", ["enc", "use-list", "null-use", "sign", "ops-text", "other-alg", "oaep", "ec", "no"]
)
async def test_a_key_for_something_else_is_refused(kid: str) -> None:
    assert await visitor(signed(claims(), kid=kid)) is None


PUBLIC_PEM = RSA_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


@pytest.mark.parametrize(
    "token",
    [
        signed(claims(), key=WEAK_KEY, kid="weak"),
        signed(claims(), key=SECRET, kid="shared", alg="HS256"),
        signed(claims(), key=SECRET, kid="rsa", alg="HS256"),
        signed(claims(), kid="rsa", alg="RS512"),
        signed(claims(), kid="rsa", alg="PS256"),
        signed(claims(), kid="ec"),
        signed(claims(), kid=None),
        signed(claims(), kid=5),
        signed(claims(), kid=["rsa"]),
        signed(claims(), kid={"rsa": 1}),
        signed(claims(), alg=None),
        signed(claims(), alg=""),
        signed(claims(), crit=["x"]),
        signed(claims(), b64=False, crit=["b64"]),
        signed(claims(), jwk=jwk(WEAK_KEY), kid="no"),
        ".".join([*signed(claims()).split(".")[:2], ""]),
        "", ".", "..", "a.b.c", "\ud800.x.y", "é.é.é", "[" * 8000,
    ],
)  # fmt: skip
async def test_a_confused_header_is_refused(token: str) -> None:
    assert await visitor(token) is None


def test_a_public_key_is_no_shared_secret() -> None:
    # PyJWT does not sign with such a secret, so it is signed by hand.
    head = _segment(json.dumps({"alg": "HS256", "kid": "rsa"}).encode())
    text = head + b"." + _segment(json.dumps(claims()).encode())
    mac = hmac.new(PUBLIC_PEM, text, hashlib.sha256).digest()
    assert anyio.run(visitor, (text + b"." + _segment(mac)).decode()) is None


ODD: list[Any] = [
    0, 5, -1, 1.5, True, False, None, {}, {"a": 1}, [1], [None], ["read", 1], [["read"]],
    [{"read": 1}], math.inf, math.nan, 10**400,
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20])
@pytest.mark.parametrize("name", ["scope", "scp"])
async def test_odd_scopes_are_refused(name: str, odd: Any) -> None:
    body = {key: value for key, value in claims().items() if key != "scope"}
    assert await visitor(signed({**body, name: odd})) is None


@pytest.mark.parametrize("name", ["exp", "iat", "nbf", "iss", "aud", "sub", "jti", "azp"])
@pytest.mark.parametrize(
    "odd", ["x", "", "1e999", [], {}, [[]], math.inf, math.nan, 10**400, None, "a\nb", "x" * 300]
)
async def test_odd_claims_are_refused_or_mean_nothing(name: str, odd: Any) -> None:
    found = await visitor(signed(claims(**{name: odd})))
    a_name = name in ("sub", "azp") and odd in ("x", "1e999")
    assert (found is not None) == (a_name or (name == "jti" and isinstance(odd, str)))


@pytest.mark.parametrize(
    "body", [{**claims(), "exp": int(time.time()) - 60}, [], "x", 5, None, {}, [claims()]]
)
async def test_what_is_no_set_of_claims_is_refused(body: Any) -> None:
    assert await visitor(signed(body)) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(["scope", "scp", "exp", "iat", "nbf", "iss", "aud", "sub", "jti", "azp"])
RUNS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@RUNS
@given(st.dictionaries(NAMES, JSON, max_size=4))
async def test_any_claims_are_a_visitor_or_none(odd: dict[str, Any]) -> None:
    found = await visitor(signed(claims(**odd)))
    if found is not None:
        assert found.subject.isprintable()
        assert found.expires_at_s > time.time() - 60
        assert all(isinstance(scope, str) for scope in found.scopes)


@RUNS
@given(st.dictionaries(st.sampled_from(["kid", "alg", "typ", "crit", "b64", "jwk", "x5c"]), JSON))
async def test_any_header_is_a_visitor_or_none(odd: dict[str, Any]) -> None:
    head = {"typ": "JWT", "alg": "RS256", "kid": "rsa", **odd}
    text = b".".join(_segment(json.dumps(part).encode()) for part in (head, claims()))
    algorithm = jwt.get_algorithm_by_name("RS256")
    signature = _segment(algorithm.sign(text, RSA_KEY))
    await visitor(b".".join([text, signature]).decode())


@RUNS
@given(st.text(max_size=60) | st.from_regex(r"[\w=-]*\.[\w=-]*\.[\w=-]*", fullmatch=True))
async def test_any_text_is_no_token(text: str) -> None:
    assert await visitor(text) is None


KEY_JSON = st.dictionaries(
    st.sampled_from(["kty", "kid", "use", "key_ops", "alg", "n", "e", "crv", "x", "y", "d"]), JSON
)


@RUNS
@given(
    JSON
    | st.fixed_dictionaries({"keys": JSON | st.lists(JSON | KEY_JSON, max_size=3)})
    | KEY_JSON.map(lambda odd: {"keys": [{**KEYS["any-rsa"], **odd}]})
)
async def test_any_answer_of_the_issuer_leaves_a_stranger_outside(keys: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        answer_with(patch, keys)
        assert await visitor(signed(claims(), kid="no")) is None


async def test_a_withdrawn_key_is_refused_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr("mcp_jobs.interfaces.mcp.oidc.time.monotonic", lambda: now_s)
    verifier = OidcVerifier(issuer=ISSUER, audience=AUDIENCE)
    token = signed(claims())
    assert await verifier.visitor(token) is not None
    answer_with(monkeypatch, {"keys": [KEYS["ec"]]})
    assert await verifier.visitor(token) is not None
    now_s += 3601
    assert await verifier.visitor(token) is None
