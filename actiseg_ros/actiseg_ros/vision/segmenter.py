"""Runs the three ONNX graphs of a bundle: frames and a prompt in, masks of objects out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from actiseg_ros.bundle import GRAPH_NAMES, Bundle
from actiseg_ros.errors import BundleError, PromptError
from actiseg_ros.prompts import MAX_OBJECTS, Prompt
from actiseg_ros.vision import letterbox
from actiseg_ros.vision.image_descriptor import ImageDescriptor, image_statistics, patch_features
from actiseg_ros.vision.label_map import draw_labels, sigmoid
from actiseg_ros.vision.mask_memory import MaskMemory
from actiseg_ros.vision.onnx_graph import Arrays, Graph, choose_providers

LOGGER = logging.getLogger(__name__)
FloatArray = npt.NDArray[np.float32]

_TEXT_OUTPUTS = ("words", "sentence")
_MASK_OUTPUTS = ("logits", "masks", "positive")
_DESCRIBED = ("stride4", "stride8", "stride16", "stride32")
"""Outputs of the image encoder whose patches the image's descriptor holds."""


@dataclass(frozen=True)
class OwnAnswer:
    """What an image says by itself, where those before it have a say in the result.

    Attributes:
        probabilities: As in `Segmentation`.
        active: As in `Segmentation`.
    """

    probabilities: FloatArray
    active: FloatArray


@dataclass(frozen=True)
class Segmentation:
    """What the network says about one image.

    Attributes:
        prompt: The prompt that it answers, with P candidate objects.
        labels: uint8 [H, W] of the image's size; 0 background, i the i-th candidate.
        probabilities: float32 [P, h, w] in [0, 1] on the mask grid, without letterbox padding.
        active: float32 [P], probability that the object is used in the action.
        objectness: float32 [P], score of the query whose mask was taken.
        descriptor: Global descriptor of the image.
        timings: Seconds of each stage.
        own: The image's own answer if `labels`, `probabilities` and `active` are those of a stream,
            joined with images before; else None.
    """

    prompt: Prompt
    labels: npt.NDArray[np.uint8]
    probabilities: FloatArray
    active: FloatArray
    objectness: FloatArray
    descriptor: ImageDescriptor
    timings: Mapping[str, float]
    own: OwnAnswer | None = None


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt and what the text encoder makes of it; from `Segmenter.encode`.

    Attributes:
        prompt: The prompt.
        inputs: Text inputs of the decoder by name, one row per candidate.
    """

    prompt: Prompt
    inputs: Arrays


@dataclass(frozen=True)
class EncodedFrames:
    """Frames and what the image encoder makes of them; from `Segmenter.look`.

    Attributes:
        size: Height and width of the frames.
        pictures: The frames at the size that the network sees, uint8 [h, w, 3] each.
        outputs: Image inputs of the decoder by name, one row per frame.
        descriptors: What novelty detection knows of each frame.
        timings: Seconds of each stage.
    """

    size: tuple[int, int]
    pictures: tuple[npt.NDArray[np.uint8], ...]
    outputs: Arrays
    descriptors: tuple[ImageDescriptor, ...]
    timings: Mapping[str, float]


class Segmenter:
    """The run-time network. It remembers nothing: every result depends on its arguments alone.

    Args:
        bundle: Verified bundle.
        threads: Threads of one graph; 0 lets ONNX Runtime choose.
        providers: ONNX Runtime execution providers, see `onnx_graph.choose_providers`.

    Attributes:
        providers: Those that the network runs on, in order of preference.
        missing_providers: Those that were asked for and that the session has not.

    Raises:
        BundleError: A graph or the tokenizer cannot be loaded, or the graphs do not fit each
            other.
    """

    def __init__(
        self, bundle: Bundle, *, threads: int = 0, providers: Sequence[str] | None = None
    ) -> None:
        self.bundle = bundle
        chosen = choose_providers(providers)
        self._graphs = {
            name: Graph(path, bundle.contents.take(path.name), threads, chosen)
            for name, path in bundle.graphs.items()
        }
        self.providers = self._graphs["image_encoder"].providers
        asked = chosen if providers is None else providers
        self.missing_providers = tuple(name for name in asked if name not in self.providers)
        LOGGER.info("bundle %s runs on %s", bundle.name, ", ".join(self.providers))
        self._check_graphs()
        self._tokenizer = _open_tokenizer(bundle)

    def _check_graphs(self) -> None:
        image, text, decoder = (self._graphs[name] for name in GRAPH_NAMES)
        known = {*image.outputs, *_TEXT_OUTPUTS, "attention_mask"}
        missing = {
            image.path: set(_DESCRIBED) - set(image.outputs),
            text.path: set(_TEXT_OUTPUTS) - set(text.outputs),
            decoder.path: (set(decoder.inputs) - known)
            | (set(_MASK_OUTPUTS) - set(decoder.outputs)),
        }
        for path, names in missing.items():
            if names:
                raise BundleError(
                    f"{path}: the graphs do not fit each other, {sorted(names)} missing; "
                    "export the bundle anew with `actiseg export`"
                )

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Encodes the texts of a prompt.

        Args:
            prompt: Cleaned narration and 1 to `MAX_OBJECTS` candidates.

        Returns:
            What `segment` takes, for any number of images.

        Raises:
            PromptError: No name, or too many.
            InferenceError: The text encoder failed.
        """
        if not 1 <= len(prompt.names) <= MAX_OBJECTS:
            raise PromptError(f"{len(prompt.names)} object names, expected 1 to {MAX_OBJECTS}")
        return EncodedPrompt(prompt, self._encode(prompt))

    def unread(self, prompt: Prompt) -> tuple[str, ...]:
        """Names with whose text the network does not read the narration to its end."""
        tokens = self._tokenize(prompt)
        return tuple(n for n, each in zip(prompt.names, tokens, strict=True) if each.overflowing)

    def _tokenize(self, prompt: Prompt) -> list[Encoding]:
        """Tokens of each candidate's text."""
        spec = self.bundle.prompt
        texts = [
            # Not str.format: a narration may contain braces.
            spec.template.replace("{object}", name).replace("{narration}", prompt.narration)
            for name in prompt.names
        ]
        return self._tokenizer.encode_batch([t.lower() if spec.lowercase else t for t in texts])

    def _encode(self, prompt: Prompt) -> Arrays:
        spec = self.bundle.prompt
        rows = [each.ids for each in self._tokenize(prompt)]
        length = max(1, *map(len, rows))
        ids = np.full((len(rows), length), spec.pad_id, np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        outputs = self._graphs["text_encoder"]({"input_ids": ids, "attention_mask": mask})
        encoded: Arrays = {name: outputs[name] for name in _TEXT_OUTPUTS}
        encoded["attention_mask"] = mask
        return encoded

    def warm_up(self) -> None:
        """Runs every graph once, so that the first real frame is not slower than the rest."""
        encoded = self.encode(Prompt("take cup", ("cup", "left hand", "right hand")))
        spec = self.bundle.input
        self.segment(np.zeros((spec.height, spec.width, 3), np.uint8), encoded)

    def look(self, frames: Sequence[npt.NDArray[np.uint8]]) -> EncodedFrames:
        """Encodes frames, for any number of prompts.

        Args:
            frames: At least one image uint8 [H, W, 3], RGB, all of one size.

        Returns:
            What `answer` takes.

        Raises:
            InferenceError: The image encoder failed.
        """
        if not frames or any(frame.shape != frames[0].shape for frame in frames):
            raise ValueError("a clip needs at least one frame, and all frames of one size")
        watch = _StopWatch()
        spec = self.bundle.input
        small = [letterbox.resize(frame, spec) for frame in frames]
        batch = np.stack([letterbox.pad(frame, spec) for frame in small])
        watch.lap("preprocess")
        outputs = self._graphs["image_encoder"]({"frames": batch})
        watch.lap("image_encoder")
        height, width = frames[0].shape[:2]
        box = letterbox.fit(height, width, spec)
        descriptors = tuple(
            ImageDescriptor(
                np.stack([patch_features(letterbox.crop(level, box, spec)) for level in levels]),
                image_statistics(frame),
            )
            for *levels, frame in zip(*(outputs[name] for name in _DESCRIBED), small, strict=True)
        )
        watch.lap("descriptor")
        return EncodedFrames((height, width), tuple(small), outputs, descriptors, watch.laps)

    def describe(self, rgb: npt.NDArray[np.uint8]) -> ImageDescriptor:
        """Global descriptor of an image, without segmenting it.

        Args:
            rgb: uint8 [H, W, 3].
        """
        return self.look([rgb]).descriptors[0]

    def segment(self, rgb: npt.NDArray[np.uint8], prompt: EncodedPrompt) -> Segmentation:
        """Segments one image; see `segment_clip`."""
        return self.segment_clip([rgb], prompt)[0]

    def segment_clip(
        self, frames: Sequence[npt.NDArray[np.uint8]], prompt: EncodedPrompt
    ) -> list[Segmentation]:
        """Segments the frames of a clip together.

        As in the official inference, the query and the activity of an object are decided once
        for the clip, from all its frames.

        Args:
            frames: At least one image uint8 [H, W, 3], RGB, all of one size.
            prompt: From `encode` of this segmenter.

        Returns:
            One result per frame.

        Raises:
            InferenceError: A graph failed or answered with numbers that are not finite.
        """
        return self.answer(self.look(frames), prompt)

    def answer(
        self, looked: EncodedFrames, prompt: EncodedPrompt, memory: MaskMemory | None = None
    ) -> list[Segmentation]:
        """Segments the frames of a clip that were encoded before; see `segment_clip`.

        Args:
            looked: From `look` of this segmenter.
            prompt: From `encode` of this segmenter.
            memory: Of the stream whose next image the one frame is; it is asked and told.

        Raises:
            InferenceError: The decoder failed or answered with numbers that are not finite.
        """
        if memory is not None and len(looked.descriptors) != 1:
            raise ValueError("a stream has one frame at a time")
        watch = _StopWatch()
        decoded = self._graphs["prompt_decoder"]({**looked.outputs, **prompt.inputs})
        watch.lap("prompt_decoder")
        spec = self.bundle.input
        box = letterbox.fit(*looked.size, spec)
        masks, objectness = choose_query(decoded["logits"], decoded["masks"])
        positive = decoded["positive"].reshape(len(prompt.prompt.names))
        grids = [letterbox.crop(masks[:, t], box, spec) for t in range(masks.shape[1])]
        joined = None
        if memory is not None:
            joined = memory.join(looked.pictures[0], grids[0], positive)
            watch.lap("memory")
        shown = [joined.masks] if joined else grids
        active = sigmoid(joined.active if joined else positive)
        labels = [
            self._draw(grid, active, looked.size, (masks.shape[2], masks.shape[3]))
            for grid in shown
        ]
        watch.lap("labels")
        return [
            Segmentation(
                prompt.prompt,
                drawn,
                sigmoid(grid),
                active,
                objectness,
                descriptor,
                {**looked.timings, **watch.laps},
                own=OwnAnswer(sigmoid(grids[0]), sigmoid(positive)) if joined else None,
            )
            for drawn, grid, descriptor in zip(labels, shown, looked.descriptors, strict=True)
        ]

    def _draw(
        self,
        grid: FloatArray,
        active: FloatArray,
        size: tuple[int, int],
        mask_shape: tuple[int, int],
    ) -> npt.NDArray[np.uint8]:
        """Label map of the image's size from mask logits without padding."""
        spec, thresholds = self.bundle.input, self.bundle.thresholds
        box = letterbox.fit(*size, spec)
        # Interpolation never exceeds its inputs, so only masks that reach the threshold draw.
        level = np.log(thresholds.mask / (1 - thresholds.mask)) if 0 < thresholds.mask < 1 else 0
        drawn = np.flatnonzero(
            (active >= thresholds.positive) & (grid.max(axis=(1, 2)) >= level - 1e-3)
        )
        if not len(drawn):
            return np.zeros(size, np.uint8)
        return draw_labels(
            grid[drawn],
            (drawn + 1).astype(np.uint8),
            letterbox.enlargement(box, spec, mask_shape, *size),
            thresholds.background,
            thresholds.mask,
        )


def choose_query(logits: FloatArray, masks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Takes the mask of the query with the highest mean score over the clip's frames.

    Args:
        logits: float32 [P, T, Q], objectness logits.
        masks: float32 [P, T, Q, h, w], mask logits.

    Returns:
        Mask logits [P, T, h, w] and the mean score [P] of the chosen query.
    """
    scores = sigmoid(logits).mean(axis=1)
    best = scores.argmax(axis=1)
    rows = np.arange(len(best))
    return masks[rows, :, best], scores[rows, best]


class _StopWatch:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def _open_tokenizer(bundle: Bundle) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(bundle.contents.take(bundle.tokenizer.name).decode())
    except Exception as error:  # the tokenizers package raises plain Exception
        raise BundleError(f"{bundle.tokenizer}: not a tokenizer file ({error})") from error
    tokenizer.no_padding()
    # As in training: the end mark stays when a long prompt is cut.
    tokenizer.enable_truncation(bundle.prompt.max_tokens)
    return tokenizer
