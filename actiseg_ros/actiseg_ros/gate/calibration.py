"""The gate's calibration record, as `actiseg calibrate` leaves it in a bundle."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actiseg_ros.bundle import Bundle
from actiseg_ros.errors import BundleError
from actiseg_ros.gate.novelty import NoveltyDetector, load_novelty
from actiseg_ros.gate.rule import FEATURE_VERSION, Features, Limits, Reason, judge
from actiseg_ros.prompts import CANDIDATES, Candidates

_LIMIT_NAMES = tuple(Limits.__dataclass_fields__)
_REMEDY = "run `actiseg calibrate` on this bundle"


@dataclass(frozen=True)
class Certificate:
    """What calibration has shown about its limits.

    Attributes:
        risk: Largest share of failing clips among the accepted ones, in (0, 1).
        confidence: Confidence of that statement, in (0, 1).
    """

    risk: float
    confidence: float


@dataclass(frozen=True)
class PolicyLimits:
    """Limits for one way of choosing candidates.

    Attributes:
        limits: Limits for `judge`.
        certificate: What was shown about them; None if nothing was.
    """

    limits: Limits
    certificate: Certificate | None


@dataclass(frozen=True)
class Calibration:
    """What `actiseg calibrate` left in a bundle.

    Attributes:
        novelty: Tells images that are unlike those of the calibration.
        policies: For each calibrated way of choosing candidates its limits.
        id: SHA-256 (hex) of the record, `calibration_id`.
        complaint: Why there is no certificate at all, with the remedy; empty if there is one.
    """

    novelty: NoveltyDetector
    policies: Mapping[Candidates, PolicyLimits]
    id: str = ""
    complaint: str = ""

    def limits(self, policy: Candidates = "named") -> Limits | None:
        """Limits for a way of choosing candidates, None if it was not calibrated."""
        found = self.policies.get(policy)
        return found.limits if found else None

    def certificate(self, policy: Candidates = "named") -> Certificate | None:
        """What was shown about these limits, None if nothing was."""
        found = self.policies.get(policy)
        return found.certificate if found else None

    def certifies(
        self, max_risk: float, min_confidence: float, policy: Candidates = "named"
    ) -> bool:
        """Whether at most this risk was shown at this confidence or a higher one."""
        shown = self.certificate(policy)
        return shown is not None and shown.risk <= max_risk and shown.confidence >= min_confidence

    def judge(self, features: Features) -> tuple[Reason, ...]:
        """Reasons of the rule against going, by the limits for the features' candidates."""
        limits = self.limits(features.candidates)
        return judge(features, limits) if limits else (Reason.NOT_CALIBRATED,)


def calibration_id(record: Mapping[str, Any], novelty_sha256: str) -> str:
    """Identifies a calibration record: limits, criteria, evidence and data belong together.

    Args:
        record: The record ``gate`` of a ``bundle.json``; its own ``id`` does not enter.
        novelty_sha256: SHA-256 (hex) of the novelty detector's file.

    Returns:
        SHA-256 in hexadecimal.
    """
    content = {key: value for key, value in record.items() if key != "id"}
    text = json.dumps([content, novelty_sha256], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def vocabulary_id(bundle: Bundle) -> str:
    """SHA-256 (hex) of a bundle's object names: they decide which candidate is the target."""
    names = [[entry.class_id, *entry.names] for entry in bundle.vocabulary]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def load_calibration(bundle: Bundle) -> Calibration | None:
    """Reads the gate's calibration from a bundle.

    Returns:
        None if the bundle was never calibrated.

    Raises:
        BundleError: The calibration was made for another model, vocabulary or definition of the
            features, or it is damaged. The caller treats this as not calibrated.
    """
    record = bundle.gate
    if record is None:
        return None
    where = f"{bundle.path / 'bundle.json'}: `gate`"
    try:
        if record["model"] != bundle.model_id:
            raise BundleError(f"{where} was calibrated for another model; {_REMEDY}")
        known = vocabulary_id(bundle)
        if record.get("vocabulary", known) != known:  # older records do not say
            raise BundleError(f"{where} was calibrated with another vocabulary; {_REMEDY}")
        if record["features"] != FEATURE_VERSION:
            raise BundleError(
                f"{where} has features of version {record['features']!r}, "
                f"not {FEATURE_VERSION}; {_REMEDY}"
            )
        file = str(record["domain"]["file"])
        if file not in bundle.files:
            raise ValueError(f"{file} has no hash in `files`")
        novelty = load_novelty(bundle.contents.take(file), bundle.path / file)
        identity = calibration_id(record, bundle.files[file])
        shown, complaint = _certificate(record, identity)
        policies = {
            policy: PolicyLimits(
                _limits(record["policies"][policy]["limits"]),
                shown if record["policies"][policy]["certified"] is True else None,
            )
            for policy in CANDIDATES
            if policy in record["policies"]
        }
        if not complaint and not any(found.certificate for found in policies.values()):
            complaint = "has no certificate: no limits kept the risk on the calibration clips"
        if complaint:
            complaint = f"{where} {complaint}; {_REMEDY}"
        return Calibration(novelty, policies, identity, complaint)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{where} is damaged ({error!r}); {_REMEDY}") from error


def _limits(values: Mapping[str, Any]) -> Limits:
    limits = Limits(**{name: float(values[name]) for name in _LIMIT_NAMES})
    for name in ("active_score", "p_uncertainty", "n_uncertainty"):
        if not 0 <= getattr(limits, name) <= 1:
            raise ValueError(f"limit {name} is {getattr(limits, name)}, expected 0 to 1")
    if not 0 < limits.distance < math.inf:
        raise ValueError(f"limit distance is {limits.distance}, expected above 0 and finite")
    return limits


def _certificate(record: Mapping[str, Any], identity: str) -> tuple[Certificate | None, str]:
    """The certificate, or why there is none."""
    if record.get("id") != identity:
        return None, "was edited after its calibration, or has no `id`, so it certifies nothing"
    risk, confidence = (float(record["criteria"][name]) for name in ("risk", "confidence"))
    if not (0 < risk < 1 and 0 < confidence < 1):
        return None, f"has a risk of {risk} at confidence {confidence}, which certifies nothing"
    return Certificate(risk, confidence), ""
