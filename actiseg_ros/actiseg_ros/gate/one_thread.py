"""Products of matrices in the calling thread alone.

OpenBLAS shares what is larger than `_ONE_THREAD` among its threads, which then wait for each other.
Where another process has a core, that takes tens of times as long as the product.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_ONE_THREAD = 4 * 65536
"""Multiplications up to which OpenBLAS takes one thread."""


def products(rows: FloatArray, others: FloatArray) -> FloatArray:
    """``rows @ others.T``.

    Args:
        rows: float64 [N, D].
        others: float64 [K, D].

    Returns:
        float64 [N, K].
    """
    out = np.empty((len(rows), len(others)))
    piece = max(1, _ONE_THREAD // max(1, rows.size))
    for start in range(0, len(others), piece):
        np.matmul(rows, others[start : start + piece].T, out=out[:, start : start + piece])
    return out
