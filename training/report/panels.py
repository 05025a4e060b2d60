"""Qualitative panels: what finished cells make of some clips, and where they are uncertain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from actiseg_ros.errors import ActisegError
from actiseg_ros.gate.uncertainty import uncertain_pixels
from training.benchmark.cell_result import RESULT_FILE, CellResult, read_result
from training.checkpoints.weights import load_model
from training.data.layout import IMAGES, LABELS, image_folder, split_file
from training.data.palette import read_label_png
from training.data.pictures import read_rgb
from training.data.splits import Clip, evenly_spread, load_clips
from training.evaluation.inference import (
    Tokenize,
    chosen_masks,
    is_active,
    label_maps,
    network_input,
    trained_threshold,
)
from training.model import ActionVOS, tokenize
from training.noise.mask import dilate_labels
from training.report.charts import Picture
from training.report.conditions import Condition
from training.report.drawing import UInt8, draw_errors, draw_masks, draw_uncertain, jpeg

WEIGHTS = Path("run") / "last.safetensors"
"""A cell's final weights, as the benchmark leaves them."""
_SHOWN = ("name60/baseline", "mask21/baseline", "mask21/pmhm", "name60-mask21/baseline")
"""Cells that are shown if nobody chooses, as far as their weights are there."""
_LARGEST_KERNEL = 21


@dataclass(frozen=True)
class Strip:
    """A titled row of pictures."""

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Panel:
    """One frame: its labels, then what each cell makes of it."""

    title: str
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class _Scene:
    """A frame with its clean labels."""

    clip: Clip
    frame: UInt8
    labels: UInt8
    positive: frozenset[int]


@dataclass(frozen=True)
class Prediction:
    """What a network makes of one frame."""

    labels: UInt8
    """Object ids, uint8 [H, W]."""
    uncertain: NDArray[np.bool_]
    """Eq. 4 for any object that is drawn, bool [h, w] at mask stride."""


def find_cells(runs: Path, chosen: Sequence[str] = ()) -> list[CellResult]:
    """Cells whose weights are there: those chosen, or a few of different noise.

    Args:
        runs: Folder of the benchmark.
        chosen: Folders below it, such as ``mask21/pmhm/seed0``.

    Raises:
        ActisegError: If a chosen cell is not finished or its weights are gone.
    """
    for name in chosen:
        for needed in (RESULT_FILE, WEIGHTS):
            if not (runs / name / needed).is_file():
                raise ActisegError(f"--cells {name}: {runs / name / needed} is missing")
    if chosen:
        return [read_result(runs / name / RESULT_FILE) for name in chosen]
    finished = [path.parent for path in sorted(runs.glob(f"*/*/*/{RESULT_FILE}"))]
    usable = [folder for folder in finished if (folder / WEIGHTS).is_file()]
    firsts: dict[str, Path] = {}
    for folder in usable:
        firsts.setdefault(str(folder.parent.relative_to(runs)), folder)
    shown = [firsts[name] for name in _SHOWN if name in firsts] or usable[:1]
    return [read_result(folder / RESULT_FILE) for folder in shown]


def make_panels(
    runs: Path, cells: Sequence[CellResult], data: Path, split: str, count: int
) -> list[Panel]:
    """Pictures of evenly spread clips: image, clean and noisy masks, then each cell's own.

    Args:
        runs: Folder of the benchmark.
        cells: Cells to show.
        data: Prepared data.
        split: Split of clean clips.
        count: How many clips, at most.

    Raises:
        ActisegError: If the split, an image or weights cannot be read.
    """
    scenes = list(_scenes(data, split, count))
    kernel = max((cell.cell.mask_noise for cell in cells), default=0) or _LARGEST_KERNEL
    strips = [[_truth(scene, index, kernel)] for index, scene in enumerate(scenes)]
    for cell in cells:
        model, tokenizer, metadata = load_model(runs / cell.cell.folder / WEIGHTS)
        encode = partial(tokenize, tokenizer, max_tokens=model.config.max_tokens)
        for index, scene in enumerate(scenes):
            prediction = segment(
                model, encode, scene.clip, scene.frame, threshold=trained_threshold(metadata)
            )
            strips[index].append(_strip(cell, scene, index, prediction))
    return [
        Panel(_title(scene.clip), tuple(own)) for scene, own in zip(scenes, strips, strict=True)
    ]


@torch.inference_mode()
def segment(
    model: ActionVOS, encode: Tokenize, clip: Clip, frame: UInt8, *, threshold: float
) -> Prediction:
    """Segments one frame for all objects of its clip.

    Args:
        model: Network in evaluation mode.
        encode: Its tokeniser.
        clip: Objects with their prompts.
        frame: RGB, uint8 [H, W, 3].
        threshold: Of the positive head, the one that the cell was evaluated with.
    """
    sample = network_input([frame], model.config)
    output = model(
        sample[None],
        None,
        *encode(clip.expressions),
        torch.tensor([sample.shape[-2:]]),
        auxiliary=False,
    )
    masks = chosen_masks(output)
    active = is_active(output.positives, threshold)
    positions = label_maps(masks, active, (frame.shape[0], frame.shape[1]))[0]
    probabilities = masks[active, 0].float().sigmoid().numpy()
    uncertain = np.zeros(masks.shape[-2:], np.bool_)
    for probability in probabilities:
        uncertain |= uncertain_pixels(probability)
    return Prediction(clip.labels[positions], uncertain)


def _scenes(data: Path, split: str, count: int) -> Iterator[_Scene]:
    """The middle labelled frame of evenly spread clips with an active object."""
    file = split_file(data, split)
    folder = image_folder(data, file)
    clips = [
        clip
        for clip in load_clips(file)
        if clip.frames and not clip.flagged and any(entry.positive for entry in clip.objects)
    ]
    for clip in evenly_spread(clips, count):
        name = clip.frames[len(clip.frames) // 2]
        image = data / IMAGES / folder / clip.sequence / f"{name}.jpg"
        frame = read_rgb(image)
        labels = read_label_png(data / LABELS / folder / clip.sequence / f"{name}.png")
        positive = frozenset(entry.object_id for entry in clip.objects if entry.positive)
        yield _Scene(clip, frame, labels, positive)


def _title(clip: Clip) -> str:
    names = [entry.name for entry in clip.objects if entry.positive]
    return f"“{clip.narration}”: active {', '.join(names)}"


def _truth(scene: _Scene, index: int, kernel: int) -> Strip:
    noisy = dilate_labels(scene.labels, scene.positive, kernel)
    said = f"clip {index + 1}, {scene.clip.narration}"
    pictures = (
        ("image", "Image", f"Frame of {said}", scene.frame),
        (
            "clean", "Clean masks (inactive objects grey)", f"Clean masks of {said}",
            draw_masks(scene.frame, scene.labels, scene.positive),
        ),
        (
            "noisy", f"Noisy masks, {kernel}×{kernel}",
            f"Masks of {said}, dilated by {kernel} by {kernel} pixels",
            draw_masks(scene.frame, noisy, scene.positive),
        ),
    )  # fmt: skip
    return Strip(
        "Labels",
        tuple(
            Picture(f"clip{index + 1}-{name}", caption, alt, jpeg(drawn), "jpg")
            for name, caption, alt, drawn in pictures
        ),
    )


def _strip(cell: CellResult, scene: _Scene, index: int, prediction: Prediction) -> Strip:
    key = cell.cell
    condition = str(Condition(key.text_noise, key.mask_noise, key.strategy))
    everything = frozenset(range(256))
    drawn = {
        "Prediction": draw_masks(scene.frame, prediction.labels, everything),
        "Errors": draw_errors(scene.frame, scene.labels, prediction.labels, scene.positive),
        "Uncertain pixels": draw_uncertain(scene.frame, prediction.uncertain),
    }
    name = "-".join(key.folder.parts)
    return Strip(
        f"Trained with {condition} (seed {key.seed})",
        tuple(
            Picture(
                f"clip{index + 1}-{name}-{kind.partition(' ')[0].lower()}",
                kind,
                f"{kind} of {condition} on clip {index + 1}, {scene.clip.narration}",
                jpeg(picture),
                "jpg",
            )
            for kind, picture in drawn.items()
        ),
    )
