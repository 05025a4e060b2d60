"""What the node does, without ROS: prompt, segmentation and gate, kept consistent.

Messages arrive in one thread and the network runs in another. Evidence for a prompt that changed
while the network was running must never reach the gate; this module is where that is ensured.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle, load_bundle
from actiseg_ros.errors import BundleError, PromptError
from actiseg_ros.gate.calibration import Calibration, load_calibration
from actiseg_ros.gate.features import target_features
from actiseg_ros.gate.state import Gate, GateOptions
from actiseg_ros.narration.text import NOTHING_NARRATED, Narration, clean_narration
from actiseg_ros.narration.vocabulary import Vocabulary, read_noun_classes
from actiseg_ros.prompts import (
    MAX_DURATION,
    Prompt,
    Target,
    choose_target,
    clean_names,
    objects_of_narration,
)
from actiseg_ros.vision.segmenter import EncodedPrompt, Segmentation, Segmenter


@dataclass(frozen=True)
class ImageTicket:
    """Identity of one arrived image.

    Attributes:
        stamp_ns: Time that its age counts from, nanoseconds of ROS time.
        digest: `images.content_digest` of its data.
        arrived: Gate's clock at its arrival, seconds.
    """

    stamp_ns: int
    digest: int
    arrived: float


class Pipeline:
    """Joins prompts, network and gate.

    Args:
        bundle: Verified bundle.
        segmenter: Network of that bundle.
        calibration: Limits of the gate, None if the bundle has none.
        options: Settings of the gate.
        vocabulary: Known object names.
        max_objects: Longest list of candidates that is accepted.
    """

    def __init__(
        self,
        bundle: Bundle,
        segmenter: Segmenter,
        calibration: Calibration | None,
        options: GateOptions,
        vocabulary: Vocabulary,
        max_objects: int,
    ) -> None:
        self.bundle = bundle
        self.segmenter = segmenter
        self.gate = Gate(calibration, options)
        self.max_objects = max_objects
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._objects: tuple[str, ...] = ()
        self._action: tuple[tuple[str, ...], str] = ((), "")
        self._narration = NOTHING_NARRATED
        self._target: Target | None = None
        self._prompt: Prompt | None = None
        self._encoded: EncodedPrompt | None = None  # the worker's own

    @property
    def prompt(self) -> Prompt | None:
        """Current prompt, None while no action is narrated."""
        with self._lock:
            return self._prompt

    def set_active(self, active: bool) -> None:
        """Follows the node's lifecycle; narration and evidence are forgotten."""
        with self._lock:
            self._prompt, self._action, self._narration = None, ((), ""), NOTHING_NARRATED
            self.gate.set_active(active)

    def reset(self) -> None:
        """Forgets narration, action and evidence; the objects that were set stay."""
        with self._lock:
            self._prompt, self._action, self._narration = None, ((), ""), NOTHING_NARRATED
            self.gate.reset()

    def narrate(self, text: str) -> tuple[str, ...]:
        """Takes a narration; the one that is current only has its life renewed.

        Returns:
            What had to be changed in it, for the log.
        """
        clean = clean_narration(text)
        with self._lock:
            if self._prompt is None or clean.text != self._prompt.narration:
                self._action = ((), "")
            # Also for the same words: with a question mark they ask.
            self._adopt(clean)
            self.gate.narration(clean.text)
            return (*clean.notes, *self._missing_target())

    def act(
        self,
        narration: str,
        names: Sequence[str],
        target: str,
        duration: float,
        age: float = 0.0,
    ) -> tuple[str, ...]:
        """Takes an action message.

        Args:
            narration: What is done; empty ends the action.
            names: Candidate objects; empty leaves the choice to `set_objects` or the narration.
            target: What is to be grasped; empty leaves the choice to the narration.
            duration: Seconds that the action lasts from its beginning; 0 is unknown.
            age: Seconds since it began.

        Returns:
            What had to be changed, for the log.

        Raises:
            PromptError: Unusable names or a negative duration; there is then no prompt until the
                next message.
        """
        clean = clean_narration(narration)
        with self._lock:
            try:
                life = self._life(duration)
                candidates = clean_names(names, self.max_objects)
            except PromptError:
                self._action = ((), "")
                self._adopt(NOTHING_NARRATED)
                self.gate.narration("")
                raise
            self._action = (candidates, target)
            self._adopt(clean)
            # 0 would mean "not known": an action that is over has a life too short to matter.
            self.gate.narration(clean.text, max(1e-9, life - max(0.0, age)))
            return (
                *clean.notes,
                *_dropped(names, candidates),
                *self._missing_target(),
                *(_odd_times(duration, life, age) if clean.text else ()),
            )

    def _life(self, duration: float) -> float:
        """Seconds that an action holds from its beginning."""
        if duration < 0:
            raise PromptError(
                f"`duration` is {duration:g} s; give 0 (not known) or how long the action lasts"
            )
        return min(duration or self.gate.options.narration_timeout, MAX_DURATION)

    def set_objects(self, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Sets the candidates for narrations whose action names none.

        Args:
            names: Candidates; empty takes them from each narration again.

        Returns:
            The names now in use (empty: from the narration), and what was dropped.

        Raises:
            PromptError: Unusable names. The old ones stay, but the gate starts anew.
        """
        with self._lock:
            try:
                self._objects = clean_names(names, self.max_objects)
            except PromptError:
                self.gate.prompt_changed()
                raise
            self._adopt(self._narration)
            return self._objects, _dropped(names, self._objects)

    def _adopt(self, narration: Narration) -> None:
        """Makes the prompt from the narration and the best candidates known; lock held."""
        prompt = None
        self._narration = narration
        if narration.text:
            named, wanted = self._action
            names = named or self._objects or objects_of_narration(narration, self._vocabulary)
            names = names[: self.max_objects]
            self._target = choose_target(narration, names, self._vocabulary, wanted)
            prompt = Prompt(narration.text, names, self._target.name)
        if prompt != self._prompt:
            self._prompt = prompt
            self.gate.prompt_changed()

    @property
    def missing_target(self) -> str:
        """Why there is nothing to grasp although something is narrated; empty if there is."""
        with self._lock:
            return "".join(self._missing_target())

    def _missing_target(self) -> tuple[str, ...]:
        """Why there is nothing to grasp, if something is narrated; lock held."""
        if self._prompt is None or self._target is None or self._target.name:
            return ()
        return (f"no target in {self._prompt.narration!r}: {self._target.advice}",)

    def process(self, rgb: npt.NDArray[np.uint8], ticket: ImageTicket) -> Segmentation | None:
        """Segments one image and gives the gate its evidence.

        Args:
            rgb: uint8 [H, W, 3].
            ticket: Identity of the image.

        Returns:
            The segmentation; None if nothing is narrated, or if the prompt changed meanwhile so
            that the result answers a question that nobody asks any more.

        Raises:
            InferenceError: The network failed; the gate has been told.
        """
        prompt = self.prompt
        if prompt is None:
            self.gate.image_accepted()
            return None
        try:
            if self._encoded is None or self._encoded.prompt != prompt:
                self._encoded = self.segmenter.encode(prompt)
            segmentation = self.segmenter.segment(rgb, self._encoded)
            calibration = self.gate.calibration
            novelty = calibration.novelty if calibration else None
            features = target_features(segmentation, self.bundle, novelty)
        except Exception:
            self.gate.inference_failed()
            raise
        with self._lock:
            # Identity, not equality: a prompt that went and came back starts anew.
            if self._prompt is not prompt:
                return None
            self.gate.judged(features, ticket.stamp_ns, ticket.digest, ticket.arrived)
        return segmentation


def load_pipeline(
    bundle_path: str,
    options: GateOptions,
    *,
    threads: int,
    nouns_csv: Path | None,
    max_objects: int,
) -> tuple[Pipeline, str]:
    """Loads a bundle and everything that depends on it.

    Args:
        bundle_path: Folder of the bundle; empty is the embedded one.
        options: Settings of the gate.
        threads: CPU threads of the network; 0 lets ONNX Runtime choose.
        nouns_csv: EPIC-KITCHENS noun classes that extend the bundle's vocabulary.
        max_objects: Longest list of candidates that is accepted.

    Returns:
        The pipeline, and why a calibration in the bundle cannot be used (empty: no complaint).

    Raises:
        BundleError: The bundle is missing, damaged, or does not run here.
        PromptError: The csv cannot be read.
    """
    bundle = load_bundle(bundle_path)
    segmenter = Segmenter(bundle, threads=threads)
    segmenter.warm_up()
    vocabulary = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
    if nouns_csv is not None:
        vocabulary = vocabulary.extended(read_noun_classes(nouns_csv))
    calibration, complaint = None, ""
    try:
        calibration = load_calibration(bundle)
    except BundleError as error:
        complaint = str(error)
    pipeline = Pipeline(bundle, segmenter, calibration, options, vocabulary, max_objects)
    return pipeline, complaint


def _odd_times(duration: float, life: float, age: float) -> tuple[str, ...]:
    notes = []
    if duration > life:
        notes.append(f"`duration` of {duration:g} s was cut to {life:g} s")
    if age >= life:
        notes.append(
            f"action began {age:.3g} s ago and held for {life:g} s, so it is over; send it when it "
            "begins, synchronise the clocks, or set `use_sim_time` if a bag publishes /clock"
        )
    return tuple(notes)


def _dropped(given: Sequence[str], kept: Sequence[str]) -> tuple[str, ...]:
    if len(given) == len(kept):
        return ()
    return (f"{len(given) - len(kept)} of {len(given)} object names were empty or repeated",)
