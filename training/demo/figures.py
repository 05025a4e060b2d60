"""Pictures of a run: the overlay as a video, and the gate's decisions over time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from training.demo.recorded import Outputs, RecordedMessage
from training.files.progress import tracked

_TIME_BASE = Fraction(1, 1000)


def write_overlay(path: Path, outputs: Outputs, frame_rate: float) -> None:
    """Writes the node's own overlay pictures as a video, each at the time of its image."""
    first = outputs.overlays[0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(frame_rate).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "23", "preset": "veryfast"}
        stream.codec_context.time_base = _TIME_BASE
        for entry in tracked(outputs.overlays, "overlay.mp4", "frames"):
            coded = np.asarray(entry.message.data, np.uint8)
            picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
            height, width = (side // 2 * 2 for side in picture.shape[:2])
            if entry is first:
                stream.width, stream.height = width, height
            frame = av.VideoFrame.from_ndarray(picture[:height, :width], format="bgr24")
            frame.pts = round((entry.stamp - first.stamp) / _TIME_BASE)
            frame.time_base = _TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_timeline(path: Path, outputs: Outputs, narrations: Sequence[RecordedMessage]) -> None:
    """Draws both uncertainties against their limits, the spans of go, and the reasons."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    upper, middle, lower = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [3, 3, 4]}
    )
    times = [entry.time for entry in outputs.decisions]
    for axis, kind, title in (
        (upper, "p", "p-uncertainty: will the mask touch where it says?"),
        (middle, "n", "n-uncertainty: does the mask reach what must not be touched?"),
    ):
        values = [getattr(entry.message, f"{kind}_uncertainty") for entry in outputs.decisions]
        limits = [getattr(entry.message, f"{kind}_limit") for entry in outputs.decisions]
        axis.plot(times, values, color="tab:blue", label=f"{kind}-uncertainty")
        axis.plot(times, limits, color="tab:red", linestyle="--", label="limit")
        axis.set(ylim=(-0.03, 1.03), title=title)
        axis.legend(loc="upper right")
    for axis in (upper, middle):
        for start, stop in go_spans(outputs.decisions):
            axis.axvspan(start, stop, color="tab:green", alpha=0.25, linewidth=0)
    reasons = sorted({reason for entry in outputs.decisions for reason in entry.message.reasons})
    rows = ["GO", *reasons]
    for row, reason in enumerate(rows):
        spots = [
            entry.time
            for entry in outputs.decisions
            if (entry.message.go if reason == "GO" else reason in entry.message.reasons)
        ]
        color = "tab:green" if reason == "GO" else "tab:red"
        lower.plot(spots, [row] * len(spots), "|", color=color, markersize=12)
    lower.set(
        yticks=range(len(rows)),
        yticklabels=rows,
        ylim=(len(rows) - 0.5, -0.5),
        xlabel="time in the bag (s)",
        title="decision and reasons against it",
    )
    said = ""
    for entry in narrations:
        text = entry.message.data
        if text and text != said:
            upper.annotate(text, (entry.time, 0.02), fontsize=8)
        said = text
    figure.suptitle("Go/no-go over time (green: go)")
    canvas.print_png(str(path))


def go_spans(decisions: Sequence[RecordedMessage]) -> list[tuple[float, float]]:
    """Times from the first decision for go to the next one against it."""
    spans: list[tuple[float, float]] = []
    start: float | None = None
    for entry in decisions:
        if entry.message.go and start is None:
            start = entry.time
        elif not entry.message.go and start is not None:
            spans.append((start, entry.time))
            start = None
    if start is not None:
        spans.append((start, decisions[-1].time))
    return spans
