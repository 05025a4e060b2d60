"""Prompt, network and gate together, without ROS."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actiseg_ros.bundle import load_bundle
from actiseg_ros.errors import BundleError, InferenceError, PromptError
from actiseg_ros.gate.calibration import load_calibration
from actiseg_ros.gate.events import Frame, ImageArrived, ImageRejected, Source, Time
from actiseg_ros.gate.gate import Gate
from actiseg_ros.gate.novelty import NoveltyDetector, overview
from actiseg_ros.gate.rule import Reason
from actiseg_ros.gate.state import GateOptions
from actiseg_ros.pipeline import Pipeline, Result, load_model
from actiseg_ros.prompts import Prompt
from tests.actiseg_ros.dummy_bundle import paint, recertify, write_dummy_bundle

LIMITS = {"active_score": 0.5, "p_uncertainty": 0.5, "n_uncertainty": 0.5, "distance": 1e6}


class Camera:
    """A pipeline with its gate; gives it one image after the other and says what the gate says."""

    def __init__(self, folder: Path, poison: bool = False, **options: float) -> None:
        self.seconds = 1000.0
        settings = GateOptions(**{"hold_frames": 1, "image_timeout": 60.0, **options})
        self.gate = Gate(self.now, settings)
        write_dummy_bundle(folder, limits=LIMITS, poison=poison)
        model = load_model(str(folder), threads=1, nouns_csv=None)
        self.pipeline = Pipeline(model, self.gate, max_objects=8)
        self.pipeline.activate()
        self.count = 0

    def now(self) -> Time:
        return Time(round(self.seconds * 1e9), self.seconds)

    def arrive(self) -> Frame:
        self.count += 1
        self.seconds += 0.1
        now = self.now()
        frame = Frame(now.ros_ns, now.ros_ns, self.count, Source("camera"), now)
        arrived = self.gate.handle(ImageArrived(frame)).frame
        assert arrived is not None
        return arrived

    def show(self, rgb: np.ndarray | None = None) -> Result:
        result = self.pipeline.segment(tomato() if rgb is None else rgb, self.arrive())
        if self.pipeline.is_current(result):
            self.pipeline.submit(result)
        return result

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return self.gate.decide().reasons


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    return Camera(tmp_path)


@pytest.fixture
def pipeline(camera: Camera) -> Pipeline:
    return camera.pipeline


def tomato() -> np.ndarray:
    return paint({"tomato": (16, 16, 40, 32)}, 64, 96)


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


def test_go_and_the_end_of_the_action(camera: Camera, pipeline: Pipeline) -> None:
    empty = camera.show()
    assert empty.prompt is None and empty.segmentation is None and empty.features is None
    assert camera.reasons == (Reason.NO_NARRATION,)
    pipeline.narrate("cut tomato")
    result = camera.show()
    names = ("tomato", "left hand", "right hand")
    assert result.prompt == Prompt("cut tomato", names, "tomato", "narration")
    assert result.segmentation is not None and result.segmentation.prompt == result.prompt
    assert camera.reasons == () and camera.gate.decide().target_label == 1
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
    "change", ["narrate", "set_objects", "reset", "deactivate", "there_and_back"]
)
def test_evidence_for_an_old_prompt_never_reaches_the_gate(
    camera: Camera, pipeline: Pipeline, change: str
) -> None:
    pipeline.narrate("cut tomato")
    result = pipeline.segment(tomato(), camera.arrive())
    assert pipeline.is_current(result)
    if change == "narrate":
        pipeline.narrate("take plate")
    elif change == "set_objects":
        pipeline.set_objects(["tomato", "plate"])
    elif change == "there_and_back":
        pipeline.narrate("take plate")
        pipeline.narrate("cut tomato")
    else:
        getattr(pipeline, change)()
    assert not pipeline.is_current(result)
    pipeline.submit(result)  # even if its caller does not ask
    assert camera.gate.decide().frame is None and camera.reasons


def test_an_image_from_before_a_reset_counts_for_nothing(
    camera: Camera, pipeline: Pipeline
) -> None:
    pipeline.narrate("cut tomato")
    waiting = camera.arrive()
    pipeline.reset()
    pipeline.narrate("cut tomato")
    result = pipeline.segment(tomato(), waiting)
    assert not pipeline.is_current(result)
    pipeline.submit(result)
    assert camera.gate.decide().frame is None
    camera.show()
    assert camera.reasons == ()


def test_refused_names_end_go(camera: Camera, pipeline: Pipeline) -> None:
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
    camera = Camera(tmp_path, poison=True)
    camera.pipeline.narrate("cut tomato")
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


def test_the_same_narration_spelt_otherwise_keeps_the_evidence(
    camera: Camera, pipeline: Pipeline
) -> None:
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
def test_a_narration_that_turns_ends_go(camera: Camera, pipeline: Pipeline, text: str) -> None:
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


def test_a_negative_duration_ends_the_action(camera: Camera, pipeline: Pipeline) -> None:
    pipeline.narrate("cut tomato")
    camera.show()
    assert camera.reasons == ()
    with pytest.raises(PromptError, match="`duration` is -5 s"):
        pipeline.act("cut tomato", ["tomato"], "", -5.0, 3.0)
    assert Reason.NO_NARRATION in camera.reasons
    # Nobody said that it has ended: the same action, corrected, holds.
    assert pipeline.act("cut tomato", ["tomato"], "", 5.0, 3.0) == ()
    camera.show()
    assert camera.reasons == ()


def test_what_began_before_the_end_is_ignored_and_says_so(tmp_path: Path) -> None:
    camera = Camera(tmp_path, image_timeout=1.0)
    pipeline = camera.pipeline
    pipeline.act("cut tomato", ["tomato"], "", 60.0)
    pipeline.narrate("")
    camera.seconds += 1.0
    for age in (5.0, 2.5):
        for note in (
            *pipeline.act("cut tomato", ["tomato"], "", 60.0, age),
            *pipeline.narrate("cut tomato", age, kept=age),
        ):
            assert f"'cut tomato' began {age:.3g} s ago, and what was said since holds" in note
        assert pipeline.prompt is None
        camera.show()
        assert camera.reasons == (Reason.NO_NARRATION,)
    assert pipeline.act("cut tomato", ["tomato"], "", 60.0, 0.5) == ()
    camera.show()
    assert camera.reasons == ()


@pytest.mark.parametrize(("duration", "age"), [(0.0, 7200.0), (5.0, 5.0), (2.0**31, 3600.0)])
def test_an_action_that_is_over_is_stale_and_says_so(
    camera: Camera, pipeline: Pipeline, duration: float, age: float
) -> None:
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
    camera = Camera(tmp_path, narration_timeout=10.0)
    pipeline = camera.pipeline
    assert pipeline.act("cut tomato", [], "", 0.0, 4.0) == ()
    camera.show()
    camera.seconds += 5.8
    assert camera.reasons == ()
    camera.seconds += 0.2
    assert Reason.STALE_NARRATION in camera.reasons


@pytest.mark.parametrize("ahead", [100.0, math.inf])
def test_what_begins_in_the_future_has_not_begun_and_says_so(
    camera: Camera, pipeline: Pipeline, ahead: float
) -> None:
    for say in (
        lambda: pipeline.act("cut tomato", [], "", 3600.0, -ahead),
        lambda: pipeline.narrate("cut tomato", -ahead),
    ):
        pipeline.narrate("cut tomato")
        camera.show()
        assert camera.reasons == ()
        (note,) = say()
        assert "after what this node's clock shows" in note
        camera.show()
        camera.seconds += min(ahead, 200.0)
        camera.show()
        assert camera.reasons == (Reason.STALE_NARRATION,)


@pytest.mark.parametrize("end", ["silence", "reset", "other words", "empty", "over"])
def test_names_and_target_of_an_action_end_with_it(tmp_path: Path, end: str) -> None:
    camera = Camera(tmp_path, narration_timeout=10.0, image_timeout=1.0)
    pipeline = camera.pipeline
    names, duration = ["tomato", "plate"], 0.0 if end == "over" else 5.0
    pipeline.act("cut tomato", names, "plate", duration)
    assert pipeline.prompt is not None and pipeline.prompt.target == "plate"
    pipeline.narrate("cut tomato")
    assert pipeline.prompt is not None and pipeline.prompt.target == "plate", "still the same"
    if end in ("silence", "over"):
        camera.seconds += 3600.0
    elif end == "reset":
        pipeline.reset()
    else:
        pipeline.narrate("" if end == "empty" else "take plate")
    pipeline.narrate("cut tomato")
    assert pipeline.prompt == Prompt(
        "cut tomato", ("tomato", "left hand", "right hand"), "tomato", "narration"
    )
    camera.show()
    assert camera.reasons == ()


def test_only_a_list_that_tells_more_than_the_narration_is_named(pipeline: Pipeline) -> None:
    for names, candidates in (
        (["tomato", "plate", "left hand"], "named"),
        (["tomato", "left hand", "right hand"], "narration"),
        (["tomato"], "target"),
    ):
        pipeline.act("cut tomato", names, "", 5.0)
        assert pipeline.prompt is not None and pipeline.prompt.candidates == candidates
        pipeline.set_objects(names)
        pipeline.narrate("slice tomato")
        assert pipeline.prompt is not None and pipeline.prompt.candidates == candidates


def test_a_list_that_says_no_more_is_asked_as_its_narration_is(pipeline: Pipeline) -> None:
    """Its limits were set with all that a narration names, and both hands."""
    pipeline.act("put tomato on plate", ["plate", "tomatoes", "left hand"], "", 5.0)
    names = ("plate", "tomatoes", "left hand", "right hand")
    assert pipeline.prompt == Prompt("put tomato on plate", names, "tomatoes", "narration")
    pipeline.act("put tomato on plate", ["dish", "left hand", "right hand"], "", 5.0)
    names = ("dish", "left hand", "right hand", "tomato")
    assert pipeline.prompt == Prompt("put tomato on plate", names, "tomato", "narration")


def test_what_does_not_fit_into_a_prompt_is_not_left_out_silently(
    camera: Camera, pipeline: Pipeline
) -> None:
    pipeline.set_objects(["tomato", "plate", "left hand", "right hand"])
    assert pipeline.narrate("cut tomato") == ()
    camera.show()
    assert camera.reasons == ()
    pipeline.configure(2, steady=True)
    assert "4 candidates are more than 2; raise `max_objects`" in pipeline.missing_target
    camera.show()
    assert Reason.NO_TARGET in camera.reasons
    pipeline.configure(4, steady=True)
    camera.show()
    assert camera.reasons == ()
    pipeline.configure(2, steady=True)
    pipeline.set_objects([])
    (note,) = pipeline.narrate("cut tomato")
    assert "3 candidates are more than 2" in note


def test_words_that_the_network_does_not_read_choose_no_target(
    camera: Camera, pipeline: Pipeline
) -> None:
    """Of the text of a candidate the network reads 32 tokens."""
    narration = "very slowly and gently with your right hand please now take the {}" + ", okay" * 15
    pipeline.set_objects(["tomato", "plate"])
    for name in ("tomato", "plate"):
        pipeline.narrate(narration.format(name))
        assert pipeline.prompt is not None and not pipeline.prompt.target
        assert "longer than the network reads" in pipeline.missing_target
        camera.show()
        assert Reason.NO_TARGET in camera.reasons
    pipeline.narrate("now take the tomato")
    assert pipeline.prompt.target == "tomato" and not pipeline.missing_target


def test_a_bad_image_is_forgotten_without_a_narration_too(
    camera: Camera, pipeline: Pipeline
) -> None:
    camera.show()
    camera.gate.handle(ImageRejected())
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


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("limits", "p_uncertainty", 0.9),
        ("limits", "distance", 1e5),
        ("criteria", "risk", 0.01),
        ("criteria", "confidence", 0.99),
        ("criteria", "max_collision", 0.9),
    ],
)
def test_an_edited_limit_or_criterion_is_no_certificate(
    tmp_path: Path, section: str, name: str, value: float
) -> None:
    write_dummy_bundle(tmp_path, limits=LIMITS)
    calibration = load_calibration(load_bundle(tmp_path))
    assert calibration is not None and calibration.certifies(0.1, 0.9)
    record = json.loads((tmp_path / "bundle.json").read_text())
    gate = record["gate"]
    (gate["policies"]["named"] if section == "limits" else gate)[section][name] = value
    (tmp_path / "bundle.json").write_text(json.dumps(record))
    edited = load_calibration(load_bundle(tmp_path))
    assert edited is not None and edited.certificate() is None
    assert "was edited" in edited.complaint and "actiseg calibrate" in edited.complaint
    assert edited.id != calibration.id
    recertify(record)
    (tmp_path / "bundle.json").write_text(json.dumps(record))
    assert load_model(str(tmp_path), threads=1, nouns_csv=None).complaint == ""


def test_an_uncertified_bundle_says_so(tmp_path: Path) -> None:
    write_dummy_bundle(tmp_path, limits=LIMITS, certified=False)
    assert "no certificate" in load_model(str(tmp_path), threads=1, nouns_csv=None).complaint


def carried(result: Result) -> bool:
    """Whether images before had a say in an image's masks."""
    assert result.segmentation is not None
    return result.segmentation.own is not None


def test_images_of_a_stream_have_a_say_in_each_other_s_masks(camera: Camera) -> None:
    camera.pipeline.narrate("cut tomato")
    assert [carried(camera.show()) for _ in range(3)] == [False, True, True]
    camera.pipeline.configure(8, steady=False)
    assert not carried(camera.show())
    camera.pipeline.configure(8, steady=True)
    assert [carried(camera.show()) for _ in range(2)] == [False, True]


@pytest.mark.parametrize("between", ["prompt", "undecodable", "gap", "reset", "cut", "failure"])
def test_nothing_is_carried_over_what_lies_between(tmp_path: Path, between: str) -> None:
    camera = Camera(tmp_path, poison=between == "failure")
    camera.pipeline.narrate("cut tomato")
    camera.show()
    assert carried(camera.show())
    picture = None
    if between == "prompt":
        camera.pipeline.narrate("take tomato")
    elif between == "undecodable":
        camera.gate.handle(ImageRejected())
    elif between == "gap":
        camera.seconds += 1.0
    elif between == "reset":
        camera.pipeline.reset()
        camera.pipeline.narrate("cut tomato")
    elif between == "cut":
        picture = tomato() // 3
    else:
        with pytest.raises(InferenceError):
            camera.show(np.full((64, 96, 3), 255, np.uint8))
    assert not carried(camera.show(picture))
    assert carried(camera.show(picture))


def test_a_foreign_image_stands_alone(camera: Camera) -> None:
    known = camera.pipeline.model.segmenter.describe(tomato())
    mean = overview(known.patches, known.statistics)
    nothing_else = NoveltyDetector(
        mean, np.eye(len(mean)), usual=np.log([1e-3]), unit=np.ones(1) / LIMITS["distance"]
    )
    model = camera.pipeline.model
    assert model.calibration is not None
    calibration = replace(model.calibration, novelty=nothing_else)
    camera.pipeline.model = replace(model, calibration=calibration)
    camera.gate.set_calibration(calibration)
    camera.pipeline.narrate("cut tomato")
    assert [carried(camera.show()) for _ in range(2)] == [False, True]
    a_little_darker = tomato() - 5
    assert not carried(camera.show(a_little_darker))
    assert Reason.OUT_OF_DISTRIBUTION in camera.reasons
    assert [carried(camera.show()) for _ in range(2)] == [False, True]
