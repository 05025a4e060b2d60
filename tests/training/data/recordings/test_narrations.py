"""What was said in a recording, as actions with times and as a table."""

from __future__ import annotations

import csv
import io
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.bags.epic_actions import COLUMNS, read_actions
from actiseg_ros.narration.vocabulary import Vocabulary
from training.data.recordings.narrations import Narration, Said, heard, of_table, table

VOCABULARY = Vocabulary({2: ["plate"], 3: ["knife"], 30: ["board", "cutting board"]})


def spans(messages: list[Said], hold: float = 10.0, end: float = 100.0):
    return [(action.text, action.start, action.stop) for action in heard(messages, hold, end)]


def test_a_text_lasts_until_the_next_one_an_empty_one_or_its_time() -> None:
    said = [Said(1.0, "cut"), Said(4.0, "cut"), Said(6.0, "wash"), Said(8.0, ""), Said(50.0, "dry")]
    assert spans(said) == [("cut", 1.0, 6.0), ("wash", 6.0, 8.0), ("dry", 50.0, 60.0)]
    # Said again after it has run out: two actions.
    assert spans([Said(1.0, "cut"), Said(20.0, "cut")]) == [("cut", 1.0, 11.0), ("cut", 20.0, 30.0)]
    assert spans([Said(1.0, "cut")], end=3.0) == [("cut", 1.0, 3.0)]
    assert spans([Said(1.0, ""), Said(2.0, "")]) == []


def test_actions_with_a_duration_are_taken_once_and_may_overlap() -> None:
    said = [
        Said(0.5, "cut tomato"),
        Said(0.5, "cut tomato", 0.5, 2.3, "tomato", ("tomato", "knife")),
        Said(1.5, "cut tomato"),
        Said(1.5, "cut tomato", 0.5, 2.3, "tomato", ("tomato", "knife")),
        Said(2.0, "take board"),
        Said(2.0, "take board", 2.0, 1.0, "board"),
        Said(3.0, ""),
        Said(3.0, "", 3.0, None),
    ]
    found = heard(said, 10.0, 100.0)
    assert [(a.text, a.start, a.stop) for a in found] == [
        ("cut tomato", 0.5, 2.8), ("take board", 2.0, 3.0)
    ]  # fmt: skip
    assert (found[0].target, found[0].objects) == ("tomato", ("tomato", "knife"))
    # The same action once more, later, is another one.
    again = Said(20.0, "cut tomato", 20.0, 1.0)
    assert spans([*said, again])[-1] == ("cut tomato", 20.0, 21.0)
    # A stamp of another clock: the action begins when it was heard.
    assert spans([Said(5.0, "cut", None, 2.0)]) == [("cut", 5.0, 7.0)]
    # Begun before the recording, and cut off by its end.
    assert spans([Said(0.0, "cut", -3.0, 9.0)], end=4.0) == [("cut", 0.0, 4.0)]


texts = st.sampled_from(["", "cut", "wash"])


@given(times=st.lists(st.tuples(st.floats(0, 90), texts), max_size=12), hold=st.floats(0.1, 20))
def test_at_every_moment_at_most_one_heard_text_holds(
    times: list[tuple[float, str]], hold: float
) -> None:
    said = [Said(time, text) for time, text in sorted(times)]
    found = heard(said, hold, 100.0)
    for action, later in pairwise(found):
        assert action.start < action.stop <= later.start
    for time in range(0, 100, 7):
        last = next((s for s in reversed(said) if s.time <= time), None)
        now = [action.text for action in found if action.start <= time < action.stop]
        expected = [last.text] if last and last.text and time < last.time + hold else []
        assert now == expected


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_the_table_has_all_official_columns_and_numbers_of_the_pictures(tmp_path: Path) -> None:
    times = [0.1 * index for index in range(50)]
    numbers = list(range(1, 51))
    actions = [
        Narration("Cut the cutting board", 0.5, 1.0),
        Narration("take gizmo, quickly", 1.23, 70.0, target="blue gizmo", objects=("plate",)),
    ]
    content = table(actions, "lab_1", numbers, times, VOCABULARY)
    first, second = rows(content)
    assert tuple(first)[: len(COLUMNS)] == COLUMNS
    assert first["noun"] == "board:cutting" and first["noun_class"] == "30"
    assert (first["verb"], first["verb_class"]) == ("cut", "-1")
    assert (first["start_frame"], first["stop_frame"]) == ("6", "10")
    assert (first["narration_id"], first["participant_id"]) == ("lab_1_0", "lab")
    assert first["narration_timestamp"] == "00:00:00.500"
    assert (second["noun"], second["noun_class"]) == ("gizmo:blue", "-1")
    assert (second["stop_timestamp"], second["stop_frame"]) == ("00:01:10.00", "50")
    # What is written is read by the rest of the project.
    (tmp_path / "t.csv").write_bytes(content)
    read = read_actions(tmp_path / "t.csv", "lab_1")
    assert [action.target for action in read] == ["cutting board", "blue gizmo"]
    assert read[1].object_names == ("plate",)


def test_what_a_table_says_is_kept(tmp_path: Path) -> None:
    text = (
        "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,start_frame,"
        "stop_frame,narration,verb,verb_class,noun,noun_class,mood\n"
        "P01_01_7,P01,P01_01,00:00:01.00,00:00:02.00,60,120,wash plates,wash,2,plate,2,good\n"
        "P01_01_6,P01,P01_01,00:00:00.10,00:00:00.30,6,18,take knife,take,0,knife,,bad\n"
        "P01_02_0,P01,P01_02,00:00:00.10,00:00:00.30,6,18,take knife,take,0,knife,3,bad\n"
    )
    (tmp_path / "t.csv").write_text(text)
    actions = of_table(tmp_path / "t.csv", "P01_01")
    times = [index / 10 for index in range(40)]
    first, second = rows(table(actions, "P01_01", list(range(1, 41)), times, VOCABULARY))
    assert (second["narration_id"], second["verb_class"], second["mood"]) == (
        "P01_01_7",
        "2",
        "good",
    )
    # Frame numbers follow the pictures, gaps are filled.
    assert (second["start_frame"], second["stop_frame"]) == ("11", "20")
    assert (first["noun_class"], first["all_nouns"]) == ("3", "['knife']")


def test_real_narrations_survive(shared: Path) -> None:
    path = shared / "epic" / "EPIC_100_validation.csv"
    actions = of_table(path, "P01_11")
    times = [index / 60 for index in range(60 * 200)]
    written = rows(table(actions, "P01_11", list(range(1, len(times) + 1)), times, VOCABULARY))
    with path.open(newline="") as stream:
        real = {row["narration_id"]: row for row in csv.DictReader(stream)}
    for row in written:
        known = real[row["narration_id"]]
        for column in COLUMNS:
            if column not in ("start_frame", "stop_frame"):
                assert row[column] == known[column]
        # EPIC rounds down from 1; the first picture at or after the start may be the next one.
        if int(known["start_frame"]) < len(times):
            assert abs(int(row["start_frame"]) - int(known["start_frame"])) <= 2
