"""Models that lie in a folder in transformers' form (`save_pretrained`); nothing is downloaded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import Tensor

from actiseg_ros.errors import ActisegError
from training.data.pictures import normalise
from training.files.disk import read_json

UInt8 = npt.NDArray[np.uint8]

_SAVED_AS = {"sam2_video": "sam2", "sam3_video": "sam3"}
"""Published weights call themselves the video model, of which the picture's model is a part."""
_SIDES = 800, 1333
"""Shorter side of a picture, and the most that the longer one may be then, pixels."""


def model_kind(folder: Path, option: str, known: Collection[str] = ()) -> str:
    """The `model_type` of a folder's config.json.

    Args:
        folder: Of the model.
        option: Of the command that named it, for messages.
        known: What may be there; anything if empty.

    Raises:
        ActisegError: If there is no such file, or another model.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ActisegError(
            f"{option} {folder}: has no config.json; name a folder with a model in transformers' "
            "form that lies on this machine"
        )
    content = read_json(path)
    kind = content.get("model_type") if isinstance(content, dict) else None
    kind = _SAVED_AS.get(str(kind), str(kind))
    if known and kind not in known:
        raise ActisegError(f"{option} {folder}: is {kind!r}; there are {', '.join(known)}")
    return kind


def open_model(folder: Path, name: str, device: str) -> Any:
    """A model of a folder, in evaluation mode; its weights are safetensors, never pickles.

    Args:
        folder: Of the model.
        name: Its class in transformers, or `AutoModel`.
        device: PyTorch device.

    Raises:
        ActisegError: If it is damaged, or the installed transformers does not know it.
    """
    kind: Any = getattr(transformers, name, None)
    if kind is None:
        raise ActisegError(
            f"{folder}: transformers {transformers.__version__} has no {name}; install a newer one"
        )
    transformers.utils.logging.disable_progress_bar()  # a second's work
    with _explained(folder):
        opened = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        return opened.eval().to(device)


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder.

    Raises:
        ActisegError: If it is missing or damaged.
    """
    with _explained(folder):
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever the library raises on damaged or missing files
        raise ActisegError(
            f"{folder}: cannot be opened ({error}); copy the model's folder again, with its "
            "safetensors files"
        ) from error


@dataclass(frozen=True)
class Preparation:
    """How a model wants its pictures. Done here: the library's own needs torchvision.

    Attributes:
        mean: Of R, G and B in [0, 1], taken off.
        std: Divided by.
        sides: Height and width of a model that takes one size only; else None.
        shortest: Shorter side, and the most that the longer one may be, of one that keeps shapes.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    sides: tuple[int, int] | None
    shortest: tuple[int, int] = _SIDES

    @classmethod
    def of(cls, folder: Path, usual: tuple[tuple[float, ...], tuple[float, ...]]) -> Preparation:
        """What the folder says, else what is usual."""
        content: dict[str, Any] = {}
        for name in ("processor_config.json", "preprocessor_config.json"):
            if (folder / name).is_file():
                found = read_json(folder / name)
                content |= found.get("image_processor", found)
        size = content.get("size") or {}
        if isinstance(size, int):  # as older folders have it
            size = {"height": size, "width": size}
        try:
            mean, std = (
                tuple(map(float, content.get(name) or usual[place]))
                for place, name in enumerate(("image_mean", "image_std"))
            )
            sides = (int(size["height"]), int(size["width"])) if "height" in size else None
            short = int(size.get("shortest_edge", _SIDES[0]))
            return cls(mean, std, sides, (short, int(size.get("longest_edge", _SIDES[1]))))
        except (TypeError, ValueError) as error:
            raise ActisegError(f"{folder}: its preprocessor_config.json is damaged") from error

    def __call__(self, rgb: UInt8, device: torch.device, side: int = 0) -> Tensor:
        """A batch of one picture, float32 [1, 3, h, w]; `side` is for who has no size noted."""
        height, width = rgb.shape[:2]
        if self.sides is not None or side:
            size = self.sides or (side, side)
        else:
            scale = min(
                self.shortest[0] / min(height, width), self.shortest[1] / max(height, width)
            )
            size = max(1, round(height * scale)), max(1, round(width * scale))
        small = cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_LINEAR)
        pixels = torch.from_numpy(np.ascontiguousarray(small)).permute(2, 0, 1)[None]
        return normalise(pixels, self.mean, self.std).to(device)
