"""The command `actiseg benchmark`.

Importable without PyTorch: each `run` imports what it needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.benchmark.options import BenchmarkOptions


@dataclass(frozen=True)
class Benchmark(BenchmarkOptions):
    """Train and evaluate the cells of the paper's tables; run again, it does what is missing."""

    def run(self) -> int:
        """Runs the cells; 1 if one of them failed, 130 when a signal stopped them."""
        from training.benchmark.runner import benchmark

        return benchmark(self)
