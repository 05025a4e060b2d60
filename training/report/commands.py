"""The command `actiseg report`.

Importable without PyTorch: each `run` imports what it needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.report.options import ReportOptions


@dataclass(frozen=True)
class Report(ReportOptions):
    """Write a benchmark's tables beside the paper's, figures and findings as one HTML page."""

    def run(self) -> int:
        """Writes the report and tells where the page is."""
        from training.report.build import write_report

        print(write_report(self))
        return 0
