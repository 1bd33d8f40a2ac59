"""Secrets are known by their names and by what types declare, and are shown nowhere."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from mcp_jobs.domain.models import OutboxMessage
from mcp_jobs.domain.secrecy import MASKED, hidden, looks_secret, shown_url
from mcp_jobs.engine.webhooks import _said
from mcp_jobs.interfaces.http.routes.job_routes import _message
from tests.declarations import load, problem


@pytest.mark.parametrize("name", ["token", "apiKey", "clientSecret", "db-password", "X_AUTH"])
def test_a_parameter_is_known_by_its_name_in_any_spelling(name: str) -> None:
    assert looks_secret(name)
    assert hidden({}, {name: "v"}) == ({name: MASKED}, ("v",))


@pytest.mark.parametrize("params", [{"max_tokens": 4096}, {"region": "eu"}, {"token": None}])
def test_what_is_no_secret_is_shown(params: dict[str, Any]) -> None:
    assert hidden({}, params) == (params, ())


class Login(BaseModel):
    user: str
    pin: int = Field(json_schema_extra={"writeOnly": True})


class Params(BaseModel):
    key: SecretStr
    maybe: SecretStr | None = None
    logins: list[Login] = []
    by_name: dict[str, SecretStr] = {}
    headers: dict[str, str] = {}
    pair: tuple[str, SecretStr] | None = None
    by_pattern: dict[Annotated[str, Field(pattern="^k")], SecretStr] = {}


def test_what_a_type_declares_secret_is_hidden_wherever_it_stands() -> None:
    given = {
        "key": "one",
        "maybe": "two",
        "logins": [{"user": "ann", "pin": 123456}],
        "by_name": {"x": "three"},
        "headers": {"X-Api-Key": "four", "Accept": "five"},
        "pair": ["bob", "six"],
        "by_pattern": {"k1": "seven"},
    }
    shown, texts = hidden(Params.model_json_schema(), given)
    assert shown == {
        "key": MASKED,
        "maybe": MASKED,
        "logins": [{"user": "ann", "pin": MASKED}],
        "by_name": {"x": MASKED},
        "headers": {"X-Api-Key": MASKED, "Accept": "five"},
        "pair": ["bob", MASKED],
        "by_pattern": {"k1": MASKED},
    }
    assert set(texts) == {"one", "two", "123456", "three", "four", "six", "seven"}


class Named(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    pin: SecretStr = Field(alias="PIN")


class Public(BaseModel):
    region: str


class Either(BaseModel):
    place: Named | Public


@pytest.mark.parametrize("name", ["PIN", "pin"])
def test_a_declared_secret_is_hidden_by_each_of_its_names(name: str) -> None:
    Named.model_validate({name: "123456"})
    assert hidden(Named.model_json_schema(), {name: "123456"}) == ({name: MASKED}, ("123456",))


def test_what_one_kind_of_object_declares_secret_says_nothing_of_another() -> None:
    given = {"place": {"region": "eu-west-1"}}
    assert hidden(Either.model_json_schema(), given) == (given, ())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/hook?ref=main", "https://example.org/hook?ref=main"),
        ("http://[x]?token=hunter2", "[masked]"),
        ("https://ann:pw@example.org:8443/x", "https://[masked]@example.org:8443/x"),
        ("https://example.org/?token=a&n=1&sig=b", "https://example.org/?token=[masked]&n=1&sig=[masked]"),
        ("https://h.example.org/services/T0AB/x9Yk2mPq7LwE4rTzU8vB", "https://h.example.org/services/T0AB/[masked]"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_what_its_receiver_knows_the_sender_by(url: str, shown: str) -> None:
    assert shown_url(url) == shown


ENTRY = "jobs:\n  a:\n    description: d\n    command: [echo, '{pin}']\n    params:\n      pin: "


@pytest.mark.parametrize(("key", "value"), [("default", "'1'"), ("enum", "['1']")])
def test_a_secret_param_gives_no_value_away(tmp_path: Any, key: str, value: str) -> None:
    told = problem(tmp_path, f"{ENTRY}{{secret: true, {key}: {value}}}\n")
    assert f"a secret param has no {key}" in told


def test_a_refused_secret_is_not_repeated(tmp_path: Any) -> None:
    (job_type,) = load(tmp_path, f"{ENTRY}{{secret: true, pattern: '^[0-9]+$'}}\n").types
    with pytest.raises(ValueError, match="must match") as caught:
        job_type.params.check({"pin": "hunter22"})
    with pytest.raises(ValueError, match="must be a text, not what was given"):
        job_type.params.check({"pin": 9876543})
    assert "hunter22" not in str(caught.value)


def test_an_error_of_a_delivery_is_kept_without_the_secrets_of_its_url() -> None:
    url = "https://example.org/hook?token=hunter2"
    assert (
        _said(f"cannot reach {url}", url) == "cannot reach https://example.org/hook?token=[masked]"
    )
    assert _said(None, url) is None


def test_the_list_of_deliveries_shows_no_secret_of_a_url() -> None:
    message = OutboxMessage(
        id="m", job_id="j", url="https://example.org/?key=hunter2", status="pending",
        created_at_ms=0, attempt=0, next_attempt_at_ms=1,
    )  # fmt: skip
    assert _message(message)["url"] == "https://example.org/?key=[masked]"
