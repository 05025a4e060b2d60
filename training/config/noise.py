"""Options of label noise; apart from the noise, so that the command line needs no NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Negatives = Literal["vanish", "keep", "dilate"]
Order = Literal["ascending", "descending"]
Unflipped = Literal["any", "other", "same"]
Vocabulary = Literal["all", "split"]
Draws = Literal["keyed", "stream"]


@dataclass(frozen=True, kw_only=True)
class NameOptions:
    """Choices of Algorithm 1 beside its rate and seed."""

    classes: Path | None = None
    """Names to exchange: EPIC's noun list (csv) or those of a split (json); by default those of
    `vocabulary`. For a part of a split, give the whole one: the part knows fewer."""
    vocabulary: Vocabulary = "all"
    """Where names and classes come from without `classes`: `all` joins the split with `train.json`
    and `val.json` beside it, as released (the paper does not say); `split` takes its own alone."""
    within_class_only: bool = False
    """Exchange names within their class only, also at level 0 (Alg. 1 without its class flips)."""
    unflipped: Unflipped = "any"
    """Name of an object whose class is not flipped: `any` of its class, its own included (Alg. 1);
    one `other` than its own where the class has one (the published files); or the `same` (the
    released script)."""
    inactive_names: bool = True
    """Exchange names of objects that are not active too, as released; the paper does not say."""
    hand_names: bool = True
    """Exchange names of hands too: the paper's shares of them come out only so."""
    draws: Draws = "keyed"
    """`keyed`: each object draws from a generator of its own, keyed by seed, clip and object.
    `stream`: all draw in the order of the file from one generator (NumPy's MT19937), as the
    released script does, so that a part of a split gets other names than the whole."""


@dataclass(frozen=True, kw_only=True)
class NoiseOptions(NameOptions):
    """How a run's label noise is made; its levels are `--text-noise` and `--mask-noise`."""

    seed: int | None = None
    """Seed of the exchanged names; the run's own by default. Mask noise draws nothing."""
    negatives: Negatives | None = None
    """Objects that are not active under mask noise: they `vanish` from the label maps (Alg. 2),
    `keep` their clean pixels where nothing covers them (as released), or `dilate` too. By default
    `vanish`, but `keep` where they have masks to learn (`--negative-masks`), which Alg. 2 is not
    about; with `labels_folder` what its manifest.json says."""
    order: Order = "ascending"
    """Object ids in the order of the first hit."""
    recompute_weights: bool = False
    """Let the action-guided weights follow the noisy masks; else they stay those of the clean
    masks, also where they cut a mask."""
    names_folder: Path | None = None
    """Folder with published noisy names (SPLIT_objects_category.json and
    SPLIT_meta_expressions_promptaction.json), which are learned instead of drawn ones;
    `--text-noise` then says their level. `{text}` in it stands for the level in percent, and level
    0 takes no folder then: so a benchmark's cells find theirs."""
    labels_folder: Path | None = None
    """Folder with noisy label maps (SEQUENCE/FRAME.png, or SPLIT/SEQUENCE/FRAME.png, FRAME_org.png
    beside changed ones), which are learned instead of dilated ones; `--mask-noise` then says their
    level. `{mask}` in it stands for that, as `{text}` above."""


RELEASED_NOISE = NoiseOptions(unflipped="other", negatives="keep")
"""What the authors published (their names) and released (their masks), but for the seed that their
code does not set."""
