"""Options of ``actiseg report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class ReportOptions:
    """What a report is made from."""

    runs: Annotated[Path, tyro.conf.Positional]
    """Folder of a benchmark."""
    out: Path
    """Folder to write: index.html, tables.md, report.json, figures/."""
    data: Path | None = None
    """Prepared data (ActionVOS layout), for the noise statistics and the qualitative panels; by
    default what the benchmark was run on, if it is still there; what cannot be read of it then is
    left out, and the page says why."""
    split: str | None = None
    """Split whose noise is described; by default the one that was trained on, or train."""
    val_split: str | None = None
    """Split whose clips are shown; by default the one that was evaluated on, or val."""
    clips: int = 3
    """Clips in the qualitative panels."""
    cells: tuple[str, ...] = ()
    """Cells whose predictions are shown, as folders in RUNS: mask21/pmhm/seed0. By default the
    baseline under each noise type and PMHM under mask noise, where their weights are kept."""
    about: str = ""
    """What the reader must know of data and budget; shown at the top of the page."""
