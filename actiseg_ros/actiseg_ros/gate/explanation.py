"""Why it is no-go, in words that name the cause with its numbers and the remedy.

Reasons that stand for long would otherwise leave their reader guessing, above all those that never
end by themselves: a still picture, a model slower than `image_timeout`, narrations that alternate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from actiseg_ros.gate.events import Time
from actiseg_ros.gate.rule import Reason
from actiseg_ros.gate.state import GateState
from actiseg_ros.gate.state_machine import StateMachine
from actiseg_ros.prompts import Candidates


def explain(reason: Reason, machine: StateMachine, state: GateState, now: Time) -> str:
    """Says why a reason stands.

    Args:
        reason: One of the reasons of the decision.
        machine: Calibration and options.
        state: State that the decision was made from.
        now: Time of the decision.

    Returns:
        One sentence: cause, numbers, remedy.
    """
    options = machine.options
    timeout = f"`image_timeout` is {options.image_timeout:g} s"
    if reason in _PLAIN:
        return _PLAIN[reason]
    if reason is Reason.NOT_CALIBRATED:
        return _not_calibrated(machine, state.candidates)
    if reason is Reason.STALE_IMAGE:
        return f"{_stale(state, now)}, but {timeout}"
    if reason is Reason.SOURCE_CHANGED:
        return (
            f"images of another publisher, frame_id or size came in {state.source_changes} times, "
            f"and none counts until one camera has been alone for {options.image_timeout:g} s; "
            "leave one publisher on the image topic"
        )
    if reason is Reason.FROZEN_IMAGE:
        unchanged = now.since(state.unchanged_since) if state.unchanged_since else 0.0
        return (
            f"{state.repeats + 1} identical images in a row for {unchanged:.3g} s: a picture that "
            f"repeats `frozen_frames` ({options.frozen_frames}) times or longer than "
            f"`image_timeout` ({options.image_timeout:g} s) counts as a frozen camera; for a "
            "simulator or a still picture without noise set `allow_still_images`"
        )
    if reason is Reason.STALE_NARRATION:
        return _stale_narration(machine, state, now)
    if reason is Reason.HOLDING:
        return (
            f"{state.good_frames} of `hold_frames` ({options.hold_frames}) good images in a row; "
            f"the count started anew {state.restarts} times, last because of "
            f"{state.restart_cause or 'the start'}"
        )
    return _evidence(reason, machine, state)


_PLAIN = {
    Reason.NOT_ACTIVE: "the node is not active; configure and activate it",
    Reason.SECOND_PUBLISHER: (
        "another publisher is on the decision's topics: the node runs twice under the same name, "
        "was killed less than about 20 s ago, or something replays its decisions; stop the other "
        "one or give this node another name or namespace"
    ),
    Reason.NO_IMAGE: "no image has come in; start the camera, or remap the image topic",
    Reason.BAD_IMAGE: "the last image could not be decoded; the part `image` says why",
    Reason.NO_NARRATION: "nothing is narrated; publish what is being done, e.g. `cut pepper`",
    Reason.INFERENCE_ERROR: "the network failed; the part `model` says how",
}


_MEANS: Mapping[Candidates, str] = {
    "named": "candidates that are named",
    "narration": "candidates that come from the narration alone",
    "target": "a target without other candidates",
}


def _not_calibrated(machine: StateMachine, candidates: Candidates) -> str:
    calibration, options = machine.calibration, machine.options
    if calibration is None:
        return "the bundle is not calibrated, so go is impossible; run `actiseg calibrate`"
    shown = calibration.certificate(candidates)
    if shown is None:
        lacking = calibration.complaint or (
            f"the calibration has no certificate for {_MEANS[candidates]}; name all objects that "
            "are seen, also those that the narration does not, in an `action` message or by "
            "`~/set_objects`"
        )
        return f"{lacking}. To go without one, set `require_certificate` to false"
    return (
        f"the calibration certifies a risk of {shown.risk:g} at confidence {shown.confidence:g}, "
        f"but `max_risk` is {options.max_risk:g} and `min_confidence` "
        f"{options.min_confidence:g}; calibrate with these, or accept more risk"
    )


def _stale(state: GateState, now: Time) -> str:
    if now.simulated and now.ros_ns == 0:
        return "`use_sim_time` is set, and /clock has not told any time yet"
    moved = state.clock_moved
    if now.simulated and moved is not None and now.steady - moved.steady > 1.0:
        return f"/clock has stood still for {now.steady - moved.steady:.3g} s"
    frame = state.judgement.frame if state.judgement else state.frame
    if frame is None:
        return "no image has come in"
    arrived, age = now.since(frame.arrived), frame.age(now)
    if math.isnan(age):
        return "images have no stamp (or set `stamp_source` to arrival)"
    if abs(age - arrived) > max(0.1, 0.5 * abs(age)):
        lag = age - arrived
        return (
            f"images come in with stamps that are {abs(lag):.3g} s "
            f"{'old' if lag > 0 else 'ahead of the clock'}"
        )
    if state.judgement is None or state.frame is None:
        return f"the last image came in {arrived:.3g} s ago"
    if now.since(state.frame.arrived) < 0.5 * arrived:
        return (
            f"the image judged last came in {arrived:.3g} s ago and took "
            f"{state.judgement.latency:.3g} s to judge, while newer ones came in"
        )
    return f"the image judged last came in {arrived:.3g} s ago, and no newer one is judged"


def _stale_narration(machine: StateMachine, state: GateState, now: Time) -> str:
    narration = state.narration
    if narration is None:
        return "the narration is over"
    if math.isinf(narration.age):
        return (
            f"{narration.text!r} was said with a time ahead of this node's clock; synchronise the "
            "clocks, or let all nodes follow /clock (`use_sim_time`), and say it again"
        )
    over = -machine.left(narration, now)
    if narration.bounded and narration.repeated is not None:
        return (
            f"the action {narration.text!r} ended {over:.3g} s ago, and plain narrations of the "
            "same text do not make it last longer; send another `action`, an empty narration "
            f"first, or wait `narration_timeout` ({machine.options.narration_timeout:g} s) of "
            "silence"
        )
    return (
        f"the narration {narration.text!r} is over since {over:.3g} s; narrate it again while it "
        "goes on, give an `action` a longer duration, or raise `narration_timeout`"
    )


def _evidence(reason: Reason, machine: StateMachine, state: GateState) -> str:
    if state.judgement is None or machine.calibration is None:
        return "no image was judged"
    found = state.judgement.features
    limits = machine.calibration.limits(found.candidates)
    if limits is None:
        return f"there are no limits for {_MEANS[found.candidates]}"
    return {
        Reason.NO_TARGET: (
            f"target {found.target!r} is not seen in action (active score "
            f"{found.active_score:.2f}, limit {limits.active_score:.2f}, "
            f"{'drawn' if found.drawn else 'no mask'})"
            if found.target
            else "the narration names no object that could be the target"
        ),
        Reason.P_UNCERTAIN: (
            f"p-uncertainty {found.p_uncertainty:.2f} is above its limit "
            f"{limits.p_uncertainty:.2f}: the mask may miss the target"
        ),
        Reason.N_UNCERTAIN: (
            f"n-uncertainty {found.n_uncertainty:.2f} is above its limit "
            f"{limits.n_uncertainty:.2f}: the mask may reach what must not be touched"
        ),
        Reason.OUT_OF_DISTRIBUTION: (
            f"the image is unlike those of the calibration (distance {found.distance:.2f}, limit "
            f"{limits.distance:.2f}); calibrate with images of this camera and place"
        ),
    }[reason]
