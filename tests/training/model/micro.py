"""A member of the family that is small enough to test exhaustively."""

import dataclasses

import torch

from training.model import PRESETS, ActionVOS, ModelConfig, TextConfig, build_model

MICRO = dataclasses.replace(
    PRESETS["tiny"],
    name="micro",
    small_widths=(4, 8, 8, 8, 8),
    small_blocks=(1, 1, 1, 1),
    text=TextConfig(300, 16, 1, 2, 16, 34, frozen=False),
    width=16,
    heads=2,
    points=2,
    shared_encoder_layers=1,
    decoder_layers=2,
    queries=3,
    feedforward=16,
    pixel_feedforward=16,
    projection_groups=2,
    pixel_groups=2,
    input_height=64,
    input_width=96,
)
# As the published members: the fusion comes first, and every level reads the words.
MICRO_PUBLISHED = dataclasses.replace(
    MICRO,
    shared_encoder_layers=0,
    encoder_layers=1,
    fusion="multiplicative",
    coordinate_scale=1.0,
    word_levels=4,
    mask_kernel=3,
)


def make(config: ModelConfig = MICRO, seed: int = 0) -> ActionVOS:
    """A model in evaluation mode whose every tensor is random, so that no part is silent."""
    torch.manual_seed(seed)
    model = build_model(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name and "bn" not in name:
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def prompts(count: int, length: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random token ids and a mask without padding, int64 [count, length]."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, MICRO.text.vocab_size, (count, length), generator=generator)
    return ids, torch.ones_like(ids)
