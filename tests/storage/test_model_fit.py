"""Models with an unexpected architecture, or with files of different models."""

import json
import re
import shutil
from pathlib import Path

import pytest
from tiny_models import draw_pictures, make_idefics, make_qwen2_vl
from tokenizers import Tokenizer, models
from transformers import CLIPConfig, PreTrainedTokenizerFast

import newsimg
from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import Image
from newsimg.llm.transformers_llm import TransformersLLM
from newsimg.run import CONF_DIR
from newsimg.storage.models.fit import ModelError, check_tokenizer, find_options
from newsimg.vlm.qwen2_vl import Qwen2VLM
from newsimg.vlm.smolvlm import SmolVLM
from newsimg.vlm.transformers_vlm import TransformersVLM

SAMPLE = Path(newsimg.__file__).parent / "sample"
# Behind a server, of a library that loads any architecture, or an adapter.
ELSEWHERE = (
    "openai",
    "minilm_l6",
    "sentence_transformers",
    "qwen3_vl_embedding_2b",
    "open_clip",
    "monoqwen2_vl",
)
LOCAL = {"revision": "main", "dtype": "float32", "device": "cpu", "batch_size": 4}


def make_backbone(folder, **changes):
    settings = LOCAL | {"text_padding": "longest", "text_length": 48, "query_template": "{title}"}
    return TransformersBackbone(**settings | {"model": str(folder)} | changes)


def make_vlm(vlm_class, folder, **changes):
    settings = LOCAL | {"share_prefix": True, "answer_prefix": "", "max_new_tokens": 4}
    return vlm_class(**settings | {"model": str(folder)} | changes)


def copy_sample(name, folder, without=()):
    shutil.copytree(SAMPLE / name, folder)
    for path in [path for pattern in without for path in folder.glob(pattern)]:
        path.unlink()
    return folder


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def picture(tmp_path):
    return Image("0", draw_pictures(tmp_path / "pictures", [(120, 60)])[0])


def test_a_backbone_without_tokenizer_files_is_rejected_with_both_sizes(tmp_path, picture):
    folder = copy_sample("clip", tmp_path / "clip", without=["tokenizer*"])
    backbone = make_backbone(folder)
    with pytest.raises(ModelError, match=rf"tokenizer of {folder} has 2 tokens.* table has 1200"):
        backbone.embed_texts(["Storm hits the harbour"])
    # Pictures are embedded without a tokenizer.
    assert backbone.embed_images([picture]).shape == (1, 128)


@pytest.mark.parametrize("name", ["llm", "vlm"])
@pytest.mark.parametrize("lost", ["tokenizer*", "tokenizer.json", "tokenizer_config.json"])
def test_a_chat_model_without_tokenizer_files_is_rejected(name, lost, tmp_path, picture):
    folder = copy_sample(name, tmp_path / name, without=[lost])
    llm = TransformersLLM(**LOCAL, model=str(folder), max_new_tokens=8, temperature=1.0, top_p=1.0)
    vlm = make_vlm(Qwen2VLM, folder)
    ask = {
        "llm": lambda: llm.generate([[{"role": "user", "content": "Storm"}]], None),
        "vlm": lambda: vlm.ask([picture], [["Fit?"]], ["1", "2"]),
    }
    with pytest.raises(ModelError, match=rf"the tokenizer of {folder} "):
        ask[name]()


def test_a_tokenizer_with_ids_beyond_the_embedding_table_is_rejected(tmp_path):
    folder = copy_sample("clip", tmp_path / "clip")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SAMPLE / "llm" / name, folder / name)
    with pytest.raises(ModelError, match=r"has 1400 tokens, ids up to 1399, .* table has 1200"):
        make_backbone(folder).embed_texts(["Storm"])


def test_a_tokenizer_without_merges_is_rejected(tmp_path):
    folder = copy_sample("clip", tmp_path / "clip")
    whole = json.loads((folder / "tokenizer.json").read_text())
    assert whole["model"]["merges"]
    whole["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    with pytest.raises(ModelError, match=r"encodes none of \d+ words of its vocabulary as one"):
        make_backbone(folder).embed_texts(["Storm"])


# Vocabulary and table sizes of published models: Qwen2-VL, Phi-2, T5, BLIP, CLIP, Pythia, Gemma 3.
PUBLISHED = [(151665, 151936), (50295, 51200), (32100, 32128), (30522, 30524), (49408, 49408)]
PUBLISHED += [(50277, 50688), (262145, 262208)]
# Missing tokenizer files, and tokenizers of SigLIP, CLIP, BERT and SigLIP 2 in another's folder.
UNFIT = [(2, 49408), (5, 30522), (32000, 49408), (49408, 32000), (30522, 49408), (256000, 32000)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_tokens", "n_rows", "fits"),
    [(*sizes, True) for sizes in PUBLISHED] + [(*sizes, False) for sizes in UNFIT],
)
def test_embedding_tables_may_be_padded_like_published_ones(n_tokens, n_rows, fits):
    words = {f"{i}": i for i in range(n_tokens)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="0")), pad_token="1"
    )
    config = CLIPConfig(text_config={"vocab_size": n_rows, "eos_token_id": 1, "pad_token_id": 1})
    if fits:
        check_tokenizer(tokenizer, config, "it")
    else:
        with pytest.raises(ModelError, match=f"has {n_tokens} tokens, .* table has {n_rows}"):
            check_tokenizer(tokenizer, config, "it")


def test_a_tokenizer_without_the_models_end_of_text_token_is_rejected():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({f"{i}": i for i in range(400)})), pad_token="1"
    )
    # Ids out of range are ignored, because SigLIP's config has one.
    for end, fits in ((399, True), (420, False), (99999, True)):
        config = CLIPConfig(
            text_config={"vocab_size": 448, "eos_token_id": end, "pad_token_id": None}
        )
        if fits:
            check_tokenizer(tokenizer, config, "it")
        else:
            with pytest.raises(ModelError, match=r"it lacks the token 420, the model's eos_token"):
                check_tokenizer(tokenizer, config, "it")


def test_an_image_processor_of_another_size_is_rejected_with_both_sizes(tmp_path, picture):
    folder = copy_sample("clip", tmp_path / "clip")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    for changes, made in (
        ({"size": {"height": 64, "width": 64}}, "64x64"),
        ({"size": {"shortest_edge": 96}}, "96x144 and 144x96"),
    ):
        (folder / "preprocessor_config.json").write_text(json.dumps(settings | changes))
        with pytest.raises(ModelError, match=rf"makes pictures of {made}, the model takes 96x96"):
            make_backbone(folder).embed_images([picture])


@pytest.mark.parametrize(
    ("vlm_class", "make", "changes", "message"),
    [
        (Qwen2VLM, make_qwen2_vl, {"merge_size": 1}, "merge_size 1, the model spatial_merge_s.* 2"),
        (SmolVLM, make_idefics, {"max_image_size": {"longest_edge": 64}}, "64x64.* takes 32x32"),
    ],
)
def test_an_image_processor_of_another_chat_model_is_rejected(
    vlm_class, make, changes, message, tmp_path, picture
):
    folder = Path(make(tmp_path / "vlm"))
    change_json(folder / "preprocessor_config.json", **changes)
    with pytest.raises(ModelError, match=message):
        make_vlm(vlm_class, folder).ask([picture], [["Fit?"]], ["1", "2"])


def test_image_processors_of_all_model_types_are_checked(tmp_path, picture):
    folder = Path(make_idefics(tmp_path / "vlm", "idefics3"))
    path = folder / "processor_config.json"
    settings = json.loads(path.read_text())
    settings["image_processor"]["max_image_size"] = {"longest_edge": 64}
    path.write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"makes pictures of 64x64, the model takes 32x32"):
        make_vlm(TransformersVLM, folder).ask([picture], [["Fit?"]], ["1", "2"])


def test_a_missing_image_processor_stops_an_index_instead_of_rejecting_all_pictures(
    tmp_path, newsimg_here, picture
):
    folder = copy_sample("clip", tmp_path / "clip", without=["preprocessor_config.json"])
    done = newsimg_here(
        "task=index",
        "data=collection",
        f"data.folder={picture.path.parent}",
        f"backbone.model={folder}",
        "tracking=none",
        "task.on_bad_image=skip",
    )
    assert done.code == 2
    assert f"the image processor of {folder} cannot be loaded" in done.output
    assert "cannot be used" not in done.output


def write_config(folder, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "wanted", "message"),
    [
        (
            {"architectures": ["CLIPModel"]},
            {"architectures": ["SiglipModel"], "vocab_size": 32000},
            r"backbone.model must be SiglipModel, but \S+ is CLIPModel; options for it: "
            r"backbone=clip_vit_b32, backbone=clip_vit_l14, backbone=pickscore, backbone=sample; "
            r"'backbone.architectures=\[CLIPModel\]' accepts it",
        ),
        (
            {"architectures": ["SiglipModel"], "text_config": {"vocab_size": 256000}},
            {"architectures": ["SiglipModel"], "vocab_size": 32000},
            r"must be vocab_size 32000, but \S+ is vocab_size 256000; options for it: "
            r"backbone=siglip2_base, backbone=siglip2_giant, backbone=siglip2_so400m, "
            r"backbone=siglip2_so400m_512; 'backbone.vocab_size=256000'",
        ),
        (
            {"architectures": ["BertModel"]},
            {"architectures": ["CLIPModel"]},
            r"is BertModel; no backbone option is for it; 'backbone.architectures=\[BertMod",
        ),
        (
            {"model_type": "clip"},
            {"architectures": ["CLIPModel"]},
            r"is of unknown architecture; no backbone option .*'backbone.architectures=null' acc",
        ),
    ],
)
def test_an_unexpected_architecture_is_rejected_with_the_options_that_fit(
    config, wanted, message, tmp_path
):
    folder = write_config(tmp_path / "model", **config)
    with pytest.raises(ModelError, match=message):
        _ = make_backbone(folder, **wanted).fingerprint  # before anything is loaded
    with pytest.raises(ModelError, match=message):
        make_backbone(folder, **wanted).embed_texts(["Storm"])
    assert make_backbone(folder).fingerprint


def test_an_unexpected_architecture_of_a_chat_model_is_rejected(tmp_path, picture):
    folder = make_qwen2_vl(tmp_path / "qwen")
    vlm = make_vlm(SmolVLM, folder, architectures=["SmolVLMForConditionalGeneration"])
    message = r"vlm.model must be SmolVLMFor\S+, but \S+qwen is Qwen2VLFor.*: vlm=qwen2_vl_7b, vlm="
    with pytest.raises(ModelError, match=message):
        vlm.ask([picture], [["Fit?"]], ["1", "2"])


def test_every_local_backbone_and_judge_lists_its_architectures():
    for group in ("backbone", "vlm"):
        for path in (CONF_DIR / group).glob("*.yaml"):
            named = re.search(r"^architectures: \[(.+?)\]", path.read_text(), re.MULTILINE)
            if path.stem not in ELSEWHERE:
                assert named, path
                assert path.stem in find_options(group, [named[1].split(", ")[0]], None)


def test_the_command_line_rejects_an_unexpected_architecture(newsimg_here, tiny_options):
    done = newsimg_here(*tiny_options, "backbone=siglip_base", "tracking=none")
    assert done.code == 2
    assert "must be SiglipModel, but" in done.output
    assert "backbone=clip_vit_b32" in done.output
