"""A question shows everything that it is about, whatever a caller put into one part of it."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from mcp_jobs.domain.questions import SHORTENED, start_question, visible

SCHEMA = {"properties": {"first": {}, "second": {"default": 2}, "third": {}, "last": {}}}


def lines(params: dict[str, object], **besides: object) -> list[str]:
    text = start_question("Really?", "deploy", SCHEMA, params, besides=besides)
    asked, name, *rest = text.split("\n")
    assert (asked, name) == ("Really?", "deploy")
    return rest


def test_every_parameter_has_a_line_in_declared_order() -> None:
    given = {"last": [1, {"a": None}], "first": 'a "b"', "other": True}
    assert lines(given) == [
        '  first: "a \\"b\\""',
        "  second: 2 (default)",
        "  third: -",
        '  last: [1, {"a": null}]',
        "  other: true",
    ]


@pytest.mark.parametrize("long", ["x" * 200_000, ["y" * 9] * 10_000, {"z" * 5000: 1}])
def test_a_long_value_is_shortened_alone(long: object) -> None:
    shown = lines({"first": long, "second": "b", "third": "c", "last": "d"})
    assert SHORTENED in shown[0]
    assert len(shown[0]) < 300
    assert shown[1:] == ['  second: "b"', '  third: "c"', '  last: "d"']


def test_both_ends_of_a_long_value_are_shown() -> None:
    (shown, *_) = lines({"first": "begin" + "x" * 5000 + "end"})
    assert shown.startswith('  first: "begin')
    assert shown.endswith('end"')


def test_many_and_long_names_drop_nothing() -> None:
    given: dict[str, object] = {f"{n:04}{'k' * 500}": n for n in range(1000)}
    shown = lines({**given, "first": "here"})
    assert len(shown) == 4 + 1000
    assert '  first: "here"' in shown


def test_a_value_cannot_pretend_to_be_another_line() -> None:
    shown = lines({"first": 'x"\n  last: "harmless\u2028  last: "harmless', "last": "bad"})
    assert len(shown) == 4
    assert shown[3] == '  last: "bad"'


def test_what_else_the_caller_chose_is_shown() -> None:
    shown = lines({}, **{"cwd": "/a\x1b[1A", "env PATH": "/evil"})
    assert shown[4:] == ['  (cwd) "/a\\u001b[1A"', '  (env PATH) "/evil"']


def test_what_is_asked_may_have_several_lines_of_its_own() -> None:
    text = start_question("One\ntwo\x07", "t", {}, {}, besides={})
    assert text == "One\ntwo\\u0007\nt"


def test_no_character_hides_or_moves_another() -> None:
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            assert visible(character).isascii()
            assert visible(character).isprintable()


@pytest.mark.parametrize("text", ["plain", "Grüße 你好 😀", "a b", ""])
def test_what_is_seen_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize("text", ["a\u00a0b", "\u3164", "\u2800", "\ufeff", "\U000e0041", "\ud800"])
def test_what_is_not_seen_is_written_out(text: str) -> None:
    assert visible(text).isascii()
