"""Download of YFCC100M shards from a local S3 server, with faults and interruptions."""

import gzip
import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bucket_server import BUCKET, bucket_server

from newsimg.data.yfcc.s3 import Bucket, BucketError, RemoteObject
from newsimg.data.yfcc.zip_fetch import PART_BYTES
from newsimg.interfaces import Components
from newsimg.task.fetch import CHUNK_BYTES, FetchTask

N_SHARDS = 3  # the first is empty
# Photo ids whose URLs hash to these two shards.
PHOTOS = {
    "001": [187913, 305718, 767124, 1021850, 2503037, 3465762],
    "002": [721686, 2507791, 3764296, 6570500, 6868790, 7207487],
}
ELSEWHERE = [1, 2, 3]
COLUMNS = [
    *("photoid", "uid", "unickname", "datetaken", "dateuploaded", "capturedevice", "title"),
    *("description", "usertags", "machinetags", "longitude", "latitude", "accuracy", "pageurl"),
    *("downloadurl", "licensename", "licenseurl", "serverid", "farmid", "secret"),
    *("secretoriginal", "ext", "marker"),
]
LICENCES = ["Attribution License", "Attribution-NonCommercial License"]
DATABASE = "tools/etc/yfcc100m_dataset.sql"


NO_COMPONENTS = Components(*[None] * 6)  # type: ignore[arg-type]


def hash_as_the_package_does(url):
    """Hash like the package yfcc100m 1.0.1: pairs of hex digits without leading zeros."""
    digits = hashlib.md5(url.encode()).hexdigest()
    pairs = (digits[i : i + 2] for i in range(0, 32, 2))
    return "".join(pair[1] if pair[0] == "0" else pair for pair in pairs)


def describe(photo):
    row = dict.fromkeys(COLUMNS, "")
    return row | {
        "photoid": photo,
        "unickname": f"Zo%C3%AB+{photo}",
        "title": "Caf%C3%A9+%26+bar",
        "usertags": "new+york,caf%C3%A9",
        "pageurl": f"http://photos.example/{photo}/",
        "downloadurl": f"http://farm.example/{photo}.jpg",
        "licensename": LICENCES[photo % 2],
        "licenseurl": "http://licences.example/2.0/",
        "ext": "jpg",
        "marker": 0,
    }


def key_of(photo):
    name = hash_as_the_package_does(describe(photo)["downloadurl"])
    return f"data/images/{name[:3]}/{name[3:6]}/{name}.jpg"


KEYS = sorted(key_of(photo) for photos in PHOTOS.values() for photo in photos)


def write_database(path, filler=b""):
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE yfcc100m_dataset ({', '.join(COLUMNS)})")
        rows = [describe(one) for one in (*PHOTOS["002"], *ELSEWHERE, *PHOTOS["001"])]
        marks = ", ".join("?" * len(COLUMNS))
        values = [tuple(row.values()) for row in rows]
        connection.executemany(f"INSERT INTO yfcc100m_dataset VALUES ({marks})", values)
        connection.execute("CREATE TABLE filler (content)")
        connection.execute("INSERT INTO filler VALUES (?)", (filler,))
    connection.close()
    return path


@pytest.fixture(scope="module")
def moto():
    with bucket_server() as server:
        yield server


@pytest.fixture
def server(moto, newsroom, tmp_path):
    """A bucket with twelve small JPEGs in two shards, and the database."""
    moto.make_bucket()
    pictures = sorted(newsroom.image_dir.iterdir())
    for key, path in zip(KEYS, pictures, strict=False):
        moto.put(key, path.read_bytes())
    moto.put(DATABASE, write_database(tmp_path / "made.sql").read_bytes())
    yield moto
    moto.empty()


@pytest.fixture
def metadata(tmp_path):
    """The metadata folder that the package yfcc100m creates from the database."""
    folder = tmp_path / "meta"
    folder.mkdir()
    for number in range(N_SHARDS):
        name = f"{number:03x}"
        rows = [describe(photo) for photo in PHOTOS.get(name, [])]
        rows = [row | {"key": hash_as_the_package_does(row["downloadurl"])} for row in rows]
        with gzip.open(folder / f"{name}.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def arguments(server, **changes):
    return {
        "folder": "shards",
        "n_shards": N_SHARDS,
        "bucket": BUCKET,
        "region": "us-west-2",
        "endpoint_url": server.url,
        "anonymous": True,
        "database": None,
        "database_md5": None,
        "metadata_dir": None,
        "n_threads": 4,
        "n_attempts": 5,
        "timeout": 20,
        "dry_run": False,
    } | changes


def fetch(server, **changes):
    return FetchTask(**arguments(server, **changes)).run(NO_COMPONENTS, None)


def read_zips(folder="shards"):
    found = {}
    for path in sorted(Path(folder).glob("*.zip")):
        with zipfile.ZipFile(path) as file:
            assert file.testzip() is None
            found |= {name: file.read(name) for name in file.namelist()}
    return found


def read_bucket(server, prefix="data/images/"):
    listed = server.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    keys = [one["Key"] for one in listed]
    return {key: server.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def snapshot(folder="shards"):
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}


def test_shards_contain_the_pictures_and_tables_their_metadata(server):
    metrics = fetch(server)
    expected = read_bucket(server)
    assert read_zips() == expected
    assert len(expected) == 12
    assert metrics["n_images"] == 12
    assert metrics["n_undescribed"] == 0
    assert metrics["n_bytes"] == sum(map(len, expected.values()))
    zips = sorted(path.name for path in Path("shards").glob("*.zip"))
    assert zips == [f"{number:03x}.zip" for number in range(N_SHARDS)]
    for shard, photos in PHOTOS.items():
        table = pd.read_parquet(f"shards/{shard}.parquet").set_index("member")
        assert list(table.index) == sorted(map(key_of, photos))
        for photo in photos:
            row = table.loc[key_of(photo)]
            assert row["photo_id"] == str(photo)
            assert row["author"] == f"Zoë {photo}"
            assert row["title"] == "Café & bar"
            assert row["tags"] == "new york,café"
            assert row["licence"] == LICENCES[photo % 2]
            assert row["licence_url"] == "http://licences.example/2.0/"
            assert row["page_url"] == f"http://photos.example/{photo}/"


def test_complete_shards_are_not_fetched_again(server):
    fetch(server)
    before = snapshot()
    server.heal()
    metrics = fetch(server)
    assert not server.asked
    assert metrics["n_fetched"] == 0
    assert snapshot() == before


def test_more_shards_need_no_second_download_of_the_database(server):
    fetch(server, n_shards=2)
    assert set(read_zips()) == {key for key in KEYS if "/001/" in key}
    server.heal()
    fetch(server)
    assert set(server.asked) == {key for key in KEYS if "/002/" in key}
    assert read_zips() == read_bucket(server)


@pytest.mark.parametrize("fault", ["throttle", "short", "reset", "altered"])
def test_transient_faults_are_retried(server, metadata, fault):
    faulty = KEYS[:3] if fault == "throttle" else KEYS
    server.fault = lambda key, n_before: fault if key in faulty and not n_before else "none"
    fetch(server, metadata_dir=str(metadata))
    assert {key: server.asked[key] for key in KEYS} == {key: 1 + (key in faulty) for key in KEYS}
    assert read_zips() == read_bucket(server)


def test_a_permanent_fault_names_the_picture_and_leaves_no_partial_shard(server, metadata):
    server.fault = lambda key, n_before: "altered" if key == KEYS[-1] else "none"
    with pytest.raises(BucketError, match=f"{BUCKET} at .*{KEYS[-1]}: its MD5 is"):
        fetch(server, metadata_dir=str(metadata), n_attempts=2)
    assert server.asked[KEYS[-1]] == 2
    assert Path("shards/001.zip").is_file()
    assert not Path("shards/002.zip").exists()
    server.heal()
    fetch(server, metadata_dir=str(metadata))
    assert not [key for key in server.asked if "/001/" in key]
    assert read_zips() == read_bucket(server)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_job_is_resumed(server, metadata, how):
    random = np.random.default_rng(0)
    size = PART_BYTES // 2  # two large pictures per part
    large = [f"data/images/000/000/{number}.jpg" for number in range(8)]
    for key in large:
        server.put(key, random.bytes(size))
    options = arguments(server, metadata_dir=str(metadata), n_shards=1, n_threads=1)
    script = f"""
from newsimg.interfaces import Components
from newsimg.task.fetch import FetchTask
FetchTask(**{options!r}).run(Components(*[None] * 6), None)
"""
    search = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    job = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": search},
        stderr=subprocess.PIPE,
    )
    # Reads are one or two ahead of writes: at the seventh read, two parts are written.
    server.on_read = lambda key: job.send_signal(how) if key == large[6] else None
    _, errors = job.communicate(timeout=60)
    assert job.returncode == (-how if how == signal.SIGKILL else -signal.SIGINT), errors
    assert not Path("shards/000.zip").exists()
    parts = sorted(Path("shards/.fetching/000").glob("*.zip"))
    kept = [name for path in parts for name in zipfile.ZipFile(path).namelist()]
    assert kept[:4] == large[:4]
    server.heal()
    fetch(server, metadata_dir=str(metadata), n_shards=1)
    assert sorted(server.asked) == [key for key in large if key not in kept]
    assert read_zips() == read_bucket(server, "data/images/000/")
    assert not any(Path("shards/.fetching").iterdir())


def test_a_shard_that_changed_on_the_server_is_updated(server):
    fetch(server)
    server.put(KEYS[0], b"another picture")
    server.client.delete_object(Bucket=BUCKET, Key=KEYS[1])
    server.put(KEYS[2][:-5] + "0.jpg", b"a new one")
    server.heal()
    metrics = fetch(server)
    assert set(server.asked) == {KEYS[0], KEYS[2][:-5] + "0.jpg"}
    assert read_zips() == read_bucket(server)
    assert metrics["n_undescribed"] == 1  # the new picture is not in the database


def test_a_damaged_shard_is_fetched_again(server, caplog):
    fetch(server)
    path = Path("shards/001.zip")
    path.write_bytes(path.read_bytes()[:-100])
    fetch(server)
    assert f"{path} is damaged" in caplog.text
    assert read_zips() == read_bucket(server)


def test_an_object_that_changed_since_it_was_listed_is_rejected(server):
    options = arguments(server)
    names = ("region", "endpoint_url", "anonymous", "n_threads", "n_attempts", "timeout")
    bucket = Bucket(BUCKET, **{name: options[name] for name in names})
    with pytest.raises(BucketError, match="changed since it was listed"):
        bucket.read(RemoteObject(KEYS[0], 10, "0" * 32))


def test_a_wrong_bucket_is_named_in_the_error(server, metadata):
    with pytest.raises(BucketError, match=r"bucket nowhere at .*bucket does not exist"):
        fetch(server, bucket="nowhere")
    server.make_bucket("other")
    with pytest.raises(BucketError, match=r"bucket other has no objects data/images/000/\.\.\. to"):
        fetch(server, bucket="other")
    server.put(KEYS[0], b"private", acl="private")
    with pytest.raises(BucketError, match=f"{KEYS[0]}.*task.anonymous=false"):
        fetch(server, metadata_dir=str(metadata))


def test_a_full_disk_leaves_no_partial_files(server, metadata):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    server.put(KEYS[0], bytes(300_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            fetch(server, metadata_dir=str(metadata))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not Path("shards/001.zip").exists()
    assert [path.name for path in Path("shards").rglob(".0*")] == []
    fetch(server, metadata_dir=str(metadata))
    assert read_zips() == read_bucket(server)


def test_insufficient_disk_space_is_reported_before_fetching(server, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(OSError, match=r"KiB needed, 1 B free; set a smaller task.n_shards"):
        fetch(server)
    assert not server.asked


def test_a_dry_run_fetches_nothing(server):
    metrics = fetch(server, dry_run=True)
    sizes = server.client.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert metrics["n_missing"] == sum(one["Size"] for one in sizes)
    assert metrics["n_unfinished"] == N_SHARDS
    assert not server.asked
    assert [path.name for path in Path("shards").iterdir()] == [".lock"]


def test_a_second_job_in_the_folder_is_rejected(server):
    server.on_read = lambda key: seen.append(_refusal(server)) if not seen else None
    seen = []
    fetch(server)
    assert seen == ["another job is at work in shards"]


def _refusal(server):
    with pytest.raises(ValueError, match="another job") as error:
        fetch(server)
    return str(error.value)


def test_the_download_of_the_database_is_resumed_and_verified(server, tmp_path):
    filler = np.random.default_rng(0).bytes(2 * CHUNK_BYTES)
    content = write_database(tmp_path / "large.sql", filler).read_bytes()
    server.put(DATABASE, content)
    digest = hashlib.md5(content).hexdigest()
    with pytest.raises(ValueError, match=f"must have MD5 task.database_md5=1234, got {digest}"):
        fetch(server, database_md5="1234")
    assert not list(Path("shards").glob(".*.part"))
    # A killed job leaves a chunk and the beginning of the next one.
    Path(f"shards/.yfcc100m_dataset.sql.{digest}.part").write_bytes(content[: CHUNK_BYTES + 99])
    server.heal()
    server.fault = lambda key, n_before: "reset" if key == DATABASE and not n_before else "none"
    fetch(server, database_md5=digest)
    n_chunks = -(-len(content) // CHUNK_BYTES) - 1
    assert server.asked[DATABASE] == n_chunks + 1
    assert Path("shards/yfcc100m_dataset.sql").read_bytes() == content
    assert read_zips() == read_bucket(server)


def test_metadata_of_the_package_yfcc100m_are_used(server, metadata):
    fetch(server)
    fetch(server, folder="others", metadata_dir=str(metadata))
    assert not Path("others/yfcc100m_dataset.sql").exists()
    for shard in PHOTOS:
        ours, others = (pd.read_parquet(f"{one}/{shard}.parquet") for one in ("shards", "others"))
        pd.testing.assert_frame_equal(ours, others)


def test_a_file_that_is_not_the_database_is_rejected(server, tmp_path):
    (tmp_path / "no.sql").write_bytes(b"no database" * 1000)
    with pytest.raises(ValueError, match=r"cannot read the database .*no\.sql"):
        fetch(server, database=str(tmp_path / "no.sql"))
    with sqlite3.connect(tmp_path / "other.sql") as connection:
        connection.execute("CREATE TABLE yfcc100m_dataset (photoid, title)")
    with pytest.raises(
        ValueError, match=r"other\.sql has no column datetaken, .*downloadurl, licensename"
    ):
        fetch(server, database=str(tmp_path / "other.sql"))
    with pytest.raises(FileNotFoundError, match=r"no file task\.database=none"):
        fetch(server, database="none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_shards": None}, r"task.n_shards must be in \[1, 4096\], got None; task.n_shards=250"),
        ({"n_shards": 0}, r"task.n_shards must be in \[1, 4096\], got 0"),
        ({"n_shards": 4097}, r"task.n_shards must be in \[1, 4096\], got 4097"),
        ({"n_threads": 0}, "task.n_threads must be at least 1, got 0"),
        ({"n_attempts": 0}, "task.n_attempts must be at least 1, got 0"),
        ({"timeout": 0}, "task.timeout must be above 0, got 0"),
        ({"endpoint_url": "here"}, "task.endpoint_url must be an http"),
    ],
)
def test_an_invalid_argument_is_named(moto, changes, message):
    with pytest.raises(ValueError, match=message):
        FetchTask(**arguments(moto, **changes))


def test_results_contain_credits_with_the_commands_of_the_readme(
    server, newsimg_here, tiny_clip, sample_cache
):
    page = Path(__file__).parents[3] / "newsimg" / "data" / "yfcc" / "README.md"
    section = page.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```console\n(.*?)^```", section, re.M | re.S)
    (licences,) = re.findall(r"`'(data.licences=.*?)'`", section)
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    here = [f"task.endpoint_url={server.url}", f"task.bucket={BUCKET}", "task.database_md5=null"]
    for fetching in commands[:2]:
        fetching[:] = ["task.n_shards=3" if "n_shards" in one else one for one in fetching] + here
    commands[2].append(licences)
    quick = ["tracking=none", "cache.dir=cache", f"backbone.model={tiny_clip}", "top_k=8"]
    quick.append("reranker=identity")
    for arguments in (*commands[:3], [*commands[3], "hydra.run.dir=found"]):
        result = newsimg_here(*arguments, *quick)
        assert result.code == 0, result.output
        if arguments is commands[0]:
            assert "0 of 3 shards are complete" in result.stdout
        if arguments is commands[1]:
            assert re.search(r"Attribution License +8\b", result.stdout)
        if arguments is commands[2]:
            assert "4 of 12 pictures are excluded" in result.stdout
    found = pd.read_parquet("found/results.parquet")
    credited = {
        key_of(photo): (LICENCES[0], f"Zoë {photo}", f"http://photos.example/{photo}/")
        for photos in PHOTOS.values()
        for photo in photos
        if photo % 2 == 0
    }
    rows = zip(found["licence"], found["author"], found["page_url"], strict=True)
    assert dict(zip(found["member"], rows, strict=True)) == credited
