"""What a certificate of clips with a few frames each means for whole actions.

Calibration counts clips with a few annotated frames. Here the embedded bundle's limits for named
candidates judge every second frame of drawn videos that nothing was calibrated on. An action counts
as accepted if any of the judged frames is, and fails if any accepted one does: with three frames an
action as in calibration, with all of them, and with the gate's `hold_frames`, after which alone a
robot goes (docs/gate.md).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actiseg_ros.gate.state import GateOptions
from actiseg_ros.pipeline import load_model
from training.data.kitchen.video import VideoOptions, make_video
from training.data.layout import split_file
from training.data.splits import load_clips
from training.deploy.risk_control import Criteria, binomial_upper_bound
from training.deploy.trials import run_frames

_FEW = 3
"""Judged frames of a clip of the embedded bundle's calibration: 1795 of 618 clips."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=33.0)
    parser.add_argument("--seed", type=int, default=9201)
    options = parser.parse_args()
    model = load_model("", threads=0, nouns_csv=None)
    assert model.calibration is not None
    hold = GateOptions().hold_frames
    counted: dict[str, list[tuple[bool, bool]]] = {}
    frames = 0
    for seed in range(options.seed, options.seed + options.videos):
        with tempfile.TemporaryDirectory() as scratch:
            film = VideoOptions(seed=seed, seconds=options.seconds, truth_every=2)
            truth = make_video(Path(scratch), film, progress=False).truth
            clips = load_clips(split_file(truth, "val"))
            actions: dict[str, list[tuple[bool, bool]]] = {}
            for frame in run_frames(
                model.segmenter, clips, truth, Criteria(), ("named",),
                novelty=model.calibration.novelty,
            ):  # fmt: skip
                trial = frame.answers["named"].trial if "named" in frame.answers else None
                if trial is not None:
                    good = not model.calibration.judge(trial.features)
                    actions.setdefault(frame.clip, []).append((good, trial.failure))
            for judged in actions.values():
                frames += len(judged)
                for name, goes in policies(judged, hold).items():
                    fails = [failure for go, (_, failure) in zip(goes, judged, strict=True) if go]
                    counted.setdefault(name, []).append((bool(fails), any(fails)))
    print(f"{'frames that may go':>32}{'actions':>9}{'accepted':>10}{'failing':>9}{'at most':>9}")
    rows = {}
    for name, found in counted.items():
        accepted, failing = np.array(found).sum(0).tolist()
        bound = binomial_upper_bound(failing, accepted, Criteria().confidence)
        rows[name] = [len(found), accepted, failing, bound]
        print(f"{name:>32}{len(found):>9}{accepted:>10}{failing:>9}{bound:>9.1%}")
    print(json.dumps({"whole_actions": rows, "frames": frames}))


def policies(judged: list[tuple[bool, bool]], hold: int) -> dict[str, list[bool]]:
    """Which frames of an action a robot may go on, for each way of looking at them."""
    good = [accepted for accepted, _ in judged]
    few = {round(place) for place in np.linspace(0, len(good) - 1, _FEW + 2)[1:-1]}
    return {
        f"{_FEW} of each action": [go and place in few for place, go in enumerate(good)],
        "all": good,
        f"after {hold} good ones in a row": [
            place + 1 >= hold and all(good[place + 1 - hold : place + 1])
            for place in range(len(good))
        ],
    }


if __name__ == "__main__":
    main()
