"""The released losses typed a second time: NumPy, float64, one formula after the other.

Only `make_small` uses these, to write cases that the strategies are then compared with; nothing
here is taken from the training code. Maps are [B, T, h, w] unless said otherwise, gradients are
central differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def cross_entropy(z: Array, y: Array) -> Array:
    return np.logaddexp(0, -z) * y + np.logaddexp(0, z) * (1 - y)


def right(z: Array, y: Array) -> Array:
    """r, the probability of the given label."""
    p = sigmoid(z)
    return y * p + (1 - y) * (1 - p)


def focal(z: Array, y: Array) -> Array:
    return (0.25 * y + 0.75 * (1 - y)) * (1 - right(z, y)) ** 2 * cross_entropy(z, y)


def dice(z: Array, y: Array) -> Array:
    """[B]"""
    p, axes = sigmoid(z), tuple(range(1, z.ndim))
    return 1 - (2 * (p * y).sum(axes) + 1) / (p.sum(axes) + y.sum(axes) + 1)


def sce(z: Array, y: Array) -> Array:
    floor = 1e-4
    clamped, other = np.clip(y, floor, 1), np.clip(1 - y, floor, 1)
    background = np.clip(1 - clamped, floor, 1)
    reverse = -sigmoid(z) * np.log(clamped) - sigmoid(-z) * np.log(
        np.where(y > 0, other, background)
    )
    return 0.1 * cross_entropy(z, y) + reverse


def gce(z: Array, y: Array) -> Array:
    return (1 - (right(z, y) + 1e-6) ** 0.7) / 0.7


def apl(z: Array, y: Array) -> Array:
    z = np.clip(z, -10, 10)
    return 10 * (1 - right(z, y) ** 0.7) / 0.7 + np.abs(sigmoid(z) - y)


def clip_means(values: Array, boxes: float) -> float:
    """Mean over a clip, summed over clips, divided by the valid frames."""
    return float(values.reshape(len(values), -1).mean(1).sum() / boxes)


def of_query(masks: Array, queries: Array) -> Array:
    return np.stack([own[:, query] for own, query in zip(masks, queries, strict=True)])


def named(term: str, layer: int, layers: int) -> str:
    return term if layer == layers - 1 else f"{term}_{layer}"


def gradients(
    value: Callable[[list[Array]], float], points: Sequence[Array], step: float = 1e-5
) -> list[Array]:
    """Central differences of a function of some arrays."""
    found = []
    for index, point in enumerate(points):
        slope = np.zeros_like(point)
        for place in np.ndindex(point.shape):
            around = []
            for sign in (1, -1):
                moved = [array.copy() for array in points]
                moved[index][place] += sign * step
                around.append(value(moved))
            slope[place] = (around[0] - around[1]) / (2 * step)
        found.append(slope)
    return found


PIXELS: Mapping[str, Callable[[Array, Array], Array]] = {
    "focal": focal, "sce": sce, "gce": gce, "apl": apl,
}  # fmt: skip
TERMS = {"sce": "loss_sce", "gce": "loss_gce", "apl": "loss_active_passive"}


def criterion(
    run: str, masks: Sequence[Array], y: Array, weights: Array, boxes: float
) -> dict[str, float]:
    """All terms of one of the runs, of the matched queries' masks of every layer, and `total`."""
    name, _, kind = run.partition("_")
    losses: dict[str, float] = {}
    for layer, z in enumerate(masks):

        def put(term: str, value: float, layer: int = layer) -> None:
            losses[named(term, layer, len(masks))] = value

        put("loss_dice", float(dice(z, y).sum() / boxes))
        if kind in ("weights", "readme"):
            put("loss_mask", clip_means(weights * focal(z, y), boxes))
        elif kind == "plain":
            put("loss_mask", clip_means(focal(z, y), boxes))
        if name in TERMS:
            weighted = kind == "weights_alone" or name == "apl"
            values = PIXELS[name](z, y) * (weights if weighted else 1)
            put(TERMS[name], clip_means(values, boxes))
    losses["total"] = sum((5 if "dice" in key else 2) * value for key, value in losses.items())
    return losses


def elr(masks: Sequence[Array], y: Array, history: Array, boxes: float) -> dict[str, Any]:
    """A step: terms, `reg`, `total`, and the history after the last layer, after 0, 1, ..."""
    found: dict[str, Any] = {}
    total, calls = 0.0, []
    last = len(masks) - 1
    for layer in (last, *range(last)):
        z = masks[layer]
        p = np.clip(sigmoid(z), 1e-4, 1 - 1e-4)
        history = 0.01 * history + 0.99 * p
        calls.append(history)
        reg = np.log(1 - (y * p + (1 - y) * (1 - p))).mean()
        mask = clip_means(focal(z, y), boxes) + 5e-4 * reg
        of_masks = float(dice(z, y).sum() / boxes)
        for term, value in (("loss_mask", mask), ("loss_dice", of_masks), ("reg", reg)):
            found[named(term, layer, len(masks))] = value
        total += 2 * mask + 5 * of_masks
    return found | {"total": total, "history_after_calls": np.stack(calls)}


def npn_counts(p: Array, y: Array, counts: Array, *, warm: bool) -> Array:
    """Counts [..., 2], channel 0 background, after one call."""
    counts = counts.copy()
    confident = np.maximum(p, 1 - p) > 0.7
    for place in np.ndindex(p.shape):
        label, guess = int(y[place]), int(p[place] > 0.5)
        if warm:
            counts[(*place, label)] = 1
            if confident[place]:
                counts[(*place, guess)] += 1
        else:
            for side in {label, guess} if confident[place] else {label}:
                counts[(*place, side)] += 1
    return counts


def npn(
    weak: Sequence[Array], strong: Sequence[Array], y: Array, fixed: Sequence[Mapping[str, Array]],
    boxes: float, *, warm: bool,
) -> dict[str, Any]:  # fmt: skip
    """Terms of a step; `fixed` has each layer's constants: counts, guess and confident."""
    found: dict[str, Any] = {}
    total = 0.0
    for layer, z in enumerate(weak):
        of_masks = float(dice(z, y).sum() / boxes)
        if warm:
            mask = clip_means(focal(z, y), boxes)
        else:
            counts, guess, confident = (fixed[layer][k] for k in ("counts", "guess", "confident"))
            proxy = (counts[..., 1] > counts[..., 0]).astype(float)
            reliability = counts.max(-1) / counts.sum(-1)
            pll = (reliability * np.logaddexp(0, -2 * (2 * proxy - 1) * z)).mean()
            p = np.clip(sigmoid(z), 1e-4, 1)
            foreground = (y > 0) | (confident & (guess > 0))
            background = (y < 1) | (confident & (guess < 1))
            nl = -(~foreground * np.log(1 - p + 1e-7) + ~background * np.log(p + 1e-7)).mean()
            pixels = np.logaddexp(0, -2 * (2 * guess - 1) * strong[layer])
            cr = (pixels * confident).sum() / max(1, confident.sum())
            mask = pll + 0.1 * nl + 0.2 * cr
            parts = {"pll": pll, "nl": nl, "cr": cr, "proxy": proxy, "reliability": reliability}
            found |= {named(key, layer, len(weak)): value for key, value in parts.items()}
        found[named("loss_mask", layer, len(weak))] = mask
        found[named("loss_dice", layer, len(weak))] = of_masks
        total += 2 * mask + 5 * of_masks
    return found | {"total": total}


def sobel(p: Array) -> Array:
    """Norm of the 3x3 Sobel gradient / 8 of maps [..., h, w] with zeros around them."""
    around = np.pad(p, [(0, 0)] * (p.ndim - 2) + [(1, 1), (1, 1)])
    height, width = p.shape[-2:]
    across, down = np.zeros_like(p), np.zeros_like(p)
    for i in range(3):
        for j in range(3):
            part = around[..., i : i + height, j : j + width]
            across += (j - 1) * (2 - abs(i - 1)) * part
            down += (i - 1) * (2 - abs(j - 1)) * part
    return np.hypot(across, down) / 8


def regions(masks: Array, heads: Sequence[Array]) -> tuple[Array, Array, Array]:
    """U, S [B, T, Q, h, w] and the thresholds [B, 3]."""
    p = sigmoid(masks)
    margin, steep = np.abs(p - 0.5), sobel(p)
    uncertain, confident = np.zeros(p.shape, bool), np.zeros(p.shape, bool)
    cuts = np.zeros((len(p), 3))
    votes = np.stack([sigmoid(head) > 0.5 for head in (masks, *heads)]).sum(0)
    agreed = np.maximum(votes, 1 + len(heads) - votes) >= min(2, 1 + len(heads))
    for clip in range(len(p)):
        cuts[clip] = [
            np.quantile(margin[clip], 0.20),
            np.quantile(steep[clip], 0.85),
            np.quantile(margin[clip], 0.60),
        ]
        uncertain[clip] = (margin[clip] < cuts[clip, 0]) | (steep[clip] > cuts[clip, 1])
        confident[clip] = (margin[clip] >= cuts[clip, 2]) & agreed[clip]
    return uncertain, confident, cuts


def divergence(z: Array, x: Array) -> Array:
    p, q = (np.clip(sigmoid(v), 1e-6, 1 - 1e-6) for v in (z, x))
    return (p - q) * (np.log(p / (1 - p)) - np.log(q / (1 - q)))


def pmhm(
    masks: Sequence[Array], heads: Sequence[Array], y: Array, queries: Array,
    fixed: Sequence[tuple[Array, Array]], boxes: float,
) -> dict[str, float]:  # fmt: skip
    """All terms and `total` of masks [B, T, Q, h, w]; `fixed` has U and S of each layer."""
    found: dict[str, float] = {}
    for layer, whole in enumerate(masks):
        own = queries[layer]
        z, (u, s) = of_query(whole, own), (of_query(region, own) for region in fixed[layer])
        p, axes = sigmoid(z), (1, 2, 3)
        overlap, area = (s * p * y).sum(axes), (s * p).sum(axes) + 0.5 * (~s).sum(axes)
        of_masks = 1 - (2 * overlap + 1) / (area + (s * y).sum(axes) + 1)
        tp, fp, fn = (u * p * y).sum(), (u * p * (1 - y)).sum(), (u * (1 - p) * y).sum()
        terms = {
            "loss_mask": clip_means(s * focal(z, y), boxes),
            "loss_dice": float(of_masks.sum() / boxes),
            "loss_tv": 1 - (tp + 1e-6) / (tp + 0.7 * fp + 0.5 * fn + 1e-6),
            "loss_head": 0.0,
            "loss_layer": 0.0,
        }
        if layer == len(masks) - 1:
            for name, others in (("loss_head", heads), ("loss_layer", masks[:-1])):
                values = [(divergence(z, of_query(other, own)) * u).sum() for other in others]
                if values:
                    terms[name] = float(np.mean(values)) / max(1, u.sum())
        found |= {named(key, layer, len(masks)): value for key, value in terms.items()}
    weights = {"mask": 2, "dice": 5, "tv": 0.3, "head": 0.1, "layer": 0.1}
    found["total"] = sum(weights[key.split("_")[1]] * value for key, value in found.items())
    return found


def keep_rate(epoch: int) -> float:
    """Epochs count from 1."""
    return 0.95 - 0.1 * (epoch - 1) / 6 if epoch <= 6 else 0.85


def chosen(losses: Array, epoch: int) -> Array:
    return np.argsort(losses, kind="stable")[: int(np.floor(len(losses) * keep_rate(epoch) + 1e-9))]
