"""From a segmentation to the features that the rule judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle
from actiseg_ros.gate.rule import Features
from actiseg_ros.gate.uncertainty import (
    ambiguous_pixels,
    claimed_pixels,
    n_uncertainty,
    p_uncertainty,
    uncertain_pixels,
)
from actiseg_ros.vision.segmenter import Segmentation


@dataclass(frozen=True)
class MaskUncertainty:
    """Uncertainty of one object's mask, both numbers in [0, 1]."""

    p_uncertainty: float
    n_uncertainty: float

    def worse(self, other: MaskUncertainty) -> MaskUncertainty:
        """The larger of each."""
        return MaskUncertainty(
            max(self.p_uncertainty, other.p_uncertainty),
            max(self.n_uncertainty, other.n_uncertainty),
        )


_UNKNOWN = MaskUncertainty(1.0, 1.0)
SAME_OBJECT = 0.5
"""Least IoU of an image's own mask and the one joined with images before."""


def mask_uncertainty(segmentation: Segmentation, index: int, bundle: Bundle) -> MaskUncertainty:
    """Uncertainty of one object against all other candidates.

    Every other candidate counts as something that must not be touched, hands and other active
    objects included. Of a stream the image's own answer, which is what calibration has seen, and
    the joined one are both looked at, and the worse numbers count; masks that overlap less than
    `SAME_OBJECT` are of two things, however crisp each is.

    Args:
        segmentation: Result of the network.
        index: Position of the object in `segmentation.prompt.names`.
        bundle: Gives the thresholds of Eq. 4 and of the masks.

    Returns:
        The object's uncertainties; both are 1 if its mask is empty.
    """
    answers = _answers(segmentation)
    if not _agree([each[index] for each in answers], bundle):
        return _UNKNOWN
    found = []
    for probabilities in answers:
        rivals = np.delete(probabilities, index, axis=0)
        others = claimed_pixels(rivals, bundle.uncertainty.tau_m)
        found.append(_against(probabilities[index], others, bundle))
    return reduce(MaskUncertainty.worse, found)


def mask_uncertainties(segmentation: Segmentation, bundle: Bundle) -> list[MaskUncertainty]:
    """`mask_uncertainty` of every object, in little more time than that of one takes."""
    found = []
    answers = _answers(segmentation)
    for probabilities in answers:
        claims = probabilities > np.float32(0.5 - bundle.uncertainty.tau_m)
        claimants = claims.sum(axis=0, dtype=np.uint16)
        found.append(
            [
                _against(p, claimants > own, bundle)
                for p, own in zip(probabilities, claims, strict=True)
            ]
        )
    return [
        reduce(MaskUncertainty.worse, each) if _agree(masks, bundle) else _UNKNOWN
        for each, *masks in zip(zip(*found, strict=True), *answers, strict=True)
    ]


def _agree(masks: Sequence[npt.NDArray[np.float32]], bundle: Bundle) -> bool:
    """Whether probabilities float32 [h, w] of one object, of each answer, are of one thing."""
    drawn = [each >= bundle.thresholds.mask for each in masks]
    union = np.count_nonzero(np.logical_or.reduce(drawn))
    return bool(np.count_nonzero(np.logical_and.reduce(drawn)) >= SAME_OBJECT * union)


def _answers(segmentation: Segmentation) -> list[npt.NDArray[np.float32]]:
    """Probabilities float32 [P, h, w]: the published ones, and the image's own if they differ."""
    own = segmentation.own
    return [segmentation.probabilities, *([] if own is None else [own.probabilities])]


def _against(
    p: npt.NDArray[np.float32], others: npt.NDArray[np.bool_], bundle: Bundle
) -> MaskUncertainty:
    """Uncertainty of probabilities float32 [h, w] against what others may claim, bool [h, w]."""
    spec = bundle.uncertainty
    mask = np.asarray(p >= bundle.thresholds.mask)
    if not mask.any():
        return _UNKNOWN
    ambiguous = ambiguous_pixels(p, spec.tau_m, spec.tau_e)
    return MaskUncertainty(p_uncertainty(mask, ambiguous), n_uncertainty(mask, ambiguous, others))


def uncertain_map(segmentation: Segmentation, bundle: Bundle) -> npt.NDArray[np.bool_]:
    """Pixels of Eq. 4 of any active object, bool [h, w] on the mask grid."""
    spec = bundle.uncertainty
    union = np.zeros(segmentation.probabilities.shape[1:], np.bool_)
    for index in np.flatnonzero(segmentation.active >= bundle.thresholds.positive):
        union |= uncertain_pixels(segmentation.probabilities[index], spec.tau_m, spec.tau_e)
    return union


def target_features(segmentation: Segmentation, bundle: Bundle, distance: float) -> Features:
    """Collects the features of the prompt's target in one image.

    Args:
        segmentation: Result of the network; its prompt names the target.
        bundle: Gives the thresholds of Eq. 4 and of the masks.
        distance: Of the image from those of the calibration (`NoveltyDetector.distance`), infinite
            if it is not known.

    Returns:
        Features for `rule.judge`.
    """
    prompt = segmentation.prompt
    if not prompt.target or prompt.target not in prompt.names:
        return Features(distance=distance, candidates=prompt.candidates)
    index = prompt.names.index(prompt.target)
    uncertainty = mask_uncertainty(segmentation, index, bundle)
    active = segmentation.active[index]
    if segmentation.own is not None:
        active = min(active, segmentation.own.active[index])
    return Features(
        target=prompt.target,
        drawn=bool((segmentation.labels == index + 1).any()),
        active_score=float(active),
        p_uncertainty=uncertainty.p_uncertainty,
        n_uncertainty=uncertainty.n_uncertainty,
        distance=distance,
        candidates=prompt.candidates,
    )
