"""What a job type says about its jobs, stored with each job.

Whoever settles a job reads its policy from the job's row, so that the rules hold in every process
and after the declaration has changed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from mcp_jobs.domain.states import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

Backoff = Literal["exponential", "linear"]

RETRIED: Final = frozenset(
    {Reason.EXIT_CODE, Reason.SIGNAL, Reason.TIMEOUT, Reason.IDLE_TIMEOUT, Reason.EXCEPTION}
)
"""Ends that another attempt may mend. A program that cannot be started will not start later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOn:
    """Which ends of an attempt are tried again; any one that holds is enough."""

    exit_codes: tuple[int, ...] = ()
    output: tuple[str, ...] = ()
    """Regular expressions that are searched in the attempt's last output."""
    timeout: bool = False
    """The time limit and the idle limit."""
    signal: bool = False
    """The program was killed by a signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of one job. The defaults are those of a shell job."""

    backoff: Backoff = "exponential"
    delay_s: float | None = None
    """Pause before the second attempt; None means the server's setting."""
    retry_on: RetryOn | None = None
    """None means every end that another attempt may mend."""
    success_codes: tuple[int, ...] = (0,)
    progress: str | None = None
    """A regular expression for lines of output that tell how far the job is."""
    output_limit_bytes: int | None = None
    """The job is stopped when it prints more; None means no limit."""
    detach: bool = False
    """What the main process leaves in the background goes on."""
    webhook: Mapping[str, Any] | None = None
    """`url`, and `on`: the states that are told there."""


DEFAULT: Final = Policy()
_HUGE: Final = 1e15


def as_stored(policy: Policy) -> dict[str, Any]:
    """Return what JSON holds of a policy: the fields that are not the default."""
    if policy == DEFAULT:
        return {}
    stored = asdict(policy)
    return {
        field.name: stored[field.name]
        for field in fields(Policy)
        if getattr(policy, field.name) != field.default
    }


def from_stored(stored: Mapping[str, Any]) -> Policy:
    """Return the policy that `as_stored` gave. Fields of a newer version are left out.

    Raises ValueError or TypeError for what no version has stored.
    """
    if not stored:
        return DEFAULT
    known = {field.name: stored[field.name] for field in fields(Policy) if field.name in stored}
    if known.get("retry_on") is not None:
        on = known["retry_on"]
        known["retry_on"] = RetryOn(
            **{
                **on,
                "exit_codes": tuple(on.get("exit_codes", ())),
                "output": tuple(on.get("output", ())),
            }
        )
    if "success_codes" in known:
        known["success_codes"] = tuple(known["success_codes"])
    return _checked(Policy(**known))


def _checked(policy: Policy) -> Policy:
    on = RetryOn() if policy.retry_on is None else policy.retry_on
    codes = (*policy.success_codes, *on.exit_codes)
    texts = (*on.output, *(text for text in (policy.progress,) if text is not None))
    numbers = [n for n in (policy.delay_s, policy.output_limit_bytes) if n is not None]
    sound = (
        policy.backoff in ("exponential", "linear")
        and all(isinstance(code, int) for code in codes)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(n, int | float) and 0 <= n < _HUGE for n in numbers)
        and all(isinstance(flag, bool) for flag in (policy.detach, on.timeout, on.signal))
        and (policy.webhook is None or isinstance(policy.webhook, dict))
    )
    if not sound:
        raise ValueError("a value is not of its type")
    return policy
