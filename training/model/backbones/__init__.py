"""Image backbones, by the names that a model configuration uses."""

from __future__ import annotations

from training.model.backbones.base import Backbone, pooled_statistics
from training.model.backbones.lite0 import Lite0
from training.model.backbones.residual import ResNet, SmallBackbone
from training.model.config import ModelConfig

__all__ = ["Backbone", "build_backbone", "pooled_statistics"]


def build_backbone(config: ModelConfig) -> Backbone:
    """Returns the backbone that the configuration names.

    Raises:
        ValueError: If the name is unknown.
    """
    if config.backbone == "resnet50":
        return ResNet((3, 4, 6, 3))
    if config.backbone == "resnet101":
        return ResNet((3, 4, 23, 3))
    if config.backbone == "small":
        return SmallBackbone(config.small_widths, config.small_blocks)
    if config.backbone == "lite0":
        return Lite0()
    raise ValueError(
        f"unknown backbone {config.backbone!r}: use resnet50, resnet101, small or lite0"
    )
