"""Label images for a split, from a checkpoint or by the run-time segmenter of a bundle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actiseg_ros.bundle import file_sha256, load_bundle
from actiseg_ros.errors import ActisegError
from training.data.layout import IMAGES, sequence_root
from training.data.palette import write_label_png
from training.data.pictures import read_clip
from training.data.splits import Clip, clip_files, load_clips, require_files
from training.evaluation.inference import clips_of
from training.evaluation.predictors import Predictor, bundle_predictor, checkpoint_predictor
from training.files.claims import claim, require_free
from training.files.digests import files_digest
from training.files.lock import sole_writer
from training.files.progress import tracked
from training.model.text import load_tokenizer

UInt8 = NDArray[np.uint8]

SETTINGS_FILE = "predict.json"


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
            made with other settings or of other pictures, as far as names and sizes tell.
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
        **dict.fromkeys(("checkpoint", "peer", "tokenizer", "bundle")),
    }
    predictor: Predictor
    if checkpoint is not None:
        predictor = checkpoint_predictor(
            checkpoint,
            peer=peer,
            tokenizer=tokenizer,
            threshold=positive_threshold,
            positive_head=positive_head,
            device=device,
        )
        settings["checkpoint"] = file_sha256(checkpoint)
        settings["peer"] = peer and file_sha256(peer)
        if tokenizer is not None:
            text = load_tokenizer(tokenizer).to_str()
            settings["tokenizer"] = hashlib.sha256(text.encode()).hexdigest()
    else:
        loaded = load_bundle(bundle)
        settings["bundle"] = loaded.model_id
        predictor = bundle_predictor(
            loaded, threshold=positive_threshold, positive_head=positive_head
        )
    return write_predictions(predictor, data, split, out, settings, clip_length=clip_length)


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
    # Before anything is claimed: with what is missing, the pictures are others.
    require_files(clips, {root: ".jpg"}, split)
    with sole_writer(out):
        if not (out / SETTINGS_FILE).exists():
            require_free(out, "predictions")
        claim(out / SETTINGS_FILE, settings, "predictions")
        # Added apart: folders of before do not have it yet.
        pictures = files_digest(root, clip_files(clips, {root: ".jpg"}))
        claim(out / SETTINGS_FILE, {"pictures": pictures}, "predictions", may_add=True)
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
