"""Commands that make label noise: `actiseg noise text`, `masks` and `severity`.

Importable without PyTorch: each `run` imports what it needs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from training.config.noise import NameOptions, Negatives, Order

Form = Literal["own", "published"]


@dataclass(frozen=True, kw_only=True)
class NoiseText(NameOptions):
    """Exchange object names in a split (paper Alg. 1) and tell how the nouns shifted (Fig. 2)."""

    split: Path
    """Clean split, in the form of ImageSets/train.json."""
    rate: float
    """Probability of another class's noun, in [0, 1]; 0 is clean."""
    out: Path
    """Noisy split; beside it go NAME_distribution.json and .png with the shares of the nouns, and
    NAME_manifest.json. With `--form published` a folder, in which all of them lie."""
    seed: int = 0
    """Seed of the draws."""
    form: Form = "own"
    """`own`: a split whose objects keep their clean noun under clean_name. `published`: the files
    SPLIT_objects_category.json and SPLIT_meta_expressions_promptaction.json as released."""

    def run(self) -> int:
        """Writes the names, the table and the chart."""
        from training.data.splits import read_split
        from training.files.disk import write_json
        from training.noise import published, statistics, text

        name = self.split.stem
        files, beside = [self.out], self.out
        if self.form == "published":
            kinds = (published.OBJECTS, published.EXPRESSIONS)
            files, beside = [self.out / f"{name}_{kind}" for kind in kinds], self.out / name
        shares_file, chart, manifest_file = (
            beside.with_name(f"{beside.stem}_{kind}")
            for kind in ("distribution.json", "distribution.png", "manifest.json")
        )
        text.refuse_overwriting(
            [*files, shares_file, chart, manifest_file], [self.split, self.classes]
        )
        clean = read_split(self.split)
        names = text.vocabulary(self.split, clean, self)
        choices = {
            entry.name: getattr(self, entry.name)
            for entry in fields(NameOptions)
            if entry.name not in ("classes", "vocabulary")
        }
        noise = text.TextNoise(names, self.rate, self.seed, **choices)
        table = noise.table(clean)
        noisy = text.noisy_split(clean, table)
        shares = statistics.noun_shares(clean, noisy)
        contents = (noisy,) if self.form == "own" else published.published_names(clean, table)
        for file, content in zip(files, contents, strict=True):
            write_json(file, content)
        write_json(shares_file, shares)
        statistics.draw_shares(shares, chart)
        manifest = {
            "algorithm": 1,
            "rate": self.rate,
            "seed": self.seed,
            **choices,
            "classes": len(names),
            "classes_sha256": text.classes_digest(names),
            "clean_names_sha256": text.names_digest(clean),
            "names_sha256": text.names_digest(noisy),
        }
        write_json(manifest_file, manifest)
        print(statistics.shares_table(shares))
        return 0


@dataclass(frozen=True)
class NoiseMasks:
    """Dilate the masks of a split's positive objects (paper Alg. 2)."""

    annotations: Path
    """Folder with SEQUENCE/FRAME.png, the clean labels."""
    split: Path
    """Split that tells which objects are positive."""
    kernel: int
    """Side of the square in pixels, odd (paper: 9, 15, 21)."""
    out: Path
    """Folder for the noisy labels and manifest.json."""
    negatives: Negatives = "vanish"
    """Objects that are not active: not in the noisy maps (Alg. 2), in their clean pixels where
    nothing covers them, or dilated too."""
    order: Order = "ascending"
    """Object ids in the order of the first hit."""
    form: Form = "own"
    """`own`: SEQUENCE/FRAME.png in `out`. `published`: SPLIT/SEQUENCE/FRAME.png, and the clean map
    as FRAME_org.png beside each that differs from it, as released."""
    workers: int | None = None
    """Processes; one per core if not given."""

    def run(self) -> int:
        """Writes the noisy label images and tells how far they are from the clean ones."""
        from training.noise.mask import MaskNoise, write_noisy_masks
        from training.noise.statistics import severity_table

        noise = MaskNoise(self.kernel, self.negatives, self.order)
        written = write_noisy_masks(
            self.annotations,
            self.split,
            noise,
            self.out,
            self.workers,
            published=self.form == "published",
        )
        print(f"{written.frames} label images in {self.out}")
        print(severity_table({self.kernel: written.severity}))
        return 0


@dataclass(frozen=True)
class NoiseSeverity:
    """Tell how far dilated masks are from the clean ones (paper Fig. 3), without writing them."""

    annotations: Path
    """Folder with SEQUENCE/FRAME.png, the clean labels."""
    split: Path
    """Split that tells which objects are positive."""
    out: Path
    """JSON file for mIoU and cIoU of each kernel, fractions; a chart of the same name goes beside
    it."""
    kernels: tuple[int, ...] = (9, 15, 21)
    """Sides of the squares in pixels, odd."""
    workers: int | None = None
    """Processes; one per core if not given."""

    def run(self) -> int:
        """Writes the table and the chart."""
        from training.files.disk import write_json
        from training.noise import statistics
        from training.noise.mask import MaskNoise, measure_severity
        from training.noise.text import refuse_overwriting

        chart = self.out.with_name(f"{self.out.stem}.png")
        refuse_overwriting([chart], [self.out])
        refuse_overwriting([self.out, chart], [self.split])
        noises = [MaskNoise(kernel) for kernel in self.kernels]
        measured = measure_severity(self.annotations, self.split, noises, self.workers)
        found = dict(zip(self.kernels, measured, strict=True))
        write_json(self.out, {kernel: severity.as_json() for kernel, severity in found.items()})
        statistics.draw_severity(found, chart)
        print(statistics.severity_table(found))
        return 0


@dataclass(frozen=True)
class Noise:
    """Make label noise beside the clean data."""

    kind: (
        Annotated[NoiseText, tyro.conf.subcommand("text")]
        | Annotated[NoiseMasks, tyro.conf.subcommand("masks")]
        | Annotated[NoiseSeverity, tyro.conf.subcommand("severity")]
    )

    def run(self) -> int:
        """Runs the chosen kind of noise."""
        return self.kind.run()
