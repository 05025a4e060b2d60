"""Configuration of a training run: what the user sets, and each preset's recipe for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from actiseg_ros.errors import ActisegError
from training.config.noise import NoiseOptions
from training.config.options import require

Reference = Literal["paper", "released"]
"""`paper`: as printed, and where the paper is silent as the authors' released code does, unless
that is a defect; `released`: as that code does (docs/ambiguities.md)."""
Augmentation = Literal["all", "photometric", "none"]
Preset = Literal["tiny", "late", "small", "r50", "r101"]
SMALLEST_SIDE = 64
"""Pixels of a network's input; in smaller ones the coarsest features would have no cell."""


@dataclass(frozen=True)
class Recipe:
    """Optimisation settings of a preset; every value can be overridden on the command line."""

    epochs: int
    batch_size: int
    """Samples per device and step of the forward pass."""
    accumulate: int
    """Forward passes per optimiser step."""
    learning_rate: float
    backbone_rate: float
    """Learning rate of the backbone as a fraction of `learning_rate`."""
    weight_decay: float
    clip_norm: float
    """Largest norm of the gradient of all parameters together."""
    schedule: Literal["multistep", "cosine"]
    warmup: float
    """Fraction of all steps over which the rate rises linearly (cosine only)."""
    frames_per_clip: int
    objects: Literal["one", "all"]
    """One prompt per sample as in the paper, or all prompts of the same frames at once."""
    negative_masks: bool
    """Learn the masks and boxes of objects that are not active, too, and leave it to the positive
    head alone to tell them apart; the published training gives them empty masks."""
    positive_coefficient: float
    """Weight of the positive head's loss."""
    ema: float
    """Decay of the moving average of the weights that is validated and exported; 0 is off."""
    precision: Literal["float32", "tf32", "bfloat16"]
    positive_threshold: float
    """Objects that are active with less probability are not drawn in validation."""
    augmentation: Augmentation = "all"
    redraw_frames: bool = True
    """Draw the frames of every sample anew in each epoch; else once."""
    lr_drop: tuple[int, ...] = (3, 5)
    """Epochs after which the multistep schedule divides the rate by ten."""

    @property
    def teaches_activity(self) -> bool:
        """Whether the labels say of every object where it is and whether it is active."""
        return self.negative_masks and self.positive_coefficient > 0


# r101 and r50: the published ActionVOS training (AdamW, 1e-4, backbone 5e-5, drops at 3 and 5 of
# 6 epochs). tiny starts from random weights, so it needs a higher rate with warm-up and a longer
# smooth decay, and shares one image encoding among all prompts of a frame. The published weights
# come from referring segmentation, where every named object has a mask; without such a start a
# network that sees empty masks for half of the prompts learns to draw nothing, so tiny gets the
# masks of all named objects. The published threshold of the positive head misleads for it: few of
# its answers are that sure.
_PAPER = Recipe(
    epochs=6,
    batch_size=1,
    accumulate=1,
    learning_rate=1e-4,
    backbone_rate=0.5,
    weight_decay=5e-4,
    clip_norm=0.1,
    schedule="multistep",
    warmup=0.0,
    frames_per_clip=5,
    objects="one",
    negative_masks=False,
    positive_coefficient=2.0,
    ema=0.0,
    precision="tf32",
    positive_threshold=0.75,
)
_TINY = Recipe(
    epochs=30,
    batch_size=8,
    accumulate=1,
    learning_rate=1e-3,
    backbone_rate=1.0,
    weight_decay=1e-2,
    clip_norm=1.0,
    schedule="cosine",
    warmup=0.05,
    frames_per_clip=1,
    objects="all",
    negative_masks=True,
    positive_coefficient=10.0,
    ema=0.998,
    precision="bfloat16",
    positive_threshold=0.375,
)
# small: its backbone has seen pictures and should not forget them while the rest is random.
_SMALL = replace(_TINY, backbone_rate=0.3)
RECIPES: dict[str, Recipe] = {
    "tiny": _TINY,
    "late": _TINY,
    "small": _SMALL,
    "r50": _PAPER,
    "r101": _PAPER,
}


@dataclass(frozen=True)
class StrategyOptions:
    """Options of a learning strategy, which has a subclass in its own module unless it has none."""

    def recipe_changes(self, recipe: Recipe, *, published: bool) -> Mapping[str, Any]:
        """Values of the recipe that the strategy changes where the user gives none.

        Args:
            recipe: The preset's, with what the user gives.
            published: Whether the preset follows the paper's recipe.
        """
        return {}


CHECKPOINT = "checkpoint.pt"
"""What a run that goes on starts from, in its folder."""
NAMED_STARTS = ("embedded", "imagenet")
"""Values of `--pretrained` that are no files."""
_REFERRING = {"negative_masks": True, "positive_coefficient": 0.0, "positive_threshold": 0.0}
"""What referring segmentation changes in a recipe: every object has a mask, none is judged."""


@dataclass(frozen=True)
class TrainConfig:
    """What a training run is; options left at None take the value of the preset's recipe."""

    data: Path
    """Folder in the ActionVOS layout, as `actiseg prepare` writes it."""
    out: Path
    """Folder of the run: checkpoints, weights, logs, run.json."""
    preset: Preset = "tiny"
    """Size of the network."""
    strategy: str = "baseline"
    """Learning strategy against noisy labels."""
    task: Literal["active", "referring"] = "active"
    """`active`: find what takes part in the action (ActionVOS). `referring`: find whatever is
    named, in prompts with other clips' narrations, and learn nothing of activity: a pretraining."""
    reference: Reference = "paper"
    """What options that are not given follow: the printed `paper` (and, where it is silent, what
    the authors released, unless that is a defect), or the `released` code throughout, oddities and
    all."""
    split: str = "train"
    """Split that is trained on."""
    val_split: str | None = None
    """Split that is validated on after each epoch; an empty word skips validation. By default
    `val_human`, the human-checked one, where there is one, else `val`."""
    val_clips: int | None = None
    """Validate on this many clips, evenly spread over the split (None: all)."""
    val_every: int = 1
    """Validate after every so many epochs, and always after the last one."""
    text_noise: float = 0.0
    """Rate of Algorithm 1: probability that a prompt's noun is replaced, in [0, 1]."""
    mask_noise: int = 0
    """Kernel of Algorithm 2 in pixels (paper: 9, 15, 21); 0 is clean."""
    seed: int = 0
    """Seed of weights, sampling, augmentation and, unless `--noise.seed` is given, noise."""
    resume: bool = False
    """Continue from the last checkpoint in `out`."""
    pretrained: Path | None = None
    """Weights to start from: `embedded`, the network of the embedded model bundle, or one of the
    size of `--preset small` from the same kitchens; the folder of another bundle that was exported
    with `--weights`; our own (safetensors); a published Ref-YouTube-VOS checkpoint; or `imagenet`
    for the backbone of `small` (extra `pretrained`)."""
    from_scratch: bool = False
    """Let r50 and r101 start from random weights, their text encoder included; without it they need
    `pretrained`."""
    fresh_heads: bool = False
    """Of the `pretrained` weights, leave out the class heads and all that judges activity, as the
    published training does with Ref-YouTube-VOS weights."""
    roberta: Path | None = None
    """Folder with RoBERTa's tokenizer files; r50 and r101 need it."""
    workers: int | None = None
    """Processes that load data for each one that trains; by default as the cores allow, at most 8.
    0 loads in the training process."""
    threads: int = 0
    """CPU threads of PyTorch; 0 leaves PyTorch's choice."""
    device: str = "auto"
    """`auto` (CUDA if there is any), `cpu`, `cuda` or `cuda:N`."""
    save_minutes: float = 5.0
    """Write a checkpoint at least this often, besides one after each epoch."""
    epochs: int | None = None
    """Passes over the training split."""
    batch_size: int | None = None
    """Samples per device in one forward pass."""
    accumulate: int | None = None
    """Forward passes per optimiser step."""
    learning_rate: float | None = None
    """Peak learning rate of AdamW."""
    backbone_rate: float | None = None
    """Learning rate of the backbone as a fraction of the peak rate; 0 freezes it."""
    weight_decay: float | None = None
    """Decoupled weight decay of AdamW."""
    clip_norm: float | None = None
    """Largest norm of the gradient of all parameters together."""
    schedule: Literal["multistep", "cosine"] | None = None
    """Form of the learning-rate schedule."""
    warmup: float | None = None
    """Fraction of all steps with a rising rate (cosine only)."""
    lr_drop: tuple[int, ...] | None = None
    """Epochs after which the multistep schedule divides the rate by ten."""
    input_size: tuple[int, int] | None = None
    """Height and width in pixels of the input of tiny and small, instead of the preset's: a smaller
    one for the first of two runs, say, whose weights the second starts from."""
    frames_per_clip: int | None = None
    """Frames that a training sample has."""
    objects: Literal["one", "all"] | None = None
    """One prompt per sample as in the paper, or all prompts of a frame at once."""
    negative_masks: bool | None = None
    """Learn the masks of objects that are not active, too."""
    positive_coefficient: float | None = None
    """Weight of the positive head's loss."""
    ema: float | None = None
    """Decay of the moving average of the weights that is validated and exported; 0 is off."""
    precision: Literal["float32", "tf32", "bfloat16"] | None = None
    """Number format of matrix products and convolutions; losses stay in float32. `tf32` rounds
    their factors to ten bits on GPUs that can, and is float32 elsewhere; a preset's bfloat16 is
    float32 on devices that would imitate it slowly."""
    positive_threshold: float | None = None
    """Objects that are active with less probability than this are not drawn in validation, which
    chooses `best.safetensors`; in [0, 1] (published: 0.75)."""
    augmentation: Augmentation | None = None
    """Spatial and photometric changes of the frames, photometric ones alone, or none; ELR takes
    photometric ones by default, and NPN, which distorts a second view itself, none."""
    redraw_frames: bool | None = None
    """Draw the frames of every sample anew in each epoch, or once, as ELR and NPN do by default."""
    action_weights: bool = True
    """Weigh the pixels of the mask term by the stored action-guided weights, and leave out what
    they mark; else all pixels count alike."""
    noise: NoiseOptions = field(default_factory=NoiseOptions)
    strategy_options: Annotated[StrategyOptions | None, tyro.conf.Suppress] = None
    """Options of the strategy; `training.strategies.with_strategy_options` fills in its defaults.
    On the command line they are `--STRATEGY.OPTION`."""

    def recipe(self) -> Recipe:
        """The preset's recipe with this run's overrides.

        Raises:
            ActisegError: If a value is outside its range.
        """
        if self.strategy_options is None and self.strategy != "baseline":
            raise RuntimeError("with_strategy_options comes before recipe")
        chosen = {
            entry.name: value
            for entry in fields(Recipe)
            if (value := getattr(self, entry.name)) is not None
        }
        preset = RECIPES[self.preset]
        recipe = replace(preset, **{**(_REFERRING if self.task == "referring" else {}), **chosen})
        if self.strategy_options is not None:
            changes = self.strategy_options.recipe_changes(recipe, published=preset is _PAPER)
            recipe = replace(recipe, **{**changes, **chosen})
        for name in ("epochs", "batch_size", "accumulate", "frames_per_clip"):
            require(getattr(recipe, name) >= 1, name, getattr(recipe, name), "at least 1")
        require(recipe.clip_norm > 0, "clip_norm", recipe.clip_norm, "above 0")
        rate = recipe.learning_rate
        require(0 < rate < math.inf, "learning_rate", rate, "above 0 and finite")
        for name in ("backbone_rate", "weight_decay", "positive_coefficient"):
            value = getattr(recipe, name)
            require(0 <= value < math.inf, name, value, "at least 0 and finite")
        threshold = recipe.positive_threshold
        require(0 <= threshold <= 1, "positive_threshold", threshold, "in [0, 1]")
        require(0 <= recipe.ema < 1, "ema", recipe.ema, "in [0, 1)")
        require(0 <= recipe.warmup < 1, "warmup", recipe.warmup, "in [0, 1)")
        return recipe

    def check(self) -> None:
        """Refuses values that no run can have.

        Raises:
            ActisegError: Naming the option, its value and what is allowed.
        """
        self.recipe()
        require(0 <= self.text_noise <= 1, "text_noise", self.text_noise, "in [0, 1]")
        kernel = self.mask_noise
        require(kernel == 0 or (kernel % 2 == 1 and kernel > 0), "mask_noise", kernel, "0 or odd")
        if RECIPES[self.preset] is _PAPER and self.pretrained is None and not self.from_scratch:
            raise ActisegError(
                f"--preset {self.preset} starts from published weights: name them by --pretrained. "
                "From random ones, the text encoder's included, it learns next to nothing; "
                "--from-scratch does it all the same"
            )
        if self.input_size is not None:
            free = RECIPES[self.preset] is not _PAPER
            require(free, "input_size", self.input_size, "left out, for r50 and r101 augment it")
            fits = min(self.input_size) >= SMALLEST_SIDE
            allowed = f"at least {SMALLEST_SIDE} pixels a side"
            require(fits, "input_size", self.input_size, allowed)
        self._require_start()
        headless = self.fresh_heads and self.pretrained is None
        require(not headless, "fresh_heads", True, "left out where no --pretrained is given")
        if self.task == "referring":
            masks = self.recipe().negative_masks
            require(masks, "negative_masks", masks, "True where --task is referring")
        for name in ("val_every", "val_clips"):
            require((value := getattr(self, name)) is None or value >= 1, name, value, "at least 1")
        for name in ("workers", "threads", "save_minutes"):
            require((value := getattr(self, name)) is None or value >= 0, name, value, "at least 0")
        for name, seed in (("seed", self.seed), ("noise.seed", self.noise.seed)):
            require(seed is None or 0 <= seed < 2**32, name, seed, "in [0, 2^32)")
        drops = self.recipe().lr_drop
        require(min(drops, default=0) >= 0, "lr_drop", drops, "of epochs from 0 on")
        for name, schedule in (("warmup", "cosine"), ("lr_drop", "multistep")):
            if (value := getattr(self, name)) is not None:
                fits = self.recipe().schedule == schedule
                require(fits, name, value, f"left out unless --schedule {schedule}")
        named = self.noise.within_class_only and self.noise.names_folder is not None
        require(not named, "noise.within_class_only", True,
                "left out where --noise.names-folder gives the names")  # fmt: skip

    def _require_start(self) -> None:
        """Refuses weights that are not there; a run that goes on does not need them any more."""
        start = self.pretrained
        if start is None or str(start) in NAMED_STARTS or start.exists():
            return
        if not (self.resume and (self.out / CHECKPOINT).exists()):
            raise ActisegError(
                f"--pretrained {start}: there is no such file; name the weights to start from, or "
                f"{' or '.join(NAMED_STARTS)}"
            )

    def as_json(self, *, whole_paths: bool = True) -> dict[str, Any]:
        """Every option that matters, with the recipe's values filled in, as JSON types.

        Of the strategies' own options only those of the chosen one, under its name.

        Args:
            whole_paths: False leaves only the last name of each path, for files that travel.
        """
        own = {entry.name: getattr(self, entry.name) for entry in fields(TrainConfig)}
        options = own.pop("strategy_options")
        values = {**own, **asdict(self.recipe())}
        if options is not None and fields(options):
            values[self.strategy.replace("-", "_")] = options
        return {name: _as_json(value, whole_paths) for name, value in values.items()}


def _as_json(value: Any, whole_paths: bool) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _as_json(entry, whole_paths) for name, entry in asdict(value).items()}
    if isinstance(value, Path):
        return str(value) if whole_paths else value.name
    return value
