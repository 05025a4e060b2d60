"""The ReferFormer/ActionVOS network family."""

from training.model.config import PRESETS, ModelConfig, TextConfig, preset
from training.model.network import ActionVOS, build_model
from training.model.outputs import MASK_STRIDE, ImageFeatures, LayerOutput, Output
from training.model.text import TextFeatures, load_tokenizer, tokenize, train_tokenizer

__all__ = [
    "MASK_STRIDE",
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
