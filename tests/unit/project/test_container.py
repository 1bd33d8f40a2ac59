"""The Dockerfile and the compose file say only what there is, and keep to a user without rights."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from mcp_jobs.__main__ import PLAIN_COMMANDS
from mcp_jobs.settings import Settings
from tests.markdown import ROOT, blocks

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SETTINGS = {f"MCP_JOBS_{name.upper()}" for name in Settings.model_fields}


def last_stage() -> str:
    return DOCKERFILE.rpartition("\nFROM ")[2]


def test_the_image_runs_as_a_user_that_owns_nothing_but_its_volumes() -> None:
    assert "\nUSER jobs\n" in last_stage()
    assert re.search(r"useradd --uid (\d+)", last_stage())
    (volumes,) = re.findall(r"^VOLUME (.+)$", last_stage(), re.MULTILINE)
    made = re.findall(r"install -d -m \d+ -o jobs -g jobs (\S+)", last_stage())
    assert json.loads(volumes) == made


def test_the_image_serves_and_says_whether_it_is_ready() -> None:
    assert 'ENTRYPOINT ["mcp-jobs"]\nCMD ["serve", "--http"]' in last_stage()
    (port,) = re.findall(r"MCP_JOBS_PORT=(\d+)", last_stage())
    assert f"EXPOSE {port}" in last_stage()
    assert f"127.0.0.1:{port}/readyz" in last_stage()


def test_the_image_has_what_most_jobs_need() -> None:
    (packages,) = re.findall(r"apt-get install (.+) \\$", last_stage(), re.MULTILINE)
    assert {"bash", "git", "make"} <= set(packages.split())


def test_the_guide_extends_the_image_as_the_dockerfile_allows() -> None:
    page = ROOT / "docs" / "containers.md"
    (example,) = blocks(page, "dockerfile")
    assert example.text.startswith("FROM mcp-jobs\nUSER root\n")
    assert example.text.endswith("USER jobs\n")


def test_only_settings_that_exist_are_set() -> None:
    told = set(re.findall(r"MCP_JOBS_[A-Z_]+", DOCKERFILE + json.dumps(COMPOSE)))
    assert told <= SETTINGS
    assert told


def test_a_server_and_three_workers_share_home_and_work() -> None:
    server, worker = COMPOSE["services"]["server"], COMPOSE["services"]["worker"]
    assert server["volumes"] == worker["volumes"]
    assert worker["deploy"]["replicas"] == 3
    assert {volume.partition(":")[0] for volume in server["volumes"]} == set(COMPOSE["volumes"])
    assert [server["command"][0], worker["command"][0]] == ["serve", "worker"]
    assert {"serve", "worker"} <= set(PLAIN_COMMANDS)


def test_the_server_is_published_on_this_machine_only_and_nothing_has_rights() -> None:
    assert COMPOSE["services"]["server"]["ports"] == ["127.0.0.1:8765:8765"]
    assert "ports" not in COMPOSE["services"]["worker"]
    for service in COMPOSE["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_a_container_cannot_take_all_processes_or_all_memory_of_the_machine() -> None:
    page = (ROOT / "docs" / "containers.md").read_text("utf-8")
    for service in COMPOSE["services"].values():
        assert isinstance(service["pids_limit"], int)
        assert re.fullmatch(r"\d+g", service["mem_limit"])
        # Compose wants the two ways of saying it to agree, so there is one.
        assert "resources" not in service.get("deploy", {})
        assert f"{service['pids_limit']} processes" in page
        assert f"{service['mem_limit'][:-1]} GiB" in page
