"""Criterion cases: matching costs, matched queries, loss terms and gradient norms."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.parity.cases_model import prepare, preset_of_case, rule_model
from tests.parity.result import Result, check, compare, guarded
from tests.training.prompts_batch import weight_dict
from training.checkpoints.published_names import to_published
from training.losses.context import StepContext
from training.losses.criterion import published_terms, reduced, total
from training.losses.matching import match, matching_costs
from training.model import ActionVOS

LOSS_LIMIT = 1e-4
GRADIENT_LIMIT = 5e-3
GRADIENT_FLOOR = 1e-6
COST_FLOOR = 1e-4
"""Costs cross zero, so their limit is relative to at least one."""


@dataclasses.dataclass(frozen=True)
class StoredOutput:
    """Outputs of one decoder layer as a forward case stores them."""

    logits: Tensor
    boxes: Tensor
    masks: Tensor
    positives: Tensor
    aux: tuple[StoredOutput, ...] = ()


@dataclasses.dataclass(frozen=True)
class StoredTargets:
    """Targets padded to the model input of the forward case."""

    masks: Tensor
    weights: Tensor
    boxes: Tensor
    valid: Tensor
    positive: Tensor


def run(folder: Path) -> Iterator[Result]:
    """Runs every case of ``criterion/`` on the stored outputs, then its gradients."""
    file = folder / "criterion" / "criterion.json"
    if not file.is_file():
        return
    facts = json.loads(file.read_text())
    yield compare(
        "criterion",
        "weight_dict",
        [weight_dict(3).get(name, np.nan) for name in facts["weight_dict"]],
        list(facts["weight_dict"].values()),
    )
    for name, case in facts["cases"].items():
        yield from guarded(f"criterion/{name}", _case(folder, name, case))
    with_gradients = {k: v for k, v in facts["cases"].items() if "gradients" in v}
    if with_gradients:
        yield from guarded("criterion/gradients", _gradients(folder, with_gradients))


def _case(folder: Path, name: str, case: Mapping[str, Any]) -> Iterator[Result]:
    forward = folder / "forward" / f"{case['forward_case']}.npz"
    with np.load(forward) as stored, np.load(folder / "criterion" / f"{name}.npz") as arrays:
        output = stored_output(stored)
        targets = stored_targets(arrays, case["targets"], stored["samples_mask"].shape[-2:])
    yield from _matching(f"criterion/{name}", case["matching"], output, targets)
    yield from _losses(f"criterion/{name}", case, output, targets)


def stored_output(stored: Any) -> StoredOutput:
    """Reads the outputs of a forward case."""
    fields = ("logits", "boxes", "masks", "positives")

    def layer(prefix: str) -> StoredOutput:
        return StoredOutput(*(torch.from_numpy(stored[f"{prefix}pred_{f}"]) for f in fields))

    indices = sorted({int(key[3]) for key in stored if key.startswith("aux")})
    return dataclasses.replace(layer(""), aux=tuple(layer(f"aux{i}_") for i in indices))


def stored_targets(arrays: Any, count: int, size: Sequence[int]) -> StoredTargets:
    """Reads the targets of a criterion case and pads them (bottom and right) with 0."""

    def padded(name: str) -> Tensor:
        maps = [torch.from_numpy(arrays[f"{name}_{i}"]) for i in range(count)]
        height, width = size
        return torch.stack(
            [F.pad(m, (0, width - m.shape[-1], 0, height - m.shape[-2])) for m in maps]
        )

    def stacked(name: str) -> Tensor:
        return torch.stack([torch.from_numpy(arrays[f"{name}_{i}"]) for i in range(count)])

    return StoredTargets(
        padded("masks"),
        padded("weights"),
        stacked("boxes"),
        stacked("valid"),
        stacked("positive"),
    )


def published_losses(output: Any, targets: Any, *, use_weights: bool = True) -> dict[str, Tensor]:
    """Every term of the published loss, a scalar each."""
    context = StepContext(targets, output, use_weights=use_weights)
    return reduced(published_terms(context), context)


def _matching(
    case: str, expected: Mapping[str, Any], output: StoredOutput, targets: StoredTargets
) -> Iterator[Result]:
    matches = match([*output.aux, output], targets)
    for layer, query, (name, want) in zip(
        [*output.aux, output], matches, expected.items(), strict=True
    ):
        yield compare(case, f"{name} query", query.numpy(), want["matched_query"])
        yield compare(
            case,
            f"{name} costs",
            matching_costs(layer, targets).numpy(),
            want["cost_of_each_query"],
            absolute=COST_FLOOR,
            relative=LOSS_LIMIT,
        )


def _losses(
    case: str, expected: Mapping[str, Any], output: StoredOutput, targets: StoredTargets
) -> Iterator[Result]:
    for suffix, use_weights in (("", True), ("_without_weights", False)):
        if f"losses{suffix}" not in expected:
            continue
        losses = published_losses(output, targets, use_weights=use_weights)
        want = expected[f"losses{suffix}"]
        yield check(case, f"names{suffix}", set(losses) == set(want))
        for name, value in want.items():
            got = float(losses[name]) if name in losses else np.nan
            yield compare(case, name + suffix, got, value, relative=LOSS_LIMIT)
        yield compare(
            case,
            f"total{suffix}",
            float(total(losses)),
            expected[f"total{suffix}"],
            relative=LOSS_LIMIT,
        )


def _gradients(folder: Path, cases: Mapping[str, Any]) -> Iterator[Result]:
    """Gradient norms of every trained parameter, in training mode without dropout."""
    keys = json.loads((folder / "keys.json").read_text())
    presets = {name: preset_of_case(case["forward_case"], keys) for name, case in cases.items()}
    for name in sorted(cases, key=presets.__getitem__):
        model = rule_model(presets[name], keys["weights_salt"])
        file = folder / "forward" / f"{cases[name]['forward_case']}.npz"
        with np.load(file) as stored, np.load(folder / "criterion" / f"{name}.npz") as arrays:
            count, size = cases[name]["targets"], stored["samples_mask"].shape[-2:]
            targets = stored_targets(arrays, count, size)
            loss, norms = gradient_norms(model, stored, targets)
        yield from _compare_gradients(f"criterion/{name}", cases[name]["gradients"], loss, norms)


def gradient_norms(
    model: ActionVOS, stored: Any, targets: StoredTargets
) -> tuple[float, dict[str, float]]:
    """Total loss in training mode without dropout, and its gradients.

    Args:
        model: network; left in evaluation mode, without gradients.
        stored: arrays of a forward case.
        targets: labels of the same clips.

    Returns:
        The loss, and the Euclidean norm of the gradient of every trained parameter under its
        published name.
    """
    samples, padding = prepare(stored, model)
    ids, attention, size = (
        torch.from_numpy(stored[name]) for name in ("input_ids", "attention_mask", "size")
    )
    rates = _set_training_without_dropout(model)
    try:
        output = model(samples, padding if padding.any() else None, ids, attention, size)
        loss = total(published_losses(output, targets))
        loss.backward()
        norms = {
            to_published(name)[0]: 0.0 if p.grad is None else float(p.grad.double().norm())
            for name, p in model.named_parameters()
            if p.requires_grad
        }
    finally:
        model.zero_grad(set_to_none=True)
        _restore(model, rates)
    return float(loss.detach()), norms


def _compare_gradients(
    case: str, facts: Mapping[str, Any], loss: float, norms: Mapping[str, float]
) -> Iterator[Result]:
    yield compare(
        case,
        "total in training mode",
        loss,
        facts["total_in_train_mode_without_dropout"],
        relative=LOSS_LIMIT,
    )
    want = facts["norms"]
    yield check(case, "trained parameters", set(norms) == set(want), f"{len(want)} names")
    names = [name for name in want if name in norms]
    yield compare(
        case,
        "norm_of_all",
        np.linalg.norm(list(norms.values())),
        facts["norm_of_all"],
        relative=GRADIENT_LIMIT,
    )
    ours, theirs = np.array([norms[n] for n in names]), np.array([want[n] for n in names])
    deviation = np.abs(ours - theirs) / np.maximum(np.abs(theirs), GRADIENT_FLOOR)
    yield compare(
        case,
        "gradient norms",
        deviation.max(),
        0.0,
        absolute=GRADIENT_LIMIT,
        note=f"relative, of {len(names)} parameters; largest at {names[int(deviation.argmax())]}",
    )


def _set_training_without_dropout(model: nn.Module) -> dict[nn.Module, float]:
    """Training mode with every dropout at zero, the attentions' included; returns the rates."""
    rates: dict[nn.Module, float] = {}
    model.train()
    for module in model.modules():
        name = _rate_name(module)
        if name:
            rates[module] = getattr(module, name)
            setattr(module, name, 0.0)
    return rates


def _restore(model: nn.Module, rates: Mapping[nn.Module, float]) -> None:
    for module, rate in rates.items():
        setattr(module, _rate_name(module), rate)
    model.eval()


def _rate_name(module: nn.Module) -> str:
    """Where a module keeps its dropout probability; attentions have it as a plain number."""
    if isinstance(module, nn.Dropout):
        return "p"
    return "dropout" if isinstance(getattr(module, "dropout", None), float) else ""
