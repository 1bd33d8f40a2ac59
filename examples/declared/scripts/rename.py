"""Rename a Python identifier: `rename.py OLD NEW DIRECTORY`. Names in texts stay as they are."""

import io
import pathlib
import sys
import tokenize


def renamed(source: str, old: str, new: str) -> str:
    lines = source.splitlines(keepends=True)
    found = [
        token.start
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.NAME and token.string == old
    ]
    for row, column in reversed(found):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + new + line[column + len(old) :]
    return "".join(lines)


def main() -> int:
    old, new, directory = sys.argv[1:]
    files = sorted(pathlib.Path(directory).rglob("*.py"))
    for number, path in enumerate(files, start=1):
        source = path.read_text("utf-8")
        changed = renamed(source, old, new)
        if changed != source:
            path.write_text(changed, "utf-8")
        print(f"{path}: {number} of {len(files)} files", flush=True)
    return 0


sys.exit(main())
