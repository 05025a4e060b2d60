"""Runs the benchmarks one after another and keeps their numbers in one file.

``python tests/bench [NAME ...]`` runs those that are named, or all, each in a process of its own,
shows their tables, and writes ``build/bench.json``: the machine, the code, and what each said.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from training.engine.run_record import environment
from training.files.disk import write_json
from training.files.provenance import utc_now

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    names = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    report: dict[str, Any] = {
        "date": utc_now(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        **environment(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
    }
    print("{device}, {cores} cores, load {load:.1f} at the start".format(**report))
    failed = []
    for name in options.names or names:
        print(f"\n== {name}", flush=True)
        ran = subprocess.run(
            [sys.executable, str(FOLDER / f"{name}.py")],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        found: dict[str, Any] = {}
        for line in ran.stdout.splitlines():
            print(line)
            found |= numbers(line)
        report |= found
        if ran.returncode or not found:
            failed.append(name)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.json, report)
    print(f"\n{options.json}" + (f"; without {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def numbers(line: str) -> dict[str, Any]:
    """What a line says if it is a JSON object, else nothing."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


if __name__ == "__main__":
    sys.exit(main())
