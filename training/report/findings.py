"""The paper's findings, each as claims about differences of our means."""

from __future__ import annotations

from itertools import pairwise

from training.report.ranking import rankings_change
from training.report.results import Condition, Results
from training.report.verdicts import Finding, claim, difference, finding

CLEAN, NAME_60, MASK_21, MIXED = (0.0, 0), (0.6, 0), (0.0, 21), (0.6, 21)
"""Text noise rate and mask noise kernel of the levels that the findings speak of."""
STEEP = 0.1
"""A fall is called steep from this fraction of the clean value on; the paper's is 0.31."""


def make_findings(results: Results) -> list[Finding]:
    """Findings (a) to (e) with their verdicts."""
    return [
        _text_noise_lowers_both(results),
        _mask_noise_is_steep(results),
        _co_teaching_keeps_foreground(results),
        _pmhm_helps_with_masks_only(results),
        rankings_change(results, {"text": NAME_60, "mask": MASK_21, "mixed": MIXED}),
    ]


def _baseline(level: tuple[float, int]) -> Condition:
    return Condition(*level, "baseline")


def _text_noise_lowers_both(results: Results) -> Finding:
    """Sec. V-C: positive and negative overlaps fall together (Table I)."""
    claims = [
        difference(
            results,
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
    return finding("a", "Text noise lowers p-IoU and n-IoU together", claims)


def _mask_noise_is_steep(results: Results) -> Finding:
    """Sec. V-D: p-mIoU falls with every step of the kernel (Table II)."""
    kernels = (0, 9, 15, 21)
    claims = [
        difference(results, "p_miou", "-", _baseline((0.0, larger)), _baseline((0.0, smaller)))
        for smaller, larger in pairwise(kernels)
    ]
    worst, clean = _baseline(MASK_21), _baseline(CLEAN)
    share = f"{100 * STEEP:g} %"
    steep = claim(
        results,
        f"Baseline: p-mIoU at {worst.noise} more than {share} below {clean.noise} (steep)",
        "-",
        [(1.0, worst, "p_miou"), (STEEP - 1, clean, "p_miou")],
    )
    text, mask = _baseline(NAME_60), worst
    harsher = difference(results, "p_miou", "-", mask, text, decides=False)
    return finding(
        "b", "Mask noise lowers p-mIoU steeply with the kernel", [*claims, steep, harsher]
    )


def _co_teaching_keeps_foreground(results: Results) -> Finding:
    """Sec. V-E and V-G: co-teaching keeps the foreground at Name-40 and Name-60 (Table III)."""
    claims = [
        difference(
            results,
            "p_miou",
            "+",
            Condition(rate, 0, "co-teaching"),
            _baseline((rate, 0)),
            decides=rate > 0.2,
        )
        for rate in (0.6, 0.4, 0.2)
    ]
    return finding("c", "Co-teaching keeps the foreground under text noise", claims)


def _pmhm_helps_with_masks_only(results: Results) -> Finding:
    """Sec. V-F: lower n-IoU and higher gIoU under mask noise, not under mixed noise."""
    masks, mixed = Condition(*MASK_21, "pmhm"), Condition(*MIXED, "pmhm")
    claims = [
        difference(results, "n_miou", "-", masks, _baseline(MASK_21)),
        difference(results, "giou", "+", masks, _baseline(MASK_21)),
        claim(
            results,
            "PMHM's gain in gIoU over the baseline is smaller under mixed than under mask noise",
            "-",
            [
                (1.0, mixed, "giou"),
                (-1.0, _baseline(MIXED), "giou"),
                (-1.0, masks, "giou"),
                (1.0, _baseline(MASK_21), "giou"),
            ],
        ),
        difference(results, "n_ciou", "-", masks, _baseline(MASK_21), decides=False),
        difference(results, "giou", "-", mixed, _baseline(MIXED), decides=False),
        difference(results, "n_miou", "+", mixed, _baseline(MIXED), decides=False),
    ]
    return finding(
        "d", "PMHM lowers n-IoU and lifts gIoU under mask noise, and loses that under mixed noise",
        claims,
    )  # fmt: skip
