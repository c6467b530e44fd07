"""The cache: rows are computed once, in spite of killed processes and damaged files."""

import hashlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from newsimg.storage.cache import OutputCache
from newsimg.storage.cache_entries import UNKNOWN, verify_entry
from newsimg.storage.key_table import MIN_RECENT, KeyTable
from newsimg.storage.shards import (
    GROUP_ROWS,
    MERGE_AT,
    ShardFolder,
    digest_key,
    from_bytes,
    to_bytes,
)

N_ITEMS, WIDTH, BATCH = 60, 4, 5

# Run in a subprocess: computes rows slowly and logs every computed item.
WRITER = f"""
import sys, time
from pathlib import Path
import numpy as np
from newsimg.storage.cache import OutputCache
from newsimg.storage.cache_entries import UNKNOWN, verify_entry

folder, notes, delay = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

def compute(batch):
    with notes.open("a") as file:
        file.write("".join(f"{{i}}\\n" for i in batch))
    time.sleep(delay)
    return np.array([[i, i / 7, i**0.5, -i] for i in batch], dtype=np.float32)

rows = OutputCache(folder).get_or_compute(
    "embeddings", "model", [f"key {{i}}" for i in range({N_ITEMS})], compute, "", {BATCH}
)
sys.stdout.buffer.write(rows.tobytes())
"""


def expected_rows() -> np.ndarray:
    return np.array([[i, i / 7, i**0.5, -i] for i in range(N_ITEMS)], dtype=np.float32)


def start_writer(folder: Path, notes: Path, delay: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(folder), str(notes), str(delay)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def compute_rows(batch: list[int]) -> np.ndarray:
    return expected_rows()[batch]


def get_rows(cache: OutputCache, compute=compute_rows) -> np.ndarray:
    keys = [f"key {i}" for i in range(N_ITEMS)]
    return cache.get_or_compute("embeddings", "model", keys, compute, "", BATCH)


def refuse(batch: list[int]) -> np.ndarray:
    raise AssertionError(f"computed {batch} again")


def test_cached_rows_are_identical_and_in_the_requested_order(tmp_path):
    get_rows(OutputCache(tmp_path))
    requested = [3, 1, 3, 59]
    rows = OutputCache(tmp_path).get_or_compute(
        "embeddings", "model", [f"key {i}" for i in requested], refuse, ""
    )
    np.testing.assert_array_equal(rows, expected_rows()[requested])


def test_a_duplicate_key_is_computed_once(tmp_path):
    computed: list[int] = []

    def compute(batch):
        computed.extend(batch)
        return np.ones((len(batch), 2), np.float32)

    OutputCache(tmp_path).get_or_compute("scores", "model", ["a", "b", "a"], compute, "")
    assert len(computed) == 2


def test_rows_are_not_shared_between_models_or_kinds(tmp_path):
    cache = OutputCache(tmp_path)
    get_rows(cache)
    for kind, model in (("embeddings", "model 2"), ("scores", "model")):
        rows = cache.get_or_compute(
            kind, model, ["key 1"], lambda batch: np.zeros((len(batch), 1), np.float32), ""
        )
        assert rows.tolist() == [[0.0]]


def test_computed_and_reused_rows_are_counted(tmp_path):
    cache = OutputCache(tmp_path)
    get_rows(cache)
    assert cache.counts["cache/embeddings_computed"] == N_ITEMS
    cache.reset_counts()
    get_rows(cache)
    assert cache.counts["cache/embeddings_computed"] == 0
    assert cache.counts["cache/embeddings_reused"] == N_ITEMS


def test_batches_of_a_stream_are_cached_and_counted_without_tracking_keys(tmp_path):
    cache = OutputCache(tmp_path)
    for start in range(0, N_ITEMS, BATCH):
        numbers = range(start, start + BATCH)
        keys = [f"key {i}" for i in numbers]
        rows = cache.compute_batch(
            "embeddings", "model", keys, lambda batch, first=start: expected_rows()[first:][batch]
        )
        np.testing.assert_array_equal(rows, expected_rows()[numbers])
    assert cache.n_needed == 0  # a stream may have hundreds of millions of keys
    assert cache.counts["cache/embeddings_computed"] == N_ITEMS
    assert len(list(tmp_path.rglob("*.parquet"))) == N_ITEMS / BATCH
    cache.compact()
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    np.testing.assert_array_equal(get_rows(OutputCache(tmp_path), refuse), expected_rows())


@pytest.mark.slow
def test_a_process_killed_at_any_time_loses_at_most_one_batch(tmp_path):
    chance = random.Random(28)
    kills = 20
    for attempt in range(kills):
        folder, notes = tmp_path / f"cache{attempt}", tmp_path / f"notes{attempt}"
        writer = start_writer(folder, notes, 0.02)
        while not notes.exists() and writer.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.3))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        computed_before = len(notes.read_text().splitlines())
        again = start_writer(folder, notes, 0)
        output, errors = again.communicate()
        assert again.returncode == 0, errors.decode()
        assert output == expected_rows().tobytes()
        computed = len(notes.read_text().splitlines())
        assert computed <= N_ITEMS + BATCH, f"{computed_before} before the kill"
        np.testing.assert_array_equal(get_rows(OutputCache(folder), refuse), expected_rows())


def test_two_processes_on_an_empty_cache_compute_each_row_once(tmp_path):
    notes = [tmp_path / "notes0", tmp_path / "notes1"]
    writers = [start_writer(tmp_path / "cache", path, 0.01) for path in notes]
    for writer in writers:
        output, errors = writer.communicate()
        assert writer.returncode == 0, errors.decode()
        assert output == expected_rows().tobytes()
    computed = [i for path in notes if path.exists() for i in path.read_text().splitlines()]
    assert sorted(map(int, computed)) == list(range(N_ITEMS))
    np.testing.assert_array_equal(
        get_rows(OutputCache(tmp_path / "cache"), refuse), expected_rows()
    )


@pytest.mark.parametrize("damage", ["bit flip", "truncation", "empty"])
def test_a_damaged_file_is_renamed_and_its_rows_are_computed_again(tmp_path, caplog, damage):
    get_rows(OutputCache(tmp_path))
    (path,) = tmp_path.rglob("*.parquet")
    content = bytearray(path.read_bytes())
    if damage == "bit flip":
        content[len(content) // 2] ^= 1
    path.write_bytes({"truncation": content[:-20], "empty": b""}.get(damage, content))
    with caplog.at_level(logging.WARNING):
        rows = get_rows(cache := OutputCache(tmp_path))
    np.testing.assert_array_equal(rows, expected_rows())
    assert cache.counts["cache/embeddings_computed"] == N_ITEMS
    assert path.with_suffix(".damaged").exists()
    assert path.stem in caplog.text


@pytest.mark.slow
def test_rows_are_correct_after_any_bit_flip(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    get_rows(OutputCache(tmp_path))
    (path,) = tmp_path.rglob("*.parquet")
    content = path.read_bytes()
    n_aside = 0
    for place in np.random.default_rng(0).permutation(8 * len(content))[:400]:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert [entry.model for entry in OutputCache(tmp_path).list_entries()] == ["model"]
        np.testing.assert_array_equal(get_rows(OutputCache(tmp_path)), expected_rows())
        n_aside += path.with_suffix(".damaged").exists()
        for written in path.parent.glob("*.[pd]a*"):
            written.unlink()
    assert n_aside > 200  # the other bits are metadata, such as the writer's name


def test_verify_detects_damage_that_reading_does_not(tmp_path, caplog):
    get_rows(OutputCache(tmp_path))
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes().replace(b"parquet-cpp", b"parquet-cpq"))
    get_rows(cache := OutputCache(tmp_path), refuse)
    (entry,) = cache.list_entries()
    assert verify_entry(entry) == 1
    assert not path.exists()
    get_rows(OutputCache(tmp_path))
    assert verify_entry(entry) == 0


def test_of_many_keys_each_is_found_where_it_was_put_last():
    random = np.random.default_rng(0)
    table, expected = KeyTable(), {}
    keys = [random.bytes(32) for _ in range(3 * MIN_RECENT)]
    for first in range(0, 5 * MIN_RECENT, 1000):
        some = [keys[i] for i in random.integers(0, len(keys), 1000)]
        if first % 7:
            table.add(some, first)
        else:
            table.add_blocks([(b"".join(some[:400]), first), (b"".join(some[400:]), first + 400)])
        expected |= {key: first + i for i, key in enumerate(some)}
    assert table.find(keys).tolist() == [expected.get(key, -1) for key in keys]
    assert KeyTable().find([]).tolist() == []
    assert KeyTable().find(keys[:2]).tolist() == [-1, -1]


def test_small_files_are_merged(tmp_path):
    folder = ShardFolder(tmp_path)
    rows = to_bytes(np.arange(3 * MERGE_AT, dtype=np.float32)[:, None])
    for i, row in enumerate(rows):
        folder.add({digest_key(str(i)): row})
    assert len(list(tmp_path.glob("*.parquet"))) < MERGE_AT
    folder.merge()
    keys = [digest_key(str(i)) for i in range(3 * MERGE_AT)]
    values = from_bytes(ShardFolder(tmp_path).read(keys))
    assert values[:, 0].tolist() == list(range(3 * MERGE_AT))


def test_a_reader_finds_rows_merged_by_another_process(tmp_path):
    writer, reader = ShardFolder(tmp_path), ShardFolder(tmp_path)
    keys = [digest_key("a"), digest_key("b")]
    writer.add({keys[0]: b"1234"})
    assert reader.read(keys) == [b"1234", None]
    writer.add({keys[1]: b"5678"})
    writer.merge()
    assert reader.read(keys) == [b"1234", b"5678"]


def test_a_reader_finds_rows_whose_file_was_merged(tmp_path):
    writer, reader = ShardFolder(tmp_path), ShardFolder(tmp_path)
    for key in "abc":
        writer.add({digest_key(key): key.encode() * 4})
    reader.read([digest_key("a")])
    writer.merge()  # deletes the files that the reader has listed
    assert reader.read([digest_key(key) for key in "cab"]) == [b"cccc", b"aaaa", b"bbbb"]


def test_rows_of_a_large_file_are_read_in_any_order(tmp_path):
    n_rows = 3 * GROUP_ROWS + 5
    values = np.arange(n_rows, dtype=np.float32)[:, None]
    keys = [digest_key(str(i)) for i in range(n_rows)]
    ShardFolder(tmp_path).add(dict(zip(keys, to_bytes(values), strict=True)))
    fresh = ShardFolder(tmp_path)
    order = np.random.default_rng(0).permutation(n_rows)
    rows = from_bytes(fresh.read([keys[i] for i in order]))
    assert rows[:, 0].tolist() == order.tolist()


def test_a_full_disk_is_a_clear_error_and_leaves_no_partial_file(tmp_path):
    limited = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
    )
    command = [sys.executable, "-c", limited + WRITER, str(tmp_path), os.devnull, "0"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "cannot write to the cache (File too large); set cache.dir" in result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "model" not in path.name]
    np.testing.assert_array_equal(get_rows(OutputCache(tmp_path)), expected_rows())


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to change the user")
def test_a_read_only_folder_is_a_clear_error(tmp_path):
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents:  # give the other user access to the cache
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    become = "import numpy, os, newsimg.storage.cache\nos.setuid(65534)\n"
    command = [sys.executable, "-c", become + WRITER, str(tmp_path / "s"), os.devnull, "0"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Permission denied" in result.stderr
    assert "cache.dir" in result.stderr


# Run in a subprocess as another user: reads a cache without write permission.
READER = """
import logging, os, sys
from pathlib import Path
import newsimg.storage.cache, newsimg.interfaces, numpy, pyarrow.dataset
os.setuid(65534)
logging.basicConfig()
cache = newsimg.storage.cache.OutputCache(Path(sys.argv[1]))
for path in sys.argv[2:]:
    print(cache.hash_files([Path(path)])[0])
rows = cache.get_or_compute("embeddings", "model", [f"key {i}" for i in range(60)], None, "")
cache.compact()
print(rows.tobytes().hex())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to change the user")
def test_a_warm_cache_works_read_only_and_at_another_path(tmp_path):
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"one")
    os.utime(picture, (1, 1))
    cache = OutputCache(tmp_path / "cache")
    get_rows(cache)
    cache.hash_files([picture])
    places = [tmp_path / "moved.jpg", tmp_path / "moved too.jpg"]
    for place in places:
        shutil.copy2(picture, place)
    copy = shutil.copytree(tmp_path / "cache", tmp_path / "copy")
    for path in [tmp_path, *tmp_path.parents]:  # give the other user access to the cache
        if path.stat().st_uid == 0 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    command = [sys.executable, "-c", READER, str(copy), *map(str, places)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    digest = hashlib.sha256(b"one").hexdigest()
    assert result.stdout.split() == [digest, digest, expected_rows().tobytes().hex()]
    (warning,) = result.stderr.splitlines()
    assert "each run computes them again" in warning
    assert "Permission denied" in warning


def test_a_file_is_hashed_again_only_if_it_changed(tmp_path, monkeypatch):
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"one")
    os.utime(picture, (1, 1))
    cache = OutputCache(tmp_path / "cache")
    first = cache.hash_files([picture])
    reads: list[Path] = []
    import newsimg.storage.cache as module

    original = module.hash_file
    monkeypatch.setattr(module, "hash_file", lambda path: (reads.append(path), original(path))[1])
    assert OutputCache(tmp_path / "cache").hash_files([picture]) == first
    assert reads == []
    picture.write_bytes(b"two")
    assert OutputCache(tmp_path / "cache").hash_files([picture]) != first
    assert reads == [picture]


def test_the_folder_of_a_model_contains_its_fingerprint(tmp_path):
    get_rows(OutputCache(tmp_path))
    (path,) = tmp_path.rglob("model.json")
    assert json.loads(path.read_text()) == {"fingerprint": "model"}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"fingerprint": 3}', b"\xff", b"[" * 99999]
)
def test_a_damaged_model_json_is_reported_renamed_and_written_again(tmp_path, caplog, content):
    get_rows(OutputCache(tmp_path))
    (path,) = tmp_path.rglob("model.json")
    path.write_bytes(content)
    (entry,) = OutputCache(tmp_path).list_entries()
    assert (entry.model, entry.n_items) == (UNKNOWN, N_ITEMS)
    assert str(path) in caplog.text
    assert verify_entry(entry) == 1
    assert path.with_suffix(".damaged").read_bytes() == content
    OutputCache(tmp_path).get_or_compute(
        "embeddings", "model", ["new"], lambda _: np.ones((1, 4)), ""
    )
    assert [entry.model for entry in OutputCache(tmp_path).list_entries()] == ["model"]
