"""Weights on disk: our safetensors files, and published ReferFormer/ActionVOS checkpoints.

Published checkpoints are PyTorch files whose `model` entry is a state dict (they also hold the
optimiser, the scheduler and the options as an `argparse.Namespace`). They are read with
`weights_only=True`: nothing in a file is ever executed.
"""

from __future__ import annotations

import argparse
import dataclasses
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from tokenizers import Tokenizer
from torch import Tensor

from training.files.disk import write_whole
from training.files.errors import ActisegError
from training.model import ActionVOS, ModelConfig, build_model
from training.model.text import load_tokenizer, parse_tokenizer

State = dict[str, Tensor]

_BOX_ALIAS = "transformer.decoder.bbox_embed."
_PROFILER = ("total_params", "total_ops")  # left by the profiler that the reference may run
_CLASS_HEADS = "class_embed."
_POSITIVE_HEADS = "positive_cls_embed."


def _layer_rules(published: str, ours: str, norms: Mapping[str, str]) -> list[tuple[str, str]]:
    """Rules of one transformer layer: renamed norms and the feed-forward part."""
    rules = [(f"{published}.{old}.", f"{ours}.{new}.") for old, new in norms.items()]
    return rules + [
        (f"{published}.{linear}.", f"{ours}.feedforward.{linear}.")
        for linear in ("linear1", "linear2")
    ]


def _pixel_rules(index: int) -> list[tuple[str, str]]:
    """Rules of one pyramid level; published names count from 1."""
    ours = f"pixel_decoder.blocks.{index}"
    number = index + 1
    rules = []
    for old, new in ((f"adapter_{number}", "lateral"), (f"layer_{number}", "output")):
        rules.append((f"pixel_decoder.{old}.norm.", f"{ours}.{new}.norm."))
        rules.append((f"pixel_decoder.{old}.weight", f"{ours}.{new}.conv.weight"))
    block = f"pixel_decoder.cross_attn_{number}"
    rules.append((f"{block}.self_attn.", f"{ours}.self_attn."))
    rules.append((f"{block}.multihead_attn.", f"{ours}.cross_attn."))
    norms = {"norm1": "norm1", "norm2": "norm2", "norm3": "feedforward.norm"}
    return rules + _layer_rules(block, ours, norms)


# (published prefix, our prefix); `#` stands for a layer number that both share.
_RULES: list[tuple[str, str]] = [
    ("transformer.level_embed", "level_embedding"),
    ("transformer.reference_points.", "decoder.reference_points."),
    *_layer_rules(
        "transformer.encoder.layers.#",
        "encoder.layers.#",
        {"self_attn": "self_attn", "norm1": "norm1", "norm2": "feedforward.norm"},
    ),
    *_layer_rules(
        "transformer.decoder.layers.#",
        "decoder.layers.#",
        {
            "self_attn": "self_attn",
            "cross_attn": "cross_attn",
            "norm1": "norm_cross",
            "norm2": "norm_self",
            "norm3": "feedforward.norm",
        },
    ),
    ("bbox_embed.#.layers.", "decoder.box_heads.#.mlp.layers."),
    ("class_embed.", "class_heads."),
    ("positive_cls_embed.", "positive_heads."),
    ("query_embed.weight", "decoder.query_positions"),
    ("input_proj.", "input_projections."),
    ("backbone.0.body.", "backbone."),
    ("text_encoder.", "text_encoder.roberta."),
    ("resizer.", "text_encoder.projection."),
    ("fusion_module.multihead_attn.", "fusion.attention."),
    *(rule for index in range(4) for rule in _pixel_rules(index)),
    ("pixel_decoder.mask_features.", "pixel_decoder.mask_features."),
    ("controller.", "mask_head.controller."),
]


def _translate(key: str, rules: Iterable[tuple[str, str]]) -> str | None:
    for old, new in rules:
        pattern = re.escape(old).replace(r"\#", r"(\d+)")
        found = re.match(pattern, key)
        if found:
            number = found.group(1) if found.groups() else ""
            return new.replace("#", number) + key[found.end() :]
    return None


def from_published(key: str) -> str | None:
    """Our name of a published tensor, or None for a tensor that the model does not have.

    The second name of the shared box heads gives the same result as the first.
    """
    if key.startswith(_BOX_ALIAS):
        key = key.removeprefix("transformer.decoder.")
    return _translate(key, _RULES)


def to_published(key: str) -> tuple[str, ...]:
    """Published names of one of our tensors: one, or two for the shared box heads.

    Raises:
        KeyError: If the tensor has no counterpart (only members of the family that differ from the
            published model have such).
    """
    name = _translate(key, ((new, old) for old, new in _RULES))
    if name is None:
        raise KeyError(f"{key} has no counterpart in published checkpoints")
    if name.startswith("bbox_embed."):
        return (name, f"transformer.decoder.{name}")
    return (name,)


def published_state(model: ActionVOS) -> State:
    """State dict of an `r50` or `r101` model under the published names.

    Raises:
        KeyError: If the model has tensors that the published one lacks.
    """
    return {
        name: tensor for key, tensor in model.state_dict().items() for name in to_published(key)
    }


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What happened to every tensor name when a published file was loaded.

    Attributes:
        loaded: Number of our tensors that were filled.
        missing: Our model's tensors that the file lacks, under published names.
        unexpected: The file's tensors that the model does not have.
        reinitialised: Tensors that deliberately keep their fresh values.
        ignored: Known extras without meaning (position ids, profiler counters, second names).
    """

    loaded: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reinitialised: tuple[str, ...]
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.loaded} tensors loaded"]
        for title in ("missing", "unexpected", "reinitialised", "ignored"):
            names = getattr(self, title)
            if names:
                shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
                lines.append(f"{len(names)} {title}: {shown}")
        return "; ".join(lines)


def read_state(path: Path) -> State:
    """Reads the tensors of a checkpoint file without executing anything in it.

    Args:
        path: A safetensors file, or a PyTorch file (zip or legacy form) that is a state dict or
            holds one as `model`.

    Raises:
        ActisegError: If the file is absent, damaged, not a checkpoint, or needs more than reading
            tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ActisegError(f"{path}: no such checkpoint file")
    if path.suffix == ".safetensors":
        return load_weights(path)[0]
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ActisegError(
            f"{path}: refused, since it is damaged or holds more than tensors ({error})"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ActisegError(f"{path}: not a readable PyTorch file ({error})") from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict):
        raise ActisegError(f"{path}: holds {type(state).__name__}, expected a state dict")
    tensors = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ActisegError(f"{path}: no tensors found, neither at the top nor under 'model'")
    return tensors


def infer_preset(state: Mapping[str, Tensor]) -> str:
    """`r101` or `r50`, by the depth of the third backbone stage in a published state dict."""
    return "r101" if any(k.startswith("backbone.0.body.layer3.22.") for k in state) else "r50"


def load_published(model: ActionVOS, path: Path, *, pretraining: bool = False) -> LoadReport:
    """Fills a model from a published checkpoint file; see `fill`."""
    return fill(model, read_state(path), str(path), pretraining=pretraining)


def fill(
    model: ActionVOS, state: Mapping[str, Tensor], origin: str, *, pretraining: bool = False
) -> LoadReport:
    """Fills a model from tensors under published names, as the official code does.

    Loading is not strict: missing and unexpected names are reported, not refused. With
    `pretraining`, the file is a Ref-YouTube-VOS checkpoint: its class heads (65 classes) are left
    out and the positive heads, which it lacks, keep their fresh values.

    Args:
        model: An `r50` or `r101` model; changed in place.
        state: Tensors under published names.
        origin: Where they come from, for messages.
        pretraining: True to start ActionVOS training from Ref-YouTube-VOS weights.

    Returns:
        What was loaded and what was not.

    Raises:
        ActisegError: If no tensor belongs to this model, a shape disagrees, or `pretraining` is
            set and the class heads are absent.
    """
    state = dict(state)
    own = model.state_dict()
    reinitialised: list[str] = []
    if pretraining:
        layers = model.config.decoder_layers
        heads = [f"{_CLASS_HEADS}{i}.{leaf}" for i in range(layers) for leaf in ("weight", "bias")]
        absent = [name for name in heads if name not in state]
        if absent:
            raise ActisegError(
                f"{origin}: not a Ref-YouTube-VOS checkpoint, {', '.join(absent[:3])} absent; "
                "load an ActionVOS checkpoint without the pretraining option"
            )
        for name in heads:
            del state[name]
        reinitialised += heads
    chosen, unexpected, ignored = _assign(state, own)
    _refuse_wrong_shapes(origin, {n: (state[n], own[k]) for k, n in chosen.items()})
    if not chosen:
        raise ActisegError(f"{origin}: none of its {len(state)} tensors belongs to this network")
    model.load_state_dict({k: state[name] for k, name in chosen.items()}, strict=False)
    missing = [to_published(key)[0] for key in own if key not in chosen]
    missing = [name for name in missing if name not in reinitialised]
    if pretraining:
        reinitialised += [name for name in missing if name.startswith(_POSITIVE_HEADS)]
        missing = [name for name in missing if not name.startswith(_POSITIVE_HEADS)]
    return LoadReport(
        len(chosen), tuple(missing), tuple(unexpected), tuple(reinitialised), tuple(ignored)
    )


def _assign(state: State, own: Mapping[str, Tensor]) -> tuple[dict[str, str], list[str], list[str]]:
    """Which file tensor fills which of ours; the unexpected and the ignored ones."""
    chosen: dict[str, str] = {}
    unexpected, ignored = [], []
    for name in state:
        ours = from_published(name)
        if name.endswith((*_PROFILER, "embeddings.position_ids")):
            ignored.append(name)
        elif ours is None or ours not in own:
            unexpected.append(name)
        elif name.startswith(_BOX_ALIAS) and name.removeprefix("transformer.decoder.") in state:
            ignored.append(name)
        else:
            chosen[ours] = name
    return chosen, unexpected, ignored


def _refuse_wrong_shapes(origin: str, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Compares (theirs, ours) by the file's name of the tensor."""
    wrong = [name for name, (theirs, ours) in pairs.items() if theirs.shape != ours.shape]
    if wrong:
        first = "; ".join(
            f"{name} is {list(pairs[name][0].shape)}, the model needs {list(pairs[name][1].shape)}"
            for name in wrong[:3]
        )
        raise ActisegError(f"{origin}: {len(wrong)} shape(s) disagree: {first}")


def save_weights(path: Path, model: ActionVOS, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a model's tensors and configuration as safetensors, by rename.

    Args:
        path: Target file, usually `*.safetensors`.
        model: The model.
        metadata: Further text entries; `tokenizer` (the text of tokenizer.json) makes the file
            sufficient for export and prediction. `config` is written by this function.

    Raises:
        ActisegError: If the disk is full; a former file is then still there.
    """
    path = Path(path)
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    # Serialised in memory first: safetensors reports a full disk as an error without errno.
    content = save(tensors, {**(metadata or {}), "config": model.config.to_json()})
    write_whole(path, content, durable=True)


def load_weights(path: Path) -> tuple[State, dict[str, str]]:
    """Reads a safetensors file.

    Returns:
        Tensors by name, and the text metadata (empty if the file has none).

    Raises:
        ActisegError: If the file is absent or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise ActisegError(f"{path}: no such checkpoint file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ActisegError(f"{path}: not a readable safetensors file ({error})") from error


def load_model(
    path: Path, *, tokenizer: Path | None = None
) -> tuple[ActionVOS, Tokenizer, dict[str, str]]:
    """Builds a model, in evaluation mode, from one checkpoint file of either kind.

    Args:
        path: A file of `save_weights`, or a published checkpoint.
        tokenizer: `tokenizer.json` or RoBERTa's tokenizer folder; needed where the file does not
            hold its tokenizer (published checkpoints do not).

    Returns:
        The model, its tokenizer and the file's text metadata.

    Raises:
        ActisegError: If the file or the tokenizer is absent, damaged or does not fit.
    """
    path = Path(path)
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        state, metadata = load_weights(path)
    else:
        state = read_state(path)
    if "config" in metadata:
        model = _from_own(path, state, metadata["config"])
    else:
        model = build_model(infer_preset(state))
        report = fill(model, state, str(path))
        if report.missing:
            raise ActisegError(f"{path}: incomplete for {model.config.name}: {report}")
    return model.eval(), _tokenizer(path, metadata, tokenizer), metadata


def _from_own(path: Path, state: State, config: str) -> ActionVOS:
    try:
        model = build_model(ModelConfig.from_json(config))
    except (ValueError, TypeError) as error:
        raise ActisegError(f"{path}: its model configuration cannot be used: {error}") from error
    own = model.state_dict()
    absent = [k for k in own if k not in state]
    extra = [k for k in state if k not in own]
    if absent or extra:
        raise ActisegError(
            f"{path}: {len(absent)} tensor(s) missing {absent[:3]}, "
            f"{len(extra)} unexpected {extra[:3]}"
        )
    _refuse_wrong_shapes(str(path), {k: (v, own[k]) for k, v in state.items()})
    model.load_state_dict(state)
    return model


def _tokenizer(path: Path, metadata: Mapping[str, str], given: Path | None) -> Tokenizer:
    try:
        if given is not None:
            return load_tokenizer(given)
        if "tokenizer" in metadata:
            return parse_tokenizer(metadata["tokenizer"], f"{path} (metadata 'tokenizer')")
    except (ValueError, FileNotFoundError) as error:
        raise ActisegError(str(error)) from error
    raise ActisegError(f"{path}: holds no tokenizer; name RoBERTa's tokenizer files")
