"""Task that downloads shards of YFCC100M as zip files with a Parquet file of metadata each.

The package yfcc100m (1.0.1) creates the same shards from the same bucket, but treats throttled
requests as missing pictures, restarts interrupted shards from the beginning, and needs numpy below
2; therefore it is not used here. Metadata files written by that package are reused.
"""

import hashlib
import shutil
from collections import Counter
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from newsimg.data.yfcc.s3 import Bucket, BucketError, RemoteObject, describe_bytes
from newsimg.data.yfcc.yfcc import (
    DATABASE_KEY,
    N_SHARDS,
    PICTURES,
    name_shards,
    read_rows,
    split_database,
    write_metadata,
)
from newsimg.data.yfcc.zip_fetch import ZipShard
from newsimg.interfaces import Components, RunInfo, Task
from newsimg.reporting.console import console, print_command, print_table, shorten_path
from newsimg.reporting.quoting import quote_value, write_command
from newsimg.storage.files import lock_folder, name_full_disk
from newsimg.storage.progress import Progress

CHUNK_BYTES = 1 << 23  # size of a request for a part of the database


class FetchTask(Task):
    """Writes `000.zip` and `000.parquet`, `001.zip` ... to a folder; complete shards are kept.

    An interrupted job is resumed when the same command is run again.

    Args:
        folder: Folder of the shards.
        n_shards: Number of shards, counted from the first; required. See `newsimg.data.yfcc.yfcc`
            for their sizes.
        bucket: Name of the bucket.
        region: Region of the bucket.
        endpoint_url: URL of an S3-compatible server; None for AWS.
        anonymous: Whether to send unsigned requests; else credentials of the
            environment or of the machine's role are used.
        database: SQLite database of all pictures, `yfcc100m_dataset.sql` (61 GiB); None to download
            it to `folder` if shards lack metadata.
        database_md5: Expected MD5 of a downloaded database; None to skip the check.
        metadata_dir: Folder of the shards' metadata, `000.gz` ...; None for `folder`/metadata.
        n_threads: Number of parallel downloads.
        n_attempts: Largest number of attempts per picture.
        timeout: Seconds without a response after which a connection is closed.
        dry_run: Only print the amount of data to be downloaded.

    Raises:
        ValueError: If an argument is out of range; names it.
    """

    parts = ()

    def __init__(
        self,
        *,
        folder: str,
        n_shards: int | None,
        bucket: str,
        region: str,
        endpoint_url: str | None,
        anonymous: bool,
        database: str | None,
        database_md5: str | None,
        metadata_dir: str | None,
        n_threads: int,
        n_attempts: int,
        timeout: float,
        dry_run: bool,
    ) -> None:
        if n_shards is None or not 1 <= n_shards <= N_SHARDS:
            raise ValueError(
                f"task.n_shards must be in [1, {N_SHARDS}], got {n_shards}; task.n_shards=250 "
                "downloads 380,000 pictures, 43 GiB, and the database of 61 GiB"
            )
        for name, number in (("n_threads", n_threads), ("n_attempts", n_attempts)):
            if number < 1:
                raise ValueError(f"task.{name} must be at least 1, got {number}")
        if not timeout > 0:
            raise ValueError(f"task.timeout must be above 0, got {timeout}")
        if endpoint_url is not None and not endpoint_url.startswith(("http://", "https://")):
            raise ValueError(
                f"task.endpoint_url must be an http(s) URL or null, got {endpoint_url!r}"
            )
        self.folder = Path(folder).expanduser()
        self.shards = name_shards(n_shards)
        self.bucket = bucket
        self.server = {"region": region, "endpoint_url": endpoint_url, "anonymous": anonymous}
        self.limits = {"n_threads": n_threads, "n_attempts": n_attempts, "timeout": timeout}
        self.own_database = database is not None
        self.database = Path(database or self.folder / Path(DATABASE_KEY).name).expanduser()
        self.database_md5 = database_md5
        self.metadata_dir = Path(metadata_dir or self.folder / "metadata").expanduser()
        self.dry_run = dry_run

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            The numbers of shards, of pictures and of pictures without metadata, and the bytes of
            all pictures and of this download.

        Raises:
            BucketError: If a download from the bucket fails.
            OSError: If there is not enough disk space.
            ValueError: If another job is using the folder, or the database is not that of YFCC100M.
        """
        bucket = Bucket(self.bucket, **self.server, **self.limits)  # type: ignore[arg-type]
        pool = ThreadPoolExecutor(bucket.n_threads)
        try:
            with lock_folder(self.folder), name_full_disk(self.folder):
                return self._run(bucket, pool, components.info)
        finally:
            pool.shutdown(cancel_futures=True)

    def _run(self, bucket: Bucket, pool: Executor, info: RunInfo) -> dict[str, float]:
        shards = self._list_shards(bucket, pool)
        unfinished = [
            one for one in shards if not (one.is_complete() and self._metadata_of(one).is_file())
        ]
        undescribed = [one for one in unfinished if not self._source_of(one).is_file()]
        database = self._find_database(bucket) if undescribed else None
        missing = [sum(one.size for one in shard.find_missing()) for shard in unfinished]
        n_bytes = sum(missing) + self._count_missing(database)
        console.print(
            f"{len(shards) - len(unfinished)} of {len(shards)} shards are complete; "
            f"{describe_bytes(n_bytes)} to download"
        )
        if self.dry_run:
            return {"n_shards": len(shards), "n_unfinished": len(unfinished), "n_missing": n_bytes}
        # While a shard is assembled, its parts take the same space again.
        self._check_space(n_bytes + max((shard.n_bytes for shard in unfinished), default=0))
        if undescribed:
            if database is not None:
                self._fetch_database(bucket, pool, database)
            split_database(self.database, self.metadata_dir, [one.path.stem for one in undescribed])
        with Progress("Fetching pictures", sum(missing), "B") as progress:
            for shard in unfinished:
                # The metadata is written first, so that a shard that exists is complete.
                rows = read_rows(self._source_of(shard))
                write_metadata(self._metadata_of(shard), shard.objects, rows)
                if not shard.is_complete():
                    shard.fetch(bucket, pool, progress.update)
        return self._report(shards, n_bytes, info)

    def _list_shards(self, bucket: Bucket, pool: Executor) -> list[ZipShard]:
        def list_one(name: str) -> ZipShard:
            objects = bucket.list_objects(f"{PICTURES}/{name}/")
            return ZipShard(self.folder / f"{name}.zip", objects)

        listed = pool.map(list_one, self.shards)
        shards = list(Progress("Listing shards", len(self.shards)).track(listed))
        if not any(shard.objects for shard in shards):
            last = self.shards[-1]
            raise BucketError(f"bucket {bucket.name} has no objects {PICTURES}/000/... to {last}")
        return shards

    def _metadata_of(self, shard: ZipShard) -> Path:
        return shard.path.with_suffix(".parquet")

    def _source_of(self, shard: ZipShard) -> Path:
        return self.metadata_dir / f"{shard.path.stem}.gz"

    def _find_database(self, bucket: Bucket) -> RemoteObject | None:
        """Return the database in the bucket, or None if there is a local one."""
        if self.database.is_file():
            return None
        if self.own_database:
            raise FileNotFoundError(f"no file task.database={self.database}")
        return bucket.find_object(DATABASE_KEY)

    def _part_of(self, database: RemoteObject) -> Path:
        # The etag in the name prevents resuming the download of another version.
        return self.database.with_name(f".{self.database.name}.{database.etag}.part")

    def _count_missing(self, database: RemoteObject | None) -> int:
        if database is None:
            return 0
        part = self._part_of(database)
        return database.size - (part.stat().st_size if part.is_file() else 0)

    def _check_space(self, n_bytes: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < n_bytes:
            raise OSError(
                f"{self.folder}: {describe_bytes(n_bytes)} needed, {describe_bytes(free)} free; "
                f"set a smaller task.n_shards, now {len(self.shards)}"
            )

    def _fetch_database(self, bucket: Bucket, pool: Executor, database: RemoteObject) -> None:
        """Download the database, resuming an interrupted download."""
        path = self._part_of(database)
        with path.open("ab") as file:
            start = file.tell() // CHUNK_BYTES * CHUNK_BYTES
            file.truncate(start)
            parts = [
                range(first, min(first + CHUNK_BYTES, database.size))
                for first in range(start, database.size, CHUNK_BYTES)
            ]
            with Progress("Fetching the database", database.size, "B", start) as progress:
                for content in bucket.read_all(pool, ((database, part) for part in parts)):
                    file.write(content)
                    progress.update(len(content))
        if self.database_md5 is not None:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            if found != self.database_md5:
                path.unlink()
                raise ValueError(
                    f"{database.key} must have MD5 task.database_md5={self.database_md5}, "
                    f"got {found}; the downloaded file was deleted"
                )
        path.replace(self.database)

    def _report(self, shards: list[ZipShard], n_fetched: int, info: RunInfo) -> dict[str, float]:
        """Print the number of pictures per licence, and return the metrics."""
        licences: Counter[str | None] = Counter()
        for shard in shards:
            licences.update(pd.read_parquet(self._metadata_of(shard))["licence"].fillna(""))
        table = pd.DataFrame(
            [(name or "(unknown)", count) for name, count in sorted(licences.items())],
            columns=["licence", "pictures"],
        )
        print_table(table, str(self.folder))
        where = quote_value(shorten_path(self.folder))
        settings = ["task=index", "data=collection_zip", f"data.folder={where}"]
        print_command("index them", write_command("newsimg", info, settings, ["task"]))
        return {
            "n_shards": len(shards),
            "n_images": licences.total(),
            "n_undescribed": licences[""],
            "n_bytes": sum(shard.n_bytes for shard in shards),
            "n_fetched": n_fetched,
        }
