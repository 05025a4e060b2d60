"""Tensors of checkpoint files as people have them, without running anything that is in a file.

PyTorch files hold pickles, which can name any function to call. They are read with
`weights_only=True`, and whatever they name besides PyTorch's own tensor types (options, optimisers
of other libraries, a NumPy number) becomes an inert placeholder. What an honest file has no reason
to name, such as functions of the interpreter that run code, is refused.
"""

from __future__ import annotations

import builtins
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from actiseg_ros.errors import ActisegError
from training.checkpoints.published_names import from_published, to_published

State = dict[str, Tensor]

_ENTRIES = ("model", "state_dict", "model_state_dict")
"""Where training programs keep the weights, the preferred one first."""
_DEPTH = 3
"""Mappings inside one another that are searched for weights."""
_LEGACY_PICKLES = 4
"""Pickles before the numbers in PyTorch's form from before 1.6; the last holds the content."""
_HARMLESS = frozenset(
    {"argparse", "collections", "datetime", "decimal", "enum", "fractions", "pathlib", "uuid"}
)
"""Modules of Python's library whose types honest files hold beside their weights."""
_HARMLESS_NAMES = ("_codecs.encode", "builtins.getattr")
"""Functions that NumPy's numbers and Enum's members are pickled with."""
_REMEDY = "save the weights alone: torch.save({'model': network.state_dict()}, FILE)"


class _Placeholder:
    """Stands for anything that is no tensor; it takes every argument and keeps none."""

    def __new__(cls, *_args: object, **_named: object) -> _Placeholder:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        """Takes any state."""


def read_state(path: Path) -> State:
    """Reads the tensors of a checkpoint file.

    Weights are found at the top or below `model`, `state_dict` or any other name, and lose what
    wrappers put before all of their names (`module.` of DistributedDataParallel, `_orig_mod.` of
    torch.compile).

    Args:
        path: A safetensors file, or a PyTorch file (zip or legacy form).

    Raises:
        ActisegError: If the file is absent, damaged, not a checkpoint, or names what could run
            code.
    """
    path = Path(path)
    if not path.is_file():
        raise ActisegError(f"{path}: no such checkpoint file")
    if path.suffix == ".safetensors":
        return unwrapped(load_weights(path)[0])
    found = list(_states(_content(path)))
    if not found:
        raise ActisegError(
            f"{path}: no tensors found by name, up to {_DEPTH} levels deep; {_REMEDY}"
        )
    preferred = [state for name, state in found if name in _ENTRIES]
    return unwrapped(preferred[0] if preferred else max((s for _, s in found), key=len))


def _content(path: Path) -> Any:
    """What a PyTorch file holds, with placeholders."""
    try:
        named = {name for stream in _pickles(path) for name in _named(stream)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ActisegError(f"{path}: not a readable PyTorch file ({error})") from error
    for name in sorted(named):
        if _suspicious(name):
            raise ActisegError(
                f"{path}: refused, since it names {name}, which could run code; {_REMEDY}"
            )
    placeholders: list[Any] = [(_Placeholder, name) for name in named]
    try:
        with torch.serialization.safe_globals(placeholders):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].partition(". ")[0]
        raise ActisegError(
            f"{path}: refused, since it is damaged or holds more than can be read without running "
            f"it ({reason}); {_REMEDY}"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ActisegError(f"{path}: not a readable PyTorch file ({error})") from error


def _pickles(path: Path) -> Iterator[BinaryIO]:
    """Streams that each begin with a pickle of the file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("/data.pkl"):
                    with archive.open(name) as stream:
                        yield stream  # type: ignore[misc]
        return
    with path.open("rb") as stream:
        for _ in range(_LEGACY_PICKLES):
            yield stream


def _named(stream: BinaryIO) -> Iterator[str]:
    """Full names of the functions and types that a pickle asks for; nothing is loaded."""
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name == "GLOBAL":
            # The name that Python 3 has for it, as PyTorch reads it.
            yield str(argument).replace(" ", ".").replace("__builtin__.", "builtins.")


def _suspicious(name: str) -> bool:
    """Whether a name belongs to the interpreter and is none that honest files need."""
    module, _, own = name.partition(".")
    if name in _HARMLESS_NAMES or module in _HARMLESS:
        return False
    if module == "builtins":
        return not isinstance(getattr(builtins, own, None), type)
    return module in sys.stdlib_module_names


def _states(content: object, name: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    """All mappings with named tensors, by their own name; outer ones first."""
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors and all(isinstance(key, str) for key in tensors):
        yield name, tensors
    for key, value in content.items():
        yield from _states(value, str(key), depth + 1)


def unwrapped(state: State) -> State:
    """The state without what stands before all of its names, if it is only known without."""
    names = {name: name.replace("_orig_mod.", "") for name in state}
    for _ in range(_DEPTH + 1):
        if any(map(_is_known, names.values())):
            return {short: state[name] for name, short in names.items()}
        # Wrappers may add tensors of their own, without a dot: AveragedModel's `n_averaged`.
        first = {short.partition(".")[0] for short in names.values() if "." in short}
        if len(first) != 1:
            break
        prefix = f"{first.pop()}."
        names = {name: short.removeprefix(prefix) for name, short in names.items()}
    return state


def _is_known(name: str) -> bool:
    """Whether a published network or one of ours may have a tensor of this name."""
    if from_published(name) is not None:
        return True
    try:
        return bool(to_published(name))
    except KeyError:
        return False


def load_weights(path: Path) -> tuple[State, dict[str, str]]:
    """Reads a safetensors file.

    Returns:
        Tensors by name, and the text metadata (empty if the file has none).

    Raises:
        ActisegError: If the file is absent or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise ActisegError(f"{path}: no such checkpoint file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ActisegError(f"{path}: not a readable safetensors file ({error})") from error


def refuse_wrong_shapes(origin: str, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Compares (theirs, ours) by the file's name of the tensor."""
    wrong = [name for name, (theirs, ours) in pairs.items() if theirs.shape != ours.shape]
    if wrong:
        first = "; ".join(
            f"{name} is {list(pairs[name][0].shape)}, the model needs {list(pairs[name][1].shape)}"
            for name in wrong[:3]
        )
        raise ActisegError(f"{origin}: {len(wrong)} shape(s) disagree: {first}")
