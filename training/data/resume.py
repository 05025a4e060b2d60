"""Journal of a preparation: what is finished, and for which input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from training.data.contacts import Source
from training.data.layout import IMAGES, LABELS, WEIGHTS, split_file
from training.data.rendering import RenderedSequence
from training.data.tree import VisorTree
from training.data.visor import SequencePlan
from training.files.claims import claim
from training.files.disk import read_json, write_json, write_text

_FORMAT = 2
_FORMER = 1
"""Knew sizes of polygons only, and nothing of pictures."""


def fingerprint(
    tree: VisorTree, split: str, videos: Sequence[str], contacts: Source
) -> dict[str, Any]:
    """What identifies the input of a split, but for its pictures (see `picture_digests`).

    Of drawn pictures the record that says what they were drawn with belongs to it.

    Raises:
        ActisegError: If that record is damaged.
    """
    files = [tree.mapping_file, *tree.tables()]
    if contacts == "official":
        files.append(tree.contacts_file(split))
    polygons = tree.polygons(split)
    identity = {
        "format": _FORMAT,
        "files": {path.name: file_sha256(path) for path in files},
        "polygons": {video: polygons[video].stat().st_size for video in videos},
        "polygons_sha256": {video: file_sha256(polygons[video]) for video in videos},
    }
    drawn = tree.drawn_with()
    return identity if drawn is None else {**identity, "drawn": drawn}


def picture_digests(
    tree: VisorTree, split: str, sequences: Sequence[SequencePlan]
) -> dict[str, str]:
    """SHA-256 of names and sizes of each sequence's pictures, by the sequence's name."""
    digests = {}
    # Sequences of a video follow each other; its folders are listed once.
    for video, listed in groupby(sequences, lambda sequence: sequence.action.video):
        store = tree.frames(split, video)
        for sequence in listed:
            names = [frame.visor_name for frame in sequence.frames]
            sizes = json.dumps([(name, store.size(name)) for name in names])
            digests[sequence.name] = hashlib.sha256(sizes.encode()).hexdigest()
    return digests


class Journal:
    """Finished sequences of one split, one JSON line each, in `OUT/.prepare/`.

    Args:
        out: Folder of the preparation.
        split: The split.
        identity: Fingerprint of its input.

    Raises:
        ActisegError: If `out` holds this split of another input.
    """

    def __init__(self, out: Path, split: str, identity: dict[str, Any]) -> None:
        self._out, self._split = out, split
        self._lines = out / ".prepare" / f"{split}.jsonl"
        identity_file = out / ".prepare" / f"{split}.json"
        if not identity_file.exists() and split_file(out, split).exists():
            raise ActisegError(
                f"{out}: holds a split {split!r} that this command did not write;"
                " choose another --out"
            )
        self._pictures: Mapping[str, str] = {}
        _complete_former(identity_file, identity, split, out)
        claim(identity_file, identity, f"the split {split!r}", folder=out)

    def finished(
        self, sequences: Sequence[SequencePlan], pictures: Mapping[str, str]
    ) -> dict[str, dict[str, Any] | None]:
        """Sequences of the plan that need no work: name to entry, None if it was left out.

        A line that was cut short, another choice of frames, other pictures or a missing file means
        unfinished. Lines of earlier versions say nothing of pictures and are completed.

        Args:
            sequences: The plan.
            pictures: Digest of each sequence's pictures.
        """
        self._pictures = pictures
        planned = {s.name: [frame.name for frame in s.frames] for s in sequences}
        finished: dict[str, dict[str, Any] | None] = {}
        if not self._lines.exists():
            return finished
        kept = []
        for line in self._lines.read_text(encoding="utf-8").splitlines():
            try:
                done = json.loads(line)
                name, entry = done["name"], done["entry"]
            except (ValueError, KeyError, TypeError):
                continue
            same = done["planned"] == planned.get(name) and not done["problems"]
            same = same and done.get("pictures", pictures[name]) == pictures[name]
            if same and (entry is None or self._complete(name, entry)):
                finished[name] = entry
                kept.append(json.dumps({**done, "pictures": pictures[name]}))
        # Rewritten, so that a line cut short does not swallow the next one.
        write_text(self._lines, "".join(f"{line}\n" for line in kept))
        return finished

    def append(self, done: RenderedSequence) -> None:
        """Records a sequence whose files are written."""
        with self._lines.open("a", encoding="utf-8") as file:
            problems = [str(problem) for problem in done.problems]
            line = {**vars(done), "problems": problems, "pictures": self._pictures[done.name]}
            file.write(json.dumps(line) + "\n")

    def _complete(self, name: str, entry: dict[str, Any]) -> bool:
        return all(
            (self._out / kind / self._split / name / frame).with_suffix(suffix).is_file()
            for kind, suffix in ((IMAGES, ".jpg"), (LABELS, ".png"), (WEIGHTS, ".png"))
            for frame in entry["sparse_frames"]
        )


def _complete_former(file: Path, identity: Mapping[str, Any], split: str, out: Path) -> None:
    """Adds what an earlier version did not note, if its folder agrees in all that it says.

    Raises:
        ActisegError: If it does not agree; names what differs.
    """
    found = read_json(file) if file.exists() else None
    if isinstance(found, dict) and found.get("format") == _FORMER:
        former = {"format": _FORMER, "files": identity["files"], "polygons": identity["polygons"]}
        claim(file, former, f"the split {split!r}", folder=out)
        write_json(file, identity)
