"""Task that embeds a collection of pictures and saves an index of them in a folder."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from newsimg.data.articles import read_headlines
from newsimg.datatypes import FloatArray, Listed, Query
from newsimg.engine.validation import check_rules
from newsimg.index.base import GrowingIndex
from newsimg.index.building.build import (
    QuerySample,
    add_embeddings,
    describe_contents,
    describe_quality,
    embed_headlines,
    measure_built,
    measure_saved,
    merge_rejected,
    read_remaining_images,
    train_index,
)
from newsimg.index.building.change import ON_CHANGED, NewImages, find_rows
from newsimg.index.building.checkpoint import (
    IMAGES,
    REJECTED,
    BuildCheckpoint,
    count_rejected,
    explain_rejected,
    write_tables,
)
from newsimg.index.building.embedding import TooManyRejectedError, embed_collection
from newsimg.index.building.imported import ImportedVectors
from newsimg.index.folder import (
    MANIFEST,
    SavedIndex,
    check_rows,
    install_files,
    open_saved_index,
    read_manifest,
)
from newsimg.interfaces import Backbone, Components, Engine, Task
from newsimg.reporting.console import console
from newsimg.reporting.index import describe_import, report_index
from newsimg.storage.cached_models import hash_files, hash_images
from newsimg.storage.files import lock_folder
from newsimg.storage.models.checkpoints import check_positive
from newsimg.storage.progress import announce
from newsimg.storage.text.suggest import check_choices

ACTIONS = ("build", "append", "remove", "import")
NEW = ("build", "import")  # actions that make an index
ON_BAD_IMAGE = ("skip", "raise")


class IndexTask(Task):
    """Builds or changes a saved index.

    Writes `vectors.faiss`, `images.parquet`, `rejected.parquet` and, last, `manifest.json`. An
    interrupted job is resumed when it is started again. Apart from the index itself, memory does
    not grow with the size of the collection.

    Args:
        index_dir: Folder of the index.
        action: "build" a new index, "append" pictures whose ids are not in the index, "remove" the
            pictures of `image_ids`, or "import" a new index, see `ImportedVectors`.
        import_path: FAISS index to import; its rows are the pictures of the data, in their order.
        image_ids: Pictures to remove, by id or path.
        on_changed: Treatment of pictures to append with a known id and other bytes: "raise" an
            error, "skip" them, or "replace" the indexed ones.
        on_bad_image: "skip" and list pictures that cannot be used, or "raise" an error.
        max_rejected: Largest share of pictures that may be rejected.
        on_truncated: See `ValidationRules`.
        max_pixels: See `ValidationRules`.
        min_side: See `ValidationRules`.
        n_threads: Number of threads that read and decode pictures.
        engine: Engine that embeds the pictures.
        n_queries: Number of queries with which recall and search time are measured.
        queries: A CSV of articles or a text file with one headline per line to use as queries;
            None for the headlines of the data, or for pictures of the index if there are none.
        backbone_overrides: Overrides that select the run's backbone, saved in the manifest.

    Raises:
        ValueError: If an argument is out of range.
    """

    parts = ("backbone",)

    def __init__(
        self,
        *,
        index_dir: str,
        action: str,
        import_path: str | None = None,
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
        backbone_overrides: Sequence[str] = (),
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
                "task.image_ids must be given if and only if task.action=remove, got "
                f"task.image_ids={image_ids} and task.action={action}"
            )
        if (action == "import") != bool(import_path):
            raise ValueError(
                "task.import_path must be given if and only if task.action=import, got "
                f"task.import_path={import_path} and task.action={action}"
            )
        if not 0 <= max_rejected <= 1:
            raise ValueError(f"task.max_rejected must be in [0, 1], got {max_rejected}")
        check_positive("task", n_threads=n_threads, n_queries=n_queries)
        self.folder = Path(index_dir).expanduser().absolute()
        self.action = action
        self.import_path = Path(import_path).expanduser() if import_path else None
        self.image_ids = [str(image_id) for image_id in image_ids or []]
        self.on_changed = on_changed
        self.rules = check_rules(on_truncated, max_pixels, min_side)
        self.on_bad_image = on_bad_image
        self.max_rejected = max_rejected
        self.n_threads = n_threads
        self.engine = engine
        self.n_queries = n_queries
        self.queries = Path(queries).expanduser() if queries else None
        self.typed = list(backbone_overrides)

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `n_listed`, `n_images`, `n_rejected`, `n_removed`, `n_skipped`, `bytes_per_vector`
            and, if measured, `recall_at_<top_k>`, `ms_single` and `ms_batched`; after "append" also
            `n_added`, `n_changed` (known ids with other bytes) and `n_replaced`.

        Raises:
            ValueError: If the configured index cannot be saved, another job is using the folder, or
                the folder holds an index and `action` is "build".
            FileNotFoundError: If there is no index to append to or remove from.
        """
        index = components.index
        if not isinstance(index, GrowingIndex):
            raise ValueError(
                "task=index needs an index that can be built and saved, e.g. index=auto, got "
                f"{type(index).__name__}"
            )
        with lock_folder(self.folder):
            staging = self.folder / ".building"
            if (staging / MANIFEST).is_file():  # a job was stopped while it installed files
                install_files(staging, self.folder, None)
                shutil.rmtree(staging)
                manifest = read_manifest(self.folder)
                if self.action == manifest["action"] and self.action in NEW:
                    return report_index(self.folder, manifest, components.info)
            if self.action in NEW and (self.folder / MANIFEST).is_file():
                raise ValueError(
                    f"{self.folder} already holds an index: use task.action=append to add to it, "
                    "or choose another task.index_dir, or delete the folder"
                )
            backbone, saved = components.backbone, None
            if self.action not in NEW:
                saved = open_saved_index(
                    self.folder,
                    backbone.fingerprint,
                    hasher=partial(hash_files, backbone),
                    description=backbone.description,
                )
                check_rows(saved, backbone)
                index.read(self.folder / "vectors.faiss")
            headlines, source = self._load_headlines(components)
            query_sample = embed_headlines(headlines, source, backbone, self.n_queries)
            job = _Job(components, index, staging, output_dir, query_sample)
            if saved is None:
                return self._build(job)
            return (self._append if self.action == "append" else self._remove)(job, saved)

    def _load_headlines(self, components: Components) -> tuple[Sequence[Query], str]:
        """Return the headlines of `task.queries`, or else of the data, and their source."""
        if self.queries is None:
            return components.dataset.load_queries(), components.dataset.name
        return read_headlines(self.queries), str(self.queries)

    def _build(self, job: "_Job") -> dict[str, float]:
        dataset = job.components.dataset
        images, backbone = dataset.stream_images(), job.components.backbone
        imported: dict[str, Any] = {}
        if self.import_path:
            backbone = ImportedVectors(self.import_path, images, backbone)
            images, imported = iter(backbone.listed), {"imported": backbone.facts}
            console.print(describe_import(backbone.facts))
        checkpoint, n_listed = self._embed(job, images, backbone)
        if not checkpoint.n_accepted:
            raise ValueError(
                f"{dataset.name}: none of {n_listed} pictures can be used"
                + explain_rejected(checkpoint, job.output_dir)
            )
        embeddings = checkpoint.open_embeddings()
        console.print(f"indexing {len(embeddings)} pictures")
        announce("making the index")
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
            "skipped": dict(checkpoint.skipped.counts),
            **imported,
        }
        return self._finish(job, facts, embeddings)

    def _append(self, job: "_Job", saved: SavedIndex) -> dict[str, float]:
        images = NewImages(
            job.components.dataset.stream_images(),
            saved,
            partial(hash_images, job.components.backbone),
            self.on_changed,
        )
        n_known = len(saved.images)
        checkpoint, n_listed = self._embed(
            job, iter(images), job.components.backbone, lambda: images.n_known
        )
        first = saved.manifest["next_row_id"]
        # A changed picture that is now rejected does not replace the indexed one.
        replaced = images.changed.keys() & checkpoint.list_ids() if images.changed else set()
        job.index.remove(saved.images.row_ids[[images.changed[one] for one in sorted(replaced)]])
        add_embeddings(job.index, checkpoint.open_embeddings(), first)

        remaining = read_remaining_images(self.folder / "images.parquet", replaced)
        merged = chain(remaining, checkpoint.read_images(first))
        write_tables(merged, IMAGES, job.staging / "images.parquet")
        rejected = merge_rejected(self.folder / "rejected.parquet", checkpoint)
        write_tables(rejected, REJECTED, job.staging / "rejected.parquet")
        facts = saved.manifest | {
            "n_listed": n_known + n_listed - len(replaced),
            "n_rejected": count_rejected(job.staging / "rejected.parquet"),
            "next_row_id": first + checkpoint.n_accepted,
            "skipped": dict(checkpoint.skipped.counts),
        }
        n_added = checkpoint.n_accepted - len(replaced)
        summary = f"{n_added} pictures added to {n_known}"
        if images.changed:
            summary += f", {len(replaced)} of {len(images.changed)} changed pictures replaced"
        console.print(summary)
        counts = {"n_added": n_added, "n_changed": len(images.changed), "n_replaced": len(replaced)}
        return self._finish(job, facts) | counts

    def _remove(self, job: "_Job", saved: SavedIndex) -> dict[str, float]:
        rows = find_rows(saved, self.image_ids)
        if len(rows) == len(saved.images):
            raise ValueError(
                f"task.image_ids names all {len(rows)} pictures of {self.folder}: delete the "
                "folder instead"
            )
        job.index.remove(saved.images.row_ids[rows])
        job.staging.mkdir(exist_ok=True)
        removed = {saved.images[row].image_id for row in rows}
        remaining = read_remaining_images(self.folder / "images.parquet", removed)
        write_tables(remaining, IMAGES, job.staging / "images.parquet")
        shutil.copyfile(self.folder / "rejected.parquet", job.staging / "rejected.parquet")
        console.print(f"{len(rows)} pictures removed")
        return self._finish(job, saved.manifest) | {"n_removed": len(rows)}

    def _embed(
        self,
        job: "_Job",
        images: Iterator[Listed],
        backbone: Backbone,
        count_known: Callable[[], int] = int,
    ) -> tuple[BuildCheckpoint, int]:
        identity = {
            "fingerprint": backbone.fingerprint,
            "rules": vars(self.rules),
            "action": self.action,
            "columns": IMAGES.names,
        }
        checkpoint = BuildCheckpoint(job.staging, identity)
        try:
            listing = embed_collection(
                images,
                backbone,
                checkpoint,
                engine=self.engine,
                rules=self.rules,
                on_bad_image=self.on_bad_image,
                max_rejected=self.max_rejected,
                n_threads=self.n_threads,
                count_known=count_known,
            )
        except TooManyRejectedError as error:
            raise ValueError(f"{error}{explain_rejected(checkpoint, job.output_dir)}") from None
        return checkpoint, len(listing)

    def _finish(
        self, job: "_Job", facts: dict[str, Any], embeddings: FloatArray | None = None
    ) -> dict[str, float]:
        """Write the index, measure it and replace the previous files."""
        backbone, index = job.components.backbone, job.index
        announce("measuring the index")
        index.write(job.staging / "vectors.faiss")
        saved = SavedIndex(job.staging, {}, index)
        numbers = (self.n_queries, job.components.top_k)
        measured = (
            measure_saved(saved, index, backbone, job.query_sample, *numbers)
            if embeddings is None
            else measure_built(saved, index, embeddings, job.query_sample, *numbers)
        )
        manifest = facts | {
            "action": self.action,
            "factory": facts["index"]["factory"],
            "rules": vars(self.rules),
            **describe_contents(saved, index, backbone, self.typed),
            **describe_quality(measured),
        }
        install_files(job.staging, self.folder, manifest)
        shutil.rmtree(job.staging)
        return report_index(self.folder, manifest, job.components.info)


@dataclass(frozen=True)
class _Job:
    """State shared by the steps of one run."""

    components: Components
    index: GrowingIndex
    staging: Path
    output_dir: Path
    query_sample: QuerySample | None
