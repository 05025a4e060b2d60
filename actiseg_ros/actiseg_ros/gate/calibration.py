"""The gate's calibration record, as `actiseg calibrate` leaves it in a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actiseg_ros.bundle import Bundle
from actiseg_ros.errors import BundleError
from actiseg_ros.gate.novelty import NoveltyDetector, load_novelty
from actiseg_ros.gate.rule import FEATURE_VERSION, Limits

_LIMIT_NAMES = tuple(Limits.__dataclass_fields__)


@dataclass(frozen=True)
class Calibration:
    """What `actiseg calibrate` left in a bundle.

    Attributes:
        limits: Limits for `judge`.
        novelty: Tells images that are unlike those of the calibration.
        certified: Whether the stated risk was met at the stated confidence.
        record: The whole record, for diagnostics.
    """

    limits: Limits
    novelty: NoveltyDetector
    certified: bool
    record: Mapping[str, Any]


def load_calibration(bundle: Bundle) -> Calibration | None:
    """Reads the gate's calibration from a bundle.

    Returns:
        None if the bundle was never calibrated.

    Raises:
        BundleError: The calibration was made for another model or another definition of the
            features, or it is damaged. The caller treats this as not calibrated.
    """
    record = bundle.gate
    if record is None:
        return None
    where = f"{bundle.path / 'bundle.json'}: `gate`"
    remedy = "run `actiseg calibrate` on this bundle"
    try:
        if record["model"] != bundle.model_id:
            raise BundleError(f"{where} was calibrated for another model; {remedy}")
        if record["features"] != FEATURE_VERSION:
            raise BundleError(
                f"{where} has features of version {record['features']!r}, "
                f"not {FEATURE_VERSION}; {remedy}"
            )
        limits = Limits(**{name: float(record["limits"][name]) for name in _LIMIT_NAMES})
        for name in ("active_score", "p_uncertainty", "n_uncertainty"):
            if not 0 <= getattr(limits, name) <= 1:
                raise ValueError(f"limit {name} is {getattr(limits, name)}, expected 0 to 1")
        if not 0 < limits.distance < math.inf:
            raise ValueError(f"limit distance is {limits.distance}, expected above 0 and finite")
        file = str(record["domain"]["file"])
        if file not in bundle.files:
            raise ValueError(f"{file} has no hash in `files`")
        novelty = load_novelty(bundle.path / file)
        return Calibration(limits, novelty, record.get("certified") is True, record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{where} is damaged ({error!r}); {remedy}") from error
