"""The command line works on jobs that outlive it, and says by exit codes what became of them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests import prepared
from tests.support import Place, job_of, open_client, python, start, wait_until

ROOT = Path(__file__).parents[3]
BOUND_S = 60
# The terminal becomes the command's own, so that ^C in it is a SIGINT.
LOGIN = """\
import os, sys
os.login_tty(0)
for fd, name in enumerate(("stdin", "stdout", "stderr")):
    if name in sys.argv[1].split(","):
        os.dup2(os.open(os.devnull, os.O_RDWR), fd)
os.execv(sys.executable, [sys.executable, "-m", "mcp_jobs", *sys.argv[2:]])
"""


def environment(place: Place, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place.root),
        "PYTHONPATH": str(ROOT),
        **place.environment(XDG_CONFIG_HOME=str(place.root / ".config")),
        **more,
    }


def cli(
    place: Place, *arguments: str, input: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    return prepared.run(
        arguments,
        cwd=place.project,
        env=environment(place, **more),
        given=input,
        timeout_s=BOUND_S,
    )


def good(place: Place, *arguments: str) -> str:
    done = cli(place, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def shown(place: Place, *arguments: str) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(good(place, arguments[0], "--json", *arguments[1:]))
    return job


class Terminal:
    """A command with a terminal for stdin, stdout and stderr, or all but some of them."""

    def __init__(
        self, place: Place, *arguments: str, without: Collection[str] = (), **more: str
    ) -> None:
        self._ours, its = pty.openpty()
        self._program = subprocess.Popen(
            [sys.executable, "-c", LOGIN, ",".join(without), *arguments],
            stdin=its,
            stdout=its,
            stderr=its,
            cwd=place.project,
            env=environment(place, **{"TERM": "xterm-256color", "COLUMNS": "160", **more}),
        )
        os.close(its)
        self.text = ""
        self.code: int | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *problem: object) -> None:
        if problem[0] is not None:
            self._program.kill()
        with suppress(OSError):
            while self._read():
                pass
        os.close(self._ours)
        self.code = self._program.wait(BOUND_S)

    def write(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def read_until(self, text: str) -> None:
        self.read_until_true(lambda: text in self.text, text)

    def read_until_true(self, condition: Callable[[], bool], what: str) -> None:
        late_s = time.monotonic() + BOUND_S
        while not condition():
            ready, _, _ = select.select([self._ours], [], [], BOUND_S)
            late = not ready or time.monotonic() > late_s
            assert not late, f"{what!r} did not come: {self.text!r}"
            self._read()

    def _read(self) -> bool:
        data = os.read(self._ours, 65_536)
        self.text += data.decode(errors="replace")
        return bool(data)


def on_terminal(place: Place, *arguments: str, answer: str = "", **more: str) -> tuple[int, str]:
    """Run a command on a terminal to its end."""
    with Terminal(place, *arguments, **more) as terminal:
        terminal.write(answer)
    assert terminal.code is not None
    return terminal.code, terminal.text


def test_a_started_job_outlives_the_command_and_ends_well(place: Place) -> None:
    job_id = good(place, "start", "--", "sh", "-c", "sleep 0.3; echo 'two  words'; pwd").strip()

    waited = cli(place, "wait", job_id)
    assert (waited.returncode, waited.stderr) == (0, "")
    assert re.fullmatch(rf"{job_id} completed after [\d.]+s: sh -c .*\n", waited.stdout)
    assert good(place, "logs", job_id) == f"two  words\n{place.project}\n"
    job = shown(place, "show", job_id)
    assert (job["status"], job["cwd"], job["type"]) == ("completed", str(place.project), "shell")


def test_one_word_is_a_line_for_the_shell_and_several_are_taken_as_they_are(place: Place) -> None:
    line = shown(place, "start", "--wait", "--", "echo $((1 + 1)) '*'")
    words = shown(place, "start", "--wait", "--", "printf", "%s|", "$HOME", "a b", "*", "it's")

    assert line["output"]["text"] == "2 *\n"
    assert words["output"]["text"] == "$HOME|a b|*|it's|"


def test_start_passes_every_option_on(place: Place) -> None:
    (place.project / "below").mkdir()
    options = ["--cwd", "below", "--title", "a name", "--env", "GREETING=hi = there"]
    limits = ["--timeout", "2m", "--idle-timeout", "90", "--retries", "2", "--key", "k"]
    command = ["--wait", "--", 'echo "$GREETING"; pwd']
    first = shown(place, "start", *options, *limits, *command)
    again = shown(place, "start", *options, *limits, *command)

    assert first["output"]["text"] == f"hi = there\n{place.project}/below\n"
    assert (first["title"], first["max_attempts"]) == ("a name", 3)
    assert again["job_id"] == first["job_id"]
    other = cli(place, "start", "--key", "k", "--", "something else")
    assert (other.returncode, other.stdout) == (1, "")
    assert "'k'" in other.stderr


def test_params_are_given_as_json(place: Place) -> None:
    job = shown(place, "start", "--wait", "--params", '{"command": "echo json"}')
    assert job["output"]["text"] == "json\n"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["start"], "after two dashes"),
        (["start", "--params", "{"], "not valid JSON"),
        (["start", "--params", "[]"], "a JSON object"),
        (["start", "--timeout", "soon", "--", "ls"], "90, 10m, 2h"),
        (["start", "--timeout", "0", "--", "ls"], "--timeout: Input should be greater than 0"),
        (["start", "--env", "A", "--", "ls"], "NAME=VALUE"),
        (["start", "--env", "MCP_JOBS_X=1", "--", "ls"], "--env: MCP_JOBS_X is set by mcp-jobs"),
        (["start", "--cwd", "/not/there", "--", "ls"], "--cwd: /not/there does not exist"),
        (["start", "--type", "nope", "--", "ls"], "Only the type shell takes a command"),
        (["list", "--limit", "101"], "--limit: Input should be less than or equal to 100"),
        (["logs", "--raw", "--grep", "x", "any"], "--raw shows bytes"),
        (["logs", "-f", "--json", "any"], "cannot be combined with -f"),
        (["cancel", "--grace", "1000", "any"], "--grace"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_code_2(
    place: Place, arguments: list[str], advice: str
) -> None:
    done = cli(place, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mcp-jobs: ")
    assert advice in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unknown_type_is_named_with_those_there_are(place: Place) -> None:
    done = cli(place, "start", "--type", "nope")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mcp-jobs: There is no job type 'nope'. The types are: shell.\n"


def test_a_program_that_cannot_be_started_is_named_and_what_to_do_next_is_a_command(
    place: Place,
) -> None:
    place.declare("jobs:\n  broken: {description: x, command: [no-such-program]}\n")
    failed = cli(place, "start", "--wait", "--type", "broken")
    assert failed.returncode == 1
    assert "\n  The program no-such-program was not found." in failed.stdout
    job = shown(place, "start", "--", "true")
    assert f"`mcp-jobs wait {job['job_id']}`" in job["next_step"]
    assert cli(place, "wait", job["job_id"]).returncode == 0


def test_an_unknown_command_is_refused_with_a_proposal(place: Place) -> None:
    done = cli(place, "lst")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'list'?" in done.stderr


def test_ids_may_be_cut_when_they_stay_unique(place: Place) -> None:
    ids = [good(place, "start", "--", "true").strip() for _ in range(2)]
    same = [one == other for one, other in zip(*ids, strict=True)]
    shared = ids[0][: same.index(False)]

    for job_id in ids:
        for part in (job_id, job_id[: len(shared) + 1], job_id[-8:], job_id.upper()):
            assert shown(place, "show", part)["job_id"] == job_id
    many = cli(place, "show", shared[:4])
    assert (many.returncode, many.stdout) == (3, "")
    assert all(job_id in many.stderr for job_id in ids)
    assert "Give more of it." in many.stderr
    for unknown in ("zzzz", "0" * 25, ""):
        none = cli(place, "show", unknown)
        assert (none.returncode, none.stdout) == (3, "")
    assert cli(place, "wait", *ids).returncode == 0


def test_wait_tells_each_end_and_fails_when_one_failed(place: Place) -> None:
    ids = [good(place, "start", "--", line).strip() for line in ("true", "exit 3")]

    waited = cli(place, "wait", *ids)
    assert waited.returncode == 1
    assert sorted(line.split()[:2] for line in waited.stdout.splitlines()) == [
        [ids[0], "completed"],
        [ids[1], "failed"],
    ]
    objects = cli(place, "wait", "--json", *ids)
    assert [json.loads(line)["status"] for line in objects.stdout.splitlines()] == [
        "completed",
        "failed",
    ]


def test_wait_gives_up_after_its_time_and_the_job_goes_on(place: Place) -> None:
    job_id = good(place, "start", "--", "exec sleep 600").strip()

    waited = cli(place, "wait", "--timeout", "0.2", job_id)
    assert (waited.returncode, waited.stdout) == (124, "")
    assert shown(place, "show", job_id)["finished_at"] is None
    ended = cli(place, "cancel", job_id)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"{job_id} cancelled" in ended.stdout
    again = cli(place, "cancel", job_id)
    assert (again.returncode, again.stdout) == (0, f"{job_id} had already ended: cancelled\n")


def test_wait_any_returns_at_the_first_end(place: Place) -> None:
    slow = good(place, "start", "--", "exec sleep 600").strip()
    quick = good(place, "start", "--", "true").strip()

    waited = cli(place, "wait", "--any", slow, quick, MCP_JOBS_CAPACITY="4")
    assert waited.returncode == 0
    assert waited.stdout.startswith(f"{quick} completed")
    cli(place, "cancel", slow)


def test_wait_goes_on_when_everything_that_worked_was_killed(place: Place) -> None:
    gate = place.project / "gate"
    job_id = good(place, "start", "--", f"until [ -e {gate} ]; do sleep 0.05; done").strip()
    wait_until(lambda: shown(place, "show", job_id)["status"] == "running")
    for pid in place.processes():
        # The job's own processes come and go.
        with suppress(FileNotFoundError):
            if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, 9)
    gate.touch()

    assert cli(place, "wait", job_id).returncode == 0


def test_retry_starts_the_same_job_again(place: Place) -> None:
    count = place.project / "count"
    line = f"echo x >> {count}; false"
    first = json.loads(
        cli(place, "start", "--json", "--title", "twice", "--wait", "--", line).stdout
    )
    done = cli(place, "retry", "--wait", "--json", first["job_id"])
    again = json.loads(done.stdout)

    assert done.returncode == 1
    assert again["job_id"] != first["job_id"]
    same = ("title", "type", "cwd", "status", "max_attempts")
    assert [again[key] for key in same] == [first[key] for key in same]
    assert count.read_text() == "x\nx\n"


def test_logs_shows_all_a_tail_matches_or_the_bytes(place: Place) -> None:
    text = "".join(f"line {n}\n" for n in range(1, 3001))
    code = f"import sys; sys.stdout.write({text!r} + '\\x1b[31mred\\x1b[0m\\rblue\\n')"
    job_id = shown(place, "start", "--wait", "--", python(code))["job_id"]

    assert good(place, "logs", job_id) == f"{text}blue\n"
    assert good(place, "logs", "--tail", "2", job_id) == "line 3000\nblue\n"
    assert good(place, "logs", "--tail", "0", job_id) == ""
    assert good(place, "logs", "--grep", r"line 29\d\d$", "-n", "1", job_id) == "2999: line 2999\n"
    assert good(place, "logs", "--raw", "--tail", "1", job_id).endswith("\x1b[0m\nblue\n")
    assert good(place, "logs", "--raw", job_id).startswith("line 1\nline 2\n")
    part = shown(place, "logs", "-n", "1", job_id)
    assert (part["job_id"], part["text"], part["lines_total"]) == (job_id, "blue\n", 3001)
    bad = cli(place, "logs", "--grep", "(", job_id)
    assert (bad.returncode, bad.stdout) == (2, "")


@pytest.mark.parametrize("way", [[], ["--raw"], ["--grep", "line"], ["--tail", "10"]])
def test_logs_follows_until_the_end_and_loses_nothing(place: Place, way: list[str]) -> None:
    gate = place.project / "gate"
    script = f"echo line 1; until [ -e {gate} ]; do sleep 0.05; done; echo line 2; echo no end"
    job_id = good(place, "start", "--", script).strip()
    with subprocess.Popen(
        [sys.executable, "-m", "mcp_jobs", "logs", "-f", *way, job_id],
        stdout=subprocess.PIPE,
        text=True,
        cwd=place.project,
        env=environment(place),
    ) as following:
        assert following.stdout is not None
        first = following.stdout.readline()
        gate.touch()
        rest = following.stdout.read()
        assert following.wait(BOUND_S) == 0

    numbered = "--grep" in way
    assert first == ("1: line 1\n" if numbered else "line 1\n")
    assert rest == ("2: line 2\n" if numbered else "line 2\nno end\n")


def test_a_list_is_plain_columns_in_a_pipe_and_json_on_request(place: Place) -> None:
    good(place, "start", "--wait", "--title", "\x1b[2Ja \x07title", "--", "true")
    cli(place, "start", "--wait", "--", "exit 7")

    plain = good(place, "list").splitlines()
    assert plain[0].split() == ["JOB", "STATUS", "STARTED", "TIME", "PROGRESS", "TITLE"]
    assert ["failed (7)" in plain[1], "completed" in plain[2]] == [True, True]
    assert "\x1b" not in "".join(plain)
    listed = shown(place, "list")
    assert [job["exit_code"] for job in listed["jobs"]] == [7, 0]
    assert (listed["counts"]["failed"], listed["next_cursor"]) == (1, None)
    failed = shown(place, "list", "--status", "failed", "--status", "cancelled", "--here")
    assert [job["exit_code"] for job in failed["jobs"]] == [7]
    assert shown(place, "list", "--type", "other")["jobs"] == []


def test_a_terminal_gets_colours_unless_no_color_is_set(place: Place) -> None:
    good(place, "start", "--wait", "--title", "\x1b[2Ja title", "--", "true")

    code, coloured = on_terminal(place, "list")
    _, plain = on_terminal(place, "list", NO_COLOR="1")
    assert (code, "\x1b[32mcompleted" in coloured, "\x1b[2J" in coloured) == (0, True, False)
    assert "completed" in plain
    assert not re.search(r"\x1b\[[\d;]*3[1-7]", plain)


def test_watching_a_list_tells_each_change(place: Place) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mcp_jobs", "list", "--watch", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=place.project,
        env=environment(place),
    ) as watching:
        job_id = good(place, "start", "--", "true").strip()
        assert watching.stdout is not None
        states = list[str]()
        while not states or states[-1] != "completed":
            job = json.loads(watching.stdout.readline())
            assert job["job_id"] == job_id
            states.append(job["status"])
        watching.send_signal(2)
        assert watching.wait(BOUND_S) == 0


async def test_a_job_of_an_agent_is_seen_and_cancelled(place: Place) -> None:
    async with open_client(place) as client:
        job = await start(client, "exec sleep 600")
        listed = await anyio.to_thread.run_sync(shown, place, "list")
        assert [j["job_id"] for j in listed["jobs"]] == [job["job_id"]]
        done = await anyio.to_thread.run_sync(cli, place, "cancel", job["job_id"])
        assert done.returncode == 0
        seen = job_of(await client.call_tool("check_job", {"job_id": job["job_id"]}))
        assert seen["reason"] == "cancelled_by_user"


def test_prune_removes_by_age_and_by_number(place: Place) -> None:
    for _ in range(3):
        good(place, "start", "--wait", "--", "true")

    assert good(place, "prune") == "0 jobs removed.\n"
    assert shown(place, "prune", "--keep", "2") == {"removed": 1}
    assert good(place, "prune", "--older-than", "1d") == "0 jobs removed.\n"
    assert shown(place, "prune", "--older-than", "0.001s") == {"removed": 2}
    assert shown(place, "list")["jobs"] == []


def test_the_types_are_listed_with_their_parameters(place: Place) -> None:
    assert good(place, "types").splitlines()[0] == "shell"
    (shell,) = json.loads(good(place, "types", "--json"))
    assert (shell["name"], list(shell["params"]["properties"])) == (
        "shell",
        ["command", "interpreter"],
    )


def test_without_arguments_a_terminal_is_told_what_there_is(place: Place) -> None:
    code, told = on_terminal(place)
    assert code == 0
    assert "mcp-jobs install HOST" in told
    assert not (place.home / "jobs.db").exists()


def test_a_reader_that_has_enough_is_no_error(place: Place) -> None:
    job_id = shown(place, "start", "--wait", "--", "seq 100000")["job_id"]
    command = f"{sys.executable} -m mcp_jobs logs {job_id} | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        cwd=place.project,
        env=environment(place),
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def complete(place: Place, shell: str, line: str) -> str:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TYPER_COMPLETE_ARGS": line}
    words["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    return cli(place, **{"_MCP_JOBS_COMPLETE": f"complete_{shell}", **words}).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_ids_and_hosts(place: Place, shell: str) -> None:
    commands = complete(place, shell, "mcp-jobs lo")
    assert ("logs" in commands, "cancel" in commands) == (True, False)
    job_id = good(place, "start", "--", "true").strip()
    assert job_id in complete(place, shell, f"mcp-jobs show {job_id[:4]}")
    assert "claude-desktop" in complete(place, shell, "mcp-jobs install clau")
    assert cli(place, "wait", job_id).returncode == 0


def test_completion_is_silent_when_the_home_cannot_be_used(place: Place) -> None:
    (place.home / "jobs.db").write_bytes(b"not a database at all\n" * 100)
    assert complete(place, "bash", "mcp-jobs show 1").strip() == ""


def test_a_terminal_shows_progress_while_it_waits(place: Place) -> None:
    gate = place.project / "gate"
    report = 'echo \'{"percent": 40, "message": "half way"}\' >> "$MCP_JOBS_PROGRESS"'
    line = f"{report}; until [ -e {gate} ]; do sleep 0.05; done"
    with Terminal(place, "start", "--wait", "--", line) as terminal:
        terminal.read_until("half way")
        gate.touch()
        terminal.read_until("completed")
    assert terminal.code == 0


def test_a_watched_list_lives_on_a_terminal_until_ctrl_c(place: Place) -> None:
    with Terminal(place, "list", "--watch") as terminal:
        terminal.read_until("No jobs.")
        good(place, "start", "--title", "seen by watching", "--", "true")
        terminal.read_until("seen by watching")
        terminal.read_until("completed")
        terminal.write("\x03")
    assert terminal.code == 0
