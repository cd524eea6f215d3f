"""A Slurm of two nodes on this machine, from Debian's slurm-wlm and munge: daemons of its own in a folder of its own.

`python tests/slurm_cluster.py FOLDER` starts one and prints what points the commands to it, until it gets a signal.
It needs root, for slurmd does; each node has two GPUs that are really /dev/tty0 and /dev/tty1.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol", "scancel")
NODES = ("n1", "n2")

# Jobs in `low` give way to those in `high`: signalled, they have 20 s, then they are requeued.
CONFIG = """\
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/state
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{preemption}
KillWait=10
GresTypes=gpu
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no Slurm here; "" where there can."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"{absent[0]} is not installed (Debian: slurm-wlm, munge)"
    if os.geteuid() != 0:
        return "slurmd needs root"
    return "" if Path("/dev/tty1").exists() else "there is no /dev/tty1 to take for a GPU"


@contextmanager
def slurm_cluster(folder: Path, *, signalled: str = "USR2") -> Iterator[dict[str, str]]:
    """Start it, and end its daemons; the variables that point Slurm's commands to it.

    Clusters come in two flavours: a job that is to give way gets the signal that it asked for (USR2), or TERM.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("state", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir()
    flavour = "SlurmctldParameters=preempt_send_user_signal" if signalled == "USR2" else ""
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, ports=free_ports(3), preemption=flavour))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/tty[0-1]\n")
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    try:
        _start(folder, {**os.environ, **environment})
        yield environment
    finally:
        _cancel_all({**os.environ, **environment})
        _end(folder)


def _start(folder: Path, environment: dict[str, str]) -> None:
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    files = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munged.pid"}
    files |= {"log-file": folder / "munged.log", "seed-file": folder / "munge.seed"}
    # --force: the folder may be one that others could write to, such as a test's.
    commands = [["munged", "--force", *(f"--{name}={path}" for name, path in files.items())], ["slurmctld", "-c"]]
    commands += [["slurmd", "-N", node] for node in NODES]
    for command in commands:
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    ready = lambda: said(["sinfo", "-h", "-t", "idle", "-o", "%D"], environment).split("\n")[0] == "2"  # noqa: E731
    until(ready, 60, "the nodes are idle")


def _cancel_all(environment: dict[str, str]) -> None:
    """Leave no job behind: what it runs would outlive the daemons."""
    subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True, timeout=60, check=False)
    with suppress(AssertionError):
        until(lambda: not said(["squeue", "-h"], environment), 30, "all jobs are gone")


def _end(folder: Path) -> None:
    """End the daemons by their own pid files, those that depend on others first."""
    for name in (*(f"slurmd.{node}" for node in NODES), "slurmctld", "munged"):
        with suppress(OSError, ValueError):
            _end_process(int((folder / f"{name}.pid").read_text()))


def _end_process(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody has now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def said(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip()


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something; AssertionError where it does not come in time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def main(folder: Path) -> None:
    """Keep a cluster until a signal comes."""
    if reason := missing():
        sys.exit(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with slurm_cluster(folder) as environment:
        sys.stdout.write("".join(f"export {name}={value}\n" for name, value in environment.items()))
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
