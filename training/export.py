"""Export of a trained model as a bundle of ONNX graphs for the run-time package.

Three graphs follow the work at run time: the image encoder runs once a frame, the text encoder
once a prompt change, and the prompt decoder takes all prompts of a frame in one batch. They hold
standard operators only; see docs/onnx.md.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import io
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnxscript.optimizer import optimize_ir
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.export import Dim

from actiseg_ros.prompts import PROMPT_TEMPLATE
from training.checkpoints import load_model
from training.errors import ActisegError
from training.model import ActionVOS, ImageFeatures, TextFeatures

OPSET = 18
SCHEMA = 1
THRESHOLDS = {"positive": 0.75, "mask": 0.5, "background": 0.1}
UNCERTAINTY = {"tau_m": 0.20, "tau_e": 0.85}
LEVEL_NAMES = ("stride8", "stride16", "stride32", "stride64", "stride4")
TOLERANCES = {"masks": 1e-3}
TOLERANCE = 1e-4
# Larger constants are left as the nodes that make them; ONNX Runtime folds them when it loads.
_FOLDED_ELEMENTS = 4096
# (frames, prompts, tokens) with which the graphs are compared with PyTorch.
_CHECKS = ((1, 1, 6), (1, 8, 12), (5, 1, 9), (5, 8, 7))

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
    """Image and text features -> logits, boxes, masks and positive of every prompt."""

    def __init__(self, model: ActionVOS, height: int, width: int) -> None:
        super().__init__()
        self.model = model
        self.size = (height, width)

    def forward(
        self,
        stride8: Tensor,
        stride16: Tensor,
        stride32: Tensor,
        stride64: Tensor,
        stride4: Tensor,
        words: Tensor,
        sentence: Tensor,
        attention_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decodes all prompts of one clip, of which the whole input is the image."""
        levels = (stride8[None], stride16[None], stride32[None], stride64[None])
        unused = stride4.new_zeros((1, 1, 1))
        output = self.model.decode(
            ImageFeatures(levels, stride4[None], None, unused),
            TextFeatures(words, sentence, attention_mask),
            torch.tensor([self.size]),
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
    axes: tuple[dict[int, Any], ...],
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
    _write(
        PromptDecoderGraph(model, *size),
        (*image[:-1], words, sentence, mask),
        (t, t, t, t, t, text_axes, {0: p}, text_axes),
        (
            [*LEVEL_NAMES, "words", "sentence", "attention_mask"],
            ["logits", "boxes", "masks", "positive"],
        ),
        folder / files["prompt_decoder"],
    )
    return files


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
        """Runs one graph; inputs and outputs by name."""
        session = self.sessions[role]
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


@torch.no_grad()
def compare_with_pytorch(
    model: ActionVOS,
    graphs: Graphs,
    size: tuple[int, int],
    counts: tuple[int, int, int],
) -> dict[str, float]:
    """Largest absolute difference of every output for one set of random inputs.

    Args:
        model: The exported model.
        graphs: Its graphs.
        size: Height and width in pixels.
        counts: Frames, prompts and tokens.
    """
    frames, ids, mask = example_inputs(model, *counts, size, seed=sum(counts))
    got = graphs.segment(frames, ids, mask)
    image = ImageEncoderGraph(model)(frames)
    words, sentence = TextEncoderGraph(model)(ids, mask)
    decoded = PromptDecoderGraph(model, *size)(*image[:-1], words, sentence, mask)
    names = (*LEVEL_NAMES, "embedding", "words", "sentence", "logits", "boxes", "masks", "positive")
    tensors = (*image, words, sentence, *decoded)
    return {
        name: float(np.abs(got[name] - tensor.numpy()).max())
        for name, tensor in zip(names, tensors, strict=True)
    }


def verify(
    model: ActionVOS,
    graphs: Graphs,
    size: tuple[int, int],
    checks: Sequence[tuple[int, int, int]] = _CHECKS,
) -> dict[str, float]:
    """Compares the graphs' predictions with PyTorch.

    Returns:
        Largest absolute difference of each prediction over all checks.

    Raises:
        ActisegError: If a difference exceeds 1e-3 (mask logits) or 1e-4 (the rest).
    """
    worst: dict[str, float] = {}
    for counts in checks:
        for name, difference in compare_with_pytorch(model, graphs, size, counts).items():
            worst[name] = max(worst.get(name, 0.0), difference)
    for name in ("logits", "boxes", "masks", "positive"):
        allowed = TOLERANCES.get(name, TOLERANCE)
        if not worst[name] <= allowed:
            raise ActisegError(
                f"export: {name} differ from PyTorch by {worst[name]:.2g}, allowed {allowed:g}; "
                "the bundle was not kept"
            )
    return worst


def export_model(
    model: ActionVOS,
    tokenizer: Tokenizer,
    out: Path,
    *,
    vocabulary: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    size: tuple[int, int] | None = None,
) -> dict[str, float]:
    """Writes a verified bundle; an existing folder is replaced only after that.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        out: Bundle folder to write.
        vocabulary: Entries `{"class_id": int, "names": [str, ...]}`.
        provenance: Where the weights come from: configuration, seed, data, metrics, version.
        size: Height and width of the graphs' input; None for the model's default.

    Returns:
        Largest difference of each output from PyTorch.

    Raises:
        ActisegError: If `out` is something other than a bundle, or the graphs do not agree.
    """
    out = Path(out)
    _refuse_foreign(out)
    size = size or (model.config.input_height, model.config.input_width)
    model = model.eval().requires_grad_(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        files = write_graphs(model, folder, size)
        differences = verify(model, Graphs(folder, files), size)
        tokenizer.no_truncation()
        (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        description = describe(model, files, size, vocabulary, provenance)
        description["files"] = {p.name: sha256(p) for p in sorted(folder.iterdir())}
        text = json.dumps(description, indent=1, ensure_ascii=False)
        (folder / "bundle.json").write_text(text + "\n", encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        folder.replace(out)
    return differences


def _refuse_foreign(out: Path) -> None:
    """Raises if `out` is something that an export must not replace."""
    replaceable = out.is_dir() and (not any(out.iterdir()) or (out / "bundle.json").is_file())
    if out.exists() and not replaceable:
        raise ActisegError(f"{out}: exists and is not a bundle; choose another folder")


def describe(
    model: ActionVOS,
    files: Mapping[str, str],
    size: tuple[int, int],
    vocabulary: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Content of bundle.json without the hashes; the gate is calibrated later."""
    config = model.config
    return {
        "schema": SCHEMA,
        "name": config.name,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "input": {
            "height": size[0],
            "width": size[1],
            "mean": list(config.mean),
            "std": list(config.std),
            "color": "RGB",
            "fit": "letterbox",
        },
        "prompt": {
            "template": PROMPT_TEMPLATE,
            "max_tokens": config.max_tokens,
            "pad_id": 1,
            "lowercase": config.lowercase,
        },
        "thresholds": THRESHOLDS,
        "uncertainty": UNCERTAINTY,
        "graphs": dict(files),
        "opset": OPSET,
        "vocabulary": [dict(entry) for entry in vocabulary],
        "gate": None,
        "provenance": dict(provenance),
    }


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def export(
    checkpoint: Path,
    out: Path,
    *,
    vocabulary: Path | None = None,
    tokenizer: Path | None = None,
    size: tuple[int, int] | None = None,
    sampler: str = "grid_sample",
) -> dict[str, float]:
    """Exports a checkpoint file; see `export_model`.

    The provenance, and the vocabulary unless a file gives it, are what training stored in the
    checkpoint's metadata (`provenance` and `vocabulary`, as JSON).

    Args:
        checkpoint: A safetensors file of training, or a published checkpoint.
        out: Bundle folder to write.
        vocabulary: JSON file with a list of `{"class_id": int, "names": [str, ...]}`.
        tokenizer: Tokenizer files, where the checkpoint holds none.
        size: Height and width of the graphs' input; None for the model's default.
        sampler: `grid_sample`, or `gather` for runtimes whose GridSample is not to be trusted.

    Raises:
        ActisegError: If the checkpoint is unusable or the graphs do not agree with PyTorch.
    """
    model, loaded, metadata = load_model(checkpoint, tokenizer=tokenizer)
    set_sampler(model, sampler)
    if vocabulary is not None:
        metadata["vocabulary"] = vocabulary.read_text(encoding="utf-8")
    names = json.loads(metadata.get("vocabulary", "[]"))
    provenance = json.loads(metadata.get("provenance", "{}"))
    provenance["checkpoint_sha256"] = sha256(Path(checkpoint))
    return export_model(model, loaded, out, vocabulary=names, provenance=provenance, size=size)


def set_sampler(model: ActionVOS, sampler: str) -> None:
    """Chooses how deformable attention reads its points; the results are the same.

    Raises:
        ActisegError: If the name is unknown.
    """
    if sampler not in ("grid_sample", "gather"):
        raise ActisegError(f"unknown sampler {sampler!r}: use grid_sample or gather")
    for module in model.modules():
        if hasattr(module, "sampler"):
            module.sampler = sampler
