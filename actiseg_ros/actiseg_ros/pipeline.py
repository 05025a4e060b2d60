"""What the node does, without ROS: prompt, segmentation and gate, kept consistent.

Messages arrive in one thread and the network runs in another. The prompt and the version under
which the gate knows it are read together, and evidence carries that version: the gate takes none
that answers a question which nobody asks any more.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle, load_bundle
from actiseg_ros.errors import BundleError, PromptError
from actiseg_ros.gate.calibration import Calibration, load_calibration
from actiseg_ros.gate.events import (
    Activated,
    Deactivated,
    Event,
    Frame,
    ImageUnused,
    InferenceFailed,
    Judged,
    Narrated,
    PromptChanged,
    Reset,
)
from actiseg_ros.gate.features import target_features
from actiseg_ros.gate.gate import Gate
from actiseg_ros.gate.rule import Features
from actiseg_ros.narration.text import NOTHING_NARRATED, Narration, clean_narration
from actiseg_ros.narration.vocabulary import Vocabulary, read_noun_classes
from actiseg_ros.prompts import MAX_DURATION, Prompt, Target, choose_prompt, clean_names
from actiseg_ros.vision.mask_memory import MaskMemory
from actiseg_ros.vision.segmenter import EncodedPrompt, Segmentation, Segmenter


@dataclass(frozen=True)
class Model:
    """A loaded bundle with everything that depends on it.

    Attributes:
        bundle: Verified bundle.
        segmenter: Network of that bundle, warm.
        vocabulary: Known object names.
        calibration: Limits of the gate, None if the bundle has none that can be used.
        complaint: Why its calibration cannot be used or certifies nothing; empty if all is well.
    """

    bundle: Bundle
    segmenter: Segmenter
    vocabulary: Vocabulary
    calibration: Calibration | None
    complaint: str


@dataclass(frozen=True)
class Result:
    """What came out for one image.

    Attributes:
        frame: The image.
        prompt: What was looked for; None if nothing was narrated.
        prompt_version: The gate's, when the prompt was read.
        segmentation: Answer to the prompt; None exactly if there was none.
        features: Evidence about the prompt's target; None exactly if there was no prompt.
    """

    frame: Frame
    prompt: Prompt | None
    prompt_version: int
    segmentation: Segmentation | None = None
    features: Features | None = None

    @property
    def target_label(self) -> int:
        """Value of the target in the label map, 0 if there is none."""
        if self.prompt is None or self.prompt.target not in self.prompt.names:
            return 0
        return self.prompt.names.index(self.prompt.target) + 1


class Pipeline:
    """Joins prompts, network and gate.

    Args:
        model: From `load_model`.
        gate: Gets the model's calibration, and every event from here on.
        max_objects: Longest list of candidates that is accepted.
        steady: Whether the images of a stream have a say in each other's masks (`MaskMemory`);
            evidence for a go has to hold in each image by itself, too.
    """

    def __init__(self, model: Model, gate: Gate, max_objects: int, *, steady: bool = True) -> None:
        self.model = model
        self._max_objects = max_objects
        self._steady = steady
        self._memory = MaskMemory()  # the network's thread alone uses it
        self._gate = gate
        self._vocabulary = model.vocabulary
        self._lock = threading.Lock()
        self._objects: tuple[str, ...] = ()
        self._action: tuple[tuple[str, ...], str] = ((), "")
        self._narration = NOTHING_NARRATED
        self._target: Target | None = None
        self._prompt: Prompt | None = None
        self._encoded: EncodedPrompt | None = None  # the network's thread alone uses it
        gate.set_calibration(model.calibration)

    @property
    def prompt(self) -> Prompt | None:
        """Current prompt, None while no action is narrated."""
        with self._lock:
            return self._prompt

    def configure(self, max_objects: int, *, steady: bool) -> None:
        """Changes the settings, also for what is narrated now."""
        with self._lock:
            self._max_objects, self._steady = max_objects, steady
            self._adopt(self._narration)

    # The prompt

    def activate(self) -> None:
        """Begins without narration and evidence."""
        self._begin(Activated())

    def deactivate(self) -> None:
        """Forgets narration and evidence; there is no go from now on."""
        self._begin(Deactivated())

    def reset(self) -> None:
        """Forgets narration, action and evidence; the objects that were set stay."""
        self._begin(Reset())

    def _begin(self, event: Event) -> None:
        with self._lock:
            self._prompt, self._action, self._narration = None, ((), ""), NOTHING_NARRATED
            self._gate.handle(event)

    def narrate(self, text: str, age: float = 0.0, *, kept: float = 0.0) -> tuple[str, ...]:
        """Takes a narration; the one that is current only has its life renewed.

        Args:
            text: What is done; empty ends the action.
            age: Seconds since it was said; if that lies in the future it does not hold.
            kept: Seconds for which it was kept for late listeners; it yields to newer words.

        Returns:
            What had to be changed in it, or why it is ignored, for the log.
        """
        clean = clean_narration(text)
        said = Narrated(clean.text, age=age, kept=kept)
        with self._lock:
            if self._gate.outdated(said):
                return _outdated(said)
            if not self._gate.continues(said):
                self._action = ((), "")
            # Also for the same words: with a question mark they ask.
            self._adopt(clean)
            self._gate.handle(said)
            return (*clean.notes, *self._missing_target(), *self._odd_begin(said))

    def act(
        self,
        narration: str,
        names: Sequence[str],
        target: str,
        duration: float,
        age: float = 0.0,
        *,
        kept: float = 0.0,
    ) -> tuple[str, ...]:
        """Takes an action message.

        Args:
            narration: What is done; empty ends the action.
            names: Candidate objects; empty leaves the choice to `set_objects` or the narration.
            target: What is to be grasped; empty leaves the choice to the narration.
            duration: Seconds that the action lasts from its beginning; 0 is unknown.
            age: Seconds since it began; if that lies in the future it does not hold.
            kept: Seconds for which it was kept for late listeners; it yields to newer words.

        Returns:
            What had to be changed, or why it is ignored, for the log.

        Raises:
            PromptError: Unusable names or a negative duration; there is then no prompt until the
                next message.
        """
        clean = clean_narration(narration)
        with self._lock:
            said = Narrated(clean.text, age=age, from_action=True, kept=kept)
            if self._gate.outdated(said):
                return _outdated(said)
            try:
                said = replace(said, duration=_known_duration(duration))
                candidates = clean_names(names, self._max_objects)
            except PromptError:
                self._action = ((), "")
                self._adopt(NOTHING_NARRATED)
                # Nobody said that an action has ended: the same one, corrected, may follow.
                self._gate.handle(Narrated("", age=math.inf))
                raise
            self._action = (candidates, target)
            self._adopt(clean)
            self._gate.handle(said)
            life = said.duration or self._gate.options.narration_timeout
            return (
                *clean.notes,
                *_dropped(names, candidates),
                *self._missing_target(),
                *self._odd_begin(said),
                *(_odd_times(duration, life, age) if clean.text else ()),
            )

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
                self._objects = clean_names(names, self._max_objects)
            except PromptError:
                self._gate.handle(PromptChanged())
                raise
            self._adopt(self._narration)
            return self._objects, _dropped(names, self._objects)

    def _adopt(self, narration: Narration) -> None:
        """Makes the prompt from the narration and the best candidates known; lock held."""
        prompt = None
        self._narration = narration
        if narration.text:
            named, wanted = self._action
            prompt, self._target = choose_prompt(
                narration,
                named or self._objects,
                self._vocabulary,
                wanted,
                self._max_objects,
                self.model.segmenter.unread,
            )
        if prompt != self._prompt:
            self._prompt = prompt
            self._gate.handle(PromptChanged())

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

    def _odd_begin(self, said: Narrated) -> tuple[str, ...]:
        """Why what is narrated has not begun, if it has not."""
        if not said.text or said.age >= -self._gate.options.image_timeout:
            return ()
        ahead = f"{-said.age:.3g} s" if math.isfinite(said.age) else "an unknown time"
        return (
            f"{said.text!r} begins {ahead} after what this node's clock shows, so it does not "
            "hold; synchronise the clocks, or let all nodes follow /clock (`use_sim_time`), and "
            "send it when it begins",
        )

    # The image

    def segment(self, rgb: npt.NDArray[np.uint8], frame: Frame) -> Result:
        """Segments one image for the current prompt and measures the evidence.

        Args:
            rgb: uint8 [H, W, 3].
            frame: Identity of the image, as the gate's state has it.

        Raises:
            InferenceError: The network failed; the gate has been told.
        """
        with self._lock:
            prompt, version = self._prompt, self._gate.state.prompt_version
        if prompt is None:
            return Result(frame, None, version)
        try:
            if self._encoded is None or self._encoded.prompt != prompt:
                self._encoded = self.model.segmenter.encode(prompt)
            looked = self.model.segmenter.look([rgb])
            calibration = self.model.calibration
            distance = math.inf
            if calibration is not None:
                distance = calibration.novelty.distance(looked.descriptors[0])
            memory = self._memory_for(frame, version, prompt, distance)
            segmentation = self.model.segmenter.answer(looked, self._encoded, memory)[0]
            features = target_features(segmentation, self.model.bundle, distance)
        except Exception:
            self._memory.forget()
            self._gate.handle(InferenceFailed())
            raise
        return Result(frame, prompt, version, segmentation, features)

    def _memory_for(
        self, frame: Frame, version: int, prompt: Prompt, distance: float
    ) -> MaskMemory | None:
        """What may have a say in an image's masks; None if it has to stand alone."""
        calibration = self.model.calibration
        limits = calibration.limits(prompt.candidates) if calibration else None
        foreign = limits is not None and not distance <= limits.distance
        if foreign or not self._steady or self._gate.state.rejected:
            self._memory.forget()
        if foreign or not self._steady:
            return None
        self._memory.begin((frame.session, version, frame.source), frame.taken_ns)
        return self._memory

    def is_current(self, result: Result) -> bool:
        """Whether a result still answers what is asked now."""
        state = self._gate.state
        return (
            result.frame.session == state.session and result.prompt_version == state.prompt_version
        )

    def submit(self, result: Result) -> None:
        """Gives the gate the evidence of a result."""
        if result.prompt is None or result.features is None:
            self._gate.handle(ImageUnused())
            return
        label = result.target_label
        self._gate.handle(Judged(result.frame, result.prompt_version, result.features, label))


def load_model(
    bundle_path: str,
    *,
    threads: int,
    nouns_csv: Path | None,
    providers: Sequence[str] | None = None,
) -> Model:
    """Loads a bundle and everything that depends on it.

    Args:
        bundle_path: Folder of the bundle; empty is the embedded one.
        threads: CPU threads of the network; 0 lets ONNX Runtime choose.
        nouns_csv: EPIC-KITCHENS noun classes that extend the bundle's vocabulary.
        providers: Execution providers of the network, see `Segmenter`.

    Raises:
        BundleError: The bundle is missing, damaged, or does not run here.
        PromptError: The csv cannot be read.
    """
    bundle = load_bundle(bundle_path)
    segmenter = Segmenter(bundle, threads=threads, providers=providers)
    segmenter.warm_up()
    vocabulary = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
    if nouns_csv is not None:
        vocabulary = vocabulary.extended(read_noun_classes(nouns_csv))
    try:
        calibration = load_calibration(bundle)
        complaint = calibration.complaint if calibration else ""
    except BundleError as error:
        calibration, complaint = None, str(error)
    bundle.contents.release()
    return Model(bundle, segmenter, vocabulary, calibration, complaint)


def _outdated(said: Narrated) -> tuple[str, ...]:
    what = repr(said.text) if said.text else "an empty narration"
    return (
        f"{what} began {said.age:.3g} s ago, and what was said since holds instead; stamp an "
        "action with the time of its beginning by a clock that agrees with this node's, and stop "
        "sending it when it has ended",
    )


def _known_duration(duration: float) -> float:
    """Seconds that an action lasts, 0 if it does not say."""
    if duration < 0:
        raise PromptError(
            f"`duration` is {duration:g} s; give 0 (not known) or how long the action lasts"
        )
    return min(duration, MAX_DURATION)


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
