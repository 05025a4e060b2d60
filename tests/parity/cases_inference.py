"""Inference cases: resize, post-processing alone, and a video through the whole network."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tests.parity.result import Result, check, compare, guarded
from training.evaluation.inference import (
    POSITIVE_THRESHOLD,
    choose_query,
    chosen_masks,
    is_active,
    label_maps,
    network_input,
    positive_probability,
    resize_for_model,
)

LABEL_SHARE = 0.995
"""Share of equal labels where single pixels may hang on the last bits of a mask logit."""
HEADLESS = "no --use_positive_cls"


@dataclass(frozen=True)
class ClipOutput:
    """Outputs of the network for P expressions of one clip."""

    logits: Tensor
    masks: Tensor
    positives: Tensor


def run(folder: Path) -> Iterator[Result]:
    """Runs every case of ``inference/``."""
    root = folder / "inference"
    if not root.is_dir():
        return
    facts_file = root / "inference.json"
    facts = json.loads(facts_file.read_text()) if facts_file.is_file() else {}
    if (root / "resize.npz").is_file():
        yield from guarded("inference/resize", _resize(root / "resize.npz"))
    for file in sorted(root.glob("post_*.npz")):
        options = facts.get(file.stem, {}).get("options", [])
        yield from guarded(f"inference/{file.stem}", _post(file, options))
    for file in sorted(root.glob("*.npz")):
        if file.stem != "resize" and not file.stem.startswith("post_"):
            made = _video(file, folder / "keys.json", facts.get(file.stem, {}))
            yield from guarded(f"inference/{file.stem}", made)


def _resize(file: Path) -> Iterator[Result]:
    with np.load(file) as arrays:
        for key in sorted(name for name in arrays if name.startswith("in")):
            k = key.removeprefix("in")
            got = np.asarray(resize_for_model(Image.fromarray(arrays[key])))
            if f"out{k}" in arrays:
                yield compare("inference/resize", f"out{k}", got, arrays[f"out{k}"])
                continue
            yield compare("inference/resize", f"out{k} shape", got.shape, arrays[f"out{k}_shape"])
            same = zlib.crc32(got.tobytes()) == int(arrays[f"out{k}_crc32"])
            yield check("inference/resize", f"out{k} crc32", same)


def _post(file: Path, options: Any) -> Iterator[Result]:
    case = f"inference/{file.stem}"
    threshold = None if HEADLESS in options else _threshold(options)
    with np.load(file) as arrays:
        expressions = _count(arrays, "e", "_clip0_pred_logits")
        height, width = arrays["output_size"].tolist()
        labels, queries, wanted = [], [], []
        for clip in range(len(arrays["clip_lengths"])):
            output = _stored(arrays, [f"e{i}_clip{clip}_" for i in range(expressions)])
            queries += choose_query(output.logits).tolist()
            wanted += [int(arrays[f"e{i}_clip{clip}_query"]) for i in range(expressions)]
            active = is_active(output.positives, threshold)
            labels.append(label_maps(chosen_masks(output), active, (height, width)))
        yield compare(case, "query", queries, wanted)
        yield compare(case, "labels", np.concatenate(labels), arrays["labels"])


def _threshold(options: Any) -> float:
    """The positive threshold that the options name, else the default."""
    named = re.search(r"pos_cls_thres\D*([0-9.]+)", json.dumps(options))
    return float(named.group(1)) if named else POSITIVE_THRESHOLD


def _count(arrays: Any, prefix: str, suffix: str) -> int:
    return sum(name.startswith(prefix) and name.endswith(suffix) for name in arrays)


def _stored(arrays: Any, prefixes: list[str]) -> ClipOutput:
    def rows(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([arrays[f"{p}pred_{name}"] for p in prefixes]))

    return ClipOutput(rows("logits"), rows("masks"), rows("positives"))


@torch.no_grad()
def _video(file: Path, keys_file: Path, facts: Mapping[str, Any]) -> Iterator[Result]:
    """Frames from their JPEGs, through resize and network, to label maps."""
    # Only here: the network takes seconds to import and fill.
    from tests.parity.cases_model import compare_tensor, preset_of_case, rule_model

    case = f"inference/{file.stem}"
    keys = json.loads(keys_file.read_text())
    with np.load(file) as archive:
        arrays = dict(archive)
    frames = arrays["frames"]
    tree = file.with_suffix("")
    if tree.is_dir():
        paths = sorted((tree / "JPEGImages_Sparse").rglob("*.jpg"))
        decoded = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
        yield compare(case, "frames", decoded, frames)
    resized = np.stack([np.asarray(resize_for_model(Image.fromarray(frame))) for frame in frames])
    yield compare(case, "resized", resized, arrays["resized"])
    prefixes = [f"exp{i}_" for i in range(_count(arrays, "exp", "_pred_logits"))]
    stored = _stored(arrays, prefixes)
    yield compare(case, "query (stored outputs)", choose_query(stored.logits), _queries(arrays))
    yield from _labels(case, "stored outputs", stored, arrays)

    model = rule_model(preset_of_case(file.stem, keys), keys["weights_salt"])
    samples = network_input(list(frames), model.config)[None]
    image = model.encode_image(samples)
    text = model.encode_text(*_padded([arrays[f"{p}input_ids"] for p in prefixes]))
    output = model.decode(image, text, torch.tensor([samples.shape[-2:]]), auxiliary=False)
    for name in ("pred_logits", "pred_boxes", "pred_masks", "pred_positives"):
        got = {name: getattr(output, name.removeprefix("pred_"))}
        want = np.concatenate([arrays[f"{p}{name}"] for p in prefixes])
        yield compare_tensor(case, name, got, want, None)
    if "positive_probability" in facts:
        got = positive_probability(output.positives)
        yield compare(
            case, "positive_probability", got, facts["positive_probability"], absolute=1e-4
        )
    yield compare(case, "query", choose_query(output.logits), _queries(arrays))
    own = ClipOutput(output.logits, output.masks, output.positives)
    yield from _labels(case, "network", own, arrays)


def _queries(arrays: Mapping[str, NDArray[Any]]) -> list[int]:
    return [int(arrays[f"exp{i}_query"]) for i in range(_count(arrays, "exp", "_query"))]


def _labels(
    case: str, source: str, output: ClipOutput, arrays: Mapping[str, NDArray[Any]]
) -> Iterator[Result]:
    """Label maps with every stored threshold; exact where the labels are robust."""
    masks = chosen_masks(output)
    for key in sorted(name for name in arrays if name.startswith("labels_")):
        setting = key.removeprefix("labels_")
        threshold = float(setting.rsplit("_", 1)[1]) if "threshold" in setting else None
        want = arrays[key]
        height, width = want.shape[1:]
        got = label_maps(masks, is_active(output.positives, threshold), (height, width))
        different = got != want
        yield check(
            case,
            f"{setting} ({source})",
            bool(different.mean() <= 1 - LABEL_SHARE),
            f"{different.sum()} of {different.size} pixels differ",
        )
        robust = arrays.get(f"robust_{setting}")
        if robust is not None:
            yield compare(case, f"{setting} robust ({source})", got[robust], want[robust])


def _padded(token_ids: list[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """Token ids padded with 1 to the longest, and their attention mask."""
    longest = max(map(len, token_ids))
    ids = np.ones((len(token_ids), longest), np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(token_ids):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    return torch.from_numpy(ids), torch.from_numpy(mask)
