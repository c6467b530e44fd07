"""Make a collection searchable: embed its pictures, and keep the index in a folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from newsimg.datatypes import FloatArray, Listed
from newsimg.engine.base import Engine
from newsimg.engine.intake import IntakeRules
from newsimg.index.base import GrowingIndex
from newsimg.index.building.build import (
    add_embeddings,
    collect,
    describe_quality,
    describe_versions,
    leave_out,
    measure_built,
    measure_saved,
    merge_rejected,
    read_kept_images,
    train_index,
)
from newsimg.index.building.scratch import IMAGES, REJECTED, Scratch, count_rejected, write_tables
from newsimg.index.folder import (
    MANIFEST,
    SavedIndex,
    check_rows,
    count_found,
    install,
    open_saved_index,
    read_manifest,
)
from newsimg.interfaces import Components, Task
from newsimg.reporting.console import console, print_table
from newsimg.storage.cached_models import find_hasher
from newsimg.storage.files import lock_folder
from newsimg.storage.pictures.passed_over import describe_counts

ACTIONS = ("build", "append", "remove")
ON_BAD_IMAGE = ("skip", "raise")


class IndexTask(Task):
    """Writes `vectors.faiss`, `images.parquet`, `rejected.parquet` and, last, `manifest.json`.

    A job that is stopped goes on where it was when it is started again. Memory does not grow with
    the collection, but for what the index itself needs.

    Args:
        index_dir: Where the index is to be.
        action: "build" anew; "append" the pictures whose ids are not in the index yet; or "remove"
            those of `image_ids`. A picture that changed is removed first, then appended.
        image_ids: What to remove.
        on_bad_image: "skip" pictures that cannot be used, and list them, or "raise" an error.
        max_rejected: Share of the listed pictures that may be skipped.
        on_truncated: See `IntakeRules`.
        max_pixels: See `IntakeRules`.
        min_side: See `IntakeRules`.
        n_threads: Threads that read and decode beside the model.
        engine: Where the pictures are embedded.
        n_queries: Pictures that are searched for, to measure the index against an exact one.

    Raises:
        ValueError: If an argument is not what it should be.
    """

    def __init__(
        self,
        *,
        index_dir: str,
        action: str,
        image_ids: list[str] | None,
        on_bad_image: str,
        max_rejected: float,
        on_truncated: str,
        max_pixels: int,
        min_side: int,
        n_threads: int,
        engine: Engine,
        n_queries: int,
    ) -> None:
        if action not in ACTIONS:
            raise ValueError(f"task.action must be one of {', '.join(ACTIONS)}, got {action!r}")
        if (action == "remove") != bool(image_ids):
            raise ValueError(
                f"task.image_ids is for task.action=remove, and it needs them; got {image_ids} "
                f"for {action}"
            )
        if on_bad_image not in ON_BAD_IMAGE:
            raise ValueError(
                f"task.on_bad_image must be one of {', '.join(ON_BAD_IMAGE)}, got {on_bad_image!r}"
            )
        if not 0 <= max_rejected <= 1:
            raise ValueError(f"task.max_rejected must be in [0, 1], got {max_rejected}")
        for name, number in (("n_threads", n_threads), ("n_queries", n_queries)):
            if number < 1:
                raise ValueError(f"task.{name} must be at least 1, got {number}")
        self.folder = Path(index_dir).expanduser().absolute()
        self.action = action
        self.image_ids = [str(image_id) for image_id in image_ids or []]
        self.rules = IntakeRules(on_truncated, max_pixels, min_side)
        self.on_bad_image = on_bad_image
        self.max_rejected = max_rejected
        self.n_threads = n_threads
        self.engine = engine
        self.n_queries = n_queries

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `n_listed`, `n_images`, `n_rejected`, `n_removed`, `n_passed_over`, `bytes_per_vector`
            and, where it was measured, `recall_at_<top_k>`, `ms_single` and `ms_batched`.

        Raises:
            ValueError: If the config's index cannot be kept in a file, another job is at work in
                the folder, or it holds an index and `action` is "build".
            FileNotFoundError: If there is no index to append to or remove from.
        """
        index = components.index
        if not isinstance(index, GrowingIndex):
            raise ValueError(f"index must be one that can be built, got {type(index).__name__}")
        with lock_folder(self.folder):
            return self._run(components, index)

    def _run(self, components: Components, index: GrowingIndex) -> dict[str, float]:
        staging = self.folder / ".building"
        if (staging / MANIFEST).is_file():  # a job was stopped between two of the last renames
            install(staging, self.folder, None)
            shutil.rmtree(staging)
            manifest = read_manifest(self.folder)
            if self.action == manifest["action"] == "build":
                return self._report(manifest)
        if self.action == "build":
            return self._build(components, index, staging)
        saved = open_saved_index(
            self.folder, components.backbone.fingerprint, hasher=find_hasher(components.backbone)
        )
        check_rows(saved, components.backbone)
        index.read(self.folder / "vectors.faiss")
        act = self._append if self.action == "append" else self._remove
        return act(components, index, staging, saved)

    def _build(
        self, components: Components, index: GrowingIndex, staging: Path
    ) -> dict[str, float]:
        if (self.folder / MANIFEST).is_file():
            raise ValueError(
                f"{self.folder} holds an index already: task.action=append adds to it; for a new "
                "one choose another task.index_dir, or delete this one"
            )
        scratch, n_listed = self._collect(components, staging, components.dataset.stream_images())
        if not scratch.n_accepted:
            raise ValueError(f"{components.dataset.name}: none of {n_listed} pictures can be used")
        embeddings = scratch.open_embeddings()
        console.print(f"indexing {len(embeddings)} pictures")
        train_index(index, embeddings)
        add_embeddings(index, embeddings, 0)
        write_tables(scratch.read_images(0), IMAGES, staging / "images.parquet")
        write_tables(scratch.read_rejected(), REJECTED, staging / "rejected.parquet")
        facts = {
            "collection": components.dataset.name,
            "dim": scratch.dim,
            "index": dict(index.numbers),
            "n_listed": n_listed,
            "n_rejected": scratch.n_rejected,
            "next_row_id": scratch.n_accepted,
            "passed_over": dict(scratch.passed_over.counts),
        }
        return self._finish(components, index, staging, facts, embeddings)

    def _append(
        self, components: Components, index: GrowingIndex, staging: Path, saved: SavedIndex
    ) -> dict[str, float]:
        known = set(saved.images.table["image_id"].to_pylist())
        found = leave_out(components.dataset.stream_images(), known)
        scratch, n_listed = self._collect(components, staging, found)
        first = saved.manifest["next_row_id"]
        add_embeddings(index, scratch.open_embeddings(), first)

        def merge_images() -> Iterator[Any]:
            yield from read_kept_images(self.folder / "images.parquet")
            yield from scratch.read_images(first)

        write_tables(merge_images(), IMAGES, staging / "images.parquet")
        rejected = merge_rejected(self.folder / "rejected.parquet", scratch)
        write_tables(rejected, REJECTED, staging / "rejected.parquet")
        facts = saved.manifest | {
            "n_listed": len(known) + n_listed,
            "n_rejected": count_rejected(staging / "rejected.parquet"),
            "next_row_id": first + scratch.n_accepted,
            "passed_over": dict(scratch.passed_over.counts),
        }
        console.print(f"{len(known)} pictures were there, {scratch.n_accepted} are added")
        return self._finish(components, index, staging, facts)

    def _remove(
        self, components: Components, index: GrowingIndex, staging: Path, saved: SavedIndex
    ) -> dict[str, float]:
        removed = set(self.image_ids)
        ids = saved.images.table["image_id"].to_pylist()
        rows = [row for row, image_id in enumerate(ids) if image_id in removed]
        for image_id in sorted(removed - {ids[row] for row in rows}):
            raise ValueError(f"{self.folder} has no picture {image_id}")
        if len(rows) == len(ids):
            raise ValueError(f"removing all {len(ids)} pictures would leave no index: delete it")
        index.remove(saved.images.row_ids[rows])
        staging.mkdir(exist_ok=True)
        kept = read_kept_images(self.folder / "images.parquet", removed)
        write_tables(kept, IMAGES, staging / "images.parquet")
        shutil.copyfile(self.folder / "rejected.parquet", staging / "rejected.parquet")
        console.print(f"{len(rows)} pictures are removed")
        return self._finish(components, index, staging, saved.manifest) | {"n_removed": len(rows)}

    def _collect(
        self, components: Components, staging: Path, images: Iterator[Listed]
    ) -> tuple[Scratch, int]:
        identity = {
            "fingerprint": components.backbone.fingerprint,
            "rules": vars(self.rules),
            "action": self.action,
        }
        scratch = Scratch(staging, identity)
        listing = collect(
            images,
            components.backbone,
            scratch,
            engine=self.engine,
            rules=self.rules,
            on_bad_image=self.on_bad_image,
            max_rejected=self.max_rejected,
            n_threads=self.n_threads,
        )
        return scratch, len(listing)

    def _finish(
        self,
        components: Components,
        index: GrowingIndex,
        staging: Path,
        facts: dict[str, Any],
        embeddings: FloatArray | None = None,
    ) -> dict[str, float]:
        """Measure what is in memory, write it all, and let it take the place of what was there."""
        backbone = components.backbone
        index.write(staging / "vectors.faiss")
        saved = SavedIndex(staging, {}, index)
        quality = (
            measure_saved(saved, index, backbone, self.n_queries, components.top_k)
            if embeddings is None
            else measure_built(saved, index, embeddings, self.n_queries, components.top_k)
        )
        n_checked, n_found = count_found(saved, backbone)
        manifest = facts | {
            "version": 1,
            "action": self.action,
            "fingerprint": backbone.fingerprint,
            "metric": "inner_product",
            "factory": facts["index"]["factory"],
            "n_images": len(saved.images),
            "rules": vars(self.rules),
            "bytes_per_vector": index.bytes_per_vector,
            **describe_quality(quality),
            "self_query": {"n_checked": n_checked, "n_found": n_found},
            "versions": describe_versions(),
        }
        install(staging, self.folder, manifest)
        shutil.rmtree(staging)
        return self._report(manifest)

    def _report(self, manifest: dict[str, Any]) -> dict[str, float]:
        """Print what the index is, and return it as metrics."""
        found = manifest["self_query"]
        rows = {
            "pictures": manifest["n_images"],
            "rejected": manifest["n_rejected"],
            "factory": manifest["factory"],
            "bytes per vector": round(manifest["bytes_per_vector"]),
            "found by their own embedding": f"{found['n_found']} of {found['n_checked']}",
        }
        metrics = {name: manifest[name] for name in ("n_listed", "n_images", "n_rejected")}
        metrics |= {"n_removed": 0, "bytes_per_vector": manifest["bytes_per_vector"]}
        for top_k, recall in manifest["recall"].items():
            rows[f"recall@{top_k} against exact"] = f"{recall:.4f}"
            metrics[f"recall_at_{top_k}"] = recall
        for name, milliseconds in manifest["ms_per_query"].items():
            rows[f"ms per query, {name}"] = f"{milliseconds:.3g}"
            metrics[f"ms_{name}"] = milliseconds
        print_table(pd.DataFrame(rows.items(), columns=["index", ""]), str(self.folder))
        passed_over = manifest.get("passed_over", {})  # an older index has none
        metrics["n_passed_over"] = sum(passed_over.values())
        if passed_over:
            console.print(describe_counts(passed_over))
        if manifest["n_rejected"] or passed_over:
            console.print(f"what was rejected, and why: {self.folder / 'rejected.parquet'}")
        console.print(f"search it      newsimg index=saved index.folders=[{self.folder}]")
        return metrics
