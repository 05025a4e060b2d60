"""The run-time network on graphs whose answers are known."""

import contextlib
import dataclasses
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from actiseg_ros.bundle import InputSpec, load_bundle
from actiseg_ros.errors import BundleError, InferenceError, PromptError
from actiseg_ros.gate.calibration import load_calibration
from actiseg_ros.gate.features import (
    mask_uncertainties,
    mask_uncertainty,
    target_features,
    uncertain_map,
)
from actiseg_ros.gate.rule import Reason
from actiseg_ros.prompts import Prompt
from actiseg_ros.vision import letterbox
from actiseg_ros.vision.image_descriptor import SIZE
from actiseg_ros.vision.label_map import draw_labels
from actiseg_ros.vision.mask_memory import MaskMemory
from actiseg_ros.vision.onnx_graph import Graph
from actiseg_ros.vision.segmenter import OwnAnswer, Segmentation, Segmenter, choose_query
from tests.actiseg_ros.dummy_bundle import paint, rehash, write_dummy_bundle

NAMES = ("tomato", "lettuce", "left hand")
SCENE = {"tomato": (16, 32, 48, 32), "lettuce": (96, 32, 48, 32), "left": (16, 80, 32, 32)}
LIMITS = {"active_score": 0.75, "p_uncertainty": 0.4, "n_uncertainty": 0.4, "distance": 3.0}
SPEC = InputSpec(64, 96, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dummy_bundle(tmp_path_factory.mktemp("bundle"), limits=LIMITS)


@pytest.fixture
def segmenter(folder: Path) -> Segmenter:
    return Segmenter(load_bundle(folder), threads=1)


def segment(
    segmenter: Segmenter, image: np.ndarray, narration: str = "cut tomato", target: str = "tomato"
) -> Segmentation:
    return segmenter.segment(image, segmenter.encode(Prompt(narration, NAMES, target)))


def test_active_objects_are_drawn_where_they_are(segmenter: Segmenter) -> None:
    result = segment(segmenter, paint(SCENE, 128, 192))
    assert result.prompt == Prompt("cut tomato", NAMES, "tomato")
    expected = np.zeros((128, 192), np.uint8)
    expected[32:64, 16:64] = 1
    expected[80:112, 16:48] = 3
    assert result.labels.dtype == np.uint8
    # Cells are 8x8 pixels of this image; only their interpolated borders may differ.
    different = np.flatnonzero(result.labels != expected)
    assert len(different) < 0.03 * expected.size
    np.testing.assert_array_equal(result.labels[36:60:4, 20:60:4], 1)
    assert (result.active >= 0.75).tolist() == [True, False, True]
    assert result.probabilities.shape == (3, 16, 24)
    assert result.descriptor.patches.shape == (4, 60, 3)
    assert result.descriptor.statistics.shape == (SIZE,)


def test_activity_follows_the_narration(segmenter: Segmenter) -> None:
    labels = segment(segmenter, paint(SCENE, 128, 192), "cut lettuce").labels
    assert set(np.unique(labels)) == {0, 2, 3}


@pytest.mark.parametrize("size", [(128, 192), (64, 200), (201, 67), (33, 33), (5, 900), (1, 1)])
def test_labels_have_the_images_size_for_any_aspect(
    segmenter: Segmenter, size: tuple[int, int]
) -> None:
    height, width = size
    box = (width // 4, height // 4, width // 2 + 1, height // 2 + 1)
    result = segment(segmenter, paint({"tomato": box}, height, width))
    assert result.labels.shape == size
    assert uncertain_map(result, segmenter.bundle).shape == result.probabilities.shape[1:]
    if min(size) > 16:
        truth = np.zeros(size, np.bool_)
        truth[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
        drawn = result.labels == 1
        assert np.count_nonzero(drawn & truth) / np.count_nonzero(drawn | truth) > 0.75


def test_prompts_in_any_order_never_mix(segmenter: Segmenter) -> None:
    image = paint(SCENE, 128, 192)
    tomato = segmenter.encode(Prompt("cut tomato", NAMES))
    first = segmenter.segment(image, tomato)
    lettuce = segmenter.encode(Prompt("cut lettuce", NAMES[:2]))
    assert segmenter.segment(image, lettuce).prompt.names == NAMES[:2]
    again = segmenter.segment(image, tomato)
    assert again.prompt is tomato.prompt
    np.testing.assert_array_equal(again.labels, first.labels)


def test_candidates_do_not_influence_each_other(segmenter: Segmenter) -> None:
    image = paint(SCENE, 128, 192)
    together = segment(segmenter, image)
    for index, name in enumerate(NAMES):
        alone = segmenter.segment(image, segmenter.encode(Prompt("cut tomato", (name,))))
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[index], atol=1e-6)


def test_odd_texts_reach_the_tokenizer_unharmed(segmenter: Segmenter) -> None:
    odd = Prompt("cut {object} {narration} {} %s " + "word " * 500, ("{tomato}", "\u4e2d"))
    result = segmenter.segment(paint(SCENE, 64, 96), segmenter.encode(odd))
    assert result.labels.shape == (64, 96)


def test_number_of_objects_is_bounded(segmenter: Segmenter) -> None:
    with pytest.raises(PromptError, match="1000 object names"):
        segmenter.encode(Prompt("cut tomato", tuple(f"thing {i}" for i in range(1000))))
    with pytest.raises(PromptError, match="0 object names"):
        segmenter.encode(Prompt("cut tomato", ()))


def test_clip_decides_activity_once_and_equals_single_frames(segmenter: Segmenter) -> None:
    prompt = segmenter.encode(Prompt("cut tomato", NAMES))
    frames = [paint(SCENE, 128, 192), paint({"tomato": (80, 64, 40, 40)}, 128, 192)]
    for clip, frame in zip(segmenter.segment_clip(frames, prompt), frames, strict=True):
        np.testing.assert_array_equal(clip.labels, segmenter.segment(frame, prompt).labels)
    with pytest.raises(ValueError, match="one size"):
        segmenter.segment_clip([frames[0], frames[1][:-1]], prompt)


def test_numbers_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    segmenter = Segmenter(load_bundle(write_dummy_bundle(tmp_path, poison=True)), threads=1)
    segment(segmenter, paint(SCENE, 64, 96))
    with pytest.raises(InferenceError, match=r"masks.*not finite"):
        segment(segmenter, np.full((64, 96, 3), 255, np.uint8))


@pytest.mark.parametrize("name", ["image_encoder.onnx", "tokenizer.json"])
def test_files_that_are_no_model_are_refused_at_the_start(tmp_path: Path, name: str) -> None:
    folder = write_dummy_bundle(tmp_path)
    (folder / name).write_bytes(b"no model")
    rehash(folder)
    with pytest.raises(BundleError, match=name):
        Segmenter(load_bundle(folder))


def test_graphs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_dummy_bundle(tmp_path)
    (folder / "prompt_decoder.onnx").write_bytes((folder / "text_encoder.onnx").read_bytes())
    rehash(folder)
    with pytest.raises(BundleError, match="do not fit"):
        Segmenter(load_bundle(folder))


def test_no_provider_rounds_products_of_the_calibrated_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT is told by a variable, before its first session."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    path = folder / "text_encoder.onnx"
    content = path.read_bytes()
    Graph(path, content, 1, ["CPUExecutionProvider"])
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "1"
    with contextlib.suppress(BundleError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is not available here
        Graph(path, content, 1, ["TensorrtExecutionProvider", "CPUExecutionProvider"])
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


def test_unknown_provider_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="NoSuchProvider"):
        Segmenter(load_bundle(folder), providers=["NoSuchProvider"])


def test_query_is_the_best_over_all_frames() -> None:
    logits = np.array([[[0, 3], [0, -9]], [[5, 0], [5, 1]]], np.float32)
    masks = np.arange(2 * 2 * 2, dtype=np.float32).reshape(2, 2, 2, 1, 1)
    chosen, scores = choose_query(logits, masks)
    assert chosen[:, :, 0, 0].tolist() == [[0, 2], [4, 6]]
    assert scores[0] == pytest.approx(0.5)


def test_features_of_a_good_scene_pass_the_rule(folder: Path, segmenter: Segmenter) -> None:
    calibration = load_calibration(segmenter.bundle)
    assert calibration is not None
    image = paint(SCENE, 128, 192)
    result = segment(segmenter, image)
    distance = calibration.novelty.distance(result.descriptor)
    good = target_features(result, segmenter.bundle, distance)
    assert calibration.judge(good) == ()
    for target in ("lettuce", "plate", ""):
        other = segment(segmenter, image, target=target)
        bad = target_features(other, segmenter.bundle, distance)
        assert calibration.judge(bad)
    unknown = target_features(result, segmenter.bundle, float("inf"))
    assert calibration.judge(unknown) == (Reason.OUT_OF_DISTRIBUTION,)


def test_uncertainties_of_all_objects_are_those_of_each(segmenter: Segmenter) -> None:
    random = np.random.default_rng(0)
    shown = segment(segmenter, paint(SCENE, 128, 192))
    for chance in (0.02, 0.2, 0.8):
        drawn = random.random((5, 16, 24)) ** (1 / chance)
        drawn[2] = 0
        result = dataclasses.replace(shown, probabilities=drawn.astype(np.float32))
        expected = [mask_uncertainty(result, index, segmenter.bundle) for index in range(5)]
        assert mask_uncertainties(result, segmenter.bundle) == expected
        assert (expected[2].p_uncertainty, expected[2].n_uncertainty) == (1, 1)


def test_letterbox_pads_with_zero_after_normalisation() -> None:
    image = np.full((32, 96, 3), 255, np.uint8)
    out = letterbox.pad(letterbox.resize(image, SPEC), SPEC)
    np.testing.assert_allclose(out[:, :32].mean(axis=(1, 2)), [3, 5 / 3, 1], rtol=1e-5)
    assert not out[:, 32:].any()


def test_letterbox_round_trip_restores_positions() -> None:
    grid = np.full((1, 16, 24), -1, np.float32)
    grid[:, 2:6, 2:6] = 1
    for height, width in ((128, 192), (64, 192), (200, 96), (37, 61)):
        box = letterbox.fit(height, width, SPEC)
        way = letterbox.enlargement(box, SPEC, (16, 24), height, width)
        drawn = draw_labels(letterbox.crop(grid, box, SPEC), np.array([1], np.uint8), way)
        assert drawn.shape == (height, width)
        rows, columns = np.nonzero(drawn)
        scale = height / box.height * 4
        assert abs(columns.mean() + 0.5 - 4 * scale) < 0.5 * scale
        assert abs(rows.mean() + 0.5 - 4 * scale) < 0.5 * scale


def test_of_a_stream_the_worse_of_both_answers_counts(folder: Path, segmenter: Segmenter) -> None:
    calibration = load_calibration(segmenter.bundle)
    assert calibration is not None
    result, bundle = segment(segmenter, paint(SCENE, 128, 192)), segmenter.bundle
    same = OwnAnswer(result.probabilities, result.active)
    lost = OwnAnswer(np.full_like(result.probabilities, 0.5), result.active)
    idle = OwnAnswer(result.probabilities, np.zeros_like(result.active))
    # As crisp as the joined one, and of something else.
    moved = OwnAnswer(np.roll(result.probabilities, 6, axis=(1, 2)), result.active)
    near = OwnAnswer(np.roll(result.probabilities, 1, axis=2), result.active)
    answers = ((same, True), (lost, False), (idle, False), (moved, False), (near, True))
    for own, good in answers:
        stream = dataclasses.replace(result, own=own)
        assert (calibration.judge(target_features(stream, bundle, 0.0)) == ()) == good
        each = mask_uncertainties(stream, bundle)
        assert each == [mask_uncertainty(stream, i, bundle) for i in range(len(each))]
    # However sure the joined masks are.
    assert mask_uncertainty(dataclasses.replace(result, own=lost), 0, bundle).p_uncertainty > 0.9


def test_a_stream_has_one_frame_at_a_time(segmenter: Segmenter) -> None:
    frame, memory = paint(SCENE, 128, 192), MaskMemory()
    prompt = segmenter.encode(Prompt("cut tomato", NAMES, "tomato"))
    with pytest.raises(ValueError, match="one frame"):
        segmenter.answer(segmenter.look([frame, frame]), prompt, memory)
    plain = segmenter.segment(frame, prompt)
    first, second = (segmenter.answer(segmenter.look([frame]), prompt, memory)[0] for _ in "ab")
    assert first.own is None and second.own is not None
    np.testing.assert_array_equal(second.own.probabilities, plain.probabilities)
    np.testing.assert_array_equal(second.own.active, plain.active)
    # The same picture again leaves the masks where they are.
    np.testing.assert_array_equal(second.labels, plain.labels)
