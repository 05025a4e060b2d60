"""COCO exports: CVAT, Label Studio, Roboflow and whatever else writes "COCO instances"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError
from training.data.own.annotated import (
    AnnotatedPicture,
    Annotations,
    Instance,
    check_covers,
    check_size,
    mask_tools,
    polygons_rle,
    said_of,
)
from training.data.tree import Problem
from training.files.disk import read_json

_REMEDY = "export it from the annotation tool as COCO (instances)"


def read_coco(path: Path) -> Annotations:
    """Reads a COCO file: polygons of one or several parts, run lengths (also of crowds, holes).

    Args:
        path: File with `images`, `annotations` and `categories`.

    Returns:
        The pictures, and a problem for each annotation or picture that cannot be used.

    Raises:
        ActisegError: The file is missing or has another form.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ActisegError(f"{path}: is no COCO file ({type(content).__name__}); {_REMEDY}")
    for part in ("images", "annotations", "categories"):
        listed = content.get(part)
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise ActisegError(f"{path}: `{part}` is no list of objects; {_REMEDY}")
    found = Annotations()
    names = _categories(path, content["categories"], found)
    images = _images(path, content["images"], found)
    instances: dict[Any, list[Instance]] = {key: [] for key in images}
    seen: set[Any] = set()
    for place, annotation in enumerate(content["annotations"], start=1):
        number = annotation.get("id", f"number {place}")
        try:
            if "id" in annotation and _key(number) in seen:
                raise ValueError("its id is that of another annotation")
            seen.add(_key(number))
            image, instance = _instance(annotation, f"annotation {number}", images, names)
        except ValueError as error:
            found.problems.append(Problem(str(path), f"annotation {number}: {error}"))
            continue
        instances[image].append(instance)
    found.pictures = [
        AnnotatedPicture(file, width, height, tuple(instances[key]), str(path))
        for key, (file, width, height) in images.items()
    ]
    return found


def _key(value: Any) -> Any:
    """An id as it can be looked up; some tools write numbers as texts."""
    if type(value) is int or (isinstance(value, str) and value):
        return str(value)
    raise ValueError(f"the id {value!r} is neither a number nor a text")


def _categories(
    path: Path, categories: list[Mapping[str, Any]], found: Annotations
) -> dict[str, str]:
    names: dict[str, str] = {}
    for category in categories:
        name = category.get("name")
        try:
            key = _key(category.get("id"))
        except ValueError as error:
            raise ActisegError(f"{path}: category {name!r}: {error}") from error
        if not isinstance(name, str) or not name.strip():
            raise ActisegError(f"{path}: category {key} has the name {name!r}; give it one")
        if names.setdefault(key, name) != name:
            raise ActisegError(
                f"{path}: categories {names[key]!r} and {name!r} have the same id {key}; {_REMEDY}"
            )
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        found.notes.append(
            f"{path}: several categories are called {', '.join(map(repr, twice))}; one object each"
        )
    return names


def _images(
    path: Path, images: list[Mapping[str, Any]], found: Annotations
) -> dict[str, tuple[str, int, int]]:
    """File, width and height of each picture by its id."""
    known: dict[str, tuple[str, int, int]] = {}
    files: set[str] = set()
    for place, image in enumerate(images, start=1):
        file = image.get("file_name")
        what = f"image {image.get('id', f'number {place}')}"
        try:
            key = _key(image.get("id"))
            if not isinstance(file, str) or not file.strip():
                raise ValueError(f"file_name is {file!r}")
            file = file.replace("\\", "/")  # as exports made on Windows have it
            if key in known:
                raise ValueError(f"its id is that of {known[key][0]}")
            if file in files:
                raise ValueError(f"{file} is listed twice")
            known[key] = (file, *check_size(image.get("width"), image.get("height")))
        except ValueError as error:
            found.problems.append(Problem(str(path), f"{what}: {error}"))
            continue
        files.add(file)
    return known


def _instance(
    annotation: Mapping[str, Any],
    where: str,
    images: Mapping[str, tuple[str, int, int]],
    names: Mapping[str, str],
) -> tuple[str, Instance]:
    """Id of the picture, and the object; raises ValueError."""
    image, category = _key(annotation.get("image_id")), _key(annotation.get("category_id"))
    if image not in images:
        raise ValueError(f"image_id {image} is none of the pictures")
    if category not in names:
        raise ValueError(f"category_id {category} is none of the categories")
    given = annotation.get("attributes")
    attributes = list(annotation.items())
    if isinstance(given, dict):
        attributes += given.items()
    # Some tools write attributes as a list of {name, value}.
    elif isinstance(given, list) and all(isinstance(item, dict) for item in given):
        attributes += [(item.get("name"), item.get("value")) for item in given]
    active, side = said_of(attributes)
    file, width, height = images[image]
    try:
        rle = check_covers(_shape(annotation.get("segmentation"), width, height))
    except ValueError as error:
        raise ValueError(f"{names[category]!r} of {file}: {error}") from error
    return image, Instance(names[category], rle, active, side, where)


def _shape(segmentation: Any, width: int, height: int) -> Mapping[str, Any]:
    if isinstance(segmentation, list):
        if not segmentation:
            raise ValueError("has a box only; draw its outline")
        flat = segmentation if isinstance(segmentation[0], list) else [segmentation]
        return polygons_rle(flat, width, height)
    if not isinstance(segmentation, dict):
        raise ValueError("has a box only; draw its outline")
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"its run lengths have the size {size}, not [{height}, {width}]")
    tools = mask_tools()
    if isinstance(counts, list):
        if (
            not all(type(run) is int and run >= 0 for run in counts)
            or sum(counts) != width * height
        ):
            raise ValueError("its run lengths do not fill the picture")
        rle: Mapping[str, Any] = tools.frPyObjects(segmentation, height, width)
        return rle
    if not isinstance(counts, str) or _decoded_length(counts) != width * height:
        raise ValueError("its run lengths do not fill the picture")
    return {"size": [height, width], "counts": counts.encode("ascii")}


def _decoded_length(counts: str) -> int:
    """Pixels that COCO's compressed run lengths cover; -1 if they are damaged.

    The reader itself believes what it is given, and writes behind the end of the picture.
    """
    runs: list[int] = []
    value = shift = 0
    for char in counts:
        bits = ord(char) - 48
        if not 0 <= bits < 64:
            return -1
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        # From the fourth run on, differences to the run before the last one are stored.
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        if runs[-1] < 0:
            return -1
        value = shift = 0
    return -1 if shift else sum(runs)
