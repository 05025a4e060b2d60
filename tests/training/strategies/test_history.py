"""Histories on disk against a dictionary in memory: epochs, checkpoints, processes, failures."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed, multiprocessing

from actiseg_ros.errors import ActisegError
from tests.training.strategies.pixel_batches import batch_of
from training.strategies.support.history import PixelHistory

SIZES = {"a": (8, 12), "b": (9, 17)}
"""Input sizes of two sequences; 9 x 17 pixels have 3 x 5 cells."""


def batch(*names):
    """Prompts such as "a1xy": sequence a, object 1, frames x and y."""
    prompts = [(name[0], int(name[1]), list(name[2:])) for name in names]
    return batch_of(prompts, [SIZES[name[0]] for name in names])


def filled(of, value):
    """The same value in every pixel of a batch's masks."""
    height, width = of.frames.shape[-2:]
    shape = len(of.object_ids), len(of.frame_names[0]), -(-height // 4), -(-width // 4)
    return torch.full(shape, float(value))


def recalled(history, name):
    """Value, which must be the same in all pixels, and visits of a key such as "a1x"."""
    of = batch(name)
    found = history.recall(of, tuple(filled(of, 0).shape[-2:]), torch.device("cpu"))
    (value,) = found.values.unique().tolist()
    return value, found.visits.item()


_keys = st.sampled_from(["a1x", "a1y", "a2x", "b1x", "b1z"])
_batches = st.lists(_keys, min_size=1, max_size=3)
_epochs = st.lists(st.lists(_batches, min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=25)
@given(_epochs, st.data())
def test_resumed_histories_are_those_of_a_dictionary(epochs, data):
    """However a run was cut, each key has the first value of every epoch, and nothing else."""
    cut = data.draw(st.integers(0, len(epochs) - 1))
    done = data.draw(st.integers(0, len(epochs[cut])))
    lost = data.draw(st.lists(_batches, max_size=2))
    known: dict[str, tuple[float, int]] = {}
    with TemporaryDirectory() as folder:
        history, value = PixelHistory(Path(folder), np.uint8), 0
        for epoch, batches in enumerate(epochs):
            seen = set()
            history.begin_epoch(epoch)
            for index in range(len(batches) + 1):
                if (epoch, index) == (cut, done):
                    state = history.state_dict()
                    for names in lost:
                        history.update(batch(*names), filled(batch(*names), 99))
                    history = PixelHistory(Path(folder), np.uint8)
                    history.load_state_dict(state)
                    if index < len(batches):
                        history.begin_epoch(epoch)
                if index == len(batches):
                    break
                value += 1
                history.update(batch(*batches[index]), filled(batch(*batches[index]), value))
                for name in set(batches[index]) - seen:
                    known[name] = float(value), known.get(name, (0, 0))[1] + 1
                seen |= set(batches[index])
        history.begin_epoch(len(epochs))
        assert {name: recalled(history, name) for name in known} == known


@pytest.fixture
def history(tmp_path: Path) -> PixelHistory:
    """Histories with one epoch behind them and one update in the second."""
    made = PixelHistory(tmp_path, np.float16)
    made.begin_epoch(0)
    made.update(batch("a1x", "b1x"), filled(batch("a1x", "b1x"), 0.25))
    made.begin_epoch(1)
    made.update(batch("a1x"), filled(batch("a1x"), 0.5))
    return made


def resumed(history, **changes):
    """Another process that goes on from the same state, or from one with changes."""
    other = PixelHistory(history.folder, np.float16)
    other.load_state_dict(history.state_dict() | changes)
    other.begin_epoch(1)
    return other


def test_a_repeated_frame_counts_once(tmp_path: Path) -> None:
    history = PixelHistory(tmp_path, np.float16)
    history.begin_epoch(0)
    of = batch("a1xyx")
    values = filled(of, 0) + torch.tensor([0.25, 0.5, 0.75]).view(1, 3, 1, 1)
    now = history.update(of, values)
    assert now.values[0, :, 0, 0].tolist() == [0.25, 0.5, 0.25]
    assert now.visits.flatten().tolist() == [1, 1, 1]


def test_samples_may_have_histories_of_their_own(tmp_path: Path) -> None:
    """Of a frame that two samples have in common, and that one of them repeats."""
    first = batch_of([("a", 1, ["x", "y", "y"])], [(8, 12)])
    second = batch_of([("a", 1, ["y", "x", "z"])], [(8, 12)])
    history = PixelHistory(tmp_path, "uint16", of_samples=True)
    history.begin_epoch(0)
    values = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 2, 3)
    history.update(first, values)
    assert not history.recall(second, (2, 3), torch.device("cpu")).visits.any()
    history.update(second, 10 + values)
    history.update(first, 20 + values, again=True)
    found = [history.recall(batch, (2, 3), torch.device("cpu")) for batch in (first, second)]
    assert found[0].values[0, :, 0, 0].tolist() == [20, 21, 22]
    assert found[1].values[0, :, 0, 0].tolist() == [10, 11, 12]
    assert (found[0].visits == 2).all()
    history.begin_epoch(1)
    assert torch.equal(history.recall(first, (2, 3), torch.device("cpu")).values, found[0].values)


def test_padding_is_not_remembered(history: PixelHistory) -> None:
    mixed = batch("a1x", "b1x")
    found = history.recall(mixed, (3, 5), torch.device("cpu"))
    assert found.values[0, 0].tolist() == [[0.5] * 3 + [0.0] * 2] * 2 + [[0.0] * 5]
    assert (history.folder / "base.values").stat().st_size == (2 * 3 + 3 * 5) * 2


def test_another_size_is_refused(history: PixelHistory) -> None:
    of = batch_of([("a", 1, ["x"])], [(12, 12)])
    with pytest.raises(ActisegError, match=r"frame x of a had 2x3 cells and has 3x3 now"):
        history.recall(of, (3, 3), torch.device("cpu"))


def test_files_that_do_not_fit_the_checkpoint_are_refused(history: PixelHistory) -> None:
    folder = history.folder
    assert recalled(resumed(history), "a1x") == (0.5, 2)
    with pytest.raises(ActisegError, match=r"log-0\.jsonl is cut short: 1 batches, .* counts 2"):
        resumed(history, updates=2)
    with pytest.raises(ActisegError, match=r"base\.jsonl: run is \w+, not other"):
        resumed(history, run="other")
    with pytest.raises(ActisegError, match=r"2 processes began this epoch and 1 would go on"):
        resumed(history, processes=2)
    with pytest.raises(ActisegError, match=r"gone on to the end of epoch 1, past .* in epoch 1;"):
        resumed(history, epoch=0, updates=7)
    with pytest.raises(ActisegError, match=r"log-0\.jsonl: epoch is 1, not 2"):
        resumed_later = PixelHistory(folder, np.float16)
        resumed_later.load_state_dict(history.state_dict() | {"epoch": 2})
        resumed_later.begin_epoch(2)
    (folder / "base.jsonl").write_text("{}[\n", encoding="utf-8")
    with pytest.raises(ActisegError, match=r"base\.jsonl: not an index .* or damaged"):
        resumed(history)


@pytest.mark.parametrize("name", ["base.values", "log-0.values"])
def test_values_that_were_cut_short_are_refused(history: PixelHistory, name: str) -> None:
    state = history.state_dict()
    path = history.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    other = PixelHistory(history.folder, np.float16)
    other.load_state_dict(state)
    with pytest.raises(ActisegError, match=rf"{name} is cut short: \d+ bytes, .* describes \d+"):
        other.begin_epoch(1)
    path.unlink()
    with pytest.raises(ActisegError, match=rf"{name} is missing"):
        other.begin_epoch(1)


def test_an_interrupted_merge_is_done_again(
    history: PixelHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = history.state_dict()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.strategies.support.history.write_index", killed)
    with pytest.raises(KeyboardInterrupt):
        history.begin_epoch(2)
    monkeypatch.undo()
    for _ in range(2):  # the second time it is done already
        other = PixelHistory(history.folder, np.float16)
        other.load_state_dict(state)
        other.begin_epoch(2)
        assert (recalled(other, "a1x"), recalled(other, "b1x")) == ((0.5, 2), (0.25, 1))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named(history: PixelHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("ab", buffering=0) as full:
        monkeypatch.setattr(history._log, "_values", full)
        with pytest.raises(
            ActisegError, match=r"disk full while writing pixel histories .*--resume"
        ):
            history.update(batch("b1z"), filled(batch("b1z"), 0.5))


def _worker(rank: int, folder: str) -> None:
    """One of two processes; both meet a1x in the first epoch."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    history = PixelHistory(Path(folder) / "histories", np.float16)
    own = ["a1x", "a2x"] if rank == 0 else ["b1x", "a1x"]
    history.begin_epoch(0)
    for name in own:
        history.update(batch(name), filled(batch(name), 0.25 + 0.5 * rank))
    state = history.state_dict()
    assert recalled(history, "a1x") == (0.25 + 0.5 * rank, 1), "the other's does not show yet"
    history.update(batch("b1z"), filled(batch("b1z"), 1.0))  # after the checkpoint: lost
    distributed.barrier()
    history = PixelHistory(Path(folder) / "histories", np.float16)
    history.load_state_dict(state)
    history.begin_epoch(1)
    found = {name: recalled(history, name) for name in ("a1x", "a2x", "b1x", "b1z")}
    expected = {"a1x": (0.25, 1), "a2x": (0.25, 1), "b1x": (0.75, 1), "b1z": (0.0, 0)}
    assert found == expected, f"process {rank}: {found}"
    distributed.destroy_process_group()


def test_two_processes_share_histories(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_worker, args=(rank, str(tmp_path))) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
