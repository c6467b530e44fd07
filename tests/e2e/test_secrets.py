"""Secrets are sent to servers alone: a planted one is searched for in all that is written."""

import os
import zipfile

import pandas as pd
import pyarrow.parquet as pq
import pytest
from chat_server import serve

from newsimg.storage.files import user_cache_dir

pytestmark = pytest.mark.slow
CANARY = "canary-4711-swordfish"
RUNS = {
    "rewriter": ["reranker=llm_rewriting", "llm=openai", "llm.model=tiny"],
    "sweep": ["-m", "reranker=vlm_judge", "vlm=openai", "vlm.model=tiny", "weight.value=0,0.5"],
    "bad weight": ["reranker=vlm_judge", "vlm=openai", "vlm.model=tiny", "weight.value=2"],
    "no server": ["reranker=vlm_judge", "vlm=openai", "vlm.model=other", "vlm.server.retries=0"],
}


def read_all(folder):
    """Yield path and content of every file, unpacked where it is packed."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        yield path, path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield path, str(table.schema.metadata).encode() + table.to_pandas().to_csv().encode()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield path / name, archive.read(name)


def test_the_search_finds_what_is_packed(tmp_path):
    pd.DataFrame({"said": [CANARY] * 1000}).to_parquet(tmp_path / "table.parquet")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", CANARY * 10)
    found = {path.name for path, content in read_all(tmp_path) if CANARY.encode() in content}
    assert found == {"table.parquet", "inner.txt"}


@pytest.mark.parametrize("name", RUNS)
def test_keys_and_passwords_are_in_no_file_and_on_no_screen(
    name, newsimg, newsimg_here, tiny_options, tmp_path, monkeypatch
):
    with serve() as server:
        env = {
            "OPENAI_API_KEY": CANARY,
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1" if name == "no server" else server.url,
            "MLFLOW_TRACKING_URI": f"http://ada:{CANARY}@127.0.0.1:9",
            "HF_TOKEN": CANARY,
            "AWS_SECRET_ACCESS_KEY": CANARY,
        }
        options = [o for o in tiny_options if not o.startswith(("reranker=", "top_k="))]
        command = [*RUNS[name], *options, "top_k=2", "cache.dir=cache"]
        if name == "rewriter":  # captions are shared beside the cache, also with other tests
            command.append("reranker.captions_path=captions.jsonl")
        with monkeypatch.context() as patch:
            for variable, value in env.items():
                patch.setenv(variable, value)
            # The sweep in a process of its own, with what is sent by another beside it.
            result = newsimg(*command) if name == "sweep" else newsimg_here(*command)
        sent = [headers for _, headers in server.bodies]
    assert result.code == (2 if name in ("bad weight", "no server") else 0), result.output
    if result.code == 0:
        assert all(headers["Authorization"] == f"Bearer {CANARY}" for headers in sent)
        assert sent
    assert CANARY not in result.output + result.stderr
    written = [*read_all(tmp_path), *read_all(user_cache_dir())]
    assert len(written) > 3
    assert [path for path, content in written if CANARY.encode() in content] == []
    assert os.environ.get("OPENAI_API_KEY") != CANARY
