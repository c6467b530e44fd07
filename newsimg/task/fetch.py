"""Fetch YFCC100M: the first of its 4,096 shards as zip files, with what is known of each picture.

The package yfcc100m (1.0.1) makes the same shards of the same bucket, but takes a picture that is
refused for the moment for one that is missing, begins a stopped shard again, and needs numpy below
2; so newsimg does it itself. What that package wrote of the metadata is used where it lies.
"""

import hashlib
import shutil
from collections import Counter
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm import tqdm

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
from newsimg.interfaces import Components, Task
from newsimg.reporting.console import console, print_table
from newsimg.storage.files import lock_folder

CHUNK_BYTES = 1 << 23  # of the database, read at once


class FetchTask(Task):
    """Makes `000.zip` and `000.parquet`, `001.zip` ... in a folder; what is whole stays as it is.

    A job that was stopped goes on when the same command is given again.

    Args:
        folder: Where the shards go.
        n_shards: How many of the first shards; see `newsimg.data.yfcc.yfcc` on their sizes. Must
            be given.
        bucket: The bucket's name.
        region: Its region.
        endpoint_url: Another server than AWS, of S3's protocol; null: AWS.
        anonymous: Ask without credentials; false: with those of the environment or of the
            machine's role.
        database: The database of all pictures, `yfcc100m_dataset.sql` (61 GiB); null: fetched into
            `folder` when shards lack their metadata.
        database_md5: What a fetched database must hash to; null: anything.
        metadata_dir: Where the shards' own metadata is, `000.gz` ...; null: `folder`/metadata.
        n_threads: Transfers at a time.
        n_attempts: How often a picture is asked for at most.
        timeout: Seconds without an answer after which a connection counts as broken.
        dry_run: Only say what is yet to be fetched.

    Raises:
        ValueError: If an argument is not what it should be; names it.
    """

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
                f"task.n_shards must be in [1, {N_SHARDS}], got {n_shards}; task.n_shards=250 are "
                "380,000 pictures, 43 GiB beside the 61 GiB of the database"
            )
        for name, number in (("n_threads", n_threads), ("n_attempts", n_attempts)):
            if number < 1:
                raise ValueError(f"task.{name} must be at least 1, got {number}")
        if not timeout > 0:
            raise ValueError(f"task.timeout must be above 0, got {timeout}")
        if endpoint_url is not None and not endpoint_url.startswith(("http://", "https://")):
            raise ValueError(
                f"task.endpoint_url must be an http(s) address or null, got {endpoint_url!r}"
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
            The number of shards and their pictures, those without metadata, bytes of all pictures
            and of those that were fetched.

        Raises:
            BucketError: If the bucket does not give what is asked for.
            OSError: If the disk has too little room.
            ValueError: If another job is at work in the folder, or the database is not that of
                YFCC100M.
        """
        bucket = Bucket(self.bucket, **self.server, **self.limits)  # type: ignore[arg-type]
        pool = ThreadPoolExecutor(bucket.n_threads)
        try:
            with lock_folder(self.folder):
                return self._run(bucket, pool)
        finally:
            pool.shutdown(cancel_futures=True)

    def _run(self, bucket: Bucket, pool: Executor) -> dict[str, float]:
        shards = self._list_shards(bucket, pool)
        unfinished = [
            one for one in shards if not (one.is_whole() and self._metadata_of(one).is_file())
        ]
        undescribed = [one for one in unfinished if not self._source_of(one).is_file()]
        database = self._find_database(bucket) if undescribed else None
        missing = [sum(one.size for one in shard.find_missing()) for shard in unfinished]
        n_bytes = sum(missing) + self._count_missing(database)
        console.print(
            f"{len(shards) - len(unfinished)} of {len(shards)} shards are whole; "
            f"{describe_bytes(n_bytes)} to fetch"
        )
        if self.dry_run:
            return {"n_shards": len(shards), "n_unfinished": len(unfinished), "n_missing": n_bytes}
        # While a shard is put together, its parts lie beside it.
        self._check_space(n_bytes + max((shard.n_bytes for shard in unfinished), default=0))
        if undescribed:
            if database is not None:
                self._fetch_database(bucket, pool, database)
            split_database(self.database, self.metadata_dir, [one.path.stem for one in undescribed])
        with tqdm(
            total=sum(missing), desc="pictures", unit="B", unit_scale=True, disable=None
        ) as bar:
            for shard in unfinished:
                bar.set_postfix_str(shard.path.name)
                # The metadata first: a shard that is there is complete.
                rows = read_rows(self._source_of(shard))
                write_metadata(self._metadata_of(shard), shard.objects, rows)
                if not shard.is_whole():
                    shard.fetch(bucket, pool, bar.update)
        return self._report(shards, n_bytes)

    def _list_shards(self, bucket: Bucket, pool: Executor) -> list[ZipShard]:
        def list_one(name: str) -> ZipShard:
            objects = bucket.list_objects(f"{PICTURES}/{name}/")
            return ZipShard(self.folder / f"{name}.zip", objects)

        listed = pool.map(list_one, self.shards)
        bar = tqdm(listed, "listing", len(self.shards), unit=" shards", disable=None, leave=False)
        shards = list(bar)
        if not any(shard.objects for shard in shards):
            last = self.shards[-1]
            raise BucketError(f"bucket {bucket.name} has no {PICTURES}/000/... to .../{last}/...")
        return shards

    def _metadata_of(self, shard: ZipShard) -> Path:
        return shard.path.with_suffix(".parquet")

    def _source_of(self, shard: ZipShard) -> Path:
        return self.metadata_dir / f"{shard.path.stem}.gz"

    def _find_database(self, bucket: Bucket) -> RemoteObject | None:
        """Return the database on the server, if there is none here."""
        if self.database.is_file():
            return None
        if self.own_database:
            raise FileNotFoundError(f"no database {self.database}")
        return bucket.find_object(DATABASE_KEY)

    def _part_of(self, database: RemoteObject) -> Path:
        # With the etag, what is left of another version is never continued.
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
                f"{self.folder}: {describe_bytes(n_bytes)} are needed, {describe_bytes(free)} are "
                f"free; fewer shards: task.n_shards, now {len(self.shards)}"
            )

    def _fetch_database(self, bucket: Bucket, pool: Executor, database: RemoteObject) -> None:
        """Fetch the database, from where the last job was stopped."""
        path = self._part_of(database)
        with path.open("ab") as file:
            start = file.tell() // CHUNK_BYTES * CHUNK_BYTES
            file.truncate(start)
            parts = [
                range(first, min(first + CHUNK_BYTES, database.size))
                for first in range(start, database.size, CHUNK_BYTES)
            ]
            with tqdm(
                total=database.size,
                initial=start,
                desc="database",
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar:
                for content in bucket.read_all(pool, ((database, part) for part in parts)):
                    file.write(content)
                    bar.update(len(content))
        if self.database_md5 is not None:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            if found != self.database_md5:
                path.unlink()
                raise ValueError(
                    f"{database.key} must have MD5 task.database_md5={self.database_md5}, "
                    f"got {found}; what was fetched is deleted"
                )
        path.replace(self.database)

    def _report(self, shards: list[ZipShard], n_fetched: int) -> dict[str, float]:
        """Print which licences the pictures have, and return the counts."""
        licences: Counter[str | None] = Counter()
        for shard in shards:
            licences.update(pd.read_parquet(self._metadata_of(shard))["licence"].fillna(""))
        table = pd.DataFrame(
            [(name or "(unknown)", count) for name, count in sorted(licences.items())],
            columns=["licence", "pictures"],
        )
        print_table(table, str(self.folder))
        where = f"data=collection_zip data.folder={self.folder}"
        console.print(f"make them searchable  newsimg task=index {where}")
        return {
            "n_shards": len(shards),
            "n_images": licences.total(),
            "n_undescribed": licences[""],
            "n_bytes": sum(shard.n_bytes for shard in shards),
            "n_fetched": n_fetched,
        }
