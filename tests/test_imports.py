"""Imports go down only: what the design says of the layers, read from the source."""

import ast
from pathlib import Path

import pytest

import newsimg

PACKAGE = Path(newsimg.__file__).parent
MODULES = {
    ".".join(("newsimg", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
GROUPS = ("data", "backbone", "llm", "vlm", "index", "engine", "reranker", "weight", "task")
LEAVES = [name for name in MODULES if name.split(".")[1] in GROUPS and "__init__" not in name]
# What stands above the helpers; only run.py may see all of it.
UPPER = {"newsimg.run", "newsimg.pipeline", "newsimg.tracking.mlflow", "newsimg.reporting.sweep"}


def imports_of(name: str) -> set[str]:
    """Return the modules of this project that a module imports, wherever in its code."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            found |= {node.module or ""}
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module for module in found if module in MODULES}


def group_of(name: str) -> str:
    return name.split(".")[1]


@pytest.mark.parametrize("name", [name for name in MODULES if name.endswith("__init__")])
def test_a_package_init_is_empty_so_that_only_the_chosen_leaf_is_imported(name: str) -> None:
    assert MODULES[name].read_text() == ""


@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_imports_no_other_leaf(name: str) -> None:
    others = {module for module in imports_of(name) if module in LEAVES}
    assert not others


@pytest.mark.parametrize("name", [name for name in LEAVES if group_of(name) != "task"])
def test_a_leaf_below_the_tasks_imports_nothing_from_above(name: str) -> None:
    assert not imports_of(name) & UPPER


@pytest.mark.parametrize("name", [name for name in MODULES if name not in LEAVES])
def test_only_run_and_the_sample_know_a_leaf(name: str) -> None:
    """Leaves are named by configs alone; the scripts that train the sample are no part of a run."""
    if group_of(name) == "sample":
        pytest.skip("makes the sample's files, outside a run")
    assert not imports_of(name) & set(LEAVES)


def test_nothing_imports_the_entry_point() -> None:
    importers = {name for name in MODULES if "newsimg.run" in imports_of(name)}
    assert importers <= {"newsimg.run"}  # which imports itself when run as a script


def test_interfaces_import_datatypes_only_and_datatypes_nothing() -> None:
    assert imports_of("newsimg.interfaces") == {"newsimg.datatypes"}
    assert imports_of("newsimg.datatypes") == set()


@pytest.mark.parametrize(
    "name", ["newsimg.pipeline", "newsimg.evaluation.metrics", "newsimg.tracking.mlflow"]
)
def test_the_middle_knows_no_task(name: str) -> None:
    assert not {module for module in imports_of(name) if group_of(module) == "task"}


def test_imports_have_no_cycle() -> None:
    graph = {name: imports_of(name) - {name} for name in MODULES}
    while leaves := [name for name, below in graph.items() if not below]:
        graph = {n: below - set(leaves) for n, below in graph.items() if n not in leaves}
    assert not graph


def test_only_run_and_what_runs_it_for_a_sweep_see_a_config() -> None:
    seen = set()
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            if any(module.split(".")[0] in ("hydra", "omegaconf") for module in modules):
                seen.add(name)
    # The others are no part of a run: they are what Hydra makes, and is told.
    plugins = {f"newsimg.{name}" for name in ("optuna_sweeper", "plugins", "ray_launcher")}
    assert seen == {"newsimg.run", "newsimg.launch.resolvers", *plugins}
