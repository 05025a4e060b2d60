"""Networks filled from published ReferFormer/ActionVOS checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from actiseg_ros.errors import ActisegError
from training.checkpoints.published_names import BOX_ALIAS, from_published, to_published
from training.checkpoints.reading import State, read_state, refuse_wrong_shapes
from training.model import ActionVOS

_PROFILER = ("total_params", "total_ops")  # left by the profiler that the reference may run
_CLASS_HEADS = "class_embed."
_POSITIVE_HEADS = "positive_cls_embed."


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
    """What happened to every tensor name when a file was loaded.

    Attributes:
        loaded: Number of our tensors that were filled.
        missing: Our model's tensors that the file lacks, under the file's kind of names.
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
    refuse_wrong_shapes(origin, {n: (state[n], own[k]) for k, n in chosen.items()})
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
        elif name.startswith(BOX_ALIAS) and name.removeprefix("transformer.decoder.") in state:
            ignored.append(name)
        else:
            chosen[ours] = name
    return chosen, unexpected, ignored
