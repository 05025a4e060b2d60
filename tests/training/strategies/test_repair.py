"""Repair: how far borders were moved, which nouns were exchanged, and what is done about it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from actiseg_ros.errors import ActisegError
from training.config.noise import NameOptions
from training.config.run import TrainConfig
from training.data.clips import Batch, ClipDataset, collate
from training.data.layout import split_file
from training.data.splits import Clip, ObjectPrompt, load_clips, read_split
from training.data.targets import mask_boxes
from training.data.transforms import FixedSize
from training.engine.trainer import train
from training.losses.context import StepPosition
from training.model import PRESETS, build_model
from training.noise.layer import LabelNoise
from training.noise.mask import MaskNoise
from training.noise.text import TextNoise, names_in_split, noisy_split
from training.strategies.repair import Repair, RepairOptions
from training.strategies.support.boundary import (
    LARGEST_REACH,
    border_profile,
    boxes_of_masks,
    edge_strength,
    nested,
    steepest_shift,
)
from training.strategies.support.nouns import (
    Lexicon,
    NounMemory,
    channel_loss,
    class_probabilities,
    exchange_rate,
    judge,
)

HERE = StepPosition()


# Borders


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(-3, 3))
def test_shifted_masks_are_dilated_or_eroded_by_a_square(seed: int, shift: int) -> None:
    masks = np.random.default_rng(seed).random((2, 3, 17, 23)) < 0.5
    masks = np.stack([[cv2.blur(m.astype(np.float32), (5, 5)) > 0.5 for m in p] for p in masks])
    moved = nested(torch.from_numpy(masks), 3).shifted(torch.tensor([shift, 0])).numpy()
    square = np.ones((2 * abs(shift) + 1,) * 2, np.uint8)
    change = cv2.erode if shift > 0 else cv2.dilate
    for mask, found in zip(masks[0], moved[0], strict=True):
        np.testing.assert_array_equal(change(mask.astype(np.uint8), square) > 0, found)
    np.testing.assert_array_equal(moved[1], masks[1])


@pytest.mark.parametrize("shift", range(-4, 5))
def test_the_profile_is_highest_where_the_picture_has_its_edge(shift: int) -> None:
    y, x = np.mgrid[:80, :100]
    true = (abs(y - 40) <= 20) & (abs(x - 50) <= 25)
    picture = np.random.default_rng(0).normal(0, 0.2, (1, 1, 3, 80, 100)) + 2.0 * true
    given_label = (abs(y - 40) <= 20 + shift) & (abs(x - 50) <= 25 + shift)
    moved = nested(torch.from_numpy(given_label)[None, None], 6)
    edges = edge_strength(torch.from_numpy(picture))
    profile, found = border_profile(edges, torch.ones(1, 1, 80, 100, dtype=torch.bool), moved)
    assert found.all()
    assert abs(int(steepest_shift(profile, 1.15)) - shift) <= 1
    # Without an edge nothing is told.
    flat = edge_strength(torch.from_numpy(picture - 2.0 * true))
    profile, _ = border_profile(flat, torch.ones(1, 1, 80, 100, dtype=torch.bool), moved)
    assert int(steepest_shift(profile, 1.3)) == 0


def test_boxes_are_those_of_the_data() -> None:
    masks = np.random.default_rng(1).random((3, 2, 9, 14)) < 0.02
    masks[1] = False
    boxes = boxes_of_masks(torch.from_numpy(masks), torch.tensor([[9, 14]] * 3)).numpy()
    x1, y1, x2, y2 = np.moveaxis(mask_boxes(masks), -1, 0)
    expected = np.stack([(x1 + x2) / 28, (y1 + y2) / 18, (x2 - x1) / 14, (y2 - y1) / 9], -1)
    np.testing.assert_allclose(boxes, expected, atol=1e-6)


def _batch(data: Path, noise: LabelNoise | None) -> Batch:
    transform = FixedSize(180, 320, spatial=False, photometric=False)
    clips = ClipDataset(
        data, "train", frames_per_clip=1, objects="all", transform=transform,
        negative_masks=True, noise=noise,
    )  # fmt: skip
    return collate([clips[index] for index in range(len(clips))]).to(torch.device("cpu"))


@pytest.mark.parametrize("reach", [0, LARGEST_REACH + 1])
def test_a_reach_that_nested_masks_cannot_count_is_refused(reach: int) -> None:
    with pytest.raises(ActisegError, match=rf"--repair\.reach is {reach}; it must be 1 to 125"):
        RepairOptions(reach=reach)
    with pytest.raises(ActisegError, match=r"--repair\.width is 0; it must be at least 1"):
        RepairOptions(width=0)


def test_the_largest_reach_is_counted() -> None:
    masks = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    assert nested(masks, LARGEST_REACH).depth.item() == 2 * LARGEST_REACH + 3


@pytest.mark.parametrize("kernel", [0, 9, 15, 21])
def test_algorithm_2_is_undone_and_clean_labels_stay(drawn_data: Path, kernel: int) -> None:
    clean = _batch(drawn_data, None)
    given_labels = _batch(
        drawn_data, LabelNoise(mask=MaskNoise(kernel, "keep")) if kernel else None
    )
    strategy = Repair(RepairOptions(names=False), Lexicon.of([]))
    strategy.begin_epoch(0, 1)
    repaired = strategy.inputs(given_labels, HERE, 0).batch
    if not kernel:
        assert torch.equal(repaired.masks, clean.masks)
        assert torch.equal(repaired.boxes, clean.boxes)
        return
    active = (clean.positive[:, 0] > 0) & clean.masks.flatten(1).any(1)

    def iou(masks: torch.Tensor) -> torch.Tensor:
        both = (masks & clean.masks).flatten(1).sum(1)
        return (both / (masks | clean.masks).flatten(1).sum(1))[active].mean()

    assert abs(int(strategy._run_shift()) - kernel // 2 * 320 / 854) <= 1
    assert iou(repaired.masks) > iou(given_labels.masks) + 0.05
    # Those that the noise leaves alone are left alone.
    assert torch.equal(repaired.masks[~active], given_labels.masks[~active])


def _padded(batch: Batch, right: int, below: int) -> Batch:
    """The same clips on a larger canvas, as beside larger ones."""
    edges = (0, right, 0, below)
    return replace(
        batch,
        frames=F.pad(batch.frames, edges),
        padding=F.pad(batch.padding, edges, value=True),
        masks=F.pad(batch.masks, edges),
    )


@pytest.mark.parametrize("shift", [-4, 4])
def test_padding_changes_nothing(drawn_data: Path, shift: int) -> None:
    """Also not for objects that the picture's edge cuts off, whether labels shrink or grow."""
    clean = _batch(drawn_data, None)
    assert clean.masks[..., -1, :].any() and not clean.padding.any()
    moved = nested(clean.masks, 4).shifted(torch.full((len(clean.masks),), shift))
    labels = replace(clean, masks=moved)
    repaired = []
    for batch in (labels, _padded(labels, 24, 17)):
        strategy = Repair(RepairOptions(names=False), Lexicon.of([]))
        repaired.append(strategy.inputs(batch, HERE, 0).batch)
        assert int(strategy._run_shift()) != 0
    alone, beside = repaired
    assert torch.equal(beside.masks[..., :180, :320], alone.masks)
    assert not beside.masks[beside.padding[beside.clip_of_prompt]].any()
    assert torch.equal(beside.boxes, alone.boxes)


def test_eroded_labels_grow_again(drawn_data: Path) -> None:
    clean = _batch(drawn_data, None)
    eroded = replace(
        clean, masks=nested(clean.masks, 3).shifted(torch.full((len(clean.masks),), 3))
    )
    strategy = Repair(RepairOptions(names=False), Lexicon.of([]))
    strategy.inputs(eroded, HERE, 0)
    assert int(strategy._run_shift()) in (-4, -3, -2)


# Nouns


def _likelihoods(count: int, classes: int, seed: int, sharpness: float) -> tuple[torch.Tensor, ...]:
    """Probabilities of a classifier that knows how much it knows, and the true classes."""
    random = np.random.default_rng(seed)
    likelihoods = random.dirichlet(np.full(classes, sharpness), count)
    true = np.array([random.choice(classes, p=row) for row in likelihoods])
    return torch.from_numpy(likelihoods).float(), torch.from_numpy(true)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4, 0.6])
def test_the_rate_is_found_and_bayes_is_right_as_often_as_it_says(rate: float) -> None:
    likelihoods, true = _likelihoods(20_000, 12, 0, 0.05)
    random = np.random.default_rng(1)
    exchanged = torch.from_numpy(random.random(len(true)) < rate)
    other = (true + torch.from_numpy(random.integers(1, 12, len(true)))) % 12
    given_classes = torch.where(exchanged, other, true)
    found = exchange_rate(likelihoods, given_classes, 0.3)
    assert found == pytest.approx(rate, abs=0.02)
    judged = judge(likelihoods, given_classes, found)
    right = given_classes == true
    assert judged.right.mean() == pytest.approx(right.float().mean(), abs=0.02)
    sure = judged.other_probability > 0.8
    if rate:
        assert sure.float().mean() > 0.35 * rate
        assert (judged.other == true)[sure].float().mean() > 0.8
    else:
        assert sure.float().mean() < 0.001


def test_the_channel_keeps_or_draws_any_other() -> None:
    found = torch.tensor([0.7, 0.2, 0.1]).log()
    losses = channel_loss(found.expand(3, 3), torch.arange(3), 0.4)
    expected = [0.6 * own + 0.2 * (1 - own) for own in (0.7, 0.2, 0.1)]
    torch.testing.assert_close(losses, -torch.tensor(expected).log())


def _clip(sequence: str, *objects: tuple[int, str, int]) -> Clip:
    entries = tuple(
        ObjectPrompt(number, number, name, class_id, f"{name} used in the action of cut", True)
        for number, name, class_id in objects
    )
    return Clip(sequence, ("a",), entries, "cut", flagged=False, video="P01_01")


LEXICON = Lexicon.of(
    [
        _clip("x", (1, "left hand", 300), (2, "red onion", 7), (3, "Knife", 4)),
        _clip("y", (1, "right hand", 301), (2, "onion", 7), (4, "onion", 7)),
    ],
    {7: ("onion", "shallot"), 90: ("whale",)},
)


def test_the_lexicon_knows_classes_and_no_sides() -> None:
    def of(noun: str) -> int:
        return LEXICON.given(f"{noun} used in the action of take it")

    assert LEXICON.size == 4
    assert of("left hand") == of("right hand") != of("knife")
    assert of("onion") == of("red onion") == of("shallot")
    assert 0 <= of("whale") < LEXICON.size, "no clip has one, but a wrong noun may be one"
    assert of("unicorn") == -1
    assert LEXICON.given("what is this") == -1
    assert LEXICON.narrated("knife used in the action of cut the onion") == [of("onion")]
    caption = "knife used in the action of peel"
    assert LEXICON.renamed(caption, of("onion")) == "onion used in the action of peel"
    assert [LEXICON.tells_noun(of(noun)) for noun in ("onion", "left hand")] == [True, False]


def test_the_lexicon_of_a_noisy_split_is_that_of_its_clean_nouns(
    drawn_data: Path, tmp_path: Path
) -> None:
    clean = read_split(split_file(drawn_data, "train"))
    noisy = noisy_split(clean, TextNoise({**names_in_split(clean), 299: ("drill",)}, 0.9))
    names = {entry["name"] for record in noisy for entry in record["object_classes"].values()}
    assert "drill" in names
    file = tmp_path / "train.json"
    file.write_text(json.dumps(noisy))
    own = NameOptions(vocabulary="split")
    lexicon = Lexicon.of_split(file, own)
    assert lexicon.given("drill used in the action of cut onion") == -1
    assert lexicon == Lexicon.of_split(split_file(drawn_data, "train"), own)
    assert lexicon == Lexicon.of(load_clips(split_file(drawn_data, "train")), names_in_split(clean))


def _regions(
    rate: float, seed: int, objects: int = 1200, classes: int = 10, absent: int = 0
) -> tuple[torch.Tensor, ...]:
    """Features of regions, true classes, and those given by Alg. 1, which may be absent ones."""
    random = np.random.default_rng(seed)
    true = random.integers(classes, size=objects)
    looks = random.normal(0, 1, (classes, 24))
    features = looks[true] + random.normal(0, 0.7, (objects, 24))
    exchanged = random.random(objects) < rate
    given_classes = np.where(
        exchanged, (true + random.integers(1, classes + absent, objects)) % (classes + absent), true
    )
    return tuple(map(torch.from_numpy, (features.astype(np.float32), true, given_classes)))


def _memory(objects: int, classes: int, told: tuple[tuple[int, int], ...] = ()) -> NounMemory:
    names = tuple((f"thing {number}",) for number in range(classes))
    rows = {("clip", number): number for number in range(objects)}
    lexicon = Lexicon({}, names, rows, told)
    return NounMemory(lexicon, 24, narrated=3.0)


@pytest.mark.parametrize("absent", [0, 15])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4, 0.6])
def test_wrong_nouns_are_found_by_what_regions_look_like(rate: float, absent: int) -> None:
    features, true, given_classes = _regions(rate, 0, absent=absent)
    memory = _memory(len(true), 10 + absent)
    memory.note_given(torch.arange(len(true)), given_classes)
    memory.add(torch.arange(len(true)), features)
    memory.close_epoch()
    judged, right = memory.judgement, given_classes == true
    assert rate - 0.16 < memory.rate < rate + 0.03, "the ridge errs towards the given nouns"
    assert judged.right[right].mean() > 0.88
    if rate:
        assert judged.right[~right].mean() < 0.42
        sure = judged.other_probability > 0.5
        assert sure.float().mean() > 0.35 * rate
        assert (judged.other == true)[sure].float().mean() > 0.95
    else:
        assert (judged.other_probability > 0.5).float().mean() < 0.01


def test_nouns_do_not_speak_for_themselves() -> None:
    random, classes = torch.Generator().manual_seed(0), 4
    features = torch.randn(300, 24, generator=random)
    nouns = torch.randint(classes, (300,), generator=random)
    found = class_probabilities(features, nouns, classes, 0.2, ridge=0.01)
    assert found.gather(1, nouns[:, None]).mean() < 0.35, "features tell nothing"


def test_a_narration_makes_its_class_likelier() -> None:
    features, true, given_classes = _regions(0.4, 5)
    wrong = int((given_classes != true).nonzero()[0])
    chances = []
    for told in ((), ((wrong, int(true[wrong])),)):
        memory = _memory(len(true), 10, told)
        memory.note_given(torch.arange(len(true)), given_classes)
        memory.add(torch.arange(len(true)), features)
        memory.close_epoch()
        chances.append(float(memory.judgement.right[wrong]))
    assert chances[1] < chances[0]


def test_what_an_epoch_sees_counts_from_the_next_one_on() -> None:
    features, _, given_classes = _regions(0.3, 1, objects=400)
    rows = torch.arange(0, 400, 2)
    memory = _memory(400, 10)
    memory.note_given(rows, given_classes[rows])
    memory.add(rows, 0.5 * features[rows])
    memory.add(rows, 1.5 * features[rows])
    assert torch.equal(memory.judgement.right, torch.ones(400))
    resumed = _memory(400, 10)
    resumed.load_state_dict(memory.state_dict())
    for one in (memory, resumed):
        one.close_epoch()
        torch.testing.assert_close(one.seen[rows], features[rows])
        assert torch.equal(one.judgement.right[1::2], torch.ones(200)), "not seen"
        assert one.judgement.right[rows].min() < 0.1
    again = _memory(400, 10)
    again.load_state_dict(memory.state_dict())
    assert memory.rate == resumed.rate == again.rate
    assert torch.equal(again.judgement.right, memory.judgement.right)


def test_the_first_epoch_is_judged_whenever_it_has_twice_as_many_steps(drawn_data: Path) -> None:
    batch = _batch(drawn_data, None)
    clips = load_clips(drawn_data / "ImageSets" / "train.json")
    strategy = Repair(RepairOptions(masks=False), Lexicon.of(clips))
    strategy.extend(build_model(PRESETS["tiny"]))
    random = torch.Generator().manual_seed(0)
    believed = []
    for epoch, step in [(0, step) for step in range(40)] + [(1, step) for step in range(40, 70)]:
        strategy.begin_epoch(epoch, 2)
        strategy.inputs(batch, StepPosition(epoch, 2, step), 0)
        maps = torch.randn(len(batch.frames), 1, 208, 6, 10, generator=random)
        strategy.remember(maps, batch)
        believed.append(strategy.memory.judgement.right.clone())
    assert believed[0].eq(1).all(), "nothing is known"
    changes = [step for step in range(1, 70) if not torch.equal(*believed[step - 1 : step + 1])]
    assert changes == [16, 32, 40]


def test_a_state_of_an_earlier_form_is_refused() -> None:
    strategy = Repair(RepairOptions(), LEXICON)
    state = strategy.state_dict()
    del state["judged"]
    with pytest.raises(ActisegError, match="an earlier form of repair"):
        strategy.load_state_dict(state)


def test_many_channels_are_projected(drawn_data: Path) -> None:
    batch = _batch(drawn_data, None)
    clips = load_clips(drawn_data / "ImageSets" / "train.json")
    seen = []
    for _ in range(2):  # two processes of a run
        strategy = Repair(RepairOptions(width=8), Lexicon.of(clips))
        strategy.extend(build_model(PRESETS["tiny"]))
        maps = torch.ones(len(batch.frames), 1, 208, 6, 10)
        strategy.remember(maps, strategy.inputs(batch, HERE, 0).batch)
        strategy.begin_epoch(0, 2)
        seen.append(strategy.memory.seen)
    assert seen[0].shape == (len(strategy.lexicon.rows), 8)
    assert seen[0].any()
    assert torch.equal(*seen)


# Training


@pytest.mark.usefixtures("micro_tiny")
def test_a_run_tells_its_estimates_and_leaves_a_plain_network(
    drawn_data: Path, tmp_path: Path
) -> None:
    def run(name: str, strategy: str, epochs: int, resume: bool = False) -> dict[str, torch.Tensor]:
        config = TrainConfig(
            data=drawn_data, out=tmp_path / name, strategy=strategy, epochs=epochs, batch_size=2,
            val_split="", workers=0, text_noise=0.5, mask_noise=9, resume=resume,
        )  # fmt: skip
        assert train(config) == 0
        return load_file(tmp_path / name / "last.safetensors")

    plain, repaired = run("plain", "baseline", 3), run("repair", "repair", 3)
    assert plain.keys() == repaired.keys()
    epochs = json.loads((tmp_path / "repair" / "run.json").read_text(encoding="utf-8"))["epochs"]
    assert len(epochs) == 3
    assert all(0 < entry["exchange_rate"] < 1 for entry in epochs)
    assert epochs[0]["doubted"] == 0, "too short for a judgement"
    assert all(0 < entry["doubted"] < 1 for entry in epochs[1:])
