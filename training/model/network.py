"""The whole network: image side, text side and prompt decoder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.model.backbones import build_backbone, pooled_statistics
from training.model.config import ModelConfig, preset
from training.model.deformable_attention import Shape
from training.model.evidence import ActivityMap, EvidenceHead
from training.model.fusion import EarlyFusion
from training.model.late import CoarseEncoder, LateDecoder
from training.model.mask_head import DynamicMaskHead
from training.model.pixel_decoder import PixelDecoder
from training.model.positional import (
    map_encoding,
    resize_padding,
    unpadded_map_encoding,
    word_encoding,
)
from training.model.text import TextEncoder, TextFeatures
from training.model.transformer import LEVELS, Decoded, Decoder, Encoder, Pyramid, valid_ratio

Trace = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class ImageFeatures:
    """What does not depend on the prompt, for N clips of T frames.

    Attributes:
        levels: Features at strides 8, 16, 32, 64, [N, T, D, h, w] each.
        fine: Stride-4 features, [N, T, D, h, w]: after the clip's self-attention, or, if no level
            of the mask pyramid reads words, the mask features themselves.
        paddings: Padding at strides 4, 8, 16, 32, 64, bool [N, T, h, w] each, or None.
        embedding: Pooled backbone statistics of each frame, [N, T, E].
    """

    levels: tuple[Tensor, ...]
    fine: Tensor
    paddings: tuple[Tensor, ...] | None
    embedding: Tensor


@dataclasses.dataclass(frozen=True)
class LayerOutput:
    """Predictions after one decoder layer, as logits.

    Attributes:
        logits: Class logit of each query, [P, T, Q, 1].
        boxes: (cx, cy, w, h) in fractions of the clip's unpadded size, [P, T, Q, 4].
        masks: Mask logits at stride 4, [P, T, Q, h, w].
        positives: Logit that the object is active in the clip, [P, 1].
    """

    logits: Tensor
    boxes: Tensor
    masks: Tensor
    positives: Tensor


@dataclasses.dataclass(frozen=True)
class Output(LayerOutput):
    """Predictions of the last layer, of the earlier ones, and what further heads need.

    Attributes:
        aux: Earlier layers, first to last; empty unless asked for.
        hidden: Decoder outputs, [layers, P, T, Q, D].
        references: Boxes refined by each layer, [layers, P, T, Q, 4].
        initial_references: First reference points, [P, T, Q, 2].
        mask_features: [P, T, D, h, w].
        embedding: Mean image statistics of each clip, [N, E].
        likeness: Mask logits that all queries and layers share, [P, T, 1, h, w]; None without them.
        activity: Logits that what lies at a pixel is in use, whatever the prompt, [N, T, h, w];
            None without `mask_evidence`.
        narrated: Logit for prompts without a picture that the narration speaks of the object,
            [K, 1]; None unless asked for.
        extra_masks: Mask logits of a head that a learning strategy adds, [P, T, Q, h, w]; None
            without one.
    """

    aux: tuple[LayerOutput, ...]
    hidden: Tensor
    references: Tensor
    initial_references: Tensor
    mask_features: Tensor
    embedding: Tensor
    likeness: Tensor | None = None
    activity: Tensor | None = None
    narrated: Tensor | None = None
    extra_masks: Tensor | None = None

    @property
    def reference_points(self) -> Tensor:
        """Box centres that the last layer started from, [P, T, Q, 2]."""
        if len(self.references) == 1:
            return self.initial_references
        return self.references[-2][..., :2]


def _prior_bias(probability: float) -> float:
    return -math.log((1 - probability) / probability)


class ActionVOS(nn.Module):
    """ReferFormer (Wu et al. 2022) with the positive head of ActionVOS (Ouyang et al. 2024)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width, layers = config.width, config.decoder_layers
        self.backbone = build_backbone(config)
        channels = self.backbone.channels
        self.input_projections = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, width, kernel, stride, kernel // 2),
                nn.GroupNorm(config.projection_groups, width),
            )
            for inputs, kernel, stride in [(c, 1, 1) for c in channels[1:]] + [(channels[3], 3, 2)]
        )
        self.text_encoder = TextEncoder(config.text, width, config.dropout)
        shared = CoarseEncoder if config.shared_attention == "dense" else Encoder
        self.shared_encoder = shared(config, config.shared_encoder_layers)
        if not config.late_words:
            self.fusion = EarlyFusion(width, config.heads, config.fusion)
        self.encoder = Encoder(config, config.encoder_layers)
        self.level_embedding = nn.Parameter(torch.empty(LEVELS, width))
        self.decoder = LateDecoder(config) if config.late_words else Decoder(config)
        self.pixel_decoder = PixelDecoder(config, channels[0])
        if config.word_levels == 0:
            # What the prompt adds to the shared mask features: a direct way from words to pixels,
            # without which a network from scratch is slow to find what the prompt names.
            if not config.late_words:
                self.prompt_projection = nn.Conv2d(width, width, 1, bias=False)
            # Where the picture looks like the sentence; every query's mask starts from it.
            self.likeness = nn.Linear(width, width + 1)
        self.mask_head = DynamicMaskHead(config)
        self.class_heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(layers))
        self.positive_heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(layers))
        if config.mask_evidence:
            self.narrated_head = nn.Linear(width, 1)
            self.activity_map = ActivityMap(width)
            self.evidence_heads = nn.ModuleList(EvidenceHead(width) for _ in range(layers))
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.level_embedding)
        for module in self.input_projections.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight, gain=1)
                nn.init.zeros_(module.bias)
        if self.config.word_levels == 0:
            # They add to what works alone.
            if not self.config.late_words:
                nn.init.zeros_(self.prompt_projection.weight)
            nn.init.zeros_(self.likeness.weight)
            nn.init.zeros_(self.likeness.bias)
        for stack in (self.shared_encoder, self.encoder, self.decoder, self.pixel_decoder):
            for name, module in stack.named_modules():
                if isinstance(module, nn.Linear) and name.endswith(("linear1", "linear2")):
                    nn.init.xavier_uniform_(module.weight)
        for heads, prior in (
            (self.class_heads, 0.01),
            (self.positive_heads, self.config.positive_prior),
        ):
            linear = [head for head in heads if isinstance(head, nn.Linear)]
            for head in linear:
                nn.init.constant_(head.bias, _prior_bias(prior))
                head.weight.data.copy_(linear[0].weight.data)

    def encode_image(
        self, frames: Tensor, padding: Tensor | None = None, trace: Trace | None = None
    ) -> ImageFeatures:
        """Encodes clips independently of any prompt.

        Args:
            frames: Normalised RGB, float32 [N, T, 3, H, W], padded with zeros.
            padding: Bool [N, T, H, W], True on padding; None if nothing is padded.
            trace: Receives intermediate tensors by name, if given.

        Returns:
            Features shared by all prompts of each clip.
        """
        clips, count = frames.shape[:2]
        stages = self.backbone(frames.flatten(0, 1))
        maps = [
            projection(stage)
            for projection, stage in zip(
                self.input_projections, [*stages[1:], stages[3]], strict=True
            )
        ]
        fine_shape: Shape = (stages[0].shape[2], stages[0].shape[3])
        shapes: list[Shape] = [(m.shape[2], m.shape[3]) for m in maps]
        paddings = None
        if padding is not None:
            flat = padding.flatten(0, 1)
            paddings = tuple(resize_padding(flat, shape) for shape in [fine_shape, *shapes])
        if trace is not None:
            trace |= {f"res{i + 2}": stage for i, stage in enumerate(stages)}
            trace |= {f"proj{i}": m for i, m in enumerate(maps)}
        if self.shared_encoder.layers:
            pyramid = self._pyramid(shapes, None if paddings is None else paddings[1:], trace=None)
            tokens = torch.cat([m.flatten(2) for m in maps], 2).transpose(1, 2)
            maps = _cut(self.shared_encoder(tokens, pyramid), shapes)
        fine = self.pixel_decoder.fine_block.see(
            stages[0],
            self._positions(fine_shape, None if paddings is None else paddings[0]),
            None if paddings is None else paddings[0],
            clips,
        )
        if self.config.word_levels == 0:
            fine_map = self._mask_features(
                (fine, None, fine_shape), maps[:3], paddings, None, clips
            )
        else:
            fine_map = fine.reshape(clips * count, -1, fine.shape[-1]).transpose(1, 2)
            fine_map = fine_map.unflatten(2, fine_shape)
        return ImageFeatures(
            levels=tuple(m.unflatten(0, (clips, count)) for m in maps),
            fine=fine_map.unflatten(0, (clips, count)),
            paddings=None
            if paddings is None
            else tuple(p.unflatten(0, (clips, count)) for p in paddings),
            embedding=pooled_statistics(stages).unflatten(0, (clips, count)),
        )

    def encode_text(
        self, input_ids: Tensor, attention_mask: Tensor, trace: Trace | None = None
    ) -> TextFeatures:
        """Encodes tokenised prompts, int64 [P, L] each."""
        return self.text_encoder(input_ids, attention_mask, trace)

    def decode(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        sizes: Tensor,
        clip_of_prompt: Tensor | None = None,
        *,
        auxiliary: bool = True,
        trace: Trace | None = None,
    ) -> Output:
        """Segments every prompt of every clip in one batch.

        Args:
            image: N encoded clips.
            text: P encoded prompts.
            sizes: Unpadded (height, width) of each clip in pixels of the model input, [N, 2].
            clip_of_prompt: Int64 [P], the clip of each prompt. None if there is one clip, or one
                prompt for each clip in order.
            auxiliary: False leaves out the predictions of the earlier decoder layers.
            trace: Receives intermediate tensors by name, if given.

        Returns:
            Predictions with leading dimension P.

        Raises:
            ValueError: If `clip_of_prompt` is needed and missing.
        """
        select = _Selector(image.fine.shape[0], text.words.shape[0], clip_of_prompt)
        if self.config.late_words:
            decoded, mask_features = self._decode_late(image, text, select, trace)
        else:
            decoded, mask_features = self._decode_early(image, text, select, trace)
        return self._heads(
            decoded,
            mask_features,
            self._cues(image, text, select) if self.config.mask_evidence else None,
            self._likeness(text.sentence, select(image.fine)),
            select(sizes),
            image.embedding.mean(1),
            auxiliary,
            trace,
        )

    def _decode_late(
        self, image: ImageFeatures, text: TextFeatures, select: _Selector, trace: Trace | None
    ) -> tuple[Decoded, Tensor]:
        """Decoded queries, and the mask features [P, T, D, h, w] that all prompts share."""
        shapes: list[Shape] = [(m.shape[3], m.shape[4]) for m in image.levels]
        paddings = None
        if image.paddings is not None:
            paddings = [p.flatten(0, 1) for p in image.paddings[1:]]
        pyramid = self._pyramid(shapes, paddings, trace)
        memory = torch.cat([level.flatten(3) for level in image.levels], 3).transpose(2, 3)
        decoder = cast("LateDecoder", self.decoder)
        return decoder(text.sentence, memory, pyramid, select), select(image.fine)

    def _decode_early(
        self, image: ImageFeatures, text: TextFeatures, select: _Selector, trace: Trace | None
    ) -> tuple[Decoded, Tensor]:
        """Decoded queries and mask features [P, T, D, h, w] after early fusion."""
        count = image.fine.shape[1]
        shapes: list[Shape] = [(m.shape[3], m.shape[4]) for m in image.levels]
        paddings = None
        if image.paddings is not None:
            paddings = [select(p).flatten(0, 1) for p in image.paddings]
        words, padding = text.words, text.padding
        word_positions = word_encoding(text.attention_mask, words.shape[-1])
        fused = self._fuse(image, select, words, word_positions, padding)
        pyramid = self._pyramid(shapes, None if paddings is None else paddings[1:], trace)
        source = torch.cat([f.flatten(3).flatten(0, 1) for f in fused], 2).transpose(1, 2)
        if trace is not None:
            trace |= {f"fused{i}": f.flatten(0, 1) for i, f in enumerate(fused)}
            trace["text_pos"] = word_positions.transpose(1, 2)
        memory = self.encoder(source, pyramid, trace)
        sentence = text.sentence[:, None].expand(-1, count, -1).flatten(0, 1)
        decoded = self.decoder(sentence, memory, pyramid)
        if self.config.word_levels == 0:
            added = F.interpolate(
                self.prompt_projection(_cut(memory, shapes)[0]),
                size=(image.fine.shape[3], image.fine.shape[4]),
                mode="bilinear",
                align_corners=False,
            )
            mask_features = select(image.fine) + added.unflatten(0, (-1, count))
        else:
            mask_features = self._mask_features(
                self._fine_tokens(image, select),
                _cut(memory, shapes)[:3],
                paddings,
                (words + word_positions, words, padding),
                words.shape[0],
            ).unflatten(0, (-1, count))
        if trace is not None:
            trace |= {f"memory{i}": m for i, m in enumerate(_cut(memory, shapes))}
        return decoded, mask_features

    def forward(
        self,
        frames: Tensor,
        padding: Tensor | None,
        input_ids: Tensor,
        attention_mask: Tensor,
        sizes: Tensor,
        clip_of_prompt: Tensor | None = None,
        *,
        pairs: tuple[Tensor, Tensor] | None = None,
        auxiliary: bool = True,
        trace: Trace | None = None,
    ) -> Output:
        """Encodes and decodes; arguments as in `encode_image`, `encode_text` and `decode`.

        `pairs` are further prompts (ids and mask, int64 [K, L]) without a picture, for which
        `Output.narrated` says whether the narration speaks of the object.
        """
        image = self.encode_image(frames, padding, trace)
        text = self.encode_text(input_ids, attention_mask, trace)
        out = self.decode(image, text, sizes, clip_of_prompt, auxiliary=auxiliary, trace=trace)
        if pairs is not None and self.config.mask_evidence:
            narrated = self.narrated_head(self.encode_text(*pairs).sentence)
            out = dataclasses.replace(out, narrated=narrated)
        return out

    def _positions(self, shape: Shape, padding: Tensor | None) -> Tensor:
        """Encoding of a map, [B, D, h, w]; without padding one for all, [1, D, h, w]."""
        if padding is None:
            device = self.level_embedding.device
            return unpadded_map_encoding(shape, self.config.width, device)
        return map_encoding(padding, self.config.width)

    def _pyramid(
        self,
        shapes: list[Shape],
        paddings: tuple[Tensor, ...] | list[Tensor] | None,
        trace: Trace | None,
    ) -> Pyramid:
        positions = []
        for level, shape in enumerate(shapes):
            encoded = self._positions(shape, None if paddings is None else paddings[level])
            encoded = encoded + self.level_embedding[level][:, None, None]
            positions.append(encoded.flatten(2).transpose(1, 2))
            if trace is not None:
                trace[f"levelpos{level}"] = encoded
        ratios = flat = None
        if paddings is not None:
            ratios = torch.stack([valid_ratio(p) for p in paddings], 1)
            flat = torch.cat([p.flatten(1) for p in paddings], 1)
            if trace is not None:
                trace["valid_ratios"] = ratios
        return Pyramid(tuple(shapes), flat, ratios, torch.cat(positions, 1))

    def _fuse(
        self,
        image: ImageFeatures,
        select: _Selector,
        words: Tensor,
        word_positions: Tensor,
        padding: Tensor,
    ) -> list[Tensor]:
        """Early fusion of each level: list of [P, T, D, h, w]."""
        fused = []
        for level in image.levels:
            _, count, _, h, w = level.shape
            tokens = level.flatten(3).transpose(2, 3).flatten(1, 2)
            projected = self.fusion.attention.project_query(tokens)
            out = self.fusion(select(tokens), select(projected), words, word_positions, padding)
            fused.append(out.unflatten(1, (count, h * w)).transpose(2, 3).unflatten(3, (h, w)))
        return fused

    def _fine_tokens(
        self, image: ImageFeatures, select: _Selector
    ) -> tuple[Tensor, Tensor | None, Shape]:
        """Stride-4 tokens of every prompt, and their projection if that level reads words."""
        clips = image.fine.shape[0]
        shape: Shape = (image.fine.shape[3], image.fine.shape[4])
        tokens = image.fine.flatten(3).transpose(2, 3).flatten(1, 2)
        block = self.pixel_decoder.fine_block
        if not block.reads_words:
            return select(tokens), None, shape
        padding = None if image.paddings is None else image.paddings[0].flatten(0, 1)
        projected = block.project(tokens, self._positions(shape, padding), clips)
        return select(tokens), select(projected), shape

    def _mask_features(
        self,
        fine: tuple[Tensor, Tensor | None, Shape],
        memory: list[Tensor],
        paddings: Sequence[Tensor] | None,
        text: tuple[Tensor, Tensor, Tensor] | None,
        clips: int,
    ) -> Tensor:
        """Runs the pixel decoder (see there) over the clips, or over the prompts with their text.

        Args:
            fine: Stride-4 tokens, their projection for the words if that level reads them, (h, w).
            memory: Features at strides 8, 16, 32, [B, D, h, w] each.
            paddings: Padding at strides 4 to 64, bool [B, h, w] each, or None.
            text: Words with positions, words and their padding; None if no level reads them.
            clips: Number of clips or prompts; B is that times T.

        Returns:
            [B, D, h, w] at stride 4.
        """
        level_paddings: list[Tensor | None] = (
            [None] * len(memory) if paddings is None else list(paddings[1 : 1 + len(memory)])
        )
        level_positions = [
            self._positions((m.shape[2], m.shape[3]), p)
            for m, p in zip(memory, level_paddings, strict=True)
        ]
        return self.pixel_decoder(fine, memory, level_positions, level_paddings, text, clips)

    def _heads(
        self,
        decoded: Decoded,
        mask_features: Tensor,
        cues: _Cues | None,
        likeness: Tensor | None,
        sizes: Tensor,
        embedding: Tensor,
        auxiliary: bool,
        trace: Trace | None,
    ) -> Output:
        count = mask_features.shape[1]
        hidden = [h.unflatten(0, (-1, count)) for h in decoded.hidden]
        boxes = [b.unflatten(0, (-1, count)) for b in decoded.boxes]
        last = len(hidden) - 1
        layers = []
        controllers = []
        for index in range(0 if auxiliary else last, last + 1):
            x = hidden[index]
            logits = self.class_heads[index](x)
            # The mask uses the centre that this layer found, not the one it started from.
            masks = self.mask_head(x, boxes[index][..., :2].detach(), mask_features, sizes, trace)
            if likeness is not None:
                masks = masks + likeness
            positives = self.positive_heads[index](x.mean((1, 2)))
            if cues is not None:
                positives = positives + self.evidence_heads[index](
                    x, logits, masks, cues.features, cues.activity, cues.narrated
                )
            layers.append(LayerOutput(logits, boxes[index], masks, positives))
            if trace is not None:
                controllers.append(trace.pop("controller").flatten(0, 1))
        if trace is not None:
            trace["controller"] = torch.cat(controllers)
        final = layers.pop()
        return Output(
            logits=final.logits,
            boxes=final.boxes,
            masks=final.masks,
            positives=final.positives,
            aux=tuple(layers),
            hidden=torch.stack(hidden),
            references=torch.stack(boxes).detach(),
            initial_references=decoded.initial.unflatten(0, (-1, count)),
            mask_features=mask_features,
            embedding=embedding,
            likeness=likeness,
            activity=None if cues is None else cues.map,
        )

    def _likeness(self, sentence: Tensor, features: Tensor) -> Tensor | None:
        """Mask logits by how much each pixel looks like the sentence, [P, T, 1, h, w]."""
        if self.config.word_levels > 0:
            return None
        kernel = self.likeness(sentence)[:, None, None]
        looks = kernel[..., :-1] @ features.flatten(3) / self.config.width**0.5
        return (looks + kernel[..., -1:]).unflatten(-1, features.shape[-2:])

    def _cues(self, image: ImageFeatures, text: TextFeatures, select: _Selector) -> _Cues:
        activity = self.activity_map(image.fine)
        return _Cues(
            features=select(image.fine),
            map=activity,
            activity=select(activity),
            narrated=self.narrated_head(text.sentence),
        )


@dataclasses.dataclass(frozen=True)
class _Cues:
    """What the evidence heads judge by.

    Attributes:
        features: Prompt-free features of each prompt's picture, [P, T, D, h, w].
        map: Activity logits of each clip, [N, T, h, w].
        activity: The same for each prompt, [P, T, h, w].
        narrated: Logit that the narration speaks of the object, [P, 1].
    """

    features: Tensor
    map: Tensor
    activity: Tensor
    narrated: Tensor


class _Selector:
    """Repeats what belongs to a clip for each of its prompts, without copies where possible."""

    def __init__(self, clips: int, prompts: int, clip_of_prompt: Tensor | None) -> None:
        self.clips, self.prompts, self.index = clips, prompts, clip_of_prompt
        if clip_of_prompt is None and clips != 1 and clips != prompts:
            raise ValueError(
                f"{prompts} prompts for {clips} clips: pass clip_of_prompt to say which is whose"
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Maps [N, ...] to [P, ...]."""
        if self.clips == 1:
            return x.expand(self.prompts, *x.shape[1:])
        return x if self.index is None else x.index_select(0, self.index)


def _cut(memory: Tensor, shapes: list[Shape]) -> list[Tensor]:
    """Cuts [B, S, D] into maps [B, D, h, w]."""
    parts = memory.transpose(1, 2).split([h * w for h, w in shapes], dim=2)
    return [part.unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]


def build_model(config: str | ModelConfig) -> ActionVOS:
    """Builds a freshly initialised model.

    Args:
        config: A preset name (`tiny`, `r50`, `r101`) or a configuration.

    Raises:
        ValueError: If there is no such preset.
    """
    return ActionVOS(preset(config) if isinstance(config, str) else config)
