import json
from pathlib import Path

import pytest
import torch

from tests.training.model.micro import make
from training.model import load_tokenizer, tokenize, train_tokenizer
from training.model.text import parse_tokenizer

PROMPTS = [
    f"{noun} used in the action of {verb} {noun}"
    for noun in ("spoon", "cutting board", "tofu")
    for verb in ("wash", "cut")
]


def test_training_is_deterministic_and_pads_with_one() -> None:
    tokenizer = train_tokenizer(PROMPTS, 300)
    assert tokenizer.to_str() == train_tokenizer(PROMPTS, 300).to_str()
    ids, mask = tokenize(tokenizer, ["spoon", PROMPTS[2]])
    assert ids.shape == mask.shape and ids.dtype == torch.int64
    assert ids[:, 0].tolist() == [0, 0] and ids[1, -1] == 2
    assert (ids[mask == 0] == 1).all() and mask[0].sum() < mask[1].sum()


def test_any_text_is_encoded_and_case_does_not_matter() -> None:
    tokenizer = train_tokenizer(PROMPTS, 300)
    ids, _ = tokenize(tokenizer, ["Spoon", "spoon", "ложка 匙 🥄", ""])
    assert (ids[0] == ids[1]).all()
    assert (ids != tokenizer.token_to_id("<unk>")).all()


def test_long_prompts_are_cut_with_their_end_mark() -> None:
    tokenizer = train_tokenizer(PROMPTS, 300)
    ids, mask = tokenize(tokenizer, ["spoon " * 500], 32)
    assert ids.shape == (1, 32) and ids[0, -1] == 2 and mask.all()
    assert tokenize(tokenizer, ["spoon " * 500])[0].shape[1] > 500


def test_saved_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(PROMPTS, 300)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for source in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = load_tokenizer(source)
        assert torch.equal(tokenize(loaded, PROMPTS)[0], tokenize(tokenizer, PROMPTS)[0])


def test_roberta_files(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(PROMPTS, 300)
    tokenizer.model.save(str(tmp_path))
    ids, _ = tokenize(load_tokenizer(tmp_path), ["spoon", "a spoon"])
    assert ids[0, 0] == 0 and (ids[0] == 1).any() and ids[1, -1] == 2


def test_unusable_tokenizers(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"vocab\.json"):
        load_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="not a tokenizer"):
        parse_tokenizer("{}", "x")
    content = json.loads(train_tokenizer(PROMPTS, 300).to_str())
    content["added_tokens"] = []
    del content["model"]["vocab"]["<pad>"]
    content["post_processor"] = content["padding"] = None
    with pytest.raises(ValueError, match="<pad>"):
        parse_tokenizer(json.dumps(content), "x")
    with pytest.raises(ValueError, match="at least"):
        train_tokenizer(PROMPTS, 100)
    with pytest.raises(ValueError, match="no prompts"):
        tokenize(train_tokenizer(PROMPTS, 300), [])


@torch.no_grad()
def test_positions_start_at_two_whatever_the_padding() -> None:
    model = make()
    ids = torch.tensor([[0, 5, 2], [0, 6, 2]])
    seen: list[torch.Tensor] = []
    table = model.text_encoder.roberta.embeddings.position_embeddings
    hook = table.register_forward_hook(lambda _module, args, _out: seen.append(args[0]))
    model.encode_text(ids, torch.ones_like(ids))
    hook.remove()
    assert seen[0][0].tolist() == [2, 3, 4]
