"""Compares this implementation with a folder of reference vectors.

``run.py DIR [SECTION ...]`` runs every case that it finds in DIR, prints a line for each output
with its largest difference and its limit, and exits with 0 only if all hold. It needs neither ROS
nor pytest.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.parity.cases_released import released_files
from tests.parity.result import Result, guarded

# Filling a network takes seconds and the last one is kept, so cases of the same network adjoin.
MODULES = (
    "cases_metrics",
    "cases_data",
    "cases_noise",
    "cases_released",
    "cases_inference",
    "cases_criterion",
    "cases_model",
)


def run_cases(folder: Path, modules: Sequence[str] = MODULES) -> Iterator[Result]:
    """Runs the cases of some modules; a case that raises is one failed result."""
    for name in modules:
        yield from guarded(name, importlib.import_module(f"tests.parity.{name}").run(folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints all results; 0 if all hold, 1 if one fails, 2 if there is nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder in the form of the parity material")
    sections = [module.removeprefix("cases_") for module in MODULES]
    parser.add_argument("sections", nargs="*", help=f"only these of: {', '.join(sections)}")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.sections) - set(sections))
    if unknown:
        parser.error(f"unknown section {unknown[0]!r}; choose from {', '.join(sections)}")
    if not options.folder.is_dir():
        parser.error(f"no folder {options.folder}")
    start = time.perf_counter()
    count, failed = 0, []
    for result in run_cases(
        options.folder, [f"cases_{name}" for name in options.sections or sections]
    ):
        print(result.line(), flush=True)
        count += 1
        if not result.passed:
            failed.append(result)
    seconds = time.perf_counter() - start
    if not count:
        below = sorted({path.parent for path in options.folder.glob("*/*.npz")})
        hint = f"; is it one of {', '.join(map(str, below))}?" if below else ""
        print(f"{options.folder}: no case found{hint}", file=sys.stderr)
        return 2
    for path in released_files(options.folder, understood=False):
        print(f"not compared, as no case has a name of this form: {path}", file=sys.stderr)
    print(f"{count - len(failed)} of {count} outputs hold ({seconds:.0f} s)")
    for result in failed:
        print(result.line())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
