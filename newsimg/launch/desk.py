"""The Python call: what the command line does, as objects of a notebook."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from newsimg.datatypes import Collection, Query
from newsimg.evaluation.stats import bound_means, compare_means, correct_holm
from newsimg.interfaces import Components, Task
from newsimg.launch.builder import Builder, get_builder
from newsimg.launch.compose import compose_config
from newsimg.launch.errors.checks import check_config
from newsimg.launch.job import describe_run
from newsimg.pipeline import rerank, retrieve
from newsimg.reporting.console import muted, warn_loudly
from newsimg.reporting.notebook import Comparison, Evaluation, SearchResult
from newsimg.reporting.quoting import quote_text
from newsimg.reporting.results import gather
from newsimg.reporting.status import show_status
from newsimg.storage.files import user_cache_dir
from newsimg.storage.text.suggest import check_choice

METRICS = ("hits_at_1", "mrr_at_10")
CORRECTIONS = ("holm", None)


class Desk:
    """A config with its components: search it, evaluate it, index pictures with it.

    Models are loaded at first use, and what they compute is kept in the same cache as the command
    line's. Runs are not tracked; `newsimg` on the command line does that.

    Args:
        overrides: As on the command line.

    Raises:
        ValueError: If a value is not what its component expects.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        for override in overrides:
            if not isinstance(override, str):
                raise ValueError(
                    f'an override must be a string such as "reranker=identity", got {override!r}'
                )
        self.overrides = tuple(overrides)
        self.config = compose_config(self.overrides)
        trusted = tuple(self.config["trusted_packages"])
        self._builder = get_builder(trusted, self.config["cache"]["dir"])
        check_config(self.config, self._builder)

    @cached_property
    def components(self) -> Components:
        """Dataset, backbone, index, reranker and weight of the config."""
        parts = ("data", "backbone", "reranker", "weight")
        dataset, backbone, reranker, weight = (
            self._builder.build(self.config[name]) for name in parts
        )
        # Models are shared by desks; an index is not, as it holds pictures, and may be appended to.
        own = Builder(self._builder.trusted, self._builder.cache)
        index = own.build(self.config["index"])
        top_k, shared = self.config["top_k"], self._builder.shared
        built = Components(dataset, backbone, index, reranker, weight, top_k, shared=shared)
        kind: Any = self._builder.find_class(self.config["task"]["_target_"])
        names = dict.fromkeys(("reranker", "weight"), "")
        info = describe_run(self.config, built, kind.parts, names, ((), self.overrides))
        if info.warning:
            warn_loudly(info.warning, "")
        return replace(built, info=info)

    @show_status()
    def search(self, headlines: str | Sequence[str], top_k: int | None = None) -> SearchResult:
        """Find pictures for one headline, or for several at once.

        Args:
            headlines: What to search for.
            top_k: Pictures of each headline; None for the config's.

        Raises:
            ValueError: If a headline is blank, there is none, or `top_k` is below 1.

        Examples:
            >>> import newsimg
            >>> desk = newsimg.load("reranker=identity", "data.split=test")
            >>> found = desk.search("Ferry service resumes after storm", top_k=3)
            >>> found.to_frame()["rank"].tolist()
            [1, 2, 3]
        """
        titles = [headlines] if isinstance(headlines, str) else list(headlines)
        for title in titles:
            if not title.strip():
                raise ValueError(f"a headline must not be blank, got {title!r}")
        if not titles:
            raise ValueError("headlines must hold at least one headline, got none")
        queries = tuple(
            Query(str(i), title.strip(), typed=True) for i, title in enumerate(titles, start=1)
        )
        components = self.components
        images = self._loaded.images if components.index.images is None else ()
        wanted = components.dataset.filter
        collection = Collection("headlines", queries, images, None, filter=wanted)
        top_k = components.top_k if top_k is None else top_k
        found = retrieve(collection, components.backbone, components.index, top_k)
        collection, retrieved = gather(collection, found)
        reranked = rerank(collection, retrieved, components.reranker, components.weight)
        return SearchResult(collection, reranked)

    @show_status()
    def evaluate(self) -> Evaluation:
        """Measure retrieval and reranking against the editors' pictures, as `task=evaluate` does.

        Raises:
            ValueError: If the data does not say which pictures the editors chose.

        Examples:
            >>> import newsimg
            >>> result = newsimg.load("reranker=identity").evaluate()
            >>> result.metrics["delta/hits_at_1"]
            0.0
        """
        config = {"n_sheet_queries": 0, "report": False, "confidence_path": None, "setting": None}
        task: Task = self._builder.build(self._compose_task("evaluate") | config)
        with tempfile.TemporaryDirectory() as folder, muted(True):
            metrics = task.run(self.components, Path(folder))
            curve = Path(folder) / "curve.csv"
            return Evaluation(
                " ".join(self.overrides) or "newsimg",
                metrics,
                pd.read_csv(Path(folder) / "statistics.csv", index_col="measure"),
                pd.read_csv(Path(folder) / "queries.csv", index_col="query_id", dtype={0: str}),
                pd.read_csv(curve) if curve.is_file() else None,
            )

    @show_status()
    def index(self, folder: str | Path, index_dir: str | Path | None = None) -> "Desk":
        """Make the pictures of a folder searchable; pictures that are new since are added.

        Args:
            folder: Pictures, at any depth.
            index_dir: Where the index is kept; None for a place in the cache that belongs to this
                folder and backbone.

        Returns:
            A desk that searches them with the same backbone, reranker and weight.

        Raises:
            ValueError: If there are no pictures that can be used.
        """
        place = Path(folder).expanduser().absolute()
        if index_dir is None:
            fingerprint = self.components.backbone.fingerprint
            name = hashlib.sha256(f"{place}\n{fingerprint}".encode()).hexdigest()[:16]
            index_dir = user_cache_dir() / "indexes" / name
        kept = Path(index_dir).expanduser().absolute()
        action = "append" if (kept / "manifest.json").is_file() else "build"
        own = [text for text in self.overrides if not _sets(text, ("data", "index", "task"))]
        job = Desk(
            [
                *own,
                "task=index",
                f"task.action={action}",
                f"task.index_dir={quote_text(str(kept))}",
                "data=collection",
                f"data.folder={quote_text(str(place))}",
            ]
        )
        with muted(True):
            job._builder.build(job.config["task"]).run(job.components, kept)
        return Desk([*own, "index=saved", f"index.folders=[{quote_text(str(kept))}]"])

    def __repr__(self) -> str:
        return f"newsimg.load({', '.join(map(repr, self.overrides))})"

    @cached_property
    def _loaded(self) -> Collection:
        return self.components.dataset.load()

    def _compose_task(self, name: str) -> dict[str, Any]:
        own = [text for text in self.overrides if not _sets(text, ("task",))]
        task: dict[str, Any] = compose_config([*own, f"task={name}"])["task"]
        return task


def load(*overrides: str) -> Desk:
    """Load a config with the command line's overrides.

    Args:
        overrides: Such as "reranker=aesthetics" or "weight.value=0.15".

    Raises:
        ValueError: If an override names no group, option or key, or values are wrong; tells all.

    Examples:
        >>> import newsimg
        >>> newsimg.load("reranker=nnn", "weight.value=1")
        newsimg.load('reranker=nnn', 'weight.value=1')
    """
    return Desk(overrides)


def compare(
    configs: Sequence[str | Sequence[str] | Desk],
    metrics: Sequence[str] = METRICS,
    baseline: int | None = None,
    correction: str | None = "holm",
    overrides: Sequence[str] = (),
) -> Comparison:
    """Evaluate several configs on the same queries, and test them against one of them.

    Args:
        configs: Overrides, one text or several for each config; or desks.
        metrics: Measures, e.g. "hits_at_1" or "mrr_at_10".
        baseline: Position of the config that the others are compared with; None for no tests.
        correction: "holm" corrects the p values of a measure for the number of comparisons (Holm,
            1979); None leaves them.
        overrides: Overrides that all configs share.

    Returns:
        Means with 95 % bootstrap intervals; differences with paired intervals and p values: the
        exact McNemar test for Hits@k, a sign-flipping randomisation test for MRR@k.

    Raises:
        ValueError: If a metric or the baseline does not exist, or the configs have other queries.

    Examples:
        >>> import newsimg
        >>> table = newsimg.compare(["reranker=identity", "reranker=nnn"], baseline=0).to_frame()
        >>> table["measure"].unique().tolist()
        ['hits_at_1', 'mrr_at_10']
    """
    if not configs:
        raise ValueError("configs must hold at least one config, got none")
    if baseline is not None and not 0 <= baseline < len(configs):
        raise ValueError(f"baseline must be in [0, {len(configs) - 1}], got {baseline}")
    if correction not in CORRECTIONS:
        raise ValueError(f"correction must be 'holm' or None, got {correction!r}")
    desks = [_to_desk(config, overrides) for config in configs]
    names = [" ".join(desk.overrides[len(overrides) :]) or "newsimg" for desk in desks]
    measured = [_measure(desk, metrics) for desk in desks]
    for name, values in zip(names, measured, strict=True):
        if not values.index.equals(measured[0].index):
            raise ValueError(f"{name} has other queries than {names[0]}: compare on the same data")
    tables = []
    for position, values in enumerate(measured):
        table = bound_means(values)
        if baseline is not None and position != baseline:
            difference = compare_means(measured[baseline], values)
            table = table.join(difference.rename(columns=_name_difference))
        tables.append(table.rename_axis("measure").reset_index().assign(config=names[position]))
    whole = pd.concat(tables, ignore_index=True)
    if "p" in whole and correction == "holm":
        whole["p"] = whole.groupby("measure")["p"].transform(
            lambda p: correct_holm(p.to_numpy(dtype=np.float64))
        )
    first = ["config", "measure"]
    whole = whole[first + [name for name in whole if name not in first]]
    return Comparison(whole, None if baseline is None else names[baseline], correction)


def _to_desk(config: str | Sequence[str] | Desk, overrides: Sequence[str]) -> Desk:
    if isinstance(config, Desk):
        return Desk([*overrides, *config.overrides]) if overrides else config
    return Desk([*overrides, *([config] if isinstance(config, str) else config)])


def _measure(desk: Desk, metrics: Sequence[str]) -> pd.DataFrame:
    queries = desk.evaluate().queries.filter(like="reranked/")
    values = queries.rename(columns=lambda name: str(name).partition("/")[2])
    for name in metrics:
        check_choice("metrics", name, list(values))
    return values[list(metrics)]


def _name_difference(column: str) -> str:
    names = {"value": "difference", "low": "difference_low", "high": "difference_high"}
    return names.get(column, column)


def _sets(override: str, groups: Sequence[str]) -> bool:
    """Tell whether an override chooses one of the groups, or sets a value in it."""
    name = override.lstrip("+~").partition("=")[0].partition("@")[0]
    return name.split(".")[0].split("/")[0] in groups
