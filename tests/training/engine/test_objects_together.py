"""All prompts of a frame at once teach what the published one prompt a step teaches.

A published sample is one prompt; `--objects all` encodes the frames once for all of them. Without
dropout the loss is the mean over the prompts' own losses, and so is the gradient.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.model.micro import MICRO, MICRO_PUBLISHED
from training.config.run import TrainConfig
from training.data.collate import Batch, collate
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.prepare import prepare
from training.engine.distributed import ProcessGroup
from training.engine.trainer import Trainer
from training.losses.context import StepPosition
from training.model import PRESETS
from training.model.text import train_tokenizer


def _prompt(batch: Batch, index: int) -> Batch:
    """One prompt of a batch of one clip."""
    own = slice(index, index + 1)
    return replace(
        batch,
        captions=batch.captions[own],
        clip_of_prompt=batch.clip_of_prompt[own],
        masks=batch.masks[own],
        weights=batch.weights[own],
        boxes=batch.boxes[own],
        valid=batch.valid[own],
        positive=batch.positive[own],
        sequences=batch.sequences[own],
        frame_names=batch.frame_names[own],
        object_ids=batch.object_ids[own],
    )


def test_all_objects_are_the_mean_of_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = replace(MICRO.text, frozen=True, vocab_size=1000, max_positions=66)
    sizes = replace(MICRO_PUBLISHED, name="r50", mask_evidence=False, text=text, max_tokens=32)
    monkeypatch.setitem(PRESETS, "r50", sizes)
    kitchen = KitchenConfig(clips=6, seed=3, val_share=0.34, frame_size=(213, 120))
    make_kitchen(tmp_path / "raw", kitchen, workers=1)
    prepare(tmp_path / "raw/VISOR", tmp_path / "raw/annotations", tmp_path / "data", workers=1)
    (tmp_path / "roberta").mkdir()
    tokenizer = train_tokenizer(["left hand used in the action of cut pepper"])
    tokenizer.save(str(tmp_path / "roberta" / "tokenizer.json"))
    (tmp_path / "run").mkdir()
    config = TrainConfig(
        data=tmp_path / "data",
        out=tmp_path / "run",
        preset="r50",
        roberta=tmp_path / "roberta",
        from_scratch=True,
        objects="all",
        frames_per_clip=2,
        precision="float32",
        val_split="",
        workers=0,
        device="cpu",
    )
    trainer = Trainer(config, ProcessGroup(0, 1, torch.device("cpu")))
    network = trainer.networks[0].network
    # Batch statistics would see a frame as often as it is encoded; the published backbone has none.
    network.eval()

    def gradient(batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        network.zero_grad(set_to_none=True)
        losses, _ = trainer.training_step.losses(0, batch, StepPosition())
        losses["total"].backward()
        named = network.named_parameters()
        return losses["total"].detach(), {n: own.grad for n, own in named if own.grad is not None}

    batch = collate([trainer.setup.dataset[0]])
    whole, together = gradient(batch)
    alone = [gradient(_prompt(batch, index)) for index in range(len(batch.captions))]
    assert len(alone) > 3
    assert float(torch.stack([loss for loss, _ in alone]).mean()) == pytest.approx(
        float(whole), rel=1e-5
    )
    for name, own in together.items():
        mean = torch.stack([grads[name] for _, grads in alone]).mean(0)
        difference = (mean - own).norm() / own.norm().clamp(min=1e-6)
        assert difference < 1e-4, f"{name}: {difference}"
