"""Models of OpenCLIP against its own encode_image and encode_text."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import CHATML, CHATML_TOKENS, draw_pictures, make_tokenizer
from torch.nn.functional import normalize

from newsimg.backbone.open_clip_backbone import OpenClipBackbone
from newsimg.datatypes import Image, Query
from newsimg.storage.models.fit import ModelError
from newsimg.storage.models.queries import embed_queries
from newsimg.storage.pictures.images import open_image

try:
    import open_clip
except Exception as error:  # a torchvision of another build than torch's raises RuntimeError
    pytest.skip(f"needs the extra open-clip: {error}", allow_module_level=True)

TEXTS = ["Ferry runs aground", "storm", "Älvsund: 3,5 %"]
TOWERS = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 8,
        "patch_size": 8,
    },
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2},
}
PIXELS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2], "interpolation": "bicubic"}


def save_model(folder: Path, towers: dict[str, Any]) -> Path:
    """Save a random model in OpenCLIP's format."""
    from safetensors.torch import save_file

    folder.mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(**towers)
        for parameter in model.parameters():  # large enough that embeddings differ clearly
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    config = {"model_cfg": towers, "preprocess_cfg": PIXELS}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("plain") / "model", TOWERS)


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a tokenizer of transformers, whose padding is its end token."""
    tokenizer = make_tokenizer([*CHATML_TOKENS, "<eot>"], CHATML)
    tokenizer.pad_token = tokenizer.eos_token = "<eot>"
    text = TOWERS["text_cfg"] | {"hf_tokenizer_name": "x", "vocab_size": len(tokenizer)}
    folder = tmp_path_factory.mktemp("tokenized") / "model"
    save_model(folder, TOWERS | {"text_cfg": text})
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Image]:
    paths = draw_pictures(tmp_path_factory.mktemp("pictures"), [(92, 52), (40, 70), (33, 33)])
    return [Image(str(i), path) for i, path in enumerate(paths)]


def make(model: Any, **changes: Any) -> OpenClipBackbone:
    arguments = {"model": str(model), "pretrained": None, "dtype": "float32", "device": "cpu"}
    arguments |= {"batch_size": 2, "query_template": "{title}"}
    return OpenClipBackbone(**arguments | changes)


def embed_directly(folder: Path, texts: list[str], images: list[Image]) -> Any:
    name = f"local-dir:{folder}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    tokens = open_clip.get_tokenizer(name)(texts)
    pixels = torch.stack([transform(open_image(image)) for image in images])
    with torch.inference_mode():
        rows = model.eval().encode_text(tokens), model.encode_image(pixels)
    return [normalize(one, dim=-1).numpy() for one in rows]


@pytest.mark.parametrize("kind", ["plain", "tokenized"])
def test_embeddings_are_those_of_openclip(
    kind: str, pictures: list[Image], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    texts, images = embed_directly(folder, TEXTS, pictures)
    backbone = make(folder)
    np.testing.assert_allclose(backbone.embed_texts(TEXTS), texts, atol=1e-6)
    np.testing.assert_allclose(backbone.embed_images(pictures), images, atol=1e-6)
    ready = [backbone.preprocess(image) for image in pictures]
    np.testing.assert_allclose(backbone.embed_preprocessed(pictures, ready), images, atol=1e-6)
    for rows in (texts, images):
        assert len(np.unique(rows.round(4), axis=0)) == len(rows)


def test_a_named_architecture_takes_its_weights_from_a_file(
    plain: Path, tmp_path: Path, pictures: list[Image]
) -> None:
    (tmp_path / "tiny-news.json").write_text(json.dumps(TOWERS))
    open_clip.add_model_config(tmp_path)
    weights = tmp_path / "weights.safetensors"
    shutil.copy(plain / "open_clip_model.safetensors", weights)
    backbone = make("tiny-news", pretrained=str(weights))
    expected = make(plain).embed_texts(TEXTS)
    np.testing.assert_allclose(backbone.embed_texts(TEXTS), expected, atol=1e-6)
    # Without a config of its own, pictures are normalised as OpenAI's.
    model, transform = open_clip.create_model_from_pretrained("tiny-news", str(weights))
    pixels = torch.stack([transform(open_image(image)) for image in pictures])
    with torch.inference_mode():
        images = model.eval().encode_image(pixels, normalize=True).numpy()
    np.testing.assert_allclose(backbone.embed_images(pictures), images, atol=1e-6)
    assert backbone.fingerprint != make(plain).fingerprint


@pytest.mark.parametrize("kind", ["plain", "tokenized"])
def test_a_headline_that_is_truncated_is_told(kind: str, request: pytest.FixtureRequest) -> None:
    backbone = make(request.getfixturevalue(kind))
    tokenizer = backbone.model.tokenizer
    texts = ["a" + " a" * i for i in range(20)]
    if kind == "plain":
        n_tokens = [len(tokenizer.encode(text)) + 2 for text in texts]
    else:
        n_tokens = [len(tokenizer.tokenizer(text)["input_ids"]) for text in texts]
    expected = [n > 12 for n in n_tokens]
    assert 0 < sum(expected) < 20
    assert backbone.find_truncated(texts) == expected
    assert np.isfinite(backbone.embed_texts(texts)).all()


def test_several_templates_are_averaged(plain: Path) -> None:
    backbone = make(plain, query_template=["{title}", "News: {title}"])
    rows = backbone.embed_texts(["Storm", "News: Storm"])
    mean = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    np.testing.assert_allclose(embed_queries([Query("1", "Storm")], backbone), [mean], atol=1e-6)


def test_embeddings_do_not_depend_on_the_batch_and_hardly_on_the_precision(
    plain: Path, pictures: list[Image]
) -> None:
    one, many, half = make(plain, batch_size=1), make(plain), make(plain, dtype="bfloat16")
    for embed in (
        lambda backbone: backbone.embed_texts(TEXTS),
        lambda backbone: backbone.embed_images(pictures),
    ):
        np.testing.assert_allclose(embed(one), embed(many), atol=1e-5)
        assert (embed(half) * embed(many)).sum(axis=1).min() > 0.97
    assert half.model.model.visual.conv1.weight.dtype == torch.bfloat16


def test_the_fingerprint_depends_on_everything_that_affects_embeddings(
    plain: Path, tmp_path: Path
) -> None:
    reference = make(plain).fingerprint
    assert make(shutil.copytree(plain, tmp_path / "same")).fingerprint == reference
    assert make(f"local-dir:{plain}", batch_size=9).fingerprint == reference
    other = shutil.copytree(plain, tmp_path / "other")
    path = other / "open_clip_config.json"
    path.write_text(path.read_text().replace("bicubic", "bilinear"))
    others = [make(other).fingerprint, make(plain, dtype="bfloat16").fingerprint]
    assert len({reference, *others}) == 3
    libraries = json.loads(reference)["libraries"]
    assert set(libraries) == {"open_clip_torch", "torchvision", "timm"}
    assert make(plain, dtype="tf32").description["dtype"] == "tf32"


def test_another_process_loads_the_model_again(plain: Path) -> None:
    backbone = make(plain)
    rows = backbone.embed_texts(TEXTS)
    copied = pickle.loads(pickle.dumps(backbone))
    np.testing.assert_array_equal(copied.embed_texts(TEXTS), rows)


def test_loading_and_embedding_print_nothing(
    plain: Path, pictures: list[Image], capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    backbone = make(plain)
    backbone.embed_texts(TEXTS)
    backbone.embed_images(pictures)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-23", "openai", r"backbone.model cannot be 'ViT-B-23'; did you mean 'ViT-B-32'"),
        ("ViT-B-32", "opnai", r"backbone.pretrained cannot be 'opnai'; did you mean 'openai'"),
        ("ViT-B-32", "openai", r"another activation .*: add backbone.model=ViT-B-32-quickgelu"),
        ("ViT-B-32", "laion2b_e16", r"laion2b_e16 of ViT-B-32 cannot be downloaded, .*=FILE takes"),
        ("ViT-B-32", None, r"ViT-B-32 is no folder here: .* needs backbone.pretrained=TAG or FILE"),
        (
            "hf-hub:a/b",
            "x",
            r"hf-hub:a/b has its own weights: add .*=null, got backbone.pretrained=x",
        ),
        ("hf-hub:nobody/such", None, r"nobody/such is no folder here, and .*HF_HUB_OFFLINE"),
    ],
)
def test_a_model_that_does_not_exist_is_refused(
    model: str, pretrained: str | None, message: str
) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        make(model, pretrained=pretrained).embed_texts(TEXTS)


def test_a_folder_that_is_incomplete_or_of_another_library_is_refused(
    plain: Path, tiny_clip: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no open_clip_config.json: .* OpenCLIP library"):
        _ = make(tiny_clip).fingerprint
    folder = shutil.copytree(plain, tmp_path / "partial")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"partial cannot be loaded by OpenCLIP: Required pretr"):
        make(folder).embed_texts(TEXTS)
    shutil.copytree(plain, tmp_path / "other")
    config = json.loads((plain / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 8
    (tmp_path / "other" / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"other cannot be loaded by OpenCLIP: .*size mismatch"):
        make(tmp_path / "other").embed_texts(TEXTS)


def test_a_run_of_the_command_line_ranks_with_it(
    plain: Path, newsimg_here: Any, tiny_options: list[str]
) -> None:
    options = [option for option in tiny_options if not option.startswith("backbone.model")]
    chosen = ["backbone=open_clip", f"backbone.model={plain}", "backbone.pretrained=null"]
    done = newsimg_here(*options, *chosen, "tracking=none")
    assert done.code == 0, done.output
    assert "written to" in done.stdout
