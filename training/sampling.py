"""Which samples form which batch: a pure function of seed and epoch, so that a run can resume."""

from __future__ import annotations

import numpy as np


def epoch_batches(
    samples: int, batch_size: int, *, seed: int, epoch: int, rank: int = 0, world_size: int = 1
) -> list[list[int]]:
    """Shuffles the samples of one epoch into the batches of one process.

    All processes get equally many full batches; the samples that do not fill a round of batches
    are left out of this epoch (another epoch leaves out others). A set smaller than one round is
    repeated to fill it.

    Returns:
        Indices of samples, `batch_size` in each batch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(samples)
    round_size = batch_size * world_size
    rounds = max(1, samples // round_size)
    order = np.resize(order, rounds * round_size)  # repeats a set that is too small
    shares = order.reshape(rounds, world_size, batch_size)
    return [[int(index) for index in batch] for batch in shares[:, rank]]
