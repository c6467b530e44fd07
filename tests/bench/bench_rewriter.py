"""Tokens written per second by the rewriter: batches of 16, of 128, of `auto`, and a static cache.

    python tests/bench/bench_rewriter.py [--chats 128] [--tokens 64] [--rounds 3] [--static]

With a GPU the model has the shape of Llama-3-8B in bfloat16, without one a small shape in float32;
the weights are random, the vocabulary is Llama-3's. Answers are drawn with a seed, and all have the
same length. Methods alternate; the table has medians. With `--static` a static cache is measured
too, for which the model is compiled on a GPU in the warm-up: an H100 needs more than a minute.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from timing import time_in_turn
from tiny_models import make_llama  # type: ignore[import-not-found]
from transformers import LlamaConfig, LlamaForCausalLM

from newsimg.llm.transformers_llm import TransformersLLM
from newsimg.reporting.console import print_table

ON_GPU = torch.cuda.is_available()
VOCABULARY = 128256
EIGHT_BILLION = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
SMALL = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TITLES = ("Storm hits the harbour", "Milk prices fall again across the country", "Cup final")


def main() -> None:
    """Measure all methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=128 if ON_GPU else 32)
    parser.add_argument("--tokens", type=int, default=64 if ON_GPU else 16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--static", action="store_true", help="measure the static cache too")
    options = parser.parse_args()
    chats = [
        [{"role": "user", "content": f"Describe photographs for {TITLES[i % 3]}, number {i}."}]
        for i in range(options.chats)
    ]
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(make_llama(Path(folder))))
        llms = {
            "batch_size=16": make_llm(folder, model, 16, options.tokens),
            "batch_size=128": make_llm(folder, model, 128, options.tokens),
            "batch_size=auto": make_llm(folder, model, "auto", options.tokens),
        }
        if options.static:
            llms["batch_size=auto, static cache"] = make_llm(
                folder, model, "auto", options.tokens, cache_implementation="static"
            )
        methods = {name: partial(llm.generate, chats, 28) for name, llm in llms.items()}
        answers = {name: method() for name, method in methods.items()}  # warm-up
        medians = time_in_turn(methods, options.rounds)
    rows = [
        {
            "method": name,
            "tokens/s": f"{options.chats * options.tokens / median:.0f}",
            "speedup": f"{medians['batch_size=16'] / median:.2f}",
            "same answers": f"{count_equal(answers['batch_size=16'], answers[name])}",
        }
        for name, median in medians.items()
    ]
    device = torch.cuda.get_device_name() if ON_GPU else "CPU"
    title = f"{device}, {options.chats} chats of {options.tokens} tokens"
    print_table(pd.DataFrame(rows), f"{title}, medians of {options.rounds}")


def make_model(folder: Path) -> Any:
    """Return a model with random weights for the tokenizer of a folder."""
    shape = EIGHT_BILLION if ON_GPU else SMALL
    ends = LlamaConfig.from_pretrained(folder).eos_token_id
    config = LlamaConfig(**shape, vocab_size=VOCABULARY, eos_token_id=ends)
    torch.manual_seed(0)
    with torch.device("cuda" if ON_GPU else "cpu"):
        dtype = torch.bfloat16 if ON_GPU else torch.float32
        return LlamaForCausalLM._from_config(config, dtype=dtype).eval()


def make_llm(
    folder: str, model: Any, batch_size: Any, n_tokens: int, **generation: Any
) -> TransformersLLM:
    """Return a rewriter with the model, which writes `n_tokens` tokens."""
    llm = TransformersLLM(
        model=folder,
        revision="main",
        dtype="bfloat16" if ON_GPU else "float32",
        device="auto",
        batch_size=batch_size,
        max_new_tokens=n_tokens,
        temperature=0.7,
        top_p=0.9,
        generation={"min_new_tokens": n_tokens} | generation,
    )
    vars(llm)["model"] = model  # instead of the one in the folder
    return llm


def count_equal(first: list[str], second: list[str]) -> str:
    """Return how many answers are equal, as a share."""
    n_equal = sum(one == other for one, other in zip(first, second, strict=True))
    return f"{n_equal} of {len(first)}"


if __name__ == "__main__":
    main()
