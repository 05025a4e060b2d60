"""How alike every object and every noun are, by a frozen image–text encoder, computed beforehand.

A network that has seen millions of captioned pictures may know from a region alone which noun fits
it. `repair` takes such scores as evidence of which class a region is of (docs/repair.md); how much
they are worth there is learned, so that an encoder that knows nothing does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from training.checkpoints.reading import load_weights
from training.config.noise import NameOptions, NoiseOptions
from training.data.layout import IMAGES, LABELS, image_folder, split_file
from training.data.palette import read_label_png
from training.data.pictures import read_rgb
from training.data.splits import Clip, clip_files, load_clips
from training.data.transformers_models import Preparation, model_kind, open_model, open_tokenizer
from training.files.claims import claim
from training.files.digests import files_digest
from training.files.disk import read_json, write_whole
from training.files.lock import sole_writer
from training.files.progress import tracked
from training.noise.mask import MaskNoise, check_kernel
from training.strategies.support.nouns import Lexicon

UInt8 = npt.NDArray[np.uint8]

MANIFEST = "manifest.json"
_CLIP_PIXELS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation that CLIP's pictures are normalised with."""
_BATCH = 32
_CALLED = {"split": "split file", "files": "set of pictures and label images"}
_REMEDY = "run actiseg region-scores with the data, the split and the names of this training"


@dataclass(frozen=True)
class RegionView:
    """What of an object the encoder is shown."""

    template: str = "a photo of a {noun}"
    """Sentence about a noun."""
    frames: int = 3
    """The object's frames that count, those that show most of it."""
    margin: float = 0.1
    """By how much of its longer side the box around the object is enlarged on each side, 0 to 1."""
    mask_noise: int = 0
    """Kernel of Alg. 2 over the stored masks, as in the training that follows; 0 for none. Objects
    that are not active keep theirs."""

    def __post_init__(self) -> None:
        if "{noun}" not in self.template:
            raise ActisegError(f"--template is {self.template!r}; it must hold {{noun}}")
        if self.frames < 1:
            raise ActisegError(f"--frames is {self.frames}; it must be at least 1")
        if not 0 <= self.margin <= 1:
            raise ActisegError(f"--margin is {self.margin}; it must be in [0, 1]")
        if self.mask_noise:
            check_kernel(self.mask_noise)


class ImageTextEncoder:
    """CLIP, SigLIP, ALIGN or another one that has features for pictures and for sentences.

    Args:
        folder: In transformers' form, with tokenizer and, by rights, preprocessor_config.json.
        device: PyTorch device.

    Raises:
        ActisegError: If the folder is damaged or holds another kind of model.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        kind = model_kind(folder, "--encoder")
        self._model = open_model(folder, "AutoModel", device)
        sizes: Any = getattr(self._model.config, "vision_config", None)
        ways = (hasattr(self._model, f"get_{what}_features") for what in ("image", "text"))
        if not all(ways) or not hasattr(sizes, "image_size"):
            raise ActisegError(
                f"--encoder {folder}: {kind!r} has no features of pictures and sentences in one "
                "space; name a folder with CLIP, SigLIP or the like"
            )
        self._tokenizer = open_tokenizer(folder)
        self._prepare, self._side = Preparation.of(folder, _CLIP_PIXELS), int(sizes.image_size)

    @torch.no_grad()
    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Directions of sentences, float32 [V, D] of length 1."""
        length = self._model.config.text_config.max_position_embeddings
        made = []
        for first in range(0, len(texts), _BATCH):
            words = self._tokenizer(
                list(texts[first : first + _BATCH]), return_tensors="pt", padding="max_length",
                max_length=length, truncation=True,
            ).to(self._model.device)  # fmt: skip
            made.append(_direction(self._model.get_text_features(**words)))
        return torch.cat(made)

    @torch.no_grad()
    def pictures(self, pictures: Sequence[UInt8]) -> Tensor:
        """Directions of pictures, RGB, uint8 [h, w, 3] each: float32 [N, D] of length 1."""
        made = []
        for first in range(0, len(pictures), _BATCH):
            pixels = [
                self._prepare(rgb, self._model.device, self._side)
                for rgb in pictures[first : first + _BATCH]
            ]
            made.append(_direction(self._model.get_image_features(pixel_values=torch.cat(pixels))))
        return torch.cat(made)


def _direction(answer: Any) -> Tensor:
    """Features of either form that versions of the library give, float32 [N, D] of length 1."""
    features = answer if isinstance(answer, Tensor) else answer.pooler_output
    return F.normalize(features.float(), dim=-1).cpu()


def score_regions(
    data: Path,
    split: str,
    encoder: Path,
    out: Path,
    view: RegionView,
    *,
    names: NameOptions,
    device: str = "cpu",
) -> int:
    """Writes the scores of a split's objects; run again, it continues where it stopped.

    `out` holds a file for each clip, with the cosines [V] of each object and all nouns under the
    object's id, and `manifest.json`.

    Args:
        data: Folder in the ActionVOS layout.
        split: Name of the split.
        encoder: Folder of an `ImageTextEncoder`.
        out: Folder to write.
        view: What the encoder is shown.
        names: Where the nouns come from, as for the noise of the training that follows.
        device: PyTorch device.

    Returns:
        How many clips there are.

    Raises:
        ActisegError: If something cannot be read, or `out` holds other scores, or those of other
            pictures or label images, as far as names and sizes tell.
    """
    file = split_file(data, split)
    clips = load_clips(file)
    nouns = sorted(Lexicon.of_split(file, names).classes)
    model = ImageTextEncoder(encoder, device)
    weights = {path.name: file_sha256(path) for path in sorted(encoder.glob("*.safetensors"))}
    settings = {**vars(view), "encoder": weights, "split": file_sha256(file), "nouns": nouns}
    folder = image_folder(data, file)
    with sole_writer(out):
        claim(out / MANIFEST, settings, "scores")
        # Added apart: folders of before do not have it yet.
        files = {"files": _shown_digest(data, file, clips)}
        claim(out / MANIFEST, files, "scores", may_add=True)
        sentences = model.sentences([view.template.replace("{noun}", noun) for noun in nouns])
        missing = [clip for clip in clips if not _file(out, clip).exists()]
        for clip in tracked(missing, "scores", "clips"):
            crops = object_crops(data, folder, clip, view)
            scores: dict[str, Tensor] = {}
            if crops:
                seen = model.pictures([crop for own in crops.values() for crop in own])
                parts = seen.split([len(own) for own in crops.values()])
                for object_id, part in zip(crops, parts, strict=True):
                    scores[str(object_id)] = part.mean(0) @ sentences.T
            write_whole(_file(out, clip), save(scores))
    return len(clips)


def object_crops(data: Path, folder: str, clip: Clip, view: RegionView) -> dict[int, list[UInt8]]:
    """Parts of a clip's frames around its objects, RGB, uint8 [h, w, 3] each, by object id.

    Objects that no frame shows are left out.
    """
    noise = MaskNoise(view.mask_noise, "keep") if view.mask_noise else None
    active = [entry.object_id for entry in clip.objects if entry.positive]
    seen: dict[int, list[tuple[int, str, tuple[float, ...]]]] = {}
    for name in clip.frames:
        labels = read_label_png(data / LABELS / folder / clip.sequence / f"{name}.png")
        labels = labels if noise is None else noise.labels(labels, active)
        for entry in clip.objects:
            rows, columns = np.nonzero(labels == entry.object_id)
            if len(rows):
                corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                box = tuple(np.divide(corners, [*labels.shape[::-1]] * 2).tolist())
                seen.setdefault(entry.object_id, []).append((len(rows), name, box))
    crops: dict[int, list[UInt8]] = {}
    pictures: dict[str, UInt8] = {}
    for object_id, places in seen.items():
        for _, name, box in sorted(places, reverse=True)[: view.frames]:
            if name not in pictures:
                path = data / IMAGES / folder / clip.sequence / f"{name}.jpg"
                pictures[name] = read_rgb(path)
            crops.setdefault(object_id, []).append(_crop(pictures[name], box, view.margin))
    return crops


def _crop(rgb: UInt8, box: Sequence[float], margin: float) -> UInt8:
    """The square around an enlarged box, as far as the picture goes.

    Args:
        rgb: uint8 [H, W, 3].
        box: Left, top, right and bottom as shares of the picture.
        margin: By how much of its longer side it is enlarged on each side.
    """
    height, width = rgb.shape[:2]
    left, top, right, bottom = np.multiply(box, (width, height, width, height))
    half = (0.5 + margin) * max(right - left, bottom - top)
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    first = np.floor(middle - half).clip(0).astype(int)
    last = np.ceil(middle + half).astype(int)
    return rgb[first[1] : last[1], first[0] : last[0]]


def require_same_masks(
    folder: Path, data: Path, split: str, mask_noise: int, noise: NoiseOptions
) -> None:
    """Refuses scores of other masks than a training learns from; they would tell of the clean ones.

    Objects that are not active have been scored by their stored masks, which `negatives` `keep`
    leaves and `vanish` removes.

    Args:
        folder: As `score_regions` wrote it.
        data: Folder in the ActionVOS layout that is trained on.
        split: Name of the split that is trained on.
        mask_noise: The training's kernel of Alg. 2; 0 for none.
        noise: How its noise is made.

    Raises:
        ActisegError: Naming what differs.
    """
    manifest = _manifest(folder)
    scored = manifest.get("mask_noise")
    if scored != mask_noise:
        raise ActisegError(
            f"{folder}: was scored with --mask-noise {scored}, and training has {mask_noise}; run "
            "actiseg region-scores with that into another --out"
        )
    if mask_noise:
        for option, value, same in (
            ("labels-folder", noise.labels_folder, noise.labels_folder is None),
            ("order", noise.order, noise.order == "ascending"),
            ("negatives", noise.negatives, noise.negatives != "dilate"),
        ):
            if not same:
                raise ActisegError(
                    f"{folder}: was scored with other masks than --noise.{option} {value} gives; "
                    "leave that out, or --repair.scores"
                )
    file = split_file(data, split)
    found = {"split": file_sha256(file), "files": _shown_digest(data, file, load_clips(file))}
    for name, digest in found.items():
        # Folders of before do not say the second.
        if manifest.get(name, digest) != digest:
            raise ActisegError(
                f"{folder}: was scored with another {_CALLED[name]}; {_REMEDY} into another --out"
            )


def _shown_digest(data: Path, split: Path, clips: Sequence[Clip]) -> str:
    """Digest of the pictures and label images that are scored, as far as names and sizes tell."""
    folder = image_folder(data, split)
    shown = {data / IMAGES / folder: ".jpg", data / LABELS / folder: ".png"}
    return files_digest(data, clip_files(clips, shown))


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("nouns"), list):
        raise ActisegError(f"{folder / MANIFEST}: names no nouns; {_REMEDY}")
    return manifest


def class_scores(folder: Path, lexicon: Lexicon) -> Tensor:
    """The scores of a lexicon's objects and classes, float32 [K, C].

    A class has the score of its best noun. Scores of an object have the mean 0, all together the
    standard deviation 1; objects that no frame shows have zeros.

    Args:
        folder: As `score_regions` wrote it.
        lexicon: Of the training.

    Raises:
        ActisegError: If the folder is incomplete, or of other clips or nouns.
    """
    nouns = _manifest(folder)["nouns"]
    places: list[list[int]] = [[] for _ in range(lexicon.size)]
    for place, noun in enumerate(nouns):
        if noun in lexicon.classes:
            places[lexicon.classes[noun]].append(place)
    for own, names in zip(places, lexicon.names, strict=True):
        if not own:
            raise ActisegError(f"{folder}: has no scores for {names[0]!r}; {_REMEDY}")
    objects: dict[str, list[tuple[int, int]]] = {}
    for (sequence, object_id), row in lexicon.rows.items():
        objects.setdefault(sequence, []).append((object_id, row))
    scores = torch.zeros(len(lexicon.rows), lexicon.size)
    for sequence, rows in objects.items():
        path = folder / f"{sequence}.safetensors"
        if not path.is_file():
            raise ActisegError(f"{path}: not found, so not all clips have scores; {_REMEDY}")
        found, _ = load_weights(path)
        for object_id, row in rows:
            own_scores = found.get(str(object_id))
            if own_scores is None:
                continue
            if own_scores.shape != (len(nouns),) or not bool(own_scores.isfinite().all()):
                raise ActisegError(
                    f"{path}, object {object_id}: no scores; remove it and {_REMEDY}"
                )
            best = torch.stack([own_scores[place].max() for place in places])
            scores[row] = best - best.mean()
    shown = scores.any(1)
    return scores / scores[shown].std(correction=0).clamp(min=1e-6) if shown.any() else scores


def _file(folder: Path, clip: Clip) -> Path:
    return folder / f"{clip.sequence}.safetensors"
