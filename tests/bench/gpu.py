"""What the large networks cost a GPU for a frame with its prompts, beside what the device can do.

Random weights, PyTorch. A frame is encoded once and decoded for all prompts, as the exported graphs
do it; words are encoded when the prompt changes and count nothing here. `graph` replays the same
kernels as one CUDA graph, so that the host's time for launching them drops out. Operations are
counted (`torch.utils.flop_counter`), bytes are those of weights, features and masks read or written
once: what a perfect program would move at least. The peak is a bfloat16 matrix product of 8192³ and
a copy of 1 GiB, both measured in this run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from training.deploy.onnx_graphs import ImageEncoderGraph, PromptDecoderGraph, example_inputs
from training.model import build_model, preset

MODES = ("float32", "tf32", "bfloat16", "float16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["r101", "r50"])
    parser.add_argument("--prompts", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--size", default="640x360", help="WIDTHxHEIGHT of the network's input")
    parser.add_argument("--frames", type=int, default=30, help="frames that are timed")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: nothing is measured")
        print(json.dumps({"gpu": None}))
        return
    width, height = map(int, options.size.split("x"))
    peak = {"tflops": product_peak(), "gbytes_per_second": copy_peak()}
    rows = [
        row
        for name in options.presets
        for prompts in options.prompts
        for row in measure(name, prompts, (height, width), options.frames, options.modes)
    ]
    report = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "size": options.size,
        "peak": peak,
        "cases": rows,
    }
    print(table(report))
    print(json.dumps({"gpu": report}))


def measure(
    name: str, prompts: int, size: tuple[int, int], frames: int, modes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """A row for every way of computing."""
    torch.manual_seed(0)
    model = build_model(preset(name)).cuda().eval().requires_grad_(False)
    image, ids, mask = (part.cuda() for part in example_inputs(model, 1, prompts, 12, size))
    encoder, decoder = ImageEncoderGraph(model), PromptDecoderGraph(model, *size).cuda()
    rows = []
    with torch.inference_mode():
        encoded = model.encode_text(ids, mask)
        text = {"words": encoded.words, "sentence": encoded.sentence, "attention_mask": mask}
        given = [text[key] for key in decoder.text_names]

        def run() -> tuple[Tensor, ...]:
            return decoder(*encoder(image)[:-1], *given)

        with FlopCounterMode(display=False) as counter:
            outputs = run()
        features = encoder(image)
        vision = [p for n, p in model.named_parameters() if not n.startswith("text_encoder")]
        moved = sum(t.numel() * t.element_size() for t in (*vision, *features, *outputs))
        for mode in modes:
            with rounding(mode):
                seconds = timed(run, frames)
                replay = captured(run)
                graph = timed(replay, frames) if replay else None
            rows.append(
                {
                    "preset": name,
                    "prompts": prompts,
                    "mode": mode,
                    "gflop": counter.get_total_flops() / 1e9,
                    "mbytes": moved / (2e6 if mode in ("bfloat16", "float16") else 1e6),
                    "milliseconds": 1e3 * seconds,
                    "graph_milliseconds": None if graph is None else 1e3 * graph,
                }
            )
    return rows


def rounding(mode: str) -> Any:
    """The context in which a mode computes."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode != "float32"
    if mode in ("bfloat16", "float16"):
        return torch.autocast("cuda", getattr(torch, mode))
    return nullcontext()


def timed(run: Callable[[], object], count: int) -> float:
    """Median seconds of a call, by the device's clock."""
    for _ in range(5):
        run()
    times = []
    for _ in range(count):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        run()
        ended.record()
        ended.synchronize()
        times.append(began.elapsed_time(ended) / 1e3)
    return statistics.median(times)


def captured(run: Callable[[], object]) -> Callable[[], None] | None:
    """The same as one CUDA graph; None where something in it waits for the host."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError as error:
        print(f"no CUDA graph: {str(error).splitlines()[0]}", file=sys.stderr)
        torch.cuda.synchronize()
        return None
    return graph.replay


def product_peak() -> float:
    """TFLOP/s of a bfloat16 matrix product."""
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / timed(lambda: left @ right, 20) / 1e12


def copy_peak() -> float:
    """GB/s of a copy, bytes read and written."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / timed(lambda: target.copy_(source), 20) / 1e9


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    peak = report["peak"]
    lines = [
        "{device}, torch {torch}, {size}; ".format(**report)
        + "peak {tflops:.0f} TFLOP/s (bfloat16), {gbytes_per_second:.0f} GB/s".format(**peak),
        f"{'preset':6} {'prompts':>7} {'mode':9} {'ms':>7} {'graph':>7} {'frames/s':>8} "
        f"{'GFLOP':>7} {'MB':>6} {'limit ms':>8} {'of peak':>7}",
    ]
    for row in report["cases"]:
        best = min(row["milliseconds"], row["graph_milliseconds"] or row["milliseconds"])
        operations = row["gflop"] / peak["tflops"]
        limit = max(operations, row["mbytes"] / peak["gbytes_per_second"])
        graph = row["graph_milliseconds"]
        lines.append(
            f"{row['preset']:6} {row['prompts']:7} {row['mode']:9} {row['milliseconds']:7.2f} "
            f"{'-' if graph is None else format(graph, '.2f'):>7} {1e3 / best:8.1f} "
            f"{row['gflop']:7.0f} {row['mbytes']:6.0f} {limit:8.2f} {100 * operations / best:6.1f}%"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
