"""The aesthetics reranker: LAION's own reference embeddings, and what it does with pictures."""

import hashlib
import http.server
import os
import pickle
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import Candidates, FloatArray, Image
from newsimg.interfaces import Backbone
from newsimg.reranker.aesthetics import AestheticsReranker, load_head
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone

ROOT = Path(__file__).resolve().parents[2]
LAION = ROOT.parent / "shared" / "data" / "laion-aesthetics"
WEIGHT = np.float32([[1.0, -2.0, 0.5]])
BIAS = np.float32([3.0])


class TableBackbone(Backbone):
    """Embeds a picture as the row of a table that its id names, and notes what it was asked for."""

    query_template = "{title}"
    batch_size = 4
    fingerprint = "table"

    def __init__(self, table: FloatArray) -> None:
        self.table = table
        self.asked: list[str] = []

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        raise NotImplementedError

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        self.asked += [image.image_id for image in images]
        return self.table[[int(image.image_id) for image in images]]


def make_candidates(rows: Any, n_images: int = 6) -> Candidates:
    images = tuple(Image(str(i), Path(f"{i}.jpg")) for i in range(n_images))
    rows = np.array(rows, np.int64)
    scores = np.zeros(rows.shape, np.float32)
    return Candidates(images, rows, scores, {"retrieval": scores})


@pytest.fixture
def head(tmp_path: Path) -> Path:
    save_file({"weight": WEIGHT, "bias": BIAS}, tmp_path / "head.safetensors")
    return tmp_path / "head.safetensors"


@pytest.mark.parametrize(
    ("size", "dim", "lowest", "highest"),
    [("b_32", 512, -1.47, 11.01), ("l_14", 768, -2.46, 11.30)],
)
def test_laions_reference_embeddings_rise_from_the_worst_to_the_best(
    size: str, dim: int, lowest: float, highest: float
) -> None:
    folder = LAION / f"vit_{size}_embeddings"
    if not folder.is_dir():
        pytest.skip("LAION's reference embeddings are not beside the repository")
    table = np.concatenate(
        [np.load(folder / f"rating{i}.npy").reshape(1, dim).astype(np.float32) for i in range(10)]
    )
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, atol=1e-3)
    path = LAION / f"sa_0_4_vit_{size}_linear.pth"
    pinned = {"b_32": "c7b14cead230", "l_14": "2cd4e60f4f24"}[size]
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(pinned)
    reranker = AestheticsReranker(backbone=TableBackbone(table), head=str(path))
    (scores,) = reranker.score([], make_candidates([range(10)], 10)).values
    assert (np.diff(scores) > 0).all()
    np.testing.assert_allclose(scores[[0, -1]], [lowest, highest], atol=0.005)


def test_a_score_is_the_heads_line_over_the_embedding_of_its_candidate(head: Path) -> None:
    table = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    rows = [[5, 0, 2], [2, 4, 5]]
    reranker = AestheticsReranker(backbone=TableBackbone(table), head=str(head))
    scores = reranker.score([], make_candidates(rows)).values
    expected = [[table[row] @ WEIGHT[0] + 3.0 for row in line] for line in rows]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_every_distinct_picture_is_embedded_once(head: Path) -> None:
    backbone = TableBackbone(np.ones((6, 3), np.float32))
    AestheticsReranker(backbone=backbone, head=str(head)).score(
        [], make_candidates([[5, 0], [0, 5], [2, 5]])
    )
    assert sorted(backbone.asked) == ["0", "2", "5"]


def test_a_score_does_not_depend_on_the_other_candidates(head: Path) -> None:
    table = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    reranker = AestheticsReranker(backbone=TableBackbone(table), head=str(head))
    (together,) = reranker.score([], make_candidates([[1, 2, 3, 4]])).values
    alone = [reranker.score([], make_candidates([[row]])).values[0, 0] for row in (1, 2, 3, 4)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_pictures_that_the_runs_own_backbone_has_embedded_are_not_embedded_again(
    newsroom: Any, tiny_clip: Path, tiny_head: Path, tmp_path: Path
) -> None:
    def make(**changes: Any) -> CachedBackbone:
        arguments: dict[str, Any] = {
            "model": str(tiny_clip),
            "revision": "main",
            "dtype": "float32",
            "device": "cpu",
            "batch_size": 16,
            "text_padding": "longest",
            "text_length": 48,
            "query_template": "{title}",
        }
        return CachedBackbone(TransformersBackbone(**arguments | changes), cache)

    cache = OutputCache(tmp_path / "cache")
    images = newsroom.load().images
    candidates = make_candidates([[3, 1], [1, 7]], len(images))
    candidates = Candidates(images, candidates.rows, candidates.scores, candidates.parts)
    make().embed_images(images)
    assert cache.counts["cache/embeddings_computed"] == len(images)
    AestheticsReranker(backbone=make(batch_size=2), head=str(tiny_head)).score([], candidates)
    assert cache.counts["cache/embeddings_computed"] == len(images)
    other = AestheticsReranker(backbone=make(dtype="bfloat16"), head=str(tiny_head))
    other.score([], candidates)
    assert cache.counts["cache/embeddings_computed"] == len(images) + 3


def test_a_head_for_another_dim_is_refused_with_both(head: Path) -> None:
    reranker = AestheticsReranker(backbone=TableBackbone(np.ones((6, 5), "f4")), head=str(head))
    with pytest.raises(ValueError, match=r"head\.safetensors.* dim 3.* dim 5"):
        reranker.score([], make_candidates([[0]]))


@pytest.mark.parametrize(
    "state",
    [
        {"weight": np.ones((2, 3), "f4"), "bias": np.ones(1, "f4")},
        {"weight": np.ones(3, "f4"), "bias": np.ones(1, "f4")},
        {"weight": np.ones((1, 3), "f4")},
        {"weight": np.ones((1, 3), "f4"), "bias": np.ones(1, "f4"), "more": np.ones(1, "f4")},
        {"0.weight": np.ones((2, 3), "f4"), "0.bias": np.ones(2, "f4")},
    ],
)
def test_a_file_that_is_not_one_linear_layer_is_refused(
    state: dict[str, np.ndarray], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "a.safetensors")
    torch.save({name: torch.from_numpy(a) for name, a in state.items()}, tmp_path / "a.pth")
    for path in (tmp_path / "a.safetensors", tmp_path / "a.pth"):
        with pytest.raises(ValueError, match=r"must hold weight \(1, dim\) and bias \(1,\)"):
            load_head(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_heads_of_any_float_are_read_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    from safetensors.torch import save_file as save_tensors

    state = {"weight": torch.from_numpy(WEIGHT).to(dtype), "bias": torch.from_numpy(BIAS).to(dtype)}
    torch.save(state, tmp_path / "a.pth")
    save_tensors(state, tmp_path / "a.safetensors")
    for path in (tmp_path / "a.pth", tmp_path / "a.safetensors"):
        weight, bias = load_head(path)
        assert weight.dtype == np.float32
        np.testing.assert_array_equal(weight, WEIGHT[0])
        assert bias == BIAS[0]


class Exploit:
    """Runs a command when it is unpickled, if the reader lets it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_head_with_code_in_it_is_refused_and_the_code_is_not_run(
    legacy: bool, tmp_path: Path
) -> None:
    state = {"weight": torch.ones(1, 3), "bias": torch.ones(1), "x": Exploit(tmp_path / "mark")}
    if legacy:
        (tmp_path / "head.pth").write_bytes(pickle.dumps(state))
    else:
        torch.save(state, tmp_path / "head.pth")
    backbone = TableBackbone(np.ones((6, 3), np.float32))
    reranker = AestheticsReranker(backbone=backbone, head=str(tmp_path / "head.pth"))
    with pytest.raises(ValueError, match=r"head\.pth"):
        reranker.score([], make_candidates([[0]]))
    assert not (tmp_path / "mark").exists()


@pytest.fixture
def server(head: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the head's folder on the loopback interface, and note each request."""
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, directory=str(head.parent), **kwargs)

        def log_message(self, *args: Any) -> None:
            requests.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", requests
        running.shutdown()
        thread.join()


def download(url: str, sha256: str | None) -> FloatArray:
    backbone = TableBackbone(np.float32([[1, 1, 1]]))
    reranker = AestheticsReranker(backbone=backbone, head=url, sha256=sha256)
    return reranker.score([], make_candidates([[0]], 1)).values


def test_a_head_is_downloaded_once_into_the_cache(
    server: Any, head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, requests = server
    monkeypatch.setenv("NEWSIMG_CACHE", str(tmp_path / "cache"))
    digest = hashlib.sha256(head.read_bytes()).hexdigest()
    for _ in range(2):
        np.testing.assert_allclose(download(f"{url}/head.safetensors", digest), [[2.5]])
    assert requests == ["/head.safetensors"]
    (kept,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert kept.read_bytes() == head.read_bytes()


def test_a_download_of_other_bytes_is_refused_and_not_kept(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = server
    monkeypatch.setenv("NEWSIMG_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=rf"{url}/head.safetensors must have sha256 0{{64}}, got"):
        download(f"{url}/head.safetensors", "0" * 64)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_cached_file_that_has_changed_since_is_refused(
    server: Any, head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = server
    monkeypatch.setenv("NEWSIMG_CACHE", str(tmp_path / "cache"))
    digest = hashlib.sha256(head.read_bytes()).hexdigest()
    download(f"{url}/head.safetensors", digest)
    (kept,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="must have sha256"):
        download(f"{url}/head.safetensors", digest)


def test_a_download_without_a_hash_is_refused_before_it_begins(server: Any) -> None:
    url, requests = server
    with pytest.raises(ValueError, match="needs the sha256"):
        download(f"{url}/head.safetensors", None)
    assert requests == []


def test_a_download_that_fails_names_its_address(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = server
    monkeypatch.setenv("NEWSIMG_CACHE", str(tmp_path / "cache"))
    with pytest.raises(OSError, match=rf"{url}/nothing\.pth.*404"):
        download(f"{url}/nothing.pth", "0" * 64)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_local_head_is_checked_where_a_hash_is_given(head: Path) -> None:
    np.testing.assert_allclose(download(str(head), None), [[2.5]])
    np.testing.assert_allclose(
        download(str(head), hashlib.sha256(head.read_bytes()).hexdigest().upper()), [[2.5]]
    )
    with pytest.raises(ValueError, match=rf"{head} must have sha256 0{{64}}"):
        download(str(head), "0" * 64)
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.pth"):
        download(str(head.parent / "nowhere.pth"), None)


def test_linear_layers_without_activations_are_one_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = [(3, 5), (5, 4), (4, 1)]
    layers = [torch.nn.Linear(*size) for size in sizes]
    head = torch.nn.Sequential(
        layers[0], torch.nn.Dropout(), layers[1], torch.nn.Dropout(), layers[2]
    )
    for prefix in ("layers.", "scoring_head."):
        state = {f"{prefix}{name}": value for name, value in head.state_dict().items()}
        torch.save(state, tmp_path / "head.pth")
        weight, bias = load_head(tmp_path / "head.pth")
        rows = torch.randn(7, 3)
        expected = head.eval()(rows)[:, 0].detach().numpy()
        np.testing.assert_allclose(rows.numpy() @ weight + bias, expected, atol=1e-6)


def test_layers_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    state = {"0.weight": torch.ones(4, 3), "0.bias": torch.ones(4)}
    state |= {"2.weight": torch.ones(1, 5), "2.bias": torch.ones(1)}
    torch.save(state, tmp_path / "head.pth")
    with pytest.raises(ValueError, match="or linear layers that end in one output, got"):
        load_head(tmp_path / "head.pth")
