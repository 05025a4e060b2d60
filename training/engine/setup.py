"""What a training run is made of: data, tokenizer, network and strategy."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from training.checkpoints.reading import load_weights
from training.checkpoints.starts import start_file
from training.checkpoints.weights import load_start
from training.config.run import CHECKPOINT, Recipe, TrainConfig
from training.data.clips import ClipDataset
from training.data.layout import split_file
from training.data.splits import OBJECT_FACTS, load_clips, read_split
from training.data.transforms import FixedSize, PublishedTraining, Transform
from training.engine.narration_pairs import NarrationPairs
from training.files.disk import replacing
from training.files.progress import say
from training.model import ActionVOS, ModelConfig, build_model, load_tokenizer, preset
from training.model import tokenize as tokenize_prompts
from training.model.backbones.lite0 import Lite0, load_imagenet
from training.model.evidence import silence
from training.model.text import parse_tokenizer, train_tokenizer
from training.noise.layer import LabelNoise, make_noise
from training.noise.text import names_in_split
from training.strategies import Strategy, make_strategy

Say = Callable[[str], None]
"""Prints a line for people."""

_SEEDS_APART = 1_000_003
"""Between the seeds of networks that are trained together."""
_IMAGENET = Path("imagenet")
_HEADS = ("class_heads.", "positive_heads.")
"""What a further network learns anew even if it starts from the same weights as the first."""
_ACTIVITY = (*_HEADS, "evidence_heads.", "activity_map.")
"""What `--fresh-heads` leaves out. That a narration speaks of a name is knowledge of language."""


@dataclass(frozen=True)
class TrainingSetup:
    """What one run is made of."""

    dataset: ClipDataset
    tokenizer: Tokenizer
    strategy: Strategy[Any]
    networks: tuple[nn.Module, ...]
    """What is trained: one model or several, extended by the strategy."""
    sizes: ModelConfig
    prompts_per_sample: float
    """Prompts of a sample of the dataset, the mean over its clips."""
    vocabulary: list[dict[str, Any]]
    """Names of each class that the split uses, as a model bundle holds them."""
    pairs: NarrationPairs | None
    """Prompts for a text encoder that starts from scratch; None if it is frozen."""
    action_weights: bool
    """Whether the pixels of the mask term are weighted."""
    noise: dict[str, Any] | None
    """What the label noise is (`LabelNoise.record`); None if the labels are clean."""
    inputs: dict[str, str]
    """SHA-256 of each input that no option says, by what it is called in errors."""

    @property
    def seen(self) -> list[str]:
        """SHA-256 of each split file that the weights come from, also those of their start."""
        return sorted({value for name, value in self.inputs.items() if name.startswith("split ")})

    def tokenize(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Prompts to ids and attention mask, int64 [P, L] each."""
        return tokenize_prompts(self.tokenizer, captions, self.sizes.max_tokens)


def build_setup(config: TrainConfig, recipe: Recipe, said: Say = say) -> TrainingSetup:
    """Builds what a run is made of; deterministic for its seed.

    Args:
        config: the run.
        recipe: its recipe.
        said: takes a line for each network that starts from weights: which of them it took.

    Raises:
        ActisegError: If data, tokenizer or weights are missing or unusable.
    """
    sizes = preset(config.preset)
    if config.input_size is not None:
        height, width = config.input_size
        sizes = replace(sizes, input_height=height, input_width=width)
    strategy = make_strategy(config)
    tokenizer = _tokenizer(config)
    if not sizes.text.frozen:
        text = replace(sizes.text, vocab_size=tokenizer.get_vocab_size())
        sizes = replace(sizes, text=text)
    # Without pictures a prompt is only worth something where the narration's own objects are known.
    facts = OBJECT_FACTS if sizes.text.frozen else OBJECT_FACTS | {"narration"}
    records = read_split(split_file(config.data, config.split), facts)
    noise = make_noise(
        config.text_noise,
        config.mask_noise,
        config.noise,
        split_file(config.data, config.split),
        records,
        seed=config.seed,
        negative_masks=recipe.negative_masks,
    )
    use_weights = config.action_weights and config.task == "active"
    dataset = ClipDataset(
        config.data,
        config.split,
        frames_per_clip=recipe.frames_per_clip,
        objects=recipe.objects,
        transform=_transform(sizes, recipe),
        redraw_frames=recipe.redraw_frames,
        use_weights=use_weights,
        negative_masks=recipe.negative_masks,
        noise=noise,
        narrations="own" if config.task == "active" else "any",
        mean=sizes.mean,
        std=sizes.std,
        seed=config.seed,
    )
    if not len(dataset):
        raise ActisegError(f"{config.data}: split {config.split} has no samples")
    names = names_in_split(records)
    pairs = None
    if not sizes.text.frozen:
        pairs = NarrationPairs(records, config.seed, noise) or None
    networks = tuple(
        _network(config, recipe, sizes, strategy, index, with_pairs=pairs is not None, said=said)
        for index in range(strategy.networks)
    )
    vocabulary = [{"class_id": key, "names": list(found)} for key, found in names.items()]
    start = start_file(config.pretrained, config.preset)
    return TrainingSetup(
        dataset,
        tokenizer,
        strategy,
        networks,
        sizes,
        _prompts_per_sample(dataset, recipe),
        vocabulary,
        pairs,
        use_weights,
        dict(noise.record) if noise else None,
        {
            "tokenizer": hashlib.sha256(tokenizer.to_str().encode()).hexdigest(),
            f"split {config.split}": file_sha256(split_file(config.data, config.split)),
            **_noise_inputs(noise),
            **strategy.sources,
            **_start_inputs(start),
        },
    )


def _noise_inputs(noise: LabelNoise | None) -> dict[str, str]:
    """Digests of the noise: the names follow from more files than the split."""
    known = {"list of noisy names": "names_sha256", "set of noisy label maps": "labels_sha256"}
    record = noise.record if noise else {}
    return {name: record[fact] for name, fact in known.items() if fact in record}


def _start_inputs(start: Path | None) -> dict[str, str]:
    """Digests of the weights to start from, and of the splits that they were trained on."""
    if start is None or start == _IMAGENET:
        return {}
    _, metadata = load_weights(start) if start.suffix == ".safetensors" else ({}, {})
    seen = json.loads(metadata.get("provenance", "{}")).get("seen", [])
    earlier = {f"split {number} of the start weights": digest for number, digest in enumerate(seen)}
    return {"start weights": file_sha256(start), **earlier}


def _network(
    config: TrainConfig,
    recipe: Recipe,
    sizes: ModelConfig,
    strategy: Strategy[Any],
    index: int,
    *,
    with_pairs: bool,
    said: Say,
) -> nn.Module:
    """One of the networks that are trained together; the first follows the seed in force."""
    if index > 0:
        torch.manual_seed(config.seed + index * _SEEDS_APART)
    model = build_model(sizes)
    if sizes.mask_evidence:
        # A part that no loss speaks of is not trained, so that every trainable parameter has a
        # gradient in every step: it says nothing, or what the weights to start from have learned.
        if not recipe.teaches_activity:
            silence(model.activity_map)
        if not with_pairs:
            silence(model.narrated_head)
    start = start_file(config.pretrained, config.preset)
    if start is not None:
        fresh = _ACTIVITY if config.fresh_heads else _HEADS if index > 0 else ()
        _load(model, start, fresh, said)
    if recipe.backbone_rate == 0:
        model.backbone.requires_grad_(False)
    return strategy.extend(model)


def _prompts_per_sample(dataset: ClipDataset, recipe: Recipe) -> float:
    if recipe.objects == "one":
        return 1.0
    return sum(len(clip.objects) for clip in dataset.clips) / len(dataset.clips)


def _tokenizer(config: TrainConfig) -> Tokenizer:
    """RoBERTa's tokenizer where its encoder is used; else that of the weights to start from.

    A run that starts from nothing trains its own on the split; one that goes on has its own.
    """
    if preset(config.preset).text.frozen:
        if config.roberta is None:
            raise ActisegError(
                f"preset {config.preset} reads prompts with RoBERTa: name the folder with its "
                "vocab.json and merges.txt by --roberta"
            )
        return load_tokenizer(config.roberta)
    own = config.out / "tokenizer.json"
    # Without a checkpoint it is of a run that never began, perhaps with other words or weights.
    if (config.out / CHECKPOINT).exists():
        if not own.exists():
            raise ActisegError(f"{own}: missing; a run without its tokenizer cannot be resumed")
        return load_tokenizer(own)
    tokenizer = _tokenizer_of(start_file(config.pretrained, config.preset))
    if tokenizer is None:
        clips = load_clips(split_file(config.data, config.split))
        prompts = [expression for clip in clips for expression in clip.expressions]
        tokenizer = train_tokenizer(prompts, preset(config.preset).text.vocab_size)
    # Each process of a distributed run makes the same file; the last rename wins.
    with replacing(own, writer=f".{os.getpid()}") as temporary:
        tokenizer.save(str(temporary))
    return tokenizer


def _tokenizer_of(weights: Path | None) -> Tokenizer | None:
    """The tokenizer that our own weights carry: their text encoder knows no other ids."""
    if weights is None or weights.suffix != ".safetensors":
        return None
    _, metadata = load_weights(weights)
    text = metadata.get("tokenizer")
    return None if text is None else parse_tokenizer(text, str(weights))


def _load(model: ActionVOS, path: Path, fresh: tuple[str, ...], said: Say) -> None:
    """Starts from the backbone's ImageNet weights or from a file; see `load_start`."""
    if path == _IMAGENET:
        if not isinstance(model.backbone, Lite0):
            raise ActisegError(
                f"--pretrained imagenet is for preset small, not {model.config.name}"
            )
        load_imagenet(model.backbone)
        return
    said(f"{path}: {load_start(model, path, fresh)}")


def _transform(sizes: ModelConfig, recipe: Recipe) -> Transform:
    spatial = recipe.augmentation == "all"
    photometric = recipe.augmentation != "none"
    if recipe.objects == "one":
        return PublishedTraining(spatial=spatial, photometric=photometric)
    return FixedSize(
        sizes.input_height, sizes.input_width, spatial=spatial, photometric=photometric
    )
