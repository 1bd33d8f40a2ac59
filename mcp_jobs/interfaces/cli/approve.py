"""`approve`: answer what a job asks, or decline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mcp_jobs.domain.questions import SHORTENED, visible
from mcp_jobs.interfaces.cli import person, screen, session, wording
from mcp_jobs.interfaces.cli.exits import FAILED, WrongOptionError
from mcp_jobs.interfaces.cli.options import JobPart, Json, variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_jobs.domain.models import Question

_DECLINED: Final[Mapping[str, Any]] = {"action": "decline", "content": {}}


def approve(
    job: JobPart,
    *,
    decline: Annotated[bool, typer.Option("--decline", help="Say no.")] = False,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Value of a field that is asked for."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Of several questions, answer only this one.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Answer without asking; a person has decided.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Answer what a job asks: let it begin, or tell it what it wants to know.

    What is asked is shown, and a person at the terminal says yes or no.
    """
    fields = variables(given or [], "--set")
    if not decline:
        # To decline harms nobody, and whoever may cancel the job may do it.
        person.refuse_jobs("approve")
        person.require(yes=yes, command="approve")
    job_id, asked = session.run(_questions, job, key)
    if not asked:
        screen.note(f"{job_id} asks nothing.", "")
        raise typer.Exit(FAILED)
    if fields and len(asked) > 1:
        keys = ", ".join(question.key for question in asked)
        raise WrongOptionError(f"--set needs --key, as several things are asked: {keys}.")
    # Outside of the event loop, which would keep Ctrl-C from the person who is asked.
    answers: dict[str, Mapping[str, Any]] = {}
    for question in asked:
        answer = _DECLINED if decline else _answer(question, fields, asking=not yes)
        if answer is None:
            screen.note(f"Not answered; {job_id} still waits.", "")
            raise typer.Exit(FAILED)
        answers[question.key] = answer
    session.run(_give, job_id, answers, as_json)


async def _questions(part: str, key: str | None) -> tuple[str, list[Question]]:
    async with session.open_session() as opened:
        job_id = await opened.id_of(part)
        asked = await opened.core.service.questions(session.OWNER, job_id)
    return job_id, [question for question in asked if key in (None, question.key)]


async def _give(job_id: str, answers: Mapping[str, Mapping[str, Any]], as_json: bool) -> None:
    async with session.open_session() as opened:
        for key, answer in answers.items():
            await opened.core.service.answer(session.OWNER, job_id, key, answer)
        shown = await opened.core.service.show(session.OWNER, job_id)
    if as_json:
        screen.write_json(shown)
        return
    line = f"{job_id} {wording.status_of(shown)}: {wording.title_of(shown)}"
    screen.write_line(line, wording.STYLES[shown["status"]])


def _answer(
    question: Question, fields: Mapping[str, str], *, asking: bool
) -> Mapping[str, Any] | None:
    """Return the answer of a person, or the one that the options make; None is no answer."""
    properties = question.schema.get("properties", {})
    content = {name: typed(properties.get(name, {}), text, name) for name, text in fields.items()}
    if not asking:
        return {"action": "accept", "content": content}
    try:
        return _asked(question, content)
    except typer.Abort:
        # The end of input, or Ctrl-C.
        return None


def _asked(question: Question, content: dict[str, Any]) -> Mapping[str, Any]:
    person.read(question.message, "bold")
    if SHORTENED in question.message:
        screen.note(f"mcp-jobs show {question.job_id} shows all of it.")
    properties = question.schema.get("properties", {})
    missing = [name for name in properties if name not in content]
    for name in missing:
        required = name in question.schema.get("required", ())
        _ask(content, name, properties[name], required=required)
    if not missing and not person.agrees("Answer so?" if content else "Approve?"):
        return _DECLINED
    return {"action": "accept", "content": content}


def _ask(content: dict[str, Any], name: str, field: Mapping[str, Any], *, required: bool) -> None:
    label = visible(str(field.get("title") or field.get("description") or name))
    words_allowed = field.get("enum")
    if words_allowed:
        label += f" ({visible(', '.join(map(str, words_allowed)))})"
    default = field.get("default", None if required else "")
    shown = default not in (None, "")
    text = str(typer.prompt(label, default=default, show_default=shown, err=True))
    if text or required:
        content[name] = typed(field, text, name)


def typed(field: Mapping[str, Any], text: str, name: str) -> Any:
    """Return a text as the kind of value that a field wants. Raises `WrongOptionError`."""
    kind = field.get("type", "string")
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        raise WrongOptionError(f"{name} must be a number, not {text!r}.") from None
    if kind == "boolean":
        known = {"true": True, "yes": True, "y": True, "false": False, "no": False, "n": False}
        if text.lower() not in known:
            raise WrongOptionError(f"{name} must be yes or no, not {text!r}.")
        return known[text.lower()]
    return [part.strip() for part in text.split(",")] if kind == "array" else text
