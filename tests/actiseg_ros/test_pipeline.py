"""Prompt, network and gate together, without ROS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actiseg_ros.bundle import load_bundle
from actiseg_ros.errors import BundleError, InferenceError, PromptError
from actiseg_ros.gate.calibration import load_calibration
from actiseg_ros.gate.rule import Reason
from actiseg_ros.gate.state import GateOptions
from actiseg_ros.narration.vocabulary import Vocabulary
from actiseg_ros.pipeline import ImageTicket, Pipeline
from actiseg_ros.vision.segmenter import EncodedPrompt, Segmentation, Segmenter
from tests.actiseg_ros.dummy_bundle import paint, write_dummy_bundle

LIMITS = {"active_score": 0.5, "p_uncertainty": 0.5, "n_uncertainty": 0.5, "distance": 1e6}
SECOND = 10**9


def make(folder: Path, poison: bool = False, **options: float) -> Pipeline:
    bundle = load_bundle(write_dummy_bundle(folder, limits=LIMITS, poison=poison))
    vocabulary = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
    settings = GateOptions(**{"hold_frames": 1, "image_timeout": 60.0, **options})
    segmenter = Segmenter(bundle, threads=1)
    pipeline = Pipeline(bundle, segmenter, load_calibration(bundle), settings, vocabulary, 8)
    pipeline.set_active(True)
    return pipeline


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return make(tmp_path)


def tomato() -> np.ndarray:
    return paint({"tomato": (16, 16, 40, 32)}, 64, 96)


class Camera:
    """Gives a pipeline one image after the other and tells what the gate says."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.count = pipeline, 0

    def show(self, rgb: np.ndarray | None = None) -> Segmentation | None:
        self.count += 1
        gate = self.pipeline.gate
        gate.image_arrived(self.count * SECOND, self.count)
        ticket = ImageTicket(self.count * SECOND, self.count, gate._clock())
        return self.pipeline.process(tomato() if rgb is None else rgb, ticket)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return self.pipeline.gate.decide(self.count * SECOND).reasons


def test_candidates_come_from_the_action_then_the_set_then_the_narration(
    pipeline: Pipeline,
) -> None:
    pipeline.narrate("cut the tomato")
    assert pipeline.prompt is not None
    assert pipeline.prompt.names == ("tomato", "left hand", "right hand")
    pipeline.set_objects(["plate", "tomato"])
    assert pipeline.prompt.names == ("plate", "tomato")
    pipeline.act("cut the tomato", ["tomato", "knife"], "", 5.0)
    assert pipeline.prompt.names == ("tomato", "knife")
    pipeline.narrate("cut the tomato")
    assert pipeline.prompt.names == ("tomato", "knife")
    pipeline.narrate("take plate")
    assert pipeline.prompt.names == ("plate", "tomato")
    assert pipeline.prompt.target == "plate"
    pipeline.set_objects([])
    assert pipeline.prompt.names == ("plate", "left hand", "right hand")
    pipeline.narrate("")
    assert pipeline.prompt is None


def test_go_and_the_end_of_the_action(pipeline: Pipeline) -> None:
    camera = Camera(pipeline)
    assert camera.show() is None
    assert camera.reasons == (Reason.NO_NARRATION,)
    pipeline.narrate("cut tomato")
    assert camera.show() is not None
    assert camera.reasons == ()
    # Saying it again changes nothing; saying something else starts anew.
    pipeline.narrate("Cut  tomato")
    assert camera.reasons == ()
    pipeline.narrate("take tomato")
    assert camera.reasons == (Reason.HOLDING,)
    camera.show()
    assert camera.reasons == ()
    pipeline.narrate("")
    assert Reason.NO_NARRATION in camera.reasons


@pytest.mark.parametrize(
    "change", ["narrate", "set_objects", "reset", "set_active", "there_and_back"]
)
def test_evidence_for_an_old_prompt_never_reaches_the_gate(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    camera = Camera(pipeline)
    pipeline.narrate("cut tomato")
    segment = pipeline.segmenter.segment

    def interrupted(rgb: np.ndarray, prompt: EncodedPrompt) -> Segmentation:
        result = segment(rgb, prompt)
        if change == "narrate":
            pipeline.narrate("take plate")
        elif change == "set_objects":
            pipeline.set_objects(["tomato", "plate"])
        elif change == "reset":
            pipeline.reset()
        elif change == "set_active":
            pipeline.set_active(False)
        else:
            pipeline.narrate("take plate")
            pipeline.narrate("cut tomato")
        return result

    monkeypatch.setattr(pipeline.segmenter, "segment", interrupted)
    assert camera.show() is None
    assert camera.reasons


def test_refused_names_end_go(pipeline: Pipeline) -> None:
    camera = Camera(pipeline)
    pipeline.narrate("cut tomato")
    camera.show()
    assert camera.reasons == ()
    many = [f"thing {i}" for i in range(9)]
    with pytest.raises(PromptError):
        pipeline.set_objects(many)
    assert camera.reasons == (Reason.HOLDING,)
    camera.show()
    with pytest.raises(PromptError):
        pipeline.act("cut tomato", many, "", 1.0)
    assert Reason.NO_NARRATION in camera.reasons


def test_a_failing_network_is_a_reason_and_the_next_success_clears_it(tmp_path: Path) -> None:
    pipeline = make(tmp_path, poison=True)
    camera = Camera(pipeline)
    pipeline.narrate("cut tomato")
    poisoned = tomato()
    poisoned[:8, :8] = 255
    with pytest.raises(InferenceError):
        camera.show(poisoned)
    assert Reason.INFERENCE_ERROR in camera.reasons
    camera.show()
    assert camera.reasons == ()


def test_what_has_no_target_says_why(pipeline: Pipeline) -> None:
    for text in ("cortar la cebolla", "frobnicate the gizmo"):
        (note,) = pipeline.narrate(text)
        assert "is none of the known objects" in note
        assert "nouns_csv" in note
        assert pipeline.missing_target == note
    assert pipeline.narrate("cut tomato") == ()
    assert pipeline.missing_target == ""
    assert pipeline.narrate("") == ()
    (note,) = pipeline.narrate("do not cut the tomato")
    assert note == "no target in 'do not cut tomato': 'not' says that it is not to be done"
    for target, why in (
        ("chainsaw", "'chainsaw' is none of the candidates tomato, left hand"),
        ("left hand", "'left hand' is a hand"),
    ):
        (note,) = pipeline.act("cut tomato", ["tomato", "left hand"], target, 0.0)
        assert why in note


def test_the_same_narration_spelt_otherwise_keeps_the_evidence(pipeline: Pipeline) -> None:
    camera = Camera(pipeline)
    pipeline.narrate("cut tomato")
    camera.show()
    for text in (
        "Cut tomato.",
        "cut the tomato",
        "CUT\N{NO-BREAK SPACE}TOMATO!",
        "\u201ccut tomato\u2026",
    ):
        pipeline.narrate(text)
        assert camera.reasons == (), text


@pytest.mark.parametrize(
    "text", ["cut tomato?", "don\u2019t cut the tomato", "stop cutting tomato"]
)
def test_a_narration_that_turns_ends_go(pipeline: Pipeline, text: str) -> None:
    camera = Camera(pipeline)
    pipeline.narrate("cut tomato")
    camera.show()
    assert camera.reasons == ()
    pipeline.narrate(text)
    camera.show()
    assert Reason.NO_TARGET in camera.reasons
    # An action that names its target cannot overrule what its narration says.
    pipeline.act(text, ["tomato"], "tomato", 5.0)
    camera.show()
    assert Reason.NO_TARGET in camera.reasons


def test_a_negative_duration_ends_the_action(pipeline: Pipeline) -> None:
    camera = Camera(pipeline)
    pipeline.narrate("cut tomato")
    camera.show()
    assert camera.reasons == ()
    with pytest.raises(PromptError, match="`duration` is -5 s"):
        pipeline.act("cut tomato", ["tomato"], "", -5.0)
    assert Reason.NO_NARRATION in camera.reasons


@pytest.mark.parametrize(("duration", "age"), [(0.0, 7200.0), (5.0, 5.0), (2.0**31, 3600.0)])
def test_an_action_that_is_over_is_stale_and_says_so(
    pipeline: Pipeline, duration: float, age: float
) -> None:
    camera = Camera(pipeline)
    pipeline.act("cut tomato", [], "", 60.0)
    camera.show()
    assert camera.reasons == ()
    notes = pipeline.act("cut tomato", [], "", duration, age)
    assert Reason.STALE_NARRATION in camera.reasons
    assert f"action began {age:.3g} s ago" in notes[-1]
    assert any("was cut to 3600 s" in note for note in notes) == (duration > 3600)


def test_an_action_without_duration_holds_as_long_as_a_narration_from_its_beginning(
    tmp_path: Path,
) -> None:
    pipeline = make(tmp_path, narration_timeout=10.0)
    camera = Camera(pipeline)
    now = pipeline.gate._clock()
    pipeline.gate._clock = lambda: now
    assert pipeline.act("cut tomato", [], "", 0.0, 4.0) == ()
    camera.show()
    now += 5.9
    assert camera.reasons == ()
    now += 0.2
    assert Reason.STALE_NARRATION in camera.reasons
    # A stamp from the future makes no action last longer.
    pipeline.act("cut tomato", [], "", 3.0, -100.0)
    now += 3.1
    assert Reason.STALE_NARRATION in camera.reasons


def test_a_bad_image_is_forgotten_without_a_narration_too(pipeline: Pipeline) -> None:
    camera = Camera(pipeline)
    camera.show()
    pipeline.gate.image_rejected()
    assert Reason.BAD_IMAGE in camera.reasons
    camera.show()
    assert Reason.BAD_IMAGE not in camera.reasons


@pytest.mark.parametrize(
    "limits",
    [{"active_score": -1.0}, {"p_uncertainty": 1e9}, {"distance": -1.0}, {"distance": np.inf}],
)
def test_limits_that_cannot_be_are_no_calibration(tmp_path: Path, limits: dict) -> None:
    bundle = load_bundle(write_dummy_bundle(tmp_path, limits=LIMITS | limits))
    with pytest.raises(BundleError, match=f"limit {next(iter(limits))} is"):
        load_calibration(bundle)
