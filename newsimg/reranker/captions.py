"""Picture captions for headlines: asking a language model, and reading its answer."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Any

from tqdm import tqdm

from newsimg.datatypes import Query
from newsimg.interfaces import LanguageModel
from newsimg.reranker.caption_file import CaptionFile
from newsimg.storage.files import user_cache_dir

log = logging.getLogger(__name__)

LIST_MARK = re.compile(
    r"^\s*(?:[-*•–]\s+|\(?\d{1,2}[.):]\s*|captions?\s*\d*\s*:\s*)", re.IGNORECASE
)
N_WRAPPINGS = 8
QUOTES = "\"'“”‘’„‚«»`*"
LONGEST_CAPTION = 1000  # letters; a model that repeats itself does not write a caption
FIELDS = {"title", "num_captions"}


class Captioner:
    """Captions headlines with a language model, and keeps what it wrote in a file.

    Args:
        llm: Writes the captions; None takes those of the file.
        prompt: `system` and `user`, with the fields {title} and {num_captions}.
        num_captions: How many to take: the first of those that there are. As many are asked for, or
            as many as the file's were made by asking for, if that is more.
        seed: None takes the model's likeliest answer, a number draws one.
        captions_path: The file; None for one in the cache, named after model, prompt and settings.

    Raises:
        ValueError: If an argument is not what it should be; names it.
    """

    def __init__(
        self,
        *,
        llm: LanguageModel | None,
        prompt: Mapping[str, str],
        num_captions: int,
        seed: int | None,
        captions_path: str | None,
    ) -> None:
        if num_captions < 1:
            raise ValueError(f"num_captions must be at least 1, got {num_captions}")
        if llm is None and captions_path is None:
            raise ValueError("captions_path must name a file where llm is null, got null")
        self.llm = llm
        self.prompt = check_prompt(prompt)
        self.num_captions = num_captions
        self.seed = seed
        self.captions_path = captions_path

    def caption(self, queries: Sequence[Query]) -> list[dict[str, Any]]:
        """Return a record for each query: `article_id`, `title`, `captions` and their origin.

        What the file has is not written again; a new record is on disk as soon as there is one. A
        headline without captions is recorded only if the model would answer the same again. What is
        returned has the first `num_captions` captions, and fewer where the file has fewer.

        Raises:
            ValueError: If the file was made for other articles, by another model, prompt or
                settings, if it lacks articles and there is no model to write captions, or if the
                model leaves articles out.
        """
        file, n_asked = self._open()
        origin = None if self.llm is None else self.describe_origin(self.llm, n_asked)
        found = self._find(file, queries, origin)
        if None in found:
            if self.llm is None or origin is None:
                lacking = [q.query_id for q, f in zip(queries, found, strict=True) if f is None]
                raise ValueError(
                    f"{file.path} lacks {len(lacking)} of {len(queries)} articles, {lacking[0]!r} "
                    "the first, and llm is null"
                )
            with file.lock():  # another process may be captioning the same articles
                found = self._find(file, queries, origin)
                missing = [i for i, record in enumerate(found) if record is None]
                written = self._write(self.llm, [queries[i] for i in missing], file, origin)
            for i in missing:
                found[i] = written.get((queries[i].query_id, queries[i].title))
        records = [record for record in found if record is not None]
        if len(records) < len(queries):
            n_lacking = len(queries) - len(records)
            raise ValueError(f"the language model left out {n_lacking} of {len(queries)} articles")
        n = self.num_captions
        return [record | {"captions": record["captions"][:n]} for record in records]

    def _find(
        self, file: CaptionFile, queries: Sequence[Query], origin: dict[str, Any] | None
    ) -> list[dict[str, Any] | None]:
        found = file.find(queries, origin)
        if self.llm is None or self.llm.repeatable:
            return found
        return [record if record and record["captions"] else None for record in found]

    def count(self, captions: Sequence[Sequence[str]]) -> dict[str, float]:
        """Count the headlines without captions and those with fewer than asked for; warn of these.

        Args:
            captions: Those of each headline.

        Returns:
            `captions_missing` and `captions_fewer`.
        """
        n_fewer = sum(0 < len(own) < self.num_captions for own in captions)
        if n_fewer:
            log.warning(
                "%d of %d headlines have fewer captions than the %d asked for",
                n_fewer,
                len(captions),
                self.num_captions,
            )
        n_missing = sum(not own for own in captions)
        return {"captions_missing": n_missing, "captions_fewer": n_fewer}

    def _open(self) -> tuple[CaptionFile, int]:
        """Return the file, and how many captions to ask for."""
        if self.captions_path is not None:
            file = CaptionFile(Path(self.captions_path).expanduser(), shared=False)
            return file, max(self.num_captions, file.read_n_asked())
        if self.llm is None:
            raise ValueError("captions_path must name a file where llm is null, got null")
        origin = self.describe_origin(self.llm, self.num_captions)
        name = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:24]
        path = user_cache_dir() / "captions" / f"{name}.jsonl"
        return CaptionFile(path, shared=True), self.num_captions

    def describe_origin(self, llm: LanguageModel, n_asked: int) -> dict[str, Any]:
        """Return what a caption comes from: model, revision, prompt and settings."""
        settings = json.loads(llm.fingerprint)
        return {
            "model": settings.pop("model"),
            "revision": settings.pop("revision", None),
            "prompt_hash": hashlib.sha256(
                json.dumps(self.prompt, sort_keys=True).encode()
            ).hexdigest(),
            "settings": settings | {"num_captions": n_asked, "seed": self.seed},
        }

    def _write(
        self,
        llm: LanguageModel,
        queries: Sequence[Query],
        file: CaptionFile,
        origin: dict[str, Any],
    ) -> dict[tuple[str, str], dict[str, Any]]:
        written: dict[tuple[str, str], dict[str, Any]] = {}
        failed: list[Query] = []
        lacking: list[Query] = []
        n_asked = origin["settings"]["num_captions"]

        def keep(query: Query, answer: str, last: bool = False) -> None:
            captions = parse_captions(answer, query.title, n_asked)
            if not captions and not last:
                failed.append(query)
                return
            record = {"article_id": query.query_id, "title": query.title, "captions": captions}
            written[query.query_id, query.title] = record | origin
            if captions or llm.repeatable:
                file.append([record | origin])
            if not captions:
                lacking.append(query)

        self._ask(llm, queries, n_asked, self.seed, keep)
        if failed:
            log.warning(
                "%s hold no caption; asking again with another seed",
                _count_answers(failed, len(queries)),
            )
            self._ask(llm, failed, n_asked, (self.seed or 0) + 1, partial(keep, last=True))
        if lacking:
            log.warning(
                "%s hold no caption again%s",
                _count_answers(lacking, len(queries)),
                "" if llm.repeatable else "; the next run asks for them once more",
            )
        return written

    def _ask(
        self,
        llm: LanguageModel,
        queries: Sequence[Query],
        n_asked: int,
        seed: int | None,
        keep: Callable[[Query, str], None],
    ) -> None:
        chats = [
            [
                {"role": role, "content": fill(text, query.title, n_asked)}
                for role, text in self.prompt.items()
            ]
            for query in queries
        ]
        with tqdm(
            total=len(chats), desc="Captioning", leave=False, delay=1, disable=None
        ) as progress:

            def keep_at(i: int, answer: str) -> None:
                keep(queries[i], answer)
                progress.update()

            llm.generate(chats, seed, keep_at)


def _count_answers(queries: Sequence[Query], n_asked: int) -> str:
    named = ", ".join(repr(query.query_id) for query in queries[:3])
    return f"{len(queries)} of {n_asked} answers ({named}{', ...' if len(queries) > 3 else ''})"


def check_prompt(prompt: Mapping[str, str]) -> dict[str, str]:
    """Return `prompt`, the system's part first.

    Raises:
        ValueError: If it is not `system` and `user`, with known fields, {title} among them.
    """
    if set(prompt) != {"system", "user"}:
        raise ValueError(f"prompt must have system and user, got {', '.join(prompt)}")
    names = {role: {n for _, n, _, _ in Formatter().parse(prompt[role]) if n} for role in prompt}
    if unknown := sorted((names["system"] | names["user"]) - FIELDS):
        raise ValueError(f"prompt may use {{title}} and {{num_captions}}, got {{{unknown[0]}}}")
    if "title" not in names["user"]:
        raise ValueError(f"prompt.user must use {{title}}, got {prompt['user']!r}")
    return {role: prompt[role] for role in ("system", "user")}


def fill(text: str, title: str, num_captions: int) -> str:
    """Fill a prompt's fields."""
    return text.format(title=title, num_captions=num_captions)


def parse_captions(answer: str, title: str, num_captions: int) -> list[str]:
    """Find the captions in an answer: parts between semicolons or lines, at most `num_captions`.

    Numbering, bullets and quotes around a part are dropped, and so are parts without a letter,
    parts too long for a caption, repeats of the headline or of an earlier caption, and lines that
    announce a list.
    """
    captions: list[str] = []
    seen = {_fold(title)}
    for part in re.split(r"[;\n]", answer):
        if part.rstrip().endswith(":"):
            continue
        caption = clean_caption(part)
        too_long = len(caption) > LONGEST_CAPTION
        if any(map(str.isalpha, caption)) and not too_long and _fold(caption) not in seen:
            seen.add(_fold(caption))
            captions.append(caption)
    return captions[:num_captions]


def clean_caption(part: str) -> str:
    """Strip numbering, quotes and spaces."""
    for _ in range(N_WRAPPINGS):  # a quoted number, a numbered quote
        part = LIST_MARK.sub("", part.strip().strip(QUOTES).strip())
    return " ".join(part.split())


def _fold(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
