"""Label images for a split, from a checkpoint or by the run-time segmenter of a bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from actiseg_ros.bundle import file_sha256, load_bundle
from actiseg_ros.prompts import PROMPT_TEMPLATE, Prompt
from actiseg_ros.vision.segmenter import EncodedPrompt, Segmenter
from training.checkpoints.weights import load_model
from training.data.layout import IMAGES, sequence_root
from training.data.palette import write_label_png
from training.data.pictures import read_clip
from training.data.splits import Clip, load_clips
from training.evaluation.inference import Tokenize, clips_of, predict_clip, trained_threshold
from training.files.claims import claim
from training.files.errors import ActisegError
from training.files.progress import tracked
from training.model import ActionVOS, tokenize
from training.model.device import choose_device

UInt8 = NDArray[np.uint8]

SETTINGS_FILE = "predict.json"
_JOIN = PROMPT_TEMPLATE.format(object="", narration="")


class Predictor(Protocol):
    """Segments the frames of one clip for the expressions of its sequence."""

    def __call__(self, frames: Sequence[UInt8], expressions: Sequence[str]) -> UInt8:
        """Label maps uint8 [T, H, W] with label i for the i-th expression."""


class CheckpointPredictor:
    """The PyTorch network, as in the official inference.

    Args:
        model: network in evaluation mode.
        tokenize: its tokeniser.
        threshold: positive threshold; None keeps every object.
        peers: networks that answer together with it, see ``predict_clip``.
    """

    def __init__(
        self,
        model: ActionVOS,
        tokenize: Tokenize,
        threshold: float | None,
        peers: Sequence[ActionVOS] = (),
    ) -> None:
        self._model, self._tokenize, self._threshold = model, tokenize, threshold
        self._peers = peers

    def __call__(self, frames: Sequence[UInt8], expressions: Sequence[str]) -> UInt8:
        """Label maps uint8 [T, H, W]."""
        return predict_clip(
            *(self._model, self._tokenize, frames, expressions),
            peers=self._peers,
            threshold=self._threshold,
        )


class BundlePredictor:
    """The segmenter that the robot runs, with the bundle's own thresholds.

    Args:
        segmenter: run-time network.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._encoded: EncodedPrompt | None = None

    def __call__(self, frames: Sequence[UInt8], expressions: Sequence[str]) -> UInt8:
        """Label maps uint8 [T, H, W].

        Raises:
            ActisegError: an expression is not of the bundle's prompt form, or the expressions
                speak of different actions.
        """
        if not expressions:
            return np.zeros((len(frames), *frames[0].shape[:2]), np.uint8)
        names, narrations = [], set()
        for expression in expressions:
            name, join, narration = expression.partition(_JOIN)
            if not join:
                raise ActisegError(
                    f"expression {expression!r} is not of the form {PROMPT_TEMPLATE!r}, which "
                    "the run-time segmenter needs; use --checkpoint for free expressions"
                )
            names.append(name)
            narrations.add(narration)
        if len(narrations) > 1:
            raise ActisegError(f"one sequence has several narrations: {sorted(narrations)[:3]}")
        prompt = Prompt(narrations.pop(), tuple(names))
        # The clips of a sequence share their expressions.
        if self._encoded is None or self._encoded.prompt != prompt:
            self._encoded = self._segmenter.encode(prompt)
        parts = self._segmenter.segment_clip(frames, self._encoded)
        return np.stack([part.labels for part in parts])


def predict(
    data: Path,
    split: Path,
    out: Path,
    *,
    checkpoint: Path | None = None,
    peer: Path | None = None,
    bundle: Path | None = None,
    tokenizer: Path | None = None,
    positive_threshold: float | None = None,
    positive_head: bool = True,
    clip_length: int,
    device: str = "auto",
) -> int:
    """Writes a label PNG for every frame of a split; continues where it was interrupted.

    Args:
        data: folder in the ActionVOS layout, or one with a folder of JPEGs for each sequence.
        split: split file; a list (``ImageSets/SPLIT.json``) or an expression file.
        out: target; gets SEQ/FRAME.png.
        checkpoint: weights, published or our own. Exactly one of it and ``bundle`` is given.
        peer: weights of a second network, ``last.peer.safetensors`` of co-teaching; the mean of
            both networks' probabilities is segmented.
        bundle: model bundle.
        tokenizer: tokeniser files for checkpoints that hold none.
        positive_threshold: objects with a lower probability are removed; by default what the
            training run or the bundle says, 0.75 for published checkpoints.
        positive_head: False keeps every object.
        clip_length: most frames that are segmented together.
        device: ``auto``, ``cpu`` or ``cuda``; checkpoints only.

    Returns:
        Number of sequences written by this call.

    Raises:
        ActisegError: contradicting options, missing or broken files, or ``out`` holds predictions
            made with other settings.
        BundleError: the bundle is missing or broken.
    """
    if (checkpoint is None) == (bundle is None):
        raise ActisegError("give exactly one of --checkpoint and --bundle")
    if peer is not None and checkpoint is None:
        raise ActisegError("--peer is a second network beside --checkpoint; a bundle has one")
    if clip_length < 1:
        raise ActisegError(f"--clip-length is {clip_length}; it must be at least 1")
    if positive_threshold is not None and not 0 <= positive_threshold <= 1:
        raise ActisegError(f"--positive-threshold is {positive_threshold}; expected 0 to 1")
    settings: dict[str, Any] = {
        "split": file_sha256(split),
        "positive_threshold": positive_threshold,
        "positive_head": positive_head,
        "clip_length": clip_length,
        **dict.fromkeys(("checkpoint", "peer", "bundle")),
    }
    predictor: Predictor
    if checkpoint is not None:
        model, trained, metadata = load_model(checkpoint, tokenizer=tokenizer)
        limit = model.config.max_tokens
        own = trained_threshold(metadata)
        threshold = own if positive_threshold is None else positive_threshold
        predictor = CheckpointPredictor(
            model.to(choose_device(device)),
            lambda expressions: tokenize(trained, expressions, limit),
            threshold if positive_head else None,
            []
            if peer is None
            else [_peer(peer, model, trained, tokenizer).to(choose_device(device))],
        )
        settings["checkpoint"] = file_sha256(checkpoint)
        if peer is not None:
            settings["peer"] = file_sha256(peer)
    else:
        loaded = load_bundle(bundle)
        settings["bundle"] = loaded.model_id
        override = positive_threshold if positive_head else 0.0
        if override is not None:
            thresholds = dataclasses.replace(loaded.thresholds, positive=override)
            loaded = dataclasses.replace(loaded, thresholds=thresholds)
        predictor = BundlePredictor(Segmenter(loaded))
    return write_predictions(predictor, data, split, out, settings, clip_length=clip_length)


def _peer(path: Path, model: ActionVOS, trained: Tokenizer, tokenizer: Path | None) -> ActionVOS:
    """A second network that reads what the first one reads."""
    peer, other, _ = load_model(path, tokenizer=tokenizer)
    if peer.config != model.config or other.to_str() != trained.to_str():
        raise ActisegError(
            f"{path} is a {peer.config.name} network with another configuration or tokenizer than "
            "--checkpoint; --peer takes last.peer.safetensors of the same run"
        )
    return peer


def write_predictions(
    predictor: Predictor,
    data: Path,
    split: Path,
    out: Path,
    settings: dict[str, Any],
    *,
    clip_length: int,
) -> int:
    """Predicts the sequences whose label images are not complete yet.

    Args:
        predictor: what segments a clip.
        data: see ``predict``.
        split: see ``predict``.
        out: see ``predict``.
        settings: what the labels depend on; kept in ``out`` and compared when continuing.
        clip_length: most frames that are segmented together.

    Returns:
        Number of sequences written by this call.

    Raises:
        ActisegError: see ``predict``.
    """
    clips = load_clips(split)
    if not clips:
        raise ActisegError(f"{split}: no sequences")
    images = data / IMAGES if (data / IMAGES).is_dir() else data
    root = sequence_root(images, clips[0].sequence)
    claim(out / SETTINGS_FILE, settings, "predictions")
    todo = [clip for clip in clips if not _complete(out, clip)]
    for clip in tracked(todo, "predict", "sequences"):
        table = _output_labels(clip)
        for part in clips_of(len(clip.frames), clip_length):
            names = clip.frames[part]
            frames = read_clip([root / clip.sequence / f"{name}.jpg" for name in names])
            maps = table[predictor(frames, clip.expressions)]
            (out / clip.sequence).mkdir(parents=True, exist_ok=True)
            for name, labelled in zip(names, maps, strict=True):
                write_label_png(out / clip.sequence / f"{name}.png", labelled)
    return len(todo)


def _output_labels(clip: Clip) -> UInt8:
    """Label of background and of the i-th expression, uint8 [1 + P]."""
    labels = [entry.output_label for entry in clip.objects]
    if any(not 0 < label < 256 for label in labels):
        raise ActisegError(f"{clip.sequence}: object ids {labels} are not all within 1 to 255")
    return np.array([0, *labels], np.uint8)


def _complete(out: Path, clip: Clip) -> bool:
    return all((out / clip.sequence / f"{name}.png").is_file() for name in clip.frames)
