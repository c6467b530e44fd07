"""A local Slurm cluster of one node, with all files in a temporary folder."""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from free_ports import reserve_port

CREDENTIAL = 10  # seconds of a job's credential; a job that is queued again waits for its end
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol")
CONF = """
ClusterName=newsimg
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire={credential}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=30
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class SlurmNode:
    """A Slurm controller and node; commands find it by the variable `SLURM_CONF`."""

    def __init__(self) -> None:
        self.path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
        if missing := [name for name in PROGRAMS if not shutil.which(name, path=self.path)]:
            pytest.skip(f"needs {missing[0]} (on Debian: apt-get install slurm-wlm)")
        self.folder = Path(tempfile.mkdtemp(prefix="newsimg-slurm-"))
        self.conf = self.folder / "slurm.conf"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start Slurm; skip the test with a reason if the machine cannot run it."""
        folder, host = self.folder, socket.gethostname().partition(".")[0]
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)
        ports = [reserve_port(), reserve_port()]
        self.conf.write_text(
            CONF.format(
                host=host,
                controller_port=ports[0],
                node_port=ports[1],
                user=getpass.getuser(),
                credential=CREDENTIAL,
                folder=folder,
            )
        )
        kept = ("socket=munge.sock", "key-file=munge.key", "pid-file=munged.pid")
        munge = [f"--{name}={folder / file}" for name, file in (item.split("=") for item in kept)]
        self._run("munged", "--foreground", "--force", f"--seed-file={folder / 'seed'}", *munge)
        self._run("slurmctld", "-D")
        self._run("slurmd", "-D", "-N", host)
        deadline = time.monotonic() + 60
        while "idle" not in self.ask("sinfo", "--noheader", "--format=%T"):
            if time.monotonic() > deadline or any(p.poll() is not None for p in self._processes):
                log = (folder / "log").read_text(errors="replace")
                self.stop()
                pytest.skip(f"Slurm does not start here: {log[-500:]}")
            time.sleep(0.2)

    def ask(self, *command: str) -> str:
        """Return the output of a Slurm command."""
        env = os.environ | {"SLURM_CONF": str(self.conf)}
        return subprocess.run(command, env=env, capture_output=True, text=True).stdout

    def stop(self) -> None:
        """Stop Slurm and its jobs."""
        self.ask("scancel", "--signal=KILL", "--full", f"--user={getpass.getuser()}")
        self.ask("scancel", f"--user={getpass.getuser()}")
        for process in reversed(self._processes):
            process.terminate()
            process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(shutil.which(program, path=self.path)), *arguments]
        env = os.environ | {"SLURM_CONF": str(self.conf)}
        with (self.folder / "log").open("ab") as log:
            self._processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
        if program == "munged":
            while not (self.folder / "munge.sock").exists() and self._processes[-1].poll() is None:
                time.sleep(0.05)
