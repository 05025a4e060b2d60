"""Makes the small committed case ``small/`` with this implementation.

Run it only while the implementation agrees with the full reference material (``run.py DIR``): the
case then keeps that state where the material is absent. Inputs and weights follow from seeds.

``python tests/parity/make_small.py``
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.parity import released_formulas as formulas
from tests.parity.cases_criterion import (
    gradient_norms,
    published_losses,
    stored_output,
    stored_targets,
)
from tests.parity.cases_metrics import FIELDS, FILTERS
from tests.parity.cases_model import decoder_tensors, predictions, prepare, rule_model
from tests.training.prompts_batch import weight_dict
from training.data.palette import write_label_png
from training.evaluation.inference import (
    choose_query,
    chosen_masks,
    is_active,
    label_maps,
    resize_for_model,
)
from training.evaluation.metrics import evaluate
from training.losses.criterion import total
from training.losses.matching import match, matching_costs
from training.noise.mask import MaskNoise
from training.noise.published import EXPRESSIONS, OBJECTS, published_names
from training.noise.text import TextNoise

SMALL = Path(__file__).with_name("small")
SALT = "small"
FORWARD = "r50_t2_64x96"
FRAMES, HEIGHT, WIDTH = 2, 64, 96
SUMMARISED = ("res2", "res3", "res4", "res5", "fused0", "memory2", "mask_features", "controller")


def main() -> None:
    """Writes every section."""
    rng = np.random.default_rng(48)
    write_json(SMALL / "keys.json", {"weights_salt": SALT, "models": {}})
    make_forward(rng)
    make_criterion(rng)
    make_metrics(rng)
    make_inference(rng)
    make_noise(np.random.default_rng(49))
    make_released(np.random.default_rng(50))


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Writes a compressed npz; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def smooth(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Smooth random frames, uint8 [count, height, width, 3], which compress well."""
    coarse = rng.integers(0, 256, (count, 4, 6, 3), dtype=np.uint8)
    size = (width, height)
    return np.stack([Image.fromarray(c).resize(size, Image.Resampling.BICUBIC) for c in coarse])


@torch.no_grad()
def make_forward(rng: np.random.Generator) -> None:
    """One ResNet-50 pass with whole outputs and summaries of intermediate tensors."""
    model = rule_model("r50", SALT)
    ids = np.array([[0, *rng.integers(4, 50000, 7), 2]], np.int64)
    case: dict[str, Any] = {
        "frames_0": smooth(rng, FRAMES, HEIGHT, WIDTH),
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "size": np.array([[HEIGHT, WIDTH]]),
        "samples_mask": np.zeros((1, FRAMES, HEIGHT, WIDTH), np.bool_),
    }
    samples, _ = prepare(case, model)
    trace: dict[str, torch.Tensor] = {}
    output = model(
        samples,
        None,
        *(torch.from_numpy(case[k]) for k in ("input_ids", "attention_mask", "size")),
        trace=trace,
    )
    tensors = predictions(output) | decoder_tensors(output)
    case |= {k: v.numpy() for k, v in tensors.items() if k not in ("hs", "mask_features")}
    for name in SUMMARISED:
        values = (trace | tensors)[name].numpy()
        flat = values.reshape(-1)
        index = rng.integers(0, flat.size, 16)
        double = flat.astype(np.float64)
        summary = [double.mean(), double.std(), double.min(), double.max()]
        case |= {
            f"stat__{name}__shape": np.array(values.shape),
            f"stat__{name}__summary": np.array([*summary, np.linalg.norm(double)]),
            f"stat__{name}__index": index,
            f"stat__{name}__value": flat[index],
        }
    write_arrays(SMALL / "forward" / f"{FORWARD}.npz", case)


def make_criterion(rng: np.random.Generator) -> None:
    """A positive object that is absent in one frame, and a negative one; with gradients."""
    folder = SMALL / "criterion"
    cases = {}
    with np.load(SMALL / "forward" / f"{FORWARD}.npz") as stored:
        output = stored_output(stored)
    for name, positive in (("positive_absent_in_frame1", 1), ("negative", 0)):
        masks = np.zeros((FRAMES, HEIGHT, WIDTH), np.bool_)
        boxes = np.zeros((FRAMES, 4), np.float32)
        if positive:
            masks[0, 12:40, 30:71] = True
            boxes[0] = [50 / WIDTH, 25.5 / HEIGHT, 40 / WIDTH, 27 / HEIGHT]
        weights = rng.choice([1, 2, 5], (FRAMES, HEIGHT // 16, WIDTH // 16))
        arrays = {
            "labels_0": np.zeros(FRAMES, np.int64),
            "boxes_0": boxes,
            "masks_0": masks,
            "weights_0": weights.repeat(16, 1).repeat(16, 2).astype(np.float32),
            "valid_0": np.ones(FRAMES, np.int64),
            "positive_0": np.full(FRAMES, positive, np.int64),
            "size_0": np.array([HEIGHT, WIDTH]),
        }
        write_arrays(folder / f"{name}.npz", arrays)
        targets = stored_targets(arrays, 1, (HEIGHT, WIDTH))
        matches = match([*output.aux, output], targets)
        layers = ["layer0", "layer1", "layer2", "last"]
        case: dict[str, Any] = {
            "forward_case": FORWARD,
            "targets": 1,
            "matching": {
                layer: {
                    "matched_query": match.tolist(),
                    "cost_of_each_query": matching_costs(part, targets).tolist(),
                }
                for layer, part, match in zip(layers, [*output.aux, output], matches, strict=True)
            },
        }
        for suffix, use_weights in (("", True), ("_without_weights", False)):
            losses = published_losses(output, targets, use_weights=use_weights)
            case[f"losses{suffix}"] = {k: float(v) for k, v in losses.items()}
            case[f"total{suffix}"] = float(total(losses))
        with np.load(SMALL / "forward" / f"{FORWARD}.npz") as stored:
            loss, norms = gradient_norms(rule_model("r50", SALT), stored, targets)
        case["gradients"] = {
            "total_in_train_mode_without_dropout": loss,
            "norm_of_all": float(np.linalg.norm(list(norms.values()))),
            "norms": {key: float(f"{norm:.6g}") for key, norm in norms.items()},
        }
        cases[name] = case
    write_json(folder / "criterion.json", {"weight_dict": weight_dict(3), "cases": cases})


def make_metrics(rng: np.random.Generator) -> None:
    """Random label maps of four sequences, one of them flagged."""
    root = SMALL / "metrics" / "random"
    entries = []
    for index in range(4):
        name = f"{index:08d}_P90_00_put-into_bag:cereal"
        frames = [f"frame_{number:010d}" for number in range(2)]
        for kind in ("gt", "pred"):
            (root / kind / name).mkdir(parents=True, exist_ok=True)
            for frame in frames:
                labels = rng.integers(0, 5, (6, 8)).astype(np.uint8)
                labels[labels == rng.integers(1, 5)] = 0
                write_label_png(root / kind / name / f"{frame}.png", labels)
        entries.append(
            {
                "seq_id": index,
                "video": "P90_00",
                "verb": "put-into",
                "noun": "bag:cereal",
                "sparse_frames": [f"{frame}.jpg" for frame in frames],
                "object_classes": {str(k): {"positive": k % 2} for k in range(1, 5)},
                **{"redundant": False, "missing": index == 2, "other": False},
            }
        )
    write_json(root / "split.json", entries)
    expected = {}
    for setting, flagged in FILTERS.items():
        got = evaluate(root / "pred", root / "gt", root / "split.json", flagged=flagged)
        expected[setting] = {key: getattr(got, name) for key, name in FIELDS.items()}
    write_json(SMALL / "metrics" / "expected.json", {"random": expected})


def make_inference(rng: np.random.Generator) -> None:
    """A resize, and post-processing of a video of two clips with ties and a removed object."""
    folder = SMALL / "inference"
    frame = smooth(rng, 1, 30, 41)[0]
    resized = np.asarray(resize_for_model(Image.fromarray(frame)))
    arrays = {
        "in0": frame,
        "out0_crc32": np.array(zlib.crc32(resized.tobytes())),
        "out0_shape": np.array(resized.shape),
    }
    write_arrays(folder / "resize.npz", arrays)
    size = (23, 30)
    case: dict[str, Any] = {"clip_lengths": np.array([2, 1]), "output_size": np.array(size)}
    maps = []
    for clip, length in enumerate((2, 1)):
        logits = rng.normal(size=(4, length, 5, 1)).astype(np.float32)
        masks = (rng.integers(-8, 9, (4, length, 5, 6, 8)) / 4).astype(np.float32)
        masks[3], logits[3] = masks[1], logits[1]  # identical expressions: the first one wins
        positives = np.array([[2.0], [1.5], [-1.0], [1.5]], np.float32)
        output = stored_like(logits, masks, positives)
        maps.append(label_maps(chosen_masks(output), is_active(output.positives, 0.75), size))
        for i, query in enumerate(choose_query(output.logits).tolist()):
            key = f"e{i}_clip{clip}"
            case[f"{key}_pred_logits"] = logits[i : i + 1]
            case[f"{key}_pred_masks"] = masks[i : i + 1]
            case[f"{key}_pred_positives"] = positives[i : i + 1]
            case[f"{key}_query"] = np.array(query)
    case["labels"] = np.concatenate(maps)
    write_arrays(folder / "post_two_clips.npz", case)
    write_json(folder / "inference.json", {"post_two_clips": {"options": []}})


def stored_like(logits: np.ndarray, masks: np.ndarray, positives: np.ndarray) -> Any:
    """Arrays as an output of the network."""
    from tests.parity.cases_inference import ClipOutput

    return ClipOutput(*(torch.from_numpy(array) for array in (logits, masks, positives)))


def make_noise(rng: np.random.Generator) -> None:
    """Noisy names of a split of nine clips, and noisy label maps of two frames."""
    names = {7: ("bowl", "salad bowl"), 3: ("lid",), 300: ("left hand",), 4: ("knife", "cleaver")}
    nouns = [(noun, class_id) for class_id, own in names.items() for noun in own]
    records = [
        {
            "seq_id": clip, "video": "P90_00", "verb": "put-into", "noun": "bag:cereal",
            "narration": "put cereal into bag",
            "sparse_frames": ["frame_0000000001.jpg", "frame_0000000041.jpg"],
            "object_classes": {
                str(key): {"name": nouns[at][0], "class_id": nouns[at][1], "handbox": 0,
                           "narration": 0, "positive": int(rng.integers(2))}
                for key, at in enumerate(rng.permutation(len(nouns))[:4], start=1)
            },
        }
        for clip in range(1, 10)
    ]  # fmt: skip
    folder = SMALL / "text_noise"
    write_json(folder / "input" / "train.json", records)
    runs = [{"rate": rate, "seed": 5, "files": f"rate{round(100 * rate)}"} for rate in (0.2, 0.6)]
    facts = {
        "class_list_in_order_of_draws": list(names),
        "names_in_order_of_draws": {str(key): list(own) for key, own in names.items()},
        "runs": runs,
    }
    write_json(folder / "facts.json", facts)
    for run in runs:
        noise = TextNoise(names, run["rate"], run["seed"], unflipped="same", draws="stream")
        contents = published_names(records, noise.table(records))
        for name, content in zip((OBJECTS, EXPRESSIONS), contents, strict=True):
            write_json(folder / f"{run['files']}_train_{name}", content)
    folder = SMALL / "mask_noise"
    entries = []
    for frame in ("frame_0000000000", "frame_0000000001"):
        clean = np.zeros((HEIGHT, WIDTH), np.uint8)
        for label in range(1, 6):
            y, x, height, width = rng.integers((0, 0, 1, 1), (HEIGHT, WIDTH, 20, 20))
            clean[y : y + height, x : x + width] = label
        expressions = {
            str(i): {"obj_id": str(i + 1), "positive": int(rng.integers(2))} for i in range(5)
        }
        positive = [i for i in range(1, 6) if expressions[str(i - 1)]["positive"]]
        entries.append({"frame": frame, "expressions": expressions})
        folder.mkdir(parents=True, exist_ok=True)
        write_label_png(folder / f"{frame}_clean.png", clean)
        for kernel in (9, 21):
            noisy = MaskNoise(kernel, "keep").labels(clean, positive)
            write_label_png(folder / f"{frame}_k{kernel}.png", noisy)
    write_json(folder / "expressions.json", entries)


def make_released(rng: np.random.Generator) -> None:
    """Losses, gradients, histories, samples and regions of the released code's formulas."""
    make_released_criterion(rng)
    make_released_histories(rng)
    make_released_pmhm(rng)
    arrays: dict[str, Any] = {
        "epoch": np.arange(1, 9),
        "keep_rate": np.array([formulas.keep_rate(epoch) for epoch in range(1, 9)]),
        "cases": np.array(4),
    }
    for case, (epoch, count) in enumerate(((1, 64), (4, 13), (9, 30), (2, 2))):
        losses = rng.normal(3, 1, (2, count))
        arrays |= {
            f"case{case}/epoch": np.array(epoch),
            f"case{case}/loss1": losses[0],
            f"case{case}/loss2": losses[1],
            f"case{case}/model1_trains_on": formulas.chosen(losses[1], epoch),
            f"case{case}/model2_trains_on": formulas.chosen(losses[0], epoch),
        }
    write_arrays(SMALL / "coteaching_small.npz", arrays)


def cells(rng: np.random.Generator, clips: int, times: int, queries: int = 0) -> np.ndarray:
    """Mask logits of 8x8 cells, exact in float32; with queries, [B, T, Q, 8, 8]."""
    shape = (clips, times, *([queries] if queries else []), 8, 8)
    return rng.normal(0, 2, shape).astype(np.float32)


def blocks(rng: np.random.Generator, clips: int, times: int) -> np.ndarray:
    """Labels of 32x32 pixels in blocks of a cell, uint8."""
    labels = (rng.random((clips, times, 8, 8)) < 0.4).astype(np.uint8)
    return labels.repeat(4, 2).repeat(4, 3)


def double(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For differences of formulas."""
    return [array.astype(np.float64) for array in arrays]


def make_released_criterion(rng: np.random.Generator) -> None:
    """Every combination of mask losses for two clips, of which one has an invalid frame."""
    masks = [cells(rng, 2, 2, 2) for _ in range(2)]
    targets, matches = blocks(rng, 2, 2), np.array([[0, 1], [1, 1]])
    weights = rng.choice([1, 2, 5], (2, 2, 8, 8)).repeat(4, 2).repeat(4, 3).astype(np.uint8)
    arrays: dict[str, Any] = {
        "masks": targets, "weights": weights, "matches": matches,
        "valid": np.array([[1, 1], [1, 0]]), "num_boxes": np.array(3.0),
        **{f"pred_masks_{layer}": own for layer, own in enumerate(masks)},
    }  # fmt: skip
    y, w = (array[..., 2::4, 2::4].astype(np.float64) for array in (targets, weights))
    own = double([formulas.of_query(m, queries) for m, queries in zip(masks, matches, strict=True)])
    robust = ("readme", "alone", "weights_alone")
    runs = ["baseline_weights", "baseline_plain"]
    runs += [f"{name}_{kind}" for name in formulas.TERMS for kind in robust]
    for run in runs:
        losses = formulas.criterion(run, own, y, w, 3.0)
        slopes = formulas.gradients(
            lambda at, run=run: formulas.criterion(run, at, y, w, 3.0)["total"], own
        )
        arrays |= {f"{run}/{name}": np.array(value) for name, value in losses.items()}
        arrays |= {f"{run}/grad_{layer}": slope for layer, slope in enumerate(slopes)}
    write_arrays(SMALL / "criterion_small.npz", arrays)


def make_released_histories(rng: np.random.Generator) -> None:
    """ELR and NPN: one clip over four epochs."""
    targets = blocks(rng, 1, 2)
    y = targets[..., 2::4, 2::4].astype(np.float64)
    matches = np.array([[0], [1], [1]])
    elr: dict[str, Any] = {
        "beta_seg": np.array(0.01), "seg_lambda": np.array(5e-4), "masks_4": targets,
        "weights_4": np.ones_like(targets),
    }  # fmt: skip
    npn: dict[str, Any] = {
        "alpha": np.array(0.1), "beta": np.array(0.2), "warmup_epochs": np.array(2),
        "threshold": np.array(0.7), "masks_4": targets,
    }  # fmt: skip
    history, counts = np.zeros_like(y), np.zeros((*y.shape, 2), np.int8)
    for epoch in range(4):
        weak, strong = ([cells(rng, 1, 2, 2) for _ in range(3)] for _ in range(2))
        at, other = (
            double([formulas.of_query(m, q) for m, q in zip(views, matches, strict=True)])
            for views in (weak, strong)
        )
        step: dict[str, Any] = {
            "epoch": np.array(epoch), "clips": np.array([4]), "matches": matches
        }  # fmt: skip
        found = formulas.elr(at, y, history, 2.0)
        slopes = formulas.gradients(
            lambda moved, history=history: formulas.elr(moved, y, history, 2.0)["total"], at
        )
        history = found["history_after_calls"][-1].astype(np.float32).astype(np.float64)
        masks = {f"pred_masks_{layer}": own for layer, own in enumerate(weak)}
        grads = {f"grad_{layer}": slope for layer, slope in enumerate(slopes)}
        elr |= {f"step{epoch}/{key}": v for key, v in (step | masks | found | grads).items()}

        warm = epoch < 2
        fixed: list[dict[str, np.ndarray]] = [{} for _ in at]
        calls = []
        for layer in (2, 0, 1):
            p = formulas.sigmoid(at[layer])
            counts = formulas.npn_counts(p, y, counts, warm=warm)
            calls.append(counts)
            confident = np.maximum(p, 1 - p) > 0.7
            fixed[layer] = {"counts": counts, "guess": (p > 0.5) * 1.0, "confident": confident}

        def total(moved: list[np.ndarray], fixed: Any = fixed, warm: bool = warm) -> float:
            value: float = formulas.npn(moved[:3], moved[3:], y, fixed, 2.0, warm=warm)["total"]
            return value

        found = formulas.npn(at, other, y, fixed, 2.0, warm=warm)
        slopes = formulas.gradients(total, at + other)
        arrays = {f"weak_{layer}": own for layer, own in enumerate(weak)}
        arrays |= {f"grad_weak_{layer}": slopes[layer] for layer in range(3)}
        if not warm:
            arrays |= {f"strong_{layer}": own for layer, own in enumerate(strong)}
            arrays |= {f"grad_strong_{layer}": slopes[3 + layer] for layer in range(3)}
        arrays |= step | found | {"counts_after_calls": np.stack(calls)}
        npn |= {f"step{epoch}/{key}": value for key, value in arrays.items()}
    write_arrays(SMALL / "elr_small.npz", elr)
    write_arrays(SMALL / "npn_small.npz", npn)


def make_released_pmhm(rng: np.random.Generator) -> None:
    """Regions and terms with one auxiliary head, and the perturbed mask features."""
    targets, matches = blocks(rng, 2, 2), np.array([[0, 1], [1, 0]])
    y = targets[..., 2::4, 2::4].astype(np.float64)
    stored = [cells(rng, 2, 2, 2) for _ in range(3)]
    *masks, head = double(stored)
    fixed = [formulas.regions(own, [head] if own is masks[-1] else [])[:2] for own in masks]
    uncertain, confident, cuts = formulas.regions(masks[-1], [head])

    def terms(at: list[np.ndarray]) -> dict[str, float]:
        return formulas.pmhm(at[:2], at[2:], y, matches, fixed, 4.0)

    arrays: dict[str, Any] = {
        "masks": targets, "matches": matches, "num_boxes": np.array(4.0),
        "U": np.packbits(uncertain), "S": np.packbits(confident), "thresholds_m_e_h": cuts,
        "gradient_norm": formulas.sobel(formulas.sigmoid(masks[-1])),
        "pred_masks_0": stored[0], "pred_masks_1": stored[1], "aux_head_0": stored[2],
        **{name: np.array(value) for name, value in terms([*masks, head]).items()},
    }  # fmt: skip
    for term in ("total", "loss_mask", "loss_dice", "loss_tv", "loss_head", "loss_layer"):
        slopes = formulas.gradients(lambda at, term=term: terms(at)[term], [*masks, head])
        if term != "total":
            slopes = [formulas.of_query(slope, matches[-1]) for slope in slopes]
        for place, slope in zip(("0", "1", "head_0"), slopes, strict=True):
            arrays[f"{term}/grad_{place}"] = slope
    write_arrays(SMALL / "pmhm_small.npz", arrays)

    features = rng.normal(0, 2, (1, 4, 3, 5, 6)).astype(np.float32)
    kept, noise = rng.random((1, 4)) < 0.6, rng.normal(0, 1, features.shape).astype(np.float32)
    dropped = features * kept[:, :, None, None, None] / 0.8
    spread = dropped.reshape(1, 4, -1).std(2, ddof=1) + 1e-6
    perturbed = {
        "case0/features": features, "case0/kept_frames": kept, "case0/noise": noise,
        "case0/out": dropped + noise * 0.2 * spread[..., None, None, None],
        "scale_of_kept": np.array(1.25),
    }  # fmt: skip
    write_arrays(SMALL / "pmhm_perturbation_small.npz", perturbed)


if __name__ == "__main__":
    main()
