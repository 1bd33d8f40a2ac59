"""Run the benchmarks and print one table."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchmarks.figures import Figure, Options, lines, machine, markdown

if TYPE_CHECKING:
    from types import FrameType

    from benchmarks.figures import Benchmark

_NAMES = ("startup", "types", "calls", "bulk", "throughput", "idle", "history", "crowd", "push")
_BOUND_S = 900
_RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> int:
    arguments = _arguments()
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    signal.alarm(_BOUND_S)
    figures: list[Figure] = []
    failed = True
    try:
        done = [_run(name, figures, Options(quick=arguments.quick)) for name in arguments.names]
        failed = not all(done)
    finally:
        print(machine(), *lines(figures), sep="\n")
    if arguments.write and not failed:
        _RESULTS.write_text(markdown(figures), "utf-8")
        print(f"written to {_RESULTS}")
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"one or several of: {', '.join(_NAMES)}; all of them by default",
    )
    parser.add_argument("--quick", action="store_true", help="measure a fifth as much")
    parser.add_argument("--write", action="store_true", help=f"write the table to {_RESULTS.name}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(_NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(_NAMES)}")
    arguments.names = arguments.names or list(_NAMES)
    return arguments


def _run(name: str, figures: list[Figure], options: Options) -> bool:
    """Add the figures of one benchmark; False when it failed half-way."""
    benchmark: Benchmark = importlib.import_module(f"benchmarks.{name}").run
    began_s = time.monotonic()
    error_text = ""
    try:
        for figure in benchmark(options):
            figures.append(figure)
    except Exception as error:  # noqa: BLE001 - one failure must not hide the others' figures
        error_text = f", failed: {type(error).__name__}: {error}"
    print(f"{name}: {time.monotonic() - began_s:.0f} s{error_text}", file=sys.stderr, flush=True)
    return not error_text


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    # An exception, so that every place is cleaned up on the way out.
    sys.exit(f"stopped by {signal.Signals(number).name}; all has to end within {_BOUND_S} s")


if __name__ == "__main__":
    sys.exit(main())
