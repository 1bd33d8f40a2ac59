"""Whatever a parameter holds, it stays one argument and never becomes a command.

Commands are really run, as jobs are where a shell is meant. `printf '%s\\0'` prints each argument
that it gets and a NUL, which no argument can contain. Where texts are put together that may be
longer than the system passes to a program, it is the shell's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.job_types import yaml
from mcp_jobs.job_types.registry import JobType, Prepared, prepare
from tests.shells_here import SHELLS, USED

PRINTF = shutil.which("printf") or "/usr/bin/printf"

JOBS = f"""\
jobs:
  command:
    description: d
    params: {{p: {{}}, q: {{}}}}
    command: [{PRINTF}, '%s\\0', first, '{{p}}', 'a {{p}} b', '--x={{q}}', "'{{q}}'", last]
  script:
    description: d
    params: {{p: {{}}, q: {{}}}}
    shell: |
      {PRINTF} '%s\\0' first "$p" "a $p b" --x="$q" "'$q'" last
"""
TOOLS = f"""\
tools:
  - name: gantz
    parameters: [{{name: p}}, {{name: q}}]
    script:
      shell: |
        # Don't be misled by {{{{p}}}} in a comment
        {PRINTF} '%s\\0' first {{{{p}}}} "a {{{{p}}}} b" --x={{{{q}}}} "'{{{{q}}}}'" last
  - name: places
    parameters: [{{name: p}}, {{name: q}}]
    script:
      shell: |
        v={{{{p}}}}; w="{{{{q}}}}" x='{{{{p}}}}'
        cat <<'EOF' >/dev/null
        it's a "document"
        EOF
        if [ {{{{p}}}} = "{{{{p}}}}" ]; then y=$(echo "it's (fine)"); fi
        case {{{{q}}}} in
          *) printf '%s\\0' "$v" "$w" "$x" {{{{p}}}}'{{{{q}}}}'"{{{{p}}}}" '{{{{q}}}}' ;;
        esac
  - name: quoted
    parameters: [{{name: p}}, {{name: q}}]
    script:
      shell: |
        printf '%s\\0' '{{"a":"{{{{p}}}}","b":[{{{{q}}}}]}}' x{{{{p}}}}y{{{{q}}}}z \\
          "$(echo '")')" {{{{ p }}}}
"""
EXPECTED = {
    "command": lambda p, q: ["first", p, f"a {p} b", f"--x={q}", f"'{q}'", "last"],
    "script": lambda p, q: ["first", p, f"a {p} b", f"--x={q}", f"'{q}'", "last"],
    "gantz": lambda p, q: ["first", p, f"a {p} b", f"--x={q}", f"'{q}'", "last"],
    "places": lambda p, q: [p, q, p, f"{p}{q}{p}", q],
    "quoted": lambda p, q: [f'{{"a":"{p}","b":[{q}]}}', f"x{p}y{q}z", '")', p],
}
NASTY = [
    "", " ", "a b", "'", '"', "''", '""', "\\", "\\\\", "\n", "\r\n", "\t", "$p", "${q}", "{p}",
    "{{p}}", "$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "| touch PWNED", "&& touch PWNED",
    "& touch PWNED &", "> PWNED", "< /etc/passwd", "'; touch PWNED; '", '"; touch PWNED; "',
    "'$(touch PWNED)'", '"$(touch PWNED)"', "*", "?", "[a-z]*", "~", "~root", "!", "!!", "#", "# x",
    "-n", "--", "-e PWNED", "%s", "%n", "\x1b[0m", "\x7f", "é", "日本語", "\U0001f600", "\u202e",
    "\ufeff", "\u2028", "$((1/0))", "a[$(touch PWNED)]", "()", "{a,b}", "EOF", "\nEOF\ntouch PWNED",
    "x" * 100_000, "$(touch PWNED)" * 7_000, "'\"" * 50_000, "\n" * 100_000,
]  # fmt: skip
PIECES = st.sampled_from(NASTY[:-4]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40
)
VALUES = st.lists(PIECES, max_size=6).map("".join) | st.sampled_from(NASTY)


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> dict[str, JobType]:
    directory = tmp_path_factory.mktemp("types")
    found: dict[str, JobType] = {}
    for name, text in (("jobs.yaml", JOBS), ("gantz.yaml", TOOLS)):
        path = directory / name
        path.write_text(text, "utf-8")
        loaded = yaml.load(path, base=str(directory), reserved=frozenset({"shell"}))
        assert [str(problem) for problem in loaded.problems] == []
        found.update({job_type.name: job_type for job_type in loaded.types})
    assert set(found) == set(EXPECTED)
    return found


def run(
    prepared: Prepared, directory: Path, *, with_shell: tuple[str, ...] | None = None
) -> list[str]:
    """Run as a runner would, and return the arguments that printf saw."""
    argv = prepared.argv
    if prepared.script is not None:
        text = prepared.script.text
        argv = USED.argv(prepared.script) if with_shell is None else (*with_shell, text)
    done = subprocess.run(
        argv,
        env={"PATH": os.defpath, "HOME": "/", **prepared.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=directory,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return [os.fsdecode(part) for part in done.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize("name", EXPECTED)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(p=VALUES, q=VALUES)
@example(p="x" * 100_000, q="'; touch PWNED; '")
@example(p="$(touch PWNED)", q="`touch PWNED`")
@example(p="\nEOF\ntouch PWNED\n", q="a  b\tc\n")
def test_a_parameter_stays_one_argument(
    types: dict[str, JobType], tmp_path: Path, name: str, p: str, q: str
) -> None:
    seen = run(prepare(types[name], {"p": p, "q": q}), tmp_path)

    assert seen == EXPECTED[name](p, q)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "command"])
def test_every_shell_reads_the_scripts_alike(
    types: dict[str, JobType], tmp_path: Path, name: str, shell: tuple[str, ...]
) -> None:
    for value in NASTY:
        seen = run(
            prepare(types[name], {"p": value, "q": "$(touch PWNED)"}), tmp_path, with_shell=shell
        )
        assert seen == EXPECTED[name](value, "$(touch PWNED)")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a\0b", "NUL"),
        ("\ud800", "cannot be encoded"),
        ("x" * (128 << 10), "must stay below 131072"),
        (7, "must be a text, not 7"),
        (None, "must be a text, not null"),
        (["a"], "must be a text"),
    ],
)
def test_what_no_program_can_be_given_is_refused(
    types: dict[str, JobType], name: str, value: Any, why: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"p: .*{why}.*It takes: p"):
        prepare(types[name], {"p": value})


def test_an_argument_that_grows_too_long_is_refused(types: dict[str, JobType]) -> None:
    with pytest.raises(InvalidInputError, match="An argument has 131073 bytes"):
        prepare(types["command"], {"p": "x" * ((128 << 10) - 3), "q": ""})


def test_a_parameter_that_is_left_out_leaves_no_inherited_value(
    types: dict[str, JobType], tmp_path: Path
) -> None:
    prepared = prepare(types["script"], {"q": "x"})
    assert prepared.env == {"p": "", "q": "x"}
    assert run(prepared, tmp_path)[1] == ""
    # In a command, an argument that is nothing but the parameter goes with it.
    assert run(prepare(types["command"], {"q": "x"}), tmp_path) == [
        *("first", "a  b", "--x=x", "'x'", "last")
    ]
