"""What the documentation says is so, and what there is, it says."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from mcp_jobs.__main__ import PLAIN_COMMANDS
from mcp_jobs.domain.secrecy import SECRET_PATTERNS
from mcp_jobs.domain.states import Reason, Status, mermaid
from mcp_jobs.execution.launcher import layout
from mcp_jobs.interfaces.cli import exits
from mcp_jobs.interfaces.cli.commands import application
from mcp_jobs.interfaces.cli.hosts.known_hosts import HOSTS
from mcp_jobs.interfaces.mcp.tools.schemas import JOB_RESULT
from mcp_jobs.service.requests import CancelJob, CheckJob, ListJobs, StartJob
from mcp_jobs.settings import Settings
from scripts import job_fields
from tests.markdown import DOCS, README, ROOT, anchors, blocks, files, links, names, rows, section

TOOLS: dict[str, type[BaseModel]] = {
    "start_job": StartJob,
    "check_job": CheckJob,
    "cancel_job": CancelJob,
    "list_jobs": ListJobs,
}
TOOLS_PAGE = DOCS / "tools.md"
COMPUTED_DEFAULTS = {
    "home": "the platform's state directory",
    "capacity": "the number of CPU cores",
}
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SCRIPTS = PYPROJECT["project"]["scripts"]
LINTER = PYPROJECT["tool"]["importlinter"]
PACKAGE = ROOT / "mcp_jobs"
ARCHITECTURE = DOCS / "architecture.md"
CHANGES = [
    "a state",
    "a job field",
    "a recogniser",
    "a host",
    "the backoff",
    "a REST route",
    "a webhook field",
    "the output cap",
    "a schedule field",
    "a CLI command",
    "an engine",
]
_SUFFIXES = (".py", ".md", ".sql", ".toml")
_BLOCK = re.MULTILINE | re.DOTALL


def test_the_readme_is_short_and_leaves_settings_to_their_page() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 185
    assert len(text.split()) <= 1600
    assert [name for name in Settings.model_fields if f"MCP_JOBS_{name.upper()}" in text] == []


def test_the_readme_begins_with_the_recording_and_the_comparison() -> None:
    before, _, _ = README.read_text("utf-8").partition("\n## ")
    assert before.index("](docs/demo.svg)") < before.index("| mcp-jobs |")


def test_the_configuration_page_documents_every_setting_with_its_limits() -> None:
    path = DOCS / "configuration.md"
    told = {names(row[0])[0]: row for row in rows(path.read_text("utf-8"))[1:]}
    assert sorted(told) == sorted(f"MCP_JOBS_{name.upper()}" for name in Settings.model_fields)
    for name, field in Settings.model_fields.items():
        variable, default, allowed = told[f"MCP_JOBS_{name.upper()}"]
        assert f"(#mcp_jobs_{name})" in variable
        assert default.partition(" (")[0] == _default_of_setting(name, field)
        limits = [m.ge if hasattr(m, "ge") else m.le for m in field.metadata if not _above(m)]
        assert re.findall(r"\d{2,}|[1-9]", allowed) == [
            str(int(limit)) for limit in limits if limit
        ]
        assert len(section(path, f"MCP_JOBS_{name.upper()}")) > 50


def test_the_configuration_page_names_every_pattern_of_secrets() -> None:
    told = names(section(DOCS / "configuration.md", "MCP_JOBS_PASS_ENV"))
    assert [p.strip("*") for p in SECRET_PATTERNS if p.strip("*") not in told] == []


def test_every_tool_argument_is_documented_with_its_default() -> None:
    tool, told = "", dict[tuple[str, str], str]()
    for row in rows(section(TOOLS_PAGE, "The four tools"))[1:]:
        tool = names(row[0])[0] if row[0] else tool
        told[tool, names(row[1])[0]] = row[2].strip("`")
    fields = {(t, name): f for t, model in TOOLS.items() for name, f in model.model_fields.items()}
    assert list(told) == list(fields)
    for place, field in fields.items():
        if field.is_required():
            assert told[place] == "", place
        elif field.default is None:
            assert re.fullmatch(r"none|any|the [a-z']+", told[place]), place
        else:
            assert told[place] == json.dumps(field.default), place


@pytest.mark.parametrize("kind", [Status, Reason])
def test_every_state_and_every_reason_is_documented(kind: type[Status | Reason]) -> None:
    heading = f"`{kind.__name__.lower()}`"
    lines = section(TOOLS_PAGE, "States").splitlines()
    table = lines[next(i for i, line in enumerate(lines) if line.startswith(f"| {heading}")) :]
    table = table[: table.index("")]
    told = [name for row in rows("\n".join(table))[1:] for name in names(row[0])]
    assert sorted(told) == sorted(kind)


def test_the_example_of_a_job_is_one() -> None:
    (block,) = (b for b in blocks(TOOLS_PAGE, "json") if '"job_id"' in b.text)
    job = json.loads(block.text)
    jsonschema.validate({**dict.fromkeys(JOB_RESULT["required"]), **job}, JOB_RESULT)
    assert set(job) <= set(JOB_RESULT["properties"])


@pytest.mark.parametrize("page", job_fields.PAGES, ids=lambda page: str(page.name))
def test_the_table_of_fields_is_that_of_the_declaration(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == job_fields.written(page), "run: python -m scripts.job_fields"


def test_the_state_diagram_is_that_of_the_code() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    between = text.partition("<!-- states: begin -->\n")[2].partition("<!-- states: end -->")[0]
    assert between == f"```mermaid\n{mermaid()}\n```\n"


def test_the_architecture_describes_every_room_and_no_other() -> None:
    told = [names(row[0])[0] for row in rows(section(ARCHITECTURE, "Rooms"))[1:]]
    parts = {p.name if p.suffix else f"{p.name}/" for p in PACKAGE.iterdir() if _is_module(p)}
    assert sorted(told) == sorted(parts)


def test_the_layers_and_the_exceptions_of_the_seam_are_those_of_the_contracts() -> None:
    contracts = {each["id"]: each for each in LINTER["contracts"]}
    (block,) = blocks(ARCHITECTURE, "text")
    assert block.text.splitlines() == contracts["layers"]["layers"]
    seam = section(ARCHITECTURE, "The seam")
    excepted = {
        _path_of(module)
        for line in contracts["seam"]["ignore_imports"]
        for module in line.split(" -> ")
    }
    assert sorted(path for path in excepted if path and f"`{path}`" not in seam) == []


@pytest.mark.parametrize("page", ["architecture.md", "survival.md"])
def test_every_file_and_folder_that_the_tour_names_exists(page: str) -> None:
    path = DOCS / page
    # What lies in a home is no file of the project.
    home = section(path, "Files") if page == ARCHITECTURE.name else ""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8").replace(home, ""), flags=_BLOCK)
    told = {name for name in names(text) if name.endswith(_SUFFIXES) or "/" in name}
    if page != ARCHITECTURE.name:
        told = {name for name in told if name.endswith(_SUFFIXES)}
    assert told
    assert sorted(name for name in told if not _exists(name)) == []


def test_the_architecture_says_what_to_touch_for_each_usual_change() -> None:
    told = {row[0]: names(row[1]) for row in rows(section(ARCHITECTURE, "To change something"))[1:]}
    assert list(told) == CHANGES
    assert [change for change, touched in told.items() if not touched] == []


def test_the_architecture_names_every_file_of_a_job() -> None:
    told = {names(row[0])[0].rstrip("/") for row in rows(section(ARCHITECTURE, "Files"))[1:]}
    constants = (layout.ENV, layout.ALIVE, layout.FENCE, layout.STOP, layout.NOTICE)
    python = (layout.CALL, layout.QUESTIONS, layout.ANSWERS, layout.WORK, "report.<token>")
    assert told == {*constants, *python, layout.OUTPUT, layout.PROGRESS}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for link in links(path):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_every_json_and_toml_block_parses(path: Path) -> None:
    for block in blocks(path, "json"):
        assert json.loads(block.text), block
    for block in blocks(path, "toml"):
        assert tomllib.loads(block.text), block


def test_every_host_starts_the_command_that_is_installed() -> None:
    hosts = section(DOCS / "hosts.md", "By hand")
    commands = re.findall(r'"?command"?(?:: | = )(?:\["|")([^"]+)"', hosts)
    assert set(commands) == set(SCRIPTS)
    assert len(commands) == len(re.findall(r"^```(?:json|toml)$", hosts, re.MULTILINE))


def test_every_host_that_can_be_installed_is_documented() -> None:
    told = [
        names(row[0])[0] for row in rows(section(DOCS / "hosts.md", "What is written where"))[1:]
    ]
    assert told == list(HOSTS)
    readme = section(README, "Install")
    assert [h for h in HOSTS if not re.search(rf"[` ]{h}[`\n]", readme)] == []


def test_every_command_and_every_exit_code_is_documented() -> None:
    page = (DOCS / "cli.md").read_text("utf-8")
    commands = [c.name for c in application({}).registered_commands] + list(PLAIN_COMMANDS)
    assert [c for c in commands if f"mcp-jobs {c}" not in page] == []
    codes = {v for k, v in vars(exits).items() if k.isupper() and isinstance(v, int)}
    assert {int(row[0]) for row in rows(section(DOCS / "cli.md", "For programs"))[1:]} == codes


def test_the_recording_is_a_picture_of_the_demo() -> None:
    picture = ElementTree.parse(DOCS / "demo.svg").getroot()  # noqa: S314 - our own file
    shown = " ".join(picture.itertext())
    assert picture.tag.endswith("svg")
    assert "$ make demo" in shown
    assert "Everything was seen." in shown


def _default_of_setting(name: str, field: FieldInfo) -> str:
    default: Any = field.default
    if name in COMPUTED_DEFAULTS:
        return COMPUTED_DEFAULTS[name]
    if default in ((), None):
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, str):
        return default or "none"
    return str(int(default) if default == int(default) else default)


def _above(limit: object) -> bool:
    """`gt=0` is told as "above 0", without a number to compare."""
    return hasattr(limit, "gt") or not (hasattr(limit, "ge") or hasattr(limit, "le"))


def _is_module(path: Path) -> bool:
    if path.is_dir():
        return (path / "__init__.py").exists()
    return path.suffix == ".py"


def _exists(name: str) -> bool:
    return (PACKAGE / name).exists() or (ROOT / name).exists()


def _path_of(module: str) -> str:
    """Where a module of a contract lies, below the package; nothing for what stands for many."""
    if module.endswith((".*", ".**")):
        module = module.rstrip(".*")
        return "" if module in ("mcp_jobs", "mcp_jobs.execution") else f"{_below(module)}/"
    return f"{_below(module)}.py"


def _below(module: str) -> str:
    return module.removeprefix("mcp_jobs.").replace(".", "/")
