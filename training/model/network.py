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
from training.model.evidence import ActivityMap, Evidence, EvidenceHead
from training.model.fusion import EarlyFusion
from training.model.late import CoarseEncoder, LateDecoder, mask_centres
from training.model.mask_head import DynamicMaskHead, likeness_masks
from training.model.outputs import ImageFeatures, LayerOutput, Output, Trace
from training.model.per_prompt import PerPrompt
from training.model.pixel_decoder import PixelDecoder
from training.model.positional import resize_padding, word_encoding
from training.model.pyramid import Pyramid, build_pyramid, cut_levels
from training.model.text import TextEncoder, TextFeatures
from training.model.transformer import LEVELS, Decoded, Decoder, Encoder


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
        self,
        frames: Tensor,
        padding: Tensor | None = None,
        trace: Trace | None = None,
        repeats: tuple[Tensor, Tensor] | None = None,
    ) -> ImageFeatures:
        """Encodes clips independently of any prompt.

        Args:
            frames: Normalised RGB, float32 [N, T, 3, H, W], padded with zeros.
            padding: Bool [N, T, H, W], True on padding; None if nothing is padded.
            trace: Receives intermediate tensors by name, if given.
            repeats: If some of the N * T frames show the same picture, as in `Backbone.forward`.

        Returns:
            Features shared by all prompts of each clip.
        """
        clips, count = frames.shape[:2]
        stages = self.backbone(frames.flatten(0, 1), repeats)
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
            pyramid = self._pyramid(shapes, paddings, trace=None)
            tokens = torch.cat([m.flatten(2) for m in maps], 2).transpose(1, 2)
            maps = cut_levels(self.shared_encoder(tokens, pyramid), shapes)
        fine = self.pixel_decoder.see(stages[0], None if paddings is None else paddings[0], clips)
        if self.config.word_levels == 0:
            fine_map = self.pixel_decoder(fine, maps[:3], paddings, None, clips)
        else:
            fine_map = fine.tokens.reshape(clips * count, -1, self.config.width).transpose(1, 2)
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
        per_prompt = PerPrompt(image.fine.shape[0], text.words.shape[0], clip_of_prompt)
        likeness = None
        if self.config.word_levels == 0:
            likeness = likeness_masks(
                self.likeness(text.sentence),
                per_prompt.or_shared(image.fine),
                shared=per_prompt.shared,
            )
        if self.config.late_words and likeness is not None:
            decoded, mask_features = self._decode_late(
                image, text, per_prompt, likeness, per_prompt(sizes), trace
            )
        else:
            decoded, mask_features = self._decode_early(image, text, per_prompt, trace)
        return self._heads(
            decoded,
            mask_features,
            per_prompt,
            self._evidence(image, text, per_prompt) if self.config.mask_evidence else None,
            likeness,
            per_prompt(sizes),
            image.embedding.mean(1),
            auxiliary,
            trace,
        )

    def _decode_late(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        per_prompt: PerPrompt,
        likeness: Tensor,
        sizes: Tensor,
        trace: Trace | None,
    ) -> tuple[Decoded, Tensor]:
        """Decoded queries, and the mask features, [P or 1, T, D, h, w]."""
        shapes: list[Shape] = [(m.shape[3], m.shape[4]) for m in image.levels]
        paddings = None
        if image.paddings is not None:
            paddings = [p.flatten(0, 1) for p in image.paddings]
        pyramid = self._pyramid(shapes, paddings, trace)
        memory = torch.cat([level.flatten(3) for level in image.levels], 3).transpose(2, 3)
        decoder = cast("LateDecoder", self.decoder)
        fine_padding = None if image.paddings is None else per_prompt(image.paddings[0])
        features = per_prompt.or_shared(image.fine)
        count = image.fine.shape[1]

        def centres_of(hidden: Tensor) -> Tensor:
            """Where the masks lie that are measured from the middle of the picture."""
            own = hidden.unflatten(0, (-1, count))
            middle = own.new_full((1, 1, 1, 2), 0.5).expand(*own.shape[:3], 2)
            masks = self.mask_head(own, middle, features, sizes, shared=per_prompt.shared)
            return mask_centres(masks + likeness, fine_padding).flatten(0, 1)

        decoded = decoder(text.sentence, memory, pyramid, per_prompt, centres_of)
        return decoded, features

    def _decode_early(
        self, image: ImageFeatures, text: TextFeatures, per_prompt: PerPrompt, trace: Trace | None
    ) -> tuple[Decoded, Tensor]:
        """Decoded queries and mask features [P, T, D, h, w] after early fusion."""
        count = image.fine.shape[1]
        shapes: list[Shape] = [(m.shape[3], m.shape[4]) for m in image.levels]
        paddings = None
        if image.paddings is not None:
            paddings = [per_prompt(p).flatten(0, 1) for p in image.paddings]
        words, padding = text.words, text.padding
        word_positions = word_encoding(text.attention_mask, words.shape[-1])
        fused = self.fusion.levels(image.levels, per_prompt, words, word_positions, padding)
        pyramid = self._pyramid(shapes, paddings, trace)
        source = torch.cat([f.flatten(3).flatten(0, 1) for f in fused], 2).transpose(1, 2)
        if trace is not None:
            trace |= {f"fused{i}": f.flatten(0, 1) for i, f in enumerate(fused)}
            trace["text_pos"] = word_positions.transpose(1, 2)
        memory = self.encoder(source, pyramid, trace)
        sentence = text.sentence[:, None].expand(-1, count, -1).flatten(0, 1)
        decoded = self.decoder(sentence, memory, pyramid)
        if self.config.word_levels == 0:
            added = F.interpolate(
                self.prompt_projection(cut_levels(memory, shapes)[0]),
                size=(image.fine.shape[3], image.fine.shape[4]),
                mode="bilinear",
                align_corners=False,
            )
            mask_features = per_prompt(image.fine) + added.unflatten(0, (-1, count))
        else:
            fine_padding = None if image.paddings is None else image.paddings[0].flatten(0, 1)
            mask_features = self.pixel_decoder(
                self.pixel_decoder.for_prompts(image.fine, fine_padding, per_prompt),
                cut_levels(memory, shapes)[:3],
                paddings,
                (words + word_positions, words, padding),
                words.shape[0],
            ).unflatten(0, (-1, count))
        if trace is not None:
            trace |= {f"memory{i}": m for i, m in enumerate(cut_levels(memory, shapes))}
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
        repeats: tuple[Tensor, Tensor] | None = None,
        auxiliary: bool = True,
        trace: Trace | None = None,
    ) -> Output:
        """Encodes and decodes; arguments as in `encode_image`, `encode_text` and `decode`.

        `pairs` are further prompts (ids and mask, int64 [K, L]) without a picture, for which
        `Output.narrated` says whether the narration speaks of the object.
        """
        image = self.encode_image(frames, padding, trace, repeats)
        text = self.encode_text(input_ids, attention_mask, trace)
        out = self.decode(image, text, sizes, clip_of_prompt, auxiliary=auxiliary, trace=trace)
        if pairs is not None and self.config.mask_evidence:
            narrated = self.narrated_head(self.encode_text(*pairs).sentence)
            out = dataclasses.replace(out, narrated=narrated)
        return out

    def _pyramid(
        self, shapes: Sequence[Shape], paddings: Sequence[Tensor] | None, trace: Trace | None
    ) -> Pyramid:
        """Geometry of the levels, from paddings at strides 4 (which is no level) to 64."""
        own = None if paddings is None else paddings[1:]
        return build_pyramid(shapes, own, self.level_embedding, trace)

    def _heads(
        self,
        decoded: Decoded,
        mask_features: Tensor,
        per_prompt: PerPrompt,
        evidence: Evidence | None,
        likeness: Tensor | None,
        sizes: Tensor,
        embedding: Tensor,
        auxiliary: bool,
        trace: Trace | None,
    ) -> Output:
        count = mask_features.shape[1]
        shared = self.config.late_words and per_prompt.shared
        hidden = [h.unflatten(0, (-1, count)) for h in decoded.hidden]
        boxes = [b.unflatten(0, (-1, count)) for b in decoded.boxes]
        last = len(hidden) - 1
        layers = []
        controllers = []
        for index in range(0 if auxiliary else last, last + 1):
            x = hidden[index]
            logits = self.class_heads[index](x)
            # The mask uses the centre that this layer found, not the one it started from.
            centres = boxes[index][..., :2].detach()
            masks = self.mask_head(x, centres, mask_features, sizes, trace, shared=shared)
            if likeness is not None:
                masks = masks + likeness
            positives = self.positive_heads[index](x.mean((1, 2)))
            if evidence is not None:
                positives = positives + self.evidence_heads[index](x, logits, masks, evidence)
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
            mask_features=per_prompt(mask_features) if shared else mask_features,
            embedding=embedding,
            likeness=likeness,
            activity=None if evidence is None else evidence.activity,
        )

    def _evidence(
        self, image: ImageFeatures, text: TextFeatures, per_prompt: PerPrompt
    ) -> Evidence:
        activity = self.activity_map(image.fine)
        return Evidence(
            features=per_prompt.or_shared(image.fine),
            activity=activity,
            activity_of_prompts=per_prompt.or_shared(activity),
            narrated=self.narrated_head(text.sentence),
            shared=per_prompt.shared,
        )


def build_model(config: str | ModelConfig) -> ActionVOS:
    """Builds a freshly initialised model.

    Args:
        config: A preset name (`tiny`, `late`, `small`, `r50`, `r101`) or a configuration.

    Raises:
        ValueError: If there is no such preset.
    """
    return ActionVOS(preset(config) if isinstance(config, str) else config)
