"""`approve`: answer what a job asks, or decline."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_jobs.cli import desk, screen, words
from mcp_jobs.cli.exits import FAILED, OK, WrongOptionError
from mcp_jobs.cli.options import JobPart, Json, variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_jobs.models import Question


def approve(
    job: JobPart,
    *,
    decline: Annotated[bool, typer.Option("--decline", help="Say no.")] = False,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Value of a field that is asked for."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Answer this question only, of several.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask again here.")] = False,
    as_json: Json = False,
) -> None:
    """Answer what a job asks: let it begin, or tell it what it wants to know."""
    fields = variables(given or [], "--set")
    asking = not yes and screen.on_terminal() and sys.stdin.isatty()
    raise typer.Exit(desk.run(_approve, job, decline, fields, key, asking, as_json))


async def _approve(  # noqa: PLR0917 - the options of the command, in their order
    part: str,
    decline: bool,
    fields: dict[str, str],
    key: str | None,
    asking: bool,
    as_json: bool,
) -> int:
    async with desk.open_desk() as opened:
        service = opened.core.service
        job_id = await opened.id_of(part)
        asked = [q for q in await service.questions(desk.OWNER, job_id) if key in (None, q.key)]
        if not asked:
            screen.note(f"{job_id} asks nothing.", "")
            return FAILED
        if fields and len(asked) > 1:
            keys = ", ".join(question.key for question in asked)
            raise WrongOptionError(f"--set needs --key, as several things are asked: {keys}.")
        for question in asked:
            answer = {"action": "decline", "content": {}}
            if not decline:
                answer = _answer(question, fields, asking)
            await service.answer(desk.OWNER, job_id, question.key, answer)
        shown = await service.show(desk.OWNER, job_id)
    if as_json:
        screen.write_json(shown)
    else:
        line = f"{job_id} {words.status_of(shown)}: {words.title_of(shown)}"
        screen.write_line(line, words.STYLES[shown["status"]])
    return OK


def _answer(question: Question, fields: Mapping[str, str], asking: bool) -> dict[str, Any]:
    properties = question.schema.get("properties", {})
    if asking:
        screen.note(screen.clean(question.message), "bold")
    content: dict[str, Any] = {}
    for name, text in fields.items():
        content[name] = typed(properties.get(name, {}), text, name)
    if asking:
        for name, field in properties.items():
            if name not in content:
                _ask(content, name, field, required=name in question.schema.get("required", ()))
        if not properties and not typer.confirm("Approve?", default=False):
            return {"action": "decline", "content": {}}
    return {"action": "accept", "content": content}


def _ask(content: dict[str, Any], name: str, field: Mapping[str, Any], *, required: bool) -> None:
    label = screen.clean(str(field.get("title") or field.get("description") or name))
    words_allowed = field.get("enum")
    if words_allowed:
        label += f" ({', '.join(map(str, words_allowed))})"
    default = field.get("default", None if required else "")
    text = str(typer.prompt(label, default=default, show_default=default not in (None, "")))
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
