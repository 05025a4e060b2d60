"""What segments a clip: the PyTorch network, or the segmenter that the robot runs."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from actiseg_ros.bundle import Bundle
from actiseg_ros.errors import ActisegError
from actiseg_ros.prompts import PROMPT_TEMPLATE, Prompt, parse_prompt
from actiseg_ros.vision.segmenter import EncodedPrompt, Segmenter
from training.checkpoints.weights import load_model
from training.evaluation.inference import Tokenize, predict_clip, trained_threshold
from training.model import ActionVOS, tokenize
from training.model.device import choose_device, cpu_warning

UInt8 = NDArray[np.uint8]


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
        parts = [parse_prompt(expression) for expression in expressions]
        for expression, part in zip(expressions, parts, strict=True):
            if part is None:
                raise ActisegError(
                    f"expression {expression!r} is not of the form {PROMPT_TEMPLATE!r}, which "
                    "the run-time segmenter needs; use --checkpoint for free expressions"
                )
        names, narrations = zip(*filter(None, parts), strict=True)
        if len(set(narrations)) > 1:
            raise ActisegError(f"a sequence has several narrations: {sorted(set(narrations))[:3]}")
        prompt = Prompt(narrations[0], names)
        # The clips of a sequence share their expressions.
        if self._encoded is None or self._encoded.prompt != prompt:
            self._encoded = self._segmenter.encode(prompt)
        segmented = self._segmenter.segment_clip(frames, self._encoded)
        return np.stack([part.labels for part in segmented])


def checkpoint_predictor(
    checkpoint: Path,
    *,
    peer: Path | None = None,
    tokenizer: Path | None = None,
    threshold: float | None = None,
    positive_head: bool = True,
    device: str = "auto",
) -> CheckpointPredictor:
    """The network of a checkpoint; arguments as in `predict`.

    Raises:
        ActisegError: A file is unusable, or the two networks do not belong together.
    """
    model, trained, metadata = load_model(checkpoint, tokenizer=tokenizer)
    limit = model.config.max_tokens
    threshold = trained_threshold(metadata) if threshold is None else threshold
    chosen = choose_device(device)
    for line in cpu_warning(device, chosen):
        print(line, file=sys.stderr)
    peers = [] if peer is None else [_peer(peer, model, trained, tokenizer).to(chosen)]
    return CheckpointPredictor(
        model.to(chosen),
        lambda expressions: tokenize(trained, expressions, limit),
        threshold if positive_head else None,
        peers,
    )


def bundle_predictor(
    bundle: Bundle, *, threshold: float | None = None, positive_head: bool = True
) -> BundlePredictor:
    """The segmenter of a bundle; arguments as in `predict`."""
    override = threshold if positive_head else 0.0
    if override is not None:
        thresholds = dataclasses.replace(bundle.thresholds, positive=override)
        bundle = dataclasses.replace(bundle, thresholds=thresholds)
    return BundlePredictor(Segmenter(bundle))


def _peer(path: Path, model: ActionVOS, trained: Tokenizer, tokenizer: Path | None) -> ActionVOS:
    """A second network that reads what the first one reads."""
    peer, other, _ = load_model(path, tokenizer=tokenizer)
    if peer.config != model.config or other.to_str() != trained.to_str():
        raise ActisegError(
            f"{path} is a {peer.config.name} network with another configuration or tokenizer than "
            "--checkpoint; --peer takes last.peer.safetensors of the same run"
        )
    return peer
