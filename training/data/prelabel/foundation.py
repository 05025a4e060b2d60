"""Labels drawn by text-prompted foundation models from weights on disk: nobody had to draw them.

Two ways, by what the folders hold: SAM 3 finds and outlines what a word names; Grounding DINO finds
boxes for a word, and SAM 2 outlines what a box holds. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from actiseg_ros.errors import ActisegError
from training.data.prelabel.drawn import DrawnObject
from training.data.transformers_models import Preparation, model_kind, open_model, open_tokenizer

UInt8 = npt.NDArray[np.uint8]

_TEXT_MODELS = {"sam3": "Sam3Model", "grounding-dino": "GroundingDinoForObjectDetection"}
_BOX_MODELS = {"sam2": "Sam2Model"}
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_SAM3_TOKENS = 32


class FoundationDrawer(Protocol):
    """Draws named objects on a picture."""

    def draw(self, rgb: UInt8, names: Sequence[str]) -> list[DrawnObject]:
        """Objects of a picture, uint8 [H, W, 3]; the best one of each name that is found."""


def foundation_drawer(
    text_model: Path, box_model: Path | None, threshold: float, device: str = "cpu"
) -> FoundationDrawer:
    """Opens the models.

    Args:
        text_model: Folder of SAM 3 or Grounding DINO in transformers' form (`save_pretrained`).
        box_model: Folder of SAM 2, which Grounding DINO needs and SAM 3 does not.
        threshold: Objects with a smaller score are not there, in [0, 1].
        device: PyTorch device.

    Raises:
        ActisegError: A folder holds something else, is damaged, or the installed transformers does
            not know the model.
    """
    if not 0 <= threshold <= 1:
        raise ActisegError(f"--threshold is {threshold}; expected 0 to 1")
    kind = model_kind(text_model, "--text-model", _TEXT_MODELS)
    if kind == "sam3":
        if box_model is not None:
            raise ActisegError("SAM 3 outlines what it finds; leave out --box-model")
        return _Sam3(
            open_model(text_model, "Sam3Model", device), open_tokenizer(text_model),
            Preparation.of(text_model, _HALF), threshold,
        )  # fmt: skip
    if box_model is None:
        raise ActisegError("Grounding DINO finds boxes only; name a folder of SAM 2 by --box-model")
    model_kind(box_model, "--box-model", _BOX_MODELS)
    return _Boxes(
        (
            open_model(text_model, _TEXT_MODELS[kind], device), open_tokenizer(text_model),
            Preparation.of(text_model, _IMAGENET),
        ),
        (open_model(box_model, _BOX_MODELS["sam2"], device), Preparation.of(box_model, _IMAGENET)),
        threshold,
    )  # fmt: skip


class _Sam3:
    """SAM 3: masks of what a word names."""

    def __init__(
        self, model: Any, tokenizer: Any, preparation: Preparation, threshold: float
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._prepare, self._threshold = preparation, threshold

    @torch.no_grad()
    def draw(self, rgb: UInt8, names: Sequence[str]) -> list[DrawnObject]:
        """One object of each name, the surest."""
        device = self._model.device
        side = self._model.config.vision_config.image_size
        pixels = self._prepare(rgb, device, side)
        seen = self._model.get_vision_features(pixel_values=pixels)
        drawn = []
        for name in names:
            words = self._tokenizer(
                name, return_tensors="pt", padding="max_length", max_length=_SAM3_TOKENS,
                truncation=True,
            )  # fmt: skip
            found = self._model(
                vision_embeds=seen, input_ids=words["input_ids"].to(device),
                attention_mask=words["attention_mask"].to(device),
            )  # fmt: skip
            scores = found.pred_logits[0].sigmoid()
            if found.presence_logits is not None:
                scores = scores * found.presence_logits[0].sigmoid()
            best = int(scores.argmax())
            if scores[best] >= self._threshold:
                pixels_of = _enlarged(found.pred_masks[0, best], rgb)
                drawn.append(DrawnObject(name, pixels_of, None, float(scores[best])))
        return drawn


class _Boxes:
    """Grounding DINO's boxes, outlined by SAM 2."""

    def __init__(
        self,
        finder: tuple[Any, Any, Preparation],
        outliner: tuple[Any, Preparation],
        threshold: float,
    ) -> None:
        self._finder, self._outliner, self._threshold = finder, outliner, threshold

    @torch.no_grad()
    def draw(self, rgb: UInt8, names: Sequence[str]) -> list[DrawnObject]:
        """One object of each name, the surest."""
        model, tokenizer, prepare = self._finder
        pixels = prepare(rgb, model.device)
        found: list[tuple[str, Tensor, float]] = []
        for name in names:
            # One name at a time: which name a box is for is then never a matter of tokens.
            words = tokenizer(f"{name.lower()}.", return_tensors="pt").to(model.device)
            answer = model(
                pixel_values=pixels, input_ids=words["input_ids"],
                attention_mask=words["attention_mask"],
            )  # fmt: skip
            scores = answer.logits[0].sigmoid().amax(dim=1)
            best = int(scores.argmax())
            if scores[best] >= self._threshold:
                found.append((name, answer.pred_boxes[0, best].cpu(), float(scores[best])))
        if not found:
            return []
        masks = self._outlines(rgb, torch.stack([box for _, box, _ in found]))
        return [
            DrawnObject(name, _enlarged(mask, rgb), None, score)
            for (name, _, score), mask in zip(found, masks, strict=True)
        ]

    def _outlines(self, rgb: UInt8, boxes: Tensor) -> Tensor:
        """Mask logits [N, h, w] of boxes [N, 4]: centre and size as shares of the picture."""
        model, prepare = self._outliner
        side = model.config.prompt_encoder_config.image_size
        pixels = prepare(rgb, model.device, side)
        middle, size = boxes[:, :2], boxes[:, 2:]
        corners = torch.cat([middle - size / 2, middle + size / 2], dim=1).clamp(0, 1)
        height, width = pixels.shape[2:]
        corners = corners * torch.tensor([width, height, width, height])
        answer = model(
            pixel_values=pixels, input_boxes=corners[None].to(model.device), multimask_output=False
        )
        return answer.pred_masks[0, :, 0].cpu()


def _enlarged(logits: Tensor, rgb: UInt8) -> npt.NDArray[np.bool_]:
    """A mask [h, w] of logits at the picture's size."""
    large = functional.interpolate(
        logits[None, None].float(), size=rgb.shape[:2], mode="bilinear", align_corners=False
    )
    return np.asarray(large[0, 0].cpu().numpy() > 0)
