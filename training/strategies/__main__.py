"""Lists all strategies as a Markdown table: ``python -m training.strategies``."""

from __future__ import annotations

from dataclasses import fields

from training.strategies import STRATEGIES


def table() -> str:
    """A row for each strategy: name, title, what it does, its options with their defaults."""
    lines = ["| strategy | title | what it does | options |", "|---|---|---|---|"]
    for name, kind in STRATEGIES.items():
        about = (kind.__doc__ or "").splitlines()[0]
        defaults = kind.Options()
        options = ", ".join(
            f"`--{name}.{entry.name.replace('_', '-')} {getattr(defaults, entry.name)}`"
            for entry in fields(defaults)
        )
        lines.append(f"| `{name}` | {kind.title} | {about} | {options or '–'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
