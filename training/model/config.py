"""Sizes and options of the network family, and its presets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LATER = frozenset(
    {"mask_kernel", "word_levels", "mask_evidence", "late_words", "shared_attention"}
)
"""Options that weights of the first versions do not say; their defaults are what these had."""


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Sizes of the RoBERTa-shaped text encoder.

    Attributes:
        vocab_size: Number of tokens of the byte-level BPE.
        width: Hidden size.
        layers: Number of transformer layers.
        heads: Attention heads; must divide `width`.
        feedforward: Inner size of the feed-forward layers.
        max_positions: Rows of the position table. The first token has position 2 (pad id + 1).
        frozen: True keeps the encoder out of the optimiser, as the published model does.
    """

    vocab_size: int = 50265
    width: int = 768
    layers: int = 12
    heads: int = 12
    feedforward: int = 3072
    max_positions: int = 514
    frozen: bool = True

    def __post_init__(self) -> None:
        """Refuses values that no text encoder has.

        Raises:
            ValueError: If a value is of another kind, or heads do not divide the width.
        """
        _check_values(self, "text.")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One member of the ReferFormer/ActionVOS family.

    The defaults are the published ResNet-101 model. Options that differ from it say why.

    Attributes:
        name: Preset name, kept for messages and provenance.
        backbone: `resnet50`/`resnet101` with frozen batch norm, `small` (basic residual blocks
            with trainable batch norm, for training from scratch), or `lite0` (EfficientNet-Lite0,
            which starts from ImageNet weights).
        small_widths: Channels of the `small` backbone at strides 2, 4, 8, 16 and 32.
        small_blocks: Residual blocks of the `small` backbone at strides 4, 8, 16 and 32.
        text: Sizes of the text encoder.
        width: Transformer width D.
        heads: Attention heads everywhere.
        points: Sampling points per head and level of the deformable attention.
        shared_encoder_layers: Deformable encoder layers *before* the early fusion, which all
            prompts of a frame share. The published model has none; `tiny` moves work here so that
            eight prompts cost little more than one.
        shared_attention: Of the shared encoder layers: `deformable` over all levels, or `dense`
            over those from stride 16 on, a quarter of the cells and far less time on a CPU. The
            pixel decoder carries what they find to the finer levels.
        encoder_layers: Deformable encoder layers after the fusion (once a prompt).
        decoder_layers: Decoder layers, each with its own heads.
        feedforward: Inner size of the encoder's and decoder's feed-forward layers.
        pixel_feedforward: The same in the pixel decoder.
        word_levels: How many levels of the mask pyramid attend to the words, coarsest first. The
            published model has all 4. With 0 the pyramid is computed once a frame, and a
            prompt only adds a projection of its fused stride-8 features to the result, and every
            mask starts from the likeness of each pixel to the sentence.
            This removes the largest share of the work that each prompt costs.
        late_words: Words meet the picture in the decoder only, which looks at levels that all
            prompts share (`LateDecoder`); needs `word_levels` 0 and no `encoder_layers`. The
            published model fuses them before its encoder.
        mask_kernel: Kernel of the convolution that makes the mask features (published: 3).
        queries: Object queries per frame.
        mask_evidence: Let the positive head also see the picture's features under the predicted
            mask, a map of activity and whether the narration speaks of the object (see
            `EvidenceHead`). The published model judges by the queries alone.
        dropout: Dropout probability during training; the text encoder has RoBERTa's own, 0.1.
        fusion: `multiplicative` (published: visual features times attended words) or `residual`
            (features times one plus attended words), which passes features and gradients from the
            first step and so suits training from scratch.
        mask_channels: Inner channels of the dynamic mask head.
        coordinate_scale: Factor on the relative coordinates of the mask head. The published model
            uses pixels (1); from scratch, values of order one start better.
        positive_prior: Initial probability of the positive head.
        projection_groups: Groups of the group norm after each input projection.
        pixel_groups: Groups of the group norms in the pixel decoder.
        input_height: Height in pixels of the default model input.
        input_width: Width in pixels of the default model input.
        max_tokens: Longest prompt in tokens, with both end marks.
        lowercase: True if prompts are lower-cased before they are tokenised.
        sampler: `grid_sample`, or `gather` for runtimes whose GridSample is wrong or missing.
        mean: Per-channel RGB mean of the normalised input (range 0 to 1).
        std: Per-channel RGB standard deviation.
    """

    name: str = "r101"
    backbone: Literal["resnet50", "resnet101", "small", "lite0"] = "resnet101"
    small_widths: tuple[int, int, int, int, int] = (24, 48, 80, 128, 160)
    small_blocks: tuple[int, int, int, int] = (2, 2, 2, 1)
    text: TextConfig = dataclasses.field(default_factory=TextConfig)
    width: int = 256
    heads: int = 8
    points: int = 4
    shared_encoder_layers: int = 0
    shared_attention: Literal["deformable", "dense"] = "deformable"
    encoder_layers: int = 4
    decoder_layers: int = 4
    feedforward: int = 2048
    pixel_feedforward: int = 2048
    word_levels: int = 4
    late_words: bool = False
    mask_kernel: int = 3
    queries: int = 5
    mask_evidence: bool = False
    dropout: float = 0.1
    fusion: Literal["multiplicative", "residual"] = "multiplicative"
    mask_channels: int = 8
    coordinate_scale: float = 1.0
    positive_prior: float = 0.01
    projection_groups: int = 32
    pixel_groups: int = 8
    input_height: int = 360
    input_width: int = 640
    max_tokens: int = 512
    lowercase: bool = False
    sampler: Literal["grid_sample", "gather"] = "grid_sample"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Refuses combinations that no network has.

        Raises:
            ValueError: If a value is of another kind or none of the choices, heads do not divide
                the width, or words are to come late and early.
        """
        _check_values(self)
        if self.late_words and (self.word_levels or self.encoder_layers):
            raise ValueError("late_words needs word_levels=0 and encoder_layers=0")

    def to_json(self) -> str:
        """Returns the configuration as JSON text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: If the text is not JSON, or has unknown or missing fields. Fields that were
                added since the first version may be missing.
        """
        values = json.loads(text)
        _refuse_unknown(values, cls)
        missing = [name for name in _names(cls) if name not in values and name not in _LATER]
        if isinstance(own := values.get("text"), Mapping):
            missing += [f"text.{name}" for name in _names(TextConfig) if name not in own]
        if missing:
            raise ValueError(f"missing model option(s) {', '.join(missing)}")
        return cls.from_mapping(values)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Builds a configuration from plain values (lists become tuples).

        Raises:
            ValueError: If it is no mapping, or a field is unknown or has a value that it cannot
                have.
        """
        _refuse_unknown(values, cls)
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        if "text" in plain and not isinstance(plain["text"], TextConfig):
            _refuse_unknown(plain["text"], TextConfig, "text.")
            plain["text"] = TextConfig(**plain["text"])
        return cls(**plain)


def _names(kind: type[TextConfig | ModelConfig]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _refuse_unknown(values: Any, kind: type[TextConfig | ModelConfig], prefix: str = "") -> None:
    """Raises ValueError unless values are a mapping of a configuration's options."""
    known = _names(kind)
    if not isinstance(values, Mapping):
        raise ValueError(f"{prefix or 'model '}options are {values!r}, not one value for each name")
    unknown = [f"{prefix}{name}" for name in sorted(set(values) - set(known))]
    if unknown:
        raise ValueError(f"unknown model option(s) {', '.join(unknown)}; known: {sorted(known)}")


def _check_values(config: TextConfig | ModelConfig, prefix: str = "") -> None:
    """Raises ValueError if an option's value is of another kind, or heads do not divide a width."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _fits(value, hint):
            kind = getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else str(hint)
            allowed = ", ".join(get_args(hint)) if get_origin(hint) is Literal else kind
            raise ValueError(f"{prefix}{name} is {value!r}; expected {allowed}")
    if config.heads < 1 or config.width % config.heads:
        raise ValueError(
            f"{prefix}heads is {config.heads}; it must divide {prefix}width, {config.width}"
        )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, one of its choices, or a tuple of such values."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        return (
            isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
        )
    if hint is float:  # JSON has whole ones too
        hint = (int, float)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


PRESETS: dict[str, ModelConfig] = {
    "r101": ModelConfig(),
    "r50": ModelConfig(name="r50", backbone="resnet50"),
    "tiny": ModelConfig(
        name="tiny",
        backbone="small",
        text=TextConfig(
            vocab_size=1000,
            width=96,
            layers=2,
            heads=4,
            feedforward=192,
            max_positions=66,
            frozen=False,
        ),
        width=64,
        heads=4,
        points=4,
        shared_encoder_layers=2,
        encoder_layers=0,
        decoder_layers=2,
        queries=3,
        mask_evidence=True,
        feedforward=256,
        pixel_feedforward=128,
        word_levels=0,
        mask_kernel=1,
        dropout=0.0,
        fusion="residual",
        coordinate_scale=1 / 64,
        positive_prior=0.5,
        projection_groups=8,
        input_height=180,
        input_width=320,
        max_tokens=32,
        lowercase=True,
    ),
}

# What a frame costs is paid once; 64 prompts take 2.3 times as long as one (docs/performance.md).
PRESETS["late"] = dataclasses.replace(PRESETS["tiny"], name="late", late_words=True, queries=1)
PRESETS["small"] = dataclasses.replace(
    PRESETS["late"],
    name="small",
    backbone="lite0",
    shared_attention="dense",
    # Cameras' 16:9, so that nothing of the input is padding, at a mask grid of 96 by 54 cells.
    input_height=216,
    input_width=384,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def preset(name: str) -> ModelConfig:
    """Returns a preset by name.

    Raises:
        ValueError: If there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown model preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
