"""Whatever script is accepted, a parameter in it means text and nothing else.

Scripts are put together from pieces of shell syntax, sensible or not. What a shell does with one
that is accepted must not depend on what the parameter holds, but for the text of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mcp_jobs.job_types.yaml.script import ScriptError, translate
from tests.shells_here import POSIX_SHELLS

SHOW = "x=1\nseq "
"""`seq` is a program of the test, which shows each of its arguments."""
PIECES = [
    "{{p}}", "{{p}}", "{{p}}", "{{ p }}", "'", "'", '"', '"', "\\", "\\'", '\\"', " ", " ", "\n",
    "\nseq ", "; seq ", "a", "=", "#", " # ", "$x", "${x}", "${x:-b}", "${x:-'}", '${x:-"', "}",
    "{", "{{", "}}", "$(", ")", "(", "$(printf b)", '"$(printf "c d")"', "`", "`printf e`", "$((",
    "))",
    "$((1+1))", "<<E\n", "<<'E'\n", "<<-E\n", "\nE\n", "E\n", "\tE\n", "<<<", "|cat", " | cat",
    "||", "&&", "|&cat", " &> f ", "<(", ">(", "@(a|", "+(", "!(", "{a,", ",b}", "{1..3}", "!!",
    "!$", "time ", "function f ", "\nselect x in ", "coproc ", "((", "[[ a =~ ", "a+=", "a=(",
    "&>>f", " >&2 ", " 2>&1 ", "$'", "$'\\''", '$"', "$", "case", "esac", " case a in a) seq ",
    ";; esac", "if :; then seq ", "; fi", "[[ ", " ]]", "eval ", "!", "*", "~", "\r", "\t", "é",
]  # fmt: skip
SCRIPTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=14).map("".join)
WRAPPERS = [
    *(
        "timeout 5 ",
        "env ",
        "env A=1 ",
        "env B={{p}} ",
        "nice ",
        "nice -n 1 ",
        "nohup ",
        "command ",
    ),
    *(
        "command -p ",
        "exec ",
        "time ",
        "stdbuf -oL ",
        "setsid -w ",
        "xargs ",
        "find . -exec ",
        "! ",
    ),
    *("builtin ", "x={{p}} ", "sh -c ", "sh "),
    *("bash ", ". ", "eval ", "flock -n f ", "flock -n f -c "),
    *("timeout -s {{p}} 5 ", "env -- ", "timeout ", "xargs -n1 ", "find ", "env -S ", "strace "),
]
PROGRAMS = [
    *("seq ", "seq ", "seq ", "printf '[%s]' ", "printf ", "printf -v ", "[ ", "test ", "test -v "),
    *("[ -v ", "local ", "export ", "declare ", "readonly ", "read ", "wait -p ", "unset ", "let "),
    *(
        "trap ",
        "awk ",
        "sed ",
        "sed -n ",
        "find . -exec ",
        "awk '{print $1}' ",
        "sed 1p -- ",
        "cat ",
    ),
    *("python3 -c ", "perl -e ", "set -- ", "alias ", "getopts ", "sort ", "cd ", "cat < ", "x="),
]
ARGUMENTS = [
    *("{{p}}", "{{p}}", '"{{p}}"', "'{{p}}'", "a{{p}}", "{{p}}b", "--x={{p}}", "$p", '"$p"', "$x"),
    *('"$x"', "x={{p}}", "x=$x", "y=$p", "$_", '"$_"', "a", "-v", "-e", "-c", "--", "=", "]", "$1"),
    *("\\;", "{}", "+", "$((x))", "$((p))", "${x}", '"${p#a}"', "$(seq a)", "$(sh)", "> f", "< f"),
    *(
        "2>&1",
        "<<< {{p}}",
        "> {{p}}",
        "< {{p}}",
        "*",
        "'$p'",
        "\\$p",
        "{a,{{p}}}",
        "-n",
        "1p",
        "sh",
    ),
]
JOINTS = [
    *(
        "; ",
        "\n",
        " && ",
        " || ",
        " | ",
        " | sh ",
        " | sh; ",
        " | python3; ",
        " | bash -s\n",
        " & ",
    ),
    *(
        "; $x ",
        "; $_ ",
        '; "$x" ',
        "; $1 ",
        " | xargs ",
        " | { cat; } | sh; ",
        " | while read x; do $x",
    ),
    *(
        "; for x in {{p}} a; do ",
        "; done; ",
        "; done | sh; ",
        "{ ",
        "; } ",
        "; } | sh; ",
        "( ",
        " ) ",
    ),
    *("if ", "; then ", "; else ", "; fi ", "case {{p}} in *) ", ";; esac ", " | timeout 5 sh; "),
]
WORDS = st.lists(st.sampled_from(ARGUMENTS), min_size=1, max_size=4).map(" ".join)
COMMANDS = st.tuples(
    st.lists(st.sampled_from(WRAPPERS), max_size=2).map("".join), st.sampled_from(PROGRAMS), WORDS
).map("".join)
PROGRAMS_AND_JOINTS = st.lists(
    st.tuples(COMMANDS, st.sampled_from(JOINTS)).map("".join), min_size=1, max_size=3
).flatmap(lambda parts: COMMANDS.map(lambda last: "".join([*parts, last])))
PLAIN = "plainword"
HOSTILE = [
    *("a  b", "'; evil; '", '"; evil; "', "$(evil)`evil`", "x\nE\nevil\n", "*", ") evil ;;", ""),
    *("}; evil; {", "\\", "evil", "./evil", "evil;", "a[$(evil)]", "x[$(evil)]=1", "-exec"),
    *("-v", "-c", "-f", "-e1e evil", "--eval=evil", "-s", "x=$(evil)", "A=1", "-Sevil", "%n", "%d"),
    *("system('evil')", "import os; os.system('evil')", 'BEGIN{system("evil")}', "1e evil", "!"),
    *("--split-string=evil", "-", "--", "=", "(", "-a", "evil\nevil", "f", "/dev/stdin", "-oevil"),
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs that show what they are given, and one that nobody may run."""
    folder = tmp_path_factory.mktemp("programs")
    texts = {"seq": 'for a in "$@"; do printf "[%s]" "$a"; done; echo', "evil": ": > PWNED"}
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def run(shell: tuple[str, ...], script: str, p: str, programs: Path) -> tuple[int, str, list[str]]:
    """Return the exit code, what was printed, and the files that were made."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(programs / "evil", directory)
        with subprocess.Popen(
            [*shell, SHOW + script],
            env={"PATH": f"{programs}:{os.defpath}", "p": p},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=directory,
            start_new_session=True,
        ) as process:
            try:
                told, _ = process.communicate(timeout=30)
            finally:
                # What waits for itself or stays in the background ends with the test.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        files = sorted({*os.listdir(directory)} - {"evil"})
        # A script may print its environment or its number, which differ from run to run.
        shown = os.fsdecode(told).replace(directory, "HERE").replace(str(process.pid), "PID")
        return process.returncode, shown, files


def check(shell: tuple[str, ...], script: str, hostile: str, programs: Path) -> None:
    try:
        made = translate(script, ["p"])
    except ScriptError:
        return
    assume(made != script)
    seen = run(shell, made, hostile, programs)
    assert "PWNED" not in seen[2]
    code, told, files = run(shell, made, PLAIN, programs)
    # What a test comes to may well depend on the value, and a file may have its name.
    if code == 0 and not files and seen[0] == 0 and not seen[2]:
        assert seen[1] in (told.replace(PLAIN, hostile), "") or "[ " in script or "test" in script


@pytest.mark.parametrize("shell", POSIX_SHELLS, ids=" ".join)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=SCRIPTS, hostile=st.sampled_from(HOSTILE))
@example(script="$(printf b){{p}}'{{p}}'\"{{p}}\"", hostile=HOSTILE[1])
@example(script="a <<E\n'\nE\nseq {{p}}", hostile=HOSTILE[2])
@example(script="${x:-b} # '\nseq {{p}}", hostile=HOSTILE[0])
def test_a_script_that_is_accepted_does_the_same_for_every_value(
    programs: Path, shell: tuple[str, ...], script: str, hostile: str
) -> None:
    check(shell, script, hostile, programs)


@pytest.mark.parametrize("shell", POSIX_SHELLS, ids=" ".join)
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=PROGRAMS_AND_JOINTS, hostile=st.sampled_from(HOSTILE))
@example(script="a; sed -n 1,5p {{p}}", hostile="-e1e evil")
@example(script="a; seq {{p}}; $_", hostile="evil")
@example(script="a; x={{p}}; seq $((x))", hostile="a[$(evil)]")
@example(script="a; [ {{p}} {{p}} ]", hostile="-v")
def test_no_wrapper_builtin_or_pipe_makes_a_value_a_program_or_an_argument(
    programs: Path, shell: tuple[str, ...], script: str, hostile: str
) -> None:
    check(shell, script, hostile, programs)


def test_enough_of_the_scripts_are_accepted_for_that_to_mean_something() -> None:
    accepted = 0

    @settings(max_examples=400, deadline=None, database=None, derandomize=True)
    @given(script=PROGRAMS_AND_JOINTS)
    def count(script: str) -> None:
        nonlocal accepted
        try:
            accepted += translate(script, ["p"]) != script
        except ScriptError:
            return

    count()
    assert accepted >= 12


PIECES_OF_LONG_SCRIPTS = [
    *("((", "$((", "$(", "${", "(", "{ ", "x=$y;y=$x\n", "<<E\n", "'", '"$(', "a|", "env ", "! "),
    *(
        "timeout 5 ",
        "find . -exec ",
        "xargs ",
        "case x in a) ",
        "{{p}} ",
        "[ ",
        "if ",
        "\\\n",
        "$x",
    ),
]
_READ: Final = """\
import sys
from mcp_jobs.job_types.yaml.script import LIMIT_CHARS, ScriptError, translate
for piece in sys.argv[1:]:
    long = piece * (LIMIT_CHARS // len(piece))
    for script in (long[:-20] + " {{p}}", "ls {{p}}\\n" + long[:-20], "{{p}}" + 5 * long):
        try:
            translate(script, ["p"])
        except ScriptError as error:
            print(error)
"""


def test_a_long_or_deep_script_is_read_or_refused_soon() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _READ, *PIECES_OF_LONG_SCRIPTS],
        capture_output=True,
        text=True,
        check=True,
        # Each was seen to take less than half a second; hours before.
        timeout=120,
    )
    assert done.stdout.count("has at most 16384 characters") == len(PIECES_OF_LONG_SCRIPTS)
    assert "Traceback" not in done.stderr
