"""The whole report from a benchmark folder, and its page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from actiseg_ros.errors import ActisegError
from tests.training.report.browser import opened
from tests.training.report.cells import cell, paper_cells, write_cells
from training.benchmark.clip_scores import SUMS, ClipScores, write_clip_scores
from training.benchmark.failures import Samples, write_samples
from training.checkpoints.weights import save_weights
from training.cli import main
from training.data.palette import write_label_png
from training.model import build_model, train_tokenizer
from training.report.drawing import ERROR_COLOURS, draw_errors
from training.report.page import facts
from training.report.panels import WEIGHTS, find_cells
from training.report.sections import Section

CLIPS = {"cut": {1: ("knife", 0, 1), 2: ("tomato", 1, 1), 3: ("plate", 2, 0)},
         "take": {1: ("cup", 3, 1), 2: ("left hand", 4, 1), 3: ("knife", 0, 0)}}  # fmt: skip
FRAME = "frame_0000000001"
SHOWN = "mask21/pmhm/seed0"


def write_data(root: Path) -> Path:
    """Two clips of one frame in the ActionVOS layout, the same in both splits."""
    records = []
    for number, (verb, objects) in enumerate(CLIPS.items()):
        labels = np.zeros((64, 96), np.uint8)
        for label in objects:
            labels[8 * label : 8 * label + 20, 25 * label - 15 : 25 * label + 5] = label
        record = {
            "seq_id": number,
            "video": "P01_01",
            "verb": verb,
            "noun": "thing",
            "narration": f"{verb} <thing> & more",
            "sparse_frames": [f"{FRAME}.jpg"],
            "object_classes": {
                str(label): {"name": name, "class_id": class_id, "positive": positive}
                for label, (name, class_id, positive) in objects.items()
            },
        }
        records.append(record)
        for split in ("train", "val"):
            place = Path(split) / f"{number:08d}_P01_01_{verb}_thing"
            for kind in ("JPEGImages_Sparse", "Annotations_Sparse"):
                (root / kind / place).mkdir(parents=True)
            Image.fromarray(np.repeat(60 * labels[..., None], 3, 2)).save(
                root / "JPEGImages_Sparse" / place / f"{FRAME}.jpg"
            )
            write_label_png(root / "Annotations_Sparse" / place / f"{FRAME}.png", labels)
    (root / "ImageSets").mkdir()
    for split in ("train", "val"):
        (root / "ImageSets" / f"{split}.json").write_text(json.dumps(records))
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """All cells but those of co-teaching under mixed noise; two keep weights."""
    folder = tmp_path_factory.mktemp("runs")
    left_out = "name60-mask21/co-teaching"
    write_cells(folder, (c for c in paper_cells() if left_out not in c.cell.folder.as_posix()))
    torch.manual_seed(2)
    tokenizer = train_tokenizer(["knife used in the action of cut"], 300)
    for name in (SHOWN, "clean/baseline/seed1"):
        weights = folder / name / WEIGHTS
        # An untrained network takes no object for active; with this it draws something.
        provenance = json.dumps({"run": {"positive_threshold": 0.0}})
        metadata = {"tokenizer": tokenizer.to_str(), "provenance": provenance}
        save_weights(weights, build_model("tiny"), metadata)
    return folder


@pytest.fixture(scope="module")
def report(runs, tmp_path_factory) -> Path:
    """Folder of a report with everything in it."""
    root = tmp_path_factory.mktemp("report")
    data = write_data(root / "data")
    arguments = [runs, "--out", root / "out", "--data", data, "--about", "<b>Invented</b>"]
    assert main(["report", *map(str, arguments)]) == 0
    return root / "out"


class Tags(HTMLParser):
    """Tags with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_page_needs_nothing_but_itself(report):
    tags = Tags((report / "index.html").read_text(encoding="utf-8")).found
    links = [a.get("src") or a.get("href") for _, a in tags if "src" in a or "href" in a]
    assert links and all(link.startswith(("data:", "#")) for link in links)
    anchors = {link[1:] for link in links if link.startswith("#")}
    assert anchors <= {a.get("id") for _, a in tags}
    images = [a for tag, a in tags if tag == "img"]
    # trade-off twice, nouns, severity, loss, validation, costs; 3 and 3 pictures for each clip
    assert len(images) == 7 + 2 * (3 + 3)
    assert all(image["alt"] for image in images)
    assert len(list((report / "figures").iterdir())) == len(images)


def test_page_shows_text_as_text(report):
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;Invented&lt;/b&gt;" in page
    assert "cut &lt;thing&gt; &amp; more" in page
    assert "Missing: Co-teaching." in page


def test_numbers_are_there_for_machines(report):
    content = json.loads((report / "report.json").read_text(encoding="utf-8"))
    tables = {table["id"]: table for table in content["tables"]}
    clean = tables["1"]["rows"][0]
    assert clean["paper"]["p_miou"] == 65.0
    assert clean["ours"]["p_miou"]["mean"] == pytest.approx(65, abs=0.6)
    assert tables["5"]["rows"][1]["ours"] is None
    assert {found["id"]: found["verdict"] for found in content["findings"]} == {
        "a": "shows", "b": "shows", "c": "shows", "d": "shows", "e": "shows",
    }  # fmt: skip
    claim = content["findings"][0]["claims"][0]
    assert claim["ours"]["design"] == "blocks of seeds" and claim["ours"]["clip_error"] is None
    assert claim["p_shows"] <= claim["p_holm"] <= 0.025
    gains = {table["metric"]: table["gains"] for table in content["gains"]}
    found = {(gain["strategy"], gain["level"]): gain for gain in gains["p_miou"]}
    assert found["Co-teaching", "Name-60"]["paper"] == pytest.approx(11.2)
    assert found["Co-teaching", "Name-60"]["ours"]["value"] == pytest.approx(11.2, abs=0.6)
    assert ("Co-teaching", "Name-60 + Mask 21×21") not in found
    assert content["costs"]["Test CPU"][0]["peak_memory_gb"] == 3.0
    assert "## Table V" in (report / "tables.md").read_text(encoding="utf-8")


def test_results_by_clip_widen_the_intervals(runs, tmp_path):
    copy = shutil.copytree(runs / "clean", tmp_path / "runs" / "clean").parent
    shutil.copytree(runs / "name60", copy / "name60")
    assert main(["report", str(copy), "--out", str(tmp_path / "without")]) == 0
    rng = np.random.default_rng(0)
    names = tuple(f"clip {number}" for number in range(20))
    for result in copy.glob("*/*/*/result.json"):
        write_clip_scores(result.parent, ClipScores(names, rng.uniform(1, 5, (20, len(SUMS)))))
    assert main(["report", str(copy), "--out", str(tmp_path / "with")]) == 0
    wide, narrow = (
        json.loads((tmp_path / out / "report.json").read_text())["findings"][0]["claims"][0]["ours"]
        for out in ("with", "without")
    )
    assert wide["value"] == narrow["value"] and wide["clip_error"] > 0
    assert wide["interval"][0] < narrow["interval"][0] < narrow["interval"][1] < wide["interval"][1]


def test_how_well_uncertainty_tells_failures_is_shown_where_it_was_measured(runs, tmp_path):
    copy = shutil.copytree(runs / "clean", tmp_path / "runs" / "clean").parent
    iou = np.linspace(0, 1, 40)
    missed = np.arange(40) < 10
    for result in copy.glob("*/*/*/result.json"):
        p = np.where(missed, 1, 1 - iou)
        write_samples(result.parent, Samples(p, missed.astype(float), iou))
    assert main(["report", str(copy), "--out", str(tmp_path / "out")]) == 0
    (row,) = json.loads((tmp_path / "out" / "report.json").read_text())["failures"]
    assert (row["Condition"], row["Failure rate"]) == ("Baseline, Clean", "50.0 ± 0.0")
    assert row["Relative"] == "0.0 ± 0.0"
    assert (row["Failure rate, drawn"], row["Relative, drawn"]) == ("33.3 ± 0.0", "0.0 ± 0.0")
    assert row["Condition"] in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    for result in copy.glob("*/*/*/result.json"):
        write_samples(result.parent, Samples(np.ones(2), np.ones(2), np.zeros(2)))
    assert main(["report", str(copy), "--out", str(tmp_path / "nothing")]) == 0
    (row,) = json.loads((tmp_path / "nothing" / "report.json").read_text())["failures"]
    assert (row["Failure rate"], row["Failure rate, drawn"]) == ("100.0 ± 0.0", "–")
    assert row["Relative"] == "–"


def test_without_data_the_page_says_what_is_missing(tmp_path):
    runs = write_cells(tmp_path / "runs", [cell(0.0, 0, "baseline", 0)])
    assert main(["report", str(runs), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Missing: 20, 40, 60." in page
    assert page.count("Left out: it needs the prepared data, which was not found") == 3


def test_data_of_the_benchmark_is_found_again(runs, tmp_path):
    data = write_data(tmp_path / "data")
    for name in ("train", "val"):
        shutil.move(data / "ImageSets" / f"{name}.json", data / "ImageSets" / f"{name}_a.json")
    source = {"data": str(data), "split": "train_a", "val_split": "val_a"}
    copy = shutil.copytree(runs / "clean", tmp_path / "runs" / "clean").parent
    (copy / "benchmark.json").write_text(json.dumps({"source": source}))
    assert main(["report", str(copy), "--out", str(tmp_path / "out")]) == 0
    figures = {file.stem for file in (tmp_path / "out" / "figures").iterdir()}
    assert {"nouns", "severity"} <= figures
    assert any(name.startswith("clip1-clean-baseline") for name in figures)


@pytest.fixture
def without_charts(monkeypatch):
    """A report without the charts that take most of its time."""
    for name in ("tradeoff", "curves", "costs"):
        empty = Section(name, name)
        monkeypatch.setattr(f"training.report.build.{name}_section", lambda _, own=empty: own)


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("pictures", "no folder for train.json"),
        ("noisy", "the split is noisy already"),
        ("one class", "names 1 class; noise needs two"),
    ],
)
def test_a_section_that_cannot_be_made_is_left_out(runs, tmp_path, capsys, spoil, said):
    """Unless the user named what it is made of."""
    data = write_data(tmp_path / "data")
    split = data / "ImageSets" / "train.json"
    records = json.loads(split.read_text())
    for entry in (entry for record in records for entry in record["object_classes"].values()):
        if spoil == "noisy":
            entry["clean_name"] = "fork"
        elif spoil == "one class":
            entry["class_id"] = 1
    for name in ("train", "val"):
        (data / "ImageSets" / f"{name}.json").write_text(json.dumps(records))
    if spoil == "pictures":
        for kind in ("JPEGImages_Sparse", "Annotations_Sparse"):
            shutil.rmtree(data / kind)
            (data / kind).mkdir()
    found = tmp_path / "runs" / "clean" / "baseline" / "seed1"
    shutil.copytree(runs / "clean" / "baseline" / "seed1", found)
    if spoil != "pictures":  # else they are what the panels need pictures for
        (found / WEIGHTS).unlink()
    source = {"data": str(data), "split": "train", "val_split": "val"}
    (tmp_path / "runs" / "benchmark.json").write_text(json.dumps({"source": source}))
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert re.search(f"Left out: [^<]*{said}", page)
    asked = ["report", str(tmp_path / "runs"), "--out", str(tmp_path / "b"), "--data", str(data)]
    assert main(asked) == (0 if spoil == "one class" else 2)
    if spoil != "one class":
        assert said in capsys.readouterr().err and not (tmp_path / "b").exists()


@pytest.mark.usefixtures("without_charts")
def test_nothing_is_written_of_a_report_that_cannot_be_made(runs, tmp_path, monkeypatch):
    def fails(page):
        raise ActisegError("a template that is gone")

    monkeypatch.setattr("training.report.build.render", fails)
    copy = shutil.copytree(runs / "clean", tmp_path / "runs" / "clean").parent
    assert main(["report", str(copy), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_strategies_that_are_not_registered_are_told_too():
    cells = [cell(0.6, 0, name, 0) for name in ("co-teaching-long", "gce", "baseline")]
    names = facts(cells)["Strategies"].split(", ")
    assert names[0] == "Baseline" and names[-1] == "co-teaching-long" and len(names) == 3


def test_cells_are_found_by_their_weights(runs):
    assert [c.cell.folder.as_posix() for c in find_cells(runs)] == [SHOWN]
    chosen = find_cells(runs, ["clean/baseline/seed1"])
    assert chosen[0].cell.seed == 1
    with pytest.raises(ActisegError, match=r"--cells clean/baseline/seed0: .* is missing"):
        find_cells(runs, ["clean/baseline/seed0"])


def test_no_cells_is_an_error(tmp_path, capsys):
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "run a benchmark first" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_error_map_tells_the_kinds_apart():
    truth = np.array([[1, 1, 1, 2, 0, 0]], np.uint8)  # 2 is not active
    drawn = np.array([[1, 0, 3, 2, 3, 0]], np.uint8)
    frame = np.full((1, 6, 3), 200, np.uint8)
    picture = draw_errors(frame, truth, drawn, {1, 3}).astype(int)
    kinds = ["right", "missed", "wrong object", "too much", "too much"]
    for column, kind in enumerate(kinds):
        expected = 0.3 * 200 + 0.7 * np.array(ERROR_COLOURS[kind])
        assert np.abs(picture[0, column] - expected).max() <= 1
    assert (picture[0, 5] == 200).all()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_chromium(report, width):
    with opened(report / "index.html", width) as browser:
        scrolled, inner = browser.execute_script(
            "return [document.scrollingElement.scrollWidth, window.innerWidth]"
        )
        assert inner == width
        assert scrolled <= inner
        broken = browser.execute_script(
            "return [...document.images].filter(i => !(i.complete && i.naturalWidth)).length"
        )
        assert broken == 0
        assert browser.get_log("browser") == []
        asked = [
            message["params"]["request"]["url"]
            for entry in browser.get_log("performance")
            for message in [json.loads(entry["message"])["message"]]
            if message["method"] == "Network.requestWillBeSent"
        ]
        assert all(re.match(r"(file|data):", url) for url in asked)
