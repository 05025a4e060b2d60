"""The kitchen video: continuous frames, narrations that `actiseg bag` reads, and ground truth."""

from __future__ import annotations

import ast
import csv
import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from actiseg_ros.bags.epic_bag import write_bag
from actiseg_ros.errors import ActisegError
from training.data.kitchen import video as video_module
from training.data.kitchen.choreography import Span
from training.data.kitchen.video import KitchenVideo, VideoOptions, make_video, truth_frames

SHORTEST = 2.6
OPTIONS = VideoOptions(seed=2, seconds=8, fps=5, size=(320, 180), truth_every=4)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> KitchenVideo:
    return make_video(tmp_path_factory.mktemp("video"), OPTIONS, workers=1, progress=False)


def test_frames_are_continuous(video: KitchenVideo) -> None:
    with av.open(str(video.video)) as container:
        assert container.streams.video[0].average_rate == OPTIONS.fps
        images = [f.to_ndarray(format="rgb24").astype(int) for f in container.decode(video=0)]
    assert len(images) == OPTIONS.seconds * OPTIONS.fps
    assert images[0].shape == (180, 320, 3)
    changes = [np.abs(a - b).mean() for a, b in pairwise(images)]
    assert np.median(changes) > 0.1
    assert max(changes) < 40


def test_narrations_become_a_bag(video: KitchenVideo, tmp_path: Path) -> None:
    rows = list(csv.DictReader(video.narrations.open()))
    assert rows
    for row in rows:
        names = ast.literal_eval(row["object_names"])
        assert {"left hand", "right hand"} < set(names)
        assert row["video_id"] == video.video_id
    bag = write_bag(video.video, video.narrations, video.video_id, tmp_path / "bag")
    assert bag.frames == OPTIONS.seconds * OPTIONS.fps
    assert bag.actions == len(rows)


def test_ground_truth_is_in_the_split_form(video: KitchenVideo) -> None:
    split = json.loads((video.truth / "ImageSets/val.json").read_text())
    rows = list(csv.DictReader(video.narrations.open()))
    assert [s["narration"] for s in split] == [r["narration"] for r in rows]
    folders = sorted((video.truth / "Annotations_Sparse/val").iterdir())
    for sequence, folder in zip(split, folders, strict=True):
        objects = sequence["object_classes"]
        assert any(item["positive"] for item in objects.values())
        for frame in sequence["sparse_frames"]:
            number = int(frame[6:16])
            assert sequence["start"] <= number <= sequence["end"]
            labels = np.asarray(Image.open(folder / frame.replace(".jpg", ".png")))
            assert labels.shape == (480, 854)
            assert set(np.unique(labels)) <= {0, *map(int, objects)}


def test_refuses_impossible_options() -> None:
    with pytest.raises(ActisegError, match="seconds"):
        VideoOptions(seconds=1)
    with pytest.raises(ActisegError, match="even numbers"):
        VideoOptions(size=(321, 180))


@given(st.integers(4, 120), st.floats(0, 100))
def test_the_shortest_action_has_two_frames_of_ground_truth(fps: int, start: float) -> None:
    every = int(SHORTEST * fps) - 2
    span = Span(start - 0.8, start, start + SHORTEST, start + SHORTEST + 0.8)
    assert len(truth_frames(span, VideoOptions(fps=fps, truth_every=every))) >= 2
    with pytest.raises(ActisegError, match=f"truth_every: {every + 1} with fps: {fps};"):
        VideoOptions(fps=fps, truth_every=every + 1)


def test_few_frames_a_second_are_refused_before_anything_is_drawn() -> None:
    with pytest.raises(ActisegError, match="truth_every: 8 with fps: 2;"):
        VideoOptions(fps=2)


def test_the_truth_of_an_earlier_video_goes_and_nothing_else(
    video: KitchenVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_module, "_encode", lambda *_: None)
    shutil.copytree(video.truth, tmp_path / "video" / "truth")
    files = make_video(tmp_path / "video", replace(OPTIONS, seed=3), truth=False)
    assert files.narrations.is_file() and not files.truth.exists()

    foreign = tmp_path / "other" / "truth" / "notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    with pytest.raises(ActisegError, match="is not the ground truth of an earlier video"):
        make_video(tmp_path / "other", OPTIONS, workers=1, progress=False)
    assert [path for path in (tmp_path / "other").rglob("*") if path.is_file()] == [foreign]
