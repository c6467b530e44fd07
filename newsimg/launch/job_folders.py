"""A separate folder for every run, for any configuration of Hydra's folders."""

import logging
import os
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, read_write

from newsimg.reporting.quoting import quote_text
from newsimg.tracking.record import RECORDS, SWEEP_VARIABLE, find_begun


def open_job_folder(hydra_config: Any, folder: str) -> Path:
    """Return the folder that a job writes to; relative paths refer to the starting directory.

    Args:
        hydra_config: Hydra's config of the job.
        folder: Folder of tracked runs.
    """
    start = Path(hydra_config.runtime.cwd)
    if hydra_config.job.chdir:
        os.chdir(start)
        if not hydra_config.job.get("num"):  # of a sweep's jobs the first
            logging.getLogger(__name__).warning(
                "hydra.job.chdir=true has no effect: relative paths start in %s, and what a run "
                "writes goes to its own folder",
                start,
            )
    output_dir = Path(hydra_config.runtime.output_dir)
    sweep = os.environ.get(SWEEP_VARIABLE)
    if sweep and find_begun(output_dir, Path(sweep), str(hydra_config.job.get("num"))):
        return output_dir  # the job was requeued
    return claim_folder(
        output_dir,
        ignored=(hydra_config.output_subdir, f"{hydra_config.job.name}.log"),
        outside=(start, Path(folder).expanduser().absolute()),
    )


def open_sweep_folder(config: DictConfig) -> Path:
    """Return the folder of a sweep's jobs: the configured one, or a subfolder if it is in use."""
    asked = Path(config.hydra.sweep.dir).absolute()
    folder = Path(config.folder).expanduser().absolute()
    sweep_dir = claim_folder(asked, outside=(Path.cwd(), folder))
    if sweep_dir != asked:
        override = f"hydra.sweep.dir={quote_text(str(sweep_dir))}"
        with read_write(config), read_write(config.hydra):
            config.hydra.sweep.dir = str(sweep_dir)
            config.hydra.overrides.hydra.append(override)  # which the jobs are composed of
    return sweep_dir


def claim_folder(
    folder: Path, *, ignored: Collection[str] = (), outside: Collection[Path] = ()
) -> Path:
    """Return a folder if it is new, else a new subfolder, so that it belongs to one run.

    Args:
        folder: Configured folder.
        ignored: File names that a new folder may contain.
        outside: Other folders; a subfolder is created if `folder` contains any of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_new = all(name in ignored for name in os.listdir(folder))
    if is_new and not any(folder in (path, *path.parents) for path in outside):
        try:
            (folder / RECORDS).mkdir()  # only one process succeeds
        except FileExistsError:
            pass
        else:
            return folder
    while True:
        new = folder / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
        try:
            (new / RECORDS).mkdir(parents=True)
        except FileExistsError:
            continue
        return new
