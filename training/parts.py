"""What a training run is made of: data, tokenizer, network and strategy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor, nn

from training.checkpoints import load_published, load_weights
from training.config import Recipe, TrainConfig
from training.data.clips import ClipDataset, load_clips
from training.data.transforms import FixedSize, PublishedTraining, Transform
from training.errors import ActisegError
from training.model import ActionVOS, ModelConfig, build_model, load_tokenizer, preset
from training.model import tokenize as tokenize_prompts
from training.model.text import train_tokenizer
from training.narration_pairs import NarrationPairs
from training.noise.layer import LabelNoise
from training.noise.text import TextNoise, names_in_split, read_split
from training.strategies import Strategy, make_strategy


@dataclass(frozen=True)
class Parts:
    """The parts of one run."""

    dataset: ClipDataset
    tokenizer: Tokenizer
    strategy: Strategy
    network: nn.Module
    """What is trained: the model, extended by the strategy."""
    model: ActionVOS
    vocabulary: list[dict[str, Any]]
    """Names of each class that the split uses, as a model bundle holds them."""
    pairs: NarrationPairs | None
    """Prompts for a text encoder that starts from scratch; None if it is frozen."""

    def tokenize(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Prompts to ids and attention mask, int64 [P, L] each."""
        return tokenize_prompts(self.tokenizer, captions, self.model.config.max_tokens)


def build_parts(config: TrainConfig, recipe: Recipe) -> Parts:
    """Builds the parts of a run; deterministic for its seed.

    Raises:
        ActisegError: If data, tokenizer or weights are missing or unusable.
    """
    sizes = preset(config.preset)
    strategy = make_strategy(config)
    tokenizer = _tokenizer(config)
    if not sizes.text.frozen:
        text = replace(sizes.text, vocab_size=tokenizer.get_vocab_size())
        sizes = replace(sizes, text=text)
    model = build_model(sizes)
    if config.pretrained is not None:
        _load(model, config.pretrained)
    dataset = ClipDataset(
        config.data,
        config.split,
        frames_per_clip=recipe.frames_per_clip,
        objects=recipe.objects,
        transform=_transform(sizes, recipe, strategy),
        negative_masks=recipe.negative_masks,
        noise=_noise(config),
        seed=config.seed,
    )
    if not len(dataset):
        raise ActisegError(f"{config.data}: split {config.split} has no samples")
    records = read_split(_split_file(config))
    names = names_in_split(records)
    pairs = None if sizes.text.frozen else NarrationPairs(records, config.seed) or None
    vocabulary = [{"class_id": key, "names": list(found)} for key, found in names.items()]
    return Parts(
        dataset, tokenizer, strategy, strategy.extend(model), model, vocabulary, pairs or None
    )


def _split_file(config: TrainConfig) -> Path:
    return config.data / "ImageSets" / f"{config.split}.json"


def _tokenizer(config: TrainConfig) -> Tokenizer:
    """RoBERTa's tokenizer where its encoder is used; else the run's own, trained on the split."""
    own = config.out / "tokenizer.json"
    if preset(config.preset).text.frozen:
        if config.roberta is None:
            raise ActisegError(
                f"preset {config.preset} reads prompts with RoBERTa: name the folder with its "
                "vocab.json and merges.txt by --roberta"
            )
        return load_tokenizer(config.roberta)
    if own.exists():
        return load_tokenizer(own)
    prompts = [
        entry.expression for clip in load_clips(_split_file(config)) for entry in clip.objects
    ]
    tokenizer = train_tokenizer(prompts, preset(config.preset).text.vocab_size)
    # Each process of a distributed run makes the same file; the last rename wins.
    temporary = own.with_name(f"{own.name}.{os.getpid()}.partial")
    tokenizer.save(str(temporary))
    temporary.replace(own)
    return tokenizer


def _load(model: ActionVOS, path: Path) -> None:
    """Starts from our own weights, or from a published Ref-YouTube-VOS or ActionVOS file."""
    if path.suffix == ".safetensors":
        state, _ = load_weights(path)
        try:
            fit = model.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise ActisegError(f"--pretrained {path} does not fit the network: {error}") from error
        print(f"{path}: fresh {fit.missing_keys}, unused {fit.unexpected_keys}")
    else:
        print(f"{path}: {load_published(model, path, pretraining=True)}")


def _transform(sizes: ModelConfig, recipe: Recipe, strategy: Strategy) -> Transform:
    if recipe.objects == "one":
        return PublishedTraining()
    return FixedSize(sizes.input_height, sizes.input_width, augment=strategy.spatial_augmentation)


def _noise(config: TrainConfig) -> LabelNoise | None:
    if not config.text_noise and not config.mask_noise:
        return None
    names = names_in_split(read_split(_split_file(config)))
    return LabelNoise(TextNoise(names, config.text_noise, config.seed), config.mask_noise)
