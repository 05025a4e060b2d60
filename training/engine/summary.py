"""What a run says of itself before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from training.engine.run_record import environment
from training.model.device import cpu_warning

if TYPE_CHECKING:
    from training.engine.trainer import Trainer


def summary(trainer: Trainer) -> list[str]:
    """Lines that name the device, the network, the samples, the recipe and the noise."""
    config, recipe, group = trainer.config, trainer.recipe, trainer.group
    parameters = [own for trained in trainer.networks for own in trained.network.parameters()]
    trained = sum(own.numel() for own in parameters if own.requires_grad)
    every = sum(own.numel() for own in parameters)
    device = str(environment(group.device)["device"])
    if group.device.type == "cpu":
        device = f"CPU ({device}, {torch.get_num_threads()} threads)"
    samples = recipe.batch_size * recipe.accumulate * group.size
    start = "the checkpoint" if trainer.resumed else config.pretrained or "random weights"
    texts = {
        "device": f"{device}; {group.size} process{'es' if group.size > 1 else ''}",
        "network": f"{config.preset}, {trained / 1e6:.1f} of {every / 1e6:.1f} million parameters "
        f"are trained, from {start}",
        "samples": f"{len(trainer.setup.dataset)} of split {config.split} (one has "
        f"{trainer.setup.prompts_per_sample:.1f} prompts and {recipe.frames_per_clip} frames)",
        "recipe": f"{recipe.epochs} epochs of {trainer.steps_per_epoch} steps of {samples} samples,"
        f" rate {recipe.learning_rate:g} ({recipe.schedule}), {recipe.precision}",
        "strategy": f"{config.strategy}, reference {config.reference}",
        "noise": _noise(trainer),
        "validation": f"split {config.val_split}" if config.val_split else "none",
    }
    lines = [f"{name + ':':12}{text}" for name, text in texts.items()]
    lines += cpu_warning(config.device, group.device)
    if config.resume and not trainer.resumed:
        lines.append(f"note: {config.out} holds no checkpoint to resume; this is a new run")
    return lines


def _noise(trainer: Trainer) -> str:
    config, record = trainer.config, trainer.setup.noise
    if record is None:
        return "none, the labels as they are"
    parts = [
        f"names at {config.text_noise:.0%}" if config.text_noise else "",
        f"masks with a {config.mask_noise}x{config.mask_noise} square" if config.mask_noise else "",
    ]
    return ", ".join(part for part in parts if part) or "published files"
