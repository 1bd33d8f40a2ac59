"""The main job: start, go on, be told, read the end; in both protocol eras."""

from __future__ import annotations

import os

import anyio.to_thread
import pytest

from tests.support import ERAS, Place, ended, open_client, run, start


@pytest.mark.parametrize("mode", ERAS)
async def test_a_job_that_succeeds_is_completed_with_its_output(place: Place, mode: str) -> None:
    async with open_client(place, mode, args=["-m", "mcp_jobs"]) as client:
        job = await run(client, "echo hello; echo world >&2")

    assert (job["status"], job["reason"], job["exit_code"]) == ("completed", None, 0)
    assert job["output"]["text"] == "hello\nworld\n"


@pytest.mark.parametrize("mode", ERAS)
async def test_a_job_is_returned_before_it_ends(place: Place, mode: str) -> None:
    async with open_client(place, mode) as client:
        os.mkfifo(place.project / "gate")
        job = await start(client, "read line < gate; echo $line")
        assert job["finished_at"] is None
        await anyio.to_thread.run_sync((place.project / "gate").write_text, "opened\n")
        done = await ended(client, job["job_id"])

    assert done["output"]["text"] == "opened\n"
