"""The form in which ActiSeg-NL's authors published noisy names and noisy label maps.

Names: a folder with `SPLIT_objects_category.json` and `SPLIT_meta_expressions_promptaction.json`,
whose fields `category_org`, `class_id_org` and `exp_org` hold the clean values. Label maps:
`SPLIT/SEQUENCE/FRAME.png`, with the clean map as `FRAME_org.png` beside each changed one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import ActisegError
from actiseg_ros.prompts import PROMPT_TEMPLATE
from training.data.expressions import meta_expressions, objects_category
from training.data.palette import read_label_png
from training.data.splits import record_name
from training.files.digests import files_digest
from training.files.disk import read_json
from training.noise.text import NameTable, NoisyName

Labels = npt.NDArray[np.uint8]
OBJECTS, EXPRESSIONS = "objects_category.json", "meta_expressions_promptaction.json"
MANIFEST = "manifest.json"
CLEAN_SUFFIX = "_org"


def published_names(
    records: Sequence[Mapping[str, Any]], names: NameTable
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Noisy names as published: content of the objects file and of the expressions file.

    Args:
        records: Clean clips in the form of ``ImageSets/SPLIT.json``, with narrations and frames.
        names: What every object is called.
    """
    clean = [dict(record) for record in records]
    objects, expressions = objects_category(clean), meta_expressions(clean)
    narrations = {record_name(record): str(record["narration"]) for record in records}
    for clip, content in objects["videos"].items():
        for key, entry in content["objects"].items():
            noisy = names[clip, int(key)]
            entry["class_id_org"], entry["category_org"] = entry["class_id"], entry["category"]
            entry["class_id"], entry["category"] = noisy.class_id, noisy.name
    for clip, content in expressions["videos"].items():
        for entry in content["expressions"].values():
            noisy = names[clip, int(entry["obj_id"])]
            entry["class_id_org"], entry["exp_org"] = entry["class_id"], entry["exp"]
            entry["class_id"] = noisy.class_id
            entry["exp"] = PROMPT_TEMPLATE.format(object=noisy.name, narration=narrations[clip])
    return objects, expressions


def read_published_names(
    folder: Path, split: str, records: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, int], NoisyName]:
    """Noisy names of a folder, checked clip by clip against the clean split.

    The folder may hold more clips than the split.

    Args:
        folder: Folder with both files.
        split: Name of the split; `train_part` takes the files of `train` if it has none itself.
        records: Clean clips in the form of ``ImageSets/SPLIT.json``.

    Raises:
        ActisegError: If a file is missing or of another form, or a clip differs from the clean one
            in its objects, their clean names, classes and flags, its prompts or its frames.
    """
    objects_file, expressions_file = (_file(folder, split, name) for name in (OBJECTS, EXPRESSIONS))
    objects, expressions = _videos(objects_file), _videos(expressions_file)
    names: dict[tuple[str, int], NoisyName] = {}
    for record in records:
        clip = record_name(record)
        for file, videos in ((objects_file, objects), (expressions_file, expressions)):
            if clip not in videos:
                raise ActisegError(
                    f"{file}: lacks the clip {clip}; it has {len(videos)} clips of another "
                    "preparation, or of another split"
                )
        try:
            own = _names_of_objects(record, objects[clip])
            difference = next(_differing_expressions(record, own, expressions[clip]), None)
        except _DifferenceError as error:
            raise ActisegError(f"{objects_file}: {clip}, {error}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ActisegError(
                f"{folder}: {clip} is not in the published form ({type(error).__name__}: {error})"
            ) from error
        if difference is not None:
            raise ActisegError(f"{expressions_file}: {clip}, {difference}")
        names.update({(clip, key): name for key, name in own.items()})
    return names


class PublishedMasks:
    """Noisy label maps of a folder; each is checked against the clean one that it stands for.

    Args:
        folder: Folder with ``SEQUENCE/FRAME.png`` or ``SPLIT/SEQUENCE/FRAME.png``. Beside a map
            that differs from the clean one lies the clean one as ``FRAME_org.png``; in a folder
            that `actiseg noise masks` wrote in its own form, ``manifest.json`` stands for these.
        split: Name of the split.
        records: Its clips; the folder may hold more.

    Attributes:
        manifest: What `actiseg noise masks` said of the maps; empty if somebody else wrote them.
        sha256: Digest of the maps: the manifest's, else one of their names and sizes.

    Raises:
        ActisegError: If a map is missing, or the manifest is not of a complete folder.
    """

    def __init__(self, folder: Path, split: str, records: Sequence[Mapping[str, Any]]) -> None:
        self._folder = _labels_folder(folder, split)
        self.manifest = _manifest(self._folder, folder)
        self._has_originals = not self.manifest or self.manifest.get("form") == "published"
        paths = [
            self._path(record_name(record), Path(frame).stem)
            for record in records
            for frame in record.get("sparse_frames", ())
        ]
        for path in paths:
            if not path.is_file():
                raise ActisegError(
                    f"{path}: no noisy labels of this frame of the clean split; is the folder "
                    "complete, and of the same preparation?"
                )
        self.sha256: str = self.manifest.get("sha256") or files_digest(self._folder, paths)

    def labels(self, clip: str, frame: str, clean: Labels) -> Labels:
        """The noisy label map of a frame, uint8 [H, W].

        Args:
            clip: Sequence name.
            frame: Frame name without suffix.
            clean: The clean label map.

        Raises:
            ActisegError: If it does not belong to this clean map.
        """
        path = self._path(clip, frame)
        noisy = read_label_png(path)
        original = path.with_name(f"{path.stem}{CLEAN_SUFFIX}.png")
        if noisy.shape != clean.shape:
            raise ActisegError(f"{path}: {noisy.shape}, but the clean map is {clean.shape}")
        if original.is_file():
            if not np.array_equal(read_label_png(original), clean):
                raise ActisegError(f"{original}: differs from the clean labels of {clip}/{frame}")
        elif self._has_originals and not np.array_equal(noisy, clean):
            raise ActisegError(
                f"{path}: differs from the clean labels of {clip}/{frame}, but there is no "
                f"{original.name} beside it; is it of another preparation?"
            )
        return noisy

    def _path(self, clip: str, frame: str) -> Path:
        return self._folder / clip / f"{frame}.png"


class _DifferenceError(Exception):
    """What differs between a published clip and the clean one."""


def _file(folder: Path, split: str, name: str) -> Path:
    for beginning in (split, split.split("_")[0]):
        if (file := folder / f"{beginning}_{name}").is_file():
            return file
    raise ActisegError(f"{folder}: there is no {split}_{name}")


def _labels_folder(folder: Path, split: str) -> Path:
    if not folder.is_dir():
        raise ActisegError(f"{folder}: no folder of noisy labels")
    for beginning in (split, split.split("_")[0]):
        if (folder / beginning).is_dir():
            return folder / beginning
    return folder


def _manifest(*folders: Path) -> Mapping[str, Any]:
    """What the first of some folders that has a manifest says of its label maps."""
    file = next((own for folder in folders if (own := folder / MANIFEST).exists()), None)
    if file is None:
        return {}
    manifest = read_json(file)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("sha256"), str):
        raise ActisegError(
            f"{file}: has no `sha256`, so its folder is not complete; run `actiseg noise masks` "
            "into it again"
        )
    return manifest


def _videos(file: Path) -> Mapping[str, Any]:
    content = read_json(file)
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict):
        raise ActisegError(f"{file}: has no `videos`; expected noisy names as published")
    return videos


def _names_of_objects(
    record: Mapping[str, Any], published: Mapping[str, Any]
) -> dict[int, NoisyName]:
    """Noisy names of a clip by object id; raises `_DifferenceError`."""
    clean = {int(key): entry for key, entry in record["object_classes"].items()}
    found = {int(key): entry for key, entry in published["objects"].items()}
    if clean.keys() != found.keys():
        raise _DifferenceError(f"has the objects {sorted(found)}, the clean split {sorted(clean)}")
    for key, entry in clean.items():
        for field, own in (("category_org", "name"), ("class_id_org", "class_id"),
                           ("positive", "positive")):  # fmt: skip
            if found[key][field] != entry[own]:
                raise _DifferenceError(
                    f"object {key}: {field} is {found[key][field]!r}, the clean split's {own} "
                    f"{entry[own]!r}"
                )
    return {key: NoisyName(str(e["category"]), int(e["class_id"])) for key, e in found.items()}


def _differing_expressions(
    record: Mapping[str, Any], names: Mapping[int, NoisyName], published: Mapping[str, Any]
) -> Iterator[str]:
    """What differs between a clip's prompts and frames and those that belong to its names."""
    clean = {int(key): entry for key, entry in record["object_classes"].items()}
    found = {int(entry["obj_id"]): entry for entry in published["expressions"].values()}
    if found.keys() != clean.keys():
        yield f"has prompts of the objects {sorted(found)}, the clean split {sorted(clean)}"
        return
    for key, entry in found.items():
        for field, name in (("exp", names[key].name), ("exp_org", clean[key]["name"])):
            prompt = PROMPT_TEMPLATE.format(object=name, narration=record["narration"])
            if entry[field] != prompt:
                yield f"object {key}: {field} is {entry[field]!r}, not {prompt!r}"
    frames = {Path(name).stem for name in record.get("sparse_frames", ())}
    if missing := sorted(frames - {str(name).removesuffix(".jpg") for name in published["frames"]}):
        yield f"lacks the frames {', '.join(missing)} of the clean split"
