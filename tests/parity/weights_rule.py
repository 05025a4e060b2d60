"""Weights made from key and shape alone, so that no weight file is needed for parity."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_ALIAS = "transformer.decoder.bbox_embed."
_NORM_PARENTS = ("LayerNorm", "layer_norm", "bn1", "bn2", "bn3")
# (scale of the weight, divided by sqrt(fan)), (scale of the bias), (offset of the bias)
_HEADS = {
    "class_embed": (2.0, 0.2, -1.0),
    "positive_cls_embed": (1.5, 0.2, 1.0),
}
_MLPS = {"bbox_embed": 0.4, "controller": 0.2}


def canonical(key: str) -> str:
    """The first of the two names of a shared box head; other keys unchanged."""
    return key.removeprefix("transformer.decoder.") if key.startswith(_ALIAS) else key


def _is_norm(parts: Sequence[str]) -> bool:
    parent = parts[-2]
    if parent.startswith("norm") or parent in _NORM_PARENTS:
        return True
    return parent == "1" and (parts[0] == "input_proj" or "downsample" in parts[-3:-2])


def scale_and_offset(key: str, shape: Sequence[int]) -> tuple[float, float]:
    """Scale and offset of the normal values of a tensor, by its canonical key."""
    parts = ["", *key.split(".")]
    leaf, parent, root = parts[-1], parts[-2], parts[1]
    inverse = 1 / math.sqrt(math.prod(shape[1:]))
    is_weight = leaf == "weight"
    if leaf in ("running_var", "running_mean"):
        return (0.25, 0.75) if leaf == "running_var" else (0.1, 0.0)
    if _is_norm(parts[1:]):
        if not is_weight:
            return 0.1, 0.0
        return (0.03, 0.3) if parent == "bn3" else (0.1, 1.0)
    fixed = {"query_embed.weight": 1.5, "transformer.level_embed": 0.5}
    if key in fixed:
        return fixed[key], 0.0
    if key.startswith("text_encoder.embeddings."):
        return 0.05, 0.0
    if parent == "sampling_offsets":
        return (2 * inverse if is_weight else 2.0), 0.0
    if parent == "reference_points":
        return (0.8 * inverse if is_weight else 0.2), 0.0
    if root in _HEADS:
        weight, bias, offset = _HEADS[root]
        return (weight * inverse, 0.0) if is_weight else (bias, offset)
    if root in _MLPS and is_weight:
        return (_MLPS[root] if parent == "2" else math.sqrt(2.0)) * inverse, 0.0
    if key == "pixel_decoder.mask_features.weight":
        return 12 * inverse, 0.0
    if key.startswith("transformer.decoder.") and key.endswith("cross_attn.output_proj.weight"):
        return 4 * inverse, 0.0
    if leaf in ("bias", "in_proj_bias"):
        return 0.1, 0.0
    return (math.sqrt(2.0) if root == "backbone" else 1.0) * inverse, 0.0


def rule_array(key: str, shape: Sequence[int], salt: str) -> npt.NDArray[np.float32]:
    """Values of one tensor, float32.

    Args:
        key: Published name.
        shape: Its shape.
        salt: Text that separates one set of weights from another.
    """
    key = canonical(key)
    seed = zlib.crc32((salt + key).encode())
    values = np.random.Generator(np.random.PCG64(seed)).standard_normal(
        tuple(shape), dtype=np.float32
    )
    if key.endswith("running_var"):
        values = values * values
    scale, offset = scale_and_offset(key, shape)
    return values * np.float32(scale) + np.float32(offset)


def rule_state(shapes: Mapping[str, Sequence[int]], salt: str) -> dict[str, Tensor]:
    """State dict under published names."""
    return {key: torch.from_numpy(rule_array(key, shape, salt)) for key, shape in shapes.items()}
