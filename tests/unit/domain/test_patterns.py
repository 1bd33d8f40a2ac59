"""Patterns that could take any time or memory are refused before they are compiled."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.domain import patterns

_GOOD = (
    *(r"(?i)error|warn", r"\d{4}-\d{2}-\d{2}", r"(?P<current>\d+)/(?P<total>\d+)", r"(?>a+)b"),
    *(r"[[:alpha:]]+\(", r"[](){}]{2,3}", r"a{foo}", r"(?<=x)y(?!z)", r"\p{L}+\{", r"(?s:.)"),
    *(r".{0,200}foo.{0,200}", r"x{,5}", r"(?i-s:a)", r"[\]\\]", r"((((a))))", r"(?#c)a", r"a{3}+"),
    *(r"^FAIL \[\s*\d+%\]$", r"(?P<n>a)(?P=n)", r"(?:x{100}){100}", r"\(\?R\)", r"[(?R)]"),
)
_UNBOUNDED = (
    *(r"(?R)?a", r"(?1)?(a)", r"(?&n)(?<n>a)", r"(?P>n)(?P<n>a)", r"(?:ab){e<=5}c", r"a{e}"),
    *(r"a{i<=1,d<=1}", r"a{1<=e<=3}", r"(?:a{2i+2d+1s<=4})", r"\L<n>", r"a(*FAIL)", r"(?(1)a|b)"),
    *(r"(?V1)a", r"(?x) a", r"(?b)a", r"(?|a|b)", r"(?if)a", r"[\]](?R)", r"[[:alpha:]](?R)"),
)
_HUGE = (
    *(r"(?:x{1000}){1000}", r"(?:(?:x{1000}){1000}){1000}", r"(?:x{99999999999}y)", "a{30000}"),
    *(r"(?:(?:x{0,1000}[[:alpha:])]){1000})", r"(?:x{1000}[)]){1000}", r"(?:x{1000}\)){1000}"),
)


@pytest.mark.parametrize("pattern", _GOOD)
def test_what_is_bounded_is_compiled(pattern: str) -> None:
    assert patterns.compiled(pattern).pattern == pattern


@pytest.mark.parametrize("pattern", _UNBOUNDED)
def test_what_needs_no_bound_on_time_or_memory_is_refused(pattern: str) -> None:
    with pytest.raises(patterns.RefusedPatternError, match="can take any time or memory"):
        patterns.compiled(pattern)


@pytest.mark.parametrize("pattern", _HUGE)
def test_counts_that_would_be_written_out_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(patterns.RefusedPatternError, match="come to more than 20000 parts"):
        patterns.compiled(pattern)


def test_a_long_pattern_is_refused() -> None:
    with pytest.raises(patterns.RefusedPatternError, match="1001 characters, and at most 1000"):
        patterns.compiled("(" * 1001)


@given(st.text(alphabet="()[]{}?*+,:\\<>=!#PLRVsdei019ax^|-", max_size=1000))
def test_any_text_is_checked_without_another_error(pattern: str) -> None:
    with suppress(patterns.RefusedPatternError):
        patterns.check(pattern)


def test_a_search_in_lines_looks_at_the_beginning_of_each_alone() -> None:
    text = "x" * (2 * patterns.LINE_CHARS) + "end\nshort end\n"

    assert patterns.matches("^short end$", text)
    assert not patterns.matches("xend$", text)
