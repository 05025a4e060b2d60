"""What a parity case reports: one line for each output.

A module of cases has a function ``run(folder: Path) -> Iterator[Result]`` that yields nothing when
the folder lacks its section.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Result:
    """Comparison of one output of one case.

    Attributes:
        case: Section and case, e.g. ``criterion/b_negative``.
        output: Name of the output.
        difference: Largest absolute (or, if the note says so, relative) difference.
        tolerance: Limit as it is printed, e.g. ``2e-3 + 1e-4 of the value``.
        passed: Whether every element is within the limit.
        note: What a reader should know.
    """

    case: str
    output: str
    difference: float
    tolerance: str
    passed: bool
    note: str = ""

    def line(self) -> str:
        """One printable line."""
        mark = "ok  " if self.passed else "FAIL"
        text = (
            f"{mark} {self.case:44} {self.output:34} {self.difference:10.3g}  <= {self.tolerance}"
        )
        return f"{text}  ({self.note})" if self.note else text


def compare(
    case: str,
    output: str,
    got: Any,
    want: Any,
    *,
    absolute: float = 0.0,
    relative: float = 0.0,
    note: str = "",
) -> Result:
    """Compares arrays (or numbers) elementwise: |got - want| <= absolute + relative |want|.

    Equal infinities and NaN in the same places are equal; another shape fails.
    """
    got, want = np.asarray(got), np.asarray(want)
    tolerance = f"{absolute:g}" + (f" + {relative:g} of the value" if relative else "")
    if got.shape != want.shape:
        note = f"shape {got.shape}, expected {want.shape}"
        return Result(case, output, np.inf, tolerance, False, note)
    if not want.size:
        return Result(case, output, 0.0, tolerance, True, note)
    a, b = got.astype(np.float64), want.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
        within = difference <= absolute + relative * np.abs(b)  # NaN is not
    passed = bool((same | within).all())
    return Result(case, output, float(difference.max()), tolerance, passed, note)


def check(case: str, output: str, passed: bool, note: str = "") -> Result:
    """A fact that holds or not, e.g. that an error is reported."""
    return Result(case, output, 0.0 if passed else np.inf, "exact", passed, note)


def guarded(case: str, results: Iterable[Result]) -> Iterator[Result]:
    """The results of a part; if it raises, one failed result more, and what follows still runs."""
    try:
        yield from results
    except Exception as error:  # whatever is wrong with one file must not hide the others
        yield check(case, "runs", False, f"{type(error).__name__}: {error}")
