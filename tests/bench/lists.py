"""What a certificate for named candidates is worth if the list is not complete.

Calibration names all objects of a clip. Here the embedded bundle's limits for named candidates
judge clips of a kitchen that nothing was calibrated on, once with that list and with shorter ones;
a clip is accepted if any of its frames is, and fails if any of those does (docs/gate.md).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actiseg_ros.gate.features import target_features
from actiseg_ros.pipeline import Model, load_model
from actiseg_ros.prompts import HANDS, Prompt, clean_names
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.layout import LABELS
from training.data.palette import read_label_png
from training.data.prepare import prepare
from training.data.splits import Clip, load_clips
from training.deploy.risk_control import Criteria
from training.deploy.trials import failures, prompt_of, read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seed", type=int, default=9102)
    options = parser.parse_args()
    model = load_model("", threads=0, nouns_csv=None)
    accepted: dict[str, dict[str, bool]] = defaultdict(dict)
    with tempfile.TemporaryDirectory() as scratch:
        data = drawn(Path(scratch), options.clips, options.seed)
        for clip in load_clips(data / "ImageSets" / "train.json"):
            for name, fails in judged(model, data, clip).items():
                accepted[name][clip.sequence] = fails
    print(f"{'list':>32}{'accepted clips':>16}{'failing':>9}")
    rows = {name: (len(clips), sum(clips.values())) for name, clips in accepted.items()}
    for name, (count, failing) in rows.items():
        print(f"{name:>32}{count:>16}{failing:>9}")
    print(json.dumps({"lists": rows}))


def drawn(scratch: Path, clips: int, seed: int) -> Path:
    """A kitchen that the bundle has not seen."""
    config = KitchenConfig(clips=clips, seed=seed, val_share=0.0)
    make_kitchen(scratch / "raw", config, progress=False)
    prepare(scratch / "raw" / "VISOR", scratch / "raw" / "annotations", scratch / "data",
            splits=("train",))  # fmt: skip
    return scratch / "data"


def lists_of(named: Prompt, model: Model) -> Mapping[str, Prompt]:
    """The prompt with all objects, and shorter lists with the same target."""
    there = {model.vocabulary.class_of(name) for name in named.names}
    absent = next(e.names[0] for e in model.bundle.vocabulary if e.class_id not in there)
    return {
        "all objects": named,
        "the target and both hands": replace(named, names=(named.target, *HANDS)),
        "the target and something absent": replace(named, names=(named.target, absent)),
    }


def judged(model: Model, data: Path, clip: Clip) -> dict[str, bool]:
    """Whether an accepted frame fails, for each list with which any frame is accepted."""
    assert model.calibration is not None
    named = prompt_of(clip, "named", model.vocabulary)
    if named is None or not named.target:
        return {}
    ids = [o.object_id for o in clip.objects if clean_names([o.name]) == (named.target,)]
    found: dict[str, bool] = {}
    for frame in clip.frames:
        rgb, folder = read_image(data, clip.sequence, frame)
        truth = read_label_png(data / LABELS / folder / clip.sequence / f"{Path(frame).stem}.png")
        looked = model.segmenter.look([rgb])
        distance = model.calibration.novelty.distance(looked.descriptors[0])
        for name, prompt in lists_of(named, model).items():
            answer = model.segmenter.answer(looked, model.segmenter.encode(prompt))[0]
            if model.calibration.judge(target_features(answer, model.bundle, distance)):
                continue
            mask = answer.labels == prompt.names.index(prompt.target) + 1
            fails = any(failures(mask, truth, ids, Criteria(risk=0.1, confidence=0.9)))
            found[name] = found.get(name, False) or fails
    return found


if __name__ == "__main__":
    main()
