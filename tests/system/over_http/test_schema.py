"""The OpenAPI description is true: schemathesis asks the running server, with every check on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.web import environment_for, serving

if TYPE_CHECKING:
    from tests.support import Place

HERE = Path(__file__).parent
BUDGET_S = 25

# Generated command lines must not run: whatever the command is, the job does nothing.
HARMLESS = """
import dataclasses
import mcp_jobs.service.assembly
from mcp_jobs.__main__ import main
from mcp_jobs.job_types.registry import Prepared, shell_type

mcp_jobs.service.assembly.shell_type = lambda shells: dataclasses.replace(
    shell_type(shells),
    prepare=lambda params: Prepared(argv=("/bin/echo", "nothing"), title="nothing"),
)
main()
"""


def test_the_description_is_true_for_whatever_is_sent(place: Place) -> None:
    with serving(place, code=HARMLESS, MCP_JOBS_REQUESTS_PER_SECOND="100000") as server:
        ran = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "--no-color",
                "--config-file",
                str(HERE / "schemathesis.toml"),
                "run",
                f"{server.url}/openapi.json",
                "--header",
                f"Authorization: Bearer {server.token}",
                "--checks",
                "all",
                "--exclude-path-regex",
                "events$",
                "--max-time",
                str(BUDGET_S),
                "--seed",
                "1",
                "--continue-on-failure",
                "--generation-database",
                "none",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=place.root,
            env={
                **environment_for(place),
                "SCHEMATHESIS_HOOKS": "tests.system.over_http.schemathesis_hooks",
            },
        )
        assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2000:]
        # On a loaded machine it has tried too little for its own taste and says so in warnings.
        tried = re.search(r"(\d+) generated, (\d+) (?:unique )?passed", ran.stdout)
        assert tried is not None, ran.stdout[-20_000:]
        assert tried[1] == tried[2], ran.stdout[-20_000:]
