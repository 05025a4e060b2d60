"""Residual backbones (He et al. 2016): ResNet-50 and -101, and a small one for fresh weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.model.backbones.base import Backbone

Norm = Callable[[int], nn.Module]


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and affine terms, all of them buffers."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [B, C, h, w]."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


def _shortcut(inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 residual block; the stride sits in the 3x3 convolution."""

    def __init__(self, inputs: int, inner: int, stride: int, norm: Norm) -> None:
        super().__init__()
        outputs = 4 * inner
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = norm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = norm(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = norm(outputs)
        self.downsample = _shortcut(inputs, outputs, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, h, w] to [B, 4 * inner, h / stride, w / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; the stride sits in the first."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = norm(outputs)
        self.downsample = _shortcut(inputs, outputs, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] to [B, outputs, h / stride, w / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet(Backbone):
    """ResNet-50 or -101 (He et al. 2016, Table 1) with frozen batch norm."""

    frames_apart = True

    def __init__(self, depth: Sequence[int]) -> None:
        super().__init__()
        self.channels = (256, 512, 1024, 2048)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = FrozenBatchNorm2d(64)
        inputs = 64
        for index, blocks in enumerate(depth):
            inner = 64 * 2**index
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if index > 0 and block == 0 else 1
                layer.append(Bottleneck(inputs, inner, stride, FrozenBatchNorm2d))
                inputs = 4 * inner
            setattr(self, f"layer{index + 1}", layer)
        # As the published training: stem and first stage are never updated.
        for module in (self.conv1, self.layer1):
            module.requires_grad_(False)

    def stem(self, frames: Tensor) -> Tensor:
        """Reduces [B, 3, H, W] to [B, 64, H / 4, W / 4]."""
        return F.max_pool2d(F.relu(self.bn1(self.conv1(frames))), 3, 2, 1)


class SmallBackbone(Backbone):
    """Basic residual blocks with trainable batch norm, to be trained from scratch."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        stem, *stages = widths
        self.channels = (stages[0], stages[1], stages[2], stages[3])
        self.conv1 = nn.Conv2d(3, stem, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        inputs = stem
        for index, (outputs, count) in enumerate(zip(stages, blocks, strict=True)):
            layer = nn.Sequential()
            for block in range(count):
                layer.append(BasicBlock(inputs, outputs, 2 if block == 0 else 1, nn.BatchNorm2d))
                inputs = outputs
            setattr(self, f"layer{index + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, frames: Tensor) -> Tensor:
        """Reduces [B, 3, H, W] to stride 2; the first stage makes stride 4."""
        return F.relu(self.bn1(self.conv1(frames)))
