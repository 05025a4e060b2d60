"""The rule: every reason against going, from one image's features."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.gate.rule import Features, Limits, Reason, judge
from tests.actiseg_ros.gate.world import GOOD, LIMITS


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"drawn": False}, Reason.NO_TARGET),
        ({"target": ""}, Reason.NO_TARGET),
        ({"active_score": 0.7}, Reason.NO_TARGET),
        ({"p_uncertainty": 0.31}, Reason.P_UNCERTAIN),
        ({"n_uncertainty": 0.21}, Reason.N_UNCERTAIN),
        ({"distance": 2.01}, Reason.OUT_OF_DISTRIBUTION),
        ({"distance": math.inf}, Reason.OUT_OF_DISTRIBUTION),
        ({"active_score": math.nan}, Reason.NO_TARGET),
        ({"p_uncertainty": math.nan}, Reason.P_UNCERTAIN),
        ({"n_uncertainty": math.nan}, Reason.N_UNCERTAIN),
        ({"distance": math.nan}, Reason.OUT_OF_DISTRIBUTION),
    ],
)
def test_each_feature_has_its_reason(change: dict[str, object], reason: Reason) -> None:
    assert judge(GOOD, LIMITS) == ()
    assert judge(dataclasses.replace(GOOD, **change), LIMITS) == (reason,)


def test_equal_to_the_limit_is_good() -> None:
    assert judge(Features("cup", True, 0.75, 0.3, 0.2, 2.0), LIMITS) == ()


def test_default_features_are_bad_in_every_respect() -> None:
    assert len(judge(Features(), LIMITS)) == 4


def test_limits_that_are_no_numbers_accept_nothing() -> None:
    assert len(judge(GOOD, Limits(*[math.nan] * 4))) == 4


@given(
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 5), st.floats(0, 1), st.floats(0, 1),
    st.floats(0, 5),
)  # fmt: skip
def test_worse_evidence_never_turns_no_go_into_go(
    p: float, n: float, d: float, dp: float, dn: float, dd: float
) -> None:
    before = judge(Features("cup", True, 0.9, p, n, d), LIMITS)
    after = judge(Features("cup", True, 0.9, p + dp, n + dn, d + dd), LIMITS)
    assert set(before) <= set(after)
