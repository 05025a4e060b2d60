import json

import pytest
import torch
from torch import Tensor

from tests.training.model.micro import MICRO, MICRO_PUBLISHED, make, prompts
from training.model import ActionVOS, ModelConfig, Output, build_model

SIZE = torch.tensor([[64, 96]])


def frames(clips: int, count: int = 1, seed: int = 1) -> Tensor:
    return torch.randn(clips, count, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def close(a: Output, b: Output) -> None:
    for name in ("logits", "boxes", "masks", "positives"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=1e-4, rtol=1e-4)


@pytest.fixture(params=[MICRO, MICRO_PUBLISHED], ids=["shared_encoder", "published_order"])
def model(request: pytest.FixtureRequest) -> ActionVOS:
    return make(request.param)


@torch.no_grad()
def test_prompts_of_one_batch_do_not_see_each_other(model: ActionVOS) -> None:
    ids, mask = prompts(4)
    together = model(frames(1, 2), None, ids, mask, SIZE)
    for index in range(4):
        alone = model(frames(1, 2), None, ids[[index]], mask[[index]], SIZE)
        torch.testing.assert_close(together.masks[[index]], alone.masks, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.positives[[index]], alone.positives)


@torch.no_grad()
def test_prompts_change_the_answer(model: ActionVOS) -> None:
    output = model(frames(1), None, *prompts(2), SIZE)
    assert (output.masks[0] - output.masks[1]).abs().max() > 1e-3
    assert (output.positives[0] - output.positives[1]).abs().max() > 1e-5


@torch.no_grad()
def test_each_prompt_gets_its_clip(model: ActionVOS) -> None:
    clips, (ids, mask) = frames(2, 2), prompts(3)
    sizes = SIZE.expand(2, 2)
    together = model(clips, None, ids, mask, sizes, torch.tensor([1, 0, 1]))
    second = model(clips[1:], None, ids[[0, 2]], mask[[0, 2]], SIZE)
    torch.testing.assert_close(together.masks[[0, 2]], second.masks, atol=1e-4, rtol=1e-4)


def test_ambiguous_prompts_are_refused(model: ActionVOS) -> None:
    with pytest.raises(ValueError, match="3 prompts for 2 clips"):
        model(frames(2), None, *prompts(3), SIZE.expand(2, 2))


@torch.no_grad()
def test_text_padding_does_not_matter(model: ActionVOS) -> None:
    ids, mask = prompts(2)
    longer = torch.cat([ids, torch.ones(2, 4, dtype=torch.int64)], 1)
    longer_mask = torch.cat([mask, torch.zeros(2, 4, dtype=torch.int64)], 1)
    close(
        model(frames(1), None, ids, mask, SIZE),
        model(frames(1), None, longer, longer_mask, SIZE),
    )


@torch.no_grad()
def test_an_empty_padding_mask_is_no_padding(model: ActionVOS) -> None:
    padding = torch.zeros(1, 2, 64, 96, dtype=torch.bool)
    close(
        model(frames(1, 2), None, *prompts(2), SIZE),
        model(frames(1, 2), padding, *prompts(2), SIZE),
    )


@torch.no_grad()
def test_boxes_ignore_what_lies_in_the_padding_of_deformable_attention() -> None:
    model = make(MICRO_PUBLISHED)
    padding = torch.zeros(1, 1, 64, 96, dtype=torch.bool)
    padding[..., 64:] = True
    image = model.encode_image(frames(1), padding)
    text = model.encode_text(*prompts(1))
    before = model.decode(image, text, torch.tensor([[64, 64]]))
    for level, mask in zip(image.levels, image.paddings[1:], strict=True):
        level.masked_fill_(mask[:, :, None], 1e3)
    after = model.decode(image, text, torch.tensor([[64, 64]]))
    torch.testing.assert_close(before.boxes, after.boxes)
    torch.testing.assert_close(before.logits, after.logits)


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (61, 83), (33, 40)])
def test_any_input_size(size: tuple[int, int]) -> None:
    model = make()
    image = torch.randn(1, 1, 3, *size)
    output = model(image, None, *prompts(1), torch.tensor([size]))
    assert output.masks.shape == (1, 1, 3, -(-size[0] // 4), -(-size[1] // 4))
    assert output.boxes.min() >= 0 and output.boxes.max() <= 1


@torch.no_grad()
def test_auxiliary_outputs_are_optional_and_do_not_change_the_last(model: ActionVOS) -> None:
    ids, mask = prompts(1)
    image, text = model.encode_image(frames(1)), model.encode_text(ids, mask)
    with_aux = model.decode(image, text, SIZE)
    without = model.decode(image, text, SIZE, auxiliary=False)
    assert len(with_aux.aux) == 1 and not without.aux
    close(with_aux, without)


@pytest.mark.parametrize("config", [MICRO, MICRO_PUBLISHED], ids=["shared", "published"])
def test_every_trained_parameter_gets_a_gradient(config: ModelConfig) -> None:
    model = make(config).train()
    output = model(frames(2), None, *prompts(2), SIZE.expand(2, 2), pairs=prompts(3))
    assert output.narrated is not None and output.narrated.shape == (3, 1)
    assert output.activity is not None
    total = output.narrated.square().mean() + output.activity.square().mean()
    for layer in (output, *output.aux):
        for tensor in (layer.logits, layer.boxes, layer.masks, layer.positives):
            total = total + tensor.square().mean()
    total.backward()
    silent = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    assert not silent


def test_a_few_steps_learn_which_square_the_prompt_names() -> None:
    torch.manual_seed(0)
    model = build_model(MICRO).train()
    image = torch.zeros(1, 1, 3, 64, 96)
    image[..., 0, 8:40, 8:40] = 2
    image[..., 2, 24:56, 56:88] = 2
    target = torch.zeros(2, 1, 16, 24)
    target[0, :, 2:10, 2:10] = 1
    target[1, :, 6:14, 14:22] = 1
    ids, mask = prompts(2)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        masks = model(image, None, ids, mask, SIZE).masks[:, :, 0]
        p = masks.sigmoid()
        dice = 1 - (2 * (p * target).sum((1, 2, 3)) + 1) / ((p + target).sum((1, 2, 3)) + 1)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(masks, target)
        loss = dice.mean() + entropy
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = masks > 0
    union = (found | (target > 0)).sum((1, 2, 3))
    assert ((found & (target > 0)).sum((1, 2, 3)) / union > 0.7).all()


def test_published_sizes() -> None:
    with torch.device("meta"):
        counts = {name: build_model(name) for name in ("r101", "r50")}
    total = {n: sum(p.numel() for p in m.parameters()) for n, m in counts.items()}
    trained = {
        n: sum(p.numel() for p in m.parameters() if p.requires_grad) for n, m in counts.items()
    }
    assert total == {"r101": 195_203_139, "r50": 176_263_235}
    assert trained == {"r101": 70_335_107, "r50": 51_395_203}


def test_published_initial_heads() -> None:
    model = build_model(MICRO_PUBLISHED)
    for head in model.class_heads:
        assert head.bias.item() == pytest.approx(-4.595119953155518)
    first = model.positive_heads[0].weight
    assert all(torch.equal(head.weight, first) for head in model.positive_heads)
    boxes = [head.mlp.last.bias.tolist() for head in model.decoder.box_heads]
    assert boxes == [[0, 0, -2, -2], [0, 0, 0, 0]]


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match="choose one of"):
        build_model("huge")


def test_config_json_round_trip() -> None:
    assert ModelConfig.from_json(MICRO.to_json()) == MICRO
    with pytest.raises(ValueError, match="unknown model option"):
        ModelConfig.from_mapping({"depth": 3})


def test_tiny_is_small() -> None:
    with torch.device("meta"):
        model = build_model("tiny")
    assert 4 * sum(p.numel() for p in model.parameters()) < 10e6


def changed(**options: object) -> str:
    return json.dumps({**json.loads(MICRO.to_json()), **options})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "missing model option.*name, backbone"),
        ("[]", r"model options are \[\]"),
        (changed(sampler="nonsense"), "sampler is 'nonsense'; expected grid_sample, gather"),
        (changed(width=100, heads=8), "heads is 8; it must divide width, 100"),
        (changed(queries="3"), "queries is '3'; expected int"),
        (changed(mean=[0.5, 0.5]), "mean is"),
        (changed(text={"width": 16}), "missing model option.*text.vocab_size"),
        (changed(text={**json.loads(MICRO.to_json())["text"], "depth": 3}), "unknown.*text.depth"),
        (changed(text=None), "text.options are None"),
    ],
    ids=range(9),
)
def test_a_configuration_that_no_network_has_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelConfig.from_json(text)


def test_options_added_since_the_first_weights_may_be_missing() -> None:
    later = ("mask_kernel", "word_levels", "mask_evidence", "late_words", "shared_attention")
    values = json.loads(ModelConfig().to_json())
    first = {name: value for name, value in values.items() if name not in later}
    assert ModelConfig.from_json(json.dumps(first)) == ModelConfig()
