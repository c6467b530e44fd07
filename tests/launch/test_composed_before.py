"""Configs that Hydra composed before in a command are those that it would compose again."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from newsimg.launch.composed_before import reuse_configs
from newsimg.launch.resolvers import register_resolvers
from newsimg.storage.files import CONF_DIR

OVERRIDES = [
    [],
    ["weight.value=0.3"],
    ["reranker=ensemble", "+tags.note=trial"],
    ["experiment=sample_tune"],
    ["task=infer", "index=fused", "hydra/launcher=basic"],
]


def list_nodes(node: Any, key: str = "") -> list[Any]:
    """Return all that OmegaConf knows of a config: values, types and flags of all nodes."""
    about = node._metadata
    flags = sorted((about.flags or {}).items())
    own = [(key, node._value() if not OmegaConf.is_config(node) else None)]
    own += [(about.ref_type, about.object_type, about.optional, flags)]
    parts = node._content if OmegaConf.is_config(node) else None
    items = parts.items() if isinstance(parts, dict) else enumerate(parts or ())
    return own + [one for name, part in items for one in list_nodes(part, f"{key}.{name}")]


def compose_here(overrides: list[str]) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONF_DIR), job_name="newsimg", version_base="1.3"):
        return compose("config", overrides, return_hydra_config=True)


def test_a_config_is_the_same_however_often_it_is_composed() -> None:
    expected = [list_nodes(compose_here(overrides)) for overrides in OVERRIDES]
    with reuse_configs():
        for _ in range(3):
            for overrides, nodes in zip(OVERRIDES, expected, strict=True):
                config = compose_here(overrides)
                assert list_nodes(config) == nodes
                with open_dict(config):  # as a job does
                    config.hydra.job.num, config.weight.value = 7, 0.9
                    del config["reranker"]


@pytest.mark.parametrize("overrides", [[], ["+b=2"]])
def test_a_file_is_read_once_in_the_block_and_again_after_it(
    tmp_path: Path, overrides: list[str]
) -> None:
    def compose_file(*more: str) -> int:
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            return int(compose("own", [*overrides, *more]).a)

    (tmp_path / "own.yaml").write_text("a: 1")
    with reuse_configs():
        assert compose_file() == 1
        (tmp_path / "own.yaml").write_text("a: 5")
        assert [compose_file(), compose_file("+c=3"), compose_file("a=4")] == [1, 1, 4]
    assert compose_file() == 5


def test_a_config_that_cannot_be_composed_is_an_error_each_time() -> None:
    with reuse_configs():
        for _ in range(2):
            with pytest.raises(Exception, match="clpi"):
                compose_here(["backbone=clpi"])
