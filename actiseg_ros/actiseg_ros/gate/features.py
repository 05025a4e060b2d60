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
    p = segmentation.probabilities[index]
    spec = bundle.uncertainty
    mask = np.asarray(p >= bundle.thresholds.mask)
    ambiguous = ambiguous_pixels(p, spec.tau_m, spec.tau_e)
    others = claimed_pixels(np.delete(segmentation.probabilities, index, axis=0), spec.tau_m)
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
