"""The tools of a gantz.yaml: each placeholder is quoted by where it stands, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcp_jobs.registry import prepare
from tests.unit.declarations import load, problem

REFUSED_SCRIPTS = {
    "cat <<EOF\n{{p}}\nEOF": (1, "{{p}} in a here-document is not allowed"),
    "cat <<-'E F'\n\tx\n\tE F\ncat <<A <<B\nA\n{{p}}\nB": (5, "in a here-document"),
    "echo `ls {{p}}`": (0, "{{p}} inside backquotes is not allowed"),
    'echo "`ls {{p}}`"': (0, "inside backquotes"),
    "a\necho $(ls {{p}})": (1, "{{p}} inside $(...) is not allowed"),
    'echo "$(ls "{{p}}")"': (0, "inside $(...)"),
    "echo $((1 + {{p}}))": (0, "inside $((...))"),
    "echo ${x:-{{p}}}": (0, "inside ${...}"),
    "eval {{p}}": (0, "eval would read"),
    "x={{p}}\neval $x": (1, "eval would run the text of a param"),
    "echo {{p}}; y=$(eval $x)": (0, "eval would run"),
    "sh -c 'ls {{p}}'": (0, "sh -c would read the text of a param as code"),
    '/bin/bash -lc "ls {{p}}"': (0, "bash -lc"),
    "env A=1 python3 -c 'print({{p}})'": (0, "python3 -c"),
    "ssh host ls {{p}}": (0, "ssh would read"),
    "trap 'rm {{p}}' EXIT": (0, "trap would read"),
    "awk '/{{p}}/ {print}' file": (0, "awk would read"),
    "sed -i s/a/{{p}}/ file": (0, "sed would read"),
    "{{p}} x": (0, "a param cannot be the name of the program"),
    "a=1 b={{p}} exec ./{{p}}.sh": (0, "a param cannot be the name of the program"),
    "if {{p}}; then :; fi": (0, "a param cannot be the name of the program"),
    "echo {{p}} | sh": (0, "sh would read the text of a param as commands or arguments"),
    "echo {{p}} 2>&1 | grep x | xargs rm": (0, "xargs would read"),
    "for i in 1; do echo {{p}}; done | sh": (0, "sh would read"),
    "[[ {{p}} -gt 1 ]]": (0, "inside [[ ... ]] would be evaluated"),
    "if (( {{p}} > 1 )); then :; fi": (0, "inside (( ... )) would be evaluated"),
    "echo \\{{p}}": (0, "a backslash before a placeholder"),
    'echo "\\{{p}}"': (0, "a backslash before a placeholder"),
    "echo ${{p}}": (0, "a $ before a placeholder"),
    'echo "$' + "{{p}}" + '"': (0, "a $ before a placeholder"),
    "echo $'a\\'b' {{p}}": (0, "means different things to different shells"),
    'echo ${x:-"a}"} {{p}}': (0, "cannot be read safely"),
    "echo $(case x in x) echo;; esac) {{p}}": (0, "case inside $(...)"),
    "echo {{p}} 'it": (0, "a quote is not closed"),
    "echo {{p}} $(ls": (0, "$( is not closed"),
    "echo\necho {{q}}": (1, "there is no parameter 'q'; the parameters are: p"),
}


@pytest.mark.parametrize("script", REFUSED_SCRIPTS)
def test_a_placeholder_in_a_dangerous_place_is_refused_with_its_line(
    tmp_path: Path, script: str
) -> None:
    offset, told = REFUSED_SCRIPTS[script]
    lines = "".join(f"        {line}\n" for line in script.split("\n"))
    text = "tools:\n  - name: a\n    parameters: [{name: p}]\n    script:\n      shell: |\n" + lines
    message = problem(tmp_path, text, "gantz.yaml")
    assert message.startswith(f"{6 + offset}: tools[0].script.shell: ")
    assert told in message


KEPT_SCRIPTS = {
    "echo {{p}}": 'echo "${p}"',
    'echo "a {{ p }} b"': 'echo "a ${p} b"',
    "echo 'a {{p}} b'": "echo 'a '\"${p}\"' b'",
    'x=$(uuidgen) # don\'t\necho "$x" {{p}}': 'x=$(uuidgen) # don\'t\necho "$x" "${p}"',
    "cat <<EOF | grep x\nit's\nEOF\necho {{p}}": 'cat <<EOF | grep x\nit\'s\nEOF\necho "${p}"',
    "echo $((1 << 2)) ${#x} ${x%%.*} {{p}}": 'echo $((1 << 2)) ${#x} ${x%%.*} "${p}"',
    "docker ps --format '{{.Names}}' {{p}}": "docker ps --format '{{.Names}}' \"${p}\"",
    "sh script.sh {{p}} >&2 && echo \\' done": 'sh script.sh "${p}" >&2 && echo \\\' done',
    "sed -n 1,5p {{p}} | awk '{print $1}'": "sed -n 1,5p \"${p}\" | awk '{print $1}'",
    "if x={{p}} y {{p}}; then case {{p}} in *) z;; esac; fi": (
        'if x="${p}" y "${p}"; then case "${p}" in *) z;; esac; fi'
    ),
    "echo 'no placeholder' | sh; eval x": "echo 'no placeholder' | sh; eval x",
}


@pytest.mark.parametrize("script", KEPT_SCRIPTS)
def test_a_placeholder_is_replaced_by_where_it_stands(tmp_path: Path, script: str) -> None:
    lines = "".join(f"        {line}\n" for line in script.split("\n"))
    found = load(
        tmp_path,
        "tools:\n  - name: a\n    parameters: [{name: p}]\n    script:\n      shell: |\n" + lines,
    )
    assert [str(p) for p in found.problems] == []
    assert prepare(found.types[0], {"p": "x"}).argv == (
        "/bin/sh",
        "-c",
        KEPT_SCRIPTS[script] + "\n",
    )


ARTICLE = """\
# gantz.yaml
name: my-tools
tools:
  - name: run_tests
    description: Run tests in background. Returns job ID.
    parameters:
      - name: command
        type: string
        default: "npm test"
    script:
      shell: |
        job_id=$(uuidgen)
        echo '{"type":"run_tests","command":"{{command}}"}' | redis-cli lpush jobs -
        echo "Job started: $job_id"
  - name: check_job
    description: Check background job status
    parameters: [{name: job_id, type: string, required: true}]
    script:
      shell: redis-cli hgetall "job:{{job_id}}"
  - name: cancel_job
    parameters: [{name: job_id, type: string, required: true}]
    script: {shell: 'redis-cli hset "job:{{job_id}}" status cancelled'}
  - name: other
    script: {command: python, args: [x]}
"""


def test_a_gantz_file_is_accepted_as_it_is(tmp_path: Path) -> None:
    found = load(tmp_path, ARTICLE, "gantz.yaml")
    types = {job_type.name: job_type for job_type in found.types}
    told = [str(p).removeprefix(f"{tmp_path}/gantz.yaml:") for p in found.problems]

    assert {name: t.expose for name, t in types.items()} == {
        "run_tests": True,
        "check_job": False,
        "cancel_job": False,
    }
    assert told[0].startswith("15: tools[1]: there is a tool check_job already, which stays")
    assert told[1].startswith("20: tools[2]: there is a tool cancel_job already, which stays")
    assert told[2].startswith("24: tools[3].script: there is no key 'command' here")
    assert prepare(types["run_tests"], {}).env == {"command": "npm test"}
    assert (
        prepare(types["check_job"], {"job_id": "7"}).argv[2] == 'redis-cli hgetall "job:${job_id}"'
    )
    assert found.whole


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tools: {}\n", "1: tools: a list is needed here, not a mapping"),
        ("tools:\n  - script: {shell: x}\n", "2: tools[0]: name is missing"),
        ("tools:\n  - name: a\n", "2: tools[0]: script is missing"),
        ("tools:\n  - name: a\n    script: {}\n", "3: tools[0].script: shell is missing"),
        (
            "tools:\n  - name: a\n    script: {shell: x}\n    parameters: [{type: string}]\n",
            "4: tools[0].parameters[0]: name is missing",
        ),
        (
            "tools:\n  - {name: a, script: {shell: x}}\n  - {name: a, script: {shell: y}}\n",
            "3: tools[1]: there are two tools 'a'",
        ),
    ],
)
def test_a_mistake_in_a_gantz_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    assert problem(tmp_path, text, "gantz.yaml").startswith(told)


def test_names_of_types_in_a_gantz_file_may_be_short(tmp_path: Path) -> None:
    text = (
        "tools:\n  - name: a\n    script: {shell: 'echo {{n}}'}\n"
        "    parameters: [{name: n, type: int, default: 5, required: true}]\n"
    )
    (job_type,) = load(tmp_path, text).types
    expected: dict[str, Any] = {"n": {"type": "integer", "default": 5}}
    assert job_type.params.schema()["properties"] == expected
