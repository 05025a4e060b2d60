"""A network that runs on a device asks nothing of the host and brings nothing from there.

Only then can its forward pass become a CUDA graph. The device here has shapes and no values.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training.deploy.onnx_graphs import ImageEncoderGraph, PromptDecoderGraph, example_inputs
from training.model import build_model, preset


class _HostTensors(TorchDispatchMode):
    """Notes operations on tensors of the host."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, found)) if isinstance(leaf, Tensor)]
        if any(tensor.device.type == "cpu" for tensor in tensors):
            self.seen.append(f"{func} {[tuple(tensor.shape) for tensor in tensors]}")
        return found


@pytest.mark.parametrize("name", ["tiny", "small", "r50"])
def test_a_forward_pass_stays_on_its_device(name: str) -> None:
    model = build_model(preset(name)).eval().requires_grad_(False)
    size = (72, 128)
    image, _, mask = (part.to("meta") for part in example_inputs(model, 1, 2, 6, size))
    encoder, decoder = ImageEncoderGraph(model).to("meta"), PromptDecoderGraph(model, *size)
    decoder.to("meta")
    width = model.config.width
    text = {
        "words": torch.empty(2, 6, width, device="meta"),
        "sentence": torch.empty(2, width, device="meta"),
        "attention_mask": mask,
    }
    given = [text[key] for key in decoder.text_names]
    with torch.inference_mode(), _HostTensors() as host:
        decoder(*encoder(image)[:-1], *given)
    assert host.seen == []
