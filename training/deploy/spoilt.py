"""Fits the networks that tell spoilt images from familiar ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actiseg_ros.gate.spoilt import SpoiltClassifier, odds, standardised
from training.files.progress import tracked

Rgb = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_NETWORKS = 3
"""From other weights and in another order; one alone misses twice as many exchanged colours."""
_HIDDEN = 32
_BATCH = 64
_PASSES, _STEPS = 25, (200, 2000)
_RATE, _DECAY = 3e-3, 0.1
_FLOOR = 1e-6


def repainted(rgb: Rgb, random: np.random.Generator) -> Rgb:
    """The image with other colours and textures: shapes stay where they are.

    A random convolution (Xu et al., "Robust and Generalizable Visual Representation Learning via
    Random Convolutions", ICLR 2021) with a kernel of 1, 3, 5 or 7 pixels, brought to the image's
    own means and deviations in random order and mixed with up to 70 % of the image.

    Args:
        rgb: uint8 [H, W, 3].
        random: Of the draw.

    Returns:
        uint8 [H, W, 3].
    """
    size = int(random.choice([1, 3, 5, 7]))
    kernels = random.normal(0, 1, (3, 3, size, size)).astype(np.float32)
    image = rgb.astype(np.float32)
    means, deviations = image.mean((0, 1)), image.std((0, 1))
    planes = cv2.split(image - means)
    mixed = np.stack(
        [
            np.sum([cv2.filter2D(p, -1, k) for p, k in zip(planes, own, strict=True)], axis=0)
            for own in kernels
        ],
        axis=-1,
    )
    mixed *= deviations[random.permutation(3)] / (mixed.std((0, 1)) + _FLOOR)
    mixed += means[random.permutation(3)]
    share = random.uniform(0, 0.7)
    return np.clip(share * image + (1 - share) * mixed, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Seen:
    """What the network learns from, of B images.

    Attributes:
        patches: float32 [B, L, N, D].
        statistics: float32 [B, S].
        kinds: int64 [B], 0 for familiar images, else 1 and more for a way to spoil one.
        folds: int64 [B]; images of one recording share it.
    """

    patches: Float32
    statistics: Float32
    kinds: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]


def fit_spoilt(images: Seen, seed: int = 0) -> tuple[SpoiltClassifier | None, Float64]:
    """Learns to tell spoilt images from familiar ones.

    A way to spoil images that held-out images do not betray (a mirrored kitchen is a kitchen)
    counts as familiar: half of its images are likelier familiar than spoilt so.

    Args:
        images: Familiar and spoilt ones.
        seed: Of the weights and the order of the images.

    Returns:
        The networks, None if no way can be told; and the odds that each image is spoilt by networks
        that have not seen its fold, float64 [B].
    """
    ways = int(images.kinds.max())
    scale = _scale(images, ways)
    seen = (*_tensors(scale, images), torch.from_numpy(images.kinds))
    logits = np.zeros((_NETWORKS, len(images.kinds), 1 + ways))
    for held in tracked(np.unique(images.folds).tolist(), "spoilt images", "networks"):
        test = images.folds == held
        # Where all images of a kind are tested, they have to describe themselves.
        alone = ~np.isin(images.kinds, images.kinds[~test])
        networks = _trained(seen, np.flatnonzero(~test | alone), seed)
        own = [part[torch.from_numpy(test)] for part in seen[:2]]
        with torch.inference_mode():
            logits[:, test] = [network(*own).numpy() for network in networks]
    told = np.array(
        [
            np.median((logits[..., way] - logits[..., 0])[:, images.kinds == way]) > 0
            for way in range(1, 1 + ways)
        ],
        np.float64,
    )
    if not told.any():
        return None, np.zeros(len(images.kinds))
    networks = _trained(seen, np.arange(len(images.kinds)), seed)
    of_each = [network.weights() for network in networks]
    layers = {name: np.stack([weights[name] for weights in of_each]) for name in of_each[0]}
    return replace(scale, told=told, **layers), odds(logits, told).mean(axis=0)


def _scale(images: Seen, ways: int) -> SpoiltClassifier:
    """Means and deviations of the familiar images; there are no networks yet."""
    familiar = images.kinds == 0
    patches, statistics = images.patches[familiar], images.statistics[familiar]
    nothing = np.zeros((0, 0, 0))
    return SpoiltClassifier(
        patch_mean=patches.mean(axis=(0, 2), dtype=np.float64).ravel(),
        patch_deviation=patches.std(axis=(0, 2), dtype=np.float64).ravel() + _FLOOR,
        statistics_mean=statistics.mean(axis=0, dtype=np.float64),
        statistics_deviation=statistics.std(axis=0, dtype=np.float64) + _FLOOR,
        first=nothing,
        second=nothing,
        of_statistics=nothing,
        output=nothing,
        told=np.ones(ways),
    )


def _tensors(scale: SpoiltClassifier, images: Seen) -> tuple[Tensor, Tensor]:
    """What the network sees of all images, float32."""
    count, levels, patches, width = images.patches.shape
    seen = torch.empty(count, patches, levels * width + 2)
    statistics = torch.empty(count, len(scale.statistics_mean))
    for place in range(count):
        one = slice(place, place + 1)
        found, numbers = standardised(scale, images.patches[one], images.statistics[one])
        seen[one], statistics[one] = torch.from_numpy(found), torch.from_numpy(numbers)
    return seen, statistics


class _Network(nn.Module):
    """`SpoiltClassifier` while it learns."""

    def __init__(self, width: int, size: int, kinds: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, _HIDDEN), nn.Linear(_HIDDEN, _HIDDEN)
        self.of_statistics = nn.Linear(size, _HIDDEN)
        self.output = nn.Linear(3 * _HIDDEN, kinds)

    def forward(self, patches: Tensor, statistics: Tensor) -> Tensor:
        """[B, N, W] and [B, S] -> logits [B, 1 + K]."""
        seen = F.relu(self.second(F.relu(self.first(patches))))
        pooled = seen.mean(1), seen.amax(1), F.relu(self.of_statistics(statistics))
        return self.output(torch.cat(pooled, 1))

    def weights(self) -> Mapping[str, Float64]:
        """Each layer's matrix with the constants as its last column."""
        return {
            name: torch.cat([layer.weight, layer.bias[:, None]], 1).detach().double().numpy()
            for name, layer in self.named_children()
            if isinstance(layer, nn.Linear)
        }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within, PyTorch takes one thread: products are small, and threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trained(
    seen: tuple[Tensor, Tensor, Tensor], rows: npt.NDArray[np.int64], seed: int
) -> list[_Network]:
    """Networks of some images; every batch holds as many familiar as spoilt ones.

    Args:
        seen: Standardised patches and statistics, and the kinds, of all images.
        rows: The images to learn from.
        seed: Of the weights and the order.
    """
    patches, statistics, kinds = seen
    of_rows = kinds.numpy()[rows]
    sides = [torch.from_numpy(rows[side]) for side in (of_rows == 0, of_rows > 0)]
    least, most = _STEPS
    steps = min(most, max(least, _PASSES * len(sides[0]) // _BATCH))
    found = []
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        for _ in range(_NETWORKS):
            network = _Network(patches.shape[-1], statistics.shape[-1], 1 + int(kinds.max()))
            optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps)
            for _ in range(steps):
                chosen = torch.cat([side[torch.randint(len(side), (_BATCH,))] for side in sides])
                loss = F.cross_entropy(network(patches[chosen], statistics[chosen]), kinds[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            found.append(network)
    return found
