"""ONNX Runtime sessions: which processor runs them, and whether their numbers can be used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from actiseg_ros.errors import BundleError, InferenceError

Arrays = dict[str, npt.NDArray[Any]]

# Products rounded to TF32 move mask logits by up to 0.2 (r101), and a gate's limits hold for the
# numbers that it was calibrated with.
_PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
_PROVIDER_VARIABLES = {
    # It has no such option (microsoft/onnxruntime issue 26029) and reads this at its first session.
    "TensorrtExecutionProvider": {"NVIDIA_TF32_OVERRIDE": "0"},
}


class Graph:
    """One ONNX graph.

    Args:
        path: ONNX file that it was read from, for messages.
        content: Bytes of that file.
        threads: Threads; 0 lets ONNX Runtime choose.
        providers: Execution providers in order of preference, see `choose_providers`.

    Raises:
        BundleError: ONNX Runtime cannot load it.
    """

    def __init__(self, path: Path, content: bytes, threads: int, providers: Sequence[str]) -> None:
        self.path = path
        self._session = _open(path, content, threads, providers)
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())
        self.providers = tuple(self._session.get_providers())

    def __call__(self, inputs: Arrays) -> Arrays:
        """Runs the graph.

        Args:
            inputs: Arrays by name; those that the graph does not take are left out.

        Returns:
            All outputs by name.

        Raises:
            InferenceError: The graph failed, or an output is not finite.
        """
        try:
            values = self._session.run(None, {name: inputs[name] for name in self.inputs})
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise InferenceError(f"{self.path.name} failed: {error}") from error
        outputs: Arrays = dict(zip(self.outputs, values, strict=True))
        for name, value in outputs.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise InferenceError(f"{self.path.name}: output `{name}` is not finite")
        return outputs


def choose_providers(wanted: Sequence[str] | None) -> list[str]:
    """Chooses among the execution providers that are available.

    Args:
        wanted: Names in order of preference; None takes CUDA where it is, and the CPU. TensorRT
            has to be named: some of its versions miscompile the sampling of deformable attention
            without an error. Those that are not available are left out.

    Raises:
        BundleError: None of them is available.
    """
    available = ort.get_available_providers()
    if wanted is None:
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    found = [name for name in wanted if name in available]
    if not found:
        raise BundleError(
            f"execution provider {', '.join(wanted)} is not available here ({', '.join(available)} "
            "are); choose one of these or install the matching onnxruntime"
        )
    return found


def _open(
    path: Path, content: bytes, threads: int, providers: Sequence[str]
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning workers would starve the heartbeat and the camera driver between frames.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    for name in providers:
        os.environ.update(_PROVIDER_VARIABLES.get(name, {}))
    try:
        chosen = [(name, _PROVIDER_OPTIONS.get(name, {})) for name in providers]
        return ort.InferenceSession(content, options, providers=chosen)
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        raise BundleError(
            f"{path}: ONNX Runtime {ort.__version__} cannot load this graph ({error}); "
            "export the bundle anew with `actiseg export`"
        ) from error
