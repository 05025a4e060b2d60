"""What is told about a recording: how it was taken, and what of it was lost."""

from __future__ import annotations

from actiseg_ros.errors import RobotError


class BagError(RobotError):
    """A recording, its narrations, or the output path of a bag cannot be used."""


class Account:
    """Collects what a user must be told about a conversion.

    Args:
        refuse: Whether damage ends the conversion; otherwise it counts as a loss.

    Attributes:
        notes: Choices that were made, nothing is lost by them.
        losses: What of the source is not in the result, or has a time that had to be guessed.
    """

    def __init__(self, *, refuse: bool) -> None:
        self.notes: list[str] = []
        self.losses: list[str] = []
        self._refuse = refuse

    def note(self, text: str) -> None:
        """Tells a choice; the same text is told once."""
        if text not in self.notes:
            self.notes.append(text)

    def lose(self, text: str) -> None:
        """Tells a loss that leaves the rest usable; the same text is told once."""
        if text not in self.losses:
            self.losses.append(text)

    def refuse(self, text: str) -> None:
        """Ends a conversion that refuses damage.

        Raises:
            BagError: Damage is refused.
        """
        if self._refuse:
            raise BagError(
                f"{text}; repair it or fetch it again, or take what is left with `--on-error skip`"
            )

    def damage(self, text: str) -> None:
        """Tells that the source is broken.

        Raises:
            BagError: Damage is refused.
        """
        self.refuse(text)
        self.lose(text)
