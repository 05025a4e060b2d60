"""Parity of tensor names, checkpoint files and the forward pass."""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actiseg_ros.errors import ActisegError
from tests.parity.result import Result, check, compare, guarded
from tests.parity.weights_rule import rule_array, rule_state
from training.checkpoints.published import fill, infer_preset, load_published, published_state
from training.checkpoints.published_names import from_published, to_published
from training.checkpoints.reading import read_state
from training.model import ActionVOS, Output, build_model
from training.model.positional import map_encoding, resize_padding

Array = npt.NDArray[Any]
PRESET_OF = {"resnet101": "r101", "resnet50": "r50"}

# Largest absolute differences that other kernels may make, by the beginning of the name.
_LIMITS = (
    (("samples", "valid_ratios"), 1e-6),
    (("pred_logits",), 5e-4),
    (("pred_boxes", "reference_points", "init_reference", "inter_references"), 2e-5),
    (("pred_positives",), 1e-4),
    (("pred_masks",), 2e-3),
    (("roberta", "text_", "hs"), 3e-4),
    (("pos_res",), 3e-4),
    (("res",), 1e-3),
    (("proj", "fused", "memory", "encoder_layer", "levelpos"), 3e-4),
    (("mask_features",), 1e-3),
    (("controller",), 1e-4),
)
_RELATIVE = {"pred_masks": 1e-4}


def run(folder: Path) -> Iterator[Result]:
    """Runs the sections that the folder has."""
    keys_file = folder / "keys.json"
    if not keys_file.is_file():
        return
    keys = json.loads(keys_file.read_text())
    yield from guarded("keys", key_cases(keys))
    checkpoints = checkpoint_cases(folder / "checkpoint", keys["weights_salt"])
    yield from guarded("checkpoint", checkpoints)
    files = [f for f in (folder / "forward").glob("*.npz") if not f.stem.endswith("_full")]
    # Ordered by preset, because filling a network takes longer than a case.
    for file in sorted(files, key=lambda f: (preset_of_case(f.stem, keys), f.stem)):
        yield from guarded(f"forward/{file.stem}", forward_case(file, keys))


@functools.lru_cache(maxsize=1)
def rule_model(preset: str, salt: str) -> ActionVOS:
    """A model with the rule's weights, loaded by its published names, in evaluation mode."""
    model = build_model(preset)
    shapes = {name: tuple(v.shape) for name, v in published_state(model).items()}
    report = fill(model, rule_state(shapes, salt), "weights by rule")
    if report.missing or report.unexpected:
        raise ActisegError(str(report))
    return model.eval()


def preset_of_case(name: str, keys: dict[str, Any]) -> str:
    """The preset a forward case was made with: by its name, else the deepest one there is."""
    wants_50 = "r50" in name or "resnet50" in name
    wanted = "resnet50" if wants_50 or "resnet101" not in keys["models"] else "resnet101"
    return PRESET_OF[wanted]


def key_cases(keys: dict[str, Any]) -> Iterator[Result]:
    """Names, shapes, aliases, trained flags and the rule's values of every tensor."""
    for backbone, section in keys["models"].items():
        case = f"keys/{backbone}"
        preset = PRESET_OF[backbone]
        model = build_model(preset)
        ours = published_state(model)
        theirs = {entry["key"]: entry for entry in section["keys"]}
        yield check(case, "names", set(ours) == set(theirs), f"{len(theirs)} names")
        shapes = all(list(ours[k].shape) == e["shape"] for k, e in theirs.items() if k in ours)
        yield check(case, "shapes", shapes)
        back = all(k in to_published(from_published(k) or "") for k in theirs)
        yield check(case, "mapped both ways", back)
        trained = {k: p.requires_grad for k, p in model.named_parameters()}
        flags = all(
            trained.get(from_published(k) or "") == e["trained"]
            for k, e in theirs.items()
            if e["kind"] == "parameter"
        )
        yield check(case, "trained flags", flags)
        wrong = sum(
            zlib.crc32(rule_array(k, e["shape"], keys["weights_salt"]).tobytes()) != e["crc32"]
            for k, e in theirs.items()
            if e["dtype"] == "float32" and "crc32" in e
        )
        yield check(case, "weights by rule", wrong == 0, f"{wrong} differ")


def checkpoint_cases(folder: Path, salt: str) -> Iterator[Result]:
    """Every file is read with weights only and fills the model that it belongs to."""
    for file in sorted(folder.glob("*.pth")):
        case = f"checkpoint/{file.stem}"
        state = read_state(file)
        pretraining = any(
            k.startswith("class_embed.") and k.endswith("weight") and v.shape[0] != 1
            for k, v in state.items()
        )
        model = build_model(infer_preset(state))
        if pretraining:
            refused = False
            try:
                load_published(model, file)
            except ActisegError as error:
                refused = "class_embed.0" in str(error)
            yield check(case, "class head refused unless pretraining", refused)
        report = load_published(model, file, pretraining=pretraining)
        own = model.state_dict()
        kept = {
            k: v
            for k, v in state.items()
            if k not in (*report.ignored, *report.unexpected, *report.reinitialised)
        }
        worst = max(float((own[from_published(k) or ""] - v).abs().max()) for k, v in kept.items())
        yield compare(case, "loaded values", worst, 0.0, note=str(report))
        rule = max(
            float(np.abs(rule_array(k, v.shape, salt) - v.numpy()).max()) for k, v in kept.items()
        )
        yield compare(case, "values by rule", rule, 0.0)


def prepare(case: Any, model: ActionVOS) -> tuple[Tensor, Tensor]:
    """Normalised, padded frames [B, T, 3, H, W] and their padding [B, T, H, W]."""
    mask = torch.from_numpy(case["samples_mask"])
    batch, count, height, width = mask.shape
    mean = torch.tensor(model.config.mean)[:, None, None]
    std = torch.tensor(model.config.std)[:, None, None]
    samples = torch.zeros(batch, count, 3, height, width)
    padding = torch.ones_like(mask)
    for clip in range(batch):
        frames = torch.from_numpy(case[f"frames_{clip}"]).permute(0, 3, 1, 2)
        h, w = frames.shape[-2:]
        samples[clip, :, :, :h, :w] = (frames.to(torch.float32) / 255 - mean) / std
        padding[clip, :, :h, :w] = False
    return samples, padding


@torch.no_grad()
def forward_case(file: Path, keys: dict[str, Any]) -> Iterator[Result]:
    """One stored forward pass: inputs, intermediates, every layer's outputs."""
    name = f"forward/{file.stem}"
    with np.load(file) as archive:
        case = dict(archive)
    model = rule_model(preset_of_case(file.stem, keys), keys["weights_salt"])
    samples, padding = prepare(case, model)
    yield check(name, "samples_mask", bool((padding.numpy() == case["samples_mask"]).all()))
    padded = bool(padding.any())
    trace: dict[str, Tensor] = {}
    image = model.encode_image(samples, padding if padded else None, trace)
    ids, attention = (torch.from_numpy(case[k]) for k in ("input_ids", "attention_mask"))
    text = model.encode_text(ids, attention, trace)
    output = model.decode(image, text, torch.from_numpy(case["size"]), trace=trace)
    got = trace | {"samples": samples, "text_word": text.words, "text_sentence": text.sentence}
    masks = padding_masks(padding, [image.fine, *image.levels])
    got |= decoder_tensors(output) | predictions(output) | masks
    got |= encodings(masks, model.config.width)
    got["spatial_shapes"] = torch.tensor([x.shape[-2:] for x in image.levels])
    if not padded:
        got["valid_ratios"] = torch.ones(padding.shape[0] * padding.shape[1], 4, 2)
    sizes = case["size"]
    for key, want in case.items():
        if key.startswith(("frames_", "stat__")) or key in ("input_ids", "attention_mask", "size"):
            continue
        if key == "samples_mask":
            continue
        yield compare_tensor(name, key, got, want, sizes if padded else None)
    for key in sorted({k.split("__")[1] for k in case if k.startswith("stat__")}):
        yield from compare_summary(name, key, case, got, masks)
    full = file.with_name(f"{file.stem}_full.npz")
    if full.is_file():
        got["controller_last"] = got["controller"][-samples.shape[0] * samples.shape[1] :]
        with np.load(full) as archive:
            for key in archive.files:
                yield compare_tensor(f"forward/{full.stem}", key, got, archive[key], None)


def predictions(output: Output) -> dict[str, Tensor]:
    """The four outputs of every decoder layer under their published names."""
    result = {"reference_points": output.reference_points}
    for prefix, layer in [("", output), *((f"aux{i}_", x) for i, x in enumerate(output.aux))]:
        result[f"{prefix}pred_logits"] = layer.logits
        result[f"{prefix}pred_boxes"] = layer.boxes
        result[f"{prefix}pred_masks"] = layer.masks
        result[f"{prefix}pred_positives"] = layer.positives
    return result


def decoder_tensors(output: Output) -> dict[str, Tensor]:
    """Decoder tensors with clips and frames in one dimension."""
    return {
        "hs": output.hidden.flatten(1, 2),
        "init_reference": output.initial_references.flatten(0, 1),
        "inter_references": output.references.flatten(1, 2),
        "mask_features": output.mask_features.flatten(0, 1),
    }


def padding_masks(padding: Tensor, maps: list[Tensor]) -> dict[str, Tensor]:
    """Padding of the backbone stages (strides 4 to 32) and the encoder levels (8 to 64)."""
    flat = padding.flatten(0, 1)
    sized = [resize_padding(flat, (m.shape[-2], m.shape[-1])) for m in maps]
    stages = {f"mask_res{i + 2}": m for i, m in enumerate(sized[:4])}
    return stages | {f"mask_lvl{i}": m for i, m in enumerate(sized[1:])}


def encodings(masks: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    """Positional encodings of the backbone stages."""
    return {f"pos_res{i}": map_encoding(masks[f"mask_res{i}"], width) for i in range(2, 6)}


def limit(key: str) -> tuple[float, float]:
    """Absolute and relative limit of a quantity; names without one must be equal."""
    base = key.split("_", 1)[1] if key.startswith("aux") else key
    for names, absolute in _LIMITS:
        if base.startswith(names):
            return absolute, _RELATIVE.get(base, 0.0)
    return 0.0, 0.0


def compare_tensor(
    name: str, key: str, got: dict[str, Tensor], want: Array, sizes: Array | None
) -> Result:
    """Compares a whole tensor.

    Args:
        name: The case.
        key: The tensor.
        got: Our tensors.
        want: The stored one.
        sizes: Unpadded sizes of the clips in a padded case, else None.
    """
    absolute, relative = limit(key)
    if key.endswith("_first_frames"):
        ours = got[key.removesuffix("_first_frames")]
        ours = ours[:: ours.shape[0] // want.shape[0]]
        # Where everything is padding the encoding is the sine of angles around 3e6 rad.
        return compare(name, key, ours, want, absolute=absolute)
    result = compare(name, key, got[key], want, absolute=absolute, relative=relative)
    if sizes is None or "pred_masks" not in key or result.passed:
        return result
    inside = [
        np.abs(got[key][i].numpy() - want[i])[..., : -(-h // 4), : -(-w // 4)].mean()
        for i, (h, w) in enumerate(sizes.tolist())
    ]
    note = "mean inside the frame: the padded positional encoding is chaotic"
    return compare(name, key, max(inside), 0.0, absolute=0.02, note=note)


def compare_summary(
    name: str, key: str, case: dict[str, Array], got: dict[str, Tensor], masks: dict[str, Tensor]
) -> Iterator[Result]:
    """Compares samples and statistics of a tensor that is not stored whole."""
    ours = got[key].numpy()
    stored = case[f"stat__{key}__shape"].tolist()
    if ours.ndim == len(stored) + 1 and ours.shape[0] == 1:  # stored without the clip dimension
        ours = ours[0]
    if key.startswith("levelpos") and ours.shape[0] == 1:  # one encoding for all frames
        ours = np.broadcast_to(ours, stored)
    yield check(name, f"{key} shape", list(ours.shape) == stored)
    absolute, relative = limit(key)
    samples = ours.reshape(-1)[case[f"stat__{key}__index"]]
    want = case[f"stat__{key}__value"]
    note = ""
    if key == "mask_features" and any(m.any() for m in masks.values()):
        absolute, note = 0.5, "padded: see docs/padding.md"
    yield compare(
        name, f"{key} samples", samples, want, absolute=absolute, relative=relative, note=note
    )
    values = unpadded(key, ours, masks).astype(np.float64)
    summary = [values.mean(), values.std(), values.min(), values.max(), np.linalg.norm(values)]
    expected = case[f"stat__{key}__summary"]
    yield compare(
        name, f"{key} summary", summary, expected, absolute=absolute, relative=1e-4, note=note
    )


def unpadded(key: str, values: Array, masks: dict[str, Tensor]) -> Array:
    """Values at unpadded positions of a map or of the concatenated levels."""
    levels = [masks[f"mask_lvl{i}"] for i in range(4)]
    if key.startswith("encoder_layer"):
        keep = ~torch.cat([m.flatten(1) for m in levels], 1).numpy()
        return values[keep]
    stage = key.removeprefix("pos_")
    if stage.startswith("res"):
        mask = masks[f"mask_{stage}"]
    elif key == "mask_features":
        mask = masks["mask_res2"]
    elif key[:-1] in ("proj", "fused", "levelpos", "memory"):
        mask = levels[int(key[-1])]
    else:
        return values
    return np.moveaxis(values, 1, -1)[~mask.numpy()]
