"""The tools of a gantz.yaml: each placeholder is quoted by where it stands, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcp_jobs.execution.shells import Script
from mcp_jobs.job_types.registry import prepare
from tests.declarations import load, problem

REFUSED_SCRIPTS = {
    "cat <<EOF\n{{p}}\nEOF": (1, "{{p}} in a here-document is not allowed"),
    "cat <<-'E F'\n\tx\n\tE F\ncat <<A <<B\nA\n{{p}}\nB": (5, "in a here-document"),
    "echo `ls {{p}}`": (0, "backquotes cannot be read safely; write $(...)"),
    'echo "`ls {{p}}`"': (0, "backquotes cannot be read"),
    "a\necho $(ls {{p}})": (1, "{{p}} inside $(...) is not allowed"),
    'echo "$(ls "{{p}}")"': (0, "inside $(...)"),
    "echo $((1 + {{p}}))": (0, "inside $((...))"),
    "echo ${x:-{{p}}}": (0, "inside ${...}"),
    "eval {{p}}": (0, "eval would run"),
    "x={{p}}\neval $x": (1, "x holds the text of a param and would be read again"),
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
    "[[ {{p}} -gt 1 ]]": (0, "[[ cannot be read safely"),
    "if (( {{p}} > 1 )); then :; fi": (0, "(( ... )) cannot be read safely"),
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
    "sed -n 1,5p -- {{p}} | awk '{print $1}'": "sed -n 1,5p -- \"${p}\" | awk '{print $1}'",
    "if x={{p}} ls {{p}}; then case {{p}} in *) z;; esac; fi": (
        'if x="${p}" ls "${p}"; then case "${p}" in *) z;; esac; fi'
    ),
    "timeout -k 5 10 nice -n 3 env -u A B={{p}} ls {{p}}": (
        'timeout -k 5 10 nice -n 3 env -u A B="${p}" ls "${p}"'
    ),
    "sudo -n -u www stdbuf -oL grep -e x {{p}} | tee {{p}}": (
        'sudo -n -u www stdbuf -oL grep -e x "${p}" | tee "${p}"'
    ),
    "find ./{{p}} -name {{p}} -exec wc -l {} \\;": 'find ./"${p}" -name "${p}" -exec wc -l {} \\;',
    "git commit -m {{p}} && git add -- {{p}}": 'git commit -m "${p}" && git add -- "${p}"',
    'v={{p}}; w=$v; printf "%s\\n" "$w" "${v}"': 'v="${p}"; w=$v; printf "%s\\n" "$w" "${v}"',
    "python3 tools/x.py {{p}}; ./run.sh --to={{p}}; sh -eu a.sh {{p}} < {{p}}": (
        'python3 tools/x.py "${p}"; ./run.sh --to="${p}"; sh -eu a.sh "${p}" < "${p}"'
    ),
    "docker logs {{p}}; curl -d {{p}} 'https://h/{{p}}'": (
        'docker logs "${p}"; curl -d "${p}" \'https://h/\'"${p}"\'\''
    ),
    'for f in {{p}} b; do [ -f "$f" ] && cat "$f" || echo no; done | wc -l': (
        'for f in "${p}" b; do [ -f "$f" ] && cat "$f" || echo no; done | wc -l'
    ),
    "unknown --x | other; echo {{p}}": 'unknown --x | other; echo "${p}"',
    "jq --arg x {{p}} '.a == $x' f.json": "jq --arg x \"${p}\" '.a == $x' f.json",
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
    assert prepare(found.types[0], {"p": "x"}).script == Script(text=KEPT_SCRIPTS[script] + "\n")


def only_problem(tmp_path: Path, script: str) -> str:
    lines = "".join(f"        {line}\n" for line in script.split("\n"))
    text = "tools:\n  - name: a\n    parameters: [{name: p}]\n    script:\n      shell: |\n"
    return problem(tmp_path, text + lines, "gantz.yaml")


# Each of these would let a value become a program, an argument of its own, or code.
READ_AGAIN = [
    *("timeout 5 {{p}}", "timeout {{p}} ls", "timeout -k {{p}} 5 ls", "env {{p}}", "env A=1 {{p}}"),
    *("env -S {{p}}", "env -i PATH={{p}} ls", "nice {{p}}", "nice -n 5 {{p}}", "nohup {{p}}"),
    *("xargs {{p}}", "xargs -n 1 {{p}}", "ls | xargs {{p}}", "find . -exec {{p}} \\;"),
    *(
        "find . -exec sh {} {{p}} \\;",
        "find {{p}}",
        "find {{p}} -name x",
        "find ./{{p}} -exec {} +",
    ),
    *("command {{p}}", "command -p {{p}}", "exec {{p}}", "time {{p}}", "time -p {{p}}"),
    *("stdbuf -oL {{p}}", "setsid {{p}}", "setsid -w {{p}}", "ionice -c 3 {{p}}", "sudo {{p}}"),
    *("sudo -u a {{p}}", "sudo -s {{p}}", "doas {{p}}", "builtin {{p}}", "flock f {{p}}"),
    *("flock f -c {{p}}", "chronic {{p}}", "strace {{p}}", "unshare {{p}}", "systemd-run {{p}}"),
    *(
        "watch {{p}}",
        "setarch {{p}}",
        "busybox {{p}}",
        "env nice timeout 5 {{p}}",
        "my-wrapper {{p}}",
    ),
    *(". {{p}}", ". ./{{p}}", "source {{p}}", "sh {{p}}", "bash ./{{p}}", "python3 {{p}}"),
    *("python3 -m {{p}}", "python3 -m pdb {{p}}", "perl {{p}}", "node -r {{p}} x.js", "make {{p}}"),
    *("make -f {{p}}", "npm run {{p}}", "npx {{p}}", "uvx {{p}}", "pytest {{p}}", "cd {{p}}"),
    *("echo {{p}} | sh", "echo {{p}} | python3", "echo {{p}} | perl", "echo {{p}} | make -f -"),
    *("echo {{p}} | bash -s", "echo {{p}} | timeout 5 sh", "echo {{p}} | env sh", "sh <<< {{p}}"),
    *("echo {{p}} | sh /dev/stdin", "echo {{p}} | python3 -", "echo {{p}} | tee x | sh"),
    *("echo {{p}} | { cat; } | sh", "echo {{p}} | ( sh )", "( echo {{p}} ) | sh", "sh < {{p}}"),
    *("echo {{p}} | if sh; then :; fi", "if echo {{p}}; then :; fi | sh", "exec < {{p}}; sh"),
    *('for x in {{p}}; do echo "$x"; done | sh', "while sh; do :; done < {{p}}"),
    *("echo {{p}} | echo $(sh)", "echo {{p}} | cat > $(sh)", "echo {{p}} > >(sh)"),
    *("tee >(sh) < {{p}}", "cat < {{p}} | sh", "echo {{p}} | while read x; do $x; done"),
    *("case {{p}} in *) echo {{p}};; esac | sh", "echo {{p}} | curl -K -", "echo {{p}} |& sh"),
    *("local x={{p}}", "declare x={{p}}", "typeset x={{p}}", "export x={{p}}", "readonly x={{p}}"),
    *(
        "printf -v {{p}} x",
        "printf {{p}}",
        "printf '%d' {{p}}",
        "printf '%n' {{p}}",
        "test -v {{p}}",
    ),
    *("[ -v {{p}} ]", "[ {{p}} {{p}} ]", "[ {{p}} -eq 1 ]", "[ -R {{p}} ]", "wait -p {{p}}"),
    *(
        "read {{p}}",
        "let {{p}}",
        "trap {{p}} EXIT",
        "alias x={{p}}",
        "unset {{p}}",
        "getopts {{p}} x",
    ),
    *("set -- {{p}}", "[ -n {{p}} -a {{p}} ]", "mapfile -C {{p}}", "kill {{p}}", "exit {{p}}"),
    *(
        "awk {{p}}",
        "awk -f {{p}}",
        "awk -v {{p}} '{print}'",
        "awk '{system($1)}' {{p}}",
        "sed {{p}}",
    ),
    *("sed -e {{p}}", "sed -n 1,5p {{p}}", "sed 's/a/b/e' -- {{p}}", "echo {{p}} | sed 's/x/y/e'"),
    *("echo {{p}} | awk '{print | \"sh\"}'", "sort {{p}}", "git log {{p}}", "git fetch {{p}}"),
    *("git -c {{p}} log", "docker run {{p}}", "docker exec c {{p}}", "redis-cli --eval {{p}}"),
    *("redis-cli {{p}}", "echo {{p}} | redis-cli", "curl {{p}}", "curl -K {{p}}", "jq {{p}}"),
    *("ssh h ls {{p}}", "su -c {{p}}", "crontab {{p}}", "PATH={{p}} ls", "LD_PRELOAD={{p}} ls"),
    *("IFS={{p}}", "BASH_ENV={{p}} bash x", "echo() { $1; }; echo {{p}}", "a=( {{p}} )"),
    *("f {{p}}", "x={{p}}; $x", "x={{p}}; ls $x", 'x={{p}}; y=$x; z="$y"; $z', 'x={{p}}; "$x"'),
    *(
        "echo {{p}}; $_",
        "echo {{p}}; ls $_",
        "echo {{p}} $p",
        "ls $p; echo {{p}}",
        "sh -c '$p' {{p}}",
    ),
    *('sh -c "\\$p"; ls {{p}}', "sh <<E\n$p\nE\nls {{p}}", "sh <<'E'\n$p\nE\nls {{p}}"),
    *("echo $((p)) {{p}}", "x={{p}}; echo $((x + 1))", "echo ${a[p]} {{p}}", "x={{p}}; ls ${x#a}"),
    *("x={{p}}; y=$(ls $x)", 'y=$(ls "$p"); ls {{p}}', "p=1; echo {{p}}", "x=p; ls ${!x} {{p}}"),
    *("timeout $X ls {{p}}", "$CMD {{p}}", "env $X ls {{p}}", "./* {{p}}", "[ $x = {{p}} ]"),
    *("A={{p}} make", "A={{p}} unknown", "env A={{p}} make", "set -k; ls PATH={{p}}"),
    *("export y=$x; x={{p}}; export y=$x", "ev\\\nal {{p}}", 'echo {{p}}; echo "$\\\np"'),
    *('coproc sh; echo {{p}} >&"${COPROC[1]}"', "echo {a,{{p}}}", "select x in {{p}}; do :; done"),
    *(
        "enable -f {{p}} x",
        "hash -p {{p}} ls",
        "declare -n r=p; echo $r {{p}}",
        "echo {{p}} >& {{p}}",
    ),
    *("function echo { sh; }; echo {{p}}", "echo {{p}} <(sh)", "find . -exec find {{p}} \\;"),
    *(
        "xargs -I{} sh -c {{p}}",
        "find . -execdir sh -c {{p}} \\;",
        "/opt/tool {{p}}",
        "~/x {{p}} | sh",
    ),
]


@pytest.mark.parametrize("script", READ_AGAIN)
def test_a_value_that_would_be_read_again_is_refused(tmp_path: Path, script: str) -> None:
    message = only_problem(tmp_path, script)
    assert "tools[0].script.shell: " in message


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
    script = prepare(types["check_job"], {"job_id": "7"}).script
    assert script == Script(text='redis-cli hgetall "job:${job_id}"')
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


def test_the_scripts_of_a_file_are_read_up_to_a_limit_together(tmp_path: Path) -> None:
    line = "        echo {{p}} " + "x" * 15_000 + "\n"
    tools = "".join(
        f"  - name: t{number}\n    parameters: [{{name: p}}]\n    script:\n      shell: |\n{line}"
        for number in range(6)
    )
    found = load(tmp_path, f"tools:\n{tools}", "gantz.yaml")

    assert [job_type.name for job_type in found.types] == ["t0", "t1", "t2", "t3"]
    assert all("at most 65536 characters together" in str(one) for one in found.problems)


def test_a_script_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert "has at most 16384 characters" in only_problem(tmp_path, "(" * 20_000 + " {{p}}")
