"""The device that a network runs on."""

from __future__ import annotations

import torch

from actiseg_ros.errors import ActisegError


def cpu_warning(name: str, device: torch.device) -> list[str]:
    """What to say of a device that `auto` came to: a line if it is the CPU, else none."""
    if name != "auto" or device.type != "cpu":
        return []
    return [
        "warning: no CUDA device was found, so this runs on the CPU; --device cpu says that it is "
        "meant"
    ]


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16; PyTorch imitates it elsewhere, which is slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """The device that a command's `--device` names.

    Args:
        name: ``auto`` (CUDA if there is any), ``cpu``, ``cuda`` or ``cuda:N``.
        local_rank: CUDA device of this process where several train together; None for one alone.

    Raises:
        ActisegError: If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ActisegError(f"--device {name} is unknown; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ActisegError(f"--device {name} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available():
            raise ActisegError(
                f"--device {name}: this PyTorch ({torch.__version__}) sees no CUDA device; "
                "use --device cpu or install a CUDA build"
            )
        if (device.index or 0) >= count:
            raise ActisegError(f"--device {name}: this machine shows {count} CUDA devices, from 0")
        # With its number, which `set_device` wants.
        index = device.index or 0 if local_rank is None else local_rank
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    return device
