"""Export of a trained model as a bundle of ONNX graphs for the run-time package.

Three graphs follow the work at run time: the image encoder runs once a frame, the text encoder
once a prompt change, and the prompt decoder takes all prompts of a frame in one batch. They hold
standard operators only; see docs/onnx.md.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer

from actiseg_ros.bundle import SCHEMA, file_sha256, load_bundle
from actiseg_ros.errors import ActisegError, BundleError
from actiseg_ros.prompts import PROMPT_TEMPLATE
from training.checkpoints.starts import WEIGHTS
from training.checkpoints.weights import load_model, save_weights
from training.config.run import SMALLEST_SIDE
from training.data.splits import read_split
from training.deploy.bundle_files import write_record
from training.deploy.onnx_graphs import (
    LEVEL_NAMES,
    OPSET,
    Graphs,
    ImageEncoderGraph,
    PromptDecoderGraph,
    TextEncoderGraph,
    example_inputs,
    quantise,
    set_sampler,
    write_graphs,
)
from training.evaluation.inference import POSITIVE_THRESHOLD, trained_threshold
from training.files.provenance import utc_now
from training.model import ActionVOS
from training.noise.text import names_in_split

Precision = Literal["float32", "int8"]
THRESHOLDS = {"mask": 0.5, "background": 0.1}
UNCERTAINTY = {"tau_m": 0.20, "tau_e": 0.85}
TOLERANCES = {"masks": 1e-3}
TOLERANCE = 1e-4
# (frames, prompts, tokens) with which the graphs are compared with PyTorch.
CHECKS = ((1, 1, 6), (1, 8, 12), (5, 1, 9), (5, 8, 7))
# The same where the encoder runs once a prompt: at 640x360 the larger ones take 17 GB.
CHECKS_ONCE_A_PROMPT = ((1, 1, 6), (1, 3, 12), (2, 1, 9), (2, 2, 7))


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
    graph = PromptDecoderGraph(model, *size)
    text = {"words": words, "sentence": sentence, "attention_mask": mask}
    decoded = graph(*image[:-1], *(text[name] for name in graph.text_names))
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
    checks: Sequence[tuple[int, int, int]] | None = None,
) -> dict[str, float]:
    """Compares the graphs' predictions with PyTorch.

    Args:
        model: The exported model.
        graphs: Its graphs.
        size: Height and width in pixels.
        checks: Frames, prompts and tokens of each comparison; None for those that suit the model.

    Returns:
        Largest absolute difference of each prediction over all checks.

    Raises:
        ActisegError: If a difference exceeds 1e-3 (mask logits) or 1e-4 (the rest).
    """
    worst: dict[str, float] = {}
    suited = CHECKS_ONCE_A_PROMPT if model.config.encoder_layers else CHECKS
    for counts in suited if checks is None else checks:
        for name, difference in compare_with_pytorch(model, graphs, size, counts).items():
            # Of a number and nan the worst is nan.
            worst[name] = float(np.maximum(worst.get(name, 0.0), difference))
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
    positive_threshold: float = POSITIVE_THRESHOLD,
    weights: bool = False,
    precision: Precision = "float32",
) -> dict[str, float]:
    """Writes a verified bundle; an existing folder is replaced only after that.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        out: Bundle folder to write.
        vocabulary: Entries `{"class_id": int, "names": [str, ...]}`.
        provenance: Where the weights come from: configuration, seed, data, metrics, version.
        size: Height and width of the graphs' input, at least 64 each; None for the model's default.
        positive_threshold: Objects that are active with less probability are not drawn, in [0, 1].
        weights: Put the network's weights beside the graphs, to start other trainings from.
        precision: `int8` rounds the matrix products of the prompt decoder after the graphs were
            found to agree.

    Returns:
        Largest difference of each output from PyTorch; with `int8` that is what rounding costs.

    Raises:
        ActisegError: If `out` is something other than a bundle, the threshold is no probability,
            the size is too small, or the graphs do not agree.
    """
    if size is not None and min(size) < SMALLEST_SIDE:
        raise ActisegError(
            f"--height and --width are {size[0]} and {size[1]}; they must be at least"
            f" {SMALLEST_SIDE} pixels a side"
        )
    if not 0 <= positive_threshold <= 1:
        raise ActisegError(f"--positive-threshold is {positive_threshold}; expected 0 to 1")
    out = Path(out).resolve()  # a link, such as `current`, goes on pointing there
    _refuse_foreign(out)
    size = size or (model.config.input_height, model.config.input_width)
    model = model.eval().requires_grad_(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        files = write_graphs(model, folder, size)
        differences = verify(model, Graphs(folder, files), size)
        if precision == "int8":
            quantise(folder / files["prompt_decoder"])
            counts = CHECKS_ONCE_A_PROMPT[1] if model.config.encoder_layers else CHECKS[1]
            differences = compare_with_pytorch(model, Graphs(folder, files), size, counts)
            broken = [name for name, value in differences.items() if not np.isfinite(value)]
            if broken:
                raise ActisegError(
                    f"export: rounded to {precision}, {', '.join(broken)} are not finite; the "
                    "bundle was not kept, export it in float32"
                )
            provenance = {**provenance, "precision": precision}
        tokenizer.no_truncation()
        (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        if weights:
            own = {
                "tokenizer": tokenizer.to_str(),
                "vocabulary": json.dumps([*vocabulary]),
                "provenance": json.dumps(provenance),
            }
            save_weights(folder / WEIGHTS, model, own, halved=True)
        description = describe(model, files, size, vocabulary, provenance, positive_threshold)
        description["files"] = {p.name: file_sha256(p) for p in sorted(folder.iterdir())}
        write_record(folder, description)
        try:
            load_bundle(folder)  # what the robot would say to it
        except BundleError as error:
            raise ActisegError(f"the exported bundle is unusable: {error}") from error
        _put_in_place(folder, out, Path(temporary) / "former")
    return differences


def _put_in_place(folder: Path, out: Path, former: Path) -> None:
    """Renames `folder` to `out`, and what is there to `former`; back, if anything is raised."""
    try:
        if out.exists():
            out.replace(former)
        folder.replace(out)
    except BaseException:
        # Both would go with the temporary folder.
        if former.exists() and not out.exists():
            former.replace(out)
        raise


def _refuse_foreign(out: Path) -> None:
    """Raises if `out` is something that an export must not replace."""
    replaceable = out.is_dir() and (not any(out.iterdir()) or (out / "bundle.json").is_file())
    if out.exists() and not replaceable:
        raise ActisegError(f"{out}: exists and is not a bundle; choose another folder")


def vocabulary_of(split: Path) -> list[dict[str, Any]]:
    """Object names of a split by class, as bundle.json holds them.

    Args:
        split: Split file in the form of `ImageSets/train.json`.
    """
    names = names_in_split(read_split(split))
    return [{"class_id": key, "names": sorted(names[key])} for key in sorted(names)]


def describe(
    model: ActionVOS,
    files: Mapping[str, str],
    size: tuple[int, int],
    vocabulary: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    positive_threshold: float = POSITIVE_THRESHOLD,
) -> dict[str, Any]:
    """Content of bundle.json without the hashes; the gate is calibrated later."""
    config = model.config
    return {
        "schema": SCHEMA,
        "name": config.name,
        "created": utc_now(),
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
        "thresholds": {"positive": positive_threshold, **THRESHOLDS},
        "uncertainty": UNCERTAINTY,
        "graphs": dict(files),
        "opset": OPSET,
        "vocabulary": [dict(entry) for entry in vocabulary],
        "gate": None,
        "provenance": dict(provenance),
    }


def export(
    checkpoint: Path,
    out: Path,
    *,
    vocabulary: Path | None = None,
    tokenizer: Path | None = None,
    size: tuple[int, int] | None = None,
    sampler: str = "grid_sample",
    positive_threshold: float | None = None,
    weights: bool = False,
    precision: Precision = "float32",
) -> dict[str, float]:
    """Exports a checkpoint file; see `export_model`.

    The provenance, and the vocabulary unless a file gives it, are what training stored in the
    checkpoint's metadata (`provenance` and `vocabulary`, as JSON).

    Args:
        checkpoint: A safetensors file of training, or a published checkpoint.
        out: Bundle folder to write.
        vocabulary: Split file (`ImageSets/train.json` form) whose object names the model knows.
        tokenizer: Tokenizer files, where the checkpoint holds none.
        size: Height and width of the graphs' input; None for the model's default.
        sampler: `grid_sample`, or `gather` for runtimes whose GridSample is not to be trusted.
        positive_threshold: See `export_model`; None for the training run's own, or 0.75 for a
            published checkpoint.
        weights: See `export_model`.
        precision: See `export_model`.

    Raises:
        ActisegError: If the checkpoint is unusable or the graphs do not agree with PyTorch.
    """
    model, loaded, metadata = load_model(checkpoint, tokenizer=tokenizer)
    set_sampler(model, sampler)
    names = json.loads(metadata.get("vocabulary", "[]"))
    if vocabulary is not None:
        names = vocabulary_of(vocabulary)
    provenance = json.loads(metadata.get("provenance", "{}"))
    if positive_threshold is None:
        positive_threshold = trained_threshold(metadata)
    provenance["checkpoint_sha256"] = file_sha256(Path(checkpoint))
    return export_model(
        model,
        loaded,
        out,
        vocabulary=names,
        provenance=provenance,
        size=size,
        positive_threshold=positive_threshold,
        weights=weights,
        precision=precision,
    )
