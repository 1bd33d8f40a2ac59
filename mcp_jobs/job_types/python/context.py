"""What a Python job sees of mcp-jobs: its context, and the exceptions that mean something.

A job's process loads this on every start, so it imports the standard library only.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    Form = TypeVar("Form", bound=BaseModel)

FAULT: Final = "jsonrpc_error"
"""Where the result of a job has the protocol fault that it raised: its code and message."""

POLL_S: Final = 0.1
"""How late an answer may be seen. A look is one attempt to open a file."""

_YEAR_S: Final = 366 * 24 * 3600
_MESSAGE_CHARS: Final = 1000
_QUESTION_CHARS: Final = 4000
_KEY_CHARS: Final = 200
_SLUG_CHARS: Final = 40


class RetryableError(Exception):
    """A transient fault: another attempt may succeed.

    The job is tried again as often as its `retries` allow, with growing pauses. Raise it, or a
    subclass of it; any other exception ends the job for good.
    """


class Retry(RetryableError):
    """A transient fault that says when another attempt is worth it, `after` so many seconds.

    None leaves the pause to mcp-jobs. Raises ValueError for what is no time to wait.
    """

    def __init__(self, message: str = "Try again.", *, after: float | None = None) -> None:
        super().__init__(message)
        if after is not None and not 0 <= after <= _YEAR_S:
            raise ValueError(
                f"after must be a number of seconds from 0 to {_YEAR_S}, not {after!r}."
            )
        self.after_s = after


class ProtocolError(Exception):
    """A fault of the call itself and not of the work: the caller gets a JSON-RPC error.

    To a client that asked for a task the task is `failed` with this error; everybody else sees a
    job that failed. Anything that went wrong with the work is any other exception.
    """

    def __init__(self, message: str, *, code: int = -32603) -> None:
        super().__init__(message)
        self.code = code


class DeclinedError(Exception):
    """A person declined to answer. A job that lets it pass is cancelled as `declined`."""


class JobCancelledError(Exception):
    """The job is being stopped while it waits for an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question on its way to a person. `schema` is a flat JSON Schema of an object."""

    key: str
    message: str
    schema: Mapping[str, Any]


class Channel(Protocol):
    """Where a context's words go, and where answers come from."""

    def progress(self, line: Mapping[str, Any]) -> None:
        """Report how far the job is."""
        ...

    def log(self, text: str) -> None:
        """Write a line into the job's output."""
        ...

    def ask(self, question: Asked) -> None:
        """Put a question; again is fine."""
        ...

    def answer(self, key: str) -> Mapping[str, Any] | None:
        """Return `{"action": ..., "content": ...}` as soon as there is one."""
        ...


class JobContext:
    """The running job, for its own code. A parameter of this type gets it.

    Everything may be called from any thread of the job.
    """

    def __init__(self, *, channel: Channel, job_id: str, attempt: int, workdir: Path) -> None:
        self._channel = channel
        self._workdir = workdir
        self._cancelled = False
        self.job_id = job_id
        self.attempt = attempt
        """Which attempt this is, from 1."""

    @property
    def workdir(self) -> Path:
        """A directory of this job alone. It outlives attempts, and stays as long as the job."""
        self._workdir.mkdir(mode=0o700, exist_ok=True)
        return self._workdir

    @property
    def cancelled(self) -> bool:
        """Whether the job must stop: cancelled, or out of time.

        Look at it now and then: what does not end within the grace of the cancel is killed.
        """
        return self._cancelled

    def cancel(self) -> None:
        """Set `cancelled`. Called for SIGTERM."""
        self._cancelled = True

    def progress(
        self,
        current: float | None = None,
        total: float | None = None,
        message: str | None = None,
    ) -> None:
        """Tell how far the job is: `current` of `total`, and what it does."""
        values = {"current": current, "total": total}
        line: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
        if message is not None:
            line["message"] = message[:_MESSAGE_CHARS]
        if line:
            self._channel.progress(line)

    def log(self, text: object) -> None:
        """Write a line into the job's output, at once."""
        self._channel.log(str(text))

    @overload
    def ask(self, message: str, *, key: str | None = None) -> bool: ...
    @overload
    def ask(self, message: str, form: type[Form], *, key: str | None = None) -> Form: ...
    def ask(self, message: str, form: Any = None, *, key: str | None = None) -> Any:
        """Ask a person and wait for the answer, however long it takes.

        Without `form` the answer is yes or no. With one, a pydantic model whose fields are texts,
        numbers, booleans or enumerations, it is an instance of it; then declining raises
        `DeclinedError`. Raises `JobCancelledError` when the job is stopped meanwhile.

        The same `key` (by default made of the message and the form) is asked once in the life of a
        job: a later attempt gets the answer that was given. Time limits go on while the job waits,
        the idle limit does not.
        """
        question = _question(message, form, key)
        while (answer := self._look(question)) is None:
            time.sleep(POLL_S)
        return _taken(question, form, answer)

    @overload
    async def ask_async(self, message: str, *, key: str | None = None) -> bool: ...
    @overload
    async def ask_async(
        self, message: str, form: type[Form], *, key: str | None = None
    ) -> Form: ...
    async def ask_async(self, message: str, form: Any = None, *, key: str | None = None) -> Any:
        """Do as `ask` without holding up the other tasks of an async job."""
        question = _question(message, form, key)
        while (answer := self._look(question)) is None:  # noqa: ASYNC110 - it comes as a file
            await asyncio.sleep(POLL_S)
        return _taken(question, form, answer)

    def _look(self, question: Asked) -> Mapping[str, Any] | None:
        answer = self._channel.answer(question.key)
        if answer is not None:
            return answer
        if self._cancelled:
            raise JobCancelledError(f"Stopped while it waited for an answer to: {question.message}")
        self._channel.ask(question)
        return self._channel.answer(question.key)


def _question(message: str, form: Any, key: str | None) -> Asked:
    schema = {"type": "object", "properties": {}} if form is None else _flat_schema(form)
    if not message.strip() or len(message) > _QUESTION_CHARS:
        raise ValueError(f"A question must have 1 to {_QUESTION_CHARS} characters.")
    if key is None:
        digest = hashlib.sha256(f"{message}\0{schema}".encode("utf-8", "replace")).hexdigest()
        slug = re.sub(r"[^a-z0-9]+", "-", message.lower())[:_SLUG_CHARS].strip("-")
        key = f"{slug}-{digest[:8]}"
    if not 0 < len(key) <= _KEY_CHARS:
        raise ValueError(f"The key of a question must have 1 to {_KEY_CHARS} characters.")
    return Asked(key=key, message=message, schema=schema)


def _flat_schema(form: type[BaseModel]) -> dict[str, Any]:
    # Only a job that asks for fields needs it.
    from mcp_jobs.job_types.python.forms import flat_schema  # noqa: PLC0415

    return flat_schema(form)


def _taken(question: Asked, form: Any, answer: Mapping[str, Any]) -> Any:
    accepted = answer["action"] == "accept"
    if form is None:
        return accepted
    if not accepted:
        raise DeclinedError(f"Declined: {question.message}")
    return form.model_validate(answer["content"])


def print_line(text: str) -> None:
    """Print a line of output at once, also when it has characters that cannot be encoded."""
    stream = sys.stdout
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()
