"""Small random models of every family against transformers' own forward pass."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from PIL import ImageOps
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.nn.functional import normalize

import newsimg
from newsimg.backbone.base import DualEncoder, to_unit_rows
from newsimg.backbone.blip import BlipBackbone
from newsimg.backbone.blip_captioning import SEED, BlipCaptioningBackbone
from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import FloatArray, Image
from newsimg.storage.pictures.images import open_image

TEXTS = [
    "Ferry runs aground",
    'Minister: "a turning point", opposition disagrees!',
    "Überschwemmung in Älvsund",
    "storm",
]
LETTERS = [chr(c) for c in range(33, 127)] + list("ÜüÄäöß")
TRANSFORMER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
TRANSFORMER |= {"num_attention_heads": 4}
SQUARE = {"height": 32, "width": 32}

JINA_CODE = """
import os
from pathlib import Path

import numpy as np
import torch
from transformers import BaseImageProcessor, BatchFeature, PretrainedConfig, PreTrainedModel

Path(os.environ["JINA_MARK"]).write_text("this code ran")


class TinyJinaConfig(PretrainedConfig):
    model_type = "tiny_jina_clip"

    def __init__(self, vocab_size=200, dim=16, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size, self.dim = vocab_size, dim


class TinyJinaModel(PreTrainedModel):
    config_class = TinyJinaConfig

    def __init__(self, config):
        super().__init__(config)
        self.words = torch.nn.Embedding(config.vocab_size, config.dim)
        self.pixels = torch.nn.Linear(3, config.dim)
        self.post_init()

    def get_text_features(self, input_ids=None, attention_mask=None, **kwargs):
        mask = attention_mask[..., None].to(self.dtype)
        return (self.words(input_ids) * mask).sum(1) / mask.sum(1)

    def get_image_features(self, pixel_values=None, **kwargs):
        return self.pixels(pixel_values.mean(dim=(2, 3)))


class TinyJinaImageProcessor(BaseImageProcessor):
    model_input_names = ["pixel_values"]

    def __init__(self, size=8, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def preprocess(self, images, return_tensors=None, **kwargs):
        pixels = [np.asarray(i.resize((self.size, self.size)), np.float32) / 255 for i in images]
        data = {"pixel_values": np.stack(pixels).transpose(0, 3, 1, 2)}
        return BatchFeature(data=data, tensor_type=return_tensors)
"""


def save_model(model_class: Any, config: Any, folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config)
        for parameter in model.parameters():  # large enough that embeddings differ clearly
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5)
        model.save_pretrained(folder)


def save_image_processor(kind: str, folder: Path, **settings: Any) -> None:
    """Save an image processor with the class name of the published checkpoints."""
    import transformers

    getattr(transformers, f"{kind}Pil")(**settings).save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    saved = json.loads(path.read_text()) | {"image_processor_type": kind}
    path.write_text(json.dumps(saved))


def make_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    tokens = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(c + "</w>" for c in LETTERS)]
    CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[]).save_pretrained(
        folder
    )
    text = TRANSFORMER | {"vocab_size": len(tokens), "max_position_embeddings": 77}
    config = CLIPConfig(
        text_config=text | {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
        vision_config=TRANSFORMER | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    save_model(CLIPModel, config, folder)
    save_image_processor("CLIPImageProcessor", folder, size={"shortest_edge": 32}, crop_size=SQUARE)


def make_metaclip2(folder: Path) -> None:
    """CLIP's architecture; a text's state is that of its first end token."""
    from transformers import MetaClip2Config, MetaClip2Model

    make_clip(folder)
    clip = json.loads((folder / "config.json").read_text())
    config = MetaClip2Config(
        text_config=TRANSFORMER
        | {"vocab_size": clip["text_config"]["vocab_size"], "max_position_embeddings": 77}
        | {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
        vision_config=TRANSFORMER | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    save_model(MetaClip2Model, config, folder)


def make_chinese_clip(folder: Path) -> None:
    from transformers import ChineseCLIPConfig, ChineseCLIPModel

    n_words = save_bert_tokenizer(folder)
    config = ChineseCLIPConfig(
        text_config=TRANSFORMER | {"vocab_size": n_words, "max_position_embeddings": 80},
        vision_config=TRANSFORMER | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    save_model(ChineseCLIPModel, config, folder)
    save_image_processor("ChineseCLIPImageProcessor", folder, size=SQUARE, do_center_crop=False)


def make_siglip(folder: Path) -> None:
    import sentencepiece
    from transformers import SiglipConfig, SiglipModel, SiglipTokenizer

    corpus = folder.parent / "corpus.txt"
    corpus.write_text("\n".join([*TEXTS, "abcdefghijklmnopqrstuvwxyz"] * 20).lower())
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder.parent / "spiece"),
        vocab_size=90,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=3,
    )
    tokenizer = SiglipTokenizer(
        str(folder.parent / "spiece.model"), model_input_names=["input_ids"], model_max_length=64
    )
    tokenizer.save_pretrained(folder)
    save_siglip(SiglipConfig, SiglipModel, {"image_size": 32}, folder, len(tokenizer))
    save_image_processor("SiglipImageProcessor", folder, size=SQUARE)


def make_siglip2(folder: Path) -> None:
    """The fixed-resolution checkpoints: SigLIP's architecture with Gemma's tokenizer."""
    from transformers import GemmaTokenizer, SiglipConfig, SiglipModel

    n_tokens = save_gemma(GemmaTokenizer, folder)
    save_siglip(SiglipConfig, SiglipModel, {"image_size": 32}, folder, n_tokens)
    save_image_processor("SiglipImageProcessor", folder, size=SQUARE)


def make_siglip2_naflex(folder: Path) -> None:
    from transformers import Siglip2Config, Siglip2Model, Siglip2Tokenizer

    n_tokens = save_gemma(Siglip2Tokenizer, folder)
    save_siglip(Siglip2Config, Siglip2Model, {"num_patches": 16}, folder, n_tokens)
    save_image_processor("Siglip2ImageProcessor", folder, patch_size=8, max_num_patches=16)


def save_siglip(
    config_class: Any, model_class: Any, vision: dict[str, int], folder: Path, n_tokens: int
) -> None:
    text = TRANSFORMER | {
        "vocab_size": n_tokens,
        "max_position_embeddings": 64,
        "projection_size": 32,
    }
    text |= {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    config = config_class(text_config=text, vision_config=TRANSFORMER | {"patch_size": 8} | vision)
    save_model(model_class, config, folder)


def save_gemma(tokenizer_class: Any, folder: Path) -> int:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"]
    vocab = {token: i for i, token in enumerate([*special, *LETTERS])}
    tokenizer = tokenizer_class(vocab=vocab, merges=[], model_input_names=["input_ids"])
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def save_bert_tokenizer(folder: Path) -> int:
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *("##" + c for c in LETTERS)]
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    return len(words)


def make_align(folder: Path) -> None:
    from transformers import AlignConfig, AlignModel

    n_words = save_bert_tokenizer(folder)
    vision = {"image_size": 32, "width_coefficient": 1.0, "depth_coefficient": 1.0}
    vision |= {"in_channels": [32, 16], "out_channels": [16, 24], "kernel_sizes": [3, 5]}
    vision |= {"strides": [1, 2], "expand_ratios": [1, 6], "num_block_repeats": [1, 1]}
    config = AlignConfig(
        text_config=TRANSFORMER | {"vocab_size": n_words, "max_position_embeddings": 80},
        vision_config=vision,
        projection_dim=24,
    )
    save_model(AlignModel, config, folder)
    save_image_processor("EfficientNetImageProcessor", folder, size=SQUARE, do_center_crop=False)


def make_blip(folder: Path, kind: str = "BlipForImageTextRetrieval") -> None:
    import transformers
    from transformers import BlipConfig

    n_words = save_bert_tokenizer(folder)
    text = TRANSFORMER | {"vocab_size": n_words, "max_position_embeddings": 80}
    config = BlipConfig(
        text_config=text | {"encoder_hidden_size": 32, "is_decoder": False},
        vision_config=TRANSFORMER | {"image_size": 32, "patch_size": 8},
        image_text_hidden_size=16,
        projection_dim=16,
    )
    save_model(getattr(transformers, kind), config, folder)
    save_image_processor("BlipImageProcessor", folder, size=SQUARE)


def make_blip_captioning(folder: Path) -> None:
    make_blip(folder, "BlipForConditionalGeneration")


def make_jina(folder: Path) -> None:
    """A model with remote code for the encoders and the preprocessing."""
    from safetensors.numpy import save_file
    from transformers import PreTrainedTokenizerFast

    folder.mkdir()
    (folder / "tiny_jina.py").write_text(JINA_CODE)
    words = {word: i for i, word in enumerate(["<pad>", "<unk>", *" ".join(TEXTS).split()])}
    backend = Tokenizer(WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    random = np.random.default_rng(0)
    shapes = {"words.weight": (len(words), 16), "pixels.weight": (16, 3), "pixels.bias": (16,)}
    weights = {name: random.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    auto_map = {"AutoConfig": "tiny_jina.TinyJinaConfig", "AutoModel": "tiny_jina.TinyJinaModel"}
    config = {"model_type": "tiny_jina_clip", "vocab_size": len(words), "dim": 16}
    config |= {"architectures": ["TinyJinaModel"], "auto_map": auto_map}
    (folder / "config.json").write_text(json.dumps(config))
    processor = {"image_processor_type": "TinyJinaImageProcessor", "size": 8}
    processor["auto_map"] = {"AutoImageProcessor": "tiny_jina.TinyJinaImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


Pair = tuple[FloatArray, FloatArray]


def embed_by_forward(model_name: str, processor_name: str) -> Callable[..., Pair]:
    """Return a function that embeds texts and pictures with the model's forward pass."""

    def embed(folder: Path, texts: list[str], images: list[Image], **how: Any) -> Pair:
        import transformers

        model = getattr(transformers, model_name).from_pretrained(folder).eval()
        processor = getattr(transformers, f"{processor_name}Pil").from_pretrained(folder)
        tokens = transformers.AutoTokenizer.from_pretrained(folder)(
            texts, truncation=True, return_tensors="pt", **how
        )
        opened = [open_on_white(image.path) for image in images]
        with torch.inference_mode():
            out = model(**tokens, **processor(opened, return_tensors="pt"))
        both = (normalize(out.text_embeds, dim=-1), normalize(out.image_embeds, dim=-1))
        return both[0].numpy(), both[1].numpy()

    return embed


@dataclass(frozen=True)
class Family:
    """Functions that create a family's small model and embed with transformers alone."""

    make: Callable[[Path], None]
    embed: Callable[..., Pair] | None
    padding: str
    backbone: type[DualEncoder] = TransformersBackbone
    length: int = 64


FAMILIES = {
    "clip": Family(make_clip, embed_by_forward("CLIPModel", "CLIPImageProcessor"), "longest"),
    "metaclip2": Family(
        make_metaclip2, embed_by_forward("MetaClip2Model", "CLIPImageProcessor"), "longest"
    ),
    "chinese_clip": Family(
        make_chinese_clip,
        embed_by_forward("ChineseCLIPModel", "ChineseCLIPImageProcessor"),
        "longest",
    ),
    "siglip": Family(
        make_siglip, embed_by_forward("SiglipModel", "SiglipImageProcessor"), "max_length"
    ),
    "siglip2": Family(
        make_siglip2, embed_by_forward("SiglipModel", "SiglipImageProcessor"), "max_length"
    ),
    "siglip2_naflex": Family(
        make_siglip2_naflex,
        embed_by_forward("Siglip2Model", "Siglip2ImageProcessor"),
        "max_length",
    ),
    "align": Family(
        make_align, embed_by_forward("AlignModel", "EfficientNetImageProcessor"), "max_length"
    ),
    "blip": Family(make_blip, None, "longest", BlipBackbone),
    "blip_captioning": Family(make_blip_captioning, None, "longest", BlipCaptioningBackbone),
    "jina": Family(make_jina, None, "longest"),
}


def open_on_white(path: Path) -> PILImage.Image:
    picture = PILImage.open(path).convert("RGBA")
    return PILImage.alpha_composite(PILImage.new("RGBA", picture.size, "white"), picture).convert(
        "RGB"
    )


@pytest.fixture(scope="module", autouse=True)
def mark(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A file that the remote code writes when it is executed."""
    folder = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JINA_MARK", str(folder / "mark"))
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder))
        yield folder / "mark"


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Create a family's model once."""

    @cache
    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family) / "model"
        FAMILIES[family].make(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Image]:
    """Pictures of several sizes, formats and colour modes."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    images = []
    for i, (size, mode) in enumerate(
        [((92, 52), "RGB"), ((40, 70), "L"), ((33, 33), "P"), ((64, 40), "RGBA"), ((20, 24), "RGB")]
    ):
        pixels = random.integers(0, 256, (*size[::-1], 4 if mode == "RGBA" else 3), dtype=np.uint8)
        picture = PILImage.fromarray(pixels)
        path = folder / f"{i}.png"
        (picture if mode == "RGBA" else picture.convert(mode)).save(path)
        images.append(Image(str(i), path))
    return images


def make_backbone(family: str, folder: Path, **changes: Any) -> DualEncoder:
    known = FAMILIES[family]
    arguments = {
        "model": str(folder),
        "revision": "main",
        "dtype": "float32",
        "device": "cpu",
        "batch_size": 8,
        "text_padding": known.padding,
        "text_length": known.length,
        "query_template": "{title}",
        "trust_remote_code": family == "jina",
    }
    return known.backbone(**arguments | changes)


def embed_directly(family: str, folder: Path, pictures: list[Image], **how: Any) -> Pair:
    how = {"padding": FAMILIES[family].padding, "max_length": FAMILIES[family].length} | how
    embed = FAMILIES[family].embed
    assert embed is not None
    return embed(folder, TEXTS, pictures, **how)


FORWARD = [family for family in FAMILIES if FAMILIES[family].embed is not None]


@pytest.mark.parametrize("family", FORWARD)
def test_embeddings_are_those_of_the_models_forward_pass(
    family: str, model_of: Any, pictures: list[Image]
) -> None:
    texts, images = embed_directly(family, model_of(family), pictures)
    backbone = make_backbone(family, model_of(family))
    np.testing.assert_allclose(backbone.embed_texts(TEXTS), texts, atol=1e-5)
    np.testing.assert_allclose(backbone.embed_images(pictures), images, atol=1e-5)


def test_blips_cosines_are_the_scores_of_its_contrastive_heads(
    model_of: Any, pictures: list[Image]
) -> None:
    from transformers import BertTokenizer, BlipForImageTextRetrieval, BlipImageProcessorPil

    folder = model_of("blip")
    model = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    opened = [open_on_white(image.path) for image in pictures]
    tokens = BertTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    pixels = BlipImageProcessorPil.from_pretrained(folder)(opened, return_tensors="pt")
    with torch.inference_mode():
        scores = model(**tokens, **pixels, use_itm_head=False).itm_score  # images by texts
    backbone = make_backbone("blip", folder)
    cosines = backbone.embed_images(pictures) @ backbone.embed_texts(TEXTS).T
    np.testing.assert_allclose(cosines, scores.numpy(), atol=1e-5)


def test_blip_captioning_is_blip_model_with_the_missing_weights_drawn_by_the_originals_seed(
    model_of: Any, pictures: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import BertTokenizer, BlipImageProcessorPil, BlipModel

    folder = model_of("blip_captioning")
    with torch.random.fork_rng():
        torch.manual_seed(28)
        model = BlipModel.from_pretrained(folder).eval()
    tokens = BertTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    opened = [open_on_white(image.path) for image in pictures]
    pixels = BlipImageProcessorPil.from_pretrained(folder)(opened, return_tensors="pt")
    with torch.inference_mode():
        out = model(**tokens, **pixels)
    backbone = make_backbone("blip_captioning", folder)
    before = torch.random.get_rng_state()
    np.testing.assert_allclose(
        backbone.embed_texts(TEXTS), normalize(out.text_embeds, dim=-1).numpy(), atol=1e-5
    )
    np.testing.assert_allclose(
        backbone.embed_images(pictures), normalize(out.image_embeds, dim=-1).numpy(), atol=1e-5
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert "weights of BlipModel: they are drawn at random, the first is" in caplog.text
    facts = json.loads(backbone.fingerprint)
    assert facts["missing_weights"]["seed"] == SEED == 28
    assert facts["missing_weights"]["torch"] == torch.__version__


def test_a_model_with_remote_code_gives_the_embeddings_of_its_weights(
    model_of: Any, pictures: list[Image]
) -> None:
    from safetensors.numpy import load_file

    folder = model_of("jina")
    weights = load_file(folder / "model.safetensors")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    splitter = Whitespace()
    words = [[word for word, _ in splitter.pre_tokenize_str(text)] for text in TEXTS]
    rows = [[vocabulary.get(word, vocabulary["<unk>"]) for word in text] for text in words]
    texts = np.stack([weights["words.weight"][row].mean(axis=0) for row in rows])
    opened = [open_on_white(image.path).resize((8, 8)) for image in pictures]
    means = np.stack([np.asarray(image, np.float32).mean(axis=(0, 1)) / 255 for image in opened])
    images = means @ weights["pixels.weight"].T + weights["pixels.bias"]
    backbone = make_backbone("jina", folder)
    np.testing.assert_allclose(backbone.embed_texts(TEXTS), to_unit_rows(texts), atol=1e-5)
    np.testing.assert_allclose(backbone.embed_images(pictures), to_unit_rows(images), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_have_unit_length_and_differ(
    family: str, model_of: Any, pictures: list[Image]
) -> None:
    backbone = make_backbone(family, model_of(family))
    for rows in (backbone.embed_texts(TEXTS), backbone.embed_images(pictures)):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        assert len(np.unique(rows.round(4), axis=0)) == len(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_do_not_depend_on_the_batch_size(
    family: str, model_of: Any, pictures: list[Image]
) -> None:
    one, three, many = (
        make_backbone(family, model_of(family), batch_size=size) for size in (1, 3, 64)
    )
    for other in (three, many):
        np.testing.assert_allclose(one.embed_texts(TEXTS), other.embed_texts(TEXTS), atol=1e-5)
        np.testing.assert_allclose(
            one.embed_images(pictures), other.embed_images(pictures), atol=1e-5
        )


@pytest.mark.parametrize("family", ["siglip", "siglip2", "siglip2_naflex"])
@pytest.mark.parametrize("padding", ["longest", "max_length"])
def test_text_padding_is_passed_to_the_tokenizer_of_models_without_a_mask(
    family: str, padding: str, model_of: Any, pictures: list[Image]
) -> None:
    texts, _ = embed_directly(family, model_of(family), pictures, padding=padding)
    other = {"longest": "max_length", "max_length": "longest"}[padding]
    differing, _ = embed_directly(family, model_of(family), pictures, padding=other)
    embedded = make_backbone(family, model_of(family), text_padding=padding).embed_texts(TEXTS)
    np.testing.assert_allclose(embedded, texts, atol=1e-5)
    assert np.abs(embedded - differing).max() > 0.01


@pytest.mark.parametrize("family", FORWARD)
def test_a_text_is_truncated_to_text_length_tokens(
    family: str, model_of: Any, pictures: list[Image]
) -> None:
    short, _ = embed_directly(family, model_of(family), pictures, max_length=5)
    full, _ = embed_directly(family, model_of(family), pictures)
    embedded = make_backbone(family, model_of(family), text_length=5).embed_texts(TEXTS)
    np.testing.assert_allclose(embedded, short, atol=1e-5)
    assert np.abs(embedded - full).max() > 0.01


@pytest.mark.parametrize("family", ["siglip2", "clip"])
def test_lowercase_lowercases_texts(family: str, model_of: Any) -> None:
    texts = ["STORM over Älvsund", "storm over älvsund"]
    lowered = make_backbone(family, model_of(family), lowercase=True).embed_texts(texts)
    np.testing.assert_allclose(lowered[0], lowered[1], atol=1e-6)
    plain = make_backbone(family, model_of(family)).embed_texts(texts)
    np.testing.assert_allclose(plain[1], lowered[1], atol=1e-6)
    if family == "siglip2":  # its tokenizer does not lowercase
        assert np.abs(plain[0] - plain[1]).max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_a_headline_longer_than_text_length_is_truncated(family: str, model_of: Any) -> None:
    backbone = make_backbone(family, model_of(family))
    assert np.isfinite(backbone.embed_texts(["storm " * 500])).all()
    assert backbone.find_truncated(["storm", "storm " * 500, "x"]) == [False, True, False]


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_gives_nearly_the_same_embeddings(
    family: str, model_of: Any, pictures: list[Image]
) -> None:
    full = make_backbone(family, model_of(family))
    half = make_backbone(family, model_of(family), dtype="bfloat16")
    for exact, rough in (
        (full.embed_texts(TEXTS), half.embed_texts(TEXTS)),
        (full.embed_images(pictures), half.embed_images(pictures)),
    ):
        assert rough.dtype == np.float32
        assert (exact * rough).sum(axis=1).min() > 0.97
    assert half.model.dtype == torch.bfloat16
    assert full.model.dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_loading_and_embedding_print_nothing(
    family: str, model_of: Any, pictures: list[Image], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = model_of(family)
    capfd.readouterr()
    backbone = make_backbone(family, folder)
    backbone.embed_texts(TEXTS)
    backbone.embed_images(pictures)
    assert capfd.readouterr() == ("", "")


def test_remote_code_is_executed_only_with_trust_remote_code(
    model_of: Any, pictures: list[Image], mark: Path
) -> None:
    folder = model_of("jina")
    for embed in (
        lambda backbone: backbone.embed_texts(TEXTS),
        lambda backbone: backbone.embed_images(pictures),
    ):
        mark.unlink(missing_ok=True)
        backbone = make_backbone("jina", folder, trust_remote_code=False)
        assert backbone.fingerprint
        with pytest.raises(ValueError, match="trust_remote_code"):
            embed(backbone)
        assert not mark.exists()


def test_a_checkpoint_with_missing_weights_is_refused_with_their_number_and_name(
    model_of: Any, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(model_of("clip"), tmp_path / "partial")
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of CLIPModel, the first is text_proj"):
        make_backbone("clip", folder).embed_texts(TEXTS)
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="partial"):
        make_backbone("clip", folder).embed_texts(TEXTS)


def test_a_model_that_is_not_a_dual_encoder_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    save_bert_tokenizer(tmp_path / "bert")
    BertModel(BertConfig(**TRANSFORMER, vocab_size=300)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="bert is a BertModel, expected a dual encoder"):
        make_backbone("clip", tmp_path / "bert").embed_texts(TEXTS)


@pytest.mark.parametrize("model", ["nowhere/to/be/found", "./nowhere", "nobody/no-such-model"])
def test_a_missing_model_is_named(model: str) -> None:
    backbone = make_backbone("clip", Path("x"), model=model)
    with pytest.raises(OSError, match=rf"folder.* hub.*{model}|{model}.*folder.* hub"):
        _ = backbone.fingerprint


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("dtype", "float64", r"backbone.dtype must be one of float32, .*got 'float64'"),
        (
            "text_padding",
            "left",
            r"backbone.text_padding must be one of longest, max_length, got 'left'",
        ),
        ("decoding", "half", r"backbone.decoding must be one of exact, reduced, gpu, got 'half'"),
        ("batch_size", 0, r"backbone.batch_size must be auto or at least 1, got 0"),
        ("batch_size", "all", r"backbone.batch_size must be auto or at least 1, got all"),
        ("text_length", -1, r"backbone.text_length must be at least 1, got -1"),
        ("query_template", [], r"query_template must be one or several different ones, got \[\]"),
        ("query_template", ["{title}", "no field"], r"query_template must use .*got 'no field'"),
        ("query_template", ["{title}", "{title}"], r"query_template must be one or several diff"),
        ("query_template", "{title!r}", r"query_template must use"),
        ("query_template", "no field", r"query_template must use .*got 'no field'"),
        ("query_template", "{title.__class__}", r"query_template must use"),
        ("query_template", "{}", r"query_template must use"),
        ("query_template", "{title", r"query_template must use .*got '{title'"),
    ],
)
def test_an_argument_out_of_range_is_refused_with_its_name_and_value(
    argument: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_backbone("clip", Path("x"), **{argument: value})


def test_the_fingerprint_depends_on_everything_that_affects_embeddings(
    model_of: Any, tmp_path: Path
) -> None:
    def fingerprint(folder: Path, **changes: Any) -> str:
        return make_backbone("clip", folder, **changes).fingerprint

    original = model_of("clip")
    same = shutil.copytree(original, tmp_path / "elsewhere")
    weights = shutil.copytree(original, tmp_path / "weights")
    with (weights / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    processing = shutil.copytree(original, tmp_path / "processing")
    path = processing / "preprocessor_config.json"
    path.write_text(path.read_text().replace("0.5", "0.25").replace("48145466", "48145467"))
    assert path.read_bytes() != (original / path.name).read_bytes()

    reference = fingerprint(original)
    assert fingerprint(same) == reference
    assert fingerprint(original, batch_size=1) == reference
    assert fingerprint(original, query_template="{title}. {tags}") == reference
    others = [
        fingerprint(weights),
        fingerprint(processing),
        fingerprint(original, text_padding="max_length"),
        fingerprint(original, text_length=12),
        fingerprint(original, dtype="bfloat16"),
        fingerprint(original, lowercase=True),
        fingerprint(original, decoding="reduced"),
        make_backbone("blip", original).fingerprint,
    ]
    assert len({reference, *others}) == 1 + len(others)


def save_photographs(folder: Path) -> list[Image]:
    """Save large JPEGs with shapes and noise, two of them with an EXIF rotation."""
    rng = np.random.default_rng(5)
    images = []
    for number, orientation in enumerate((1, 1, 3, 6)):
        coarse = PILImage.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        picture = coarse.resize((1600, 1200), PILImage.Resampling.BICUBIC)
        pixels = np.asarray(picture, dtype=np.float32) + rng.normal(0, 12, (1200, 1600, 1))
        exif = PILImage.Exif()
        exif[0x0112] = orientation
        path = folder / f"{number}.jpg"
        PILImage.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, exif=exif)
        images.append(Image(str(number), path))
    return images


def test_reduced_decoding_hardly_changes_an_embedding(
    tmp_path: Path,
) -> None:
    sample = Path(newsimg.__file__).parent / "sample" / "clip"
    photographs = save_photographs(tmp_path)
    exact = make_backbone("clip", sample, text_length=48)
    reduced = make_backbone("clip", sample, text_length=48, decoding="reduced")
    cosines = (exact.embed_images(photographs) * reduced.embed_images(photographs)).sum(axis=1)
    assert (cosines >= 0.9999).all(), cosines
    assert (cosines < 1 - 1e-9).any()  # else nothing was reduced


def test_reduced_decoding_keeps_twice_the_size_of_the_models_input(tmp_path: Path) -> None:
    sample = Path(newsimg.__file__).parent / "sample" / "clip"  # its input is 96x96
    backbone = make_backbone("clip", sample, text_length=48, decoding="reduced")
    for photograph in save_photographs(tmp_path):
        opened = PILImage.open(photograph.path)
        opened.draft("RGB", (192, 192))  # the oracle: the scales of libjpeg
        assert min(opened.size) >= 192
        with PILImage.open(photograph.path) as full:
            upright = ImageOps.exif_transpose(full)
        expected = PILImage.Image.reduce(upright, 4)  # 1600x1200 at an eighth is below 192
        found = open_image(photograph, backbone.pictures.target_size)
        assert found.size == expected.size


def test_reduced_decoding_is_refused_for_a_model_with_variable_input_size(
    model_of: Any, pictures: list[Image]
) -> None:
    backbone = make_backbone("siglip2_naflex", model_of("siglip2_naflex"), decoding="reduced")
    with pytest.raises(ValueError, match=r"decoding=reduced needs a model that resizes all"):
        backbone.preprocess(pictures[0])


def test_embedding_an_empty_list_is_refused(model_of: Any) -> None:
    with pytest.raises(ValueError, match="at least 1 text or picture"):
        make_backbone("clip", model_of("clip")).embed_texts([])


def test_a_zero_or_non_finite_embedding_is_refused() -> None:
    with pytest.raises(ValueError, match=r"finite length above 0, got 0"):
        to_unit_rows(np.float32([[1, 0], [0, 0]]))
    with pytest.raises(ValueError, match=r"finite length above 0, got nan"):
        to_unit_rows(np.float32([[1, np.nan]]))
