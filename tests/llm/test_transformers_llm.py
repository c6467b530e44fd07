"""Small random language models of today's architectures against the library's own generation."""

import json

import pytest
import torch
from tiny_models import CHATML, CHATML_TOKENS, make_tokenizer, text_settings

from newsimg.llm.transformers_llm import TransformersLLM

CHATS = [
    [{"role": "system", "content": "Describe pictures."}, {"role": "user", "content": "Storm"}],
    [{"role": "user", "content": "A cow on a meadow; the harbour"}],
    [{"role": "user", "content": "Headline"}],
]
THINKING = CHATML.replace(
    "<|im_start|>assistant\n",
    "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}",
)
GEMMA3 = {
    "head_dim": 8,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}
VISION = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1},
    **{"num_attention_heads": 2, "image_size": 32, "patch_size": 8},
}
FAMILIES = {
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {"head_dim": 8}),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM", {"no_rope_layers": [1, 0]}),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", GEMMA3),
    # From 4B on, a model of pictures too, of which captions use the text alone.
    "gemma3_4b": ("Gemma3Config", "Gemma3ForConditionalGeneration", GEMMA3),
}


@pytest.fixture(params=FAMILIES, scope="module")
def folder(request, tmp_path_factory):
    import transformers

    config, model, settings = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = make_tokenizer(CHATML_TOKENS, THINKING)
    torch.manual_seed(4)
    arguments = text_settings(tokenizer, tie_word_embeddings=False, **settings)
    if config == "Gemma3Config":
        arguments = {
            **{"text_config": arguments, "vision_config": VISION, "mm_tokens_per_image": 4},
            **{"tie_word_embeddings": False, "pad_token_id": tokenizer.pad_token_id},
        }
    made = getattr(transformers, model)(getattr(transformers, config)(**arguments))
    for parameter in made.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=2 * parameter.shape[1] ** -0.5)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_llm(folder, **changes):
    settings = {"revision": "main", "dtype": "float32", "device": "cpu", "batch_size": 3}
    settings |= {"max_new_tokens": 12, "temperature": 0.7, "top_p": 0.9}
    return TransformersLLM(model=folder, **settings | changes)


@pytest.mark.parametrize("variables", [None, {"enable_thinking": False}])
def test_answers_are_those_of_the_library_to_one_prompt_at_a_time(folder, variables):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for chat in CHATS:
        prompt = "".join(
            f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in chat
        )
        prompt += "<|im_start|>assistant\n" + ("<think>\n\n</think>\n\n" if variables else "")
        inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=12)
        expected.append(
            tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        )
    llm = make_llm(folder, chat_template_kwargs=variables)
    assert llm.generate(CHATS, None) == expected
    assert type(llm.model) is type(model)
    assert type(model).__name__ in {name for _, name, _ in FAMILIES.values()}
    assert len(set(expected)) > 1


def test_a_drawn_answer_depends_on_prompt_and_seed_and_not_on_the_batch(folder):
    together = make_llm(folder).generate(CHATS, 7)
    alone = [make_llm(folder, batch_size=1).generate([chat], 7)[0] for chat in CHATS]
    assert together == alone
    assert make_llm(folder).generate(CHATS, 8) != together


def test_variables_of_the_template_are_part_of_the_fingerprint(folder):
    plain = make_llm(folder)
    other = make_llm(folder, chat_template_kwargs={"enable_thinking": False})
    assert json.loads(plain.fingerprint) | {
        "chat_template_kwargs": {"enable_thinking": False}
    } == json.loads(other.fingerprint)
    with pytest.raises(ValueError, match=r"must hold variables of the template, got tokenize"):
        make_llm(folder, chat_template_kwargs={"tokenize": True})
