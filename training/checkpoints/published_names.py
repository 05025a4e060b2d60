"""Tensor names of published ReferFormer/ActionVOS checkpoints, and ours for the same tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

BOX_ALIAS = "transformer.decoder.bbox_embed."


def _layer_rules(published: str, ours: str, norms: Mapping[str, str]) -> list[tuple[str, str]]:
    """Rules of one transformer layer: renamed norms and the feed-forward part."""
    rules = [(f"{published}.{old}.", f"{ours}.{new}.") for old, new in norms.items()]
    return rules + [
        (f"{published}.{linear}.", f"{ours}.feedforward.{linear}.")
        for linear in ("linear1", "linear2")
    ]


def _pixel_rules(index: int) -> list[tuple[str, str]]:
    """Rules of one pyramid level; published names count from 1."""
    ours = f"pixel_decoder.blocks.{index}"
    number = index + 1
    rules = []
    for old, new in ((f"adapter_{number}", "lateral"), (f"layer_{number}", "output")):
        rules.append((f"pixel_decoder.{old}.norm.", f"{ours}.{new}.norm."))
        rules.append((f"pixel_decoder.{old}.weight", f"{ours}.{new}.conv.weight"))
    block = f"pixel_decoder.cross_attn_{number}"
    rules.append((f"{block}.self_attn.", f"{ours}.self_attn."))
    rules.append((f"{block}.multihead_attn.", f"{ours}.cross_attn."))
    norms = {"norm1": "norm1", "norm2": "norm2", "norm3": "feedforward.norm"}
    return rules + _layer_rules(block, ours, norms)


# (published prefix, our prefix); `#` stands for a layer number that both share.
_RULES: list[tuple[str, str]] = [
    ("transformer.level_embed", "level_embedding"),
    ("transformer.reference_points.", "decoder.reference_points."),
    *_layer_rules(
        "transformer.encoder.layers.#",
        "encoder.layers.#",
        {"self_attn": "self_attn", "norm1": "norm1", "norm2": "feedforward.norm"},
    ),
    *_layer_rules(
        "transformer.decoder.layers.#",
        "decoder.layers.#",
        {
            "self_attn": "self_attn",
            "cross_attn": "cross_attn",
            "norm1": "norm_cross",
            "norm2": "norm_self",
            "norm3": "feedforward.norm",
        },
    ),
    ("bbox_embed.#.layers.", "decoder.box_heads.#.mlp.layers."),
    ("class_embed.", "class_heads."),
    ("positive_cls_embed.", "positive_heads."),
    ("query_embed.weight", "decoder.query_positions"),
    ("input_proj.", "input_projections."),
    ("backbone.0.body.", "backbone."),
    ("text_encoder.", "text_encoder.roberta."),
    ("resizer.", "text_encoder.projection."),
    ("fusion_module.multihead_attn.", "fusion.attention."),
    *(rule for index in range(4) for rule in _pixel_rules(index)),
    ("pixel_decoder.mask_features.", "pixel_decoder.mask_features."),
    ("controller.", "mask_head.controller."),
]


def _translate(key: str, rules: Iterable[tuple[str, str]]) -> str | None:
    for old, new in rules:
        pattern = re.escape(old).replace(r"\#", r"(\d+)")
        found = re.match(pattern, key)
        if found:
            number = found.group(1) if found.groups() else ""
            return new.replace("#", number) + key[found.end() :]
    return None


def from_published(key: str) -> str | None:
    """Our name of a published tensor, or None for a tensor that the model does not have.

    The second name of the shared box heads gives the same result as the first.
    """
    if key.startswith(BOX_ALIAS):
        key = key.removeprefix("transformer.decoder.")
    return _translate(key, _RULES)


def to_published(key: str) -> tuple[str, ...]:
    """Published names of one of our tensors: one, or two for the shared box heads.

    Raises:
        KeyError: If the tensor has no counterpart (only members of the family that differ from the
            published model have such).
    """
    name = _translate(key, ((new, old) for old, new in _RULES))
    if name is None:
        raise KeyError(f"{key} has no counterpart in published checkpoints")
    if name.startswith("bbox_embed."):
        return (name, f"transformer.decoder.{name}")
    return (name,)
