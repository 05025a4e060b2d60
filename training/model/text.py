"""Text side: byte-level BPE tokenisers, RoBERTa-shaped encoder, projection to the width D."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor, nn

from training.model.config import TextConfig

if TYPE_CHECKING:
    from transformers import RobertaModel

PAD_ID = 1
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1000) -> Tokenizer:
    """Trains a lower-casing byte-level BPE with RoBERTa's special tokens and ids.

    Args:
        texts: Training prompts.
        vocab_size: Largest number of tokens, at least 261 (bytes and special tokens).

    Returns:
        A tokenizer that adds `<s>` (0) and `</s>` (2) and pads with `<pad>` (1).

    Raises:
        ValueError: If `vocab_size` cannot hold all bytes.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    least = len(alphabet) + len(_SPECIAL)
    if vocab_size < least:
        raise ValueError(f"vocab_size is {vocab_size}; byte-level BPE needs at least {least}")
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL),
        # Sorted: the set's order differs from process to process and would change the ids.
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _finish(tokenizer)
    return tokenizer


def _finish(tokenizer: Tokenizer) -> None:
    """Sets end marks and padding as RoBERTa has them."""
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.enable_padding(pad_id=PAD_ID, pad_token="<pad>")


def load_tokenizer(path: Path) -> Tokenizer:
    """Loads a tokenizer without network access.

    Args:
        path: A `tokenizer.json`, or a folder with it or with RoBERTa's `vocab.json` and
            `merges.txt`.

    Returns:
        A tokenizer that adds end marks and pads with id 1.

    Raises:
        FileNotFoundError: If neither form is there.
        ValueError: If the tokenizer's pad id is not 1.
    """
    path = Path(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        return parse_tokenizer(file.read_text(encoding="utf-8"), str(file))
    vocabulary, merges = path / "vocab.json", path / "merges.txt"
    if not (vocabulary.is_file() and merges.is_file()):
        raise FileNotFoundError(
            f"{path}: no tokenizer.json and no vocab.json with merges.txt; "
            "copy RoBERTa's tokenizer files there"
        )
    tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL))
    return _checked(tokenizer, str(path))


def parse_tokenizer(text: str, origin: str = "tokenizer") -> Tokenizer:
    """Builds a tokenizer from the text of a `tokenizer.json`.

    Raises:
        ValueError: If the text is not a tokenizer, or its pad id is not 1.
    """
    try:
        json.loads(text)
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # The library raises bare Exception for malformed files.
        raise ValueError(f"{origin}: not a tokenizer.json: {error}") from error
    return _checked(tokenizer, origin)


def _checked(tokenizer: Tokenizer, origin: str) -> Tokenizer:
    pad = tokenizer.token_to_id("<pad>")
    if pad != PAD_ID:
        raise ValueError(f"{origin}: <pad> has id {pad}, the models expect {PAD_ID}")
    _finish(tokenizer)
    return tokenizer


def tokenize(
    tokenizer: Tokenizer, captions: Sequence[str], max_tokens: int | None = None
) -> tuple[Tensor, Tensor]:
    """Tokenises prompts and pads them to the longest.

    Args:
        tokenizer: From `load_tokenizer` or `train_tokenizer`.
        captions: P prompts, at least one.
        max_tokens: Longest result in tokens, end marks included; longer prompts are cut.

    Returns:
        input_ids and attention_mask, int64 [P, L].

    Raises:
        ValueError: If there is no prompt.
    """
    if not captions:
        raise ValueError("no prompts to tokenise")
    if max_tokens is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens)
    encoded = tokenizer.encode_batch(list(captions))
    ids = torch.tensor([e.ids for e in encoded], dtype=torch.int64)
    mask = torch.tensor([e.attention_mask for e in encoded], dtype=torch.int64)
    return ids, mask


@dataclasses.dataclass(frozen=True)
class TextFeatures:
    """Prompts as the visual side sees them.

    Attributes:
        words: [P, L, D].
        sentence: [P, D].
        attention_mask: Int64 [P, L], 1 on tokens.
    """

    words: Tensor
    sentence: Tensor
    attention_mask: Tensor

    @property
    def padding(self) -> Tensor:
        """Bool [P, L], True on padding."""
        return self.attention_mask == 0


def build_roberta(config: TextConfig) -> RobertaModel:
    """A RoBERTa of the given sizes with fresh weights."""
    # Imported here: it takes a second, and commands that only describe options need none.
    from transformers import RobertaConfig, RobertaModel

    return RobertaModel(
        RobertaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.feedforward,
            max_position_embeddings=config.max_positions,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            pad_token_id=PAD_ID,
            bos_token_id=0,
            eos_token_id=2,
            attn_implementation="eager",
        )
    )


class TextProjection(nn.Module):
    """Linear layer, layer norm and dropout, for the words and the sentence alike."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, outputs)
        self.layer_norm = nn.LayerNorm(outputs, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., inputs] to [..., outputs]."""
        return self.dropout(self.layer_norm(self.fc(x)))


class TextEncoder(nn.Module):
    """RoBERTa and the shared projection of its words and its pooled sentence."""

    def __init__(self, config: TextConfig, width: int, dropout: float) -> None:
        super().__init__()
        self.roberta = build_roberta(config)
        self.projection = TextProjection(config.width, width, dropout)
        if config.frozen:
            self.roberta.requires_grad_(False)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, trace: dict[str, Tensor] | None = None
    ) -> TextFeatures:
        """Encodes tokenised prompts, int64 [P, L] each."""
        # What is added to the attention. From the mask itself the library would first ask the
        # device whether anything is padded, and wait for it.
        least = torch.finfo(self.roberta.dtype).min
        added = (1 - attention_mask[:, None, None].to(self.roberta.dtype)) * least
        out = self.roberta(input_ids=input_ids, attention_mask=added)
        if trace is not None:
            trace["roberta_last_hidden"] = out.last_hidden_state
            trace["roberta_pooled"] = out.pooler_output
        return TextFeatures(
            self.projection(out.last_hidden_state),
            self.projection(out.pooler_output),
            attention_mask,
        )
