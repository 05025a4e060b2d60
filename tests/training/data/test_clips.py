"""Splits, sampling, samples and batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from actiseg_ros.errors import ActisegError
from tests.training.data.visor_trees import write_tree
from training.data.clips import ClipDataset, collate, sample_frames
from training.data.layout import image_folder
from training.data.prepare import prepare
from training.data.splits import load_clips
from training.data.transforms import FixedSize, PublishedEvaluation, PublishedTraining

SMALL = FixedSize(45, 80)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_tree(root, seed=1, frames=7)
    prepare(root / "VISOR", root / "annotations", root / "out", workers=1, progress=False)
    return root / "out"


def test_both_forms_of_a_split_hold_the_same_clips(data: Path) -> None:
    listed = load_clips(data / "ImageSets" / "train.json")
    expressions = load_clips(data / "ImageSets" / "train_meta_expressions_promptaction.json")
    assert listed == expressions
    assert len(listed) > 1
    prompt = listed[0].objects[0]
    assert prompt.expression == f"{prompt.name} used in the action of {listed[0].narration}"
    assert (data / "JPEGImages_Sparse" / "train" / listed[0].sequence).is_dir()


def test_human_checked_split_and_bare_expressions(shared: Path) -> None:
    clips = load_clips(shared / "epic" / "val_human.json")
    assert len(clips) == 353
    assert sum(not clip.flagged for clip in clips) == 294
    assert any(":" in clip.sequence for clip in clips)
    demo = load_clips(shared / "epic" / "demo_expressions.json")
    assert [prompt.object_id for prompt in demo[0].objects] == list(
        range(1, len(demo[0].objects) + 1)
    )
    assert demo[0].narration == "put cereals bag into cereals box"
    assert demo[0].objects[0].name == "bread"
    assert demo[0].objects[0].positive is None
    for clip in demo:
        for name in clip.frames:
            assert (shared / "epic" / "demo_frames" / clip.sequence / f"{name}.jpg").is_file()


@pytest.mark.parametrize("content", ["[1]", "{}", '[{"seq_id": 1}]', "nonsense", '"text"'])
def test_a_file_in_another_form_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(ActisegError, match=r"split\.json"):
        load_clips(tmp_path / "split.json")


@pytest.mark.parametrize("name", ["../up", "..", "a/b", "/abs", ""])
def test_a_name_that_leads_out_of_its_folder_is_refused(
    name: str, data: Path, tmp_path: Path
) -> None:
    """Predictions are written under the names of a split."""
    path = tmp_path / "split.json"
    record = json.loads((data / "ImageSets" / "train.json").read_text())[0]
    one = {"exp": "cup used in the action of wash cup"}
    for content in (
        [record | {"verb": name}],
        {"videos": {name: {"frames": ["1"], "expressions": {"0": one}}}},
        {"videos": {"a": {"frames": [name], "expressions": {"0": one}}}},
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ActisegError, match=rf"split\.json.*'{name}'"):
            load_clips(path)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 39), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_sampled_frames(count: int, start: int, wanted: int, seed: int) -> None:
    start = min(start, count - 1)
    frames = sample_frames(count, start, wanted, np.random.default_rng(seed))
    assert len(frames) == wanted
    assert frames == sorted(frames)
    assert 0 <= frames[0] <= frames[-1] < count
    if wanted != 2:  # of three drawn frames the two earliest are kept
        assert start in frames
    if wanted >= 3:
        assert any(max(0, start - 3) <= f <= max(0, start - 1) for f in frames)
        assert any(min(count - 1, start + 1) <= f <= start + 3 for f in frames)


def test_five_frames_reach_beyond_the_neighbourhood() -> None:
    seen = {f for seed in range(200) for f in sample_frames(20, 10, 5, np.random.default_rng(seed))}
    assert seen == set(range(20))


def test_one_prompt_per_sample_or_all(data: Path) -> None:
    one = ClipDataset(data, "train", frames_per_clip=5, transform=SMALL)
    every = ClipDataset(data, "train", frames_per_clip=5, objects="all", transform=SMALL)
    runs = [-(-len(clip.frames) // 5) for clip in one.clips]
    assert len(every) == sum(runs)
    assert len(one) == sum(n * len(clip.objects) for n, clip in zip(runs, one.clips, strict=True))
    sample = every[0]
    prompts = len(one.clips[0].objects)
    assert sample.masks.shape == (prompts, 5, 45, 80)
    assert sample.frames.shape == (5, 3, 45, 80)
    assert sample.masks.dtype == torch.bool
    assert sample.boxes.shape == (prompts, 5, 4)
    assert sample.valid.shape == sample.positive.shape == (prompts, 5)
    assert set(sample.weights.unique().tolist()) <= {1, 2, 5}


def test_all_prompts_of_a_sample_share_one_transform(data: Path) -> None:
    """The masks are parts of one label map: they do not overlap, and come from the same window."""
    dataset = ClipDataset(
        data, "train", objects="all", transform=FixedSize(90, 160), use_weights=False
    )
    some = False
    for index in range(len(dataset)):
        sample = dataset[index]
        assert int(sample.masks.int().sum(0).max()) <= 1
        some |= bool(sample.masks.any())
        for prompt, (x, y, w, h) in enumerate(sample.boxes[:, 0].tolist()):
            rows, columns = torch.nonzero(sample.masks[prompt, 0], as_tuple=True)
            if len(rows):
                assert x == pytest.approx((int(columns.min()) + int(columns.max())) / 2 / 160)
                assert y == pytest.approx((int(rows.min()) + int(rows.max())) / 2 / 90)
                assert h == pytest.approx((int(rows.max()) - int(rows.min())) / 90, abs=1e-6)
            else:
                assert [x, y, w, h] == [0, 0, 0, 0]
    assert some


def test_masks_match_the_stored_labels(data: Path) -> None:
    """Without augmentation at the stored size nothing is lost between file and sample."""
    dataset = ClipDataset(
        data, "train", frames_per_clip=1, objects="all",
        transform=PublishedEvaluation(480, 854), use_weights=False,
    )  # fmt: skip
    for index in range(len(dataset)):
        sample = dataset[index]
        path = (
            data / "Annotations_Sparse" / "train" / sample.sequence / f"{sample.frame_names[0]}.png"
        )
        labels = np.asarray(Image.open(path))
        for mask, object_id, positive in zip(
            sample.masks, sample.object_ids, sample.positive, strict=True
        ):
            expected = (labels == object_id) & bool(positive[0])
            np.testing.assert_array_equal(mask[0].numpy(), expected)


def test_samples_depend_on_seed_epoch_and_index_only(data: Path) -> None:
    def frames(seed: int, epoch: int, index: int) -> torch.Tensor:
        dataset = ClipDataset(data, "train", objects="all", transform=SMALL, seed=seed)
        dataset.set_epoch(epoch)
        return dataset[index].frames

    first = frames(0, 0, 0)
    assert torch.equal(first, frames(0, 0, 0))
    assert not torch.equal(first, frames(1, 0, 0))
    assert not torch.equal(first, frames(0, 1, 0))
    dataset = ClipDataset(data, "train", objects="all", transform=SMALL)
    loader = DataLoader(dataset, batch_size=1, num_workers=1, collate_fn=collate)
    assert torch.equal(next(iter(loader)).frames[0], first)


class Noise:
    """Renames every object and paints positive objects over everything."""

    def name(self, sequence: str, object_id: int, clean_name: str, class_id: int) -> str:
        return f"{clean_name.upper()} {class_id}"

    def labels(
        self, sequence: str, frame: str, clean_labels: Any, positive_ids: frozenset[int]
    ) -> Any:
        return np.full_like(clean_labels, min(positive_ids, default=0))


def test_noise_lies_over_names_and_labels(data: Path) -> None:
    dataset = ClipDataset(
        data, "train", objects="all", transform=SMALL, noise=Noise(), use_weights=False
    )
    for index in range(len(dataset)):
        clip = next(c for c in dataset.clips if c.sequence == dataset[index].sequence)
        active = [prompt for prompt in clip.objects if prompt.positive]
        sample = dataset[index]
        assert all(str(p.class_id) in c for p, c in zip(clip.objects, sample.captions, strict=True))
        assert all(caption == caption.lower() for caption in sample.captions)
        assert not any("  " in caption for caption in sample.captions)
        if active:
            first = sample.object_ids.index(active[0].object_id)
            assert sample.masks[first].all()


def test_batches_are_padded_at_the_right_and_the_bottom(data: Path) -> None:
    dataset = ClipDataset(data, "train", frames_per_clip=2, transform=PublishedTraining())
    samples = [dataset[index] for index in range(3)]
    batch = collate(samples)
    height, width = batch.frames.shape[-2:]
    assert height % 32 == width % 32 == 0
    assert height - max(sample.size[0] for sample in samples) < 32
    for index, sample in enumerate(samples):
        h, w = sample.size
        assert torch.equal(batch.frames[index, :, :, :h, :w], sample.frames)
        assert torch.equal(batch.masks[index, :, :h, :w], sample.masks[0])
        assert not batch.padding[index, :, :h, :w].any()
        for outside in ((slice(h, None), slice(None)), (slice(None), slice(w, None))):
            assert batch.padding[index][(..., *outside)].all()
            assert not batch.frames[index][(..., *outside)].any()
            assert not batch.weights[index][(..., *outside)].any()
    assert batch.sizes.tolist() == [list(sample.size) for sample in samples]


def test_bytes_become_numbers_on_the_device(data: Path) -> None:
    """A loader moves bytes; what a network reads is the published normalisation, 0 on padding."""
    dataset = ClipDataset(data, "train", frames_per_clip=2, transform=PublishedTraining())
    batch = collate([dataset[index] for index in range(3)])
    assert batch.frames.dtype == batch.weights.dtype == torch.uint8
    moved = batch.to("cpu")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    published = (batch.frames / 255 - mean[:, None, None]) / std[:, None, None]
    published *= ~batch.padding[:, :, None]
    torch.testing.assert_close(moved.frames, published, atol=1e-6, rtol=1e-6)
    assert torch.equal(moved.weights, batch.weights.float())
    again = moved.to("cpu")
    assert torch.equal(again.frames, moved.frames)


def test_prompts_of_a_batch_know_their_clip(data: Path) -> None:
    dataset = ClipDataset(data, "train", objects="all", transform=SMALL)
    samples = [dataset[index] for index in range(len(dataset))]
    batch = collate(samples).to("cpu")
    assert batch.frames.shape[-2:] == (45, 80)  # a fixed input is not rounded up
    assert not batch.padding.any()
    counts = [len(sample.captions) for sample in samples]
    assert batch.clip_of_prompt.tolist() == [
        index for index, count in enumerate(counts) for _ in range(count)
    ]
    assert len(batch.captions) == len(batch.sequences) == len(batch.object_ids) == sum(counts)
    assert batch.frame_names[0] == samples[0].frame_names
    assert torch.equal(batch.masks[counts[0]], samples[1].masks[0])
    with pytest.raises(ValueError, match="frames"):
        shorter = ClipDataset(data, "train", frames_per_clip=1, transform=SMALL)
        collate([samples[0], shorter[0]])


def test_frames_are_drawn_once_or_anew(data: Path) -> None:
    def drawn(epoch: int, **options: bool) -> list[list[str]]:
        made = ClipDataset(data, "train", transform=PublishedTraining(), **options)
        made.set_epoch(epoch)
        return [made[index].frame_names for index in range(len(made))]

    assert drawn(0) != drawn(1)
    assert drawn(0, redraw_frames=False) == drawn(1, redraw_frames=False)


def test_one_prompt_of_a_batch_is_a_batch(data: Path) -> None:
    made = ClipDataset(
        data, "train", frames_per_clip=2, objects="all", transform=PublishedTraining()
    )
    batch = collate([made[0], made[1]])
    for index, clip in enumerate(batch.clip_of_prompt.tolist()):
        alone = batch.prompt(index)
        assert torch.equal(alone.frames, batch.frames[clip : clip + 1])
        assert torch.equal(alone.masks, batch.masks[index : index + 1])
        assert alone.captions == [batch.captions[index]]
        assert alone.start_frames == [batch.start_frames[index]]
        assert alone.clip_of_prompt.tolist() == [0]


def test_pictures_of_derived_splits_are_those_of_their_base(data: Path, tmp_path: Path) -> None:
    assert image_folder(data, Path("val_human.json")) == "val"
    assert image_folder(data, Path("train_meta_expressions_promptaction.json")) == "train"
    with pytest.raises(ActisegError, match="test"):
        image_folder(data, Path("test.json"))
    noisy = tmp_path / "train_rate60.json"
    noisy.write_text((data / "ImageSets" / "train.json").read_text())
    assert len(ClipDataset(data, noisy, transform=SMALL)) > 0


def test_bad_data_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ActisegError, match=r"absent\.json"):
        ClipDataset(data, "absent", transform=SMALL)
    records = json.loads((data / "ImageSets" / "train.json").read_text())
    records[0]["sparse_frames"] = ["frame_9999999999.jpg"]
    changed = tmp_path / "train_changed.json"
    changed.write_text(json.dumps(records))
    with pytest.raises(ActisegError, match=r"frame_9999999999\.jpg"):
        ClipDataset(data, changed, frames_per_clip=1, transform=SMALL)[0]
    expressions = tmp_path / "train_bare.json"
    expressions.write_text(
        json.dumps({"videos": {"a": {"expressions": {"0": {"exp": "cup"}}, "frames": ["f"]}}})
    )
    with pytest.raises(ActisegError, match="active"):
        ClipDataset(data, expressions, transform=SMALL)


def test_prompts_with_any_narration_keep_their_names(data: Path) -> None:
    records = json.loads((data / "ImageSets" / "train.json").read_text())
    narrations = [f"wash it {number} times" for number in range(len(records))]
    for record, narration in zip(records, narrations, strict=True):
        record["narration"] = narration
    split = data / "ImageSets" / "train_told.json"
    split.write_text(json.dumps(records))
    own = ClipDataset(data, split, objects="all", transform=SMALL)
    drawn = ClipDataset(data, split, objects="all", transform=SMALL, narrations="any")
    other = 0
    for index in range(len(drawn)):
        heads, told = zip(*(c.split(" used in the action of ") for c in drawn[index].captions),
                          strict=True)  # fmt: skip
        before = [c.split(" used in the action of ") for c in own[index].captions]
        assert list(heads) == [head for head, _ in before]
        assert len(set(told)) == 1 and told[0] in narrations
        other += told[0] != before[0][1]
        assert drawn[index].captions == drawn[index].captions
    assert other > 0
