"""From a segmentation to the features that the rule judges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle
from actiseg_ros.gate.novelty import NoveltyDetector
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


def mask_uncertainty(segmentation: Segmentation, index: int, bundle: Bundle) -> MaskUncertainty:
    """Uncertainty of one object against all other candidates.

    Every other candidate counts as something that must not be touched, hands and other active
    objects included.

    Args:
        segmentation: Result of the network.
        index: Position of the object in `segmentation.prompt.names`.
        bundle: Gives the thresholds of Eq. 4 and of the masks.

    Returns:
        The object's uncertainties; both are 1 if its mask is empty.
    """
    rivals = np.delete(segmentation.probabilities, index, axis=0)
    others = claimed_pixels(rivals, bundle.uncertainty.tau_m)
    return _against(segmentation.probabilities[index], others, bundle)


def mask_uncertainties(segmentation: Segmentation, bundle: Bundle) -> list[MaskUncertainty]:
    """`mask_uncertainty` of every object, in little more time than that of one takes."""
    claims = segmentation.probabilities > np.float32(0.5 - bundle.uncertainty.tau_m)
    claimants = claims.sum(axis=0, dtype=np.uint16)
    return [
        _against(p, claimants > own, bundle)
        for p, own in zip(segmentation.probabilities, claims, strict=True)
    ]


def _against(
    p: npt.NDArray[np.float32], others: npt.NDArray[np.bool_], bundle: Bundle
) -> MaskUncertainty:
    """Uncertainty of probabilities float32 [h, w] against what others may claim, bool [h, w]."""
    spec = bundle.uncertainty
    mask = np.asarray(p >= bundle.thresholds.mask)
    if not mask.any():
        return MaskUncertainty(1.0, 1.0)
    ambiguous = ambiguous_pixels(p, spec.tau_m, spec.tau_e)
    return MaskUncertainty(p_uncertainty(mask, ambiguous), n_uncertainty(mask, ambiguous, others))


def uncertain_map(segmentation: Segmentation, bundle: Bundle) -> npt.NDArray[np.bool_]:
    """Pixels of Eq. 4 of any active object, bool [h, w] on the mask grid."""
    spec = bundle.uncertainty
    union = np.zeros(segmentation.probabilities.shape[1:], np.bool_)
    for index in np.flatnonzero(segmentation.active >= bundle.thresholds.positive):
        union |= uncertain_pixels(segmentation.probabilities[index], spec.tau_m, spec.tau_e)
    return union


def target_features(
    segmentation: Segmentation, bundle: Bundle, novelty: NoveltyDetector | None
) -> Features:
    """Collects the features of the prompt's target in one image.

    Args:
        segmentation: Result of the network; its prompt names the target.
        bundle: Gives the thresholds of Eq. 4 and of the masks.
        novelty: Knows the calibration images; None means an infinite distance.

    Returns:
        Features for `rule.judge`.
    """
    distance = novelty.distance(segmentation.descriptor) if novelty else float("inf")
    prompt = segmentation.prompt
    if not prompt.target or prompt.target not in prompt.names:
        return Features(distance=distance, candidates=prompt.candidates)
    index = prompt.names.index(prompt.target)
    uncertainty = mask_uncertainty(segmentation, index, bundle)
    return Features(
        target=prompt.target,
        drawn=bool((segmentation.labels == index + 1).any()),
        active_score=float(segmentation.active[index]),
        p_uncertainty=uncertainty.p_uncertainty,
        n_uncertainty=uncertainty.n_uncertainty,
        distance=distance,
        candidates=prompt.candidates,
    )
