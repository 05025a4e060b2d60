"""Compares the ONNX graphs of r101, with weights by the rule, with PyTorch.

``onnx_r101.py [--preset r101] [--salt parity-48] [--sizes 96x160 100x150]`` exports the graphs for
each input size into a temporary folder and prints the largest difference of every output for clips
of 1 and 5 frames with 1 and 8 prompts. It takes minutes, so it is not part of the test suite.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.parity.cases_model import rule_model
from tests.parity.result import compare
from training.deploy.export import CHECKS, TOLERANCE, TOLERANCES, compare_with_pytorch
from training.deploy.onnx_graphs import Graphs, write_graphs


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints every comparison; 0 if all hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="r101")
    parser.add_argument("--salt", default="parity-48")
    parser.add_argument("--sizes", nargs="*", default=["96x160", "100x150"])
    options = parser.parse_args(arguments)
    model = rule_model(options.preset, options.salt).requires_grad_(False)
    passed = True
    for text in options.sizes:
        height, width = (int(part) for part in text.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            files = write_graphs(model, Path(folder), (height, width))
            print(f"{text}: exported in {time.perf_counter() - start:.0f} s", flush=True)
            graphs = Graphs(Path(folder), files)
            for counts in CHECKS:
                case = f"{text} T={counts[0]} P={counts[1]} L={counts[2]}"
                differences = compare_with_pytorch(model, graphs, (height, width), counts)
                for name in ("logits", "boxes", "masks", "positive"):
                    limit = TOLERANCES.get(name, TOLERANCE)
                    result = compare(case, name, differences[name], 0.0, absolute=limit)
                    passed &= result.passed
                    print(result.line(), flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
