"""Scores of regions by an image–text encoder: the path, with a small CLIP of random weights.

What published weights know cannot be tested here; that they are opened and asked as the library
asks them is, and what `repair` makes of good scores and of useless ones.
"""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from actiseg_ros.errors import ActisegError
from tests.training.data.prelabel.test_foundation import save_tokenizer
from training.cli import main
from training.config.noise import NoiseOptions
from training.config.run import TrainConfig
from training.data.splits import load_clips
from training.engine.trainer import train
from training.strategies import make_strategy
from training.strategies.repair import RepairOptions
from training.strategies.support.nouns import Lexicon, class_probabilities, exchange_rate, judge
from training.strategies.support.region_scores import (
    MANIFEST,
    ImageTextEncoder,
    RegionView,
    class_scores,
    object_crops,
)


def save_encoder(folder: Path, kind: str = "CLIP") -> Path:
    torch.manual_seed(0)
    small = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(
        text_config={
            **small, "vocab_size": 8, "max_position_embeddings": 12, "bos_token_id": 2,
            "eos_token_id": 3, "pad_token_id": 0, "projection_size": 16,
        },
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )  # fmt: skip
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_encoder(tmp_path_factory.mktemp("clip"))
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 32}))
    return folder


@pytest.fixture(scope="module")
def scored(drawn_data: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scores") / "scores"
    command = ["region-scores", "--data", str(drawn_data), "--encoder", str(encoder)]
    assert main([*command, "--out", str(out)]) == 0
    return out


@pytest.fixture
def copied(scored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scored, tmp_path / "copied"))


def lexicon_of(data: Path) -> Lexicon:
    return Lexicon.of(load_clips(data / "ImageSets" / "train.json"))


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_features_are_compared_as_the_library_does(tmp_path: Path, kind: str) -> None:
    encoder = ImageTextEncoder(save_encoder(tmp_path, kind))
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (h, w, 3)).astype(np.uint8) for h, w in ((32, 32), (50, 9))]
    sentences = ["cup", "left hand", "cup ."]
    found = encoder.pictures(pictures) @ encoder.sentences(sentences).T
    model = getattr(transformers, f"{kind}Model").from_pretrained(tmp_path).eval()
    words = transformers.AutoTokenizer.from_pretrained(tmp_path)(
        sentences, return_tensors="pt", padding="max_length", max_length=12
    )
    pixels = torch.cat([encoder._prepare(rgb, model.device, 32) for rgb in pictures])
    with torch.no_grad():
        answer = model(pixel_values=pixels, **words)
    logits = answer.logits_per_image - getattr(model, "logit_bias", torch.zeros(1))
    torch.testing.assert_close(found, (logits / model.logit_scale.exp()).detach())


def test_every_object_that_is_seen_has_a_score_for_every_noun(
    drawn_data: Path, scored: Path
) -> None:
    nouns = json.loads((scored / MANIFEST).read_text())["nouns"]
    lexicon, clips = lexicon_of(drawn_data), load_clips(drawn_data / "ImageSets" / "train.json")
    assert set(nouns) >= set(lexicon.classes)
    for clip in clips:
        found = load_file(scored / f"{clip.sequence}.safetensors")
        assert found.keys() == {str(k) for k in object_crops(drawn_data, "train", clip, VIEW)}
        assert all(scores.shape == (len(nouns),) for scores in found.values())
    scores = class_scores(scored, lexicon)
    assert scores.shape == (len(lexicon.rows), lexicon.size)
    assert scores.mean(1).abs().max() < 1e-5
    assert scores.std(correction=0) == pytest.approx(1.0, abs=1e-4)
    # The mean of the best nouns of the classes is what is taken off.
    (sequence, object_id), row = next(iter(lexicon.rows.items()))
    own = load_file(scored / f"{sequence}.safetensors")[str(object_id)]
    best = [max(float(own[nouns.index(n)]) for n in names) for names in lexicon.names]
    order = torch.tensor(best).argsort()
    assert torch.equal(scores[row].argsort(), order)


VIEW = RegionView()


def test_crops_hold_their_object_as_it_is_labelled(drawn_data: Path) -> None:
    clip = load_clips(drawn_data / "ImageSets" / "train.json")[0]
    active = [entry.object_id for entry in clip.objects if entry.positive]
    tight, loose, noisy = (
        object_crops(drawn_data, "train", clip, RegionView(frames=99, **options))
        for options in ({"margin": 0.0}, {"margin": 0.5}, {"margin": 0.0, "mask_noise": 21})
    )
    pixels = {True: np.zeros(2), False: np.zeros(2)}
    for object_id, crops in tight.items():
        assert 1 <= len(crops) <= len(clip.frames)
        area, larger, dilated = (
            sum(crop.size for crop in found[object_id]) for found in (tight, loose, noisy)
        )
        assert 0 < area < larger
        pixels[object_id in active] += (area, dilated)
        (first,) = object_crops(drawn_data, "train", clip, RegionView(frames=1))[object_id]
        assert any(np.array_equal(first, crop) for crop in object_crops(
            drawn_data, "train", clip, VIEW)[object_id])  # fmt: skip
    assert pixels[True][1] > pixels[True][0] > 0
    assert pixels[False][1] <= pixels[False][0], "the others lose what those cover"


def test_interrupted_work_goes_on(
    drawn_data: Path, encoder: Path, scored: Path, copied: Path
) -> None:
    files = sorted(copied.glob("*.safetensors"))
    files[1].unlink()
    save_file({"1": torch.zeros(3)}, files[0])  # what is there is not made again
    command = ["region-scores", "--data", str(drawn_data), "--encoder", str(encoder)]
    command += ["--out", str(copied)]
    assert main(command) == 0
    assert files[1].read_bytes() == (scored / files[1].name).read_bytes()
    assert files[0].read_bytes() != (scored / files[0].name).read_bytes()
    with pytest.raises(ActisegError, match="no scores"):
        class_scores(copied, lexicon_of(drawn_data))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--frames", "5"], "made otherwise: frames"),
        (["--margin", "2"], "--margin is 2"),
        (["--template", "a cup"], "must hold {noun}"),
        (["--mask-noise", "4"], "must be odd"),
        (["--encoder", "DATA"], "has no config.json"),
        (["--split", "nothing"], "nothing.json"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    drawn_data: Path, encoder: Path, copied: Path, capsys: pytest.CaptureFixture[str],
    options: list[str], told: str,
) -> None:  # fmt: skip
    command = ["region-scores", "--data", str(drawn_data), "--encoder", str(encoder)]
    options = [str(drawn_data) if value == "DATA" else value for value in options]
    assert main([*command, "--out", str(copied), *options]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_other_models_are_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=8
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ActisegError, match="'bert' has no features of pictures and sentences"):
        ImageTextEncoder(tmp_path)


def test_scores_of_other_data_are_refused(drawn_data: Path, copied: Path) -> None:
    lexicon = lexicon_of(drawn_data)
    with pytest.raises(ActisegError, match=r"--repair\.scores is .*; it must be left out"):
        RepairOptions(names=False, scores=copied)
    manifest = json.loads((copied / MANIFEST).read_text())
    nouns = manifest["nouns"]
    (copied / MANIFEST).write_text(json.dumps({**manifest, "nouns": ["whale"] * len(nouns)}))
    with pytest.raises(ActisegError, match="has no scores for"):
        class_scores(copied, lexicon)
    (copied / MANIFEST).write_text(json.dumps(["nothing"]))
    with pytest.raises(ActisegError, match="names no nouns"):
        class_scores(copied, lexicon)
    (copied / MANIFEST).write_text(json.dumps(manifest))
    next(copied.glob("*.safetensors")).unlink()
    with pytest.raises(ActisegError, match="not all clips have scores"):
        class_scores(copied, lexicon)


@pytest.mark.parametrize(
    ("scored_with", "kernel", "noise", "told"),
    [
        (0, 21, {}, "with --mask-noise 0, and training has 21"),
        (21, 21, {"order": "descending"}, r"than --noise\.order descending gives"),
        (21, 21, {"negatives": "dilate"}, r"than --noise\.negatives dilate gives"),
        (21, 21, {"labels_folder": Path("maps")}, r"than --noise\.labels-folder maps gives"),
        (21, 21, {"negatives": "keep", "seed": 3}, ""),
        (0, 0, {"order": "descending"}, ""),
    ],
)
def test_scores_of_other_masks_are_refused(
    drawn_data: Path, copied: Path, scored_with: int, kernel: int, noise: dict[str, Any], told: str
) -> None:
    manifest = json.loads((copied / MANIFEST).read_text())
    (copied / MANIFEST).write_text(json.dumps({**manifest, "mask_noise": scored_with}))
    config = TrainConfig(
        drawn_data, Path("run"), strategy="repair", mask_noise=kernel,
        noise=NoiseOptions(**noise), strategy_options=RepairOptions(scores=copied),
    )  # fmt: skip
    with pytest.raises(ActisegError, match=told) if told else nullcontext():
        make_strategy(config)


def test_scores_of_another_split_or_other_label_images_are_refused(
    drawn_data: Path, copied: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    config = TrainConfig(
        own, tmp_path, strategy="repair", strategy_options=RepairOptions(scores=copied)
    )
    make_strategy(config)
    label = next((own / "Annotations_Sparse" / "train").glob("*/*.png"))
    label.write_bytes(label.read_bytes() + b" ")
    with pytest.raises(ActisegError, match="another set of pictures and label images; run actiseg"):
        make_strategy(config)
    split = own / "ImageSets" / "train.json"
    split.write_text(json.dumps(json.loads(split.read_text())[1:]))
    with pytest.raises(ActisegError, match="another split file; run actiseg region-scores"):
        make_strategy(config)


# What they are worth


def rare_objects(rate: float, seed: int) -> tuple[torch.Tensor, ...]:
    """Objects of 40 classes, 8 each, that look little alike; classes, those given, good scores."""
    random = np.random.default_rng(seed)
    true = np.repeat(np.arange(40), 8)
    looks = random.normal(0, 1, (40, 24))
    features = looks[true] + random.normal(0, 3, (len(true), 24))
    exchanged = random.random(len(true)) < rate
    given = np.where(exchanged, (true + random.integers(1, 40, len(true))) % 40, true)
    scores = random.normal(0, 1, (len(true), 40))
    scores[np.arange(len(true)), true] += 3
    arrays = (features.astype(np.float32), true, given, scores.astype(np.float32))
    return tuple(map(torch.from_numpy, arrays))


@pytest.mark.parametrize("rate", [0.2, 0.6])
def test_good_scores_tell_wrong_nouns_and_useless_ones_do_no_harm(rate: float) -> None:
    features, true, given, good = rare_objects(rate, 0)
    useless = torch.randn(good.shape, generator=torch.Generator().manual_seed(1))
    told, rates = [], []
    for scores in (None, good, useless):
        found = class_probabilities(features, given, 40, rate, ridge=2.0, scores=scores)
        rates.append(exchange_rate(found, given, 0.3))
        right = judge(found, given, rates[-1]).right
        wrong = given != true
        told.append(float((right[~wrong, None] > right[wrong]).float().mean()))
    assert told[1] > told[0] + 0.08, "area under the curve that tells right nouns from wrong ones"
    assert abs(rates[1] - rate) < abs(rates[0] - rate) + 0.02
    assert abs(told[2] - told[0]) < 0.02
    assert abs(rates[2] - rates[0]) < 0.03


@pytest.mark.usefixtures("micro_tiny")
def test_a_run_reads_them_and_is_not_continued_with_others(
    drawn_data: Path, scored: Path, copied: Path, tmp_path: Path
) -> None:
    def config(epochs: int, *, resume: bool = False) -> TrainConfig:
        return TrainConfig(
            data=drawn_data, out=tmp_path / "run", strategy="repair", epochs=epochs, batch_size=2,
            val_split="", workers=0, text_noise=0.5, input_size=(64, 114), resume=resume,
            strategy_options=RepairOptions(masks=False, scores=copied),
        )  # fmt: skip

    assert train(config(2)) == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert run["config"]["repair"]["scores"] == str(copied)
    clip = next(copied.glob("*.safetensors"))
    save_file({name: -scores for name, scores in load_file(clip).items()}, clip)
    with pytest.raises(ActisegError, match="another region scores"):
        train(config(2, resume=True))


def test_scores_of_other_pictures_are_not_taken_for_these(
    drawn_data: Path, encoder: Path, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    noted = json.loads((copied / MANIFEST).read_text())
    # As earlier versions left it: what it says agrees, so it goes on and says the rest.
    (copied / MANIFEST).write_text(json.dumps({k: noted[k] for k in noted if k != "files"}))
    command = ["region-scores", "--encoder", str(encoder), "--out", str(copied), "--data"]
    assert main([*command, str(drawn_data)]) == 0
    assert json.loads((copied / MANIFEST).read_text()) == noted

    other = Path(shutil.copytree(drawn_data, tmp_path / "other"))
    for picture in (other / "JPEGImages_Sparse").rglob("*.jpg"):
        picture.write_bytes(picture.read_bytes() + b" ")
    assert main([*command, str(other)]) == 2
    assert "holds scores made otherwise: files" in capsys.readouterr().err
