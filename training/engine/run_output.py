"""What a run leaves in its folder beside its checkpoint: weights, ``run.json`` and logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.utils.tensorboard import SummaryWriter

from actiseg_ros.bundle import file_sha256
from training.checkpoints.weights import save_weights
from training.config.run import TrainConfig
from training.data.layout import split_file
from training.engine.distributed import ProcessGroup
from training.engine.run_record import RunRecord, code_version, environment, peak_memory
from training.engine.setup import TrainingSetup


class RunOutput:
    """The files of a run; only its main process makes one.

    Args:
        config: the run.
        setup: what it is made of.
        group: its processes.
        parameters: of the network that is exported.
        resumed: whether the run goes on from a checkpoint; else what lies there is of another one.
    """

    def __init__(
        self,
        config: TrainConfig,
        setup: TrainingSetup,
        group: ProcessGroup,
        parameters: int,
        *,
        resumed: bool,
    ) -> None:
        self._config, self._setup, self._device = config, setup, group.device
        self._record = RunRecord(
            config.out / "run.json",
            resumed=resumed,
            status="running",
            config=config.as_json(),
            seed=config.seed,
            processes=group.size,
            parameters=parameters,
            samples=len(setup.dataset),
            noise=setup.noise,
            inputs=setup.inputs,
            **environment(group.device),
        )
        self._writer = SummaryWriter(str(config.out / "logs"))

    def add_scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Adds numbers to the TensorBoard logs."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def add_epoch(self, epoch: int, values: Mapping[str, Any], step: int) -> None:
        """Notes what an epoch (counted from 1) came to."""
        self.add_scalars("validation", values, step)
        self._record.add_epoch(epoch, values)
        self._record.update(
            peak_memory_bytes=peak_memory(self._device),
            samples_per_second=values["samples_per_second"],
        )

    def save_weights(
        self,
        network: nn.Module,
        name: str,
        epoch: int,
        values: Mapping[str, Any],
        *,
        chosen_on: str | None = None,
    ) -> None:
        """Writes the weights of a network, without what only training needs.

        Args:
            network: as it is trained.
            name: file in the run's folder.
            epoch: epochs that are done.
            values: what the last one came to.
            chosen_on: split by which these weights were preferred to others.
        """
        provenance = {
            # The weights travel; where one machine kept its data says nothing elsewhere.
            "run": self._config.as_json(whole_paths=False),
            "epoch": epoch,
            "metrics": values,
            "code": code_version(),
            "seen": self._setup.seen,
        }
        if chosen_on is not None:
            provenance["chosen_on"] = file_sha256(split_file(self._config.data, chosen_on))
        metadata = {
            "tokenizer": self._setup.tokenizer.to_str(),
            "vocabulary": json.dumps(self._setup.vocabulary),
            "provenance": json.dumps(provenance),
        }
        save_weights(self._config.out / name, self._setup.strategy.exported(network), metadata)

    def set_former_weights_aside(self) -> None:
        """Renames weights of another run to ``former.*``, but for what each epoch writes over."""
        for name in ("best", "last.peer*"):
            for file in self._config.out.glob(f"{name}.safetensors"):
                file.replace(file.with_name(f"former.{file.name}"))

    def done(self) -> None:
        """Notes that all epochs are done."""
        self._record.update(status="done")

    def close(self) -> None:
        """Ends the logs."""
        self._writer.close()
