import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from newsimg.run import CONF_DIR

# The command line in an environment without any of Hydra's plugins.
BARE = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "hydra_plugins":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from newsimg.run import main
main()
"""


@pytest.mark.parametrize(
    ("launcher", "extra"), [("joblib_gpus", "joblib"), ("slurm", "submitit"), ("joblib", "joblib")]
)
def test_a_launcher_whose_plugin_is_missing_is_refused_with_what_to_install(
    launcher, extra, tmp_path
):
    sweep = ["-m", f"hydra/launcher={launcher}", "weight.value=0,1", "tracking=none"]
    done = subprocess.run(
        [sys.executable, "-c", BARE, *sweep],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert f"hydra/launcher={launcher} is not installed: pip install newsimg[{extra}]" in (
        done.stdout + done.stderr
    )


@pytest.mark.parametrize(
    ("preset", "option", "changed"),
    [
        ("joblib_cpus", "joblib", {"n_jobs": 2}),
        ("joblib_gpus", "joblib", {"n_jobs": 2}),
        ("submitit_cpus", "submitit_local", {"timeout_min": 240}),
        ("submitit_gpus", "submitit_local", {"timeout_min": 240}),
    ],
)
def test_a_preset_is_the_plugins_option_with_values_of_its_own(preset, option, changed):
    pytest.importorskip(f"hydra_plugins.hydra_{option.partition('_')[0]}_launcher")

    def compose_launcher(name):
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            config = compose("config", [f"hydra/launcher={name}"], return_hydra_config=True)
        return OmegaConf.to_container(config.hydra.launcher)

    whole, own = compose_launcher(preset), compose_launcher(option)
    assert {name: whole[name] for name in whole if whole[name] != own[name]} == changed
    assert whole.keys() == own.keys()
