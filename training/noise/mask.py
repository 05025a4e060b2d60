"""Mask annotation noise (paper Alg. 2): separate, dilate, combine by first hit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from training.config.noise import Negatives, Order
from training.data.labels import WEIGHT_OTHER
from training.data.palette import read_label_png, write_label_png
from training.data.splits import positive_ids, read_split, record_name
from training.files.claims import claim
from training.files.digests import files_digest
from training.files.disk import write_json
from training.files.lock import sole_writer
from training.files.processes import in_processes
from training.files.progress import tracked
from training.noise.published import CLEAN_SUFFIX, MANIFEST
from training.noise.statistics import Severity

Labels = npt.NDArray[np.uint8]
_INLINE_SEQUENCES = 64
"""Fewer are done in this process, because starting others takes longer."""


def check_kernel(kernel: int) -> None:
    """Refuses kernels without a centre.

    Raises:
        ActisegError: If `kernel` is not an odd number from 1 on.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ActisegError(
            f"mask noise kernel {kernel}: it must be odd and positive (paper: 9, 15, 21)"
        )


@dataclass(frozen=True)
class MaskNoise:
    """Algorithm 2 with its choices; it draws nothing at random.

    Attributes:
        kernel: Side of the square in pixels of the 854x480 label maps, odd (paper: 9, 15, 21).
        negatives: What becomes of objects that are not active. `vanish`: they are not in the noisy
            map (Alg. 2 combines positive objects only). `keep`: they keep those clean pixels that
            no dilated object covers. `dilate`: they are treated as the positive ones.
        order: Which of the dilated masks that cover a pixel takes it: the one of the smallest
            object id (`ascending`, alphabetical order of the names) or of the largest.

    Raises:
        ActisegError: If the kernel is even or not positive.
    """

    kernel: int
    negatives: Negatives = "vanish"
    order: Order = "ascending"

    def __post_init__(self) -> None:
        check_kernel(self.kernel)

    def labels(self, clean: Labels, positive_ids: Iterable[int]) -> Labels:
        """The noisy label map.

        Args:
            clean: uint8 [H, W], 0 is background; not changed.
            positive_ids: Labels of the positive objects.
        """
        positive = set(positive_ids)
        if self.negatives == "dilate":
            positive |= set(np.flatnonzero(np.bincount(clean.ravel())).tolist()) - {0}
        noisy = dilate_labels(clean, positive, self.kernel, self.order)
        if self.negatives == "keep":
            # A positive object covers its own clean pixels, so what is left is negative.
            np.copyto(noisy, clean, where=noisy == 0)
        return noisy

    def weights(self, clean: Labels, noisy: Labels, weights: Labels) -> Labels:
        """Action-guided weights that follow the noisy masks.

        A pixel that an object gains takes the largest stored weight of the object's own pixels
        within the kernel; one that is lost to the background is `WEIGHT_OTHER`.

        Args:
            clean: Label map before the noise, uint8 [H, W].
            noisy: Label map after it, uint8 [H, W].
            weights: Stored weights of the clean map, uint8 [H, W]; not changed.
        """
        changed = clean != noisy
        followed = np.where(changed, np.uint8(WEIGHT_OTHER), weights)
        square = np.ones((self.kernel, self.kernel), np.uint8)
        for object_id in set(np.unique(noisy[changed]).tolist()) - {0}:
            own = np.where(clean == object_id, weights, np.uint8(0))
            np.copyto(followed, cv2.dilate(own, square), where=changed & (noisy == object_id))
        return followed


def dilate_labels(
    labels: Labels, object_ids: Iterable[int], kernel: int, order: Order = "ascending"
) -> Labels:
    """Algorithm 2 on one label map.

    Args:
        labels: uint8 [H, W], 0 is background; not changed.
        object_ids: Labels that are dilated and combined; all others vanish.
        kernel: Side of the square structuring element in pixels, odd.
        order: A pixel goes to the first label in this order whose dilated mask covers it.

    Returns:
        uint8 [H, W], the noisy label map.

    Raises:
        ActisegError: If the kernel is even or not positive.
    """
    check_kernel(kernel)
    noisy = np.zeros_like(labels)
    square = np.ones((kernel, kernel), np.uint8)
    reach = kernel // 2
    # Later labels overwrite earlier ones, so the first hit comes last.
    for object_id in sorted(set(object_ids), reverse=order == "ascending"):
        mask = cv2.compare(labels, int(object_id), cv2.CMP_EQ)
        x, y, width, height = cv2.boundingRect(mask)
        if width == 0:
            continue
        # Only the object's surroundings can change.
        window = np.s_[
            max(y - reach, 0) : y + height + reach, max(x - reach, 0) : x + width + reach
        ]
        dilated = cv2.dilate(np.ascontiguousarray(mask[window]), square)
        noisy[window][dilated != 0] = object_id
    return noisy


@dataclass
class WrittenMasks:
    """What `write_noisy_masks` made.

    Attributes:
        frames: Label images of the split.
        severity: Overlap of the noisy with the clean masks.
        digest: SHA-256 over all noisy label maps; equal for equal noise.
    """

    frames: int = 0
    severity: Severity = field(default_factory=Severity)
    digest: str = ""


def write_noisy_masks(
    annotations: Path,
    split: Path,
    noise: MaskNoise,
    out: Path,
    workers: int | None = None,
    *,
    published: bool = False,
) -> WrittenMasks:
    """Writes the noisy label images of a whole split beside the clean ones.

    An interrupted run can be repeated. ``manifest.json`` in `out` tells what was done.

    Args:
        annotations: Folder with ``SEQUENCE/FRAME.png``.
        split: File in the form of ``ImageSets/SPLIT.json``.
        noise: The noise.
        out: Folder to fill in the same form; not `annotations` itself.
        workers: Processes; None is one per core.
        published: Write ``SPLIT/SEQUENCE/FRAME.png``, and the clean map as ``FRAME_org.png`` beside
            each that differs from it, as the authors of ActiSeg-NL do.

    Raises:
        ActisegError: If a label image is missing, or `out` holds the clean set, other noise or
            label images that this did not write.
    """
    if out.resolve() == annotations.resolve():
        raise ActisegError(f"{out}: the clean labels lie there; give another folder")
    target = out / split.stem if published else out
    jobs = [
        (_job(annotations, record), _Target(target, published), noise)
        for record in read_split(split)
    ]
    manifest = {
        "algorithm": 2,
        **({"form": "published"} if published else {}),
        **asdict(noise),
        "split_sha256": file_sha256(split),
        "clean_sha256": files_digest(annotations, (file for job in jobs for file in job[0][1])),
    }
    with sole_writer(out):
        if not (out / MANIFEST).exists() and next(out.rglob("*.png"), None):
            raise ActisegError(
                f"{out}: holds label images, but no {MANIFEST} that says what they are; choose "
                "another --out"
            )
        claim(out / MANIFEST, manifest, "masks")
        written = WrittenMasks()
        digest = hashlib.sha256()
        for frames, severity, own in _run(_write_sequence, jobs, workers, f"masks {noise.kernel}"):
            written.frames += frames
            written.severity += severity
            digest.update(own)
        written.digest = digest.hexdigest()
        write_json(
            out / MANIFEST,
            {
                **manifest,
                "frames": written.frames,
                "severity": written.severity.as_json(),
                "sha256": written.digest,
            },
        )
        return written


def measure_severity(
    annotations: Path, split: Path, noises: Sequence[MaskNoise], workers: int | None = None
) -> list[Severity]:
    """Overlap of noisy with clean masks over a whole split for each noise (paper Fig. 3).

    Args:
        annotations: Folder with ``SEQUENCE/FRAME.png``, the clean labels.
        split: File in the form of ``ImageSets/SPLIT.json``.
        noises: What to compare.
        workers: Processes; None is one per core.

    Raises:
        ActisegError: If a label image is missing.
    """
    jobs = [(_job(annotations, record), tuple(noises)) for record in read_split(split)]
    totals = [Severity() for _ in noises]
    for measured in _run(_measure_sequence, jobs, workers, "severity"):
        for index, severity in enumerate(measured):
            totals[index] += severity
    return totals


@dataclass(frozen=True)
class _Target:
    """Where the noisy label images of a split go, and in which form."""

    folder: Path
    published: bool


_Source = tuple[str, list[Path], list[int]]
"""Sequence name, clean label images, labels of the positive objects."""
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def _job(annotations: Path, record: Mapping[str, Any]) -> _Source:
    name = record_name(record)
    files = sorted(
        path for path in (annotations / name).glob("*.png") if not path.stem.endswith(CLEAN_SUFFIX)
    )
    if not files:
        raise ActisegError(f"{annotations / name}: no label images; prepare the split first")
    return name, files, positive_ids(record)


def _run(
    work: Callable[[_Job], _Result], jobs: Sequence[_Job], workers: int | None, title: str
) -> Iterator[_Result]:
    """Results in the order of the jobs, with progress."""
    results = in_processes(
        work,
        jobs,
        workers,
        worth=len(jobs) >= _INLINE_SEQUENCES,
        chunk=8,
        begin=cv2.setNumThreads,
        arguments=(1,),
    )
    return tracked(results, title, "clips", total=len(jobs))


def _write_sequence(job: tuple[_Source, _Target, MaskNoise]) -> tuple[int, Severity, bytes]:
    (name, files, positive), target, noise = job
    folder = target.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    severity, digest = Severity(), hashlib.sha256()
    for file in files:
        clean = read_label_png(file)
        noisy = noise.labels(clean, positive)
        severity.add(clean, noisy, positive)
        digest.update(f"{name}/{file.stem}\0".encode() + noisy.tobytes())
        write_label_png(folder / file.name, noisy)
        original = folder / f"{file.stem}{CLEAN_SUFFIX}.png"
        if target.published and not np.array_equal(clean, noisy):
            write_label_png(original, clean)
        else:
            original.unlink(missing_ok=True)
    return len(files), severity, digest.digest()


def _measure_sequence(job: tuple[_Source, tuple[MaskNoise, ...]]) -> list[Severity]:
    (_, files, positive), noises = job
    measured = [Severity() for _ in noises]
    for file in files:
        clean = read_label_png(file)
        for noise, severity in zip(noises, measured, strict=True):
            severity.add(clean, noise.labels(clean, positive), positive)
    return measured
