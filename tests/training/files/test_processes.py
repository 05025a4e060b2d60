"""Work in processes gives what work in this process gives."""

import os

import pytest

from training.files.processes import in_processes


def square(x: int) -> tuple[int, int]:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x * x, os.getpid()


@pytest.mark.parametrize(
    ("workers", "worth", "others"), [(1, True, False), (2, True, True), (2, False, False)]
)
def test_results_keep_the_order_of_the_jobs(workers: int, worth: bool, others: bool) -> None:
    found = list(in_processes(square, range(20), workers, worth=worth, chunk=3))
    assert [result for result, _ in found] == [x * x for x in range(20)]
    assert (os.getpid() not in {process for _, process in found}) == others


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_ends_the_work(workers: int) -> None:
    results = in_processes(square, [1, -1, 2], workers)
    assert next(results)[0] == 1
    with pytest.raises(ValueError, match="-1 is negative"):
        list(results)


def test_no_jobs() -> None:
    assert list(in_processes(square, [])) == []
