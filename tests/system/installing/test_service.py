"""`mcp-jobs service` with a systemctl that only writes down what it is asked for."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from tests.system.commands.test_cli_jobs import cli, good
from tests.system.installing.test_cli_doctor import examine

if TYPE_CHECKING:
    from tests.support import Place

FAKE = """#!/bin/sh
echo "$*" >> {root}/asked
case "$2" in
    is-active) test -e {root}/active ;;
    restart) touch {root}/active ;;
    disable) rm -f {root}/active ;;
esac
"""


def with_systemctl(place: Place, script: str = FAKE) -> dict[str, str]:
    folder = place.root / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / "systemctl"
    program.write_text(script.format(root=place.root))
    program.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_service_is_installed_shown_and_removed(place: Place) -> None:
    more = with_systemctl(place)
    refused = cli(place, "service", "install", **more)
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert not (place.root / "active").exists()
    assert cli(place, "service", "status", **more).returncode == 1

    installed = cli(place, "--only-declared", "service", "install", "--yes", **more)
    assert installed.returncode == 0, installed.stderr
    told = json.loads(cli(place, "service", "status", "--json", **more).stdout)
    assert (told["keeper"], told["installed"], told["active"]) == ("systemd", True, True)
    with open(told["path"], encoding="utf-8") as file:
        text = file.read()
    assert '"--only-declared" "worker"' in text
    assert f'Environment="MCP_JOBS_HOME={place.home}"' in text

    removed = cli(place, "service", "uninstall", **more)
    assert removed.returncode == 0, removed.stderr
    assert not os.path.exists(told["path"])
    assert cli(place, "service", "status", **more).returncode == 1
    asked = (place.root / "asked").read_text().splitlines()
    changes = [line.split()[1] for line in asked if "is-active" not in line]
    assert changes == ["daemon-reload", "enable", "restart", "disable"]


def test_a_manager_that_cannot_be_asked_is_told_in_words(place: Place) -> None:
    more = with_systemctl(place, "#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")

    done = cli(place, "service", "install", "--yes", **more)

    assert done.returncode == 1
    assert "Failed to connect to bus" in done.stderr
    assert "mcp-jobs worker" in done.stderr


def test_doctor_warns_of_schedules_that_nobody_fires(place: Place) -> None:
    more = with_systemctl(place)
    code, found = examine(place, **more)
    assert [one["message"] for one in found["schedules"]] == ["none"]
    good(place, "schedule", "add", "--json", "nightly", "0 3 * * *", "--", "true")

    code, found = examine(place, **more)
    assert code == 0
    (warned,) = found["schedules"]
    assert (warned["level"], "service install" in warned["advice"]) == ("warning", True)

    cli(place, "service", "install", "--yes", **more)
    _, found = examine(place, **more)
    assert found["schedules"][0]["level"] == "ok"


def test_trusting_a_file_lets_its_schedules_begin_without_any_server(place: Place) -> None:
    (place.project / "jobs.yaml").write_text(
        "jobs:\n  nightly:\n    description: x.\n    command: ['true']\n    schedule: '0 3 * * *'\n"
    )
    assert cli(place, "trust", "--yes").returncode == 0
    (place.project / "elsewhere").mkdir()

    shown = json.loads(cli(place, "schedule", "show", "nightly", "--json").stdout)

    assert shown["declared_in"] == str(place.project / "jobs.yaml")
    assert len(shown["next_fires"]) == 3
