"""Make a collection searchable: embed its pictures, and keep the index in a folder."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from newsimg.data.articles import read_headlines
from newsimg.datatypes import FloatArray, Listed, Query
from newsimg.engine.base import Engine
from newsimg.engine.validation import ValidationRules
from newsimg.index.base import GrowingIndex
from newsimg.index.building.build import (
    Asked,
    UnusableError,
    add_embeddings,
    collect,
    describe_contents,
    describe_quality,
    embed_headlines,
    measure_built,
    measure_saved,
    merge_rejected,
    read_kept_images,
    train_index,
)
from newsimg.index.building.change import ON_CHANGED, Newcomers, find_named
from newsimg.index.building.checkpoint import (
    IMAGES,
    REJECTED,
    BuildCheckpoint,
    count_rejected,
    explain_rejected,
    write_tables,
)
from newsimg.index.folder import (
    MANIFEST,
    SavedIndex,
    check_rows,
    install,
    open_saved_index,
    read_manifest,
)
from newsimg.interfaces import Components, Task
from newsimg.reporting.console import console
from newsimg.reporting.index import report_index
from newsimg.storage.cached_models import find_hasher, find_image_hasher
from newsimg.storage.files import lock_folder
from newsimg.storage.models.checkpoints import check_positive
from newsimg.storage.text.suggest import check_choices

ACTIONS = ("build", "append", "remove")
ON_BAD_IMAGE = ("skip", "raise")


class IndexTask(Task):
    """Writes `vectors.faiss`, `images.parquet`, `rejected.parquet` and, last, `manifest.json`.

    A job that is stopped goes on where it was when it is started again. Memory does not grow with
    the collection, but for what the index itself needs.

    Args:
        index_dir: Where the index is to be.
        action: "build" anew; "append" the pictures whose ids are not in the index yet; or "remove"
            those of `image_ids`.
        image_ids: What to remove, by id or by path.
        on_changed: What becomes of a picture to append whose id the index has for other bytes:
            "raise" an error, "skip" it, or "replace" what the index has.
        on_bad_image: "skip" pictures that cannot be used, and list them, or "raise" an error.
        max_rejected: Share of the listed pictures that may be skipped.
        on_truncated: See `ValidationRules`.
        max_pixels: See `ValidationRules`.
        min_side: See `ValidationRules`.
        n_threads: Threads that read and decode beside the model.
        engine: Where the pictures are embedded.
        n_queries: Headlines or pictures that are searched for, to measure the index against an
            exact one.
        queries: A CSV of articles, or a text file with a headline in each line, to measure with;
            None: headlines of the data, or pictures where it has none.
        backbone: What is typed for the run's backbone, which the index is to tell of itself.

    Raises:
        ValueError: If an argument is not what it should be.
    """

    def __init__(
        self,
        *,
        index_dir: str,
        action: str,
        image_ids: list[str] | None,
        on_changed: str = "raise",
        on_bad_image: str,
        max_rejected: float,
        on_truncated: str,
        max_pixels: int,
        min_side: int,
        n_threads: int,
        engine: Engine,
        n_queries: int,
        queries: str | None = None,
        backbone: Sequence[str] = (),
    ) -> None:
        check_choices(
            {
                "task.action": (action, ACTIONS),
                "task.on_changed": (on_changed, ON_CHANGED),
                "task.on_bad_image": (on_bad_image, ON_BAD_IMAGE),
            }
        )
        if (action == "remove") != bool(image_ids):
            raise ValueError(
                f"task.image_ids is for task.action=remove, and it needs them; got {image_ids} "
                f"for {action}"
            )
        if not 0 <= max_rejected <= 1:
            raise ValueError(f"task.max_rejected must be in [0, 1], got {max_rejected}")
        check_positive("task", n_threads=n_threads, n_queries=n_queries)
        self.folder = Path(index_dir).expanduser().absolute()
        self.action = action
        self.image_ids = [str(image_id) for image_id in image_ids or []]
        self.on_changed = on_changed
        self.rules = ValidationRules(on_truncated, max_pixels, min_side)
        self.on_bad_image = on_bad_image
        self.max_rejected = max_rejected
        self.n_threads = n_threads
        self.engine = engine
        self.n_queries = n_queries
        self.queries = Path(queries).expanduser() if queries else None
        self.typed = list(backbone)

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `n_listed`, `n_images`, `n_rejected`, `n_removed`, `n_passed_over`, `bytes_per_vector`
            and, where it was measured, `recall_at_<top_k>`, `ms_single` and `ms_batched`; after
            "append" `n_added`, `n_changed` (known ids with other bytes) and `n_replaced`.

        Raises:
            ValueError: If the config's index cannot be kept in a file, another job is at work in
                the folder, or it holds an index and `action` is "build".
            FileNotFoundError: If there is no index to append to or remove from.
        """
        index = components.index
        if not isinstance(index, GrowingIndex):
            raise ValueError(f"index must be one that can be built, got {type(index).__name__}")
        with lock_folder(self.folder):
            staging = self.folder / ".building"
            if (staging / MANIFEST).is_file():  # a job was stopped between two of the last renames
                install(staging, self.folder, None)
                shutil.rmtree(staging)
                manifest = read_manifest(self.folder)
                if self.action == manifest["action"] == "build":
                    return report_index(self.folder, manifest)
            if self.action == "build" and (self.folder / MANIFEST).is_file():
                raise ValueError(
                    f"{self.folder} holds an index already: task.action=append adds to it; for a "
                    "new one choose another task.index_dir, or delete this one"
                )
            backbone, saved = components.backbone, None
            if self.action != "build":
                saved = open_saved_index(
                    self.folder,
                    backbone.fingerprint,
                    hasher=find_hasher(backbone),
                    description=backbone.description,
                )
                check_rows(saved, backbone)
                index.read(self.folder / "vectors.faiss")
            asked = embed_headlines(*self._find_headlines(components), backbone, self.n_queries)
            job = _Job(components, index, staging, output_dir, asked)
            if saved is None:
                return self._build(job)
            return (self._append if self.action == "append" else self._remove)(job, saved)

    def _find_headlines(self, components: Components) -> tuple[Sequence[Query], str]:
        """Return the headlines of `task.queries`, or else of the data, and where they are from."""
        if self.queries is None:
            return components.dataset.load_queries(), components.dataset.name
        return read_headlines(self.queries), str(self.queries)

    def _build(self, job: "_Job") -> dict[str, float]:
        dataset = job.components.dataset
        checkpoint, n_listed = self._collect(job, dataset.stream_images())
        if not checkpoint.n_accepted:
            raise ValueError(
                f"{dataset.name}: none of {n_listed} pictures can be used"
                + explain_rejected(checkpoint, job.output_dir)
            )
        embeddings = checkpoint.open_embeddings()
        console.print(f"indexing {len(embeddings)} pictures")
        train_index(job.index, embeddings)
        add_embeddings(job.index, embeddings, 0)
        write_tables(checkpoint.read_images(0), IMAGES, job.staging / "images.parquet")
        write_tables(checkpoint.read_rejected(), REJECTED, job.staging / "rejected.parquet")
        facts = {
            "collection": dataset.name,
            "dim": checkpoint.dim,
            "index": dict(job.index.numbers),
            "n_listed": n_listed,
            "n_rejected": checkpoint.n_rejected,
            "next_row_id": checkpoint.n_accepted,
            "passed_over": dict(checkpoint.passed_over.counts),
        }
        return self._finish(job, facts, embeddings)

    def _append(self, job: "_Job", saved: SavedIndex) -> dict[str, float]:
        images = Newcomers(
            job.components.dataset.stream_images(),
            saved,
            find_image_hasher(job.components.backbone),
            self.on_changed,
        )
        n_known = len(saved.images)
        checkpoint, n_listed = self._collect(job, iter(images))
        first = saved.manifest["next_row_id"]
        # What was changed and cannot be used any more does not cost the index what it has.
        replaced = images.changed.keys() & checkpoint.list_ids() if images.changed else set()
        job.index.remove(saved.images.row_ids[[images.changed[one] for one in sorted(replaced)]])
        add_embeddings(job.index, checkpoint.open_embeddings(), first)

        kept = read_kept_images(self.folder / "images.parquet", replaced)
        merged = chain(kept, checkpoint.read_images(first))
        write_tables(merged, IMAGES, job.staging / "images.parquet")
        rejected = merge_rejected(self.folder / "rejected.parquet", checkpoint)
        write_tables(rejected, REJECTED, job.staging / "rejected.parquet")
        facts = saved.manifest | {
            "n_listed": n_known + n_listed - len(replaced),
            "n_rejected": count_rejected(job.staging / "rejected.parquet"),
            "next_row_id": first + checkpoint.n_accepted,
            "passed_over": dict(checkpoint.passed_over.counts),
        }
        n_added = checkpoint.n_accepted - len(replaced)
        told = f"{n_known} pictures were there, {n_added} are added"
        if images.changed:
            told += f", {len(replaced)} of {len(images.changed)} with other bytes are replaced"
        console.print(told)
        counts = {"n_added": n_added, "n_changed": len(images.changed), "n_replaced": len(replaced)}
        return self._finish(job, facts) | counts

    def _remove(self, job: "_Job", saved: SavedIndex) -> dict[str, float]:
        rows = find_named(saved, self.image_ids)
        if len(rows) == len(saved.images):
            raise ValueError(f"removing all {len(rows)} pictures would leave no index: delete it")
        job.index.remove(saved.images.row_ids[rows])
        job.staging.mkdir(exist_ok=True)
        removed = {saved.images[row].image_id for row in rows}
        kept = read_kept_images(self.folder / "images.parquet", removed)
        write_tables(kept, IMAGES, job.staging / "images.parquet")
        shutil.copyfile(self.folder / "rejected.parquet", job.staging / "rejected.parquet")
        console.print(f"{len(rows)} pictures are removed")
        return self._finish(job, saved.manifest) | {"n_removed": len(rows)}

    def _collect(self, job: "_Job", images: Iterator[Listed]) -> tuple[BuildCheckpoint, int]:
        backbone = job.components.backbone
        identity = {
            "fingerprint": backbone.fingerprint,
            "rules": vars(self.rules),
            "action": self.action,
        }
        checkpoint = BuildCheckpoint(job.staging, identity)
        try:
            listing = collect(
                images,
                backbone,
                checkpoint,
                engine=self.engine,
                rules=self.rules,
                on_bad_image=self.on_bad_image,
                max_rejected=self.max_rejected,
                n_threads=self.n_threads,
            )
        except UnusableError as error:
            raise ValueError(f"{error}{explain_rejected(checkpoint, job.output_dir)}") from None
        return checkpoint, len(listing)

    def _finish(
        self, job: "_Job", facts: dict[str, Any], embeddings: FloatArray | None = None
    ) -> dict[str, float]:
        """Measure what is in memory, write it all, and let it take the place of what was there."""
        backbone, index = job.components.backbone, job.index
        index.write(job.staging / "vectors.faiss")
        saved = SavedIndex(job.staging, {}, index)
        numbers = (self.n_queries, job.components.top_k)
        measured = (
            measure_saved(saved, index, backbone, job.asked, *numbers)
            if embeddings is None
            else measure_built(saved, index, embeddings, job.asked, *numbers)
        )
        manifest = facts | {
            "action": self.action,
            "factory": facts["index"]["factory"],
            "rules": vars(self.rules),
            **describe_contents(saved, index, backbone, self.typed),
            **describe_quality(measured),
        }
        install(job.staging, self.folder, manifest)
        shutil.rmtree(job.staging)
        return report_index(self.folder, manifest)


@dataclass(frozen=True)
class _Job:
    """What the steps of one run have in common."""

    components: Components
    index: GrowingIndex
    staging: Path
    output_dir: Path
    asked: Asked | None
