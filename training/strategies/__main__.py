"""Lists all strategies as a Markdown table: ``python -m training.strategies``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from training.strategies import STRATEGIES, Strategy


def table() -> str:
    """A row for each strategy: name, title, what it does, its options with their defaults.

    Options with another value under ``--reference released`` have it behind a slash.
    """
    lines = ["| strategy | title | what it does | options |", "|---|---|---|---|"]
    for name, kind in STRATEGIES.items():
        about = (kind.__doc__ or "").splitlines()[0].replace("|", "\\|")
        options = ", ".join(
            f"`--{name}.{entry.name.replace('_', '-')} {_values(kind, entry.name)}`"
            for entry in fields(kind.Options)
        )
        lines.append(f"| `{name}` | {kind.title} | {about} | {options or '–'} |")
    return "\n".join(lines)


def _values(kind: type[Strategy[Any]], option: str) -> str:
    usual, other = getattr(kind.Options(), option), getattr(kind.released, option)
    return f"{usual}" if usual == other else f"{usual} / {other}"


if __name__ == "__main__":
    print(table())
