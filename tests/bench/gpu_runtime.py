"""The exported graphs of the large networks in ONNX Runtime on a GPU, beside the same on the CPU.

Random weights; a frame is encoded and decoded for its prompts, whose words were encoded before.
`host` passes what the image encoder says through the host's memory, as the robot's segmenter does
(its descriptor reads it there); `bound` leaves it on the device (IO binding). With and without
rounding to TF32, which ONNX Runtime does unless it is told not to.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import onnxruntime as ort
import torch  # before any session: it brings the CUDA libraries

from training.deploy.onnx_graphs import Arrays, Graphs, example_inputs, write_graphs
from training.model import build_model, preset

CUDA = "CUDAExecutionProvider"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["r101"])
    parser.add_argument("--prompts", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--size", default="640x360", help="WIDTHxHEIGHT of the network's input")
    parser.add_argument("--frames", type=int, default=30, help="frames that are timed")
    options = parser.parse_args()
    if CUDA not in ort.get_available_providers() or not torch.cuda.is_available():
        print("no CUDA device, or not the GPU build of ONNX Runtime: nothing is measured")
        print(json.dumps({"gpu_runtime": None}))
        return
    width, height = map(int, options.size.split("x"))
    rows = [
        row
        for name in options.presets
        for row in measure(name, options.prompts, (height, width), options.frames)
    ]
    report = {
        "device": torch.cuda.get_device_name(),
        "onnxruntime": ort.__version__,
        "size": options.size,
        "cases": rows,
    }
    print(table(report))
    print(json.dumps({"gpu_runtime": report}))


def measure(
    name: str, prompts: list[int], size: tuple[int, int], frames: int
) -> list[dict[str, Any]]:
    """A row for every number of prompts, with and without TF32."""
    torch.manual_seed(0)
    model = build_model(preset(name)).eval().requires_grad_(False)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        files = write_graphs(model, Path(scratch), size)
        paths = {role: Path(scratch) / file for role, file in files.items()}
        reference = Graphs(Path(scratch), files)
        for count in prompts:
            pictures, ids, mask = example_inputs(model, 1, count, 12, size)
            expected = reference.segment(pictures, ids, mask)
            text = {name: expected[name] for name in ("words", "sentence")}
            text["attention_mask"] = mask.numpy()
            for tf32 in (False, True):
                device = OnDevice(paths, pictures.numpy(), text, tf32)
                found = device.host()
                rows.append(
                    {
                        "preset": name,
                        "prompts": count,
                        "tf32": tf32,
                        "host_milliseconds": timed(device.host, frames),
                        "bound_milliseconds": timed(device.bound, frames),
                        "to_cpu": {
                            key: float(np.abs(value - expected[key]).max())
                            for key, value in found.items()
                        },
                    }
                )
    return rows


class OnDevice:
    """Image encoder and prompt decoder on the GPU, with one frame and its prompts."""

    def __init__(
        self, paths: dict[str, Path], picture: np.ndarray, text: Arrays, tf32: bool
    ) -> None:
        provider = (CUDA, {"use_tf32": "1" if tf32 else "0"})
        providers = [provider, ("CPUExecutionProvider", {})]
        self.encoder, self.decoder = (
            ort.InferenceSession(str(paths[role]), providers=providers)
            for role in ("image_encoder", "prompt_decoder")
        )
        self.picture, self.text = picture, text
        self.text_there = {
            name: ort.OrtValue.ortvalue_from_numpy(value, "cuda", 0) for name, value in text.items()
        }
        self.levels = [output.name for output in self.encoder.get_outputs()]
        self.wanted = [given.name for given in self.decoder.get_inputs()]
        self.answers = [output.name for output in self.decoder.get_outputs()]

    def host(self) -> Arrays:
        """The answers, with everything through the host's memory."""
        seen = self.encoder.run(self.levels, {"frames": self.picture})
        given = dict(zip(self.levels, seen, strict=True)) | self.text
        answers = self.decoder.run(self.answers, {name: given[name] for name in self.wanted})
        return dict(zip(self.answers, answers, strict=True))

    def bound(self) -> Arrays:
        """The same, with what the encoder says left on the device."""
        binding = self.encoder.io_binding()
        binding.bind_cpu_input("frames", self.picture)
        for name in self.levels:
            binding.bind_output(name, "cuda", 0)
        self.encoder.run_with_iobinding(binding)
        given = dict(zip(self.levels, binding.get_outputs(), strict=True)) | self.text_there
        binding = self.decoder.io_binding()
        for name in self.wanted:
            binding.bind_ortvalue_input(name, given[name])
        for name in self.answers:
            binding.bind_output(name)
        self.decoder.run_with_iobinding(binding)
        return dict(zip(self.answers, binding.copy_outputs_to_cpu(), strict=True))


def timed(run: Callable[[], object], count: int) -> float:
    """Median milliseconds of a call."""
    for _ in range(5):
        run()
    times = []
    for _ in range(count):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = [
        "{device}, ONNX Runtime {onnxruntime}, {size}".format(**report),
        f"{'preset':6} {'prompts':>7} {'TF32':5} {'host ms':>8} {'bound ms':>8} "
        f"{'mask logits off by':>18}",
    ]
    lines += [
        f"{row['preset']:6} {row['prompts']:7} {'yes' if row['tf32'] else 'no':5} "
        f"{row['host_milliseconds']:8.1f} {row['bound_milliseconds']:8.1f} "
        f"{row['to_cpu']['masks']:18.2g}"
        for row in report["cases"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
