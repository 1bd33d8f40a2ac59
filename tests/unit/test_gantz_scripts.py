"""Whatever script is accepted, a parameter in it means text and nothing else.

Scripts are put together from pieces of shell syntax, sensible or not. What a shell does with one
that is accepted must not depend on what the parameter holds, but for the text of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mcp_jobs.declared.script import ScriptError, translate

SHELLS = [path for path in map(shutil.which, ("dash", "bash")) if path is not None]
SHOW = 'f() { for a in "$@"; do printf "[%s]" "$a"; done; echo; }\nx=1\nf '
PIECES = [
    "{{p}}", "{{p}}", "{{p}}", "{{ p }}", "'", "'", '"', '"', "\\", "\\'", '\\"', " ", " ", "\n",
    "\nf ", "; f ", "a", "=", "#", " # ", "$x", "${x}", "${x:-b}", "${x:-'}", '${x:-"', "}", "{",
    "{{", "}}", "$(", ")", "(", "$(printf b)", '"$(printf "c d")"', "`", "`printf e`", "$((", "))",
    "$((1+1))", "<<E\n", "<<'E'\n", "<<-E\n", "\nE\n", "E\n", "\tE\n", "<<<", "|cat", " | cat",
    "||", "&&", " >&2 ", " 2>&1 ", "$'", '$"', "$", "case", "esac", " case a in a) f ", ";; esac",
    "if :; then f ", "; fi", "[[ ", " ]]", "eval ", "!", "*", "~", "\r", "\t", "é",
]  # fmt: skip
SCRIPTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=14).map("".join)
PLAIN = "plainword"
HOSTILE = [
    "a  b",
    "'; touch PWNED; '",
    '"; touch PWNED; "',
    "$(touch PWNED)`touch PWNED`",
    "x\nE\ntouch PWNED\n",
    "*",
    ") touch PWNED ;;",
    "}; touch PWNED; {",
    "\\",
    "",
]


def run(shell: str, script: str, p: str) -> tuple[int, str, list[str]]:
    """Return the exit code, what was printed, and the files that were made."""
    with tempfile.TemporaryDirectory() as directory:
        code, told = _run(shell, script, p, directory)
        return code, told, os.listdir(directory)


def _run(shell: str, script: str, p: str, directory: str) -> tuple[int, str]:
    done = subprocess.run(
        [shell, "-c", SHOW + script],
        env={"PATH": os.defpath, "p": p},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=directory,
        check=False,
        timeout=30,
    )
    return done.returncode, os.fsdecode(done.stdout)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=SCRIPTS, hostile=st.sampled_from(HOSTILE))
@example(script="$(printf b){{p}}'{{p}}'\"{{p}}\"", hostile=HOSTILE[1])
@example(script="a <<E\n'\nE\nf {{p}}", hostile=HOSTILE[2])
@example(script="${x:-b} # '\nf {{p}}", hostile=HOSTILE[0])
def test_a_script_that_is_accepted_does_the_same_for_every_value(
    shell: str, script: str, hostile: str
) -> None:
    try:
        made = translate(script, ["p"])
    except ScriptError:
        return
    code, told, files = run(shell, made, PLAIN)
    # A script that the shell cannot read is nobody's harm.
    assume(code == 0 and made != script and not files)

    assert run(shell, made, hostile) == (0, told.replace(PLAIN, hostile), [])
