"""Files of job types: what is accepted, and that every mistake is told with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_jobs.domain.policy import DEFAULT, Policy, RetryOn, as_stored, from_stored
from mcp_jobs.job_types import yaml
from mcp_jobs.job_types.registry import Callers, JobType, prepare, question_of
from tests.declarations import RESERVED, load, problem


def one(tmp_path: Path, entry: str) -> JobType:
    """Load a file with one type, whose lines below the description are given."""
    found = load(tmp_path, f"jobs:\n  a:\n    description: d\n{entry}")
    assert [str(problem) for problem in found.problems] == []
    (job_type,) = found.types
    return job_type


# -- what YAML may be ------------------------------------------------------------------------------

REFUSED_YAML: dict[str, tuple[str | bytes, str]] = {
    "an anchor": ("jobs: &a {}\n", "1: anchors (&a) are not allowed"),
    "an alias": ("a: 1\njobs: *a\n", "2: aliases (*a) are not allowed"),
    "a bomb": (
        "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\njobs: *c\n",
        "1: anchors (&a) are not allowed",
    ),
    "a merge key": ("jobs:\n  <<: {a: b}\n", "2: merge keys (<<) are not allowed"),
    "a tag": ("jobs:\n  a: !!python/object/apply:os.system [id]\n", "2: tags (tag:yaml.org,2002:"),
    "a local tag": ("jobs: !x {}\n", "1: tags (!x) are not allowed"),
    "a plain tag": ("jobs: {a: !!str 1}\n", "1: tags (tag:yaml.org,2002:str) are not allowed"),
    "a key twice": (
        "jobs:\n  a: {}\n  b: {}\n  a: {}\n",
        "4: the key 'a' is there twice",
    ),
    "two documents": ("jobs: {}\n---\njobs: {}\n", "2: only one document is allowed"),
    "a key that is a list": ("jobs:\n  [a]: b\n", "2: a key must be a single word"),
    "depth": ("jobs: " + "[" * 100 + "]" * 100, "1: nested deeper than 20 levels"),
    "no YAML": ("jobs:\n  a: [b\n", "3: this is not YAML"),
    "a control character": ("jobs:\n  a: \x00\n", "2: a control character"),
    "no UTF-8": (b"jobs:\n  a: \xff\n", "2: this is not UTF-8"),
    "size": ("#" * (1 << 20) + "\njobs: {}", "1: it cannot be read: a file of 1048585 bytes"),
    "nothing": ("# only a comment\n", "1: the file is empty; it needs the key jobs"),
    "a list": ("- a\n", "1: a mapping is needed here, not a list"),
    "another key": ("job: {}\n", "1: there is no key 'job' here; did you mean jobs?"),
    "no key": ("{}\n", '1: the key "jobs" is missing'),
}


@pytest.mark.parametrize("name", REFUSED_YAML)
def test_what_yaml_may_not_hold_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    text, told = REFUSED_YAML[name]
    assert problem(tmp_path, text).startswith(told)


def test_plain_words_mean_what_yaml_1_2_says(tmp_path: Path) -> None:
    job_type = one(
        tmp_path,
        "    params:\n"
        "      a: {enum: [no, yes, on, off, 1.10, 010, 12:30, 2026-11-23, ~x]}\n"
        "    command: [echo, 1.10, no, 0x10, '{a}']\n",
    )
    allowed = ["no", "yes", "on", "off", "1.10", "010", "12:30", "2026-11-23", "~x"]
    assert job_type.params.schema()["properties"]["a"]["enum"] == allowed
    assert prepare(job_type, {"a": "no"}).argv == ("echo", "1.10", "no", "0x10", "no")


# -- entries ---------------------------------------------------------------------------------------


def test_an_entry_with_everything_is_read(tmp_path: Path) -> None:
    job_type = one(
        tmp_path,
        """\
    params:
      where: {type: string, enum: [staging, production], required: true, description: The place}
      count: {type: integer, default: 3, minimum: 1, maximum: 9}
      share: {type: number, default: 0.5}
      dry: {type: boolean, default: false}
      word: {pattern: '^[a-z]+$', minLength: 2, maxLength: 5}
    command: [./deploy, "--to={where}", "{count}", "{share}", "{dry}", "{word}", "{{x}}"]
    cwd: ops
    env: {MODE: fast, LEVEL: 3}
    timeout: 10m
    idle_timeout: 90
    retries:
      count: 2
      backoff: linear
      delay: 30 s
      on: {exit_codes: [75, 111], output: "reset by peer", timeout: true, interrupt: true}
    progress: '(?P<current>[0-9]+) of (?P<total>[0-9]+)'
    success_codes: [0, 3]
    confirm: Deploy to production?
    output_limit: 2 MiB
    detach: true
    webhook: {url: "https://example.org/hook", on: failed}
    expose: tool
    annotations: {idempotent: true}
""",
    )
    prepared = prepare(job_type, {"where": "staging", "count": 4.0})

    assert prepared.argv == ("./deploy", "--to=staging", "4", "0.5", "false", "{x}")
    assert prepared.title == "a where=staging count=4 share=0.5 dry=false"
    assert question_of(job_type, {"where": "staging", "count": 4.0}, besides={}) == (
        'Deploy to production?\na\n  where: "staging"\n  count: 4.0\n  share: 0.5 (default)\n'
        "  dry: false (default)\n  word: -"
    )
    assert job_type.cwd == str(tmp_path / "ops")
    assert dict(job_type.env) == {"MODE": "fast", "LEVEL": "3"}
    assert (job_type.timeout_s, job_type.timeout_is_limit, job_type.idle_timeout_s) == (
        600,
        True,
        90,
    )
    assert (job_type.max_retries, job_type.retry_on_interrupt) == (2, True)
    assert (job_type.expose, dict(job_type.annotations)) == (True, {"idempotent": True})
    assert job_type.policy == Policy(
        backoff="linear",
        delay_s=30.0,
        retry_on=RetryOn(exit_codes=(75, 111), output=("reset by peer",), timeout=True),
        success_codes=(0, 3),
        progress="(?P<current>[0-9]+) of (?P<total>[0-9]+)",
        output_limit_bytes=2 << 20,
        detach=True,
        webhook={"url": "https://example.org/hook", "on": ["failed"]},
    )
    assert from_stored(as_stored(job_type.policy)) == job_type.policy


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    job_type = one(tmp_path, "    command: [make]\n")

    assert prepare(job_type, {}).argv == ("make",)
    assert (job_type.timeout_s, job_type.timeout_is_limit) == (600.0, False)
    assert (job_type.cwd, job_type.callers, job_type.expose) == (str(tmp_path), Callers(), False)
    assert (job_type.max_retries, job_type.confirm, job_type.policy) == (0, False, DEFAULT)
    assert as_stored(DEFAULT) == {}


def test_no_time_limit_must_be_said(tmp_path: Path) -> None:
    assert one(tmp_path, "    command: [make]\n    timeout: none\n").timeout_s is None


def test_params_may_be_a_whole_schema(tmp_path: Path) -> None:
    job_type = one(
        tmp_path,
        "    params: {type: object, properties: {a: {type: integer}}, required: [a]}\n"
        "    shell: echo $a\n",
    )
    assert job_type.params.schema() == {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }


REFUSED_ENTRIES = {
    "timout: 5": "4: jobs.a: there is no key 'timout' here; did you mean timeout? Allowed are",
    "timeout: 5x": "4: jobs.a.timeout: this is not a duration; allowed are seconds, or a number",
    "timeout: 0": "4: jobs.a.timeout: this is not allowed; allowed is more than 0",
    "timeout: [5]": "4: jobs.a.timeout: a single value is needed here, not a list",
    "retries: -1": "4: jobs.a.retries: this is not allowed; allowed is 0 to 100",
    "retries: {on: {timeout: true}}": "4: jobs.a.retries: count is missing",
    "retries: {count: 1, backoff: slow}": (
        "4: jobs.a.retries.backoff: this is not allowed; allowed are exponential, linear"
    ),
    "retries: {count: 1, delay: 10m}": "4: jobs.a.retries.delay: at most 300 s are allowed",
    "retries: {count: 1, on: {exit_codes: 256}}": (
        "4: jobs.a.retries.on.exit_codes: this is not allowed; allowed is 0 to 255"
    ),
    "retries: {count: 1, on: {output: '('}}": (
        "4: jobs.a.retries.on.output: this is not a regular expression"
    ),
    "success_codes: []": "4: jobs.a.success_codes: at least one exit code is needed here",
    "output_limit: lots": "4: jobs.a.output_limit: this is not a size",
    "detach: maybe": "4: jobs.a.detach: true or false is needed here, not a text",
    "webhook: ftp://x": "4: jobs.a.webhook: this URL cannot be used: only http and https",
    "webhook: http://127.0.0.1:99999/": "4: jobs.a.webhook: this URL cannot be used: its port",
    "webhook: https://bücher.example/": "4: jobs.a.webhook: this URL cannot be used: an http",
    "webhook: {url: 'https://u:pw@a.example/'}": (
        "4: jobs.a.webhook.url: this URL cannot be used: a user name or a password"
    ),
    "webhook: {on: failed}": "4: jobs.a.webhook: url is missing",
    "expose: true": "4: jobs.a.expose: this is not allowed; allowed are tool",
    "annotations: {safe: true}": "4: jobs.a.annotations: there is no key 'safe' here",
    "env: {MCP_JOBS_HOME: x}": "4: jobs.a.env.MCP_JOBS_HOME: 'MCP_JOBS_HOME' cannot be the name",
    "env: {A-B: x}": "4: jobs.a.env.A-B: 'A-B' cannot be the name of a variable",
    "shell: echo": "3: jobs.a: either command or shell is needed, and not both",
    "params: {p: {}}": "5: jobs.a.command: the param 'p' is not used",
    "params: {p-q: {}}": "4: jobs.a.params.p-q: 'p-q' cannot be the name of a param",
    "params: {p: {type: text}}": "4: jobs.a.params.p.type: this is not allowed; allowed",
    "params: {p: {typ: string}}": "4: jobs.a.params.p: there is no key 'typ' here; did you",
    "params: {p: {default: 5, type: boolean}}": (
        "4: jobs.a.params.p.default: true or false is needed here, and not a value"
    ),
    "params: {p: {default: x, enum: [a]}}": (
        '4: jobs.a.params.p.default: the default does not fit the param: it must be one of "a"'
    ),
    "params: {p: {default: A, pattern: '^[a-z]$'}}": (
        "4: jobs.a.params.p.default: the default does not fit the param: it must match ^[a-z]$"
    ),
    "params: {p: {default: x, required: true}}": (
        "4: jobs.a.params.p.default: a required param has no default"
    ),
    "params: {p: {type: integer, pattern: x}}": (
        "4: jobs.a.params.p.pattern: pattern is only for params of the type string"
    ),
    "params: {p: {enum: []}}": "4: jobs.a.params.p.enum: at least one value is needed here",
}


@pytest.mark.parametrize("entry", REFUSED_ENTRIES)
def test_a_mistake_in_an_entry_is_told_with_line_key_and_what_is_allowed(
    tmp_path: Path, entry: str
) -> None:
    text = f"jobs:\n  a:\n    description: d\n    {entry}\n    command: [make]\n"
    assert problem(tmp_path, text).startswith(REFUSED_ENTRIES[entry])


REFUSED_COMMANDS = {
    "command: make": "4: jobs.a.command: a list is needed here, such as",
    "command: []": "4: jobs.a.command: at least the program is needed here",
    "command: ['{p}']": "4: jobs.a.command[0]: there is no param 'p'; there are none.",
    "command: [a, '{']": "4: jobs.a.command[1]: a single { is not allowed; write {name} for",
    "command: [a, 'x}']": "4: jobs.a.command[1]: a single } is not allowed",
    "command: [a, {b: c}]": "4: jobs.a.command[1]: a text is needed here, not a mapping",
    "command: [a, null]": "4: jobs.a.command[1]: a text is needed here, not null",
    "shell: ''": "4: jobs.a.shell: this must not be empty",
    "cwd: x": "3: jobs.a: either command or shell is needed",
}


@pytest.mark.parametrize("entry", REFUSED_COMMANDS)
def test_a_mistake_in_a_command_is_told(tmp_path: Path, entry: str) -> None:
    text = f"jobs:\n  a:\n    description: d\n    {entry}\n"
    assert problem(tmp_path, text).startswith(REFUSED_COMMANDS[entry])


def test_the_program_is_not_the_callers_choice(tmp_path: Path) -> None:
    text = "jobs:\n  a:\n    description: d\n    params: {p: {}}\n    command: ['x{p}', '{p}']\n"
    assert "5: jobs.a.command: the program must be a fixed name" in problem(tmp_path, text)


@pytest.mark.parametrize("name", ["1a", "a b", "", "a" * 65, "é"])
def test_a_name_that_no_tool_could_have_is_refused(tmp_path: Path, name: str) -> None:
    text = f"jobs:\n\n  '{name}': {{description: d, command: [make]}}\n"
    assert problem(tmp_path, text).startswith(f"3: jobs.{name}: '{name}' cannot be the name")


def test_shell_and_the_names_of_our_tools_are_taken(tmp_path: Path) -> None:
    text = "jobs:\n  shell: {description: d, command: [make]}\n"
    assert "2: jobs.shell: the name 'shell' is taken" in problem(tmp_path, text)
    text = "jobs:\n  check_job: {description: d, command: [make], expose: tool}\n"
    assert "there is a tool check_job already" in problem(tmp_path, text)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "IFS", "ENV", "LD_PRELOAD", "DYLD_X", "PYTHONPATH", "MCP_JOBS_HOME", "_"),
        *(
            "BASH_ENV",
            "PS4",
            "SHELLOPTS",
            "GIT_SSH_COMMAND",
            "NODE_OPTIONS",
            "http_proxy",
            "TMPDIR",
        ),
    ],
)
@pytest.mark.parametrize("format_", ["jobs", "gantz"])
def test_a_variable_that_would_change_what_runs_is_refused(
    tmp_path: Path, name: str, format_: str
) -> None:
    text = (
        f"jobs:\n  a:\n    description: d\n    shell: echo\n    params:\n      {name}: {{}}\n"
        if format_ == "jobs"
        else "tools:\n  - name: a\n    script: {shell: echo}\n    parameters:\n\n"
        f"      - name: {name}\n"
    )
    told = problem(tmp_path, text)
    assert told.startswith("6: ")
    assert f"the param {name!r} would become the environment variable {name}" in told


def test_every_mistake_of_a_file_is_told(tmp_path: Path) -> None:
    found = load(tmp_path, "jobs:\n  a: {}\n  b: {description: d, command: [x]}\n  c: []\n")
    assert [problem.line for problem in found.problems] == [2, 4]
    assert not found.whole


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    found = yaml.load(tmp_path, base=None, reserved=RESERVED)
    assert [str(p) for p in found.problems] == [f"{tmp_path}:1: it cannot be read: a directory"]


def test_a_file_of_no_project_needs_absolute_directories(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text("jobs: {a: {description: d, command: [x], cwd: y}}", "utf-8")
    found = yaml.load(path, base=None, reserved=RESERVED)
    assert "only an absolute path is allowed" in str(found.problems[0])


# -- a command, which no shell sees ----------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        *("timeout, '5', '{p}'", "env, '{p}'", "env, A=1, '{p}'", "nice, -n, '3', '{p}'"),
        *("nohup, '{p}'", "xargs, '{p}'", "find, ., -exec, '{p}', ;", "sudo, -u, a, '{p}'"),
        *("sh, -c, 'ls {p}'", "bash, -lc, '{p}'", "python3, -c, '{p}'", "perl, -e, 'print {p}'"),
        *("node, --eval, '{p}'", "bash, '{p}'", "python3, '{p}'", "python3, -m, '{p}'"),
        *("awk, '{p}', f", "sed, 's/a/{p}/', f", "sed, -e, '{p}'", "ssh, host, '{p}'"),
        *("timeout, '5', sh, -c, '{p}'", "env, -i, 'PATH={p}', ls", "npx, '{p}'", "watch, '{p}'"),
        *("find, ., -exec, sh, -c, '{p}', ;", "xargs, sh, -c, '{p}'", "env, -S, '{p}'"),
    ],
)
def test_a_command_in_which_a_param_would_choose_what_runs_is_refused(
    tmp_path: Path, command: str
) -> None:
    text = f"jobs: {{a: {{description: d, params: {{p: {{}}}}, command: [{command}]}}}}"
    assert "jobs.a.command: " in problem(tmp_path, text)


@pytest.mark.parametrize(
    "command",
    [
        *("timeout, '5', ls, '{p}'", "env, 'A={p}', ls", "python3, -m, unittest, discover, '{p}'"),
        *("uv, run, pytest, '{p}'", "npm, test, --, '{p}'", "sh, -c, 'ls \"$0\"', '{p}'"),
        *(
            "python3, x.py, '{p}'",
            "bash, 'scripts/{p}.sh'",
            "awk, '{{print}}', '{p}'",
            "make, '{p}'",
        ),
        *("find, '{p}', -name, x", "docker, exec, c, ls, '{p}'", "sed, -n, 1p, '{p}'"),
    ],
)
def test_a_command_that_gives_a_param_to_a_fixed_program_is_read(
    tmp_path: Path, command: str
) -> None:
    text = f"jobs: {{a: {{description: d, params: {{p: {{}}}}, command: [{command}]}}}}"
    assert [str(one) for one in load(tmp_path, text).problems] == []


# -- order -----------------------------------------------------------------------------------------


def test_an_entry_says_its_priority_and_its_locks_and_the_file_their_capacities(
    tmp_path: Path,
) -> None:
    entry = "    command: [a]\n    priority: -7\n    locks: [gpu, 'db of {project}']\n"
    found = load(tmp_path, f"locks: {{gpu: 2}}\njobs:\n  a:\n    description: d\n{entry}")
    (job_type,) = found.types
    assert (job_type.priority, job_type.locks) == (-7, ("gpu", "db of {project}"))
    assert job_type.capacities == {"gpu": 2}
    plain = one(tmp_path, "    command: [a]\n    locks: gpu\n")
    assert (plain.priority, plain.locks, plain.capacities) == (0, ("gpu",), {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("jobs: {}\nlocks: [gpu]\n", "2: locks: a mapping is needed here"),
        ("jobs: {}\nlocks:\n  gpu: 0\n", "3: locks.gpu: this is not allowed; allowed is 1 to 1000"),
        ("jobs: {}\nlocks:\n  'x{y}': 1\n", "3: locks: 'x{y}' cannot be the name of a lock"),
    ],
)
def test_what_cannot_be_a_capacity_is_told_with_its_line(
    tmp_path: Path, text: str, told: str
) -> None:
    assert problem(tmp_path, text).startswith(told)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("priority: 101", "5: jobs.a.priority: this is not allowed; allowed is -100 to 100"),
        ("locks: ['']", "5: jobs.a.locks[0]: this must not be empty"),
        ("locks: ['{x}']", "5: jobs.a.locks[0]: '{x}' cannot be the name of a lock"),
        ("locks: [a, b, c, d, e, f, g, h, i]", "5: jobs.a.locks: a job holds at most 8 locks"),
    ],
)
def test_what_cannot_be_a_priority_or_a_lock_is_told_with_its_line(
    tmp_path: Path, entry: str, told: str
) -> None:
    text = f"jobs:\n  a:\n    description: d\n    command: [a]\n    {entry}\n"
    assert problem(tmp_path, text).startswith(told)
