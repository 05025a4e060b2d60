"""From a segmentation to the numbers that the gate judges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actiseg_ros.bundle import Bundle
from actiseg_ros.gate.familiarity import Domain
from actiseg_ros.gate.rule import Features
from actiseg_ros.gate.uncertainty import (
    ambiguous_pixels,
    claimed_pixels,
    n_uncertainty,
    p_uncertainty,
)
from actiseg_ros.vision.segmenter import Segmentation


@dataclass(frozen=True)
class Doubt:
    """Uncertainty of one object's mask, both numbers in [0, 1]."""

    p_uncertainty: float
    n_uncertainty: float


def doubt_of(segmentation: Segmentation, index: int, bundle: Bundle) -> Doubt:
    """Uncertainty of one object against all other candidates.

    Every other candidate counts as something that must not be touched, hands and other active
    objects included.

    Args:
        segmentation: Result of the network.
        index: Position of the object in `segmentation.names`.
        bundle: Gives the thresholds of Eq. 4 and of the masks.

    Returns:
        The object's uncertainties; both are 1 if its mask is empty.
    """
    p = segmentation.probabilities[index]
    spec = bundle.uncertainty
    mask = np.asarray(p >= bundle.thresholds.mask)
    ambiguous = ambiguous_pixels(p, spec.tau_m, spec.tau_e)
    others = claimed_pixels(np.delete(segmentation.probabilities, index, axis=0), spec.tau_m)
    return Doubt(p_uncertainty(mask, ambiguous), n_uncertainty(mask, ambiguous, others))


def features_of(
    segmentation: Segmentation, target: str, bundle: Bundle, domain: Domain | None
) -> Features:
    """Collects the gate's features of one image.

    Args:
        segmentation: Result of the network.
        target: Name of the target, one of `segmentation.names`; otherwise there is no target.
        bundle: Gives the thresholds of Eq. 4 and of the masks.
        domain: Calibration images; None means an infinite distance.

    Returns:
        Features for `rule.judge`.
    """
    distance = (
        domain.distance(segmentation.embedding, segmentation.appearance) if domain else float("inf")
    )
    if not target or target not in segmentation.names:
        return Features(distance=distance)
    index = segmentation.names.index(target)
    doubt = doubt_of(segmentation, index, bundle)
    return Features(
        target=target,
        drawn=bool((segmentation.labels == index + 1).any()),
        active_score=float(segmentation.active[index]),
        p_uncertainty=doubt.p_uncertainty,
        n_uncertainty=doubt.n_uncertainty,
        distance=distance,
    )
