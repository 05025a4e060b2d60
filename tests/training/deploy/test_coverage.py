"""What the certificate promises, on distributions whose risk is known: many repetitions."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from actiseg_ros.gate.rule import Features
from training.deploy.risk_control import (
    Criteria,
    Outcome,
    Trial,
    binomial_upper_bound,
    choose_limits,
    keeps_risk,
    upper_bound,
)

REPETITIONS = 1000
RISK, CONFIDENCE, HORIZON = 0.1, 0.9, 250
CRITERIA = Criteria(risk=RISK, confidence=CONFIDENCE, horizon=HORIZON)
# More of 1000 than this have a probability below 0.001 if one in ten is right.
TOO_MANY = int(stats.binom.ppf(0.999, REPETITIONS, 1 - CONFIDENCE))

Chance = Callable[[np.ndarray], np.ndarray]
"""Probability that a clip fails, by its uncertainty."""


def rising(p: np.ndarray) -> np.ndarray:
    return 0.35 * p**2


def sudden(p: np.ndarray) -> np.ndarray:
    return np.where(p < 0.6, 0.03, 0.5)


def falling(p: np.ndarray) -> np.ndarray:
    """The surer the network, the worse: no limits keep the risk but loose ones."""
    return 0.25 * (1 - p)


def just_too_much(p: np.ndarray) -> np.ndarray:
    """Every certificate is wrong."""
    return np.full_like(p, RISK + 0.001)


def true_risk(chance: Chance, limit: float) -> float:
    """Risk of the clips up to an uncertainty, which is uniform."""
    return float(chance(np.linspace(0, limit, 20_001)).mean())


def calibrated(chance: Chance, random: np.random.Generator, clips: int = 200) -> Outcome:
    p = random.random(clips)
    failed = random.random(clips) < chance(p)
    trials = [
        Trial(str(i), Features("cup", True, 0.9, float(p[i]), 0.0, 1.0), bool(failed[i]), False)
        for i in range(clips)
    ]
    return choose_limits(trials, 0.75, 2.0, CRITERIA)


@pytest.mark.parametrize("chance", [rising, sudden, falling, just_too_much])
def test_the_risk_is_kept_as_often_as_promised(chance: Chance) -> None:
    """In the long run, and among the next clips that a user sees."""
    random = np.random.default_rng(1)
    certified = broken = broken_next = 0
    for _ in range(REPETITIONS):
        outcome = calibrated(chance, random)
        if not outcome.certified:
            continue
        certified += 1
        limit = outcome.limits.p_uncertainty
        broken += true_risk(chance, limit) > RISK
        following = random.random(HORIZON) < chance(limit * random.random(HORIZON))
        broken_next += np.count_nonzero(following) > RISK * HORIZON
    assert broken <= TOO_MANY and broken_next <= TOO_MANY
    if chance in (rising, sudden):
        assert certified > 0.9 * REPETITIONS
        # The promise is no mere formality: it is broken now and then.
        assert broken_next > 0


@pytest.mark.parametrize(("trials", "rate"), [(60, 0.02), (60, 0.2), (300, 0.08), (900, 0.1)])
def test_prediction_limit_holds_exactly(trials: int, rate: float) -> None:
    """Summed over everything that may be seen now and next."""
    seen = np.arange(trials + 1)
    limits = np.array([round(upper_bound(k, trials, CRITERIA) * HORIZON) for k in seen])
    above = stats.binom.sf(limits, HORIZON, rate)
    assert (stats.binom.pmf(seen, trials, rate) * above).sum() <= 1 - CONFIDENCE + 1e-9


@given(st.integers(0, 60), st.integers(1, 800), st.sampled_from([0.02, 0.05, 0.1, 0.2]))
def test_the_bound_is_the_smallest_risk_that_is_kept(failures: int, more: int, risk: float) -> None:
    trials = failures + more
    criteria = Criteria(risk=risk, confidence=CONFIDENCE, horizon=HORIZON)
    kept = keeps_risk(np.array([failures]), np.array([trials]), criteria)[0]
    bound = upper_bound(failures, trials, criteria)
    assert kept == (bound <= risk + 1e-12)
    assert bound >= binomial_upper_bound(failures, trials, CONFIDENCE)
    assert upper_bound(failures + 1, trials, criteria) >= bound
    assert upper_bound(failures, trials + 50, criteria) <= bound


def test_nothing_accepted_keeps_nothing() -> None:
    assert not keeps_risk(np.array([0]), np.array([0]), CRITERIA)[0]
    assert upper_bound(0, 0, CRITERIA) == 1
