"""Typed errors; each message names the culprit, its value and the remedy."""

from __future__ import annotations


class ActisegError(Exception):
    """A problem that the user can fix; commands tell it in one line, without a traceback."""


class RobotError(ActisegError, ValueError):
    """Base of every error that bad input causes on the robot side."""


class BundleError(RobotError):
    """A model bundle is missing, cut short, altered or of an unknown form."""


class ImageError(RobotError):
    """The fields of an image message contradict each other or cannot be decoded."""


class PromptError(RobotError):
    """A narration or a list of object names cannot be used as a prompt."""


class InferenceError(RobotError):
    """The network failed, or it answered with numbers that are not finite."""
