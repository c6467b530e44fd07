"""Models of sentence-transformers against the library's own encode_query and encode_document."""

import json
import pickle
import shutil
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tiny_models import draw_pictures, make_qwen3_vl
from torch.nn.functional import normalize

from newsimg.backbone.batched import find_versions
from newsimg.backbone.sentence_transformers_backbone import SentenceTransformersBackbone
from newsimg.datatypes import Image, Query
from newsimg.storage.models.fit import ModelError
from newsimg.storage.models.queries import embed_queries
from newsimg.storage.pictures.images import open_image

pytest.importorskip("sentence_transformers", reason="needs the extra sentence-transformers")

TEXTS = ["Ferry runs aground", "storm", "https://news.example/storm.jpg", "Älvsund: 3,5 %"]
PROMPTS = {"query": "Find a picture: ", "document": "", "short": "x "}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Image]:
    paths = draw_pictures(tmp_path_factory.mktemp("pictures"), [(92, 52), (40, 70), (33, 33)])
    return [Image(str(i), path) for i, path in enumerate(paths)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path) -> Path:
    """CLIP with a further layer and prompts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Transformer

    folder = tmp_path_factory.mktemp("mixed") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        dense = Dense(16, 12)
    modules = [Transformer(str(tiny_clip)), dense]
    SentenceTransformer(modules=modules, device="cpu", prompts=PROMPTS).save(str(folder))
    return folder


def make(folder: Path, **changes: Any) -> SentenceTransformersBackbone:
    arguments = {"model": str(folder), "revision": "main", "dtype": "float32", "device": "cpu"}
    arguments |= {"batch_size": 2, "query_template": "{title}", "prompt_name": "query"}
    arguments |= dict.fromkeys(("prompt", "task", "truncate_dim"))
    return SentenceTransformersBackbone(**arguments | changes)


def load(folder: Path, **how: Any) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", **how)


def wrap(texts: list[str]) -> list[dict[str, str]]:
    return [{"text": text} for text in texts]


def test_embeddings_are_those_of_the_librarys_queries_and_documents(
    mixed: Path, pictures: list[Image]
) -> None:
    library, backbone = load(mixed), make(mixed)
    texts = library.encode_query(wrap(TEXTS), normalize_embeddings=True)
    opened = [open_image(image) for image in pictures]
    images = library.encode_document(opened, normalize_embeddings=True)
    np.testing.assert_allclose(backbone.embed_texts(TEXTS), texts, atol=1e-6)
    np.testing.assert_allclose(backbone.embed_images(pictures), images, atol=1e-6)
    ready = [backbone.preprocess(image) for image in pictures]
    np.testing.assert_allclose(backbone.embed_preprocessed(pictures, ready), images, atol=1e-6)


def test_a_model_of_clip_alone_embeds_as_clip_does(
    tiny_clip: Path, tmp_path: Path, pictures: list[Image]
) -> None:
    """In the layout of the published checkpoints, with the model in a folder of its own."""
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    shutil.copytree(tiny_clip, tmp_path / "old" / "0_CLIPModel")
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel"}
    module["type"] = "sentence_transformers.models.CLIPModel"
    (tmp_path / "old" / "modules.json").write_text(json.dumps([module]))
    model = CLIPModel.from_pretrained(tiny_clip).eval()
    tokens = AutoTokenizer.from_pretrained(tiny_clip)(TEXTS, padding=True, return_tensors="pt")
    opened = [open_image(image) for image in pictures]
    pixels = AutoImageProcessor.from_pretrained(tiny_clip)(opened, return_tensors="pt")
    with torch.inference_mode():
        out = model(**tokens, **pixels)
    backbone = make(tmp_path / "old")
    texts, images = normalize(out.text_embeds, dim=-1), normalize(out.image_embeds, dim=-1)
    np.testing.assert_allclose(backbone.embed_texts(TEXTS), texts.numpy(), atol=1e-5)
    np.testing.assert_allclose(backbone.embed_images(pictures), images.numpy(), atol=1e-5)


@pytest.mark.skipif(find_spec("torchvision") is None, reason="the model's processor needs it")
def test_a_model_that_reads_pictures_in_chats_embeds_as_in_the_library(
    tmp_path: Path, pictures: list[Image]
) -> None:
    """Qwen3-VL-Embedding's modules, on a random model of its architecture."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import AutoTokenizer, Qwen2VLImageProcessor, Qwen3VLProcessor
    from transformers import Qwen3VLVideoProcessor as VideoProcessor

    folder = make_qwen3_vl(tmp_path / "qwen")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    parts = [Qwen2VLImageProcessor.from_pretrained(folder), tokenizer, VideoProcessor()]
    Qwen3VLProcessor(*parts, chat_template=tokenizer.chat_template).save_pretrained(folder)
    modules = [Transformer(folder), Pooling(32, "lasttoken"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "whole"))
    library = load(tmp_path / "whole")
    assert "message" in library.modalities
    backbone = make(tmp_path / "whole", prompt_name=None, prompt="Find it.")
    texts = library.encode_query(wrap(TEXTS), prompt="Find it.")
    images = library.encode_document([open_image(image) for image in pictures])
    np.testing.assert_allclose(backbone.embed_texts(TEXTS), texts, atol=1e-5)
    np.testing.assert_allclose(backbone.embed_images(pictures), images, atol=1e-5)
    ready = [backbone.preprocess(image) for image in pictures]
    np.testing.assert_allclose(backbone.embed_preprocessed(pictures, ready), images, atol=1e-5)
    assert np.abs(texts - library.encode_query(wrap(TEXTS))).max() > 0.01


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({"prompt_name": "short"}, {"prompt_name": "short"}),
        ({"prompt_name": None, "prompt": "News: "}, {"prompt": "News: "}),
        ({"prompt_name": None}, {"prompt": ""}),
        ({"truncate_dim": 5}, {"truncate_dim": 5}),
    ],
)
def test_prompts_and_dimensions_are_those_that_are_named(
    changes: dict[str, Any], how: dict[str, Any], mixed: Path, pictures: list[Image]
) -> None:
    library, backbone = load(mixed), make(mixed, **changes)
    texts = library.encode_query(wrap(TEXTS), normalize_embeddings=True, **how)
    rows = backbone.embed_texts(TEXTS)
    np.testing.assert_allclose(rows, texts, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert backbone.embed_images(pictures).shape == (3, rows.shape[1])
    standard = library.encode_query(wrap(TEXTS), normalize_embeddings=True)
    assert rows.shape != standard.shape or np.abs(rows - standard).max() > 1e-3


def test_a_text_that_looks_like_a_picture_is_read_as_text(mixed: Path, tmp_path: Path) -> None:
    PILImage.new("RGB", (40, 40)).save(tmp_path / "a.png")
    backbone = make(mixed)
    found = backbone.embed_texts([str(tmp_path / "a.png"), "data:image/png;base64,x"])
    expected = load(mixed).encode_query(
        wrap([str(tmp_path / "a.png"), "data:image/png;base64,x"]), normalize_embeddings=True
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_text_is_truncated_with_its_prompt_and_that_is_told(mixed: Path) -> None:
    library = load(mixed)
    assert library.max_seq_length == 77  # two of which begin and end a text
    room = 75 - len(PROMPTS["query"].replace(" ", ""))
    texts = ["s" * room, "s" * (room + 1), "s" * 500]
    backbone = make(mixed)
    assert backbone.find_truncated(texts) == [False, True, True]
    rows = backbone.embed_texts(texts)
    np.testing.assert_allclose(rows[1], rows[2], atol=1e-5)
    assert make(mixed, prompt_name=None).find_truncated(texts) == [False, False, True]


def test_several_templates_are_averaged(mixed: Path) -> None:
    backbone = make(mixed, query_template=["{title}", "News: {title}"])
    rows = backbone.embed_texts(["Storm", "News: Storm"])
    mean = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    np.testing.assert_allclose(embed_queries([Query("1", "Storm")], backbone), [mean], atol=1e-6)


def test_embeddings_do_not_depend_on_the_batch_and_hardly_on_the_precision(
    mixed: Path, pictures: list[Image]
) -> None:
    one, many, half = make(mixed, batch_size=1), make(mixed), make(mixed, dtype="bfloat16")
    for embed in (
        lambda backbone: backbone.embed_texts(TEXTS),
        lambda backbone: backbone.embed_images(pictures),
    ):
        np.testing.assert_allclose(embed(one), embed(many), atol=1e-5)
        assert (embed(half) * embed(many)).sum(axis=1).min() > 0.97
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}


def test_the_fingerprint_depends_on_everything_that_affects_embeddings(
    mixed: Path, tmp_path: Path
) -> None:
    reference = make(mixed).fingerprint
    assert make(shutil.copytree(mixed, tmp_path / "same")).fingerprint == reference
    assert make(mixed, batch_size=64, query_template="{title}!").fingerprint == reference
    other = shutil.copytree(mixed, tmp_path / "other")
    settings = json.loads((other / "config_sentence_transformers.json").read_text())
    settings["prompts"]["query"] = "Another: "
    (other / "config_sentence_transformers.json").write_text(json.dumps(settings))
    changes: list[dict[str, Any]] = [
        {"dtype": "bfloat16"},
        {"prompt_name": "short"},
        {"prompt_name": None},
        {"prompt_name": None, "prompt": "News: "},
        {"task": "retrieval"},
        {"truncate_dim": 5},
    ]
    others = [make(mixed, **change).fingerprint for change in changes] + [make(other).fingerprint]
    assert len({reference, *others}) == 1 + len(others)
    assert set(json.loads(reference)["libraries"]) == {"sentence-transformers", "torchvision"}
    description = make(mixed, dtype="tf32").description
    assert (description["model"], description["dtype"]) == (str(mixed), "tf32")


def test_another_process_loads_the_model_again(mixed: Path) -> None:
    backbone = make(mixed)
    rows = backbone.embed_texts(TEXTS)
    copied = pickle.loads(pickle.dumps(backbone))
    assert copied._model is None
    np.testing.assert_array_equal(copied.embed_texts(TEXTS), rows)


def test_loading_and_embedding_print_nothing(
    mixed: Path, pictures: list[Image], capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    backbone = make(mixed)
    backbone.embed_texts(TEXTS)
    backbone.embed_images(pictures)
    assert capfd.readouterr() == ("", "")


def drop_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def swap_size(folder: Path) -> None:
    # Of a newer layout, the image processor's settings are in processor_config.json.
    path = next(folder.glob("pre*r_config.json"), folder / "processor_config.json")
    path.write_text(path.read_text().replace("32", "40"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_weight, r"broken lacks weights, the first is text_projection.weight"),
        (swap_size, r"image processor of \S+broken makes pictures of 40x40, the model takes 32x32"),
    ],
)
def test_a_model_whose_files_do_not_fit_is_refused(
    damage: Callable[[Path], None], message: str, mixed: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(mixed, tmp_path / "broken")
    damage(folder)
    with pytest.raises(ModelError, match=message):
        make(folder).embed_texts(TEXTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"prompt_name": "qurey"},
            r"prompt_name must be one of document, query, short, got",
        ),
        ({"prompt": "x"}, r"prompt_name=query and backbone.prompt='x' exclude each other"),
        ({"truncate_dim": 13}, r"truncate_dim must be in \[1, 12\], the dimension of .*, got 13"),
        ({"truncate_dim": 0}, r"backbone.truncate_dim must be at least 1, got 0"),
        ({"batch_size": 0}, r"backbone.batch_size must be at least 1, got 0"),
        ({"query_template": "no field"}, r"query_template must use .*got 'no field'"),
        ({"dtype": "int3"}, r"backbone.dtype must be one of"),
    ],
)
def test_an_argument_out_of_range_is_refused_with_its_name_and_value(
    changes: dict[str, Any], message: str, mixed: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        make(mixed, **changes).embed_texts(TEXTS)


def test_a_folder_of_another_library_is_refused(tiny_clip: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no modules.json: .* sentence-transformers lib"):
        _ = make(tiny_clip).fingerprint


def test_without_its_library_a_models_extra_is_named() -> None:
    with pytest.raises(ImportError, match=r"needs no-such-thing: pip install newsimg\[extra\]"):
        find_versions(["no-such-thing", "torch"], "extra")
    assert find_versions(["torch", "no-such-thing"], "x") == {
        "torch": version("torch"),
        "no-such-thing": None,
    }


def test_a_run_of_the_command_line_ranks_with_it(
    mixed: Path, newsimg_here: Any, tiny_options: list[str]
) -> None:
    options = [option for option in tiny_options if not option.startswith("backbone.model")]
    chosen = ["backbone=sentence_transformers", f"backbone.model={mixed}", "tracking=none"]
    done = newsimg_here(*options, *chosen)
    assert done.code == 0, done.output
    assert "written to" in done.stdout
