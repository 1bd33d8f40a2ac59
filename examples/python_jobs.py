"""An MCP server with two Python jobs: `python examples/python_jobs.py`.

`count_words` is slow work that can be stopped and goes on after a restart where it was; `clean_up`
asks before it deletes.
"""

from __future__ import annotations

import json
from pathlib import Path

from mcp_jobs import JobContext, Jobs, RetryableError

jobs = Jobs("examples")


@jobs.job(timeout=3600, retries=3, retry_on_interrupt=True)
def count_words(folder: Path, ctx: JobContext, pattern: str = "*.md") -> dict[str, int]:
    """Count the words of all files in a folder."""
    files = sorted(folder.rglob(pattern))
    done_file = ctx.workdir / "done.json"
    counted: dict[str, int] = json.loads(done_file.read_text()) if done_file.exists() else {}
    for number, file in enumerate(files, 1):
        if ctx.cancelled:
            break
        if str(file) not in counted:
            try:
                counted[str(file)] = len(file.read_text("utf-8", "replace").split())
            except OSError as error:
                raise RetryableError(f"{file} cannot be read just now: {error}") from error
            done_file.write_text(json.dumps(counted))
        ctx.progress(number, len(files), file.name)
    return {"files": len(counted), "words": sum(counted.values())}


@jobs.job(timeout=600)
def clean_up(folder: Path, ctx: JobContext, pattern: str = "*.tmp") -> list[str]:
    """Delete files that match a pattern, after asking."""
    files = [file for file in sorted(folder.rglob(pattern)) if file.is_file()]
    if not files:
        ctx.log("nothing to delete")
        return []
    if not ctx.ask(f"Delete {len(files)} files in {folder}?", key="delete"):
        return []
    for file in files:
        ctx.log(f"deleting {file}")
        file.unlink()
    return [str(file) for file in files]


if __name__ == "__main__":
    jobs.run()
