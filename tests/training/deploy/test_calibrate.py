"""Calibration: the bound is exact, the limits keep the risk, and the bundle stays whole."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.bundle import file_sha256, load_bundle
from actiseg_ros.errors import ActisegError, BundleError
from actiseg_ros.gate.calibration import Certificate, load_calibration, vocabulary_id
from actiseg_ros.gate.features import target_features
from actiseg_ros.gate.rule import Features, Reason
from actiseg_ros.narration.vocabulary import Vocabulary
from actiseg_ros.prompts import CANDIDATES, Prompt
from actiseg_ros.vision.segmenter import Segmenter
from tests.actiseg_ros.dummy_bundle import paint, recertify, write_dummy_bundle
from tests.training.deploy.labelled_clips import write_labelled_clips
from training.cli import main
from training.data.palette import write_label_png
from training.data.splits import load_clips
from training.deploy.calibrate import calibrate
from training.deploy.held_out import doubts
from training.deploy.risk_control import Criteria, Trial, binomial_upper_bound, choose_limits
from training.deploy.trials import failures, is_alone, prompt_of, run_frames


def trial(clip: int, p: float, failure: bool, n: float = 0.0) -> Trial:
    return Trial(f"clip{clip}", Features("cup", True, 0.9, p, n, 1.0), failure, False)


@pytest.mark.parametrize(
    ("count", "risk", "confidence"), [(45, 0.05, 0.9), (59, 0.05, 0.95), (230, 0.01, 0.9)]
)
def test_zero_failures_need_the_known_numbers_of_units(
    count: int, risk: float, confidence: float
) -> None:
    assert binomial_upper_bound(0, count, confidence) <= risk
    assert binomial_upper_bound(0, count - 1, confidence) > risk


@pytest.mark.parametrize(
    ("failures", "trials", "bound"),
    [(0, 10, 0.205672), (1, 20, 0.180961), (5, 100, 0.090771), (40, 50, 0.871830)],
)
def test_bounds_of_the_bisection_that_was_here_before(
    failures: int, trials: int, bound: float
) -> None:
    assert binomial_upper_bound(failures, trials, 0.9) == pytest.approx(bound, abs=1e-6)


def test_bound_without_evidence_is_one() -> None:
    assert binomial_upper_bound(0, 0, 0.9) == 1
    assert binomial_upper_bound(5, 5, 0.9) == 1


@given(st.integers(0, 30), st.integers(1, 200), st.floats(0.5, 0.99))
def test_bound_solves_the_binomial_tail(k: int, extra: int, confidence: float) -> None:
    n = k + extra
    bound = binomial_upper_bound(k, n, confidence)
    tail = sum(math.comb(n, i) * bound**i * (1 - bound) ** (n - i) for i in range(k + 1))
    assert tail == pytest.approx(1 - confidence, abs=1e-6)
    assert binomial_upper_bound(k, n + 1, confidence) <= bound + 1e-12
    assert binomial_upper_bound(min(k + 1, n), n, confidence) >= bound


def test_limits_stop_before_the_failures_begin() -> None:
    trials = [trial(i, i / 200, failure=i > 120) for i in range(200)]
    outcome = choose_limits(trials, 0.75, 2.0, Criteria())
    assert outcome.certified and outcome.bound <= 0.05
    assert 0.4 <= outcome.limits.p_uncertainty <= 0.65


def test_doubt_about_the_activity_tightens_the_limits_too() -> None:
    """Failures that the uncertainties do not tell but the active score does."""
    sure = [trial(i, 0.0, failure=False) for i in range(150)]
    unsure = [trial(i, 0.0, failure=i % 2 == 0) for i in range(150, 300)]
    trials = [replace(t, features=replace(t.features, active_score=0.98)) for t in sure]
    trials += [replace(t, features=replace(t.features, active_score=0.8)) for t in unsure]
    outcome = choose_limits(trials, 0.75, 2.0, Criteria())
    assert outcome.certified and 0.8 < outcome.limits.active_score <= 0.98
    assert outcome.accepted == 150


def test_no_limit_lets_more_spill_pass_than_is_reasonable() -> None:
    trials = [trial(i, 0.0, failure=False, n=i / 800) for i in range(800)]
    outcome = choose_limits(trials, 0.75, 2.0, Criteria())
    assert outcome.certified and outcome.limits.n_uncertainty == Criteria().max_spill


def test_two_early_failures_do_not_end_the_search() -> None:
    trials = [trial(i, i / 800, failure=i in (3, 30)) for i in range(800)]
    outcome = choose_limits(trials, 0.75, 2.0, Criteria())
    assert outcome.certified and outcome.failures == 2 and outcome.accepted > 700


@pytest.mark.parametrize("together", range(1, 8))
def test_where_the_search_starts_does_not_hang_on_how_many_clips_a_step_adds(together: int) -> None:
    """One failure among the surest clips of a small lab, and steps of one to seven clips."""
    trials = [trial(i, i // together / 50, failure=i == 8) for i in range(50)]
    outcome = choose_limits(trials, 0.75, 2.0, Criteria(risk=0.3))
    assert outcome.certified and outcome.accepted >= 45


def test_too_few_clips_or_too_many_failures_are_not_certified() -> None:
    few = [trial(i, i / 30, failure=False) for i in range(30)]
    assert not choose_limits(few, 0.75, 2.0, Criteria()).certified
    bad = [trial(i, i / 300, failure=i % 3 == 0) for i in range(300)]
    assert not choose_limits(bad, 0.75, 2.0, Criteria()).certified


def test_many_frames_of_few_clips_do_not_help() -> None:
    frames = [trial(i % 20, i / 2000, failure=False) for i in range(2000)]
    assert not choose_limits(frames, 0.75, 2.0, Criteria()).certified


def test_one_bad_frame_makes_the_clip_fail() -> None:
    trials = [trial(i, 0.1, failure=False) for i in range(100)]
    trials += [trial(i, 0.1, failure=True) for i in range(50)]
    outcome = choose_limits(trials, 0.75, 2.0, Criteria())
    assert outcome.failures == 50 and not outcome.certified


def test_nothing_drawn_gives_limits_that_accept_nothing_more() -> None:
    blind = [Trial(f"clip{i}", Features(distance=1.0), True, True) for i in range(60)]
    outcome = choose_limits(blind, 0.75, 2.0, Criteria())
    assert not outcome.certified and outcome.accepted == 0


def test_the_risk_is_kept_with_the_stated_confidence() -> None:
    """Failures grow with the uncertainty; the true risk at the limit is known."""
    random = np.random.default_rng(0)
    violations = runs = 0
    for _ in range(60):
        p = random.random(250)
        failed = random.random(250) < 0.25 * p**2  # true risk below a limit t: t^2 / 12
        trials = [trial(i, float(p[i]), bool(failed[i])) for i in range(250)]
        outcome = choose_limits(trials, 0.75, 2.0, Criteria())
        if outcome.certified:
            runs += 1
            violations += outcome.limits.p_uncertainty**2 / 12 > 0.05
    # At most 10 % of the runs may violate; 13 of 60 would have a probability below 0.01.
    assert runs > 20 and violations < 13


def test_what_counts_as_failure() -> None:
    truth = np.zeros((10, 10), np.uint8)
    truth[:5, :5], truth[:5, 5:] = 1, 2
    drawn = truth == 1
    criteria = Criteria()
    assert failures(drawn, truth, [1], criteria) == (False, False)
    assert failures(truth > 0, truth, [1], criteria) == (False, True)
    assert failures(truth > 0, truth, [1, 2], criteria) == (False, False)
    assert failures(truth == 2, truth, [1], criteria) == (True, True)
    assert failures(np.zeros_like(drawn), truth, [1], criteria) == (True, True)


def test_when_a_target_is_alone() -> None:
    truth = np.zeros((40, 80), np.uint8)
    truth[10:20, 10:20] = 1
    assert is_alone(truth, [1]) and not is_alone(truth, [2])
    truth[10:20, 22:30] = 2
    assert is_alone(truth, [1])
    truth[10:20, 20:22] = 3  # a tool that touches it
    assert not is_alone(truth, [1]) and is_alone(truth, [1, 2, 3])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled_clips(tmp_path_factory.mktemp("data"))


def test_calibrated_bundle_is_whole_and_tells_where_its_limits_come_from(
    tmp_path: Path, data: Path
) -> None:
    folder = write_dummy_bundle(tmp_path / "bundle")
    split = data / "ImageSets" / "val.json"
    outcomes = calibrate(folder, data, split, Criteria(risk=0.1), threads=1)
    bundle = load_bundle(folder)
    calibration = load_calibration(bundle)
    assert calibration is not None and set(outcomes) == {"named", "narration", "target"}
    for policy, outcome in outcomes.items():
        assert calibration.limits(policy) == outcome.limits
        assert calibration.certificate(policy) == Certificate(0.1, 0.9)
        assert outcome.certified and outcome.clips == 60 and outcome.accepted <= 48
    record = bundle.gate
    assert record is not None
    assert record["unit"] == "clip" and record["criteria"]["risk"] == 0.1
    assert record["data"]["split"] == "val.json"
    assert calibrate(folder, data, split, Criteria(risk=0.1), threads=1) == outcomes
    assert len(list(folder.glob("calibration-*.npz"))) == 1
    assert {path.name for path in folder.iterdir()} == {*load_bundle(folder).files, "bundle.json"}


def few(data: Path, split: Path, clips: int = 12) -> Path:
    """Writes a split with the first clips of `data`."""
    records = json.loads((data / "ImageSets" / "val.json").read_text())
    split.write_text(json.dumps(records[:clips]))
    return split


def test_a_calibration_belongs_to_the_names_that_it_was_made_with(tmp_path: Path) -> None:
    limits = {
        "active_score": 0.5, "p_uncertainty": 0.3, "n_uncertainty": 0.3, "distance": 1e6,
    }  # fmt: skip
    folder = write_dummy_bundle(tmp_path / "bundle", limits=limits)
    record = json.loads((folder / "bundle.json").read_text())
    record["gate"]["vocabulary"] = vocabulary_id(load_bundle(folder))
    recertify(record)
    (folder / "bundle.json").write_text(json.dumps(record))
    calibration = load_calibration(load_bundle(folder))
    assert calibration is not None and calibration.certifies(0.1, 0.9)
    record["vocabulary"][0]["names"].append("dish")  # of the plate until now
    (folder / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match="another vocabulary; run `actiseg calibrate`"):
        load_calibration(load_bundle(folder))


def test_clips_that_the_network_was_trained_on_certify_nothing(tmp_path: Path, data: Path) -> None:
    folder = write_dummy_bundle(tmp_path / "bundle")
    lists = tmp_path / "data" / "ImageSets"
    shutil.copytree(data, tmp_path / "data")
    records = json.loads((lists / "val.json").read_text())
    for record in records[30:]:
        record["video"] = "P02_01"
    (lists / "val.json").write_text(json.dumps(records))
    (lists / "train.json").write_text(json.dumps(records[:30]))
    (lists / "rest.json").write_text(json.dumps(records[30:]))
    bundle = json.loads((folder / "bundle.json").read_text())
    bundle["provenance"] = {"seen": [file_sha256(lists / "train.json")]}
    (folder / "bundle.json").write_text(json.dumps(bundle))
    before = (folder / "bundle.json").read_bytes()
    for split, told in (("train", "trained on this split"), ("val", r"1 recordings \(P01_01\)")):
        with pytest.raises(ActisegError, match=rf"{split}\.json: .*{told}.*--val-videos"):
            calibrate(folder, tmp_path / "data", lists / f"{split}.json", threads=1)
    assert (folder / "bundle.json").read_bytes() == before
    assert doubts(load_bundle(folder), tmp_path / "data", lists / "rest.json") == []
    # Of a network that says nothing about its training only the names can be compared.
    bundle["provenance"] = {"chosen_on": file_sha256(lists / "val.json")}
    (folder / "bundle.json").write_text(json.dumps(bundle))
    shared, chosen = doubts(load_bundle(folder), tmp_path / "data", lists / "val.json")
    assert "P01_01" in shared and "last.safetensors" in chosen


def test_lists_that_say_no_more_than_their_narration_count_as_narrations(
    tmp_path: Path, data: Path
) -> None:
    folder = write_dummy_bundle(tmp_path / "bundle")
    split = few(data, tmp_path / "val.json")
    (told, *_) = load_clips(split)
    records = json.loads(split.read_text())
    for record in records:
        del record["object_classes"]["3"]
    split.write_text(json.dumps(records))
    (silent, *_) = load_clips(split)
    vocabulary = Vocabulary({e.class_id: e.names for e in load_bundle(folder).vocabulary})
    for clip, asked in ((told, {*CANDIDATES}), (silent, {"narration", "target"})):
        assert {p for p in CANDIDATES if prompt_of(clip, p, vocabulary)} == asked
    assert set(calibrate(folder, data, split, Criteria(risk=0.3), threads=1)) == {
        "narration", "target",
    }  # fmt: skip
    record = json.loads((folder / "bundle.json").read_text())
    assert record["gate"]["vocabulary"] == vocabulary_id(load_bundle(folder))
    calibration = load_calibration(load_bundle(folder))
    assert calibration is not None and calibration.limits("named") is None


def test_labels_of_another_picture_are_refused(tmp_path: Path, data: Path) -> None:
    segmenter = Segmenter(load_bundle(write_dummy_bundle(tmp_path / "bundle")), threads=1)
    shutil.copytree(data, tmp_path / "data")
    file = sorted((tmp_path / "data").rglob("*_tomato/*.png"))[0]
    clips = load_clips(few(data, tmp_path / "few.json", 1))
    write_label_png(file, np.zeros((64, 96), np.uint8))  # half as large is the same picture
    assert list(run_frames(segmenter, clips, tmp_path / "data", Criteria()))
    write_label_png(file, np.zeros((100, 100), np.uint8))
    with pytest.raises(ActisegError, match=r"\.png: labels of 100x100 .* image of 192x128"):
        list(run_frames(segmenter, clips, tmp_path / "data", Criteria()))


def test_familiar_scenes_pass_and_unfamiliar_ones_do_not(tmp_path: Path, data: Path) -> None:
    folder = write_dummy_bundle(tmp_path / "bundle")
    calibrate(folder, data, data / "ImageSets" / "val.json", Criteria(risk=0.1), threads=1)
    bundle = load_bundle(folder)
    calibration = load_calibration(bundle)
    assert calibration is not None
    segmenter = Segmenter(bundle, threads=1)
    prompt = segmenter.encode(Prompt("cut tomato", ("left hand", "tomato"), "tomato"))
    scene = paint({"left": (90, 60, 30, 30), "tomato": (30, 16, 48, 40)}, 128, 192)
    dark = scene // 4
    reasons = []
    for image in (scene, dark):
        result = segmenter.segment(image, prompt)
        distance = calibration.novelty.distance(result.descriptor)
        reasons.append(calibration.judge(target_features(result, bundle, distance)))
    assert reasons[0] == () and Reason.OUT_OF_DISTRIBUTION in reasons[1]


def test_a_familiar_split_that_is_not_there_is_told_before_the_work(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write_dummy_bundle(tmp_path / "bundle")
    monkeypatch.setattr("training.deploy.calibrate._trials", None)  # what takes minutes
    with pytest.raises(ActisegError, match=r"absent\.json: not found"):
        calibrate(folder, data, data / "ImageSets" / "val.json", familiar=tmp_path / "absent.json")
    options = ["--bundle", folder, "--data", data, "--split", tmp_path / "absent.json"]
    assert main(["calibrate", *map(str, options)]) == 2
    assert "absent.json: not found" in capsys.readouterr().err


def test_further_familiar_images_make_their_like_familiar(tmp_path: Path, data: Path) -> None:
    split = data / "ImageSets" / "val.json"
    records = json.loads(split.read_text())
    part, rest = tmp_path / "part.json", tmp_path / "rest.json"
    part.write_text(json.dumps(records[:30]))
    rest.write_text(json.dumps(records[30:]))
    folder = write_dummy_bundle(tmp_path / "bundle")
    outcome = calibrate(folder, data, part, Criteria(risk=0.1), familiar=rest, threads=1)["named"]
    assert outcome.clips == 30  # labels and failures come from the held-out split alone
    assert outcome.limits.distance >= 1


def test_a_split_without_targets_is_refused_and_the_bundle_stays(
    tmp_path: Path, data: Path
) -> None:
    folder = write_dummy_bundle(tmp_path / "bundle")
    before = (folder / "bundle.json").read_bytes()
    records = json.loads((data / "ImageSets" / "val.json").read_text())
    split = tmp_path / "val.json"
    split.write_text(json.dumps([{**record, "narration": "wait"} for record in records]))
    with pytest.raises(ActisegError, match="narration"):
        calibrate(folder, data, split, threads=1)
    with pytest.raises(ActisegError, match="no image"):
        calibrate(folder, tmp_path, data / "ImageSets" / "val.json", threads=1)
    assert (folder / "bundle.json").read_bytes() == before


@pytest.mark.parametrize("risk", [0.0, 1.0, math.nan])
def test_impossible_risks_are_refused(risk: float) -> None:
    with pytest.raises(ActisegError, match="--risk"):
        Criteria(risk=risk)
