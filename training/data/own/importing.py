"""Annotated pictures and narrations to the ActionVOS layout; written whole or not at all."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from actiseg_ros.errors import ActisegError, ImageError
from actiseg_ros.narration.vocabulary import Vocabulary
from training.data.expressions import write_split
from training.data.layout import IMAGES, LABELS, WEIGHTS, sequence_name, split_file
from training.data.own.annotated import AnnotatedPicture, Annotations, Instance
from training.data.own.drawing import (
    Overlap,
    draw,
    idle_twins,
    label_map,
    load_picture,
    shrunk,
    weight_map,
)
from training.data.own.matching import (
    Matches,
    NarratedAction,
    NarratedClip,
    match,
    names_recording,
    nouns_of,
    read_manifests,
    read_narrations,
    without_upload,
)
from training.data.own.names import CLASSES, Names, object_name, own_classes
from training.data.palette import write_label_png
from training.data.pictures import SUFFIXES, pictures_below
from training.data.splits import load_clips
from training.data.tree import Problem
from training.files.disk import read_json, write_json, write_whole
from training.files.lock import sole_writer
from training.files.progress import tracked
from training.files.writable import require_writable

OnError = Literal["refuse", "skip"]

_MOST_INSTANCES = 255
_TOLD = 20
"""Problems that an error lists at most; and names that a note lists at most."""


@dataclass(frozen=True)
class ImportOptions:
    """How annotations become a data set.

    Attributes:
        split: Split of the recordings.
        val_videos: Recordings that go to the split ``val`` instead.
        size: Largest width and height of the pictures.
        on_error: Refuse everything if anything cannot be used, or leave that out and tell.
        progress: Show how far it is.
    """

    split: str = "train"
    val_videos: tuple[str, ...] = ()
    size: tuple[int, int] = (854, 480)
    on_error: OnError = "refuse"
    progress: bool = True


@dataclass
class Imported:
    """What came of it.

    Attributes:
        clips: Number of clips of each split.
        frames: Number of different pictures of each split.
        objects: How many clips have each object, and its class id.
        notes: Choices that were made.
        losses: What could not be used or matched.
        report: All of that in full, as it is written beside the data.
    """

    clips: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    objects: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Clip:
    """A clip that is ready: its record of the split file, and its pictures by frame name."""

    split: str
    record: dict[str, Any]
    pictures: Mapping[str, AnnotatedPicture]

    @property
    def sequence(self) -> str:
        record = self.record
        return sequence_name(record["seq_id"], record["video"], record["verb"], record["noun"])


def import_annotations(
    annotations: Annotations,
    images: Path,
    narrations: Sequence[Path],
    out: Path,
    epic: Vocabulary,
    options: ImportOptions | None = None,
) -> Imported:
    """Writes a split, or two, of the ActionVOS layout.

    Nothing is written before everything has been checked, and a split appears as a whole.

    Args:
        annotations: As an annotation tool's reader gives them.
        images: Folder of the pictures, perhaps in folders below it.
        narrations: Tables in EPIC-KITCHENS's columns; at least video_id, start_timestamp,
            stop_timestamp and narration.
        out: Folder of the data set; may hold other splits.
        epic: EPIC's names of nouns, as far as they are known here.
        options: How.

    Raises:
        ActisegError: Something cannot be used and that is refused, or nothing is left, or the
            split is there already, or `out` cannot be written.
        TableError: The table cannot be read.
    """
    options = options or ImportOptions()
    require_writable(out)
    with sole_writer(out):
        _check_free(out, options)
        names = Names(epic, own_classes(out))
        files = _Files(images)
        result = Imported(notes=list(annotations.notes))
        narrated = read_narrations(narrations)
        result.notes += narrated.notes
        problems = [*annotations.problems, *narrated.problems]
        pictures = _usable(annotations.pictures, names, files, problems)
        recordings = read_manifests(images, narrations)
        matches = match([p for p in pictures if p.instances], narrated.actions, recordings)
        problems += _doubles(matches)
        _refuse(problems, options.on_error)
        clips = _clips(matches, names, options)
        if not clips:
            raise ActisegError(_nothing(narrations, pictures, matches, problems))
        uneven = _several_sizes(clips, options)
        result.notes += _uneven(uneven) + _shared_recordings(clips, out)
        overlaps = _write(clips, files, out, options, problems, names)
        _tell(result, annotations, pictures, files, matches, problems, overlaps, names)
        result.report |= {
            "narrations_repeated": narrated.repeated,
            "narrations_of_several_sizes": uneven,
        }
        for clip in clips:
            result.clips[clip.split] = result.clips.get(clip.split, 0) + 1
        for split in result.clips:
            shown = {p.file for c in clips if c.split == split for p in c.pictures.values()}
            result.frames[split] = len(shown)
            write_json(out / f"import_{split}.json", result.report)
        counted = Counter(e["name"] for c in clips for e in c.record["object_classes"].values())
        result.objects = {name: (names.class_of(name), n) for name, n in sorted(counted.items())}
        return result


class _Files:
    """The pictures of a folder by the names that annotations use.

    Raises:
        ActisegError: There is no such folder, or no picture in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = {path.relative_to(folder).as_posix(): path for path in pictures_below(folder)}
        self._by_name: dict[str, list[str]] = {}
        for relative in self._paths:
            self._by_name.setdefault(PurePosixPath(relative).name, []).append(relative)

    def find(self, file: str) -> Path:
        """The picture of a name.

        Raises:
            ValueError: There is none, or several.
        """
        wanted = PurePosixPath(file)
        if wanted.as_posix() in self._paths:
            return self._paths[wanted.as_posix()]
        if wanted.suffix.lower() not in SUFFIXES:
            raise ValueError(f"is no picture that is read here ({', '.join(sorted(SUFFIXES))})")
        # Tools put "images/" or the name of a task before it; folders that both have are the same.
        named = self._by_name.get(wanted.name) or self._by_name.get(without_upload(wanted.name), [])
        fitting = [r for r in named if _same_end(PurePosixPath(r).parent, wanted.parent)]
        if not fitting and names_recording(wanted.name):
            fitting = named
        if not fitting:
            other = f" (there is {named[0]}, in another folder)" if named else ""
            raise ValueError(f"is not in {self.folder}{other}")
        if len(fitting) > 1:
            raise ValueError(f"is several pictures: {', '.join(fitting[:3])}; name their folder")
        return self._paths[fitting[0]]

    def others(self, used: Iterable[Path]) -> list[str]:
        """Pictures that are not among these."""
        known = set(used)
        return [relative for relative, path in self._paths.items() if path not in known]


def _same_end(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Whether one of two folders ends with all of the other."""
    pairs = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return all(a == b for a, b in pairs)


def _check_free(out: Path, options: ImportOptions) -> None:
    splits = {options.split, *(("val",) if options.val_videos else ())}
    for split in sorted(splits):
        if not split or "/" in split or split.startswith("."):
            raise ActisegError(f"--split is {split!r}; give a name such as train or val")
        taken = [split_file(out, split)]
        taken += [out / kind / split for kind in (IMAGES, LABELS, WEIGHTS)]
        for path in taken:
            if path.exists():
                raise ActisegError(
                    f"{path}: is there already; choose another --out or --split, or remove it"
                )


def _several_sizes(clips: Sequence[_Clip], options: ImportOptions) -> list[str]:
    """Clips whose pictures are not of one size, with a picture of each size."""
    found = []
    for clip in clips:
        sizes: dict[tuple[int, int], str] = {}
        for picture in clip.pictures.values():
            sizes.setdefault(shrunk((picture.width, picture.height), options.size), picture.file)
        if len(sizes) > 1:
            found.append(", ".join(f"{file} {w}x{h}" for (w, h), file in sizes.items()))
    return found


def _uneven(clips: Sequence[str]) -> list[str]:
    """A note on clips whose pictures are not of one size."""
    if not clips:
        return []
    return [
        f"{len(clips)} actions have pictures of several sizes, such as {clips[0]}: they cannot be "
        "read as one clip, so give `actiseg predict` --clip-length 1"
    ]


def _shared_recordings(clips: Sequence[_Clip], out: Path) -> list[str]:
    """Notes on recordings that another split of the data set has: their pictures are too alike."""
    notes = []
    written = {split_file(out, clip.split) for clip in clips}
    own = {clip.record["video"] for clip in clips}
    for path in sorted((out / "ImageSets").glob("*.json")):
        if path in written or not isinstance(read_json(path), list):  # or a split's expressions
            continue
        if shared := sorted(own & {clip.video for clip in load_clips(path)}):
            notes.append(
                f"{path.name} has {len(shared)} of these recordings too ({_some(shared)}): what is "
                "measured on one of both splits says nothing about new recordings"
            )
    return notes


def _usable(
    pictures: Sequence[AnnotatedPicture], names: Names, files: _Files, problems: list[Problem]
) -> list[AnnotatedPicture]:
    """Pictures that are there, with the objects whose names can be used."""
    kept = []
    shown: dict[Path, str] = {}
    for picture in pictures:
        try:
            path = files.find(picture.file)
            if path in shown:
                raise ValueError(f"is the same picture as {shown[path]}")
            if len(picture.instances) > _MOST_INSTANCES:
                raise ValueError(f"has {len(picture.instances)} objects, at most {_MOST_INSTANCES}")
            load_picture(path.read_bytes(), picture)
        except (ValueError, ImageError, OSError) as error:
            problems.append(Problem(picture.source, f"{picture.file} {error}"))
            continue
        shown[path] = picture.file
        instances = []
        for instance in picture.instances:
            try:
                names.class_of(object_name(instance.name, instance.side))
            except ActisegError as error:
                what = f"{instance.where} of {picture.file}: {error}"
                problems.append(Problem(picture.source, what))
                continue
            instances.append(instance)
        kept.append(replace(picture, instances=tuple(instances)))
    return kept


def _doubles(matches: Matches) -> list[Problem]:
    """Pictures of the same frame of the same recording; the later ones are taken out."""
    problems: dict[str, Problem] = {}
    for place, clip in enumerate(matches.clips):
        numbers: dict[int, str] = {}
        kept = []
        for where, picture in clip.pictures:
            first = numbers.setdefault(where.number, picture.file)
            if first == picture.file:
                kept.append((where, picture))
            else:
                what = f"{picture.file} is frame {where.number} of {where.video}, as {first} is"
                problems[picture.file] = Problem(picture.source, what)
        matches.clips[place] = NarratedClip(clip.action, tuple(kept))
    return list(problems.values())


def _refuse(problems: Sequence[Problem], on_error: OnError) -> None:
    if problems and on_error == "refuse":
        listed = "".join(f"\n  {problem}" for problem in problems[:_TOLD])
        more = f"\n  and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        raise ActisegError(
            f"{len(problems)} things cannot be used; nothing was written. Repair them, or leave "
            f"them out with --on-error skip:{listed}{more}"
        )


def _clips(matches: Matches, names: Names, options: ImportOptions) -> list[_Clip]:
    """What is to be written, in the order of the recordings and their actions."""
    clips = []
    numbers: Counter[str] = Counter()
    for found in matches.clips:
        action = found.action
        split = "val" if action.video in options.val_videos else options.split
        noun, noun_class, narrated = nouns_of(action, names)
        objects = _objects(found, names, narrated)
        if not objects:
            continue
        numbers[split] += 1
        shown = {f"frame_{place.number:010d}.jpg": picture for place, picture in found.pictures}
        first, last = (found.pictures[end][0].number for end in (0, -1))
        record = {
            "seq_id": numbers[split],
            "video": action.video,
            "start": action.frames[0] if action.frames else first,
            "narration": action.narration,
            "verb": action.verb,
            "verb_class": action.verb_class,
            "noun": noun,
            "noun_class": noun_class,
            "end": action.frames[1] if action.frames else last,
            "sparse_frames": list(shown),
            "object_classes": objects,
        }
        clips.append(_Clip(split, record, shown))
    missing = sorted(set(options.val_videos) - {found.action.video for found in matches.clips})
    if missing:
        raise ActisegError(
            f"--val-videos names {', '.join(missing)}, of which no picture is both annotated and "
            "narrated"
        )
    return clips


def _objects(
    clip: NarratedClip, names: Names, narrated: frozenset[int]
) -> dict[str, dict[str, Any]]:
    """Objects of a clip, numbered in alphabetical order, and whether they are active.

    Where somebody has said which objects are in use, that counts; else what is narrated is active,
    and hands always.
    """
    said: dict[str, set[bool | None]] = {}
    for _, picture in clip.pictures:
        for instance in picture.instances:
            name = object_name(instance.name, instance.side)
            said.setdefault(name, set()).add(instance.active)
    objects = {}
    for number, name in enumerate(sorted(said), start=1):
        class_id = names.class_of(name)
        is_narrated = class_id in narrated
        used = True in said[name]
        told = bool(said[name] - {None})
        active = used or names.is_hand(name) or (is_narrated and not told)
        objects[str(number)] = {
            "name": name,
            "class_id": class_id,
            "handbox": int(used or names.is_hand(name)),
            "narration": int(is_narrated),
            "positive": int(active),
        }
    return objects


def _write(
    clips: Sequence[_Clip],
    files: _Files,
    out: Path,
    options: ImportOptions,
    problems: list[Problem],
    names: Names,
) -> dict[str, list[Overlap]]:
    """Writes all files; returns the overlaps of each picture."""
    uses: dict[str, list[tuple[_Clip, str]]] = {}
    pictures: dict[str, AnnotatedPicture] = {}
    for clip in clips:
        for frame, picture in clip.pictures.items():
            pictures[picture.file] = picture
            uses.setdefault(picture.file, []).append((clip, frame))
    overlaps: dict[str, list[Overlap]] = {}
    unfinished = out / ".import.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        for file in tracked(sorted(uses), "import", "pictures", shown=options.progress):
            picture = pictures[file]
            rgb, jpeg = load_picture(files.find(file).read_bytes(), picture)
            drawn, found = draw(rgb, jpeg, picture, options.size, _name_of)
            overlaps[file] = found
            for clip, frame in uses[file]:
                entries = clip.record["object_classes"]
                ids = {entry["name"]: int(number) for number, entry in entries.items()}
                narrated = {e["name"] for e in entries.values() if e["narration"]}
                negative = {e["name"] for e in entries.values() if not e["positive"]}
                png = Path(frame).with_suffix(".png").name
                for kind, name in ((IMAGES, frame), (LABELS, png), (WEIGHTS, png)):
                    path = unfinished / kind / clip.split / clip.sequence / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if kind == IMAGES:
                        write_whole(path, drawn.jpeg)
                    elif kind == LABELS:
                        write_label_png(path, label_map(drawn, ids))
                    else:
                        write_label_png(path, weight_map(drawn, narrated, negative))
        for folder in sorted(unfinished.glob("*/*")):
            target = out / folder.relative_to(unfinished)
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    write_whole(out / CLASSES, names.table())
    for split in dict.fromkeys(clip.split for clip in clips):
        write_split(out, split, [clip.record for clip in clips if clip.split == split])
    return overlaps


def _name_of(instance: Instance) -> str:
    return object_name(instance.name, instance.side)


def _nothing(
    tables: Sequence[Path],
    pictures: Sequence[AnnotatedPicture],
    matches: Matches,
    problems: Sequence[Problem],
) -> str:
    """Why nothing is left to write."""
    narrations = ", ".join(map(str, tables))
    told = [f"\n  {problem}" for problem in problems[:_TOLD]]
    if matches.homeless:
        told.append(
            f"\n  the names of {len(matches.homeless)} pictures do not say recording and frame "
            f"(VIDEO_frame_0000000012.jpg), such as {matches.homeless[0]}, or {narrations} does "
            "not have the recording"
        )
    if matches.silent:
        told.append(f"\n  {len(matches.silent)} pictures lie outside of every narration")
    if matches.silent and not matches.timed:
        told.append(
            "\n  the tables have no start_frame and stop_frame, and no manifest.json of `actiseg "
            "frames` tells the time of a picture"
        )
    if pictures and not any(picture.instances for picture in pictures):
        told.append("\n  no picture has an object")
    return f"no annotated picture belongs to a narration of {narrations}:{''.join(told)}"


def _tell(
    result: Imported,
    annotations: Annotations,
    pictures: Sequence[AnnotatedPicture],
    files: _Files,
    matches: Matches,
    problems: Sequence[Problem],
    overlaps: Mapping[str, Sequence[Overlap]],
    names: Names,
) -> None:
    """Fills in what is said to the user, and all of it for the report."""
    used = [files.find(picture.file) for picture in pictures]
    broken = {problem.what.partition(" ")[0] for problem in problems}
    blank = [picture.file for picture in pictures if not picture.instances]
    unlabelled = [file for file in files.others(used) if PurePosixPath(file).name not in broken]
    told = [*matches.unseen, *matches.outside, *(clip.action for clip in matches.clips)]
    several = len({action.table for action in told}) > 1
    unseen, outside = (
        [_row(action, several) for action in listed] for listed in (matches.unseen, matches.outside)
    )
    twins = sum(
        any(idle_twins([_name_of(i) for i in p.instances], [i.active for i in p.instances]))
        for p in pictures
    )
    sideless = sorted(
        {
            _name_of(instance)
            for picture in pictures
            for instance in picture.instances
            if names.is_hand(_name_of(instance)) and _name_of(instance).partition(" ")[2] == ""
        }
    )
    said = [instance.active for picture in pictures for instance in picture.instances]
    result.losses += [str(problem) for problem in problems]
    for what, listed in (
        ("pictures whose recording or frame is not known (VIDEO_frame_NUMBER)", matches.homeless),
        ("annotated pictures outside of every narration", matches.silent),
        ("narrations beyond the end of their recording", outside),
        ("annotated pictures without an object", blank),
    ):
        if listed:
            result.losses.append(f"{len(listed)} {what}: {_some(listed)}")
    for what, listed in (
        ("pictures in the folder that nobody annotated", unlabelled),
        ("narrations without an annotated picture", unseen),
        ("names with a new class id", [f"{n} = {names.class_of(n)}" for n in names.new]),
        ("hands without a side (name them left hand or right hand)", sideless),
    ):
        if listed:
            result.notes.append(f"{len(listed)} {what}: {_some(listed)}")
    if crossing := {file: found for file, found in overlaps.items() if found}:
        file, (first, *_) = next(iter(crossing.items()))
        result.notes.append(
            f"{len(crossing)} pictures have objects that overlap, such as {first.below!r} under "
            f"{first.above!r} in {file} ({100 * first.share:.0f} % of the smaller); the later one "
            "in the file covers the other: cut them or order them in the annotation tool"
        )
    if twins:
        result.notes.append(
            f"{twins} pictures have several objects of one name of which not all are in use; those "
            "that are not belong to the background there"
        )
    if said and not any(active is not None for active in said):
        result.notes.append(
            "nothing says which objects are in use (an attribute such as `in use`): active are "
            "hands and what is narrated"
        )
    result.report = {
        "problems": [asdict(problem) for problem in problems],
        "pictures_without_recording": matches.homeless,
        "pictures_outside_narrations": matches.silent,
        "pictures_without_object": blank,
        "pictures_without_annotation": unlabelled,
        "narrations_without_picture": unseen,
        "narrations_outside_recording": outside,
        "overlaps": {file: [asdict(o) for o in found] for file, found in crossing.items()},
        "new_classes": {name: names.class_of(name) for name in names.new},
        "hands_without_side": sideless,
        "notes": annotations.notes,
    }


def _row(action: NarratedAction, several: bool) -> str:
    table = f"{action.table}, " if several else ""
    return f"{action.video}, {table}line {action.line} {action.narration!r}"


def _some(listed: Sequence[str]) -> str:
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ", ".join(listed[:5]) + more
