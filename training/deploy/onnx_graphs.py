"""The model as three ONNX graphs, and these graphs in ONNX Runtime.

They hold standard operators only; docs/onnx.md lists inputs, outputs and free dimensions.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime
import torch
from onnxscript.optimizer import optimize_ir
from torch import Tensor, nn
from torch.export import Dim

from actiseg_ros.errors import ActisegError
from training.model import ActionVOS, ImageFeatures, TextFeatures
from training.model.deformable_attention import DeformableAttention

OPSET = 18
LEVEL_NAMES = ("stride8", "stride16", "stride32", "stride64", "stride4")
# Larger constants are left as the nodes that make them; ONNX Runtime folds them when it loads.
_FOLDED_ELEMENTS = 4096

Arrays = dict[str, npt.NDArray[Any]]


class ImageEncoderGraph(nn.Module):
    """frames [T, 3, H, W] -> five feature maps [T, D, h, w] and embedding [T, E]."""

    def __init__(self, model: ActionVOS) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Encodes the frames of one clip."""
        image = self.model.encode_image(frames[None])
        return (*(level[0] for level in image.levels), image.fine[0], image.embedding[0])


class TextEncoderGraph(nn.Module):
    """input_ids, attention_mask [P, L] -> words [P, L, D], sentence [P, D]."""

    def __init__(self, model: ActionVOS) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes tokenised prompts."""
        text = self.model.encode_text(input_ids, attention_mask)
        return text.words, text.sentence


class PromptDecoderGraph(nn.Module):
    """Image and text features -> logits, boxes, masks and positive of every prompt.

    A decoder with late words reads the sentence only: its graph has no `words` and no mask.
    """

    size: Tensor
    """Height and width of the input in pixels, int64 [1, 2]."""

    def __init__(self, model: ActionVOS, height: int, width: int) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("size", torch.tensor([(height, width)]), persistent=False)
        self.text_names = (
            ("sentence",) if model.config.late_words else ("words", "sentence", "attention_mask")
        )

    def forward(
        self,
        stride8: Tensor,
        stride16: Tensor,
        stride32: Tensor,
        stride64: Tensor,
        stride4: Tensor,
        *text: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decodes all prompts of one clip, of which the whole input is the image."""
        given = dict(zip(self.text_names, text, strict=True))
        sentence = given["sentence"]
        words = given.get("words", sentence[:, None])
        levels = (stride8[None], stride16[None], stride32[None], stride64[None])
        unused = stride4.new_zeros((1, 1, 1))
        output = self.model.decode(
            ImageFeatures(levels, stride4[None], None, unused),
            TextFeatures(
                words, sentence, given.get("attention_mask", words.new_ones(words.shape[:2]))
            ),
            self.size,
            auxiliary=False,
        )
        return (
            output.logits.squeeze(-1),
            output.boxes,
            output.masks,
            output.positives.squeeze(-1),
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the exporter's notes about torchvision, axis names and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _write(
    graph: nn.Module,
    arguments: tuple[Tensor, ...],
    axes: tuple[Any, ...],
    names: tuple[Sequence[str], Sequence[str]],
    path: Path,
) -> None:
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            arguments,
            dynamo=True,
            dynamic_shapes=axes,
            input_names=list(names[0]),
            output_names=list(names[1]),
            opset_version=OPSET,
            optimize=False,
        )
        if program is None:
            raise ActisegError(f"{path.name}: the exporter returned no graph")
        optimize_ir(program.model, output_size_limit=_FOLDED_ELEMENTS)
        for node in program.model.graph.all_nodes():
            # Stack traces: a quarter of a small graph, and paths of the exporting machine.
            node.metadata_props.clear()
        program.save(path, external_data=False)


def example_inputs(
    model: ActionVOS, frames: int, prompts: int, tokens: int, size: tuple[int, int], seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Random frames [T, 3, H, W], and ids and mask [P, L] whose first prompt is padded."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(frames, 3, *size, generator=generator)
    vocabulary = model.config.text.vocab_size
    ids = torch.randint(4, vocabulary, (prompts, tokens), generator=generator)
    mask = torch.ones_like(ids)
    if tokens > 3:
        ids[0, -2:], mask[0, -2:] = 1, 0
    return images, ids, mask


def write_graphs(model: ActionVOS, folder: Path, size: tuple[int, int]) -> dict[str, str]:
    """Writes the three graphs.

    Args:
        model: The model, in evaluation mode.
        folder: Existing target folder.
        size: Height and width of the input in pixels, fixed in the graphs.

    Returns:
        File name of each graph by its role.
    """
    frames, ids, mask = example_inputs(model, 2, 3, 7, size)
    with torch.no_grad():
        image = ImageEncoderGraph(model)(frames)
        words, sentence = TextEncoderGraph(model)(ids, mask)
    t = {0: Dim("frames", min=1, max=1024)}
    p, n = Dim("prompts", min=1, max=4096), Dim("tokens", min=2, max=model.config.max_tokens)
    text_axes = {0: p, 1: n}
    files = {role: f"{role}.onnx" for role in ("image_encoder", "text_encoder", "prompt_decoder")}
    _write(
        ImageEncoderGraph(model),
        (frames,),
        (t,),
        (["frames"], [*LEVEL_NAMES, "embedding"]),
        folder / files["image_encoder"],
    )
    _write(
        TextEncoderGraph(model),
        (ids, mask),
        (text_axes, text_axes),
        (["input_ids", "attention_mask"], ["words", "sentence"]),
        folder / files["text_encoder"],
    )
    decoder = PromptDecoderGraph(model, *size)
    text = {"words": words, "sentence": sentence, "attention_mask": mask}
    axes = {"words": text_axes, "sentence": {0: p}, "attention_mask": text_axes}
    names = decoder.text_names
    _write(
        decoder,
        (*image[:-1], *(text[name] for name in names)),
        (t, t, t, t, t, tuple(axes[name] for name in names)),
        ([*LEVEL_NAMES, *names], ["logits", "boxes", "masks", "positive"]),
        folder / files["prompt_decoder"],
    )
    return files


def quantise(path: Path) -> None:
    """Rounds a graph's matrix products to 8 bits: weights per column now, the rest as it comes.

    Convolutions stay as they are: ONNX Runtime rounds what enters them at a higher cost than it
    saves.

    Args:
        path: Graph, which is replaced.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().addFilter(_no_preprocessing_advice)
    rounded = path.with_name(f".{path.name}.int8")
    try:
        quantize_dynamic(
            path,
            rounded,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        rounded.replace(path)
    finally:
        logging.getLogger().removeFilter(_no_preprocessing_advice)
        rounded.unlink(missing_ok=True)


def _no_preprocessing_advice(record: logging.LogRecord) -> bool:
    """The quantiser's advice to fold shapes first, which the exporter has done."""
    return "pre-processing" not in record.getMessage()


class Graphs:
    """The three graphs in ONNX Runtime on the CPU."""

    def __init__(self, folder: Path, files: Mapping[str, str], threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.sessions = {
            role: onnxruntime.InferenceSession(
                folder / name, options, providers=["CPUExecutionProvider"]
            )
            for role, name in files.items()
        }

    def run(self, role: str, feed: Arrays) -> Arrays:
        """Runs one graph on those of the inputs that it has; inputs and outputs by name."""
        session = self.sessions[role]
        feed = {entry.name: feed[entry.name] for entry in session.get_inputs()}
        outputs = [output.name for output in session.get_outputs()]
        return dict(zip(outputs, session.run(outputs, feed), strict=True))

    def segment(self, frames: Tensor, ids: Tensor, mask: Tensor) -> Arrays:
        """Runs all three graphs; returns every output by name."""
        image = self.run("image_encoder", {"frames": frames.numpy()})
        tokens = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        text = self.run("text_encoder", tokens)
        feed = {name: image[name] for name in LEVEL_NAMES} | text
        feed["attention_mask"] = mask.numpy()
        return image | text | self.run("prompt_decoder", feed)


def set_sampler(model: ActionVOS, sampler: str) -> None:
    """Chooses how deformable attention reads its points; the results are the same.

    Raises:
        ActisegError: If the name is unknown.
    """
    if sampler not in ("grid_sample", "gather"):
        raise ActisegError(f"unknown sampler {sampler!r}: use grid_sample or gather")
    for module in model.modules():
        if isinstance(module, DeformableAttention):
            module.sampler = "gather" if sampler == "gather" else "grid_sample"
