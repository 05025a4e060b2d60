"""Where the borders of masks lie in the picture: estimates how far labels were moved from edges.

A label that was dilated by a square (paper Alg. 2) has its border a few pixels outside of the edge
that one sees, eroded labels inside of it. No single border says so reliably, since objects have
edges of their own and backgrounds have clutter, but the mean over the labels of a batch does.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_REACH = 125
"""Pixels; with more, the depth of nested masks would not fit into uint8."""


class NestedMasks(NamedTuple):
    """Masks whose borders are moved inwards and outwards pixel by pixel.

    Attributes:
        depth: In how many of the 2 R + 3 masks a pixel is whose borders are moved inwards by
            -R - 1 to R + 1 pixels, uint8 [P, T, H, W].
        reach: R, the largest shift that is looked at.
    """

    depth: Tensor
    reach: int

    def shifted(self, shifts: Tensor) -> Tensor:
        """The mask of each prompt with its border moved inwards by so many pixels.

        Args:
            shifts: int64 [P], from -R to R.

        Returns:
            bool [P, T, H, W].
        """
        return self.depth > (shifts + self.reach + 1)[:, None, None, None]


def nested(masks: Tensor, reach: int, inside: Tensor | None = None) -> NestedMasks:
    """Moves the borders of masks by -R - 1 to R + 1 pixels, in the metric of Alg. 2's square.

    Beyond the picture a mask goes on as at its border, so nothing is eroded from there.

    Args:
        masks: bool [P, T, H, W].
        reach: R, from 1 to `LARGEST_REACH`.
        inside: False on padding, where what comes out says nothing, bool [P, T, H, W]; None if
            there is no padding.
    """
    larger = masks.to(torch.uint8)
    outside = 1 - larger
    if inside is not None:
        outside *= inside
    depth = larger.clone()
    for _ in range(reach + 1):
        larger, outside = _dilated(larger), _dilated(outside)
        depth += larger
        depth += 1 - outside
    return NestedMasks(depth, reach)


def edge_strength(frames: Tensor) -> Tensor:
    """How steep a picture is: norm of the Sobel gradients of all channels.

    Args:
        frames: float [N, T, C, H, W].

    Returns:
        float32 [N, T, H, W]; one more line at each side is taken as the picture's border. Where
        padding begins there is a step that is none of the picture's, see `clear_of`.
    """
    padded = F.pad(frames.float().flatten(0, 1), (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    across = rows[..., 2:] - rows[..., :-2]
    down = columns[..., 2:, :] - columns[..., :-2, :]
    return (across.square() + down.square()).sum(1).sqrt().unflatten(0, frames.shape[:2])


def clear_of(padding: Tensor) -> Tensor:
    """Pixels of the picture whose `edge_strength` no padding has a part in.

    Args:
        padding: bool [N, T, H, W].

    Returns:
        bool [N, T, H, W].
    """
    return _dilated(padding.to(torch.uint8)) == 0


def border_profile(edges: Tensor, inside: Tensor, moved: NestedMasks) -> tuple[Tensor, Tensor]:
    """How strong the picture's edges are along each moved border, relative to their mean.

    Args:
        edges: Of each prompt's frames, float32 [P, T, H, W].
        inside: False on padding and beside it (`clear_of`), bool [P, T, H, W].
        moved: The masks.

    Returns:
        Strength at shifts -R to R, float32 [P, 2 R + 1], mean 1 over the shifts that have a border;
        and whether they have one of at least 8 pixels, bool [P, 2 R + 1]. A mask without any has
        none.
    """
    levels = 2 * moved.reach + 4
    depth = moved.depth.flatten(1).long()
    none = edges.new_zeros(len(depth), levels)
    counted = inside.flatten(1).float()
    areas = none.scatter_add(1, depth, counted)
    sums = none.scatter_add(1, depth, edges.flatten(1) * counted)
    # The border at a shift lies between the masks one step wider and one step narrower.
    length = areas[:, 1:-2] + areas[:, 2:-1]
    strength = (sums[:, 1:-2] + sums[:, 2:-1]) / length.clamp(min=1)
    found = length >= 8
    strength = strength * found
    mean = strength.sum(1, keepdim=True) / found.sum(1, keepdim=True).clamp(min=1)
    return strength / mean.clamp(min=1e-6), found


def steepest_shift(profile: Tensor, prominence: float) -> Tensor:
    """The shift at which the edges are strongest; 0 if that is hardly more than where labels are.

    Args:
        profile: Strength at shifts -R to R, float32 [G, 2 R + 1].
        prominence: By what factor edges must be stronger there than at shift 0.

    Returns:
        int64 [G], from -R to R.
    """
    reach = profile.shape[1] // 2
    strongest, place = profile.max(1)
    told = strongest > prominence * profile[:, reach]
    return torch.where(told, place - reach, 0)


def boxes_of_masks(masks: Tensor, sizes: Tensor) -> Tensor:
    """Boxes from the first to the last pixel of masks, as `training.data.targets.mask_boxes`.

    Args:
        masks: bool [P, T, H, W].
        sizes: Height and width of each prompt's picture in pixels, [P, 2].

    Returns:
        Centre x, centre y, width and height, float32 [P, T, 4]; 0 for empty masks.
    """

    def ends(line: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.arange(line.shape[-1], device=line.device)
        first = torch.where(line, places, line.shape[-1]).amin(-1)
        last = torch.where(line, places, 0).amax(-1)
        return first, last

    left, right = ends(masks.any(-2))
    top, bottom = ends(masks.any(-1))
    box = torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], -1)
    scale = sizes.flip(1)[:, None].repeat(1, 1, 2).to(box.dtype)
    return box / scale * masks.flatten(2).any(2)[..., None]


def _dilated(masks: Tensor) -> Tensor:
    """Masks, 0 or 1, uint8 [P, T, H, W], one pixel larger at every side and corner."""
    across = masks.clone()
    torch.maximum(across[..., 1:], masks[..., :-1], out=across[..., 1:])
    torch.maximum(across[..., :-1], masks[..., 1:], out=across[..., :-1])
    down = across.clone()
    torch.maximum(down[..., 1:, :], across[..., :-1, :], out=down[..., 1:, :])
    torch.maximum(down[..., :-1, :], across[..., 1:, :], out=down[..., :-1, :])
    return down
