"""What the choices between the printed and the released methods come to, one short run each.

Every row of docs/ambiguities.md that has a key is trained once with another value of it and
compared with the default, under the noise that it concerns. A cell that is done is not run again.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from training import cli
from training.benchmark.cell_result import RESULT_FILE, read_result
from training.benchmark.options import BenchmarkOptions
from training.checkpoints.starts import start_file
from training.files.disk import read_json, write_json, write_text

RESULTS_FILE = "choices.json"
EPOCHS, LEARNING_RATE, BATCH_SIZE = 3, 3e-4, 4
"""Of every cell: with 68 frames 51 steps, co-teaching too."""

_NAMES, _MASKS, _MIXED = "name60", "mask21", "name60-mask21"
_SPOKEN = {_NAMES: "Name-60", _MASKS: "Mask-21", _MIXED: "Mixed noise"}


class Choice(NamedTuple):
    """A value other than the default one."""

    row: int
    """Of the page."""
    noise: str
    strategy: str
    says: str
    """What is chosen, in the page's words."""
    options: tuple[str, ...] = ()
    """Of `actiseg train`; none for the default."""

    @property
    def default(self) -> Choice:
        """What it is compared with."""
        return Choice(0, self.noise, self.strategy, "default")

    @property
    def folder(self) -> str:
        """Name of its folder, which says what it is."""
        words = "_".join(option.lstrip("-") for option in self.options) or "default"
        return f"{self.noise}-{self.strategy}-{re.sub(r'[^A-Za-z0-9.+_-]', '-', words)}"


def _of(noise: str, strategy: str, row: int, says: str, *options: str) -> Choice:
    own = strategy if strategy != "baseline" else "noise"
    spelt = (
        option.replace("--.", f"--{own}.") if option.startswith("--.") else option
        for option in options
    )
    return Choice(row, noise, strategy, says, tuple(spelt))


def _choices() -> Iterator[Choice]:
    """What the released code does, row by row, then what else the page names."""
    base = "baseline"
    yield _of(_NAMES, base, 16, "always another name of the class", "--.unflipped", "other")
    yield _of(_NAMES, base, 17, "inactive objects keep their names", "--.no-inactive-names")
    yield _of(_NAMES, base, 18, "one stream of draws", "--.draws", "stream")
    yield _of(_MASKS, base, 19, "negative objects vanish", "--.negatives", "vanish")
    yield _of(_MASKS, base, 20, "weights follow", "--.recompute-weights")
    yield _of(_MIXED, base, 21, "other draws", "--.seed", "1")
    yield _of(_MIXED, base, 26, "no weights", "--no-action-weights")
    yield _of(_MIXED, "elr", 27, "no augmentation", "--augmentation", "none")
    yield _of(_MIXED, "gce", 7, "focal kept, unweighted", "--.focal", "kept", "--.no-weighted")
    yield _of(_MIXED, "gce", 7, "without Dice", "--.no-dice")
    yield _of(_MIXED, "sce", 7, "focal kept, unweighted", "--.focal", "kept", "--.no-weighted")
    yield _of(_MIXED, "sce", 7, "without Dice", "--.no-dice")
    yield _of(_MIXED, "apl", 7, "focal kept", "--.focal", "kept")
    yield _of(_MIXED, "apl", 7, "without Dice", "--.no-dice")
    yield _of(_MIXED, "sce", 6, "A = −4", "--.log-of-zero", "-4")
    yield _of(_MIXED, "apl", 6, "1 and 1", "--.active", "1", "--.passive", "1")
    yield _of(_MIXED, "elr", 8, "α = 0.25", "--.alpha", "0.25")
    yield _of(_MIXED, "elr", 1, "as printed", "--.sign", "as_printed")
    yield _of(
        *(_MIXED, "elr", 29, "as released", "--.agree-with", "label", "--.strength", "5e-4"),
        *("--.layers", "all", "--.average", "batch"),
    )
    yield _of(_MIXED, "elr", 2, "as released", "--.beta", "0.99", "--.initial", "zero")
    yield _of(_MIXED, "elr", 3, "not clamped", "--.clamp", "0")
    yield _of(_MIXED, "elr", 4, "float32", "--.history-dtype", "float32")
    yield _of(
        *(_MIXED, "npn", 9, "as released", "--.count", "once", "--.threshold", "0.7"),
        *("--.layers", "all", "--.tie", "background", "--.warmup-counts"),
    )
    yield _of(_MIXED, "npn", 30, "no warm-up", "--.warmup-epochs", "0")
    yield _of(
        *(_MIXED, "npn", 31, "as released", "--.partial", "cross_entropy", "--.logit-scale", "2"),
        *("--.average", "batch", "--.clamp", "1e-4"),
    )
    yield _of(
        *(_MIXED, "npn", 10, "as released"),
        *("--.strong-view", "published", "--.agreement", "confident"),
    )
    yield _of(_MASKS, "pmhm", 11, "quantiles", "--.regions", "quantiles", "--.border", "zeros")
    yield _of(_MASKS, "pmhm", 32, "one vote", "--.regions", "quantiles", "--.votes", "1")
    yield _of(_MASKS, "pmhm", 33, "all layers", "--.hard-layers", "all")
    yield _of(
        *(_MASKS, "pmhm", 14, "as released", "--.hard-dice", "half", "--.hard-focal", "all"),
        "--.no-weighted",
    )
    yield _of(_MASKS, "pmhm", 34, "Tversky term", "--.lambda-tversky", "0.3")
    yield _of(_MASKS, "pmhm", 12, "mean of each clip", "--.consistency", "clip")
    yield _of(_MASKS, "pmhm", 15, "without Eq. 6", "--.lambda-layer", "0")
    yield _of(
        *(_MASKS, "pmhm", 13, "as released", "--.dropout-of", "frames", "--.feature-noise", "0.2"),
        *("--.freeze", "0.2", "--.freeze-end", "0.2", "--.auxiliary-start", "random"),
    )
    teach = _NAMES, "co-teaching"
    yield _of(*teach, 5, "as released", "--.start-rate", "0.95", "--.forget-rate", "0.1")
    yield _of(*teach, 36, "ranked in evaluation mode", "--.ranking", "evaluation")
    yield _of(*teach, 5, "the noise rate", "--.forget-rate", "noise_rate")
    yield _of(_NAMES, base, 16, "within classes alone", "--.within-class-only")
    yield _of(_NAMES, base, 17, "names of the split", "--.vocabulary", "split")
    yield _of(_NAMES, base, 17, "hands keep their names", "--.no-hand-names")
    yield _of(_MASKS, base, 19, "negative objects grow too", "--.negatives", "dilate")
    yield _of(_MIXED, "npn", 8, "α = 0.5", "--.focal-alpha", "0.5")
    yield _of(_MIXED, "elr", 2, "old average heavy", "--.history-weight", "old_heavy")
    yield _of(_MIXED, "apl", 6, "nce+mae", "--.variant", "nce+mae")
    yield _of(_MIXED, "npn", 9, "predictions alone", "--.count", "predicted_only")
    yield _of(_MASKS, "pmhm", 11, "central differences", "--.gradient", "central")
    yield _of(_MASKS, "pmhm", 14, "Dice of whole masks", "--.hard-dice", "all")
    yield _of(_MASKS, "pmhm", 12, "main head constant", "--.detach-main")


CHOICES = tuple(_choices())
"""In the order in which they are run."""


@dataclass(frozen=True)
class Choices:
    """Train the choices of docs/ambiguities.md, one short run each; go on where it stopped."""

    data: Path
    """Prepared kitchen; its split train is learned, val measured."""
    out: Path
    """Folder of the runs."""
    pretrained: Path | None = None
    """Weights that all start from; the embedded network's if not given."""
    rows: tuple[int, ...] = field(default=())
    """Only these rows of the page; all if none is given."""
    page: Path | None = None
    """Write the last column of this page (docs/ambiguities.md) from what is done."""


def run(options: Choices) -> None:
    """Runs what is missing and writes ``choices.json`` after each cell."""
    from training.benchmark.runner import benchmark

    chosen = [own for own in CHOICES if not options.rows or own.row in options.rows]
    for choice in dict.fromkeys(each for own in chosen for each in (own.default, own)):
        status = benchmark(_benchmark(options, choice))
        if status:
            raise SystemExit(status)
        write_json(options.out / RESULTS_FILE, results(options.out))


def _benchmark(options: Choices, choice: Choice) -> BenchmarkOptions:
    return BenchmarkOptions(
        suite="all",
        out=options.out / choice.folder,
        data=options.data,
        pretrained=options.pretrained or start_file(Path("embedded"), "tiny"),
        levels=(choice.noise,),
        strategies=(choice.strategy,),
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        clip_length=1,
        positive_threshold=0.375,
        jobs=1,
        workers=0,
        device="cpu",
        train=(
            *("--batch-size", str(BATCH_SIZE), "--save-minutes", "60"),
            *("--precision", "float32", *choice.options),
        ),
    )


def results(out: Path) -> list[dict[str, Any]]:
    """What is done of all choices and their defaults, in order."""
    found = []
    for choice in dict.fromkeys(each for own in CHOICES for each in (own.default, own)):
        file = out / choice.folder / choice.noise / choice.strategy / "seed0" / RESULT_FILE
        if file.exists():
            values = read_result(file).metrics
            measured = {n: round(getattr(values, n), 2) for n in ("p_miou", "n_miou", "giou")}
            found.append({**choice._asdict(), "options": [*choice.options], **measured})
    return found


def column(measured: Sequence[dict[str, Any]]) -> dict[int, str]:
    """What the page says of each row of which something was measured."""
    by_folder = {_key(entry).folder: entry for entry in measured}
    rows: dict[int, dict[str, list[str]]] = {}
    for entry in measured:
        choice = _key(entry)
        default = by_folder.get(choice.default.folder)
        if not choice.row or default is None:
            continue
        part = f"{_SPOKEN[choice.noise]}, {choice.strategy}"
        told = rows.setdefault(choice.row, {}).setdefault(part, [f"default {_numbers(default)}"])
        told.append(f"{choice.says} {_numbers(entry)}")
    return {
        row: "; ".join(f"{part}: {', '.join(told)}" for part, told in parts.items())
        for row, parts in rows.items()
    }


def write_page(page: Path, measured: Sequence[dict[str, Any]]) -> None:
    """Writes the last column of the rows of which something was measured."""
    told = column(measured)
    lines = []
    for line in page.read_text(encoding="utf-8").split("\n"):
        row = re.match(r"\| (\d+) \|", line)
        if row and int(row[1]) in told:
            line = f"{line[:-2].rpartition(' | ')[0]} | {told[int(row[1])]} |"
        lines.append(line)
    write_text(page, "\n".join(lines))


def _key(entry: dict[str, Any]) -> Choice:
    return Choice(
        **{name: entry[name] for name in Choice._fields} | {"options": tuple(entry["options"])}
    )


def _numbers(entry: dict[str, Any]) -> str:
    return " / ".join(f"{entry[name]:.1f}" for name in ("p_miou", "n_miou", "giou"))


def main() -> None:
    """Runs, prints and, if asked to, writes the page."""
    options = tyro.cli(Choices, prog="python -m training.benchmark.choices")
    run(options)
    measured = read_json(options.out / RESULTS_FILE)
    for row, told in sorted(column(measured).items()):
        print(f"{row}: {told}")
    if options.page is not None:
        write_page(options.page, measured)


if __name__ == "__main__":
    sys.exit(cli.told(main))
