"""What a REST body does not say stays for the job type to say."""

from __future__ import annotations

from mcp_jobs.interfaces.http.routes.bodies import StartBody
from mcp_jobs.interfaces.http.routes.job_routes import _start
from mcp_jobs.service.requests import StartJob


def test_only_what_was_given_counts_as_given() -> None:
    request = _start(StartBody(params={"command": "true"}, priority=0, webhook="https://a.example"))
    assert request.model_fields_set == {"params", "priority"}
    assert request == StartJob(params={"command": "true"}, priority=0)
