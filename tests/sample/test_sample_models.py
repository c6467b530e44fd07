"""The sample's small CLIP and aesthetics head: loading, size and quality."""

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from platformdirs import user_cache_path
from safetensors.numpy import load_file
from scipy.stats import spearmanr
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

import newsimg.sample.scenes as sample_scenes
from newsimg.sample.generator import ensure_newsroom
from newsimg.sample.pictures import save_picture
from newsimg.sample.scenes import DEFECTS, Scene, scene_from_row, training_scenes
from newsimg.sample.training.captions import literal_caption
from newsimg.sample.training.training_data import read_pixels

SAMPLE_DIR = Path(sample_scenes.__file__).parent
CLIP_DIR = SAMPLE_DIR / "clip"
FloatArray = NDArray[np.float32]


class SmallClip:
    """The saved model, loaded with transformers' Auto classes only."""

    def __init__(self) -> None:
        self.model = AutoModel.from_pretrained(CLIP_DIR).float().eval()
        self.tokenizer = AutoTokenizer.from_pretrained(CLIP_DIR)
        self.processor = AutoImageProcessor.from_pretrained(CLIP_DIR)
        head = load_file(SAMPLE_DIR / "aesthetics" / "head.safetensors")
        self.weight, self.bias = head["weight"], head["bias"]

    def embed_texts(self, texts: list[str]) -> FloatArray:
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        tokens.pop("token_type_ids", None)
        with torch.inference_mode():
            return self._unit(self.model.get_text_features(**tokens).pooler_output)

    def embed_images(self, images: list[Image.Image]) -> FloatArray:
        with torch.inference_mode():
            inputs = self.processor(images=images, return_tensors="pt")
            return self._unit(self.model.get_image_features(**inputs).pooler_output)

    def embed_files(self, paths: list[Path]) -> FloatArray:
        chunks = []
        for first in range(0, len(paths), 100):
            images = [Image.open(path).convert("RGB") for path in paths[first : first + 100]]
            chunks.append(self.embed_images(images))
        return np.concatenate(chunks)

    def rate(self, embeddings: FloatArray) -> FloatArray:
        scores: FloatArray = (embeddings @ self.weight.T + self.bias)[:, 0]
        return scores

    @staticmethod
    def _unit(output: torch.Tensor) -> FloatArray:
        rows: FloatArray = torch.nn.functional.normalize(output, dim=-1).numpy()
        return rows


@pytest.fixture(scope="session")
def clip() -> SmallClip:
    """The small CLIP and its head."""
    return SmallClip()


@pytest.fixture(scope="session")
def splits(clip: SmallClip) -> dict[str, dict[str, Any]]:
    """Embeddings of the newsroom's validation and test split, 400 articles each."""
    folder = ensure_newsroom(user_cache_path("newsimg"))
    articles = pd.read_csv(folder / "newsarticles.csv", dtype=str, keep_default_na=False)
    with (folder / "scenes.csv").open(encoding="utf-8", newline="") as file:
        scenes = {row["image_id"]: scene_from_row(row) for row in csv.DictReader(file)}
    shuffled = articles.sample(frac=1, random_state=28)
    result = {}
    for name, rows in {"val": shuffled[3200:3600], "test": shuffled[3600:]}.items():
        images = clip.embed_files([folder / "newsimages" / f"{i}.jpg" for i in rows["image_id"]])
        result[name] = {
            "images": images,
            "headlines": clip.embed_texts(list(rows["article_title"])),
            "captions": clip.embed_texts([literal_caption(scenes[i]) for i in rows["image_id"]]),
            "scores": clip.rate(images),
            "scenes": [scenes[i] for i in rows["image_id"]],
        }
    return result


def hits_at_1(split: dict[str, Any], queries: str = "headlines", weight: float = 0.0) -> float:
    """Re-rank the best 25 by (1 - w) l1(cosine) + w l1(score), one query at a time."""
    hits = 0
    for row, query in enumerate(split[queries]):
        cosines = split["images"] @ query
        best = np.argsort(-cosines, kind="stable")[:25]
        retrieval = cosines[best] / np.abs(cosines[best]).sum()
        rerank = split["scores"][best] / np.abs(split["scores"][best]).sum()
        fused = (1 - weight) * retrieval + weight * rerank
        hits += best[np.argsort(-fused, kind="stable")[0]] == row
    return hits / len(split[queries])


def test_the_folder_loads_with_the_auto_classes_without_warnings(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    model = AutoModel.from_pretrained(CLIP_DIR)
    tokenizer = AutoTokenizer.from_pretrained(CLIP_DIR)
    processor = AutoImageProcessor.from_pretrained(CLIP_DIR)
    assert type(model).__name__ == "CLIPModel"
    assert tokenizer.is_fast
    assert "CLIPImageProcessor" in type(processor).__name__
    assert not [w for w in recwarn if "deprecat" not in str(w.message).lower()]
    assert "warn" not in capfd.readouterr().err.lower()


def test_weights_are_float16_and_the_folder_is_at_most_4_mb() -> None:
    tensors = load_file(CLIP_DIR / "model.safetensors")
    kinds = {str(t.dtype) for name, t in tensors.items() if "position_ids" not in name}
    assert kinds == {"float16"}
    assert sum(path.stat().st_size for path in CLIP_DIR.iterdir()) <= 4_000_000


def test_the_head_has_one_float32_row_of_the_embedding_dim(clip: SmallClip) -> None:
    assert clip.weight.shape == (1, clip.model.config.projection_dim)
    assert clip.bias.shape == (1,)
    assert clip.weight.dtype == clip.bias.dtype == np.float32


def test_the_end_token_of_tokenizer_and_model_agree(clip: SmallClip) -> None:
    config = clip.model.config.text_config
    assert config.eos_token_id == clip.tokenizer.eos_token_id
    assert config.pad_token_id == clip.tokenizer.pad_token_id != config.eos_token_id
    assert config.eos_token_id != 2  # with id 2 transformers pools at the largest id
    assert clip.tokenizer("River bursts banks")["input_ids"].count(config.eos_token_id) == 1


def test_the_embedding_of_a_text_does_not_depend_on_padding_or_the_batch(clip: SmallClip) -> None:
    short, long = "Fire in Älvsund", "Thousands march through Łozowa behind scarlet banners " * 3
    together, alone = clip.embed_texts([short, long]), clip.embed_texts([short])
    assert np.abs(together[0] - alone[0]).max() < 1e-5
    padded = clip.tokenizer(short, padding="max_length", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        full = clip._unit(clip.model.get_text_features(input_ids=padded).pooler_output)
    assert np.abs(full[0] - alone[0]).max() < 1e-5


def test_long_texts_are_truncated_and_keep_the_end_token(clip: SmallClip) -> None:
    ids = clip.tokenizer("flood " * 300, truncation=True)["input_ids"]
    assert len(ids) == clip.model.config.text_config.max_position_embeddings
    assert ids[-1] == clip.tokenizer.eos_token_id
    assert np.isfinite(clip.embed_texts(["flood " * 300])).all()


@pytest.mark.parametrize("text", ["", "東京で洪水", "наводнение 🌊", "\u0000\u200d"])
def test_any_unicode_text_has_an_embedding(clip: SmallClip, text: str) -> None:
    assert np.linalg.norm(clip.embed_texts([text])) == pytest.approx(1.0, abs=1e-5)


def test_the_training_uses_the_pixels_of_the_image_processor(
    clip: SmallClip, tmp_path: Path
) -> None:
    path = tmp_path / "picture.jpg"
    save_picture(Scene("ferry", 2, "red", "dusk", "rain", "near", 3), path)
    expected = clip.processor(images=[Image.open(path)], return_tensors="np")["pixel_values"][0]
    assert np.abs(expected - (read_pixels(path) / 127.5 - 1)).max() < 1e-5


@pytest.mark.slow
def test_the_heads_score_decreases_with_the_severity_of_every_defect(
    clip: SmallClip, tmp_path: Path
) -> None:
    from dataclasses import replace
    from itertools import islice

    clean = [
        replace(scene, **dict.fromkeys(DEFECTS, 0.0))
        for scene in islice(training_scenes(seed=12345), 12)
    ]
    for defect in DEFECTS:
        means = []
        for severity in (0.0, 0.5, 1.0):
            paths = [tmp_path / f"{defect}-{severity}-{i}.jpg" for i in range(len(clean))]
            for scene, path in zip(clean, paths, strict=True):
                save_picture(replace(scene, **{defect: severity}), path)
            means.append(float(clip.rate(clip.embed_files(paths)).mean()))
        assert means[0] > means[1] > means[2], (defect, means)


def test_embedding_400_pictures_takes_seconds(clip: SmallClip, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    save_picture(Scene("ferry", 2, "red", "dusk", "rain", "near", 3), path)
    start = time.process_time()  # CPU time, as other processes may use the machine
    clip.embed_files([path] * 400)
    assert time.process_time() - start < 12


@pytest.mark.slow
def test_the_heads_scores_correlate_with_the_quality_of_the_newsrooms_pictures(
    splits: dict[str, dict[str, Any]],
) -> None:
    for split in splits.values():
        severity = [scene.severity for scene in split["scenes"]]
        assert spearmanr(split["scores"], severity).statistic < -0.4
        assert 0 < split["scores"].mean() < 10


@pytest.mark.slow
def test_hits_at_1_is_about_one_half_with_headlines_and_higher_with_captions(
    splits: dict[str, dict[str, Any]],
) -> None:
    for split in splits.values():
        assert 0.35 <= hits_at_1(split) <= 0.75
        assert hits_at_1(split, "captions") > hits_at_1(split) + 0.1


@pytest.mark.slow
def test_a_small_weight_of_aesthetics_helps_on_val_and_does_not_hurt_on_test(
    splits: dict[str, dict[str, Any]],
) -> None:
    grid = np.arange(0.05, 0.51, 0.05)
    on_val = [hits_at_1(splits["val"], weight=float(w)) for w in grid]
    best = float(grid[int(np.argmax(on_val))])
    assert max(on_val) > hits_at_1(splits["val"])
    assert hits_at_1(splits["test"], weight=best) >= hits_at_1(splits["test"])
