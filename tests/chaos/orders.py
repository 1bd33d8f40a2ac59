"""The jobs of a campaign. Each writes down in the ledger what happened to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from pathlib import Path

KINDS = {
    "plain": 6,
    "fail": 2,
    "signal": 2,
    "retry": 2,
    "giveup": 1,
    "delay": 2,
    "timeout": 1,
    "cancel": 2,
    "stubborn": 1,
    "detached": 2,
    "repeat": 3,
    "plant": 2,
}
"""Kinds of jobs and how often each is drawn."""

CANCELLED_KINDS = ("cancel", "stubborn")

# One write with O_APPEND for each line, so that lines of different jobs never mix.
_HEAD = """
L={ledger}
# A copy of the home keeps books of its own.
case $MCP_JOBS_PROGRESS in {home}/*) ;; *) L=$L.copy; touch $L ;; esac
note() {{ printf '%s\\n' "$1 $MCP_JOBS_JOB_ID $$ $2" >> $L; }}
finish() {{ echo "fin $$"; note end "$1"; exit $1; }}
mine() {{ sed -n "s/^$1 $MCP_JOBS_JOB_ID \\([0-9]*\\) .*/\\1/p" $L; }}
"""
_START = """
note start -
echo "out $$"
"""

_BODIES = {
    "plain": "sleep {pause}; finish 0",
    "delay": "sleep {pause}; finish 0",
    "fail": "sleep {pause}; finish {code}",
    "giveup": "sleep {pause}; finish {code}",
    "signal": 'sleep {pause}; echo "fin $$"; note end -{signal}; kill -{signal} $$; sleep 5',
    "retry": "sleep {pause}; test $(mine start | wc -l) -gt {failures} && finish 0; finish {code}",
    "timeout": "sleep 30; finish 0",
    "cancel": "sleep 8; finish 0",
    "stubborn": "trap '' TERM; sleep 8; finish 0",
    "detached": """
(setsid sh -c 'printf "%s\\n" "child $MCP_JOBS_JOB_ID $$ -" >> {ledger}; exec sleep 60' &)
(setsid sh -c 'trap "" TERM; sleep 60' > /dev/null 2>&1 &)
sleep {pause}; finish 0""",
    "repeat": "sleep {pause}; finish 0",
    "plant": """
D=$(dirname $MCP_JOBS_PROGRESS)
for n in progress report.1 report.2 questions answers work bell fence; do
    test -e $D/$n || {odd} $D/$n
done
sleep {pause}; finish 0""",
}
_NO_OTHER_LIVES = """
for p in $(mine start; mine child); do
    tr '\\0' '\\n' 2> /dev/null < /proc/$p/environ | grep -q "JOB_ID=$MCP_JOBS_JOB_ID" \\
        && note overlap $p
done
"""


@dataclass
class Order:
    """What a client asked for, and what it knows of it."""

    title: str
    kind: str
    request: dict[str, Any]
    cancel_after_s: float | None = None
    job_id: str | None = None
    """None while no answer has come."""
    refused: bool = False
    cancel_sent: bool = False
    seen_cancelled: bool = False
    """Whether an answer said that it is cancelled."""
    notes: list[str] = field(default_factory=list)

    @property
    def retries(self) -> int:
        return int(self.request.get("max_retries", 0))

    @property
    def repeatable(self) -> bool:
        return bool(self.request.get("retry_on_interrupt"))

    @property
    def key(self) -> str | None:
        return self.request.get("idempotency_key")


def draw(chance: random.Random, title: str, *, ledger: Path, project: Path, home: Path) -> Order:
    """Make up an order."""
    kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
    failures = chance.choice((1, 1, 2))
    longest_s = 0.7 if kind == "repeat" else 0.4
    values = {
        "pause": f"{chance.uniform(0, longest_s):.2f}",
        "code": chance.randint(1, 120),
        "signal": chance.choice((9, 10, 15)),
        "failures": failures,
        "ledger": ledger,
        "home": home,
        "odd": chance.choice(("mkfifo", "mkdir", "ln -s /dev/zero", "ln -s /etc/passwd", "touch")),
    }
    before = _NO_OTHER_LIVES if kind in ("repeat", "retry", "giveup") else ""
    command = (_HEAD + before + _START + _BODIES[kind]).format_map(values)
    request: dict[str, Any] = {
        "params": {"command": command},
        "title": title,
        "cwd": str(project),
    }
    if kind == "retry":
        request["max_retries"] = failures + chance.randint(0, 1)
    elif kind == "giveup":
        request["max_retries"] = 1
    elif kind == "delay":
        request["delay_seconds"] = round(chance.uniform(0.1, 1.2), 2)
    elif kind == "timeout":
        request["timeout_seconds"] = round(chance.uniform(0.1, 0.6), 2)
    if kind == "repeat" or chance.random() < 0.1:
        request["retry_on_interrupt"] = True
    if chance.random() < 0.5:
        request["idempotency_key"] = title
    if chance.random() < 0.3:
        request["wait_seconds"] = round(chance.uniform(0, 1), 2)
    order = Order(title, kind, request)
    if kind in CANCELLED_KINDS or chance.random() < 0.07:
        order.cancel_after_s = chance.choice((0.0, chance.uniform(0, 0.8)))
    return order
