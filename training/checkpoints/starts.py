"""Weights to start a training from that come with the project, as ``--pretrained`` names them."""

from __future__ import annotations

from pathlib import Path

from actiseg_ros.bundle import default_bundle_path, load_bundle, read_record
from actiseg_ros.errors import ActisegError
from training.config.run import NAMED_STARTS

WEIGHTS = "weights.safetensors"
"""File of a bundle that holds the network as training needs it."""
_EMBEDDED = Path("embedded")
_WITHOUT_BUNDLE = {"small": Path(__file__).with_name("small.safetensors")}
"""Presets that `embedded` can start and the robot cannot run yet: no calibration belongs to them
(docs/embedded_bundle.md)."""


def start_bundle(pretrained: Path | None) -> Path | None:
    """Folder of the bundle that ``--pretrained`` means; None if it means something else.

    Raises:
        BundleError: The embedded bundle is not there.
    """
    if pretrained == _EMBEDDED:
        return default_bundle_path()
    if pretrained is None or str(pretrained) in NAMED_STARTS:  # also where a folder is called so
        return None
    return pretrained if pretrained.is_dir() else None


def start_preset(pretrained: Path | None) -> str | None:
    """Preset of the bundle that ``--pretrained`` means; None if it means something else.

    Raises:
        BundleError: The bundle cannot be read.
    """
    folder = start_bundle(pretrained)
    return None if folder is None else str(read_record(folder).get("name"))


def start_file(pretrained: Path | None, preset: str) -> Path | None:
    """File of the weights that ``--pretrained`` means.

    Args:
        pretrained: ``embedded`` (the embedded bundle's network, or `small`'s for that preset), the
            folder of a bundle, or a file, which is returned as it is.
        preset: Of the run.

    Raises:
        ActisegError: The bundle holds no weights, or those of another preset.
        BundleError: The bundle cannot be read.
    """
    if pretrained == _EMBEDDED and preset in _WITHOUT_BUNDLE:
        return _WITHOUT_BUNDLE[preset]
    folder = start_bundle(pretrained)
    if folder is None:
        return pretrained
    bundle = load_bundle(folder)
    if WEIGHTS not in bundle.files:
        raise ActisegError(
            f"--pretrained {pretrained}: the bundle holds graphs only; export it anew with "
            "--weights, or name the safetensors file of its training run"
        )
    if bundle.name != preset:
        raise ActisegError(
            f"--pretrained {pretrained}: its network is {bundle.name}, not {preset}; give "
            f"--preset {bundle.name}, or leave --preset out"
        )
    return folder / WEIGHTS
