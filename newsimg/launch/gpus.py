"""Assignment of GPUs to the jobs of a sweep."""

import getpass
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import filelock

VISIBLE = "CUDA_VISIBLE_DEVICES"
SETTING = "NEWSIMG_GPUS"
PINNED: tuple[str, filelock.FileLock | None] | None = None


def pin_gpu(job: int) -> str:
    """Return the value of CUDA_VISIBLE_DEVICES for a job: one GPU, or empty without GPUs.

    CUDA reads the environment once, so a worker keeps the GPU of its first job.
    """
    global PINNED
    if PINNED is None:
        gpus = list_gpus()
        gpu, lock = claim_gpu(job, gpus) if gpus else (None, None)
        PINNED = (gpu or "", lock)
    return PINNED[0]


def list_gpus() -> list[str]:
    """Return the GPUs to use: NEWSIMG_GPUS, the visible ones, or all."""
    for name in (SETTING, VISIBLE):
        if name in os.environ:
            return [gpu.strip() for gpu in os.environ[name].split(",") if gpu.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    # In a subprocess: torch would initialise CUDA in this one before a GPU is assigned.
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    return done.stdout.split() if done.returncode == 0 else []


def claim_gpu(job: int, gpus: list[str]) -> tuple[str, filelock.FileLock | None]:
    """Return a GPU that no other process uses, and its lock, which is held until this process ends.

    The preferred GPU depends on the job's number; with more processes than GPUs, they share.
    """
    folder = Path(tempfile.gettempdir()) / f"newsimg-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    for i in range(len(gpus)):
        gpu = gpus[(job + i) % len(gpus)]
        lock = filelock.FileLock(folder / f"{gpu.replace('/', '_')}.lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            continue
        return gpu, lock
    return gpus[job % len(gpus)], None
