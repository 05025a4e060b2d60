"""Prepares the ActionVOS layout from a VISOR tree: label maps, weights, frames and split files.

Work is cut into runs of consecutive sequences of a video, so that frames shared by overlapping
actions are decoded and rasterised once. A finished sequence is recorded in `.prepare/`, where an
interrupted preparation continues.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from actiseg_ros.errors import ActisegError
from training.data.actions import ActionRow, read_actions
from training.data.checked_splits import matched_clips
from training.data.contacts import HandObjects, Source, read_contacts
from training.data.expressions import write_split
from training.data.labels import Contacts
from training.data.rendering import RenderTask, render_task
from training.data.resume import Journal, fingerprint, picture_digests
from training.data.tree import Problem, VisorTree, distinct_splits
from training.data.visor import SequencePlan, VideoPlan, plan_video, read_mapping, videos_of_split
from training.files.disk import read_json
from training.files.lock import sole_writer
from training.files.processes import in_processes
from training.files.progress import Progress, tracked

_SEQUENCES_PER_TASK = 8
_INLINE_FRAMES = 32
"""Below this many frames, starting processes takes longer than the work."""

_TOLD = 20
"""Problems that an error lists at most."""

OnError = Literal["refuse", "skip"]


@dataclass(frozen=True)
class SplitSummary:
    """What one split came to."""

    sequences: int
    """Sequences in the split file."""
    frames: int
    resumed: int
    """Sequences that an earlier run had finished."""
    dropped: int
    """Sequences left out because fewer than two usable frames remained."""
    contacts: Source
    """Where the objects in contact with hands come from."""


@dataclass
class Summary:
    """Result of a preparation."""

    out: Path
    seconds: float = 0.0
    splits: dict[str, SplitSummary] = field(default_factory=dict)
    checked: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of each split that others have checked: clips that are there, and clips in its file."""
    problems: list[Problem] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The summary as text, problems first."""
        text = [f"skipped: {problem}" for problem in self.problems]
        for split, counts in self.splits.items():
            source = {"official": "visor_hos file", "annotations": "annotations"}[counts.contacts]
            text.append(
                f"{split}: {counts.sequences} sequences, {counts.frames} frames"
                f" ({counts.resumed} sequences were there already, {counts.dropped} left out;"
                f" contacts from the {source})"
            )
        for name, (there, count) in self.checked.items():
            text.append(f"{name}: {there} of {count} clips")
        text.append(f"{len(self.problems)} problems, {self.seconds:.1f} s, in {self.out}")
        return text


@dataclass(frozen=True)
class _Plan:
    """A split that is ready to be rendered."""

    split: str
    videos: list[str]
    sequences: list[SequencePlan]
    source: Source
    contacts: dict[str, Contacts] | None
    """Contacts by VISOR frame name; None takes them from the annotations."""


def prepare(
    visor: Path,
    annotations: Path,
    out: Path,
    splits: Sequence[str] = ("train", "val"),
    *,
    contacts: Source | None = None,
    workers: int | None = None,
    on_error: OnError = "skip",
    progress: bool = True,
) -> Summary:
    """Writes the ActionVOS layout of a VISOR tree, as the official preparation does.

    Sequences are numbered by annotations and action tables alone, so a missing image or a broken
    polygon takes a frame, or a sequence with fewer than two others, out without renaming the rest.
    Splits of some clips that others have checked, `SPLIT_*.json` among the annotations (ActionVOS's
    `val_human.json`), are written beside their split, with the numbers of this preparation.

    Args:
        visor: Folder with `frame_mapping.json` and `GroundTruth-SparseAnnotations`.
        annotations: Folder with both EPIC-KITCHENS-100 tables and, if there are any,
            `visor_hos_SPLIT.json` and the checked splits.
        out: Folder to write; an interrupted preparation of the same input continues. Sequences
            whose pictures have other names or sizes than then are made anew.
        splits: Splits to prepare.
        contacts: Objects in contact with hands from `visor_hos_SPLIT.json` (`official`) or from the
            annotations' own `in_contact_object`; None takes the file where there is one.
        workers: Processes; all cores if None.
        on_error: Leave out what cannot be used and report it, or refuse to go on.
        progress: Show a progress bar on standard error.

    Raises:
        ActisegError: If the input lacks a file, a split has no sequence at all, `out` holds the
            preparation of another input, or something cannot be used and `on_error` is `refuse`.
    """
    begin = time.monotonic()
    splits = distinct_splits(splits, "prepare")
    tree = VisorTree(visor, annotations)
    summary = Summary(out)
    mapping = read_mapping(tree)
    actions, problems = read_actions(tree)
    _report(problems, summary, on_error)
    plans = [
        _plan(tree, split, mapping, actions, contacts, summary, on_error, progress)
        for split in splits
    ]
    with sole_writer(out):
        for plan in plans:
            entries = _render(tree, out, plan, workers, summary, on_error, progress)
            write_split(out, plan.split, entries)
            for file in tree.further_splits(plan.split):
                chosen, missing = matched_clips(file, entries)
                _report(missing, summary, on_error)
                summary.checked[file.stem] = len(chosen), len(read_json(file))
                write_split(out, file.stem, chosen)
    summary.seconds = time.monotonic() - begin
    return summary


def _plan(
    tree: VisorTree,
    split: str,
    mapping: dict[str, dict[str, str]],
    actions: Mapping[str, Sequence[ActionRow]],
    contacts: Source | None,
    summary: Summary,
    on_error: OnError,
    progress: bool,
) -> _Plan:
    """Finds a split's sequences; nothing is written."""
    source = contacts or ("official" if tree.contacts_file(split).is_file() else "annotations")
    known = read_contacts(tree.contacts_file(split)) if source == "official" else None
    if known is not None:
        _report(list(known.broken.values()), summary, on_error)
    videos, strange = videos_of_split(tree, split, mapping, actions)
    _report(strange, summary, on_error)
    unusable = None if known is None else known.broken.keys()
    plans = [
        plan_video(tree, split, video, mapping[video], actions[video], unusable)
        for video in tracked(videos, f"plan {split}", "videos", shown=progress, brief=True)
    ]
    _report([p for plan in plans for p in plan.problems], summary, on_error)
    sequences = _numbered(plans)
    if not any(len(sequence.frames) >= 2 for sequence in sequences):
        raise ActisegError(_nothing_in(split, videos, summary))
    if known is None and not any(plan.says_contacts for plan in plans):
        raise ActisegError(
            f"{tree.visor}: no hand of the split {split!r} says what it holds (in_contact_object),"
            f" and there is no {tree.contacts_file(split)}; one of the two is needed"
        )
    if known is not None:
        _report(_unheard(tree.contacts_file(split), known, plans), summary, on_error)
    found = None if known is None else known.contacts
    return _Plan(split, videos, sequences, source, found)


def _unheard(file: Path, known: HandObjects, plans: Iterable[VideoPlan]) -> list[Problem]:
    """A line for each video of whose frames a hand-object file has none, as another split's has."""
    problems = []
    for plan in plans:
        frames = {frame.visor_name for _, frames in plan.sequences for frame in frames}
        if frames and frames.isdisjoint(known.frames):
            video = plan.sequences[0][0].video
            what = f"has none of the {len(frames)} frames of {video}, so that nothing is in contact"
            problems.append(Problem(str(file), f"{what} there; is it the file of this split?"))
    return problems


def _nothing_in(split: str, videos: Sequence[str], summary: Summary) -> str:
    """Why a split has no sequence."""
    told = [f"\n  {problem}" for problem in summary.problems[:_TOLD]]
    more = len(summary.problems) - len(told)
    told += [f"\n  and {more} more problems"] if more > 0 else []
    reason = "".join(told) or (
        f" its {len(videos)} videos have no action with two annotated frames in the tables"
    )
    return f"the split {split!r} has no sequence:{reason}"


def _render(
    tree: VisorTree,
    out: Path,
    plan: _Plan,
    workers: int | None,
    summary: Summary,
    on_error: OnError,
    progress: bool,
) -> list[dict[str, Any]]:
    """Writes a split's pictures and maps; returns the entries of its file."""
    split, sequences = plan.split, plan.sequences
    journal = Journal(out, split, fingerprint(tree, split, plan.videos, plan.source))
    finished = journal.finished(sequences, picture_digests(tree, split, sequences))
    resumed = len(finished)
    open_sequences = [s for s in sequences if s.name not in finished]
    tasks = _tasks(tree, out, split, open_sequences, plan.contacts)
    worth = sum(len(sequence.frames) for sequence in open_sequences) >= _INLINE_FRAMES
    with Progress(
        f"prepare {split}", "sequences", len(sequences), initial=resumed, shown=progress
    ) as bar:
        for results in in_processes(render_task, tasks, workers, worth=worth):
            _report([p for done in results for p in done.problems], summary, on_error)
            for done in results:
                journal.append(done)
                finished[done.name] = done.entry
                bar.update()
    entries = [entry for s in sequences if (entry := finished[s.name]) is not None]
    if not entries:
        raise ActisegError(_nothing_in(split, plan.videos, summary))
    summary.splits[split] = SplitSummary(
        sequences=len(entries),
        frames=sum(len(entry["sparse_frames"]) for entry in entries),
        resumed=resumed,
        dropped=len(sequences) - len(entries),
        contacts=plan.source,
    )
    return entries


def _report(problems: Sequence[Problem], summary: Summary, on_error: OnError) -> None:
    """Collects problems, or refuses with all that are known so far."""
    if problems and on_error == "refuse":
        listed = "\n  ".join(str(problem) for problem in problems)
        raise ActisegError(
            f"the input has {len(problems)} problems; repair them, or leave such frames out with"
            f" --on-error skip:\n  {listed}"
        )
    summary.problems.extend(problems)


def _numbered(plans: Iterable[VideoPlan]) -> list[SequencePlan]:
    planned = [item for plan in plans for item in plan.sequences]
    return [
        SequencePlan(number, action, frames)
        for number, (action, frames) in enumerate(planned, start=1)
    ]


def _tasks(
    tree: VisorTree,
    out: Path,
    split: str,
    sequences: Sequence[SequencePlan],
    contacts: dict[str, Contacts] | None,
) -> list[RenderTask]:
    tasks = []
    by_video: dict[str, list[SequencePlan]] = {}
    for sequence in sequences:
        by_video.setdefault(sequence.action.video, []).append(sequence)
    for listed in by_video.values():
        for start in range(0, len(listed), _SEQUENCES_PER_TASK):
            part = tuple(listed[start : start + _SEQUENCES_PER_TASK])
            own = None
            if contacts is not None:
                names = {frame.visor_name for sequence in part for frame in sequence.frames}
                own = {name: contacts[name] for name in names if name in contacts}
            tasks.append(RenderTask(tree, out, split, part, own))
    return tasks
