"""Foundation models as labellers: the path, with small networks of random weights.

What their published weights find cannot be tested here; that they are opened, prompted and read as
the library's own processors would is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from actiseg_ros.errors import ActisegError
from training.data.prelabel.foundation import foundation_drawer

RGB = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
NAMES = ("cup", "left hand")


def save_tokenizer(folder: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "cup", "left", "hand"]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(0)
    swin = transformers.SwinConfig(
        window_size=7, embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], image_size=64,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    text = {
        "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "max_position_embeddings": 32, "vocab_size": 8,
    }  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=swin, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=4, decoder_ffn_dim=4,
        num_queries=5, encoder_n_points=2, decoder_n_points=2, max_text_len=16,
    )  # fmt: skip
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    save_tokenizer(folder)
    size = {"shortest_edge": 64, "longest_edge": 96}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    return folder


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam2")
    torch.manual_seed(0)
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=12, num_attention_heads=1, image_size=[64, 64], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[12, 24, 48, 96], num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[8, 4, 4, 4], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[96, 48, 24, 12], fpn_hidden_size=32,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    config = transformers.Sam2Config(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "mask_input_channels": 8},
        mask_decoder_config={
            "hidden_size": 32, "mlp_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "iou_head_hidden_dim": 32,
        },
    )  # fmt: skip
    transformers.Sam2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sam3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam3")
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "hidden_size": 32, "num_layers": 1, "num_attention_heads": 4, "intermediate_size": 32,
    }  # fmt: skip
    config = transformers.Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 32,
                "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 112,
                "patch_size": 14, "window_size": 4, "global_attn_indexes": [1],
                "pretrain_image_size": 56,
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config={
            "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 4, "vocab_size": 8, "projection_dim": 32,
            "max_position_embeddings": 32, "eos_token_id": 3, "bos_token_id": 2,
        },
        geometry_encoder_config=small,
        detr_encoder_config=small,
        detr_decoder_config={**small, "num_queries": 5},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 4},
    )  # fmt: skip
    transformers.Sam3Model(config).save_pretrained(folder)
    save_tokenizer(folder)
    size = {"height": 112, "width": 112}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    return folder


def check(drawn: list[Any]) -> None:
    assert [entry.name for entry in drawn] == list(NAMES)
    for entry in drawn:
        assert entry.pixels.shape == RGB.shape[:2] and entry.pixels.dtype == np.bool_
        assert 0 <= entry.score <= 1 and entry.active is None


@pytest.mark.timeout(300)
def test_grounding_dino_finds_and_sam2_outlines(dino: Path, sam2: Path) -> None:
    check(foundation_drawer(dino, sam2, 0.0).draw(RGB, NAMES))
    assert foundation_drawer(dino, sam2, 1.0).draw(RGB, NAMES) == []


@pytest.mark.timeout(300)
def test_sam3_finds_and_outlines(sam3: Path) -> None:
    check(foundation_drawer(sam3, None, 0.0).draw(RGB, NAMES))
    assert foundation_drawer(sam3, None, 1.0).draw(RGB, NAMES) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda d, s: foundation_drawer(d, None, 0.3), "name a folder of SAM 2 by --box-model"),
     (lambda d, s: foundation_drawer(s, None, 0.3), "--text-model .* is 'sam2'"),
     (lambda d, s: foundation_drawer(d, d, 0.3), "--box-model .* is 'grounding-dino'"),
     (lambda d, s: foundation_drawer(d, s, 1.3), "--threshold is 1.3"),
     (lambda d, s: foundation_drawer(d / "nowhere", s, 0.3), "has no config.json")],
)  # fmt: skip
def test_folders_that_do_not_fit_are_refused(
    dino: Path, sam2: Path, change: Callable[[Path, Path], Any], message: str
) -> None:
    with pytest.raises(ActisegError, match=message):
        change(dino, sam2)


def test_pickled_weights_are_never_opened(dino: Path, sam2: Path, tmp_path: Path) -> None:
    for file in dino.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ActisegError, match="cannot be opened"):
        foundation_drawer(tmp_path, sam2, 0.3)
