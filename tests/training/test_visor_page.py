"""`docs/visor.md`, followed word for word: every command exists, and those that can run here do.

VISOR is a drawn kitchen here, in the form of the download, and the network a small one from
scratch; everything else of a command is as printed.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import tyro

from training.cli import _command, main

SMALLER = {
    "--nproc-per-node 4": "--nproc-per-node 1",
    "--preset r101": "--preset tiny",
    "--pretrained weights/r101_refytvos_joint.pth": "",
    "--roberta weights/roberta": "",
    "--noise.names-folder noise/ImageSets_noise60_classid_prompt": "--noise.names-folder names",
    "train --data": "train --epochs 1 --batch-size 4 --device cpu --threads 1 --workers 0 --data",
}
"""What stands for the paper's network, its start and four GPUs."""


@pytest.fixture(scope="module")
def commands(repository: Path) -> list[str]:
    """The page's commands, one a line, without comments."""
    page = (repository / "docs" / "visor.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(line.partition("#")[0].split()) for line in lines if line.strip()]


def arguments(command: str) -> list[str] | None:
    """Arguments of the `actiseg` that a command runs; None for other programs."""
    words = shlex.split(command)
    if words[:1] == ["torchrun"]:
        return words[words.index("training.cli") + 1 :]
    return words[1:] if words[:1] == ["actiseg"] else None


def test_every_command_of_the_page_is_understood(commands: list[str]) -> None:
    known = [given for command in commands if (given := arguments(command))]
    assert len(known) >= 12
    for name, *options in known:
        parsed = options[: options.index("--")] if "--" in options else options
        tyro.cli(
            _command(name), args=parsed, console_outputs=False,
            config=(tyro.conf.OmitSubcommandPrefixes,),
        )  # fmt: skip
        if "--" in options:  # goes to every training of a benchmark
            rest = options[options.index("--") + 1 :]
            train = ["--data", "data", "--out", "out", *rest]
            tyro.cli(_command("train"), args=train, console_outputs=False)


def run(command: str) -> None:
    """Runs a command of the page with what is smaller here."""
    for printed, here in SMALLER.items():
        command = command.replace(printed, here)
    given = arguments(command)
    assert given is not None
    assert main(given) == 0, command


def as_downloaded(folder: Path) -> None:
    """Draws a kitchen and puts its parts where the page says: zips of frames, raw annotations."""
    run("actiseg kitchen drawn --clips 14 --seed 3 --frame-size 320x180 --workers 1")
    shutil.move(folder / "drawn" / "VISOR", folder / "VISOR")
    shutil.move(folder / "drawn" / "annotations", folder / "annotations")
    sparse = folder / "VISOR" / "GroundTruth-SparseAnnotations"
    (sparse / "annotations_corrected").rename(sparse / "annotations")
    for video in list((sparse / "rgb_frames").glob("*/*")):
        person = video.parent / video.name.split("_")[0]
        person.mkdir(exist_ok=True)
        shutil.make_archive(str(person / video.name), "zip", video)
        shutil.rmtree(video)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_the_download_to_a_row_of_the_table(
    commands: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    as_downloaded(tmp_path)

    def those(beginning: str) -> list[str]:
        found = [c for c in commands if beginning in c and "published.pth" not in c]
        assert found, beginning
        return found

    (prepare,) = those("actiseg prepare")
    capsys.readouterr()
    run(prepare)
    assert "0 problems" in capsys.readouterr().out
    # Somebody checks the validation clips; prepared again, they are a split of their own.
    checked: list[dict[str, Any]] = json.loads((tmp_path / "data/ImageSets/val.json").read_text())
    for record in checked:
        record |= {"redundant": False, "missing": False, "other": False}
    (tmp_path / "annotations" / "val_human.json").write_text(json.dumps(checked))
    run(prepare)
    assert f"val_human: {len(checked)} of {len(checked)} clips" in capsys.readouterr().out
    for command in those("actiseg noise"):
        run(command)
    names = "--split data/ImageSets/train.json --rate 0.6 --form published --out names"
    run(f"actiseg noise text {names}")
    for command in those("training.cli train"):
        run(command)
    published = json.loads((tmp_path / "runs/gce-published/run.json").read_text())["noise"]
    assert published["names_folder"] == "names"
    assert published["labels_folder"] == "Annotations_Sparse_21"
    drawn = json.loads((tmp_path / "runs/gce/run.json").read_text())["noise"]
    assert (drawn["text_noise"], drawn["mask_noise"]) == (0.6, 21)
    (predict,) = [c for c in those("actiseg predict") if "runs/gce" in c]
    run(predict)
    (evaluate,) = those("actiseg evaluate")
    run(evaluate)
    result = json.loads((tmp_path / "predictions/gce.json").read_text())
    assert {"p_miou", "n_miou", "p_ciou", "n_ciou", "giou", "acc"} <= result.keys()
