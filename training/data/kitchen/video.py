"""A continuous first-person video of several actions in one kitchen, with its ground truth."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from actiseg_ros.bags.epic_actions import COLUMNS
from actiseg_ros.errors import ActisegError
from training.data.kitchen import choreography
from training.data.kitchen.actions import cast_action, cast_among
from training.data.kitchen.choreography import Span
from training.data.kitchen.clips import Kitchen, KitchenClip, draw_kitchen, lay_out
from training.data.kitchen.generate import write_tables
from training.data.kitchen.motion import draw_camera
from training.data.kitchen.render import Lens, lens_of
from training.data.kitchen.scene import Hand, Scene
from training.data.kitchen.style import Style, check_style
from training.data.kitchen.vocabulary import CLASS_OF_NAME, LEFT_HAND, RIGHT_HAND
from training.data.kitchen.writer import (
    Appearance,
    action_row,
    shoot,
    write_video,
)
from training.data.prepare import prepare
from training.files.disk import read_json, replacing, write_text
from training.files.processes import in_processes
from training.files.progress import tracked

_VIDEO_ID = "P01_101"
_TRUTH = "truth"
_THINGS = 7
"""Things in a video; a kitchen of several videos has the same ones in all of them."""
_LAYOUTS, _CASTS = 150, 40
_PAUSE = 2.2
"""Seconds between narrated parts: both hands put down what they hold and take up the next."""
_SHORTEST, _LONGEST = 2.6, 4.2
"""Seconds of an action, from its first frame to its last."""
_CHUNK = 20


@dataclass(frozen=True)
class VideoOptions:
    """What the video shows.

    Attributes:
        seed: Other seeds give other kitchens and actions.
        seconds: Length.
        fps: Frames a second.
        size: Width and height in pixels.
        truth_every: Ground truth is written for each n-th frame of an action.
        kitchen: Kitchen that it is filmed in; None is one of its own. Videos of one kitchen have
            the same worktop, hands and things, in other places and actions.
        style: How pictures are drawn.
        video_id: Name of the recording.
    """

    seed: int = 0
    seconds: float = 33.0
    fps: int = 15
    size: tuple[int, int] = (854, 480)
    truth_every: int = 8
    kitchen: int | None = None
    style: Style = "plain"
    video_id: str = _VIDEO_ID

    def __post_init__(self) -> None:
        check_style(self.style)
        if self.seconds < 8:
            raise ActisegError(f"seconds: {self.seconds}; expected at least 8 for one action")
        if not 2 <= self.fps <= 120:
            raise ActisegError(f"fps: {self.fps}; expected 2 to 120")
        if self.truth_every < 2:
            raise ActisegError(f"truth_every: {self.truth_every}; expected at least 2")
        # See `truth_frames`: there are two even of the shortest action.
        if self.truth_every > int(_SHORTEST * self.fps) - 2:
            raise ActisegError(
                f"truth_every: {self.truth_every} with fps: {self.fps}; actions may be as short as"
                f" {_SHORTEST} s and need two frames of ground truth: choose a smaller truth_every"
                " or more fps"
            )
        if min(self.size) < 64 or self.size[0] % 2 or self.size[1] % 2:
            raise ActisegError(f"size: {self.size}; expected even numbers of at least 64 pixels")


@dataclass(frozen=True)
class KitchenVideo:
    """Files of a video.

    Attributes:
        video: H.264 mp4 (MPEG-4 part 2 where PyAV has no H.264 encoder).
        narrations: EPIC table columns and ``object_names``, a list of all annotated nouns.
        video_id: The video's id in the table.
        truth: ActionVOS layout with split ``val``, if it was asked for; frame n is shown at n / fps
            seconds.
        fps: Frames a second.
        clips: Its actions, as they are staged.
    """

    video: Path
    narrations: Path
    video_id: str
    truth: Path
    fps: int
    clips: tuple[KitchenClip, ...]


def make_video(
    out: Path,
    options: VideoOptions,
    *,
    workers: int | None = None,
    progress: bool = True,
    truth: bool = True,
) -> KitchenVideo:
    """Draw a video, its narrations and its ground truth.

    The ground truth is prepared from polygons and contacts as real data is.

    Args:
        out: Folder; files of an earlier video are replaced.
        options: What to draw.
        workers: Processes; by default one for each processor.
        progress: Show a progress bar.
        truth: Write the ground truth too; one of an earlier video is removed in any case.

    Raises:
        ActisegError: If a folder `truth` is there that no earlier video left.
    """
    out.mkdir(parents=True, exist_ok=True)
    _remove_truth(out / _TRUTH)
    seed = (options.seed, 1 << 20)
    kitchen = video_kitchen(options)
    clips = compose_video(seed, kitchen, options)
    name = options.video_id
    files = KitchenVideo(
        out / "video.mp4", out / "narrations.csv", name, out / _TRUTH, options.fps, tuple(clips)
    )
    _write_narrations(files.narrations, clips, name)
    _encode(files.video, kitchen, clips, seed, options, workers, progress)
    if not truth:
        return files
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        tree = Path(scratch)
        appearance = Appearance(size=(854, 480))
        part = write_video(tree, "val", name, kitchen, clips, seed, appearance)
        write_tables(tree, [part])
        prepare(tree / "VISOR", tree / "annotations", files.truth, ["val"], workers=1)
    return files


def _remove_truth(folder: Path) -> None:
    """Removes the ground truth of an earlier video, which is no truth of the next one.

    Raises:
        ActisegError: If the folder holds something else.
    """
    if not folder.exists():
        return
    # The split of one video, prepared from a tree that was drawn for it, and no other split.
    identity = folder / ".prepare" / "val.json"
    found = read_json(identity) if identity.is_file() else None
    videos = found.get("polygons", {}) if isinstance(found, dict) else {}
    splits = {path.name for path in (folder / "ImageSets").glob("*")}
    begun = all(path.name.startswith(".") for path in folder.iterdir())
    if not begun and not (len(videos) == 1 and all(name.startswith("val") for name in splits)):
        raise ActisegError(
            f"{folder}: is not the ground truth of an earlier video; choose another folder"
        )
    shutil.rmtree(folder)


def video_kitchen(options: VideoOptions) -> Kitchen:
    """The kitchen of a video; always the same for the same options."""
    seed = options.seed if options.kitchen is None else options.kitchen
    return draw_kitchen((seed, 1 << 20), options.style)


def compose_video(
    seed: tuple[int, ...], kitchen: Kitchen, options: VideoOptions
) -> list[KitchenClip]:
    """Stage consecutive actions in one scene that all clips share.

    Returns:
        One clip for each action; its frames are those with ground truth.
    """
    rng = np.random.default_rng([*seed, 4])
    owner = rng if options.kitchen is None else np.random.default_rng([*kitchen.seed, 6])
    present = _gathered(owner, _THINGS)
    scene = _lay_table(rng, kitchen, present)
    index_of = {thing.name: i for i, thing in enumerate(scene.things)}
    clips: list[KitchenClip] = []
    clock = 1.6
    while (stop := clock + rng.uniform(_SHORTEST, _LONGEST)) + 1 < options.seconds:
        span = Span(clock - 0.8, clock, stop, stop + 0.8)
        scene, clip = _next_action(
            rng, scene, present, index_of, span, options, {c.cast.verb for c in clips}
        )
        clips.append(clip)
        clock = stop + _PAUSE
    return [replace(clip, scene=scene) for clip in clips]


def _gathered(rng: np.random.Generator, count: int) -> dict[int, str]:
    """Names of things by their class: what random actions use and what lies beside it."""
    present: dict[int, str] = {}
    while len(present) < count:
        cast = cast_action(rng)
        for name in [*cast.used, *cast.bystanders][: count - len(present)]:
            present.setdefault(CLASS_OF_NAME[name], name)
    return present


def _lay_table(rng: np.random.Generator, kitchen: Kitchen, present: dict[int, str]) -> Scene:
    """Place all things so that nothing is hidden and none lies in the box of another."""
    things = [kitchen.thing(name) for name in present.values()]
    camera = replace(draw_camera(rng), x=0.0, y=0.0, zoom=1.0)
    hands = (Hand(False, rng.uniform(250, 620)), Hand(True, rng.uniform(1300, 1670)))
    scene = Scene(things, hands, camera, kitchen.person, kitchen.hand_sprites)
    spoilt = list(range(len(things)))
    for _ in range(_LAYOUTS):
        lay_out(rng, things, spoilt)
        _, hidden = choreography.troubles(scene, [0.0], set(), least_visible=0.9)
        spoilt = sorted(hidden | choreography.crowded(scene, 0.0))
        if not spoilt:
            break
    return scene


def truth_frames(span: Span, options: VideoOptions) -> tuple[int, ...]:
    """Frames of an action that get ground truth: neither its first nor its last one, two at least.

    Args:
        span: When it happens, as long as `compose_video` makes actions.
        options: Of the video.
    """
    first, last = round(span.start * options.fps), round(span.stop * options.fps)
    return tuple(range(first + 1, last, options.truth_every))


def _next_action(
    rng: np.random.Generator,
    scene: Scene,
    present: dict[int, str],
    index_of: dict[str, int],
    span: Span,
    options: VideoOptions,
    verbs: set[str],
) -> tuple[Scene, KitchenClip]:
    """Append the action that suits the present layout best and is new, of several random ones."""
    frames = truth_frames(span, options)
    times = [f / options.fps for f in frames]
    best: tuple[int, Scene, KitchenClip] | None = None
    for _ in range(_CASTS):
        cast = cast_among(rng, present)
        trial = replace(
            scene,
            things=[replace(t, track=deepcopy(t.track)) for t in scene.things],
            hands=(deepcopy(scene.hands[0]), deepcopy(scene.hands[1])),
        )
        choreography.perform(rng, trial, cast, span, index_of)
        accidental, hidden = choreography.troubles(
            trial, times, {index_of[n] for n in cast.untouched}
        )
        idle = all(part.use == "none" for part in cast.template.parts.values())
        score = 2 * len(accidental | hidden) + idle + (cast.verb in verbs)
        if best is None or score < best[0]:
            best = score, trial, KitchenClip(cast, trial, span, frames, options.fps)
        if score == 0:
            break
    assert best is not None
    return best[1], best[2]


def _write_narrations(path: Path, clips: list[KitchenClip], video_id: str) -> None:
    text = StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, "object_names"], lineterminator="\n")
    writer.writeheader()
    for number, clip in enumerate(clips):
        names = sorted([t.name for t in clip.scene.things] + [LEFT_HAND[0], RIGHT_HAND[0]])
        writer.writerow({**action_row(video_id, number, clip), "object_names": str(names)})
    write_text(path, text.getvalue())


_shared: tuple[Kitchen, Lens, KitchenClip, tuple[int, ...], tuple[int, int]] | None = None


def _begin(
    kitchen: Kitchen, lens: Lens, clip: KitchenClip, seed: tuple[int, ...], size: tuple[int, int]
) -> None:
    """Give a worker what all of its frames need."""
    global _shared
    cv2.setNumThreads(1)
    _shared = kitchen, lens, clip, seed, size


def _shoot(frames: range) -> list[NDArray[np.uint8]]:
    assert _shared is not None
    kitchen, lens, clip, seed, size = _shared
    images = []
    for frame in frames:
        rng = np.random.default_rng([*seed, 5, frame])
        image = shoot(kitchen, lens, clip, frame, rng, hands=True)
        images.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return images


def _images(
    kitchen: Kitchen,
    clips: list[KitchenClip],
    seed: tuple[int, ...],
    options: VideoOptions,
    workers: int | None,
) -> Iterator[NDArray[np.uint8]]:
    count = round(options.seconds * options.fps)
    chunks = [range(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]
    lens = lens_of(kitchen.style, seed)
    shared = (kitchen, lens, clips[0], seed, options.size)
    _begin(*shared)
    for images in in_processes(_shoot, chunks, workers, begin=_begin, arguments=shared):
        yield from images


def _encode(
    path: Path,
    kitchen: Kitchen,
    clips: list[KitchenClip],
    seed: tuple[int, ...],
    options: VideoOptions,
    workers: int | None,
    progress: bool,
) -> None:
    """Encode under a temporary name and rename."""
    h264 = "libx264" in av.codecs_available
    images = _images(kitchen, clips, seed, options, workers)
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264" if h264 else "mpeg4", rate=options.fps)
        stream.width, stream.height = options.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        if h264:
            stream.options = {"crf": "20", "preset": "veryfast"}
        else:
            stream.bit_rate = 6_000_000
        total = round(options.seconds * options.fps)
        for image in tracked(images, "video", "frames", total=total, shown=progress):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
