"""A Slurm cluster of this machine alone, in a folder of its own.

munged, slurmctld and slurmd run as the calling user, on free ports, without systemd, cgroups or an
accounting database; nothing outside the folder is touched. Debian's packages `slurm-wlm` and
`munge` bring the programs.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")
_SYSTEM = "/usr/sbin:/sbin"
ARRAY_LIMIT = 3


def missing_programs() -> list[str]:
    """Programs of Slurm and MUNGE that this machine lacks."""
    path = f"{os.environ['PATH']}:{_SYSTEM}"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Raises AssertionError if the condition does not hold in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.3)


class SlurmCluster:
    """One node with two CPUs, one partition; stopped by `stop`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._node = socket.gethostname().partition(".")[0]
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(parents=True)
        (folder / "munge").chmod(0o700)
        key = folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        self._config = folder / "slurm.conf"
        self._config.write_text(self._settings())
        self.environment = os.environ | {
            "SLURM_CONF": str(self._config),
            "PATH": f"{os.environ['PATH']}:{_SYSTEM}",
        }

    def _settings(self) -> str:
        folder, user = self._folder, pwd.getpwuid(os.getuid()).pw_name
        controller, daemon = _free_ports(2)
        return f"""\
ClusterName=actiseg
SlurmctldHost={self._node}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
# A job that is queued again waits as long as its credential lives: 120 s where nothing is said.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MaxArraySize={ARRAY_LIMIT}
SlurmdTimeout=10
ReturnToService=1
SlurmdParameters=config_overrides
NodeName={self._node} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=2:00:00 State=UP
"""

    def start(self) -> None:
        """Starts the three daemons and waits for the node."""
        munge = self._folder / "munge"
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
        files["seed-file"] = "seed"
        options = [f"--{option}={munge / name}" for option, name in files.items()]
        self.run("munged", "--force", *options)
        self.run("slurmctld")
        self.start_node()
        wait_until(lambda: self.node_state() == "idle", 30, "the node is idle")

    def stop(self) -> None:
        """Ends all jobs and daemons."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.run("scancel", f"--user={os.getuid()}")
            wait_until(lambda: not self.run("squeue", "--noheader"), 40, "the queue is empty")
        for file in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
            _end(self._folder / file, signal.SIGTERM)

    def run(self, *command: str) -> str:
        """What a command of the cluster prints."""
        return subprocess.run(
            command, env=self.environment, check=True, stdout=subprocess.PIPE, text=True, timeout=60
        ).stdout.strip()

    def jobs(self) -> dict[str, str]:
        """State of every job that is not over, by its id."""
        rows = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(row.split() for row in rows)

    def node_state(self) -> str:
        """Slurm's word for the node: idle, mixed, allocated, down, with a mark where it is lost."""
        return self.run("sinfo", "--noheader", "--format=%t")

    def set_node(self, state: str) -> None:
        """An administrator takes the node down, or up again."""
        reason = ["reason=test"] if state == "down" else []
        self.run("scontrol", "update", f"nodename={self._node}", f"state={state}", *reason)

    def start_node(self) -> None:
        """Starts the node's daemon."""
        self.run("slurmd")

    def mend(self) -> None:
        """Ends all jobs and brings the node back, whatever a test left."""
        self.run("scancel", f"--user={os.getuid()}")
        if not _runs(self._folder / "slurmd.pid"):
            self.start_node()
        if "down" in self.node_state():
            self.set_node("resume")
        wait_until(lambda: not self.jobs(), 60, "the queue is empty")
        wait_until(lambda: self.node_state() == "idle", 60, "the node is idle")

    def lose_node(self) -> None:
        """The node's daemon dies; what it started lives on, as it does without a network."""
        _end(self._folder / "slurmd.pid", signal.SIGKILL)


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[SlurmCluster]:
    """A cluster that is there while the context lasts."""
    cluster = SlurmCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def trainings(run: Path) -> list[int]:
    """Processes that train in a run's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "train" in words and str(run) in words:
                found.append(int(process.name))
    return found


@contextlib.contextmanager
def held(run: Path) -> Iterator[int]:
    """Its training stands still meanwhile, so that it does not end first on a fast machine.

    Yields:
        The process that trains.
    """
    wait_until(lambda: (run / "checkpoint.pt").exists(), 120, "the training has begun")
    (pid,) = trainings(run)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def is_asked(pid: int, number: signal.Signals) -> bool:
    """Whether a process that is held was sent a signal; Slurm lets it go on, too, to take it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    (pending,) = re.findall(r"^ShdPnd:\s*(\w+)", status, re.MULTILINE)
    held = re.search(r"^State:\s*[Tt]", status, re.MULTILINE)
    return not held or bool(int(pending, 16) >> (number - 1) & 1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _runs(pid_file: Path) -> bool:
    try:
        return Path(f"/proc/{int(pid_file.read_text())}").exists()
    except (OSError, ValueError):
        return False


def _end(pid_file: Path, number: signal.Signals) -> None:
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, number)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 30, f"{pid_file.name} has ended")
