"""Hosts' files are changed in one place and stay what they were everywhere else."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.interfaces.cli.hosts import config_files, diff, jsonc, toml_edits
from mcp_jobs.interfaces.cli.hosts.known_hosts import HOSTS

ENTRY = {"command": "/usr/bin/mcp-jobs", "args": []}
ZED = """\
// Zed settings
{
  "theme": "One Dark", // dark
  "context_servers": {
    /* mine */
    "other": { "command": "x", "args": ["a,b", "// no comment"] }, // trailing
  },
  "vim_mode": true,
}
"""
CODEX = """\
# top comment
model = "gpt-5"   # the model

[mcp_servers.other]
command = "x"  # other

[mcp_servers.other.env]
A = "1"

[projects."/home/ann/shop"]
trust_level = "trusted"
"""

_NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=12,
)
_SPACES = st.sampled_from(["", " ", "\n", "\n  ", "\t", '/* { " */', "// , ]\n", "\r\n"])


def _written(draw: Callable[[st.SearchStrategy[Any]], Any], value: Any) -> str:
    """Write JSON as some person would: with comments, odd spaces and trailing commas."""

    def space() -> str:
        return str(draw(_SPACES))

    if isinstance(value, dict):
        items = [
            f"{space()}{json.dumps(k)}{space()}:{space()}{_written(draw, v)}{space()}"
            for k, v in value.items()
        ]
        opened, closed = "{", "}"
    elif isinstance(value, list):
        items = [f"{space()}{_written(draw, item)}{space()}" for item in value]
        opened, closed = "[", "]"
    else:
        return json.dumps(value)
    comma = "," if items and draw(st.booleans()) else ""
    return f"{opened}{','.join(items)}{comma}{space()}{closed}"


@st.composite
def _files(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    value = draw(st.dictionaries(_NAMES, _JSON, max_size=4))
    return f"{draw(_SPACES)}{_written(draw, value)}{draw(_SPACES)}", value


@given(file=_files(), path=st.lists(_NAMES, min_size=1, max_size=3), value=_JSON)
def test_a_member_is_set_and_nothing_else_changes(
    file: tuple[str, dict[str, Any]], path: list[str], value: Any
) -> None:
    text, before = file
    assert jsonc.loads(text) == before
    place: Any = before
    for name in path[:-1]:
        if name in place and not isinstance(place[name], dict):
            with pytest.raises(jsonc.NotJsonError):
                jsonc.set_member(text, tuple(path), value)
            return
        place = place.setdefault(name, {})
    place[path[-1]] = value

    changed = jsonc.set_member(text, tuple(path), value)
    assert jsonc.loads(changed) == before
    assert jsonc.set_member(changed, tuple(path), value) == changed


def test_comments_commas_and_order_stay() -> None:
    changed = jsonc.set_member(ZED, ("context_servers", "jobs"), ENTRY)
    added = """\
    "jobs": {
      "command": "/usr/bin/mcp-jobs",
      "args": []
    },
"""
    head, tail = ZED.split("  },\n")
    assert changed == f"{head}{added}  }},\n{tail}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "a": {\n    "b": 1\n  }\n}\n'),
        ("// only a comment\n", '// only a comment\n{\n  "a": {\n    "b": 1\n  }\n}\n'),
        ("{}", '{\n  "a": {\n    "b": 1\n  }\n}'),
        ('{"x": 2}\n', '{"x": 2,\n  "a": {\n    "b": 1\n  }\n}\n'),
        ('{\n\t"a": {}\n}\n', '{\n\t"a": {\n\t\t"b": 1\n\t}\n}\n'),
        ('{\r\n    "x": 2 // two\r\n}\r\n', None),
        ('\ufeff{"a": {"b": 0}}', '\ufeff{"a": {"b": 1}}'),
    ],
)
def test_the_files_own_style_is_kept(before: str, after: str | None) -> None:
    changed = jsonc.set_member(before, ("a", "b"), 1)
    if after is None:
        assert changed.count("\r\n") == changed.count("\n")
        assert changed.startswith('{\r\n    "x": 2, // two\r\n    "a": {\r\n        "b": 1\r\n')
    else:
        assert changed == after


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1 "b": 2}', "line 1: a comma or }"),
        ('{"a": 1}\n}', "line 2: something follows"),
        ('{"a": }', "line 1: a value"),
        ("{a: 1}", "the name of a member"),
        ('{"a" 1}', "a colon"),
        ('{"a": [1 2]}', "a comma or ]"),
        ('{"a": "b', "a value is missing"),
        ("[1]", "not an object"),
        ("{" * 300, "the name of a member"),
        ('{"a":' * 300, "too deep"),
        ('{"a": "\\x"}', "not valid"),
    ],
)
def test_what_is_no_json_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(jsonc.NotJsonError, match=problem.replace("]", r"\]")):
        jsonc.set_member(text, ("mcpServers", "jobs"), ENTRY)


def test_a_table_is_added_to_toml_and_all_else_stays() -> None:
    changed = toml_edits.set_table(CODEX, ("mcp_servers", "jobs"), ENTRY)
    for line in CODEX.splitlines():
        assert line in changed.splitlines()
    assert tomllib.loads(changed)["mcp_servers"]["jobs"] == ENTRY
    assert tomllib.loads(changed)["mcp_servers"]["other"]["env"] == {"A": "1"}
    assert toml_edits.set_table(changed, ("mcp_servers", "jobs"), ENTRY) == changed


@pytest.mark.parametrize(
    "before",
    [
        "",
        "model = 'x'\n",
        "mcp_servers = {other = {command = 'x'}}\n",
        "[mcp_servers]\nother = {command = 'x'}\n",
        "[[list]]\na = 1\n[mcp_servers.jobs]\ncommand = 'old'\ntool_timeout_sec = 90\n",
        "mcp_servers.other.command = 'x'\n",
    ],
)
def test_every_way_to_write_the_table_is_understood(before: str) -> None:
    expected = tomllib.loads(before)
    expected.setdefault("mcp_servers", {}).setdefault("jobs", {}).update(ENTRY)
    changed = toml_edits.set_table(before, ("mcp_servers", "jobs"), ENTRY)
    assert tomllib.loads(changed) == expected


@pytest.mark.parametrize("text", ["[", "mcp_servers = 1", "[mcp_servers]\njobs = 1"])
def test_what_is_no_such_toml_is_refused(text: str) -> None:
    with pytest.raises(toml_edits.NotTomlError):
        toml_edits.set_table(text, ("mcp_servers", "jobs"), ENTRY)


def test_what_a_person_added_to_the_entry_stays(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    old = '{"mcpServers": {"jobs": {"command": "old", /* mine */ "alwaysAllow": ["list_jobs"]}}}'
    path.write_text(old)
    change = config_files.plan(HOSTS["cursor"], path, "jobs", {"type": "stdio", **ENTRY})
    entry = jsonc.loads(change.after.decode())["mcpServers"]["jobs"]
    assert entry == {"alwaysAllow": ["list_jobs"], "type": "stdio", **ENTRY}
    assert b"/* mine */" in change.after


def test_a_change_is_one_step_with_a_backup_the_mode_and_the_link(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles.json", tmp_path / "settings.json"
    real.write_text('{"a": 1}')
    real.chmod(0o600)
    link.symlink_to(real)
    change = config_files.plan(HOSTS["gemini"], link, "jobs", ENTRY)
    backup = config_files.apply(change)

    assert backup is not None
    assert backup.read_text() == '{"a": 1}'
    assert link.is_symlink()
    assert real.read_bytes() == change.after
    assert [stat.S_IMODE(p.stat().st_mode) for p in (real, backup)] == [0o600, 0o600]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([real.name, link.name, backup.name])


def test_a_backup_is_for_its_user_alone_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.json"
    path.write_text("{}")
    path.chmod(0o666)
    made: dict[str, int] = {}
    opened = os.open

    def watched(name: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        fd = opened(name, flags, mode, **more)
        made[Path(os.fsdecode(name)).name] = stat.S_IMODE(os.fstat(fd).st_mode)
        return fd

    monkeypatch.setattr(os, "open", watched)
    old_umask = os.umask(0)
    try:
        backup = config_files.apply(config_files.plan(HOSTS["gemini"], path, "jobs", ENTRY))
    finally:
        os.umask(old_umask)
    assert backup is not None
    assert (made[backup.name], stat.S_IMODE(backup.stat().st_mode)) == (0o600, 0o600)


def test_a_backup_takes_no_name_that_something_has(tmp_path: Path) -> None:
    path, victim = tmp_path / "settings.json", tmp_path / "victim"
    path.write_text("{}")
    victim.write_text("mine")
    moment = datetime.now(UTC)
    for ahead_s in range(5):
        stamp = (moment + timedelta(seconds=ahead_s)).strftime("%Y%m%d-%H%M%S")
        path.with_name(f"{path.name}.{stamp}.bak").symlink_to(victim)
    backup = config_files.apply(config_files.plan(HOSTS["gemini"], path, "jobs", ENTRY))
    assert backup is not None
    assert not backup.is_symlink()
    assert victim.read_text() == "mine"


SECRETS = ("s3cret-of-env", "s3cret-of-args", "s3cret-of-a-comment", "s3cret-of-a-url")
OTHERS_JSON = """\
{
  "other": {"env": {"PLAIN": "s3cret-of-env", "n": 1}, "args": ["s3cret-of-args"]},
  "mcpServers": {
    "jobs": {"command": "old", "env": {"MINE": "shown"}},
    // "TOKEN": "s3cret-of-a-comment"
    "last": {"url": "https://x/?k=s3cret-of-a-url"}
  }
}
"""
OTHERS_TOML = """\
# key = "s3cret-of-a-comment"
[mcp_servers.other] # s3cret-of-a-comment
url = 'https://x/?k=s3cret-of-a-url'
args = [
  "s3cret-of-args",
]
[mcp_servers.jobs]
command = "old"
env = { MINE = "shown" }
[mcp_servers.last.env]
PLAIN = "s3cret-of-env" # s3cret-of-a-comment
"""


@pytest.mark.parametrize(("host", "old"), [("gemini", OTHERS_JSON), ("codex", OTHERS_TOML)])
def test_a_diff_shows_our_entry_and_no_text_of_others(tmp_path: Path, host: str, old: str) -> None:
    path = tmp_path / "settings"
    path.write_text(old)
    change = config_files.plan(HOSTS[host], path, "jobs", ENTRY)
    shown = change.diff()
    assert not [secret for secret in SECRETS if secret in shown]
    assert re.search(r"^-.*old", shown, re.MULTILINE)
    assert re.search(r"^\+.*/usr/bin/mcp-jobs", shown, re.MULTILINE)
    assert "PLAIN" in shown or "TOKEN" in shown


@pytest.mark.parametrize(
    ("host", "old"),
    [
        ("gemini", '{"mcpServers": {"a": {"env": {"K": "s3cret-of-env"}}}}'),
        ("gemini", '{"mcpServers": {"a": {"env": {"K": "s3cret-of-env"}\n}}}'),
        ("codex", 'mcp_servers = { a = { env = { K = "s3cret-of-env" } } }\n'),
        ("codex", '[mcp_servers.a]\nenv.K = "s3cret-of-env"\n'),
    ],
)
def test_a_change_is_seen_in_a_diff_of_any_form_and_no_secret(
    tmp_path: Path, host: str, old: str
) -> None:
    path = tmp_path / "settings"
    path.write_text(old)
    shown = config_files.plan(HOSTS[host], path, "jobs", ENTRY).diff()
    assert "s3cret" not in shown
    assert [line for line in shown.splitlines()[2:] if line.startswith("+")]


@given(_files())
def test_no_text_outside_of_our_entry_is_in_a_diff(file: tuple[str, dict[str, Any]]) -> None:
    text, value = file
    hidden = diff.unified("", text, names=("a", "b"), place=("\x00", "x"), toml=False)
    long = [each for each in _texts(value) if len(each) > 3 and each.isalnum()]
    names = set(_names_in(value))
    assert not [each for each in long if f'"{each}"' in hidden and each not in names]


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [text for each in inner for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def _names_in(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        own = list(value) if isinstance(value, dict) else []
        inner = value.values() if isinstance(value, dict) else value
        return own + [name for each in inner for name in _names_in(each)]
    return []


def test_a_file_that_changed_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("{}")
    change = config_files.plan(HOSTS["gemini"], path, "jobs", ENTRY)
    path.write_text('{"new": true}')
    with pytest.raises(config_files.HostFileError, match="changed by another program"):
        config_files.apply(change)
    assert path.read_text() == '{"new": true}'
    assert not list(tmp_path.glob(".*"))


def test_two_backups_in_one_second_are_two_files(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("{}")
    backups = {
        config_files.apply(config_files.plan(HOSTS["gemini"], path, f"jobs{n}", ENTRY))
        for n in range(3)
    }
    assert len(backups) == 3


def test_a_place_that_refuses_is_one_sentence() -> None:
    # /proc refuses new files to everybody, root included.
    path = Path("/proc/mcp-jobs/settings.json")
    change = config_files.plan(HOSTS["gemini"], path, "jobs", ENTRY)
    with pytest.raises(config_files.HostFileError, match="cannot be written"):
        config_files.apply(change)
