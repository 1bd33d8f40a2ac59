"""Whose wish a job was is what a client says, within bounds."""

from __future__ import annotations

import pytest

from mcp_jobs.domain.models import UNKNOWN_ORIGIN
from mcp_jobs.domain.origin import told_origin


@pytest.mark.parametrize("told", [None, "", 7, True, {"name": "x"}, ["x"]])
def test_what_is_no_text_is_unknown(told: object) -> None:
    assert told_origin(client_name=told, client_version=told, session=told) == UNKNOWN_ORIGIN


def test_a_name_and_a_version_are_cut_to_what_can_be_shown() -> None:
    origin = told_origin(client_name="n" * 10_000, client_version="v" * 10_000)
    assert (origin.client_name, origin.client_version) == ("n" * 100, "v" * 50)


def test_a_session_that_is_too_long_is_not_taken_for_another_one() -> None:
    assert told_origin(session="s" * 200).session == "s" * 200
    assert told_origin(session="s" * 201).session is None


def test_half_of_a_pair_becomes_something_that_can_be_stored() -> None:
    origin = told_origin(client_name="a\ud800", session="\udcff")
    assert (origin.client_name, origin.session) == ("a?", "?")
