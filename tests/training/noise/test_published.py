"""Noise in the form that ActiSeg-NL's authors published it: written, read back, checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actiseg_ros.errors import ActisegError
from training.cli import main
from training.config.noise import NoiseOptions
from training.data.palette import read_label_png, write_label_png
from training.data.splits import read_split, record_name
from training.data.transforms import FixedSize
from training.noise.layer import LabelNoise, make_noise
from training.noise.mask import MaskNoise
from training.noise.text import TextNoise, names_in_split

OBJECTS, EXPRESSIONS = (
    "train_objects_category.json", "train_meta_expressions_promptaction.json",
)  # fmt: skip


def records(clips: int = 8) -> list[dict[str, Any]]:
    nouns = [("knife", 4), ("butter knife", 4), ("plate", 2), ("left hand", 300)]
    return [
        {
            "seq_id": clip, "video": "P01_01", "verb": "put-into", "noun": "bag:cereal",
            "narration": "put cereal into bag",
            "sparse_frames": ["frame_0000000007.jpg", "frame_0000000030.jpg"],
            "object_classes": {
                str(i): {"name": name, "class_id": class_id, "handbox": 0, "narration": 0,
                         "positive": (clip + i) % 2}
                for i, (name, class_id) in enumerate(nouns, start=1)
            },
        }
        for clip in range(1, clips + 1)
    ]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An ActionVOS layout with one split."""
    rng = np.random.default_rng(0)
    for record in records():
        for kind in ("Annotations_Sparse", "Weights_Sparse", "JPEGImages_Sparse"):
            folder = tmp_path / kind / "train" / record_name(record)
            folder.mkdir(parents=True)
            for frame in record["sparse_frames"]:
                labels = rng.integers(0, 5, (12, 20)) * (rng.random((12, 20)) < 0.1)
                path = folder / frame
                if kind == "JPEGImages_Sparse":
                    from PIL import Image

                    Image.new("RGB", (20, 12)).save(path)
                else:
                    filled = labels if kind == "Annotations_Sparse" else np.ones((12, 20))
                    write_label_png(path.with_suffix(".png"), filled.astype(np.uint8))
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "train.json").write_text(json.dumps(records()))
    return tmp_path


def write_names(data: Path, *options: str) -> Path:
    out = data / "noise60"
    split = str(data / "ImageSets" / "train.json")
    common = ["--split", split, "--rate", "0.6", "--out", str(out), "--form", "published"]
    assert main(["noise", "text", *common, *options]) == 0
    return out


def write_masks(data: Path) -> Path:
    out = data / "Annotations_noise"
    labels, split = data / "Annotations_Sparse" / "train", data / "ImageSets" / "train.json"
    common = ["--annotations", str(labels), "--split", str(split), "--kernel", "3"]
    arguments = [*common, "--negatives", "keep", "--form", "published", "--out", str(out)]
    assert main(["noise", "masks", *arguments]) == 0
    return out


def make(data: Path, text: float = 0.0, masks: int = 0, **options: Any) -> LabelNoise:
    file = data / "ImageSets" / "train.json"
    clean = read_split(file)
    noise = make_noise(
        text, masks, NoiseOptions(**options), file, clean, seed=0, negative_masks=False
    )
    assert noise is not None
    return noise


def test_names_are_read_back_as_they_were_drawn(data: Path) -> None:
    folder = write_names(data, "--seed", "3", "--unflipped", "other")
    read = make(data, 0.6, names_folder=folder)
    noise = TextNoise(names_in_split(records()), 0.6, 3, unflipped="other")
    assert read.names == noise.table(records())
    assert (
        read.record["names_sha256"]
        == make(data, 0.6, seed=3, unflipped="other").record["names_sha256"]
    )
    assert read.record["flipped"] == pytest.approx(0.6, abs=0.2)
    content = json.loads((folder / OBJECTS).read_text())
    entry = content["videos"][record_name(records()[0])]["objects"]["1"]
    assert list(entry) == ["category", "positive", "class_id", "class_id_org", "category_org"]
    assert (entry["category_org"], entry["class_id_org"]) == ("knife", 4)


def test_label_maps_are_read_back_as_they_were_dilated(data: Path) -> None:
    folder = write_masks(data)
    noise = make(data, masks=3, labels_folder=folder)
    changed = 0
    for record in records():
        clip = record_name(record)
        positive = frozenset(int(k) for k, e in record["object_classes"].items() if e["positive"])
        for frame in record["sparse_frames"]:
            path = data / "Annotations_Sparse" / "train" / clip / frame
            clean = read_label_png(path.with_suffix(".png"))
            own = MaskNoise(3, "keep").labels(clean, positive)
            read = noise.labels(clip, Path(frame).stem, clean, positive)
            assert np.array_equal(read, own)
            original = folder / "train" / clip / frame.replace(".jpg", "_org.png")
            assert original.exists() == bool((own != clean).any())
            if original.exists():
                changed += 1
                assert np.array_equal(read_label_png(original), clean)
    assert changed > 4
    # The clean maps in such a folder are no frames.
    assert main(
        ["noise", "severity", "--annotations", str(folder / "train"),
         "--split", str(data / "ImageSets" / "train.json"), "--out", str(data / "s.json")]
    ) == 0  # fmt: skip
    assert json.loads((data / "s.json").read_text())["9"]["samples"] <= 4 * 16


def test_a_data_set_learns_the_published_noise(data: Path) -> None:
    from training.data.clips import ClipDataset

    noise = make(data, 0.6, 3, names_folder=write_names(data), labels_folder=write_masks(data))
    dataset = ClipDataset(
        data, "train", frames_per_clip=2, objects="all",
        transform=FixedSize(12, 20, spatial=False, photometric=False), noise=noise,
    )  # fmt: skip
    sample = dataset[0]
    clip = sample.sequence
    expected = [noise.names[clip, object_id].name for object_id in sample.object_ids]
    assert [caption.split(" used in")[0] for caption in sample.captions] == expected
    folder = data / "Annotations_noise" / "train" / clip
    for time, frame in enumerate(sample.frame_names):
        noisy = read_label_png(folder / f"{frame}.png")
        for mask, object_id, positive in zip(
            sample.masks, sample.object_ids, sample.positive[:, 0], strict=True
        ):
            assert np.array_equal(mask[time].numpy(), (noisy == object_id) & bool(positive))


def change_objects(entry: dict[str, Any], **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / OBJECTS).read_text())
        clip = content["videos"][record_name(records()[2])]
        clip["objects"]["2"].update(values)
        (folder / OBJECTS).write_text(json.dumps(content))

    return change


def edit(name: str, edit_content: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        edit_content(content["videos"])
        (folder / name).write_text(json.dumps(content))

    return change


CLIP = record_name(records()[2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edit(OBJECTS, lambda v: v.pop(CLIP)), f"{OBJECTS}: lacks the clip {CLIP}"),
        (edit(EXPRESSIONS, lambda v: v.pop(CLIP)), f"{EXPRESSIONS}: lacks the clip {CLIP}"),
        (edit(OBJECTS, lambda v: v[CLIP]["objects"].pop("2")), r"objects \[1, 3, 4\]"),
        (edit(OBJECTS, lambda v: v[CLIP]["objects"]["2"].update(category_org="cup")),
         f"{CLIP}, object 2: category_org is 'cup', the clean split's name 'butter knife'"),
        (edit(OBJECTS, lambda v: v[CLIP]["objects"]["2"].update(class_id_org=9)), "class_id_org"),
        (edit(OBJECTS, lambda v: v[CLIP]["objects"]["2"].update(positive=7)), "positive is 7"),
        (edit(OBJECTS, lambda v: v[CLIP]["objects"]["2"].pop("category_org")), "published form"),
        (edit(OBJECTS, lambda v: v.update({CLIP: []})), "published form"),
        (edit(EXPRESSIONS, lambda v: v[CLIP]["expressions"]["1"].update(exp="a cup")),
         "object 2: exp is 'a cup'"),
        (edit(EXPRESSIONS, lambda v: v[CLIP]["expressions"]["1"].update(exp_org="a cup")),
         "object 2: exp_org is 'a cup'"),
        (edit(EXPRESSIONS, lambda v: v[CLIP]["expressions"].pop("3")), "prompts of the objects"),
        (edit(EXPRESSIONS, lambda v: v[CLIP]["frames"].pop()), "frame_0000000030"),
        (lambda folder: (folder / EXPRESSIONS).unlink(), f"there is no {EXPRESSIONS}"),
        (lambda folder: (folder / OBJECTS).write_text("[]"), "has no `videos`"),
    ],
)  # fmt: skip
def test_names_of_another_preparation_are_told_by_clip_and_field(
    data: Path, change: Callable[[Path], None], said: str
) -> None:
    folder = write_names(data)
    change(folder)
    with pytest.raises(ActisegError, match=said):
        make(data, 0.6, names_folder=folder)


def test_a_part_of_a_split_takes_its_names_from_the_whole(data: Path) -> None:
    folder = write_names(data)
    whole = make(data, 0.6, names_folder=folder).names
    part = records()[3:5]
    file = data / "ImageSets" / "train_part.json"
    noise = make_noise(
        0.6, 0, NoiseOptions(names_folder=folder), file, part, seed=0, negative_masks=False
    )
    assert noise is not None and noise.names is not None and len(noise.names) == 8
    assert all(whole[key] == name for key, name in noise.names.items())


def test_a_level_in_the_folders_name_finds_the_noise_of_every_cell(data: Path) -> None:
    """So that one command of a benchmark trains all cells on published noise."""
    names, masks = write_names(data), write_masks(data)
    (data / "k3").symlink_to(masks)
    patterns = {
        "names_folder": names.with_name("noise{text}"), "labels_folder": data / "k{mask}",
    }  # fmt: skip
    both = make(data, 0.6, 3, **patterns)
    assert both.names == make(data, 0.6, names_folder=names).names
    assert both.published is not None
    text_only, mask_only = make(data, 0.6, **patterns), make(data, masks=3, **patterns)
    assert text_only.names == both.names and text_only.published is None
    assert mask_only.names is None and mask_only.published is not None
    file = data / "ImageSets" / "train.json"
    options = NoiseOptions(**patterns)
    clean = make_noise(0.0, 0, options, file, records(), seed=0, negative_masks=False)
    assert clean is None
    with pytest.raises(ActisegError, match="noise20"):
        make(data, 0.2, **patterns)


def test_levels_that_a_folder_does_not_have_are_refused(data: Path) -> None:
    names, masks = write_names(data), write_masks(data)
    for level in (0.0, 0.2):
        with pytest.raises(ActisegError, match=f"--text-noise says {level:g}"):
            make(data, level, names_folder=names)
    with pytest.raises(ActisegError, match="--mask-noise says 0"):
        make(data, labels_folder=masks)


def test_label_maps_of_another_preparation_are_told_by_file(data: Path) -> None:
    folder = write_masks(data) / "train"
    original = next(folder.rglob("*_org.png"))
    noisy = original.with_name(original.name.replace("_org", ""))
    clip, frame = noisy.parent.name, noisy.stem
    noise = make(data, masks=3, labels_folder=folder.parent)
    clean = read_label_png(original)
    write_label_png(original, 1 - clean)
    with pytest.raises(ActisegError, match=f"{original.name}: differs from the clean labels"):
        noise.labels(clip, frame, clean, frozenset())
    original.unlink()
    with pytest.raises(ActisegError, match=f"no {original.name} beside it"):
        noise.labels(clip, frame, clean, frozenset())
    write_label_png(noisy, clean[:5])
    with pytest.raises(ActisegError, match=r"\(5, 20\), but the clean map is \(12, 20\)"):
        noise.labels(clip, frame, clean, frozenset())
    noisy.unlink()
    with pytest.raises(ActisegError, match=f"{noisy.name}: no noisy labels"):
        make(data, masks=3, labels_folder=folder.parent)
    shutil.rmtree(folder.parent)
    with pytest.raises(ActisegError, match="no folder of noisy labels"):
        make(data, masks=3, labels_folder=folder.parent)


def test_masks_that_were_made_otherwise_are_refused(data: Path) -> None:
    folder = write_masks(data)
    record = make(data, masks=3, labels_folder=folder).record
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (record["kernel"], record["negatives"], record["order"]) == (3, "keep", "ascending")
    assert record["labels_sha256"] == manifest["sha256"]
    for kernel, options, said in (
        (9, {}, "made with kernel 3, but --mask-noise says 9"),
        (3, {"negatives": "vanish"}, "made with negatives keep, but --noise.negatives says vanish"),
        (3, {"order": "descending"}, "with order ascending, but --noise.order says descending"),
    ):
        with pytest.raises(ActisegError, match=said):
            make(data, masks=kernel, labels_folder=folder, **options)
    del manifest["sha256"]  # as an interrupted command leaves it
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ActisegError, match=r"manifest\.json: has no `sha256`.*noise masks"):
        make(data, masks=3, labels_folder=folder)


def test_equal_records_mean_equal_label_maps(data: Path) -> None:
    folder = write_masks(data)
    (folder / "manifest.json").unlink()  # as the authors give theirs out
    before = make(data, masks=9, labels_folder=folder).record
    assert before == make(data, masks=9, labels_folder=folder).record
    noisy = min(path for path in (folder / "train").rglob("*.png") if "_org" not in path.name)
    write_label_png(noisy, np.zeros((12, 20), np.uint8))
    assert make(data, masks=9, labels_folder=folder).record != before


def test_our_own_form_of_noisy_labels_can_be_learned_too(data: Path) -> None:
    labels, split = data / "Annotations_Sparse" / "train", data / "ImageSets" / "train.json"
    common = ["--annotations", str(labels), "--split", str(split), "--kernel", "3"]
    assert main(["noise", "masks", *common, "--out", str(data / "own")]) == 0
    noise = make(data, masks=3, labels_folder=data / "own")
    clip = record_name(records()[0])
    clean = read_label_png(labels / clip / "frame_0000000007.png")
    read = noise.labels(clip, "frame_0000000007", clean, frozenset([2, 4]))
    assert np.array_equal(read, MaskNoise(3).labels(clean, [2, 4]))
    with pytest.raises(ActisegError, match="--mask-noise says 9"):
        make(data, masks=9, labels_folder=data / "own")
