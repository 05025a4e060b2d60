"""`actiseg narration`: what the node would take from narrations, in a terminal or for a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actiseg_ros.bundle import load_bundle
from actiseg_ros.narration.vocabulary import Vocabulary, read_noun_classes
from actiseg_ros.prompts import is_hand
from training import cli
from training.data.narrations import ReadNarration, of_table


def test_texts_are_printed_with_target_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["narration", "cut the tomato with a knife", "don\u2019t touch the pan"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "target 'tomato' [object]" in first and "tomato, knife, left hand" in first
    assert "target none [negated]" in second


def test_a_table_becomes_json_in_its_order(tmp_path: Path) -> None:
    table = tmp_path / "said.csv"
    table.write_text(
        "narration_id,narration,noun\nA_2,take cup,cup\nA_1,\u00abW\u00e4sche\u00bb,\n"
    )
    out = tmp_path / "read.json"
    assert cli.main(["narration", "--csv", str(table), "--out", str(out)]) == 0
    first, second = json.loads(out.read_text())
    assert first == {
        "narration_id": "A_2",
        "narration": "take cup",
        "candidates": ["cup", "left hand", "right hand"],
        "target": "cup",
        "reason": "object",
        "explanation": "'cup' is what is worked on",
    }
    assert (second["narration_id"], second["target"]) == ("A_1", "")
    assert second["candidates"] == ["left hand", "right hand"]


def test_more_nouns_make_more_targets(tmp_path: Path) -> None:
    nouns, out = tmp_path / "nouns.csv", tmp_path / "read.json"
    nouns.write_text("id,key,instances\n900,gizmo,\"['gizmo', 'gizmo:blue']\"\n")
    text = ["narration", "put blue gizmo on the pan", "--out", str(out)]
    assert cli.main(text) == 0
    assert json.loads(out.read_text())[0]["reason"] == "unknown_object"
    assert cli.main([*text, "--nouns", str(nouns)]) == 0
    assert json.loads(out.read_text())[0]["target"] == "blue gizmo"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give narrations, or a table"),
        (["take cup", "--csv", "said.csv"], "give narrations, or a table"),
        (["--csv", "said.csv"], "said.csv"),
        (["take cup", "--bundle", "nowhere"], "nowhere"),
        (["take cup", "--nouns", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.main(["narration", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1


def _figures(read: list[ReadNarration]) -> tuple[int, float]:
    found = [narration for narration in read if narration.target.name]
    return len(found), sum(not narration.shares_word for narration in found) / len(found)


def test_real_narrations_find_the_annotated_noun(shared: Path) -> None:
    """EPIC's validation table; every second video was never looked at while this was written."""
    table = shared / "epic" / "EPIC_100_validation.csv"
    bundle = Vocabulary({entry.class_id: entry.names for entry in load_bundle().vocabulary})
    nouns = bundle.extended(read_noun_classes(table.with_name("EPIC_100_noun_classes_v2.csv")))
    for vocabulary, least in ((bundle, 4500), (nouns, 9100)):
        read = of_table(table, vocabulary)
        videos = sorted({str(narration.narration_id).rpartition("_")[0] for narration in read})
        unseen = {video for place, video in enumerate(videos) if place % 2}
        halves: list[list[ReadNarration]] = [[], []]
        for narration in read:
            halves[str(narration.narration_id).rpartition("_")[0] in unseen].append(narration)
        found, strange = _figures(read)
        assert found * (1 - strange) >= least and strange <= 0.01
        assert all(_figures(half)[1] <= 0.0105 for half in halves)
    assert len(read) == 9668 and not any(is_hand(n.target.name, nouns) for n in read)
