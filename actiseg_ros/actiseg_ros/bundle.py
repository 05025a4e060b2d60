"""The model bundle: the one thing that crosses from training to the robot.

A bundle is a folder with ``bundle.json``, three ONNX graphs and ``tokenizer.json``.
``bundle.json`` carries the SHA-256 of every other file, so that a truncated copy or an
altered graph is found before a robot acts on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actiseg_ros.errors import BundleError

SCHEMA = 1
"""Newest ``bundle.json`` schema that this code reads."""

GRAPH_NAMES = ("image_encoder", "text_encoder", "prompt_decoder")
DEFAULT_NAME = "tiny"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REMEDY = "copy the bundle again or export it anew with `actiseg export`"


@dataclass(frozen=True)
class InputSpec:
    """Geometry and normalisation of the image encoder's input.

    Attributes:
        height: Rows of the network input, pixels.
        width: Columns of the network input, pixels.
        mean: Mean of R, G, B in [0, 1], subtracted first.
        std: Standard deviation of R, G, B in [0, 1], divided by afterwards.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class PromptSpec:
    """How an object name and a narration become tokens.

    Attributes:
        template: Text with the fields ``{object}`` and ``{narration}``.
        max_tokens: Longer token sequences are cut here.
        pad_id: Token that fills shorter rows of a batch.
        lowercase: Whether the text is lower-cased before it is tokenised.
    """

    template: str
    max_tokens: int
    pad_id: int
    lowercase: bool


@dataclass(frozen=True)
class Thresholds:
    """Decision thresholds of the model, probabilities in [0, 1].

    Attributes:
        positive: An object is active from this probability on.
        mask: A pixel is foreground from this probability on.
        background: Probability that the background competes with in the label map.
    """

    positive: float
    mask: float
    background: float


@dataclass(frozen=True)
class UncertaintySpec:
    """Thresholds of the paper's Eq. 4: margin around 0.5 and spatial gradient."""

    tau_m: float
    tau_e: float


@dataclass(frozen=True)
class NounClass:
    """A class and all names that mean it; the first is its usual name."""

    class_id: int
    names: tuple[str, ...]


class Contents:
    """The bytes of a bundle's files, verified: what was hashed is what is used.

    Each file is opened once, so that one that is replaced between check and use is never run.

    Args:
        folder: Folder of the bundle.
        hashes: SHA-256 (hex) of each file by name.

    Raises:
        BundleError: A file is missing, cut short or altered.
    """

    def __init__(self, folder: Path, hashes: Mapping[str, str]) -> None:
        self._folder, self._hashes = folder, hashes
        self._kept = {name: self._read(name) for name in hashes}

    def take(self, name: str) -> bytes:
        """Hands out a file's bytes, and forgets them: a network is not kept in memory twice.

        Taken again, the file is read and verified again.

        Raises:
            BundleError: By now it is missing, cut short or altered.
        """
        kept = self._kept.pop(name, None)
        return kept if kept is not None else self._read(name)

    def release(self) -> None:
        """Forgets what nobody has taken, such as weights that training alone reads."""
        self._kept.clear()

    def _read(self, name: str) -> bytes:
        path, expected = self._folder / name, self._hashes[name]
        try:
            content = path.read_bytes()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise BundleError(f"{path}: missing from the bundle; {_REMEDY}") from error
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
        actual = hashlib.sha256(content).hexdigest()
        if actual != expected:
            raise BundleError(
                f"{path}: altered or cut short ({len(content)} bytes, SHA-256 "
                f"{actual[:12]}…, bundle.json says {expected[:12]}…); {_REMEDY}"
            )
        return content


@dataclass(frozen=True)
class Bundle:
    """A verified bundle; `load_bundle` makes it.

    Attributes:
        path: Folder of the bundle.
        name: Name of the preset.
        graphs: File of each graph in `GRAPH_NAMES`.
        tokenizer: File of the tokenizer (Hugging Face ``tokenizers`` form).
        gate: Calibration record, or None before `actiseg calibrate` has run.
        files: SHA-256 (hex) of every other file of the bundle.
        contents: Their verified bytes.
        model_id: SHA-256 over everything that decides the network's answers (graphs,
            tokenizer, input, prompt, thresholds). A calibration is valid for one model id only.
    """

    path: Path
    name: str
    input: InputSpec
    prompt: PromptSpec
    thresholds: Thresholds
    uncertainty: UncertaintySpec
    graphs: Mapping[str, Path]
    tokenizer: Path
    vocabulary: tuple[NounClass, ...]
    gate: Mapping[str, Any] | None
    provenance: Mapping[str, Any]
    files: Mapping[str, str]
    contents: Contents = field(repr=False, compare=False)
    model_id: str
    raw: Mapping[str, Any] = field(repr=False)


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def model_id(record: Mapping[str, Any]) -> str:
    """Identifies the network that a ``bundle.json`` record describes.

    Args:
        record: Parsed ``bundle.json``.

    Returns:
        SHA-256 (hex) over the hashes of the graphs and the tokenizer and over every setting
        that changes the network's answers; name, provenance and gate do not enter.
    """
    deciding = {key: record[key] for key in ("input", "prompt", "thresholds", "uncertainty")}
    network = [*record["graphs"].values(), "tokenizer.json"]
    deciding["files"] = {name: record["files"][name] for name in sorted(network)}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def default_bundle_path() -> Path:
    """Finds the embedded bundle: in the source tree, beside the installed code, or in share.

    Returns:
        The first existing candidate folder.

    Raises:
        BundleError: No candidate exists; the message lists all of them.
    """
    candidates = list(_default_candidates())
    for candidate in candidates:
        if (candidate / "bundle.json").is_file():
            return candidate
    listed = ", ".join(str(candidate) for candidate in candidates)
    raise BundleError(
        f"the embedded model bundle '{DEFAULT_NAME}' was not found (looked in {listed}); "
        "reinstall the package or name a bundle folder with the parameter `bundle`"
    )


def _default_candidates() -> Iterator[Path]:
    package = Path(__file__).resolve().parent
    yield package / "bundles" / DEFAULT_NAME
    yield package.parent / "bundles" / DEFAULT_NAME
    share = Path("share") / "actiseg_ros" / "bundles" / DEFAULT_NAME
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        yield Path(prefix) / share
    yield Path(sys.prefix) / share


def load_bundle(path: str | os.PathLike[str] | None = None) -> Bundle:
    """Reads and verifies a model bundle.

    Args:
        path: Folder of the bundle, with ~ for a home; None or an empty string is the embedded
            default.

    Returns:
        The bundle, with every file present and every hash checked.

    Raises:
        BundleError: The folder or a file is missing, cut short, altered or of a newer
            schema, or a field has an impossible value.
    """
    # A shell leaves a tilde alone where it stands behind `bundle:=`.
    folder = Path(path).expanduser() if path else default_bundle_path()
    record = read_record(folder)
    files = _listed_files(folder, record)
    contents = Contents(folder, files)
    try:
        return _parse(folder, record, files, contents)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, BundleError):
            raise
        what = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{folder / 'bundle.json'}: {what}; {_REMEDY}") from error


def read_record(folder: Path) -> dict[str, Any]:
    """Reads ``bundle.json`` and checks its schema version, but no other file.

    Raises:
        BundleError: The folder or the file is missing, unreadable, or of a newer schema.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: there is no such bundle folder; check the path")
    path = folder / "bundle.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{path}: missing, so this is no model bundle; {_REMEDY}") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BundleError(f"{path}: not valid JSON ({error}), perhaps cut short; {_REMEDY}") from (
            error
        )
    schema = record.get("schema") if isinstance(record, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise BundleError(f"{path}: `schema` is {schema!r}, expected {SCHEMA}; {_REMEDY}")
    if schema > SCHEMA:
        raise BundleError(
            f"{path}: schema {schema} is newer than {SCHEMA}, the newest that this version "
            "reads; update actiseg_ros or export the bundle with the same version"
        )
    assert isinstance(record, dict)
    return record


def _listed_files(folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    files = record.get("files")
    if not isinstance(files, dict) or not files:
        raise BundleError(f"{folder / 'bundle.json'}: `files` lists no file; {_REMEDY}")
    for name, expected in files.items():
        # A name with a folder part could point outside the bundle.
        if not name or name in (".", "..") or Path(name).name != name:
            raise BundleError(f"{folder / 'bundle.json'}: bad file name {name!r}; {_REMEDY}")
        if not isinstance(expected, str) or not _SHA256.fullmatch(expected):
            raise BundleError(
                f"{folder / 'bundle.json'}: the hash of {name} is not a SHA-256; {_REMEDY}"
            )
    return {str(name): str(value) for name, value in files.items()}


def _parse(
    folder: Path, record: Mapping[str, Any], files: Mapping[str, str], contents: Contents
) -> Bundle:
    graphs = {name: str(record["graphs"][name]) for name in GRAPH_NAMES}
    for name in (*graphs.values(), "tokenizer.json"):
        if name not in files:
            raise BundleError(f"{folder / 'bundle.json'}: {name} has no hash in `files`; {_REMEDY}")
    return Bundle(
        path=folder,
        name=str(record["name"]),
        input=_input_spec(record["input"]),
        prompt=_prompt_spec(record["prompt"]),
        thresholds=_thresholds(record["thresholds"]),
        uncertainty=UncertaintySpec(
            tau_m=_number(record["uncertainty"], "tau_m", 0.0, 0.5),
            tau_e=_number(record["uncertainty"], "tau_e", 0.0, 100.0),
        ),
        graphs={name: folder / file for name, file in graphs.items()},
        tokenizer=folder / "tokenizer.json",
        vocabulary=tuple(
            NounClass(int(entry["class_id"]), tuple(str(name) for name in entry["names"]))
            for entry in record["vocabulary"]
        ),
        gate=record.get("gate"),
        provenance=record.get("provenance") or {},
        files=files,
        contents=contents,
        model_id=model_id(record),
        raw=record,
    )


def _input_spec(record: Mapping[str, Any]) -> InputSpec:
    color, fit = record.get("color", "RGB"), record.get("fit", "letterbox")
    if color != "RGB" or fit != "letterbox":
        raise ValueError(f"input color {color!r} with fit {fit!r} is unknown, not RGB letterbox")
    mean, std = (tuple(float(value) for value in record[key]) for key in ("mean", "std"))
    numbers = len(mean) == len(std) == 3 and all(abs(value) < 1e6 for value in (*mean, *std))
    if not numbers or not all(value > 0 for value in std):
        raise ValueError(f"input mean {mean} and std {std} must be three numbers each, std > 0")
    return InputSpec(
        height=int(_number(record, "height", 8, 8192)),
        width=int(_number(record, "width", 8, 8192)),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
    )


def _thresholds(record: Mapping[str, Any]) -> Thresholds:
    names = ("positive", "mask", "background")
    found = Thresholds(**{name: _number(record, name, 0.0, 1.0) for name in names})
    if not found.background < found.mask < 1:
        raise ValueError(f"`mask` is {found.mask}, not between `background` and 1")
    return found


def _prompt_spec(record: Mapping[str, Any]) -> PromptSpec:
    template = str(record["template"])
    if "{object}" not in template or "{narration}" not in template:
        raise ValueError(f"prompt template {template!r} lacks {{object}} or {{narration}}")
    return PromptSpec(
        template=template,
        max_tokens=int(_number(record, "max_tokens", 4, 4096)),
        pad_id=int(_number(record, "pad_id", 0, 1 << 31)),
        lowercase=bool(record.get("lowercase", False)),
    )


def _number(record: Mapping[str, Any], key: str, low: float, high: float) -> float:
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"`{key}` is {value!r}, not a number in [{low}, {high}]")
    return value
