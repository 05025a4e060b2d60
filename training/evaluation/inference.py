"""From frames and expressions to label maps, step by step as the official inference does it.

Videos are cut into clips of 36 frames; the query and the decision whether an object is active are
taken once per clip. Then the objects compete for every pixel (``actiseg_ros.vision.label_map``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from actiseg_ros.vision.label_map import MAX_LABELS, merge
from training.data.pictures import normalise
from training.model import ActionVOS, ModelConfig, Output

CLIP_LENGTH = 36
POSITIVE_THRESHOLD = 0.75
"""Of the published inference. The focal loss keeps probabilities low, so a network from scratch may
need another; choose it on clips that are not the test."""
BACKGROUND = 0.1
MASK_THRESHOLD = 0.5
PIXELS_PER_PASS = 8 * 360 * 640
"""Input pixels times prompts decoded at once; bounds the memory of long clips with many objects."""
_LOGIT_EPSILON = 1e-6
"""Averaged probabilities are kept this far from 0 and 1."""

UInt8 = NDArray[np.uint8]
Tokenize = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
"""P expressions to ``input_ids`` and ``attention_mask``, int64 [P, L]."""


def trained_threshold(metadata: Mapping[str, str]) -> float:
    """Positive threshold that a checkpoint was validated with; 0.75 for published ones.

    Args:
        metadata: text metadata of the file, see ``load_model``.
    """
    run = json.loads(metadata.get("provenance", "{}")).get("run", {})
    return float(run.get("positive_threshold", POSITIVE_THRESHOLD))


def resize_for_model(image: Image.Image, shorter_side: int = 360) -> Image.Image:
    """Resizes an RGB image so that its shorter side has the given length.

    The longer side is truncated to whole pixels and not limited. Pillow's bilinear filter with
    antialiasing; OpenCV or torch would give other pixels.
    """
    width, height = image.size
    if width < height:
        size = (shorter_side, int(shorter_side * height / width))
    else:
        size = (int(shorter_side * width / height), shorter_side)
    return image.resize(size, Image.Resampling.BILINEAR)


def network_input(frames: Sequence[UInt8], config: ModelConfig) -> Tensor:
    """What a network reads of a clip: resized as published, and normalised.

    Args:
        frames: RGB, uint8 [H, W, 3] each, of one size.
        config: The network's.

    Returns:
        float32 [T, 3, h, w].
    """
    shorter_side = min(config.input_height, config.input_width)
    resized = [resize_for_model(Image.fromarray(frame), shorter_side) for frame in frames]
    stacked = np.stack([np.asarray(image) for image in resized])
    return normalise(torch.from_numpy(stacked).permute(0, 3, 1, 2), config.mean, config.std)


def choose_query(logits: Tensor) -> Tensor:
    """Query with the highest score, averaged over the frames of the clip.

    Args:
        logits: class logits, float [P, T, Q, 1].

    Returns:
        int64 [P].
    """
    return logits[..., 0].sigmoid().mean(1).argmax(1)


def positive_probability(positives: Tensor) -> Tensor:
    """Probability that each prompt's object is active, float [P], from logits [P, 1]."""
    return positives[:, 0].sigmoid()


def is_active(positives: Tensor, threshold: float | None) -> Tensor:
    """Objects that are kept: all but those strictly below the threshold.

    Args:
        positives: logits of the positive head, float [P, 1].
        threshold: probability; None keeps every object.

    Returns:
        bool [P].
    """
    probability = positive_probability(positives)
    if threshold is None:
        return torch.ones_like(probability, dtype=torch.bool)
    return ~(probability < threshold)


def chosen_masks(output: Output) -> Tensor:
    """Mask logits of the chosen queries, float [P, T, h, w]."""
    query = choose_query(output.logits)
    return output.masks[torch.arange(len(query), device=query.device), :, query]


def label_maps(masks: Tensor, active: Tensor, size: tuple[int, int]) -> UInt8:
    """Lets the objects compete for every pixel of every frame.

    Args:
        masks: mask logits of the chosen queries, float [P, T, h, w].
        active: bool [P].
        size: (height, width) of the frames that the logits are enlarged to.

    Returns:
        uint8 [T, H, W]: 0 is background, i the i-th prompt (counted from 1).

    Raises:
        ValueError: more than 255 prompts.
    """
    if len(masks) > MAX_LABELS:
        raise ValueError(f"{len(masks)} expressions; a label image holds at most {MAX_LABELS}")
    labels = np.zeros((masks.shape[1], *size), np.uint8)
    kept = active.nonzero()[:, 0]
    if not len(kept):
        return labels
    names = np.concatenate(([0], kept.cpu().numpy() + 1)).astype(np.uint8)
    everyone = np.ones(len(kept), np.bool_)
    for frame in range(masks.shape[1]):
        logits = masks[kept, frame].float()[:, None]
        # Enlarged before the sigmoid, as published; the other order moves the borders.
        enlarged = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        probabilities = enlarged[:, 0].sigmoid().cpu().numpy()
        labels[frame] = names[merge(probabilities, everyone, BACKGROUND, MASK_THRESHOLD)]
    return labels


def clips_of(frames: int, length: int = CLIP_LENGTH) -> Iterator[slice]:
    """Cuts a video into clips of equal length; the last one has what remains."""
    return (slice(start, min(start + length, frames)) for start in range(0, frames, length))


class Answer(NamedTuple):
    """What a network, or several together, say of a clip."""

    masks: Tensor
    """Mask logits of the chosen queries, float [P, T, h, w]."""
    positives: Tensor
    """Logits of the positive head, float [P, 1]."""


def average(answers: Sequence[Answer]) -> Answer:
    """The answer of several networks: the means of their probabilities, as logits.

    Args:
        answers: one or more, of equal shapes; each network has chosen its own queries. A single
            one is returned as it is.
    """
    if len(answers) == 1:
        return answers[0]
    masks, positives = (
        torch.stack([logits.float().sigmoid() for logits in part]).mean(0).logit(_LOGIT_EPSILON)
        for part in zip(*answers, strict=True)
    )
    return Answer(masks, positives)


@torch.inference_mode()
def predict_clip(
    model: ActionVOS,
    tokenize: Tokenize,
    frames: Sequence[UInt8],
    expressions: Sequence[str],
    *,
    peers: Sequence[ActionVOS] = (),
    threshold: float | None = POSITIVE_THRESHOLD,
    pixels_per_pass: int = PIXELS_PER_PASS,
) -> UInt8:
    """Segments one clip; the visual backbone runs once for all expressions.

    Args:
        model: network in evaluation mode.
        tokenize: tokeniser of the network.
        frames: T RGB frames of one size, uint8 [H, W, 3] each.
        expressions: P prompts; used as they are, without lower-casing.
        peers: networks of the same configuration and tokeniser whose probabilities are averaged
            with the network's.
        threshold: positive threshold, None to keep every object.
        pixels_per_pass: input pixels of all frames times prompts that are decoded at once.

    Returns:
        Label maps of the frames' size, uint8 [T, H, W].
    """
    height, width = frames[0].shape[:2]
    if not expressions:
        return np.zeros((len(frames), height, width), np.uint8)
    masks, positives = answer_clip(
        model, tokenize, frames, expressions, peers=peers, pixels_per_pass=pixels_per_pass
    )
    return label_maps(masks, is_active(positives, threshold), (height, width))


@torch.inference_mode()
def answer_clip(
    model: ActionVOS,
    tokenize: Tokenize,
    frames: Sequence[UInt8],
    expressions: Sequence[str],
    *,
    peers: Sequence[ActionVOS] = (),
    pixels_per_pass: int = PIXELS_PER_PASS,
) -> Answer:
    """What networks say of a clip before it is decided what is drawn; see `predict_clip`."""
    samples = network_input(frames, model.config)
    step = max(1, pixels_per_pass // samples[:, 0].numel())
    return average(
        [_answer(network, tokenize, samples, expressions, step) for network in (model, *peers)]
    )


def _answer(
    model: ActionVOS,
    tokenize: Tokenize,
    samples: Tensor,
    expressions: Sequence[str],
    step: int,
) -> Answer:
    """What a network says of normalised frames [T, 3, H, W], `step` expressions at a time."""
    device = next(model.parameters()).device
    image = model.encode_image(samples[None].to(device))
    size = torch.tensor([samples.shape[-2:]], device=device)
    masks, positives = [], []
    for start in range(0, len(expressions), step):
        input_ids, attention_mask = tokenize(expressions[start : start + step])
        text = model.encode_text(input_ids.to(device), attention_mask.to(device))
        output = model.decode(image, text, size, auxiliary=False)
        masks.append(chosen_masks(output))
        positives.append(output.positives)
    return Answer(torch.cat(masks), torch.cat(positives))
