"""Writes clips in the VISOR layout: polygons, frames, hand-object boxes and EPIC table rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from actiseg_ros.bags.epic_actions import timestamp
from actiseg_ros.errors import ActisegError
from training.data.kitchen.clips import Kitchen, KitchenClip
from training.data.kitchen.render import Lens, lens_of, render, streak
from training.data.kitchen.scene import Moment, label_map
from training.data.kitchen.style import restyled
from training.data.kitchen.vocabulary import CLASS_OF_NAME, SCENERY, epic_noun
from training.files.disk import write_json, write_whole

_VISOR_RATE = 5 / 6
"""VISOR extracted its frames at another rate than EPIC-KITCHENS, hence two frame numbers."""
_LEAST_PIXELS = 200
"""Smaller visible parts (of 1920x1080 pixels) are not annotated."""
_LONGEST_FRAME = 0.1
"""Seconds; a camera that takes fewer pictures does not expose them for longer."""
_JPEG_SIDE = 65500
"""Longest side of a JPEG, pixels, as libjpeg has it."""
HAND, OBJECT = 1, 2
"""Categories of the hand-object file: hands, and objects in contact."""

Segments = list[list[list[float]]]


def visible_segments(labels: NDArray[np.uint8], label: int) -> Segments:
    """Polygons whose even-odd filling (borders included) gives the visible part of a label."""
    ys, xs = np.nonzero((labels == label).any(1))[0], np.nonzero((labels == label).any(0))[0]
    if not len(ys):
        return []
    y0, x0 = int(ys[0]), int(xs[0])
    part = (labels[y0 : ys[-1] + 1, x0 : xs[-1] + 1] == label).astype(np.uint8)
    part = cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    contours, hierarchy = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    segments = []
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0], strict=True):
        if len(contour) < 3 or cv2.contourArea(contour) < (12 if parent < 0 else 60):
            continue
        points = cv2.approxPolyDP(contour, 0.9, True)[:, 0] + (x0 - 1, y0 - 1)
        if len(points) >= 3:
            segments.append([[float(x), float(y)] for x, y in points])
    return segments


def box_of(segments: Segments) -> list[int]:
    """Bounding box x, y, width, height in whole pixels, the last pixel included."""
    points = np.concatenate([np.asarray(s) for s in segments]).astype(int)
    x0, y0 = points.min(0)
    x1, y1 = points.max(0)
    return [int(x0), int(y0), int(x1 - x0 + 1), int(y1 - y0 + 1)]


def annotate(moment: Moment) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Annotations of one frame.

    Returns:
        VISOR objects (without id), and hand-object annotations (without ids).
    """
    labels = label_map(moment, 1.0)
    counts = np.bincount(labels.ravel(), minlength=len(moment.placed) + 1)
    objects, contacts = [], []
    for i, item in moment.objects():
        if counts[i + 1] < _LEAST_PIXELS:
            continue
        segments = visible_segments(labels, i + 1)
        if not segments:
            continue
        objects.append(
            {"name": item.name, "class_id": item.class_id, "segments": segments, "exhaustive": "y"}
        )
        if item.thing is None or item.thing in moment.touched:
            box = box_of(segments)
            contacts.append(
                {
                    "category_id": HAND if item.thing is None else OBJECT,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "segmentation": [[v for point in s for v in point] for s in segments],
                }
            )
    return objects, contacts


def visor_frame(video: str, frame: int) -> str:
    """VISOR's name of an EPIC frame."""
    return f"{video}_frame_{round(frame * _VISOR_RATE):010d}.jpg"


def epic_frame(frame: int) -> str:
    """EPIC-KITCHENS' name of a frame."""
    return f"frame_{frame:010d}.jpg"


def action_row(video: str, number: int, clip: KitchenClip) -> dict[str, Any]:
    """One row of an EPIC action table; the narrated part and its frames are both inclusive."""
    nouns = clip.cast.narrated
    classes = [CLASS_OF_NAME.get(n, SCENERY.get(n, -1)) for n in nouns]
    start, stop = round(clip.span.start * clip.rate), round(clip.span.stop * clip.rate)
    names = [epic_noun(n) for n in nouns]
    return {
        "narration_id": f"{video}_{number}",
        "participant_id": video.split("_")[0],
        "video_id": video,
        "narration_timestamp": timestamp(clip.span.start + 0.2, 3),
        "start_timestamp": timestamp(start / clip.rate, 2),
        "stop_timestamp": timestamp(stop / clip.rate, 2),
        "start_frame": start,
        "stop_frame": stop,
        "narration": clip.cast.narration,
        "verb": clip.cast.verb,
        "verb_class": clip.cast.verb_class,
        "noun": names[0],
        "noun_class": classes[0],
        "all_nouns": str(names),
        "all_noun_classes": str(classes),
    }


def shoot(
    kitchen: Kitchen,
    lens: Lens,
    clip: KitchenClip,
    frame: int,
    rng: np.random.Generator,
    *,
    hands: bool,
) -> NDArray[np.uint8]:
    """Render and expose one sparse frame, with motion blur from the camera's real movement."""
    t = frame / clip.rate
    moment = clip.scene.at(t)
    later = clip.scene.at(t + min(1 / clip.rate, _LONGEST_FRAME))
    shutter = rng.uniform(0.2, 2.2)
    drift = (later.camera[:, 2] - moment.camera[:, 2]) * 0.5 * shutter
    smears = []
    for now, then in zip(moment.placed, later.placed, strict=True):
        if now.thing is None:
            smears.append((then.matrix[:, 2] - now.matrix[:, 2]) * 0.5 * min(1.0, shutter) - drift)
    fastest = max(smears, key=lambda v: float(np.hypot(*v)))
    fastest = fastest * min(1.0, 15 / max(1e-6, float(np.hypot(*fastest))))
    image = render(
        kitchen.worktop,
        moment,
        hands=hands,
        shadow=float(rng.uniform(0.3, 0.5)),
        smear=streak(*drift),
        hand_smear=streak(*fastest),
    )
    return lens.expose(restyled(image, kitchen.style), rng)


def check_frame_size(size: tuple[int, int]) -> None:
    """Refuses sizes that pictures cannot have.

    Args:
        size: Width and height in pixels.

    Raises:
        ActisegError: If a side is too short to show anything, or longer than JPEG allows.
    """
    if min(size) < 64:
        raise ActisegError(f"frame-size: {size}; expected at least 64 pixels a side")
    if max(size) > _JPEG_SIDE:
        raise ActisegError(f"frame-size: {size}; expected at most {_JPEG_SIDE} pixels a side")


@dataclass(frozen=True)
class Appearance:
    """How sparse frames are stored.

    Attributes:
        size: Width and height of the JPEGs.
        quality: JPEG quality, 1 to 100.
        hands: Whether hands are drawn.
    """

    size: tuple[int, int] = (1920, 1080)
    quality: int = 90
    hands: bool = True

    def encode(self, image: NDArray[np.uint8]) -> bytes:
        """Resize and compress one picture."""
        if (image.shape[1], image.shape[0]) != self.size:
            shrink = self.size[0] < image.shape[1]
            how = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
            image = cv2.resize(image, self.size, interpolation=how)
        ok, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        if not ok:
            raise OSError("a frame could not be encoded as JPEG")
        return jpeg.tobytes()


def write_video(
    out: Path,
    split: str,
    video: str,
    kitchen: Kitchen,
    clips: list[KitchenClip],
    seed: tuple[int, ...],
    appearance: Appearance,
) -> dict[str, Any]:
    """Write frames and polygons of one video.

    Returns:
        What the tables that span all videos need: rows, frame mapping, hand-object frames.
    """
    sparse = out / "VISOR" / "GroundTruth-SparseAnnotations"
    rows, mapping, contacts, annotated = [], {}, [], []
    lens = lens_of(kitchen.style, seed)
    for number, clip in enumerate(clips):
        rows.append(action_row(video, number, clip))
        for frame in clip.frames:
            name = visor_frame(video, frame)
            rng = np.random.default_rng([*seed, 3, frame])
            image = shoot(kitchen, lens, clip, frame, rng, hands=appearance.hands)
            write_whole(sparse / "rgb_frames" / split / video / name, appearance.encode(image))
            objects, touching = annotate(clip.scene.at(frame / clip.rate))
            stamp = round(frame * _VISOR_RATE)
            for k, item in enumerate(objects):
                objects[k] = {"id": f"{video}-{stamp}-{k}", **item}
            sequence = f"{video}_seq_{number + 1:05d}"
            annotated.append(
                {
                    "image": {
                        "image_path": f"{video.split('_')[0]}/{video}/{sequence}/{name}",
                        "name": name,
                        "subsequence": sequence,
                        "video": video,
                    },
                    "annotations": objects,
                }
            )
            mapping[name] = epic_frame(frame)
            contacts.append({"file_name": name, "annotations": touching})
    document = {"info": {"description": "synthetic kitchen"}, "video_annotations": annotated}
    polygons = sparse / "annotations_corrected" / split / f"{video}.json"
    write_json(polygons, document, indent=None)
    return {"split": split, "video": video, "rows": rows, "mapping": mapping, "contacts": contacts}


def hand_object_file(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """COCO document of all hand-object frames, numbered in order."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for part in parts:
        for frame in part["contacts"]:
            image_id = len(images)
            images.append(
                {"id": image_id, "file_name": frame["file_name"], "height": 1080, "width": 1920}
            )
            for item in frame["annotations"]:
                annotations.append({"id": len(annotations), "image_id": image_id, **item})
    categories = [{"id": HAND, "name": "hand"}, {"id": OBJECT, "name": "object"}]
    return {"images": images, "annotations": annotations, "categories": categories}
