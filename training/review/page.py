"""Decisions as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from training.review.cards import Card, Summary


def render(title: str, facts: Mapping[str, str], cards: Sequence[Card], summary: Summary) -> str:
    """The page's HTML.

    Args:
        title: Of the page.
        facts: What it is about, by name.
        cards: In the order in which they are shown.
        summary: Of all pictures.
    """
    environment = Environment(
        loader=PackageLoader("training.review", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    template = environment.get_template("page.html.jinja")
    return template.render(title=title, facts=facts, cards=cards, summary=summary)


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
