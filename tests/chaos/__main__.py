"""Run a campaign: `python -m tests.chaos --rounds 100 --seed 1`. Exit status 1 on a violation."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

from tests.chaos.campaign import Campaign
from tests.support import dispose, make_place

if TYPE_CHECKING:
    from tests.support import Place

_LOG_BYTES = 20_000


def main() -> int:
    """Run the campaign that the command line asks for."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="default: a random one")
    parser.add_argument("--jobs", type=int, default=16, help="jobs in each round")
    arguments = parser.parse_args()
    seed = int.from_bytes(os.urandom(4)) if arguments.seed is None else arguments.seed
    place = make_place()
    os.environ["XDG_RUNTIME_DIR"] = str(place.root / "run")
    say(f"seed {seed}, {arguments.rounds} rounds in {place.root}")
    return asyncio.run(_campaign(place, seed, arguments.rounds, arguments.jobs))


async def _campaign(place: Place, seed: int, rounds: int, jobs: int) -> int:
    campaign = await Campaign.open(place, seed=seed, jobs=jobs)
    findings = campaign.findings
    began_s = time.monotonic()
    while findings.rounds < rounds and not findings.violations:
        await campaign.round()
        if findings.rounds % 10 == 0:
            spent_s = time.monotonic() - began_s
            say(f"round {findings.rounds}: {findings.jobs} jobs, {spent_s:.0f} s")
    log = (place.home / "launcher.log").read_text("utf-8", "replace")[-_LOG_BYTES:]
    if findings.violations:
        # As it is, for whoever looks into it.
        await campaign.abandon()
        say(f"VIOLATIONS with seed {seed}; the home is kept in {place.root}")
        say("\n".join(findings.violations))
        say(f"launcher.log:\n{log}")
    else:
        await campaign.close()
        await campaign.audit_again()
        left = dispose(place)
        findings.violations += [f"still running at the end: {line}" for line in left]
        say("\n".join(findings.violations))
    spent_s = time.monotonic() - began_s
    say(f"rounds {findings.rounds}, jobs {findings.jobs}, {spent_s:.0f} s, seed {seed}")
    say(f"kills: {_counts(campaign.fleet.kills)}")
    say(f"outcomes: {_counts(findings.outcomes)}")
    say(f"violations: {len(findings.violations)}")
    if "Traceback" in log:
        say(f"the launcher's log has tracebacks:\n{log}")
    return 1 if findings.violations else 0


def say(text: str) -> None:
    """Print a line now, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _counts(counter: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


if __name__ == "__main__":
    sys.exit(main())
