"""Train the sample's language model: python -m newsimg.sample.training.train_llm --out FOLDER."""

import argparse
import os
import time
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from newsimg.sample.training.chat_parts import END, train_chat_tokenizer
from newsimg.sample.training.llm_examples import Example, write_chat, write_examples

SEED = 31
N_EXAMPLES, N_EPOCHS, N_CHECK = 16_000, 1, 400
BATCH_SIZE = 32
LEARNING_RATE = 3e-3
VOCABULARY_SIZE = 1400
FEWER_CAPTIONS = (
    1,
    3,
)  # requested in some batches, so that the model follows the number in the prompt
FEWER_SHARE = 0.1
IGNORED = -100  # label of tokens without a loss


def main() -> None:
    """Train, save and evaluate on headlines of other scenes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "llm")
    parser.add_argument("--examples", type=int, default=N_EXAMPLES)
    parser.add_argument("--epochs", type=int, default=N_EPOCHS)
    arguments = parser.parse_args()
    start = time.perf_counter()
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    examples = write_examples(arguments.examples, SEED)
    tokenizer = train_chat_tokenizer(list_texts(examples[:8000]), VOCABULARY_SIZE)
    model = build_model(tokenizer)
    n_parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{n_parameters} parameters, examples after {time.perf_counter() - start:.0f} s", flush=True
    )
    fit(model, tokenizer, examples, arguments.epochs)
    save(model, tokenizer, arguments.out)
    print(f"trained after {time.perf_counter() - start:.0f} s", flush=True)
    print_figures(model.half().float(), tokenizer, write_examples(N_CHECK, SEED + 1))


def list_texts(examples: list[Example]) -> list[str]:
    """Return the training texts of the tokenizer: headlines, captions and the prompt."""
    titles = [example.title for example in examples]
    captions = ["; ".join(example.captions) for example in examples]
    prompt = (
        "\n".join(f"{part['role']}\n{part['content']}" for part in write_chat("")) + "assistant"
    )
    return titles + captions + [prompt] * (len(examples) // 10)


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return a Llama of under a million parameters with random weights."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def fit(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    examples: list[Example],
    n_epochs: int,
) -> None:
    """Train the model in place, with a loss on the tokens of the answers only."""
    rng = np.random.default_rng([9, SEED])
    n_steps = n_epochs * (len(examples) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=n_steps, pct_start=0.08
    )
    model.train()
    losses, start = [], time.perf_counter()
    for epoch in range(n_epochs):
        order = rng.permutation(len(examples))
        for first in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            n_captions = int(rng.choice(FEWER_CAPTIONS)) if rng.random() < FEWER_SHARE else 5
            batch = [examples[i] for i in order[first : first + BATCH_SIZE]]
            loss = _answer_loss(model, *_write_rows(tokenizer, batch, n_captions))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if len(losses) % 100 == 0:
                report = f"loss {np.mean(losses[-100:]):.4f}, {time.perf_counter() - start:.0f} s"
                print(f"epoch {epoch + 1}, step {len(losses)}/{n_steps}: {report}", flush=True)


def _write_rows(
    tokenizer: PreTrainedTokenizerFast, examples: list[Example], n_captions: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Return the tokens of each prompt, and of each answer with its end token."""
    chats = [write_chat(example.title, n_captions) for example in examples]
    prompts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    answers = ["; ".join(example.captions[:n_captions]) + END for example in examples]
    rows = tokenizer([*prompts, *answers], add_special_tokens=False)["input_ids"]
    return rows[: len(examples)], rows[len(examples) :]


def _answer_loss(
    model: LlamaForCausalLM, prompts: list[list[int]], answers: list[list[int]]
) -> Tensor:
    n_shared = count_shared(prompts)
    # The common prefix of the prompts is computed once for the batch.
    cache = model(input_ids=torch.tensor([prompts[0][:n_shared]]), use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(prompts))
    rows = [prompt[n_shared:] + answer for prompt, answer in zip(prompts, answers, strict=True)]
    longest = max(map(len, rows))
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full_like(tokens, IGNORED)
    for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        tokens[i, : len(row)] = torch.tensor(row)
        labels[i, len(row) - len(answer) : len(row)] = torch.tensor(answer)
    # Padding is on the right, where causal attention ignores it.
    hidden = model.model(input_ids=tokens, past_key_values=cache).last_hidden_state[:, :-1]
    answered = labels[:, 1:] != IGNORED
    return torch.nn.functional.cross_entropy(
        model.lm_head(hidden[answered]), labels[:, 1:][answered]
    )


def count_shared(rows: list[list[int]]) -> int:
    """Return the length of the common prefix of all rows."""
    columns = zip(*rows, strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the model (float16) and its tokenizer as a folder of the transformers library."""
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.half().save_pretrained(out)
    model.float()
    tokenizer.save_pretrained(out)


def print_figures(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, examples: list[Example]
) -> None:
    """Print how often the captions of other headlines are the expected ones."""
    answers = answer(model, tokenizer, [example.title for example in examples])
    captions = [text.split("; ") for text in answers]
    pairs = list(zip(captions, examples, strict=True))
    n_different = np.array([len(set(own)) for own in captions])
    first = np.mean([own[0] == example.captions[0] for own, example in pairs])
    found = np.mean([caption in example.captions for own, example in pairs for caption in own])
    print(f"five different captions {np.mean(n_different == 5):.3f}")
    print(f"first caption correct {first:.3f}, captions among the expected ones {found:.3f}")
    for example, text in list(zip(examples, answers, strict=True))[:3]:
        print(f"{example.title}\n  -> {text}")


def answer(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, titles: list[str]
) -> list[str]:
    """Return the answer for each headline by greedy decoding."""
    model.eval()
    tokenizer.padding_side = "left"
    chats = [write_chat(title) for title in titles]
    prompts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    answers: list[str] = []
    for first in range(0, len(prompts), 50):
        inputs = tokenizer(
            prompts[first : first + 50],
            padding=True,
            add_special_tokens=False,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        tokens = model.generate(**inputs, max_new_tokens=160)
        written = tokens[:, inputs["input_ids"].shape[1] :]
        answers += tokenizer.batch_decode(written, skip_special_tokens=True)
    return answers


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.disable_progress_bar()
    main()
