"""A tiny newsroom, a tiny CLIP and two ways to run the command line: all real, all made here."""

import contextlib
import csv
import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image as PILImage

import newsimg.tracking.sender  # sets MLflow's variables, not in one test alone
from newsimg.datatypes import Collection
from newsimg.storage.files import user_cache_dir

# Where the sample newsroom is kept between test runs, before the tests get caches of their own.
USER_CACHE = user_cache_dir()
ROOT = Path(__file__).resolve().parent.parent
N_ARTICLES = 60
HEADLINES = [
    'Minister calls it "a turning point", opposition disagrees',
    "Überschwemmung in Älvsund: Brücke gesperrt",
    "洪水で橋が閉鎖、住民が避難",
    "Ferry runs aground; all 120 aboard are safe, owner says",
    "Prices rise 3,5 % – what it means for tenants",
    "L'incendie gagne la forêt | des renforts arrivent",
]

os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for a hub
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads only hinder models as small as these
# Ray's workers would wait, at its niceness of 15, until the other tests leave them a processor.
os.environ.setdefault("RAY_worker_niceness", "0")
# A shell that runs the tests in the background has them, and all they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("MLFLOW_TRACKING_URI", "NEWSIMG_SWEEP_RECORD", "HYDRA_FULL_ERROR"):
    os.environ.pop(name, None)

hypothesis.settings.register_profile(
    "newsimg", derandomize=True, deadline=None, database=None, max_examples=60
)
hypothesis.settings.load_profile("newsimg")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache for each test process; what was drawn of the sample newsroom is not drawn again."""
    cache = tmp_path_factory.mktemp("cache")
    for manifest in USER_CACHE.glob("sample-newsroom-*/manifest.json"):
        (cache / manifest.parent.name).symlink_to(manifest.parent)
    os.environ["NEWSIMG_CACHE"] = str(cache)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """What a test, or what it imports, sets in the environment goes when the test does."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test writes to its working folder goes when the test does."""
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Newsroom:
    """Files in the benchmark's layout."""

    csv_path: Path
    image_dir: Path

    def load(self, **changes: object) -> Collection:
        """Load all articles, or what `changes` say."""
        from newsimg.data.newsimages import NewsImagesDataset

        arguments = {"split": "all", "subset": None, "seed": 28, "pool": "split"} | changes
        return NewsImagesDataset(
            name="tiny", csv_path=str(self.csv_path), image_dir=str(self.image_dir), **arguments
        ).load()


@pytest.fixture(scope="session")
def newsroom(tmp_path_factory: pytest.TempPathFactory) -> Newsroom:
    """Sixty articles with a picture each, 92x52, as JPEGs with extensions in both cases."""
    folder = tmp_path_factory.mktemp("newsroom")
    image_dir = folder / "newsimages"
    image_dir.mkdir()
    random = np.random.default_rng(0)
    rows = []
    for i in range(N_ARTICLES):
        patches = random.integers(0, 256, (4, 7, 3), dtype=np.uint8)
        picture = PILImage.fromarray(patches).resize((92, 52), PILImage.Resampling.NEAREST)
        picture.save(image_dir / f"{5000 + i}.{'JPG' if i % 3 else 'jpg'}", "JPEG", quality=90)
        title = f"{HEADLINES[i % len(HEADLINES)]} ({i})"
        tags = "Ada Berg;Émile Ngô|Red Cross" if i % 2 else ""
        rows.append([f"a{i}", f"https://news.example/{i}", title, tags, str(5000 + i), "https://x"])
    with (folder / "newsarticles.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["article_id", "article_url", "article_title", "article_tags", "image_id", "image_url"]
        )
        writer.writerows(rows)
    return Newsroom(folder / "newsarticles.csv", image_dir)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights, dim 16, with its tokenizer and image processor."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("models") / "clip"
    letters = [chr(c) for c in range(33, 127)] + [chr(c) for c in range(161, 324)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(c + "</w>" for c in letters)]
    vocab = {token: i for i, token in enumerate(tokens)}
    CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77).save_pretrained(folder)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = CLIPConfig(
        text_config=size
        | {"num_attention_heads": 4, "vocab_size": len(vocab), "max_position_embeddings": 77}
        | {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
        vision_config=size | {"num_attention_heads": 4, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear head on the tiny CLIP's embeddings."""
    from safetensors.numpy import save_file

    path = tmp_path_factory.mktemp("head") / "head.safetensors"
    weight = np.random.default_rng(1).normal(size=(1, 16)).astype(np.float32)
    save_file({"weight": weight, "bias": np.array([0.5], np.float32)}, path)
    return path


@pytest.fixture(scope="session")
def sample_newsroom() -> Path:
    """The folder of the full sample newsroom, drawn once in the user's cache."""
    from newsimg.sample.generator import ensure_newsroom

    return ensure_newsroom(USER_CACHE)


@pytest.fixture
def sample_cache(sample_newsroom: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make `data=sample` use the newsroom that is there already."""
    monkeypatch.setenv("NEWSIMG_CACHE", str(USER_CACHE))
    return USER_CACHE


@pytest.fixture(scope="session")
def tiny_options(newsroom: Newsroom, tiny_clip: Path) -> list[str]:
    """Overrides for a run over the tiny newsroom with the tiny CLIP and no reranker."""
    return [
        "data=newsimages",
        f"data.csv_path={newsroom.csv_path}",
        f"data.image_dir={newsroom.image_dir}",
        "data.split=all",
        f"backbone.model={tiny_clip}",
        "task.n_sheet_queries=0",
        "top_k=10",
        "reranker=identity",
    ]


@pytest.fixture(scope="session")
def tiny_aesthetics(tiny_options: list[str], tiny_clip: Path, tiny_head: Path) -> list[str]:
    """The same with the tiny head as the reranker."""
    head = [f"reranker.head={tiny_head}", f"reranker.backbone.model={tiny_clip}"]
    return [*tiny_options[:-1], "reranker=aesthetics", *head]


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit code."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """All that was printed."""
        return self.stdout + self.stderr


@pytest.fixture
def newsimg() -> Callable[..., Outcome]:
    """Run the command line in a process of its own, as a user does."""

    def run(*arguments: str, env: dict[str, str] | None = None) -> Outcome:
        search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", "newsimg.run", *arguments],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": search} | (env or {}),
            stdin=subprocess.DEVNULL,
            timeout=500,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def newsimg_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Outcome]]:
    """Run the command line in this process: the same entry point without the start-up time."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from newsimg.launch.builder import get_builder
    from newsimg.run import main

    def run(*arguments: str) -> Outcome:
        get_builder.cache_clear()  # what another run made may be bound to another folder
        out, err, code = io.StringIO(), io.StringIO(), 0
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["newsimg", *arguments])
            # This process has MLflow already; one beside each call would import it again.
            patch.setattr("newsimg.run.allow_background", contextlib.nullcontext)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                except SystemExit as stop:
                    code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
                    if isinstance(stop.code, str):
                        print(stop.code, file=err)
                finally:
                    GlobalHydra.instance().clear()
                    HydraConfig.instance().cfg = None
        return Outcome(code, out.getvalue(), err.getvalue())

    handlers = logging.root.handlers[:]
    with warnings.catch_warnings():
        yield run
    logging.captureWarnings(False)
    for handler in set(logging.root.handlers) - set(handlers):
        handler.close()
    logging.root.handlers[:] = handlers
