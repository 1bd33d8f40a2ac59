"""Schedules over HTTP: each owner has his own, and those of others are for `admin` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_jobs.interfaces.http.auth.tokens import TokenFile
from tests.web import Json, ended, problem, serving

if TYPE_CHECKING:
    from tests.support import Place

TYPES = "jobs:\n  mark: {description: Make a file., command: [touch, mark]}\n"
ASKED = {"name": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "type": "mark"}
CHANGES = (("POST", "/pause"), ("POST", "/resume"), ("POST", "/run"), ("DELETE", ""))


def test_a_schedule_is_its_owners_and_those_of_others_need_admin(place: Place) -> None:
    place.declare(TYPES)
    place.home.mkdir(exist_ok=True, mode=0o700)
    file = TokenFile(place.home)
    scopes = ["read", "start", "cancel"]
    ann = file.add("ann", owner=None, scopes=scopes)
    eve = file.add("eve", owner=None, scopes=scopes)
    reader = file.add("reader", owner="ann", scopes=["read"])
    head = file.add("head", owner=None, scopes=[*scopes, "admin"])
    with (
        serving(place, "--only-declared") as server,
        server.client(ann) as hers,
        server.client(eve) as others,
        server.client(reader) as reads,
        server.client(head) as admin,
    ):
        made = hers.post("/schedules", json=ASKED)
        assert made.status_code == 201, made.text
        shown = made.json()
        assert made.headers["location"] == f"/schedules/{shown['schedule_id']}"
        assert len(shown["next_fires"]) == 3
        assert hers.get("/schedules").json()["schedules"] == [shown]
        assert reads.get("/schedules/nightly").json() == shown

        # Nobody else sees or changes it, by its name or by its id.
        assert others.get("/schedules").json() == {"schedules": []}
        for named in ("nightly", shown["schedule_id"]):
            problem(others.get(f"/schedules/{named}"), 404, "unknown_schedule")
            for method, path in CHANGES:
                answer = others.request(method, f"/schedules/{named}{path}")
                problem(answer, 404, "unknown_schedule")
                forbidden = others.request(method, f"/schedules/{named}{path}?everybody=true")
                problem(forbidden, 403, "forbidden")
                assert reads.request(method, f"/schedules/{named}{path}").status_code == 403
        assert others.get("/schedules?everybody=true").status_code == 403
        assert hers.get("/schedules/nightly").json() == shown

        # Who looks after the home does both.
        problem(admin.get("/schedules/nightly"), 404, "unknown_schedule")
        (seen,) = admin.get("/schedules?everybody=true").json()["schedules"]
        assert seen == shown
        held = admin.post("/schedules/nightly/pause?everybody=true", json={"why": "a demo"})
        assert (held.json()["paused"]["by"], held.json()["paused"]["why"]) == ("head", "a demo")
        ran = hers.post("/schedules/nightly/run")
        assert ran.status_code == 201, ran.text
        assert ended(hers, ran.json()["job_id"])["status"] == "completed"
        assert others.get(ran.headers["location"]).status_code == 404
        assert hers.post("/schedules/nightly/resume").json()["paused"] is None
        (job,) = hers.delete("/schedules/nightly").json()["last_jobs"]
        assert (job["job_id"], job["status"]) == (ran.json()["job_id"], "completed")
        assert hers.get("/schedules").json() == {"schedules": []}


def test_what_cannot_be_started_or_understood_is_no_schedule(place: Place) -> None:
    with serving(place) as server, server.client() as client:
        for given, status, told in (
            ({"cron": "* * * *"}, 422, "five fields"),
            ({"timezone": "Berlin"}, 422, "did you mean Europe/Berlin?"),
            ({"type": "gone"}, 422, "There is no job type 'gone'"),
            ({"type": "shell", "params": {}}, 422, "command"),
            ({"type": "shell", "params": {"command": "true"}, "cwd": "/nowhere"}, 422, "/nowhere"),
        ):
            answer = client.post("/schedules", json={**ASKED, "type": "shell", **given})
            assert answer.status_code == status, answer.text
            assert told in answer.json()["detail"]
        odd: tuple[Json, ...] = (
            *({"name": "a b"}, {"overlap": "never"}, {"catchup_seconds": -1}),
            *({"x": 1}, {"cron": None}),
        )
        for wrong in odd:
            assert client.post("/schedules", json={**ASKED, **wrong}).status_code in (400, 422)
        assert client.get("/schedules").json() == {"schedules": []}
