"""A small valid model bundle whose graphs follow rules, so that tests know the answer.

The "network" segments by colour: each object name has a colour, and a pixel belongs to the
object if it has that colour. An object is active if the narration names it or if it is a hand.
Only `onnx` is needed to make it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

HEIGHT, WIDTH, STRIDE = 64, 96, 4
COLORS = {
    "tomato": (1, 0, 0),
    "lettuce": (0, 1, 0),
    "plate": (0, 0, 1),
    "left": (1, 1, 0),
    "right": (0, 1, 1),
    "knife": (1, 0, 1),
}
"""RGB colour of the objects, each channel 0 or 1; left and right are the hands' first words."""

_WORDS = ["[UNK]", "[PAD]", "used", "in", "the", "action", "of", "hand", "cut", "take", *COLORS]
_USED = _WORDS.index("used")
_OPSET = 18


def paint(objects: dict[str, tuple[int, int, int, int]], height: int, width: int) -> np.ndarray:
    """Draws a grey image with one rectangle per object.

    Args:
        objects: Rectangle (x, y, width, height) in pixels of each object in `COLORS`.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        uint8 [height, width, 3], RGB.
    """
    image = np.full((height, width, 3), 128, np.uint8)
    for name, (x, y, w, h) in objects.items():
        image[y : y + h, x : x + w] = np.uint8(COLORS[name]) * 255
    return image


def write_dummy_bundle(
    folder: Path,
    *,
    limits: dict[str, float] | None = None,
    poison: bool = False,
    criteria: dict[str, float] | None = None,
    certified: bool = True,
) -> Path:
    """Writes the bundle.

    Args:
        folder: New or existing folder.
        limits: Gate limits (`active_score`, `p_uncertainty`, `n_uncertainty`, `distance`) of a
            calibration that accepts any image within `distance`; None leaves it uncalibrated.
        criteria: Certified `risk` and `confidence`; 0.1 and 0.9 by default.
        certified: Whether the calibration has a certificate.
        poison: Makes the masks NaN where the image is pure white, to test bad numbers.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_image_encoder(), folder / "image_encoder.onnx")
    onnx.save(_text_encoder(), folder / "text_encoder.onnx")
    onnx.save(_prompt_decoder(poison), folder / "prompt_decoder.onnx")
    _tokenizer().save(str(folder / "tokenizer.json"))
    record: dict[str, Any] = {
        "schema": 1,
        "name": "dummy",
        "created": "2026-01-01T00:00:00Z",
        "input": {
            "height": HEIGHT,
            "width": WIDTH,
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "color": "RGB",
            "fit": "letterbox",
        },
        "prompt": {
            "template": "{object} used in the action of {narration}",
            "max_tokens": 32,
            "pad_id": 1,
            "lowercase": True,
        },
        "thresholds": {"positive": 0.75, "mask": 0.5, "background": 0.1},
        "uncertainty": {"tau_m": 0.20, "tau_e": 0.85},
        "graphs": {
            name: f"{name}.onnx" for name in ("image_encoder", "text_encoder", "prompt_decoder")
        },
        "opset": _OPSET,
        "vocabulary": [
            {"class_id": 1, "names": ["tomato"]},
            {"class_id": 2, "names": ["lettuce", "salad"]},
            {"class_id": 3, "names": ["plate", "dish"]},
            {"class_id": 4, "names": ["knife"]},
            {"class_id": 300, "names": ["left hand"]},
            {"class_id": 301, "names": ["right hand"]},
        ],
        "gate": None,
        "provenance": {"made_by": "tests"},
    }
    _finish(folder, record, limits, criteria or {"risk": 0.1, "confidence": 0.9}, certified)
    return folder


def recertify(record: dict[str, Any]) -> None:
    """Gives a calibration record the id that its content has."""
    from actiseg_ros.gate.calibration import calibration_id

    gate = record["gate"]
    gate["id"] = calibration_id(gate, record["files"][gate["domain"]["file"]])


def recalibrate(folder: Path) -> None:
    """Makes the calibration one of the graphs that the bundle has now."""
    from actiseg_ros.bundle import model_id

    rehash(folder)
    record = json.loads((folder / "bundle.json").read_text())
    record["gate"]["model"] = model_id(record)
    recertify(record)
    (folder / "bundle.json").write_text(json.dumps(record))


def rehash(folder: Path) -> None:
    """Writes correct hashes into ``bundle.json`` after a test changed another file."""
    record = json.loads((folder / "bundle.json").read_text())
    record["files"] = _hashes(folder)
    (folder / "bundle.json").write_text(json.dumps(record))


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "bundle.json"
    }


def _finish(
    folder: Path,
    record: dict[str, Any],
    limits: dict[str, float] | None,
    criteria: dict[str, float],
    certified: bool,
) -> None:
    if limits is not None:
        from actiseg_ros.bundle import model_id
        from actiseg_ros.gate.novelty import NoveltyDetector, save_novelty
        from actiseg_ros.gate.rule import FEATURE_VERSION
        from actiseg_ros.prompts import CANDIDATES
        from actiseg_ros.vision.image_descriptor import SIZE

        # Of no direction anything is known: every image is close.
        novelty = NoveltyDetector(
            mean=np.zeros(8 * 3 + SIZE),
            whitening=np.zeros((8 * 3 + SIZE, 8 * 3 + SIZE)),
            usual=np.zeros(1),
            unit=np.ones(1),
        )
        save_novelty(novelty, folder / "calibration.npz")
        record["files"] = _hashes(folder)
        record["gate"] = {
            "features": FEATURE_VERSION,
            "model": model_id(record),
            "policies": {
                policy: {"certified": certified, "limits": limits} for policy in CANDIDATES
            },
            "criteria": criteria,
            "domain": {"file": "calibration.npz"},
        }
        recertify(record)
    record["files"] = _hashes(folder)
    (folder / "bundle.json").write_text(json.dumps(record, indent=2))


def _tokenizer() -> Tokenizer:
    vocabulary = {word: index for index, word in enumerate(_WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def _value(name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(name: str, nodes: list, inputs: list, outputs: list, constants: dict) -> Any:
    tensors = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


def _image_encoder() -> Any:
    """Mean colour of each cell of 4x4, 8x8, 16x16 and 32x32 pixels; masks are of the first."""
    sizes = {"cells": 4, "stride4": 4, "stride8": 8, "stride16": 16, "stride32": 32}
    return _model(
        "image_encoder",
        [
            helper.make_node(
                "AveragePool", ["frames"], [name], kernel_shape=[size, size], strides=[size, size]
            )
            for name, size in sizes.items()
        ],
        [_value("frames", ["T", 3, HEIGHT, WIDTH])],
        [_value(name, ["T", 3, HEIGHT // size, WIDTH // size]) for name, size in sizes.items()],
        {},
    )


def _text_encoder() -> Any:
    """Words are colours; the sentence joins the object's colour and the narrated colours."""
    table = np.zeros((len(_WORDS), 4), np.float32)
    for index, word in enumerate(_WORDS):
        if word in COLORS:
            table[index, :3] = 2 * np.float32(COLORS[word]) - 1
        # The fourth number marks a hand, which is always active.
        table[index, 3] = float(word in ("left", "right"))
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["all_words"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["mask3"]),
        node("Mul", ["all_words", "mask3"], ["words"]),
        node("Equal", ["input_ids", "used"], ["is_used"]),
        node("Cast", ["is_used"], ["used_flag"], to=TensorProto.FLOAT),
        node("CumSum", ["used_flag", "one"], ["after"]),
        node("Clip", ["after", "low0", "high"], ["narrated"]),
        node("Unsqueeze", ["narrated", "last"], ["narrated3"]),
        node("Sub", ["high", "narrated3"], ["object3"]),
        node("Mul", ["words", "object3"], ["object_words"]),
        node("ReduceSum", ["object_words", "row"], ["object"], keepdims=0),
        node("Mul", ["words", "narrated3"], ["narrated_words"]),
        # Each narrated word is compared with the object; equal colours give 3.
        node("Unsqueeze", ["object", "row"], ["object_row"]),
        node("Mul", ["narrated_words", "object_row"], ["products"]),
        node("Slice", ["products", "start0", "end3", "axis2"], ["color_products"]),
        node("ReduceSum", ["color_products", "axis2"], ["matches"], keepdims=0),
        node("ReduceMax", ["matches", "row"], ["match"], keepdims=1),
        node("Concat", ["object", "match"], ["sentence"], axis=1),
    ]
    i64 = TensorProto.INT64
    return _model(
        "text_encoder",
        nodes,
        [_value("input_ids", ["P", "L"], i64), _value("attention_mask", ["P", "L"], i64)],
        [_value("words", ["P", "L", 4]), _value("sentence", ["P", 5])],
        {
            "table": table,
            "last": np.int64([2]),
            "row": np.int64([1]),
            "one": np.int64(1),
            "used": np.int64(_USED),
            "low0": np.float32(0),
            "high": np.float32(1),
            "start0": np.int64([0]),
            "end3": np.int64([3]),
            "axis2": np.int64([2]),
        },
    )


def _prompt_decoder(poison: bool) -> Any:
    """Query 1 has the mask, query 0 its opposite; objects that are not named are inactive."""
    node = helper.make_node
    nodes = [
        node("Slice", ["sentence", "start0", "end3", "axis1"], ["color"]),
        node("Mul", ["cells", "two"], ["twice"]),
        node("Sub", ["twice", "one"], ["signed"]),
        # Signed colours agree with 3 in all channels, and with 1 or less in any other case.
        node("Einsum", ["color", "signed"], ["agreement"], equation="pc,tchw->pthw"),
        node("Sub", ["agreement", "middle"], ["above"]),
        node("Mul", ["above", "gain"], ["good_mask"]),
        node("Neg", ["good_mask"], ["bad_mask"]),
        node("Unsqueeze", ["good_mask", "axis2"], ["good5"]),
        node("Unsqueeze", ["bad_mask", "axis2"], ["bad5"]),
        node("Concat", ["bad5", "good5"], ["clean_masks"], axis=2),
        # White cells have a signed sum of 3; log of a negative number is not a number.
        node("ReduceSum", ["signed", "axis1"], ["sum"], keepdims=0),
        node("Sub", ["limit", "sum"], ["margin"]),
        node("Log", ["margin"], ["log"]),
        node("Mul", ["log", "zero"], ["nothing"]),
        node("Unsqueeze", ["nothing", "axis1"], ["nothing4"]),
        node("Add", ["clean_masks", "nothing4"], ["masks"]),
        node("ReduceMean", ["good_mask", "axis23"], ["mean"], keepdims=1),
        node("Squeeze", ["mean", "axis3"], ["mean3"]),
        node("Mul", ["mean3", "zero"], ["base"]),
        node("Add", ["base", "scores"], ["logits"]),
        node("Unsqueeze", ["logits", "axis3"], ["logits4"]),
        node("Mul", ["logits4", "zero"], ["zeros4"]),
        node("Add", ["zeros4", "box"], ["boxes"]),
        node("Slice", ["sentence", "start3", "end5", "axis1"], ["hand_and_match"]),
        node("Mul", ["hand_and_match", "activity"], ["weighted"]),
        node("ReduceMax", ["weighted", "axis1"], ["best"], keepdims=0),
        node("Sub", ["best", "offset"], ["positive"]),
    ]
    h, w = HEIGHT // STRIDE, WIDTH // STRIDE
    return _model(
        "prompt_decoder",
        nodes,
        [
            _value("cells", ["T", 3, h, w]),
            _value("words", ["P", "L", 4]),
            _value("sentence", ["P", 5]),
            _value("attention_mask", ["P", "L"], TensorProto.INT64),
        ],
        [
            _value("logits", ["P", "T", 2]),
            _value("boxes", ["P", "T", 2, 4]),
            _value("masks", ["P", "T", 2, h, w]),
            _value("positive", ["P"]),
        ],
        {
            "start0": np.int64([0]),
            "end3": np.int64([3]),
            "start3": np.int64([3]),
            "end5": np.int64([5]),
            "axis1": np.int64([1]),
            "axis2": np.int64([2]),
            "axis3": np.int64([3]),
            "axis23": np.int64([2, 3]),
            "one": np.float32(1),
            "two": np.float32(2),
            "middle": np.float32(1.5),
            "gain": np.float32(8),
            "zero": np.float32(0),
            "limit": np.float32(2.9 if poison else 4.0),
            "scores": np.float32([-2, 2]),
            "box": np.float32([0.5, 0.5, 0.5, 0.5]),
            "activity": np.float32([4.0, 4.0 / 3.0]),
            "offset": np.float32(2),
        },
    )
