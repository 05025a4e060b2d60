"""Cards of a run of the node, from what was recorded of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.bags.account import BagError
from actiseg_ros.bags.cameras import COMPRESSED, DECISION, find_camera
from actiseg_ros.bags.recording import Recording, Topic, open_recording
from actiseg_ros.gate.rule import Reason
from actiseg_ros.gate.state import Decision
from actiseg_ros.overlay import draw_overlay
from actiseg_ros.prompts import Prompt
from actiseg_ros.vision.compressed import decode_compressed
from actiseg_ros.vision.image_descriptor import ImageDescriptor
from actiseg_ros.vision.images import decode_raw
from actiseg_ros.vision.segmenter import Segmentation
from training.review.cards import Card, degree_of, shown, small_jpeg

_OBJECTS = "actiseg_msgs/msg/ActiveObjectArray"
_NO_DESCRIPTOR = ImageDescriptor(np.zeros((0, 0, 0), np.float32), np.zeros(0, np.float32))


@dataclass
class _Run:
    """What the bags hold of a run, by the image's stamp in nanoseconds."""

    decisions: dict[int, Any] = field(default_factory=dict)
    objects: dict[int, Any] = field(default_factory=dict)
    without_image: int = 0


def recorded_cards(bags: Sequence[Path], topic: str = "") -> Iterator[Card]:
    """One card for each image that the node judged.

    The pictures are the node's own overlays where these were recorded, else the camera's images
    with the recorded masks.

    Args:
        bags: Bags of the run; its inputs and outputs may lie in different ones.
        topic: Camera of the run; needed if there are several.

    Raises:
        BagError: There is no decision, no camera or more than one, or a bag cannot be read.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(open_recording(bag)) for bag in bags]
        where = ", ".join(map(str, bags))
        source, decisions = _only(opened, DECISION, where)
        node = decisions.name.rpartition("/")[0]
        run = _Run()
        for message in source.messages([decisions.name]):
            _take(run, source.decode(message))
        if not run.decisions:
            raise BagError(f"{where}: no decision of {decisions.name} belongs to an image")
        for bag in opened:
            for name in [t.name for t in bag.topics.values() if t.type == _OBJECTS]:
                for message in bag.messages([name]):
                    entry = bag.decode(message)
                    run.objects[_stamp(entry)] = entry
        first = min(run.decisions)
        for stamp, rgb, drawn in _pictures(opened, node, run, topic):
            yield _card(stamp, rgb, run, drawn=drawn, first=first)


def _only(bags: Sequence[Recording], kind: str, where: str) -> tuple[Recording, Topic]:
    found = [(bag, topic) for bag in bags for topic in bag.topics.values() if topic.type == kind]
    if len(found) != 1:
        raise BagError(
            f"{where}: {len(found)} topics of {kind}, not one; record /segment/grasp of one node"
        )
    return found[0]


def _stamp(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def _take(run: _Run, decision: Any) -> None:
    stamp = _stamp(decision)
    if not stamp:
        run.without_image += 1
        return
    known = run.decisions.get(stamp)
    # The heartbeat repeats decisions; what it says later may be that the image is old.
    if known is None or (
        math.isnan(known.p_uncertainty) and not math.isnan(decision.p_uncertainty)
    ):
        run.decisions[stamp] = decision


def _pictures(
    bags: Sequence[Recording], node: str, run: _Run, topic: str
) -> Iterator[tuple[int, npt.NDArray[np.uint8], bool]]:
    """Stamp, picture, and whether the node has drawn on it already."""
    overlay, masks = f"{node}/overlay/compressed", f"{node}/mask"
    for bag in bags:
        if bag.topics.get(overlay) and bag.topics[overlay].count:
            for message in bag.messages([overlay]):
                image = bag.decode(message)
                if _stamp(image) in run.decisions:
                    yield _stamp(image), decode_compressed(image.data.tobytes()), True
            return
    labels: dict[int, npt.NDArray[np.uint8]] = {}
    for bag in bags:
        for message in bag.messages([masks]) if masks in bag.topics else ():
            mask = bag.decode(message)
            labels[_stamp(mask)] = np.asarray(mask.data, np.uint8).reshape(mask.height, mask.width)
    source, camera = find_camera(bags, topic, "--topic")
    for message in source.messages([camera.name]):
        image = source.decode(message)
        stamp = _stamp(image)
        if stamp in run.decisions:
            rgb = _decoded(image, camera)
            yield stamp, _with_masks(rgb, labels.get(stamp), stamp, run), False


def _decoded(image: Any, topic: Topic) -> npt.NDArray[np.uint8]:
    if topic.type == COMPRESSED:
        return decode_compressed(image.data.tobytes())
    return decode_raw(
        image.encoding, image.height, image.width, image.step, image.is_bigendian, image.data.data
    )


def _with_masks(
    rgb: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8] | None, stamp: int, run: _Run
) -> npt.NDArray[np.uint8]:
    message = run.decisions[stamp]
    reasons = tuple(Reason(name) for name in message.reasons if name in Reason.__members__)
    decision = Decision(
        bool(message.go), reasons, target=message.target, p_uncertainty=message.p_uncertainty,
        n_uncertainty=message.n_uncertainty, p_limit=message.p_limit, n_limit=message.n_limit,
    )  # fmt: skip
    found = _objects(run.objects.get(stamp))
    result = None
    if labels is not None and labels.shape == rgb.shape[:2] and found:
        names = tuple(found.get(label, ("", 0.0))[0] for label in range(1, max(found) + 1))
        active = [found.get(label, ("", 0.0))[1] for label in range(1, max(found) + 1)]
        nothing = np.zeros((len(names), 1, 1), np.float32)
        result = Segmentation(
            prompt=Prompt(str(run.objects[stamp].narration), names, message.target),
            labels=labels,
            probabilities=nothing,
            active=np.asarray(active, np.float32),
            objectness=np.zeros(len(names), np.float32),
            descriptor=_NO_DESCRIPTOR,
            timings={},
        )
    return draw_overlay(rgb, result, decision)


def _objects(message: Any) -> Mapping[int, tuple[str, float]]:
    """Name and active score by label."""
    if message is None:
        return {}
    return {int(e.label): (str(e.name), float(e.active_score)) for e in message.objects}


def _card(stamp: int, rgb: npt.NDArray[np.uint8], run: _Run, *, drawn: bool, first: int) -> Card:
    decision = run.decisions[stamp]
    pairs = [
        (float(decision.p_uncertainty), float(decision.p_limit)),
        (float(decision.n_uncertainty), float(decision.n_limit)),
    ]
    found = _objects(run.objects.get(stamp))
    return Card(
        title=f"second {(stamp - first) / 1e9:.2f} of what was judged",
        narration="" if stamp not in run.objects else str(run.objects[stamp].narration),
        jpeg=small_jpeg(rgb),
        go=bool(decision.go),
        reasons=tuple(decision.reasons),
        target=str(decision.target),
        objects=tuple(name for name, _ in found.values()),
        numbers={
            "p-uncertainty": shown(*pairs[0]),
            "n-uncertainty": shown(*pairs[1]),
        },
        degree=degree_of(pairs),
    )
