"""A Slurm cluster of one node on this machine, all of it in a folder of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])  # daemons live there

CONFIGURATION = """
ClusterName=plkd
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# a job whose node is lost is put back into the queue, and waits as long as its credential lasts
AuthInfo=socket={folder}/munge.socket,cred_expire=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
MpiDefault=none
MinJobAge=300
SlurmdTimeout=10
KillWait=2
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=100000
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """What of Slurm and munge is not installed here."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]


class Cluster:
    """Slurm and munge, with their state, keys, logs and ports apart from any other on the machine.

    Parameters
    ----------
    folder
        Empty, with a short path, because sockets lie in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(folder / "bin"), SEARCHED]),
            "SLURM_CONF": str(folder / "slurm.conf"),
            "OMP_NUM_THREADS": "1",
        }
        self.environment.pop("PYTHONPATH", None)
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir()
        # Snakemake starts the steps of a job without the variables of Slurm, SLURM_CONF among them
        srun = folder / "bin" / "srun"
        configured = f"SLURM_CONF={folder}/slurm.conf exec {shutil.which('srun')}"
        srun.write_text(f'#!/bin/sh\n{configured} "$@"\n')
        srun.chmod(0o755)
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                folder=folder,
                host=socket.gethostname().split(".")[0],
                user=getpass.getuser(),
                ports=free_ports(2),
                cpus=max(2, os.cpu_count() or 1),
            )
        )

    def start(self) -> None:
        """Start all daemons, and wait until the node takes jobs."""
        files = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid"}
        options = [f"--{option}={self.folder}/munge.{end}" for option, end in files.items()]
        # a folder in /tmp is not where munge would like to see its files: --force
        self._start(
            "munged", "--foreground", "--force", f"--seed-file={self.folder}/seed", *options
        )
        wait_for((self.folder / "munge.socket").exists, 30)
        self._start("slurmctld", "-D")
        self.start_node()

    def start_node(self) -> None:
        """Start the daemon of the node, and wait until the node takes jobs."""
        self._start("slurmd", "-D")
        wait_for(lambda: self.node_state() in ("idle", "mixed", "allocated"), 60)

    def kill_node(self) -> None:
        """Kill the daemon of the node, as if the node were lost, and wait until Slurm says so."""
        daemon = self.daemons.pop("slurmd")
        daemon.kill()
        daemon.wait()
        wait_for(lambda: self.node_state().startswith("down"), 120)

    def node_state(self) -> str:
        return self.command("sinfo", "--noheader", "--format=%T", check=False).strip()

    def jobs(self) -> list[tuple[str, str, str]]:
        """Number, state and comment (what the job runs) of jobs that have not been forgotten."""
        listed = self.command("squeue", "--noheader", "--states=all", "--format=%i|%T|%k")
        return [tuple(line.split("|", 2)) for line in listed.splitlines()]  # type: ignore[misc]

    def running(self, comment: str) -> str | None:
        """Number of a job that runs, by the beginning of its comment."""
        for number, state, told in self.jobs():
            if state == "RUNNING" and told.startswith(comment):
                return number
        return None

    def command(self, *command: str, check: bool = True) -> str:
        """Output of a command of Slurm."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if check:
            assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        """End all jobs, then what was started here."""
        self.command("scancel", f"--user={getpass.getuser()}", check=False)
        with_jobs = lambda: self.command("squeue", "--noheader", check=False).strip()  # noqa: E731
        wait_for(lambda: not with_jobs(), 30, must=False)
        for daemon in reversed(self.daemons.values()):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _start(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=SEARCHED)
        assert program is not None, f"{name} is not installed"
        with (self.folder / f"{name}.out").open("ab") as output:
            self.daemons[name] = subprocess.Popen(
                [program, *options], env=self.environment, stdout=output, stderr=output
            )


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster that is up, and gone without a trace at the end."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    made = Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_for(is_so: Callable[[], object], seconds: float, must: bool = True) -> bool:
    """Wait until something is so, at most so many seconds."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            assert not must, f"not within {seconds} s"
            return False
        time.sleep(0.2)
    return True
