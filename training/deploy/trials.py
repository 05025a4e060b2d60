"""Runs the robot's segmenter over labelled clips: what the gate would see, and what would happen.

A decision to go is a failure if the mask would miss (p-failure: IoU with the truth too small) or
collide (n-failure: too much of the mask lies on other objects).
"""

from __future__ import annotations

import glob
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle
from actiseg_ros.errors import ActisegError
from actiseg_ros.gate.features import target_features
from actiseg_ros.gate.novelty import NoveltyDetector
from actiseg_ros.narration.text import clean_narration
from actiseg_ros.narration.vocabulary import Vocabulary
from actiseg_ros.prompts import (
    CANDIDATES,
    MAX_OBJECTS,
    Candidates,
    Prompt,
    choose_prompt,
    choose_target,
    clean_names,
)
from actiseg_ros.vision.image_descriptor import ImageDescriptor, Rgb
from actiseg_ros.vision.segmenter import Segmentation, Segmenter
from training.data.layout import IMAGES, LABELS
from training.data.palette import read_label_png
from training.data.pictures import read_rgb
from training.data.splits import Clip
from training.deploy.corruptions import CORRUPTIONS, MOVES
from training.deploy.risk_control import Criteria, Trial
from training.files.progress import tracked


@dataclass(frozen=True)
class Answer:
    """What the network answers for one way of choosing candidates.

    Attributes:
        result: Answer of the network.
        trial: What the gate would see and whether going would fail; None without a target.
        truth: Where the target is, bool [H, W]; None without a target.
    """

    result: Segmentation
    trial: Trial | None
    truth: npt.NDArray[np.bool_] | None


@dataclass(frozen=True)
class LabelledFrame:
    """One frame, and what the network says about it.

    Attributes:
        clip: Sequence that it belongs to.
        video: Recording that it is of.
        name: Of the frame.
        rgb: The image, uint8 [H, W, 3].
        descriptor: What novelty detection knows of it.
        answers: For every way of choosing candidates in which there is something to ask.
    """

    clip: str
    video: str
    name: str
    rgb: Rgb
    descriptor: ImageDescriptor
    answers: Mapping[Candidates, Answer]


def run_frames(
    segmenter: Segmenter,
    clips: Sequence[Clip],
    data: Path,
    criteria: Criteria,
    policies: Sequence[Candidates] = CANDIDATES,
    *,
    novelty: NoveltyDetector | None = None,
    corruption: str = "",
    seed: int = 0,
) -> Iterator[LabelledFrame]:
    """Segments every frame of some clips as the robot would.

    Args:
        segmenter: The robot's.
        clips: Labelled clips.
        data: Root of the ActionVOS layout.
        criteria: What counts as a failure.
        policies: Ways in which the candidates are chosen, see `prompt_of`.
        novelty: Gives the distance of each image; None makes it infinite.
        corruption: Name in `CORRUPTIONS`; empty leaves the images as they are.
        seed: Of the corruption.

    Raises:
        ActisegError: An image is missing, or a name is unknown.
    """
    if corruption and corruption not in CORRUPTIONS:
        raise ActisegError(f"--corruption {corruption}: there are {', '.join(CORRUPTIONS)}")
    entries = segmenter.bundle.vocabulary
    vocabulary = Vocabulary({entry.class_id: entry.names for entry in entries})
    random = np.random.default_rng(seed)
    for clip in tracked(clips, corruption or "images as they are", "clips"):
        prompts = {p: prompt_of(clip, p, vocabulary, segmenter.unread) for p in policies}
        narrated = choose_target(
            clean_narration(clip.narration or ""), _annotated(clip), vocabulary
        ).name
        encoded = {policy: segmenter.encode(prompt) for policy, prompt in prompts.items() if prompt}
        if not encoded:
            continue
        for frame in clip.frames:
            rgb, folder = read_image(data, clip.sequence, frame)
            truth = _read_labels(data, folder, clip.sequence, frame, rgb.shape[:2])
            if corruption:
                rgb = CORRUPTIONS[corruption](rgb, random)
                truth = MOVES.get(corruption, _unmoved)(truth)
            looked = segmenter.look([rgb])
            distance = novelty.distance(looked.descriptors[0]) if novelty else math.inf
            answers = {}
            for policy, prompt in encoded.items():
                result = segmenter.answer(looked, prompt)[0]
                # The narration's name for it may be another than the annotation's.
                meant = narrated or result.prompt.target
                ids = [
                    item.object_id for item in clip.objects if clean_names([item.name]) == (meant,)
                ]
                trial = _trial(result, clip, truth, ids, segmenter.bundle, distance, criteria)
                answers[policy] = Answer(result, trial, np.isin(truth, ids) if trial else None)
            described = looked.descriptors[0]
            yield LabelledFrame(clip.sequence, clip.video, frame, rgb, described, answers)


def _unmoved(labels: Rgb) -> Rgb:
    return labels


def _trial(
    result: Segmentation,
    clip: Clip,
    truth: npt.NDArray[np.uint8],
    ids: Sequence[int],
    bundle: Bundle,
    distance: float,
    criteria: Criteria,
) -> Trial | None:
    prompt = result.prompt
    if not prompt.target:
        return None
    drawn = result.labels == prompt.names.index(prompt.target) + 1
    features = target_features(result, bundle, distance)
    failed = failures(drawn, truth, ids, criteria)
    return Trial(clip.sequence, features, *failed, alone=is_alone(truth, ids))


def prompt_of(
    clip: Clip,
    policy: Candidates,
    vocabulary: Vocabulary,
    unread: Callable[[Prompt], Sequence[str]] = lambda prompt: (),
) -> Prompt | None:
    """What the robot is asked about a clip.

    Args:
        clip: Labelled clip.
        policy: How the candidates are chosen: `named` (all objects of the clip, as by
            `set_objects` or an `action`), `narration` (what the node takes from the narration
            alone, and both hands) or `target` (the target is the only candidate).
        vocabulary: Names that the bundle knows.
        unread: See `choose_prompt`.

    Returns:
        The prompt, whose target is empty if the narration names none of the candidates; None if
        there is nothing to ask, or the robot would judge the answer by other limits.
    """
    narration = clean_narration(clip.narration or "")
    given = () if policy == "narration" else _annotated(clip)
    if policy == "target":
        target = choose_target(narration, given, vocabulary).name if given else ""
        given = (target,) if target else ()
    if not given and policy != "narration":
        return None
    prompt, _ = choose_prompt(narration, given, vocabulary, unread=unread)
    return prompt if prompt.candidates == policy else None


def _annotated(clip: Clip) -> tuple[str, ...]:
    return clean_names([item.name for item in clip.objects][:MAX_OBJECTS])


def read_image(data: Path, sequence: str, frame: str) -> tuple[Rgb, str]:
    """Image [H, W, 3] and the name of its split's folder."""
    stem = Path(frame).stem
    found = sorted((data / IMAGES).glob(f"*/{glob.escape(sequence)}/{stem}.jpg"))
    if not found:
        raise ActisegError(f"{data}: no image {IMAGES}/*/{sequence}/{stem}.jpg")
    return read_rgb(found[0]), found[0].parts[-3]


def _read_labels(
    data: Path, folder: str, sequence: str, frame: str, size: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """True labels [H, W] at the image's size.

    Raises:
        ActisegError: The file cannot be read, or is no smaller or larger copy of the image's shape.
    """
    path = data / LABELS / folder / sequence / f"{Path(frame).stem}.png"
    labels = read_label_png(path)
    if labels.shape != size:
        (height, width), (rows, columns) = labels.shape, size
        # Either side rounded to whole pixels.
        if abs(height * columns - width * rows) > max(rows, columns):
            raise ActisegError(
                f"{path}: labels of {width}x{height} pixels for an image of {columns}x{rows}, "
                "which has another shape; they belong to another picture, so prepare the data anew"
            )
        labels = np.asarray(
            cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8
        )
    return labels


def is_alone(truth: npt.NDArray[np.uint8], ids: Sequence[int]) -> bool:
    """Whether the target is there and no other object lies on it or beside it.

    Args:
        truth: uint8 [H, W], true labels; 0 is background.
        ids: True labels of the target.
    """
    real = np.isin(truth, ids)
    # About a cell of the mask grid of a network input of 320 pixels.
    margin = 2 * max(1, truth.shape[1] // 80) + 1
    near = cv2.dilate(real.astype(np.uint8), np.ones((margin, margin), np.uint8)) > 0
    return bool(real.any() and not (near & (truth > 0) & ~real).any())


def failures(
    drawn: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.uint8],
    ids: Sequence[int],
    criteria: Criteria,
) -> tuple[bool, bool]:
    """Would going on this mask miss, and would it collide?

    Args:
        drawn: bool [H, W], pixels that the label map gives to the target.
        truth: uint8 [H, W], true labels; 0 is background.
        ids: True labels of the target.
        criteria: Limits of the overlaps.

    Returns:
        p-failure and n-failure; an empty mask fails both.
    """
    area = int(np.count_nonzero(drawn))
    if not area:
        return True, True
    real = np.isin(truth, ids)
    iou = np.count_nonzero(drawn & real) / np.count_nonzero(drawn | real)
    collision = np.count_nonzero(drawn & (truth > 0) & ~real) / area
    return bool(iou < criteria.min_iou), bool(collision > criteria.max_collision)
