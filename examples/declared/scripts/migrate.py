"""Apply the SQL files of migrations/ that a database has not seen; exit code 3 if there is none."""

import contextlib
import pathlib
import sqlite3
import sys


def main() -> int:
    steps = sorted(pathlib.Path("migrations").glob("*.sql"))
    with contextlib.closing(sqlite3.connect(sys.argv[1], isolation_level=None)) as database:
        (done,) = database.execute("PRAGMA user_version").fetchone()
        for number, step in enumerate(steps[done:], start=done + 1):
            script = step.read_text("utf-8")
            database.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT")
            print(f"[{number}/{len(steps)}] {step.name}", flush=True)
    if done == len(steps):
        print("nothing to do")
        return 3
    return 0


sys.exit(main())
