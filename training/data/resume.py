"""Journal of a preparation: what is finished, and for which input."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from training.files.disk import write_text

_FORMAT = 1


def fingerprint(
    tree: VisorTree, split: str, videos: Sequence[str], contacts: Source
) -> dict[str, Any]:
    """What identifies the input of a split: hashes of the shared files, sizes of the others."""
    files = [tree.mapping_file, *tree.tables()]
    if contacts == "official":
        files.append(tree.contacts_file(split))
    polygons = tree.polygons(split)
    return {
        "format": _FORMAT,
        "files": {path.name: file_sha256(path) for path in files},
        "polygons": {video: polygons[video].stat().st_size for video in videos},
    }


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
        claim(identity_file, identity, f"the split {split!r}", folder=out)

    def finished(self, sequences: Sequence[SequencePlan]) -> dict[str, dict[str, Any] | None]:
        """Sequences of the plan that need no work: name to entry, None if it was left out.

        A line that was cut short, another choice of frames or a missing file means unfinished.
        """
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
            if same and (entry is None or self._complete(name, entry)):
                finished[name] = entry
                kept.append(line)
        # Rewritten, so that a line cut short does not swallow the next one.
        write_text(self._lines, "".join(f"{line}\n" for line in kept))
        return finished

    def append(self, done: RenderedSequence) -> None:
        """Records a sequence whose files are written."""
        with self._lines.open("a", encoding="utf-8") as file:
            line = {**vars(done), "problems": [str(problem) for problem in done.problems]}
            file.write(json.dumps(line) + "\n")

    def _complete(self, name: str, entry: dict[str, Any]) -> bool:
        return all(
            (self._out / kind / self._split / name / frame).with_suffix(suffix).is_file()
            for kind, suffix in ((IMAGES, ".jpg"), (LABELS, ".png"), (WEIGHTS, ".png"))
            for frame in entry["sparse_frames"]
        )
