"""The paper's findings, each as claims about differences of our means."""

from __future__ import annotations

from itertools import pairwise

from training.report.conditions import Condition
from training.report.effects import Evidence
from training.report.ranking import rankings_change
from training.report.verdicts import Finding, claim, difference, fall, judged

CLEAN, NAME_60, MASK_21, MIXED = (0.0, 0), (0.6, 0), (0.0, 21), (0.6, 21)
"""Text noise rate and mask noise kernel of the levels that the findings speak of."""
STEEP = 10.0
"""A fall is called steep beyond so many percent of the clean value; the paper's is 31."""


def make_findings(evidence: Evidence) -> list[Finding]:
    """Findings (a) to (e) with their verdicts; all claims are judged together."""
    findings = [
        _text_noise_lowers_both(evidence),
        _mask_noise_is_steep(evidence),
        _co_teaching_keeps_foreground(evidence),
        _pmhm_helps_with_masks_only(evidence),
    ]
    kinds = {"text": NAME_60, "mask": MASK_21, "mixed": MIXED}
    return [*judged(findings), rankings_change(evidence, kinds)]


def _baseline(level: tuple[float, int]) -> Condition:
    return Condition(*level, "baseline")


def _text_noise_lowers_both(evidence: Evidence) -> Finding:
    """Sec. V-C: positive and negative overlaps fall together (Table I)."""
    claims = [
        difference(
            evidence,
            metric,
            "-",
            _baseline((rate, 0)),
            _baseline(CLEAN),
            decides=rate == 0.6 and metric in ("p_miou", "n_miou"),
        )
        for rate in (0.6, 0.4, 0.2)
        for metric in ("p_miou", "n_miou", "p_ciou", "n_ciou")
        if rate == 0.6 or metric.endswith("miou")
    ]
    return Finding("a", "Text noise lowers p-IoU and n-IoU together", tuple(claims))


def _mask_noise_is_steep(evidence: Evidence) -> Finding:
    """Sec. V-D: p-mIoU falls with every step of the kernel (Table II)."""
    kernels = (0, 9, 15, 21)
    claims = [
        difference(evidence, "p_miou", "-", _baseline((0.0, larger)), _baseline((0.0, smaller)))
        for smaller, larger in pairwise(kernels)
    ]
    worst, clean = _baseline(MASK_21), _baseline(CLEAN)
    text = f"Baseline: p-mIoU at {worst.noise} more than {STEEP:g} % below {clean.noise} (steep)"
    steep = fall(evidence, text, "p_miou", STEEP, worst, clean)
    harsher = difference(evidence, "p_miou", "-", worst, _baseline(NAME_60), decides=False)
    return Finding(
        "b", "Mask noise lowers p-mIoU steeply with the kernel", (*claims, steep, harsher)
    )


def _co_teaching_keeps_foreground(evidence: Evidence) -> Finding:
    """Sec. V-E and V-G: co-teaching keeps the foreground at Name-40 and Name-60 (Table III)."""
    claims = [
        difference(
            evidence,
            "p_miou",
            "+",
            Condition(rate, 0, "co-teaching"),
            _baseline((rate, 0)),
            decides=rate > 0.2,
        )
        for rate in (0.6, 0.4, 0.2)
    ]
    return Finding("c", "Co-teaching keeps the foreground under text noise", tuple(claims))


def _pmhm_helps_with_masks_only(evidence: Evidence) -> Finding:
    """Sec. V-F: lower n-IoU and higher gIoU under mask noise, not under mixed noise."""
    masks, mixed = Condition(*MASK_21, "pmhm"), Condition(*MIXED, "pmhm")
    claims = [
        difference(evidence, "n_miou", "-", masks, _baseline(MASK_21)),
        difference(evidence, "giou", "+", masks, _baseline(MASK_21)),
        claim(
            evidence,
            "PMHM's gain in gIoU over the baseline is smaller under mixed than under mask noise",
            "giou",
            "-",
            [
                (1.0, mixed),
                (-1.0, _baseline(MIXED)),
                (-1.0, masks),
                (1.0, _baseline(MASK_21)),
            ],
        ),
        difference(evidence, "n_ciou", "-", masks, _baseline(MASK_21), decides=False),
        difference(evidence, "giou", "-", mixed, _baseline(MIXED), decides=False),
        difference(evidence, "n_miou", "+", mixed, _baseline(MIXED), decides=False),
    ]
    return Finding(
        "d", "PMHM lowers n-IoU and lifts gIoU under mask noise, and loses that under mixed noise",
        tuple(claims),
    )  # fmt: skip
