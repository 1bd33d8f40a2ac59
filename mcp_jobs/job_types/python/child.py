"""The process of one Python job: `python -m mcp_jobs.job_types.python.child JOB_DIRECTORY`.

It reads `call`, calls the function, and writes down in `report.<token>` what that came to. It
talks to nobody: whatever happens to the servers, its files say how it went. Nothing of MCP is
imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import inspect
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.execution.launcher import files, layout
from mcp_jobs.job_types.python.context import (
    FAULT,
    DeclinedError,
    JobContext,
    ProtocolError,
    Retry,
    RetryableError,
    print_line,
)
from mcp_jobs.job_types.python.definitions import definition_of, import_for_job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_jobs.job_types.python.context import Asked
    from mcp_jobs.job_types.python.definitions import Definition

MAIN_NAME: Final = "__mcp_job__"
"""What a script is called when its functions are wanted and not its main part."""

_FAILED: Final = 1
_ERROR_CHARS: Final = 2000


class FileChannel:
    """Carries a context's words through the files of the job's directory."""

    def __init__(self, job_dir: Path) -> None:
        self._dir = job_dir

    def progress(self, line: Mapping[str, Any]) -> None:
        fd = files.open_file(self._dir / layout.PROGRESS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fd, json.dumps(line).encode() + b"\n")
        finally:
            os.close(fd)

    def log(self, text: str) -> None:
        print_line(text)

    def ask(self, question: Asked) -> None:
        path = self._dir / layout.QUESTIONS
        name = layout.question_name(question.key)
        if os.path.lexists(path / name):
            return
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=layout.PRIVATE_DIR)
        fields = {"key": question.key, "message": question.message, "schema": question.schema}
        directory = files.open_directory(path)
        try:
            layout.write_json(name, fields, dir_fd=directory)
        finally:
            os.close(directory)

    def answer(self, key: str) -> Mapping[str, Any] | None:
        return layout.read_json(str(self._dir / layout.ANSWERS / layout.question_name(key)))


def main() -> None:
    """Run the job of the directory that is named on the command line."""
    job_dir = Path(sys.argv[1])
    runner = layout.read_identity(str(job_dir))
    call = layout.read_json(str(job_dir / layout.CALL))
    if runner is None or call is None:
        sys.exit(f"{job_dir} is not the directory of a Python job that runs.")
    context = JobContext(
        channel=FileChannel(job_dir),
        job_id=job_dir.name,
        attempt=int(runner["attempt"]),
        workdir=job_dir / layout.WORK,
    )
    signal.signal(signal.SIGTERM, lambda *_: context.cancel())
    report = run(call, context)
    token = int(runner["token"])
    layout.write_json(str(job_dir / layout.report_name(token)), report, durable=True)
    sys.stdout.flush()
    # Threads that the function left behind must not keep a job alive that has ended.
    os._exit(0 if report["came_to"] == "returned" else _FAILED)


def run(call: Mapping[str, Any], context: JobContext) -> dict[str, Any]:
    """Call the function and return what that came to. Raises nothing."""
    try:
        definition = find(call)
        value = invoke(definition, call["params"], context)
        # Before the result is looked at: what comes later did not shorten it.
        stopped = context.cancelled
        result = json.loads(definition.to_json(value))
        return {"came_to": "returned", "result": result, "stopped": stopped}
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is how the job ended
        stopped = context.cancelled
        _print_traceback(error)
        return {**_raised(error), "stopped": stopped}


def invoke(definition: Definition, params: Mapping[str, Any], context: JobContext) -> Any:
    """Call the function with checked parameters, in an event loop if it is async."""
    arguments = definition.arguments(params, context)
    if not inspect.iscoroutinefunction(definition.function):
        return definition.function(**arguments)
    return asyncio.run(definition.function(**arguments))


def find(call: Mapping[str, Any]) -> Definition:
    """Import what `call` names. Raises whatever the import raises."""
    sys.path[:] = call["sys_path"]
    found: Any
    with import_for_job(call["qualname"]):
        if "path" in call:
            found = _import_script(call["path"])
        else:
            found = importlib.import_module(call["module"])
    for name in call["qualname"].split("."):
        found = getattr(found, name)
    return definition_of(found)


def _import_script(path: str) -> Any:
    """Import the script that the server was started as, without running its main part."""
    spec = importlib.util.spec_from_file_location(MAIN_NAME, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MAIN_NAME] = module
    spec.loader.exec_module(module)
    return module


def _raised(error: BaseException) -> dict[str, Any]:
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return {"came_to": "returned", "result": None}
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    came_to = "raised"
    if isinstance(error, RetryableError):
        came_to = "retry"
    elif isinstance(error, DeclinedError):
        came_to, text = "declined", str(error)
    report: dict[str, Any] = {"came_to": came_to, "error": text[:_ERROR_CHARS]}
    if isinstance(error, ProtocolError):
        report["result"] = {FAULT: {"code": error.code, "message": str(error)[:_ERROR_CHARS]}}
    if isinstance(error, Retry):
        report["after_s"] = error.after_s
    return report


def _print_traceback(error: BaseException) -> None:
    """Print the traceback from the user's code on; a plain exit has none."""
    if isinstance(error, SystemExit):
        return
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    shown = error.with_traceback(frames) if frames is not None else error
    sys.stdout.flush()
    print_line("".join(traceback.format_exception(shown)).rstrip())


def _is_ours(file: str) -> bool:
    return file in (__file__, asyncio.runners.__file__, asyncio.base_events.__file__)


if __name__ == "__main__":
    main()
