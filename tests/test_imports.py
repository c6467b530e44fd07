"""Imports point one way: the design's table of what each package may import, held to the source."""

import ast
import re
from pathlib import Path

import pytest

import newsimg

PACKAGE = Path(newsimg.__file__).parent
CONF = PACKAGE.parent / "conf"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py")
}
BASE = {"interfaces", "datatypes"}
STORAGE = BASE | {"storage"}
REPORTING = STORAGE | {"evaluation", "pipeline", "weight.base", "reporting"}
REPORTING |= {"tracking.params"}
REPORTING |= {"tracking.record"}  # a run's record is in its folder, and tells its link
GROUPS = {"backbone", "data", "engine", "index", "llm", "vlm", "reranker", "weight", "tracking"}
# A package, or a module of one, and what of the others it may import.
MAY_IMPORT = {
    "datatypes": set(),
    "interfaces": {"datatypes"},
    "storage": BASE,
    "pipeline": STORAGE,
    "weight": BASE,
    "evaluation": STORAGE | {"weight.base"},
    "backbone": STORAGE,
    "llm": STORAGE,
    "engine": STORAGE,
    "tracking": STORAGE | {"reporting.console", "reporting.quoting"},
    "data": STORAGE | {"sample"},
    "sample": {"storage.csv_table", "storage.files", "storage.progress", "datatypes"},
    "vlm": STORAGE | {"llm.chat_server", "llm.chat_answers"},
    "index": STORAGE | {"engine.listing", "engine.validation"},
    "reranker": STORAGE | {"weight.base"},
    "reporting": REPORTING,
    "submission": REPORTING,
    "app": REPORTING,
    "task": REPORTING | GROUPS | {"submission", "app"},
    "launch": STORAGE
    | {"tracking", "reporting", "pipeline", "evaluation", "engine"}
    | {"sample.toys"},  # tells the sample's models from others
    "run": {"launch", "pipeline", "storage", "interfaces", "reporting", "tracking"},
}
LEAVES = {
    target.removeprefix("newsimg.").rpartition(".")[0]
    for path in CONF.rglob("*.yaml")
    for target in re.findall(r"_target_: (newsimg\.[\w.]+)", path.read_text(encoding="utf-8"))
}


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
    return {module.removeprefix("newsimg.") for module in found} & set(MODULES)


def is_below(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def test_every_package_is_in_the_table_and_the_table_names_no_other() -> None:
    packages = {name.split(".")[0] for name in MODULES}
    assert packages == set(MAY_IMPORT)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_the_table_allows(name: str) -> None:
    package = name.split(".")[0]
    allowed = MAY_IMPORT[package] | {package}
    wrong = {module for module in imports_of(name) if not any(is_below(module, p) for p in allowed)}
    assert not wrong


@pytest.mark.parametrize("name", MODULES)
def test_nothing_imports_what_a_config_names(name: str) -> None:
    """A `_target_` is the only registry; Hydra's own plugins are handed to it by run.py."""
    leaves = {module for module in imports_of(name) if module in LEAVES}
    leaves -= {"launch.sweep_callback"} if name == "run" else set()
    # The sample newsroom is data in the benchmark's layout, and so a data set of that class.
    leaves -= {"data.newsimages"} if name == "data.sample" else set()
    assert not leaves


def test_nothing_imports_the_entry_point() -> None:
    assert {name for name in MODULES if "run" in imports_of(name)} <= {"run"}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*/**/__init__.py")), ids=str)
def test_a_package_init_is_empty_so_that_only_the_chosen_leaf_is_imported(path: Path) -> None:
    assert path.read_text() == ""


def test_a_package_has_at_most_thirteen_modules_and_the_top_few_entries() -> None:
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__", "__main__.py", "py.typed"}
    assert len(entries) <= 22
    for folder in {path.parent for path in MODULES.values()} - {PACKAGE / "sample"}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 13, folder


def test_imports_have_no_cycle() -> None:
    graph = {name: imports_of(name) - {name} for name in MODULES}
    while leaves := [name for name, below in graph.items() if not below]:
        graph = {n: below - set(leaves) for n, below in graph.items() if n not in leaves}
    assert not graph


def test_a_config_is_seen_where_hydra_is_used_and_nowhere_else() -> None:
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
    assert {name for name in seen if not is_below(name, "launch")} == {"run"}
