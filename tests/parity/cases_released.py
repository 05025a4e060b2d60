"""Cases of the authors' released code: losses, gradients, histories, chosen samples, regions.

Every strategy is made as ``--reference released`` makes it. What the released code does and what is
not copied from it: docs/ambiguities.md.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity.result import Result, check, compare, guarded
from tests.training.prompts_batch import weight_dict
from training.config.run import TrainConfig
from training.engine.optimizer import parameter_groups
from training.losses.context import StepContext, StepPosition, matched
from training.losses.criterion import (
    COEFFICIENTS,
    dice_loss,
    focal_terms,
    reduced,
    total,
)
from training.strategies import STRATEGIES, Strategy, make_strategy, run_config
from training.strategies.co_teaching import keep_rate
from training.strategies.elr import ELR
from training.strategies.npn import NPN, counts_of
from training.strategies.pmhm import (
    PMHM,
    PMHMOptions,
    linear,
    perturbed,
    quantile_regions,
    squared_gradient,
)
from training.strategies.support.pixelwise import clip_mean

VALUE: Mapping[str, float] = {"absolute": 1e-5, "relative": 2e-6}
GRADIENT: Mapping[str, float] = {"absolute": 1e-5}
_STRIDE = 4
_PADDED = 32
"""Inputs are padded to multiples of this."""


def run(folder: Path) -> Iterator[Result]:
    """Runs every file of released vectors that is there."""
    for path in released_files(folder):
        yield from guarded(f"released/{path.stem}", _file(path))
    if (folder / "recipe.json").is_file():
        yield from guarded("released/recipe", _recipe(folder / "recipe.json"))


def released_files(folder: Path, *, understood: bool = True) -> list[Path]:
    """Files of arrays whose names say which case they are of, or those whose names say none."""
    return [
        path for path in sorted(folder.glob("*.npz")) if bool(_readers(path.stem)) == understood
    ]


def _readers(stem: str) -> list[Any]:
    return [cases for pattern, cases in _CASES.items() if re.fullmatch(pattern, stem)]


def _file(path: Path) -> Iterator[Result]:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for cases in _readers(path.stem):
        yield from cases(f"released/{path.stem}", arrays)


def released(name: str, **options: Any) -> Strategy[Any]:
    """A strategy under ``--reference released``, with some options of its own."""
    config = run_config(name, "released", data=Path(), out=Path())
    assert config.strategy_options is not None
    return make_strategy(
        replace(config, strategy_options=replace(config.strategy_options, **options))
    )


@dataclass
class Case:
    """A step whose masks have gradients.

    Attributes:
        context: The step.
        masks: Mask logits of each layer, first to last, [B, T, Q, h, w].
    """

    context: StepContext
    masks: list[Tensor]

    def gradients(self, value: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
        """Of a scalar, zeros where it does not depend on a leaf."""
        if not value.requires_grad:
            return [torch.zeros_like(leaf) for leaf in of]
        found = torch.autograd.grad(value, list(of), retain_graph=True, allow_unused=True)
        return [
            torch.zeros_like(leaf) if own is None else own
            for own, leaf in zip(found, of, strict=True)
        ]

    def of_matched(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Those of the matched queries [B, T, h, w], if nothing else has any."""
        layers = self.context.layers[::-1]
        own = [matched(g, layer.queries) for g, layer in zip(gradients, layers, strict=True)]
        for one, whole in zip(own, gradients, strict=True):
            assert torch.isclose(one.abs().sum(), whole.abs().sum()), "another query has a gradient"
        return own


def step(
    masks: Sequence[Any],
    targets: Any,
    weights: Any = None,
    *,
    matches: Any,
    valid: Any = None,
    clips: Sequence[int] | None = None,
    strong: Sequence[Any] = (),
    heads: Sequence[Any] = (),
    **context: Any,
) -> Case:
    """A step from stored arrays.

    Args:
        masks: Mask logits of each layer, first to last.
        targets: [B, T, H, W].
        weights: Action-guided weights, same shape; None for none.
        matches: Query of each clip in each layer, [L, B].
        valid: [B, T]; all by default.
        clips: Numbers of the samples, by which pixels are remembered.
        strong: Mask logits of a second view, as `masks`.
        heads: Mask logits of auxiliary heads.
        context: Further fields of the context.
    """
    leaves = [torch.tensor(value).requires_grad_() for value in masks]
    labels = padded(targets)
    clips = list(range(len(labels))) if clips is None else clips
    times, size = labels.shape[1], labels.shape[-2:]
    padding = padded(np.zeros_like(targets) + 0, value=1).bool()
    batch = SimpleNamespace(
        masks=labels > 0,
        weights=None if weights is None else padded(weights).float(),
        padding=padding,
        clip_of_prompt=torch.arange(len(labels)),
        boxes=torch.full((len(labels), times, 4), 0.5),
        valid=torch.ones(len(labels), times).long() if valid is None else torch.tensor(valid),
        positive=torch.ones(len(labels), times).long(),
        sizes=torch.tensor([size] * len(labels)),
        sequences=[f"sample {clip}" for clip in clips],
        frame_names=[[str(time) for time in range(times)]] * len(labels),
        start_frames=["0"] * len(labels),
        object_ids=[1] * len(labels),
    )
    second = [torch.tensor(value).requires_grad_() for value in strong]
    return Case(
        StepContext(
            batch,  # type: ignore[arg-type]
            output_of(leaves, tuple(torch.tensor(h).requires_grad_() for h in heads)),
            output_of(second) if second else None,
            matches=list(torch.tensor(matches)),
            use_weights=weights is not None,
            **context,
        ),
        leaves,
    )


def padded(maps: Any, value: float = 0) -> Tensor:
    """Maps [..., H, W] continued at the right and bottom to multiples of 32."""
    height, width = maps.shape[-2:]
    return F.pad(torch.tensor(maps), (0, -width % _PADDED, 0, -height % _PADDED), value=value)


def output_of(masks: Sequence[Tensor], heads: tuple[Tensor, ...] = ()) -> Any:
    """Predictions with these masks; everything else says nothing."""

    def layer(own: Tensor, **fields: Any) -> SimpleNamespace:
        clips, times, queries = own.shape[:3]
        return SimpleNamespace(
            logits=torch.zeros(clips, times, queries, 1),
            boxes=torch.full((clips, times, queries, 4), 0.5),
            positives=torch.zeros(clips, 1),
            masks=own,
            **fields,
        )

    return layer(masks[-1], aux=tuple(map(layer, masks[:-1])), extra=heads)


def mask_losses(strategy: Strategy[Any], case: Case) -> tuple[dict[str, Tensor], Tensor]:
    """The terms that masks have, and their weighted sum."""
    losses = reduced(strategy.losses(case.context), case.context)
    own = {
        name: value
        for name, value in losses.items()
        if not name.startswith(("loss_ce", "loss_bbox", "loss_giou", "loss_positive"))
    }
    return own, total(own, {**COEFFICIENTS, **strategy.coefficients})


def layers_of(arrays: Mapping[str, Any], stem: str) -> list[Any]:
    """``STEM_0`` to ``STEM_L``."""
    found = []
    while f"{stem}_{len(found)}" in arrays:
        found.append(arrays[f"{stem}_{len(found)}"])
    return found


def item(value: Any) -> Any:
    """A tensor as an array."""
    return value.detach().numpy() if isinstance(value, Tensor) else value


def _pixels(case: str, arrays: Mapping[str, Any]) -> Iterator[Result]:
    """Single losses on rows of pixels."""
    sce, gce, apl = (released(name) for name in ("sce", "gce", "apl"))
    for name in sorted({key.partition("/")[0] for key in arrays}):
        part = {k.partition("/")[2]: v for k, v in arrays.items() if k.startswith(f"{name}/")}
        rows = torch.tensor(part["logits"]).requires_grad_()
        logits, labels, weights = (
            value[:, None, None]
            for value in (rows, torch.tensor(part["targets"]), torch.tensor(part["weights"]))
        )
        values = {
            "focal": clip_mean(focal_terms(logits, labels), None),
            "focal_weighted": clip_mean(focal_terms(logits, labels), weights),
            "dice": dice_loss(logits, labels),
            **{
                f"{own.name}{suffix}": clip_mean(own.pixels(logits, labels), w)
                for own in (sce, gce, apl)
                for suffix, w in (("", None), ("_weighted", weights))
            },
        }
        for term in values.keys() & part.keys():
            value = values[term].sum() / float(part["num_boxes"])
            (gradient,) = torch.autograd.grad(value, rows, retain_graph=True)
            yield compare(f"{case}/{name}", term, item(value), part[term], **VALUE)
            yield compare(
                f"{case}/{name}", f"{term}/grad", item(gradient), part[f"{term}/grad"], **GRADIENT
            )


_RUNS: Mapping[str, tuple[str, bool, Mapping[str, Any]]] = {
    "baseline_weights": ("baseline", True, {}),
    "baseline_plain": ("baseline", False, {}),
    **{
        f"{name}_{suffix}": (name, weighted, options)
        for name in ("sce", "gce", "apl")
        for suffix, weighted, options in (
            ("readme", True, {}),
            ("alone", name == "apl", {"focal": "replaced"}),
            ("weights_alone", True, {"focal": "replaced", "weighted": True}),
        )
    },
}
"""Strategy, whether the action-guided weights count, and options that differ."""


def _criterion(case: str, arrays: Mapping[str, Any]) -> Iterator[Result]:
    """All layers' terms, total and gradients of every combination of mask losses."""
    for run_name, (name, weighted, options) in _RUNS.items():
        want = {
            key.removeprefix(f"{run_name}/"): value
            for key, value in arrays.items()
            if key.startswith(f"{run_name}/")
        }
        if not want:
            continue
        made = step(
            layers_of(arrays, "pred_masks"),
            arrays["masks"],
            arrays["weights"] if weighted else None,
            matches=arrays["matches"],
            valid=arrays["valid"],
        )
        strategy = released(name, **options)
        losses, whole = mask_losses(strategy, made)
        if options.get("focal") == "replaced":  # the robust term stands in the focal one's place
            term = strategy.term  # type: ignore[attr-defined]
            losses = {key.replace("loss_mask", term): value for key, value in losses.items()}
        gradients = made.of_matched(made.gradients(whole, made.masks))
        where = f"{case}/{run_name}"
        for key, value in want.items():
            if key == "total":
                yield compare(where, key, item(whole), value, **VALUE)
            elif key.startswith("grad_"):
                yield compare(where, key, item(gradients[int(key[5:])]), value, **GRADIENT)
            else:
                yield compare(where, key, item(losses.get(key, np.nan)), value, **VALUE)
    yield compare(
        case, "valid frames", item(made.context.valid_frames), arrays["num_boxes"], **VALUE
    )


def _steps(arrays: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts ``step0/``, ``step1/``, ... in their order."""
    number = 0
    while f"step{number}/epoch" in arrays:
        prefix = f"step{number}/"
        yield (
            prefix,
            {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)},
        )
        number += 1


def _elr(case: str, arrays: Mapping[str, Any]) -> Iterator[Result]:
    """Losses, gradients and histories over epochs; the history is checked after every layer."""
    weighted = "_weighted" in case
    options = {"beta": 1 - float(arrays["beta_seg"]), "strength": float(arrays["seg_lambda"])}
    yield compare(
        case, "options", list(options.values()), [0.99, 5e-4], **VALUE, note="as released"
    )
    strategy = released("elr")
    assert isinstance(strategy, ELR)
    with tempfile.TemporaryDirectory() as folder:
        strategy.open(Path(folder), resume=False)
        for prefix, part in _steps(arrays):
            clips = part["clips"].tolist()
            made = step(
                layers_of(part, "pred_masks"),
                np.concatenate([arrays[f"masks_{clip}"] for clip in clips]),
                np.concatenate([arrays[f"weights_{clip}"] for clip in clips]) if weighted else None,
                matches=part["matches"],
                clips=clips,
                position=StepPosition(int(part["epoch"]), 99),
            )
            strategy.begin_epoch(int(part["epoch"]), 99)
            context, where = made.context, f"{case}/{prefix[:-1]}"
            history = strategy.history.recall(context.batch, context.size, torch.device("cpu"))
            called = (context.last, *context.earlier)
            for layer, want in zip(called, part["history_after_calls"], strict=True):
                p = layer.logits.detach().sigmoid().clamp(1e-4, 1 - 1e-4)
                history = strategy.averaged(history, p)
                yield compare(where, layer.name("history"), item(history.values), want, **VALUE)
            losses, whole = mask_losses(strategy, made)
            kept = strategy.history.recall(context.batch, context.size, torch.device("cpu"))
            yield compare(where, "stored history", item(kept.values), want, **VALUE)
            for layer in called:
                name, focal = layer.name("loss_mask"), losses[layer.name("loss_mask")]
                reg = losses[layer.name("loss_regulariser")]
                mask = focal + strategy.options.strength * reg
                yield compare(where, name, item(mask), part[name], **VALUE)
                dice = layer.name("loss_dice")
                yield compare(where, dice, item(losses[dice]), part[dice], **VALUE)
                yield compare(
                    where, layer.name("reg"), item(reg), part[layer.name("reg")], absolute=1e-4
                )
            yield from _total_and_gradients(where, made, whole, part, "grad")


def _total_and_gradients(
    where: str, made: Case, whole: Tensor, part: Mapping[str, Any], stem: str
) -> Iterator[Result]:
    yield compare(where, "total", item(whole), part["total"], **VALUE)
    for index, own in enumerate(made.of_matched(made.gradients(whole, made.masks))):
        yield compare(where, f"{stem}_{index}", item(own), part[f"{stem}_{index}"], **GRADIENT)


def _npn(case: str, arrays: Mapping[str, Any]) -> Iterator[Result]:
    """Losses, gradients and counts over warm-up and robust epochs."""
    strategy = released("npn")
    assert isinstance(strategy, NPN)
    options = strategy.options
    names = ("alpha", "beta", "warmup_epochs", "threshold")
    yield compare(
        case, "options", [getattr(options, n) for n in names], [arrays[n] for n in names], **VALUE
    )
    with tempfile.TemporaryDirectory() as folder:
        strategy.open(Path(folder), resume=False)
        for prefix, part in _steps(arrays):
            clips = part["clips"].tolist()
            made = step(
                layers_of(part, "weak"),
                np.concatenate([arrays[f"masks_{clip}"] for clip in clips]),
                matches=part["matches"],
                clips=clips,
                strong=layers_of(part, "strong"),
                position=StepPosition(int(part["epoch"]), 9),
            )
            strategy.begin_epoch(int(part["epoch"]), 9)
            yield from _npn_step(f"{case}/{prefix[:-1]}", strategy, made, part)


def _npn_step(where: str, strategy: NPN, made: Case, part: Mapping[str, Any]) -> Iterator[Result]:
    context, warm = made.context, strategy.warming_up(made.context.position)
    counts = strategy.history.recall(context.batch, context.size, torch.device("cpu")).values
    proxies = {}
    for call, layer in enumerate((context.last, *context.earlier)):
        counts = strategy.counted(counts, layer.logits, context.labels, warm=warm)
        present, absent = counts_of(counts)
        pair = torch.stack((absent, present), -1)
        want = part["counts_after_calls"][call]
        yield compare(where, layer.name("counts"), item(pair), want)
        proxies[layer.index] = strategy.proxy(counts)
    losses, whole = mask_losses(strategy, made)
    kept = strategy.history.recall(context.batch, context.size, torch.device("cpu")).values
    yield compare(where, "stored counts", item(kept), item(counts))
    for layer in context.layers:
        agreement = losses.get(layer.name("loss_consistency"), torch.zeros(()))
        mask = losses[layer.name("loss_mask")] + strategy.options.beta * agreement
        name, dice = layer.name("loss_mask"), layer.name("loss_dice")
        yield compare(where, name, item(mask), part[name], **VALUE)
        yield compare(where, dice, item(losses[dice]), part[dice], **VALUE)
        if warm:
            continue
        proxy, reliability = proxies[layer.index]
        partial = (reliability * strategy._partial_terms(layer.logits, proxy)).mean()
        negative = strategy._negative_terms(layer.logits, context.labels).mean()
        for key, value in (
            ("proxy", proxy), ("reliability", reliability), ("pll", partial), ("nl", negative)
        ):  # fmt: skip
            yield compare(where, layer.name(key), item(value), part[layer.name(key)], **VALUE)
        yield compare(
            where, layer.name("cr"), item(agreement), part[layer.name("cr")], absolute=5e-6,
            relative=2e-6,
        )  # fmt: skip
    yield from _total_and_gradients(where, made, whole, part, "grad_weak")
    if context.second_view is not None:
        strong = [*(layer.masks for layer in context.second_view.aux), context.second_view.masks]
        for index, own in enumerate(made.of_matched(made.gradients(whole, strong))):
            yield compare(
                where, f"grad_strong_{index}", item(own), part[f"grad_strong_{index}"], **GRADIENT
            )


def _pmhm(case: str, arrays: Mapping[str, Any]) -> Iterator[Result]:
    """Regions, all terms, and gradients of each and of the total."""
    if "masks" not in arrays:
        return
    masks, heads = layers_of(arrays, "pred_masks"), layers_of(arrays, "aux_head")
    made = step(masks, arrays["masks"], matches=arrays["matches"], heads=heads)
    strategy = released("pmhm", heads=len(heads))
    assert isinstance(strategy, PMHM)
    context, leaves = made.context, made.context.output.extra
    yield from _regions(case, strategy.options, arrays, context)
    losses, whole = mask_losses(strategy, made)
    names = {"loss_tv": "loss_tversky"}
    # Stated for saturated masks: 1e-3 for the layers' term, whose probabilities are cut in float32;
    # its gradient, and its tenth in the total, deviate accordingly.
    saturated = "saturated" in case
    layers = {"absolute": 1e-3} if saturated else VALUE
    whole_limit = {"absolute": 1e-4, "relative": 2e-6} if saturated else VALUE
    for key in (key for key in arrays if re.fullmatch(r"loss_[a-z]+(_\d+)?", key)):
        stem, _, layer = key.rpartition("_") if key[-1].isdigit() else (key, "", "")
        own = losses.get(names.get(stem, stem) + (f"_{layer}" if layer else ""), torch.zeros(()))
        yield compare(
            case, key, item(own), arrays[key], **(layers if stem == "loss_layer" else VALUE)
        )
    yield compare(case, "total", item(whole), arrays["total"], **whole_limit)
    for key, want in arrays.items():
        term, _, place = key.partition("/grad_")
        if not place:
            continue
        value = whole if term == "total" else losses[names.get(term, term)]
        head = place.startswith("head_")
        leaf = leaves[int(place[5:])] if head else made.masks[int(place)]
        (gradient,) = made.gradients(value, [leaf])
        if term != "total":
            gradient = matched(gradient, context.layers[0].queries)
        limit = {"loss_layer": 1e-3, "total": 1e-4}.get(term, 1e-5) if saturated else 1e-5
        yield compare(case, key, item(gradient), want, absolute=limit)


def _regions(
    case: str, options: PMHMOptions, arrays: Mapping[str, Any], context: StepContext
) -> Iterator[Result]:
    """U and S of all queries, and what they are cut from."""
    masks = context.output.masks.detach()
    p = masks.sigmoid()
    steep = squared_gradient(p.flatten(1, 2), "sobel", options.border).sqrt().view_as(p) / 8
    yield compare(case, "gradient_norm", item(steep), arrays["gradient_norm"], **VALUE)
    margin = (p - 0.5).abs()
    shares = ((margin, options.tau_m), (steep, options.tau_e), (margin, options.tau_h))
    cuts = [torch.quantile(v.flatten(1).double(), q, dim=1) for v, q in shares]
    yield compare(
        case, "thresholds", item(torch.stack(cuts, 1)), arrays["thresholds_m_e_h"], **VALUE
    )
    size = masks.numel()
    of_queries = [
        quantile_regions(masks, context.output.extra, torch.full((len(masks),), query), options)
        for query in range(masks.shape[2])
    ]
    for name, field in (("U", "uncertain"), ("S", "confident")):
        found = torch.stack([getattr(regions, field) for regions in of_queries], 2)
        want = np.unpackbits(arrays[name])[:size].reshape(masks.shape)
        yield compare(case, name, item(found), want)


def _perturbation(case: str, arrays: Mapping[str, Any]) -> Iterator[Result]:
    """Mask features after whole frames were dropped and noise was added."""
    options = STRATEGIES["pmhm"].released
    assert isinstance(options, PMHMOptions)
    for name in sorted({key.partition("/")[0] for key in arrays if "/" in key}):
        features, kept, noise = (
            torch.tensor(arrays[f"{name}/{key}"]) for key in ("features", "kept_frames", "noise")
        )
        got = perturbed(
            features, kept[:, :, None, None, None], noise, options.dropout, options.feature_noise
        )
        yield compare(f"{case}/{name}", "out", item(got), arrays[f"{name}/out"], **VALUE)
    yield check(case, "whole frames", options.dropout_of == "frames")
    scale = 1 / (1 - options.dropout)
    yield compare(case, "scale of kept", scale, arrays["scale_of_kept"], **VALUE)


def _co_teaching(case: str, arrays: Mapping[str, Any]) -> Iterator[Result]:
    """Keep rates, chosen samples in their order, and two small models trained so."""
    strategy = released("co-teaching")
    options = strategy.options
    rates = [
        keep_rate(options.forget_rate, epoch - 1, options.gradual_epochs, options.start_rate)
        for epoch in arrays["epoch"].tolist()
    ]
    yield compare(case, "keep_rate", rates, arrays["keep_rate"], **VALUE)
    for number in range(int(arrays["cases"])):
        part = {
            key: arrays[f"case{number}/{key}"]
            for key in ("epoch", "loss1", "loss2", "model1_trains_on", "model2_trains_on")
        }
        own = [torch.tensor(part["loss1"]), torch.tensor(part["loss2"])]
        chosen = strategy.select(own, StepPosition(int(part["epoch"]) - 1)).kept
        for model, indices in enumerate(chosen, 1):
            want = part[f"model{model}_trains_on"]
            where, name = f"{case}/case{number}", f"model{model}_trains_on"
            if len(own[0]) == 1:
                note = "the released code keeps nothing of a window of one, which is not copied"
                yield check(where, name, indices.tolist() == [0] and not want.size, note)
            else:
                yield compare(where, name, item(indices), want)
    if "toy/x" in arrays:
        toy = {key.removeprefix("toy/"): v for key, v in arrays.items() if key.startswith("toy/")}
        yield from _two_models(f"{case}/toy", strategy, toy)


def _two_models(case: str, strategy: Strategy[Any], toy: Mapping[str, Any]) -> Iterator[Result]:
    """An optimiser step for every chosen sample, of two linear models."""
    x, y = torch.tensor(toy["x"]), torch.tensor(toy["y"])
    weights = [torch.tensor(toy[f"w{model}_start"]).requires_grad_() for model in (1, 2)]
    optimizers = [
        torch.optim.AdamW([w], float(toy["lr"]), weight_decay=float(toy["weight_decay"]))
        for w in weights
    ]
    steps = []
    window = int(toy["window"])
    for epoch in sorted(set(toy["epoch_start_model_steps"][:, 0].tolist())):
        for start in range(0, len(x), window):
            part = slice(start, start + window)
            losses = [((x[part] @ w - y[part]) ** 2).detach() for w in weights]
            chosen = strategy.select(losses, StepPosition(epoch - 1)).kept
            for model in (1, 0):
                for index in chosen[model].tolist():
                    optimizers[model].zero_grad()
                    ((x[part][index] @ weights[model] - y[part][index]) ** 2).backward()
                    torch.nn.utils.clip_grad_norm_([weights[model]], float(toy["clip"]))
                    optimizers[model].step()
                steps.append((epoch, start, model + 1, len(chosen[model])))
    yield compare(case, "steps", steps, toy["epoch_start_model_steps"])
    for model, own in enumerate(weights, 1):
        yield compare(case, f"w{model}", item(own), toy[f"w{model}_end"], absolute=1e-5)


def _recipe(file: Path) -> Iterator[Result]:
    """Options and schedules of the released commands, as far as they are ours to set."""
    facts = json.loads(file.read_text())
    common, case = facts["common"], "released/recipe"
    config = _config("baseline")
    recipe = config.recipe()
    pairs = {
        "lr": (recipe.learning_rate, common["lr"]),
        "lr_backbone": (recipe.learning_rate * recipe.backbone_rate, common["lr_backbone"]),
        "weight_decay": (recipe.weight_decay, common["weight_decay"]),
        "clip_max_norm": (recipe.clip_norm, common["clip_max_norm"]),
        "batch_per_gpu": (recipe.batch_size, common["batch_per_gpu"]),
        "frames": (recipe.frames_per_clip, common["frames"]),
        "epochs": (recipe.epochs, common["epochs"]),
        "lr_drop": (list(recipe.lr_drop), common["lr_drop"]),
        "pos_cls_thres": (recipe.positive_threshold, common["inference"]["pos_cls_thres"]),
    }
    network = torch.nn.ModuleDict(
        {name: torch.nn.Linear(1, 1) for name in ("backbone", "sampling_offsets", "rest")}
    )
    rates = sorted(group["lr"] for group in parameter_groups(network, recipe))  # type: ignore[type-var]
    sampling = common["lr_reference_points_and_sampling_offsets"]
    pairs["rates of groups"] = (rates, sorted([common["lr_backbone"], common["lr"], sampling]))
    for name, (got, want) in pairs.items():
        yield compare(case, name, got, want, relative=1e-9)
    mine = {**weight_dict(0), **_coefficients()}
    for name, value in common["coefficients"].items():
        yield compare(case, name, mine.get(name, np.nan), value, relative=1e-9)
    for run_name, values in facts["runs_in_the_readme"].items():
        strategy = run_name.split()[0]
        own = _config(strategy)
        where = f"{case}/{run_name}"
        yield check(where, "use_weights", own.action_weights == values["use_weights"])
        yield check(where, "epochs", own.recipe().epochs == values.get("epochs", common["epochs"]))
        options = own.strategy_options
        for key, name in _OPTIONS.items():
            if key in values:
                yield compare(where, key, getattr(options, name), values[key], relative=1e-9)
    schedules = facts["schedules"]
    pmhm = STRATEGIES["pmhm"].released
    assert isinstance(pmhm, PMHMOptions)
    six = range(6)
    for name, start, end in (
        ("pmhm_freeze_epoch_mode_6_epochs", 0.3, 0.1),
        ("pmhm_tversky_alpha_if_annealed_6_epochs", pmhm.tversky_alpha, 0.5),
        ("pmhm_tversky_alpha_as_released", pmhm.tversky_alpha, pmhm.tversky_alpha_end),
    ):
        got = [linear(start, end, epoch, 6) for epoch in six]
        yield compare(case, name, got, schedules[name], absolute=1e-9)
    freeze = [linear(pmhm.freeze, pmhm.freeze_end, epoch, 6) for epoch in six]
    yield compare(case, "freeze", freeze, [schedules["pmhm_freeze_step_mode"]] * 6, absolute=1e-9)


_OPTIONS: Mapping[str, str] = {
    "window": "window",
    "warmup_epochs": "warmup_epochs",
    "k_agree": "votes",
    "tau_m_p": "tau_m",
    "tau_e_p": "tau_e",
    "tau_h_p": "tau_h",
    "n_aux_heads": "heads",
    "aux_p_drop": "dropout",
    "aux_gamma_noise": "feature_noise",
    "freeze_step_p": "freeze",
    "tv_beta": "tversky_beta",
}
"""Released options and ours."""


def _config(strategy: str) -> TrainConfig:
    return run_config(strategy, "released", data=Path(), out=Path(), preset="r101")


def _coefficients() -> dict[str, float]:
    own = {
        name: value
        for strategy in ("sce", "gce", "apl", "pmhm")
        for name, value in released(strategy).coefficients.items()
    }
    return own | {"loss_tv": own["loss_tversky"]}


_CASES = {
    "pixel_losses.*": _pixels,
    "criterion_.*": _criterion,
    "elr_.*": _elr,
    "npn_.*": _npn,
    "pmhm_perturbation.*": _perturbation,
    "pmhm_(?!perturbation).*": _pmhm,
    "coteaching.*": _co_teaching,
}
"""What reads a file, by the form of its name."""
