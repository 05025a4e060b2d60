"""Narrations of a recording as a table in the form of EPIC-KITCHENS."""

from __future__ import annotations

import bisect
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actiseg_ros.bags.epic_actions import COLUMNS, read_rows, timestamp
from actiseg_ros.narration.text import clean_narration
from actiseg_ros.narration.vocabulary import Vocabulary
from actiseg_ros.prompts import HANDS, choose_target, objects_of_narration
from training.data.kitchen.vocabulary import epic_noun

UNKNOWN_CLASS = -1
"""Class id of a verb or noun that the vocabulary does not know."""
_TOGETHER = 0.5
"""Seconds between the two messages of one narration, on `narration` and on `action`."""


@dataclass
class Narration:
    """One narrated action of a recording.

    Attributes:
        text: What is done.
        start: Second of the recording.
        stop: Second of the recording, after `start`.
        target: The object it is about, as spoken words; empty if nobody said.
        objects: Candidate objects that were named with it.
        row: Columns that a table had for it; empty for one that was heard.
    """

    text: str
    start: float
    stop: float
    target: str = ""
    objects: tuple[str, ...] = ()
    row: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """One message about what is being done.

    Attributes:
        time: Second of the recording at which it was recorded.
        text: What is done; empty ends the action.
        start: Second at which the action began, if the message says.
        duration: Seconds that it lasts, if the message says.
        target: The object it is about.
        objects: Candidate objects.
    """

    time: float
    text: str
    start: float | None = None
    duration: float | None = None
    target: str = ""
    objects: tuple[str, ...] = ()


def heard(messages: Sequence[Said], hold: float, end: float) -> list[Narration]:
    """Makes narrated actions of the messages of a recording.

    A message with a duration is an action by itself, however often it is repeated. Of the others,
    an action begins with the first message of its text and ends with the next other one, or `hold`
    seconds after it was said last, as the node takes it.

    Args:
        messages: In the order of time.
        hold: Seconds that a narration without a duration holds.
        end: Second at which the recording ends; nothing lasts longer.

    Returns:
        Actions in the order of their start.
    """
    found: dict[tuple[str, int, int], Narration] = {}
    for said in messages:
        if said.text and said.duration:
            start = max(0.0, said.time if said.start is None else said.start)
            stop = min(start + said.duration, end)
            key = said.text, round(start * 10), round(said.duration * 10)
            found.setdefault(key, Narration(said.text, start, stop, said.target, said.objects))
    timed = list(found.values())
    current: Narration | None = None
    told: list[Narration] = []
    for said in messages:
        if current is not None and said.text != current.text:
            current.stop = min(current.stop, said.time)
            current = None
        if not said.text or said.duration or _covered(said, timed):
            continue
        if current is None or said.time > current.stop:
            current = Narration(said.text, said.time, 0.0)
            told.append(current)
        current.stop = min(said.time + hold, end)
        current.target = current.target or said.target
        current.objects = current.objects or said.objects
    return sorted(
        (action for action in (*timed, *told) if action.stop > action.start),
        key=lambda action: (action.start, action.stop),
    )


def _covered(said: Said, timed: Sequence[Narration]) -> bool:
    """Whether a message only repeats an action whose times are known."""
    return any(
        action.text == said.text
        and action.start - _TOGETHER <= said.time <= action.stop + _TOGETHER
        for action in timed
    )


def of_table(path: Path, video_id: str) -> list[Narration]:
    """The narrations of one video in an EPIC-KITCHENS table, in the order of their start.

    Raises:
        NarrationError: The table is malformed, or has no narration of this video.
    """
    return [
        Narration(
            action.narration,
            action.start,
            action.stop,
            action.target,
            action.object_names,
            {name: row[name] for name in row.columns},
        )
        for action, row in read_rows(path, video_id)
    ]


def table(
    narrations: Sequence[Narration],
    video_id: str,
    numbers: Sequence[int],
    times: Sequence[float],
    vocabulary: Vocabulary,
) -> bytes:
    """Writes narrations as a csv file with all columns of EPIC-KITCHENS, and ``object_names``.

    Frame numbers are those of the recording's pictures, so that they fit the pictures' names. What
    the table that narrations come from says of verbs and nouns is kept; else the noun is what the
    narration is found to be about, and a class that the vocabulary does not know is -1.

    Args:
        narrations: In the order of their start.
        video_id: Name of the recording.
        numbers: Numbers of all of its frames, growing.
        times: Their seconds.
        vocabulary: Known nouns.
    """
    extra = {name: None for action in narrations for name in action.row if name not in COLUMNS}
    columns = list(dict.fromkeys([*COLUMNS, *extra, "object_names"]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for index, action in enumerate(narrations):
        first = min(bisect.bisect_left(times, action.start - 1e-6), len(times) - 1)
        last = max(bisect.bisect_left(times, action.stop - 1e-6) - 1, first)
        row: dict[str, object] = {
            "narration_id": f"{video_id}_{index}",
            "participant_id": video_id.partition("_")[0],
            "narration_timestamp": timestamp(action.start, 3),
            "verb": (clean_narration(action.text).text.split() or [""])[0],
            "verb_class": UNKNOWN_CLASS,
            **_nouns(action, vocabulary),
            "object_names": str(list(action.objects)),
        }
        row |= {name: value for name, value in action.row.items() if value}
        row |= {
            "video_id": video_id,
            "start_timestamp": timestamp(action.start),
            "stop_timestamp": timestamp(action.stop),
            "start_frame": numbers[first],
            "stop_frame": numbers[last],
            "narration": action.text,
        }
        writer.writerow(row)
    return text.getvalue().encode()


def _nouns(action: Narration, vocabulary: Vocabulary) -> dict[str, object]:
    """The noun columns of a narration, as far as it and the vocabulary tell them."""
    clean = clean_narration(action.text)
    named = [name for name in objects_of_narration(clean, vocabulary) if name not in HANDS]
    target = action.target or choose_target(clean, named, vocabulary).name
    nouns = list(dict.fromkeys(filter(None, (target, *named))))
    classes = [vocabulary.class_of(noun) for noun in nouns]
    ids = [UNKNOWN_CLASS if found is None else found for found in classes]
    return {
        "noun": epic_noun(target) if target else "",
        "noun_class": ids[0] if target else UNKNOWN_CLASS,
        "all_nouns": str([epic_noun(noun) for noun in nouns]),
        "all_noun_classes": str(ids),
    }
