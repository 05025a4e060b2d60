"""The ReferFormer/ActionVOS network family."""

from training.model.config import PRESETS, ModelConfig, TextConfig, preset
from training.model.network import (
    ActionVOS,
    ImageFeatures,
    LayerOutput,
    Output,
    build_model,
)
from training.model.text import TextFeatures, load_tokenizer, tokenize, train_tokenizer

__all__ = [
    "PRESETS",
    "ActionVOS",
    "ImageFeatures",
    "LayerOutput",
    "ModelConfig",
    "Output",
    "TextConfig",
    "TextFeatures",
    "build_model",
    "load_tokenizer",
    "preset",
    "tokenize",
    "train_tokenizer",
]
