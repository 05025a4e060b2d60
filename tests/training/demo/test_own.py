"""The drawn lab: its style is unfamiliar, and its annotator's file is read as it was meant."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import cv2
import numpy as np
import pytest

from actiseg_ros.bundle import load_bundle
from actiseg_ros.errors import ActisegError
from actiseg_ros.gate.calibration import load_calibration
from actiseg_ros.vision.segmenter import Segmenter
from training import cli
from training.data.commands import Kitchen
from training.data.kitchen.scene import label_map
from training.data.kitchen.style import STYLES, Style, check_style, restyled
from training.data.kitchen.video import VideoOptions, compose_video, video_kitchen
from training.data.kitchen.worktop import WIDTH
from training.data.palette import read_label_png
from training.data.splits import read_split
from training.demo.annotator import Annotator, taking_part, unpainted
from training.demo.own import shortfalls
from training.files.disk import write_json

SIZE = (480, 270)
OPTIONS = VideoOptions(
    seed=4, seconds=9, fps=5, size=SIZE, truth_every=5, kitchen=3, style="ink", video_id="lab_1"
)


def test_other_styles_are_unfamiliar_to_the_embedded_bundle() -> None:
    bundle = load_bundle()
    calibration = load_calibration(bundle)
    assert calibration is not None
    limits = calibration.limits("named")
    assert limits is not None
    segmenter = Segmenter(bundle, threads=1)
    worktop = video_kitchen(OPTIONS).worktop[200:740, 200:1160]
    styles: tuple[Style, ...] = ("plain", "ink", "infrared")
    distances = {}
    for style in styles:
        bgr = np.clip(restyled(worktop, style), 0, 255).astype(np.uint8)
        assert bgr.shape == worktop.shape
        rgb = cv2.resize(bgr[..., ::-1], (854, 480), interpolation=cv2.INTER_AREA)
        distances[style] = calibration.novelty.distance(segmenter.describe(rgb))
    others = {style: far for style, far in distances.items() if style != "plain"}
    assert all(far > limits.distance and far > distances["plain"] for far in others.values())


def test_the_command_offers_every_style() -> None:
    assert get_args(get_type_hints(Kitchen)["style"]) == STYLES


def test_an_unknown_style_is_named() -> None:
    with pytest.raises(ActisegError, match="'oil'; there are plain, randomised, ink, infrared"):
        check_style("oil")


def test_annotations_of_the_drawn_lab_come_back_as_they_were_drawn(tmp_path: Path) -> None:
    kitchen = video_kitchen(OPTIONS)
    (clip, *_) = clips = unpainted(tuple(compose_video((OPTIONS.seed, 1 << 20), kitchen, OPTIONS)))
    assert clip.scene.things[0].sprite.rgb.size == 0
    # Frame n of a recording is shown at (n - 1) / rate seconds.
    numbers = [
        round(time * OPTIONS.fps) + 1 for time in (clip.span.start + 0.3, clip.span.stop - 0.3)
    ]
    folder = tmp_path / "frames" / "lab_1"
    entries = []
    for number in (1, *numbers):
        name = f"images/lab_1_frame_{number:010d}.jpg"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((SIZE[1], SIZE[0], 3), 80, np.uint8))
        entries.append(
            {"file": name, "frame": number, "time": (number - 1) / OPTIONS.fps, "width": SIZE[0],
             "height": SIZE[1]}
        )  # fmt: skip
    write_json(folder / "manifest.json", {"video_id": "lab_1", "frames": 45, "pictures": entries})
    (folder / "narrations.csv").write_text(
        "video_id,start_timestamp,stop_timestamp,narration\n"
        f"lab_1,00:00:{clip.span.start:05.2f},00:00:{clip.span.stop:05.2f},{clip.cast.narration}\n"
    )
    annotator = Annotator()
    assert annotator.annotate(folder, clips, OPTIONS.fps) == 2
    annotator.write(tmp_path / "instances.json")
    status = cli.main(
        ["import", "coco", "--annotations", str(tmp_path / "instances.json"), "--images",
         str(tmp_path / "frames"), "--narrations", str(folder / "narrations.csv"), "--out",
         str(tmp_path / "data")]
    )  # fmt: skip
    assert status == 0
    (record,) = read_split(tmp_path / "data" / "ImageSets" / "train.json")
    found = {entry["name"]: (int(key), entry) for key, entry in record["object_classes"].items()}
    active = {name for name, (_, entry) in found.items() if entry["positive"]}
    assert active == taking_part(clip) & found.keys()
    for number in numbers:
        drawn = read_label_png(
            next((tmp_path / "data").glob(f"Annotations_Sparse/*/*/frame_{number:010d}.png"))
        )
        moment = clip.scene.at((number - 1) / OPTIONS.fps)
        true = label_map(moment, SIZE[0] / WIDTH)
        for index, item in moment.objects():
            pixels = true == index + 1
            if np.count_nonzero(pixels) >= 60:
                both = np.count_nonzero(pixels & (drawn == found[item.name][0]))
                either = np.count_nonzero(pixels | (drawn == found[item.name][0]))
                assert both / either > 0.88  # a border of half a pixel


def test_what_did_not_end_as_it_must_is_told() -> None:
    refused = {"go": 0, "reasons": {"OUT_OF_DISTRIBUTION": 9}}
    going = {"go": 7, "reasons": {"HOLDING": 3}}
    names = ("embedded_bundle_in_the_lab", "own_bundle_in_the_lab", "own_bundle_elsewhere")
    assert shortfalls(dict(zip(names, (refused, going, refused), strict=True))) == []
    assert len(shortfalls(dict(zip(names, (going, refused, going), strict=True)))) == 3
