"""Options of label noise; apart from the noise, so that the command line needs no NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Negatives = Literal["vanish", "keep", "dilate"]
Order = Literal["ascending", "descending"]


@dataclass(frozen=True)
class NoiseOptions:
    """How a run's label noise is made; its levels are `--text-noise` and `--mask-noise`."""

    seed: int | None = None
    """Seed of the exchanged names; the run's own by default. Mask noise draws nothing."""
    classes: Path | None = None
    """Names to exchange: EPIC's noun list (csv) or those of a split (json); by default those that
    the training split uses. For a part of a split, give the whole one: the part knows fewer."""
    within_class_only: bool = False
    """Exchange names within their class only, also at level 0 (Alg. 1 without its class flips)."""
    negatives: Negatives | None = None
    """Objects that are not active under mask noise: they `vanish` from the label maps (Alg. 2),
    `keep` their clean pixels where nothing covers them, or `dilate` too. By default `vanish`, but
    `keep` where they have masks to learn (`--negative-masks`), which Alg. 2 is not about."""
    order: Order = "ascending"
    """Object ids in the order of the first hit."""
    recompute_weights: bool = False
    """Let the action-guided weights follow the noisy masks; else they stay those of the clean
    masks, also where they cut a mask."""
