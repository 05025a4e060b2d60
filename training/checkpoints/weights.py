"""Networks on disk: our own safetensors files, with configuration and tokenizer in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from tokenizers import Tokenizer
from torch import Tensor

from actiseg_ros.errors import ActisegError
from training.checkpoints.published import LoadReport, fill, infer_preset
from training.checkpoints.published_names import from_published
from training.checkpoints.reading import (
    State,
    load_weights,
    read_state,
    refuse_wrong_shapes,
    unwrapped,
)
from training.files.disk import write_whole
from training.model import ActionVOS, ModelConfig, build_model
from training.model.text import load_tokenizer, parse_tokenizer


def save_weights(
    path: Path,
    model: ActionVOS,
    metadata: Mapping[str, str] | None = None,
    *,
    halved: bool = False,
) -> None:
    """Writes a model's tensors and configuration as safetensors, by rename.

    Args:
        path: Target file, usually `*.safetensors`.
        model: The model.
        metadata: Further text entries; `tokenizer` (the text of tokenizer.json) makes the file
            sufficient for export and prediction. `config` is written by this function.
        halved: Write matrices and kernels as float16: half the size, and close enough to start a
            training from. Biases, norms and their statistics stay as they are.

    Raises:
        ActisegError: If the disk is full; a former file is then still there.
    """
    path = Path(path)
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    if halved:
        tensors = {k: _halved(v) for k, v in tensors.items()}
    # Serialised in memory first: safetensors reports a full disk as an error without errno.
    content = save(tensors, {**(metadata or {}), "config": model.config.to_json()})
    write_whole(path, content, durable=True)


def _halved(tensor: Tensor) -> Tensor:
    if tensor.ndim < 2 or tensor.dtype != torch.float32:
        return tensor
    half = tensor.half()
    return half if bool(half.isfinite().all()) else tensor


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
        state = unwrapped(state)
        model = build_model(infer_preset(state))
        report = fill(model, state, str(path))
        if report.missing:
            raise ActisegError(f"{path}: incomplete for {model.config.name}: {report}")
    return model.eval(), _tokenizer(path, metadata, tokenizer), metadata


def load_start(model: ActionVOS, path: Path, fresh: tuple[str, ...] = ()) -> LoadReport:
    """Fills a model from weights to start a training from.

    Args:
        model: The model; changed in place.
        path: A file with tensors under our names, or a published Ref-YouTube-VOS one.
        fresh: Beginnings of names that keep their fresh values although our own weights have them.
            Of a published file the heads that training replaces stay fresh in any case.

    Returns:
        What was loaded and what was not.

    Raises:
        ActisegError: If the file is absent, damaged or of another network.
    """
    state, own = read_state(path), model.state_dict()
    named = sum(name in own for name in state)
    # Both kinds share a few names, so the greater number tells.
    if sum(from_published(name) in own for name in state) > named:
        return fill(model, state, str(path), pretraining=True)
    loaded = {k: v for k, v in state.items() if k in own and not k.startswith(fresh)}
    if not loaded:
        raise ActisegError(
            f"{path}: none of its {len(state)} tensors belongs to this network; give the weights "
            f"of a {model.config.name} network"
        )
    refuse_wrong_shapes(str(path), {k: (v, own[k]) for k, v in loaded.items()})
    model.load_state_dict(loaded, strict=False)
    rest = [name for name in own if name not in loaded]
    return LoadReport(
        len(loaded),
        missing=tuple(name for name in rest if not name.startswith(fresh)),
        unexpected=tuple(name for name in state if name not in own),
        reinitialised=tuple(name for name in rest if name.startswith(fresh)),
        ignored=(),
    )


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
    refuse_wrong_shapes(str(path), {k: (v, own[k]) for k, v in state.items()})
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
