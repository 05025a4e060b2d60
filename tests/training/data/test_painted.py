"""Painted pictures: what they show belongs to the annotations, and to nothing else."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.errors import ActisegError
from training.cli import main
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.labels import Entity, render_frame
from training.data.painted import PaintConfig, paint
from training.data.painted.world import World
from training.data.prepare import prepare
from training.data.surfaces.compose import Light, lay
from training.data.surfaces.looks import Look, class_look, generator, instance_look, surface
from training.data.surfaces.patterns import PATTERNS, TILE
from training.data.visor import read_entities, read_polygons

SPARSE = "VISOR/GroundTruth-SparseAnnotations"
CONFIG = PaintConfig(seed=3, frame_size=(320, 180))
LIGHT = Light(0.6, 0.8, 0.8, 0.4)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("painted") / "kitchen"
    make_kitchen(out, KitchenConfig(6, 5, 0.5, (128, 72)), workers=1, progress=False)
    return out


@pytest.fixture
def bare(kitchen: Path, tmp_path: Path) -> Path:
    """The kitchen without its pictures; `val` has one clip, `train` five."""
    shutil.copytree(kitchen, tmp_path / "bare", ignore=shutil.ignore_patterns("*.jpg"))
    return tmp_path / "bare"


def run(
    bare: Path, out: Path, *splits: str, config: PaintConfig = CONFIG, workers: int = 1
) -> list[str]:
    folders = bare / "VISOR", bare / "annotations"
    chosen = splits or ("train", "val")
    return paint(*folders, out, config, chosen, workers=workers, progress=False).lines()


def digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    files = [p for p in folder.rglob(pattern) if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def lab(look: Look) -> np.ndarray:
    return np.concatenate([look.base, look.accent])


def test_workers_and_interruptions_change_no_byte(bare: Path, tmp_path: Path) -> None:
    run(bare, tmp_path / "one")
    first = digests(tmp_path / "one")
    run(bare, tmp_path / "two", workers=2)
    assert digests(tmp_path / "two") == first
    pictures = sorted((tmp_path / "two").rglob("*.jpg"))
    kept = [path for path in pictures[3:] if path not in pictures[::3]]
    for lost in pictures[::3]:
        lost.unlink()
    for cut_short in pictures[1:3]:
        cut_short.rename(cut_short.with_name(cut_short.name + ".partial"))
    before = {path: path.stat().st_mtime_ns for path in kept}
    run(bare, tmp_path / "two", workers=2)
    assert digests(tmp_path / "two") == first
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_prepared_labels_are_those_of_the_annotations(kitchen: Path, tmp_path: Path) -> None:
    run(kitchen, tmp_path / "tree")
    tables = kitchen / "annotations"
    for visor, out in ((kitchen / "VISOR", "drawn"), (tmp_path / "tree", "painted")):
        summary = prepare(visor, tables, tmp_path / out, workers=1, progress=False)
        assert not summary.problems
    for pattern in ("*.png", "*.json"):
        drawn, painted = (
            {k: v for k, v in digests(tmp_path / out, pattern).items() if ".prepare" not in k}
            for out in ("drawn", "painted")
        )
        assert drawn == painted and drawn


def test_every_object_is_seen_where_its_label_is(kitchen: Path) -> None:
    shares, elsewhere = [], []
    for path in sorted((kitchen / SPARSE / "annotations_corrected").glob("*/*.json")):
        world = World(3, 0, path.stem)
        for index, (name, objects) in enumerate(read_polygons(path).items()):
            entities = read_entities(objects)
            top = cv2.resize(render_frame(entities, None).top, (960, 540),
                             interpolation=cv2.INTER_NEAREST)  # fmt: skip
            image = world.background(index, generator(name))
            for number, entity in enumerate(entities, start=1):
                before = image.copy()
                world.lay(image, [entity])
                changed = np.abs(image - before).max(axis=2) > 3
                label = (top == number).astype(np.uint8)
                inside = cv2.erode(label, np.ones((3, 3), np.uint8)) > 0
                if inside.sum() > 50:
                    shares.append(changed[inside].mean())
                # Around it there is only its shadow.
                shape = np.zeros((1080, 1920), np.uint8)
                cv2.fillPoly(shape, entity.polygons, 1)
                around = cv2.dilate(shape, np.ones((13, 13), np.uint8))[::2, ::2] == 0
                elsewhere.append((image - before)[around].max(initial=0))
    assert len(shares) > 50
    assert np.mean(shares) > 0.97 and np.quantile(shares, 0.02) > 0.7
    assert max(elsewhere) <= 0


def test_later_objects_cover_earlier_ones() -> None:
    square = np.array([[400, 300], [900, 300], [900, 700], [400, 700]], np.int32)
    low, high = Entity("plate", 2, (square,)), Entity("knife", 4, (square + 100,))
    world, alone = World(0, 0, "P01_01"), np.zeros((540, 960, 3), np.float32)
    both, other = alone.copy(), alone.copy()
    world.lay(alone, [high])
    world.lay(both, [low, high])
    world.lay(other, [high, low])
    middle = np.s_[230:340, 280:440]  # of both squares, away from edges
    np.testing.assert_allclose(both[middle], alone[middle], atol=0.01)
    assert np.abs(other[middle] - alone[middle]).mean() > 5


def test_a_class_keeps_its_look_in_every_video() -> None:
    names = {2: "plate", 4: "knife", 13: "cup", 63: "sink"}
    mean: dict[int, np.ndarray] = {}
    for class_id, name in names.items():
        own = [
            World(seed, 0, video).surface(name, class_id)
            for seed in (0, 1)
            for video in ("P01_01", "P02_101", "P30_5")
        ]
        assert {s.look.pattern for s in own} == {class_look(class_id, 0).pattern}
        colors = np.array([lab(s.look) for s in own])
        assert np.ptp(colors, axis=0).max() > 0.5, "all alike"
        assert np.abs(colors - lab(class_look(class_id, 0))).max() < 40
        mean[class_id] = colors.mean(0)
        assert len({s.tile.tobytes() for s in own}) == len(own)
    for a, b in combinations(names, 2):
        assert np.linalg.norm(mean[a] - mean[b]) > 15


def test_an_object_keeps_its_look_within_a_video() -> None:
    world, again = World(7, 0, "P01_01"), World(7, 0, "P01_01")
    world.surface("plate", 2)
    np.testing.assert_array_equal(
        world.surface("saucepan", 5).tile, again.surface("saucepan", 5).tile
    )
    assert world.surface("pan", 5).look != world.surface("saucepan", 5).look


@pytest.mark.parametrize("family", [0, 1, 7])
def test_looks_of_different_classes_can_be_told_apart(family: int) -> None:
    looks = [class_look(class_id, family) for class_id in range(305)]
    assert len({look.pattern for look in looks}) == len(PATTERNS)
    alike = [
        (a, b)
        for a, b in combinations(looks, 2)
        if a.pattern == b.pattern and np.linalg.norm(lab(a) - lab(b)) < 12
    ]
    assert len(alike) < 10  # of 46 360 pairs


def test_other_families_have_other_looks() -> None:
    pairs = [(class_look(c, 0), class_look(c, 1)) for c in range(305)]
    distance = [np.linalg.norm(lab(a) - lab(b)) for a, b in pairs]
    shuffled = [np.linalg.norm(lab(a) - lab(pairs[i - 9][1])) for i, (a, _) in enumerate(pairs)]
    assert np.mean(distance) > 0.9 * np.mean(shuffled)
    assert np.mean([a.pattern == b.pattern for a, b in pairs]) < 0.15


def test_hands_have_the_skin_of_their_owner() -> None:
    tones = []
    for person in range(40):
        first, second = (World(0, 0, f"P{person:02d}_{n}") for n in (1, 2))
        for name, class_id in (("left hand", 300), ("right hand", 301)):
            tile = first.surface(name, class_id).tile
            np.testing.assert_array_equal(tile, second.surface(name, class_id).tile)
        b, g, r = tile.mean((0, 1))
        assert r > g > b, (person, b, g, r)
        hue = cv2.cvtColor(tile.mean((0, 1), keepdims=True) / 255, cv2.COLOR_BGR2HSV)[0, 0, 0]
        assert 3 < hue < 35, (person, hue)  # degrees
        tones.append((b + g + r) / 3)
    assert min(tones) < 90 and max(tones) > 165 and np.std(tones) > 25
    other = World(0, 5, "P00_1").surface("left hand", 300).tile
    np.testing.assert_array_equal(other, World(0, 0, "P00_1").surface("left hand", 300).tile)


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_patterns_continue_over_their_borders(name: str) -> None:
    field = PATTERNS[name](np.random.default_rng(0))
    assert field.shape == (TILE, TILE) and field.dtype == np.float32
    assert field.min() >= 0 and field.max() <= 1
    for axis in (0, 1):
        moved = np.abs(field - np.roll(field, 1, axis))
        seam, inside = np.take(moved, 0, axis).mean(), np.delete(moved, 0, axis).mean(1 - axis)
        assert seam <= inside.max() + 0.05


corner = st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)) | st.tuples(
    st.integers(-200, 2200), st.integers(-200, 1300)
)


@given(st.lists(st.lists(corner, min_size=1, max_size=6), max_size=3), st.integers(0, 304))
def test_any_polygon_can_be_painted(polygons: list[list[tuple[int, int]]], class_id: int) -> None:
    image = np.full((540, 960, 3), 100, np.float32)
    look = instance_look(class_look(class_id, 0), class_id, "thing", 0, 1)
    outline = [np.array(points, np.int32) for points in polygons]
    lay(image, outline, surface(look, generator(0)), LIGHT, 0.5)
    assert np.isfinite(image).all() and image.min() >= 0 and image.max() < 500


def message(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["paint", *options]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and "\n" not in error
    return error


def no_mapping(bare: Path, out: Path) -> None:
    (bare / "VISOR/frame_mapping.json").unlink()


def no_table(bare: Path, out: Path) -> None:
    (bare / "annotations/EPIC_100_train.csv").unlink()


def no_actions(bare: Path, out: Path) -> None:
    for path in (bare / "annotations").glob("*.csv"):
        path.write_text(path.read_text().splitlines()[0] + "\n")


def something_there(bare: Path, out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")


def painted_otherwise(bare: Path, out: Path) -> None:
    run(bare, out, "val")


def other_annotations(bare: Path, out: Path) -> None:
    run(bare, out, "val", config=PaintConfig(0, 0, (320, 180)))
    path = next((bare / SPARSE / "annotations_corrected/val").glob("*.json"))
    content = json.loads(path.read_text())
    content["video_annotations"][0]["annotations"][0]["class_id"] += 1
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "options", "told"),
    [
        (no_mapping, (), "frame_mapping.json: not found"),
        (no_table, (), "EPIC_100_train.csv: not found"),
        (no_actions, (), "'val' has no frame to paint"),
        (something_there, (), "does not hold painted pictures; choose an empty or new folder"),
        (painted_otherwise, (), "holds pictures made otherwise: seed"),
        (other_annotations, (), "made otherwise: annotations of"),
        (None, ("--splits", "test"), "no annotations of the split 'test'"),
        (None, ("--seed", "-1"), "seed: -1; expected 0 or more"),
        (None, ("--look", "-1"), "look: -1; expected 0 or more"),
        (None, ("--frame-size", "10x10"), "expected at least 64 pixels"),
        (None, ("--quality", "0"), "quality: 0; expected 1 to 100"),
    ],
)
def test_bad_input_is_told_in_one_line(
    bare: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path, Path], None] | None,
    options: tuple[str, ...],
    told: str,
) -> None:
    out = tmp_path / "tree"
    if spoil is not None:
        spoil(bare, out)
    there = digests(out)
    line = message(
        capsys, "--visor", str(bare / "VISOR"), "--annotations", str(bare / "annotations"),
        "--out", str(out), "--workers", "1", "--frame-size", "320x180",
        "--splits", "val", *options,
    )  # fmt: skip
    assert told in line
    assert digests(out) == there, "an error left something behind"


def test_the_tree_that_is_read_is_not_written(bare: Path) -> None:
    with pytest.raises(ActisegError, match="choose another --out"):
        run(bare, bare / "VISOR")


def test_broken_frames_are_told_and_left_out(bare: Path, tmp_path: Path) -> None:
    path = next((bare / SPARSE / "annotations_corrected/val").glob("*.json"))
    content = json.loads(path.read_text())
    spoilt = content["video_annotations"][0]
    spoilt["annotations"][0]["segments"] = [[[0.0, "x"]]]
    path.write_text(json.dumps(content))
    lines = run(bare, tmp_path / "tree", "val")
    assert any(spoilt["image"]["name"] in line for line in lines if line.startswith("skipped"))
    assert not list((tmp_path / "tree").rglob(spoilt["image"]["name"]))
    assert len(list((tmp_path / "tree").rglob("*.jpg"))) == len(content["video_annotations"]) - 1


def test_splits_can_follow_each_other(bare: Path, tmp_path: Path) -> None:
    run(bare, tmp_path / "both", workers=2)
    run(bare, tmp_path / "one", "val")
    run(bare, tmp_path / "one", "train")
    assert digests(tmp_path / "one") == digests(tmp_path / "both")


def test_visor_annotations(shared: Path, tmp_path: Path) -> None:
    """A real video gets a picture for each frame of its actions."""
    archive = shared / "visor" / "visor.tar.xz"
    if not archive.is_file():
        pytest.skip(f"needs {archive}, which is not there")
    video = "P09_07"
    polygons = tmp_path / SPARSE / "annotations_corrected/val"
    wanted = {
        f"visor/annotations/val/{video}.json": polygons,
        "visor/visor-frame-mapping.json": tmp_path / "VISOR",
    }
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name in wanted:
                folder = wanted[member.name]
                folder.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                (folder / member.name.rpartition("/")[2]).write_bytes(source.read())
    mapping = json.loads((tmp_path / "VISOR/visor-frame-mapping.json").read_text())
    (tmp_path / "VISOR/frame_mapping.json").write_text(json.dumps({video: mapping[video]}))
    tables = tmp_path / "annotations"
    tables.mkdir()
    with (shared / "epic/EPIC_100_validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    own = [row for row in rows if row["video_id"] == video]
    for name, content in (("train", []), ("validation", own)):
        with (tables / f"EPIC_100_{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(content)
    summary = paint(
        tmp_path / "VISOR", tables, tmp_path / "tree", PaintConfig(), ["val"], workers=1,
        progress=False,
    )  # fmt: skip
    assert summary.frames["val"] >= 10 and not summary.problems
    pictures = list((tmp_path / "tree").rglob("*.jpg"))
    assert len(pictures) == summary.frames["val"]
    assert cv2.imread(str(pictures[0])).shape == (480, 854, 3)


def test_polygons_in_participants_folders_are_painted_and_prepared(
    bare: Path, tmp_path: Path
) -> None:
    for path in (bare / SPARSE / "annotations_corrected").glob("*/*.json"):
        own = bare / SPARSE / "annotations" / path.parent.name / path.stem.partition("_")[0]
        own.mkdir(parents=True)
        path.rename(own / path.name)
    run(bare, tmp_path / "tree", "val")
    polygons = tmp_path / "tree" / "GroundTruth-SparseAnnotations"
    assert [p.parent.parent.name for p in polygons.rglob("*.json")] == ["annotations"]
    tables = bare / "annotations"
    prepare(tmp_path / "tree", tables, tmp_path / "data", ("val",), workers=1, progress=False)


def test_a_tree_painted_anew_is_not_prepared_into_the_same_folder(
    bare: Path, tmp_path: Path
) -> None:
    def prepared() -> int:
        folders = tmp_path / "tree", bare / "annotations", tmp_path / "data"
        return prepare(*folders, ("val",), workers=1, progress=False).splits["val"].resumed

    run(bare, tmp_path / "tree", "val")
    prepared()
    record = tmp_path / "tree" / "painted.json"
    said = json.loads(record.read_text())
    record.write_text(json.dumps({**said, "annotations of train": "0"}))
    assert prepared(), "other splits that were painted since are no matter"
    record.write_text(json.dumps({**said, "look": 1}))
    with pytest.raises(ActisegError, match=r"made otherwise: drawn\.look \(0, not 1\)"):
        prepared()


def test_splits_count_once_and_one_at_least_is_named(bare: Path, tmp_path: Path) -> None:
    assert "(0 were there already)" in run(bare, tmp_path / "tree", "val", "val")[-2]
    folders = bare / "VISOR", bare / "annotations", tmp_path / "none"
    with pytest.raises(ActisegError, match="no split to paint; --splits names"):
        paint(*folders, CONFIG, (), progress=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("size", [(70000, 64), (64, 65501), (63, 64)])
def test_sizes_that_no_jpeg_has_are_refused(size: tuple[int, int]) -> None:
    for config in (lambda: PaintConfig(frame_size=size), lambda: KitchenConfig(1, 0, 0.2, size)):
        with pytest.raises(ActisegError, match=re.escape(f"frame-size: {size}; expected at")):
            config()
