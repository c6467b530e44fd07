"""The parts that a run is put together from. Start reading here."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from newsimg.datatypes import (
    Candidates,
    Collection,
    FloatArray,
    FusedArray,
    Image,
    IntArray,
    Listed,
    Query,
)


class Dataset(ABC):
    """Where queries and images come from."""

    name: str
    """Names the collection; runs on the same data share an MLflow experiment."""
    is_sample: bool = False
    """Whether its pictures are the sample newsroom's, which the sample's models know alone."""

    @abstractmethod
    def load(self) -> Collection:
        """Read the queries, the pool of images and, where known, the editors' choices.

        Raises:
            ValueError: If the data is not what the config says; names file, row and value.
            FileNotFoundError: If a file or a picture is not there.
        """

    def stream_images(self) -> Iterator[Listed]:
        """Yield the images in a fixed order, each as soon as it is known; ids are unique.

        A collection without articles lists its pictures here and never holds them all. It yields
        what it cannot use or passes over, too, so that nothing is lost without a word.
        """
        return iter(self.load().images)

    def load_queries(self) -> Sequence[Query]:
        """Return the queries alone; none, and nothing is listed, of a collection without any."""
        return self.load().queries

    @abstractmethod
    def with_split(self, split: str) -> "Dataset":
        """Return the same data, with the articles of another split.

        Raises:
            ValueError: If there is no such split.
        """


class Backbone(ABC):
    """A dual encoder: headlines and pictures in one space, where cosines say what fits."""

    query_template: str
    """How a query becomes text, e.g. "{title}. {tags}"."""
    batch_size: int
    """Items per forward pass."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies all that an embedding depends on: weights, dtype, preprocessing, padding."""

    @property
    def description(self) -> Mapping[str, Any]:
        """What the fingerprint stands for, in words: `model`, and settings by argument."""
        return {"class": type(self).__name__}

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts: (n_texts, dim) float32, rows of unit length."""

    @abstractmethod
    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """Embed pictures: (n_images, dim) float32, rows of unit length.

        Raises:
            ValueError: If a picture cannot be read; names it.
        """

    def with_digests(self, images: Sequence[Image]) -> Sequence[Image]:
        """Return the pictures, with the digests of their bytes where the cache tells them."""
        return images

    def find_truncated(self, texts: Sequence[str]) -> list[bool]:
        """Tell which texts are longer than the backbone reads, so that their ends count nothing."""
        return [False] * len(texts)

    def find_embeddings(self, images: Sequence[Image]) -> list[FloatArray | None]:
        """Return the embeddings that need not be computed, each (dim,); None for the others."""
        return [None] * len(images)

    def preprocess(self, image: Image) -> Any:
        """Do for one picture what comes before the model, in any thread; at the least nothing.

        Raises:
            ValueError: If the picture cannot be read; names it.
        """
        return image

    def embed_preprocessed(self, images: Sequence[Image], inputs: Sequence[Any]) -> FloatArray:
        """Embed a batch of `images` from what `preprocess` made of each; see `embed_images`."""
        return self.embed_images(images)


class LanguageModel(ABC):
    """A chat model that writes."""

    repeatable: bool = True
    """Whether it would answer the same again; if not, an answer of no use is not kept."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies all that an answer depends on but the chat: a JSON object, `model` in it."""

    @abstractmethod
    def generate(
        self,
        chats: Sequence[Sequence[Mapping[str, str]]],
        seed: int | None,
        keep: Callable[[int, str], None] | None = None,
    ) -> list[str]:
        """Answer each chat: messages with `role` (system, user, assistant) and `content`.

        An answer depends on its chat and the seed, not on the other chats.

        Args:
            chats: The conversations; the model writes the next turn of each.
            seed: None takes the likeliest token at each step, a number draws by it.
            keep: Called with every answer and its position as soon as there is one, in any order,
                so that what follows cannot cost what is answered.
        """


KeepAnswers = Callable[[int, Mapping[int, FloatArray]], None]
"""Takes a picture's position and, by position, (n_answers,) for some of its questions."""


class VisionLanguageModel(ABC):
    """A chat model that looks at a picture and answers questions about it."""

    repeatable: bool = True
    """Whether it would answer the same again; if not, an answer of no use is not kept."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies all that an answer depends on but picture and question, as JSON."""

    @abstractmethod
    def answer_probabilities(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """Read how likely each answer is as the next token, among all tokens.

        Args:
            images: Pictures, each of which is encoded once.
            questions: For each picture, what is asked about it.
            answers: Words of one token each.
            keep: Called with every question's result as soon as there is one, in any order, so that
                what follows cannot cost what is answered.

        Returns:
            For each picture (n_questions, n_answers): probabilities, summing to at most 1; all
            zeros where none could be read.

        Raises:
            ValueError: If an answer is not one token after the prompt, or a picture is unreadable.
        """

    @abstractmethod
    def choose_answers(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """Let the model write, and find the answer in its text.

        Returns:
            As `answer_probabilities`, with 1 for the answer that the text names; all zeros where it
            names none.
        """


class Index(ABC):
    """Finds the images nearest to a query."""

    @property
    def images(self) -> Sequence[Image] | None:
        """The pictures that a saved index brings along; None: it is built from a collection's."""
        return None

    @abstractmethod
    def build(self, embeddings: FloatArray) -> None:
        """Index `embeddings`: (n_images, dim) float32, rows of unit length."""

    @abstractmethod
    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """Find the `top_k` nearest images of each query.

        Args:
            embeddings: (n_queries, dim) float32, rows of unit length.
            top_k: Images per query, between 1 and the number of images built.

        Returns:
            scores: (n_queries, top_k) float32, cosine in [-1, 1], descending.
            rows: (n_queries, top_k) int64, positions in the built array.

        Raises:
            ValueError: If `dim` differs from the index's, or `top_k` is out of range.
        """


class Reranker(ABC):
    """A second opinion on the candidates."""

    metrics: Mapping[str, float] = MappingProxyType({})
    """What the last `score` counted, such as candidates that could not be judged."""
    parts: Mapping[str, FloatArray] = MappingProxyType({})
    """What the last `score` was made of, by criterion: each (n_queries, top_k), aligned with it."""
    captions: Sequence[Sequence[str]] = ()
    """The captions that the last `score` went by, query by query; empty if by none."""

    @abstractmethod
    def score(self, queries: Sequence[Query], candidates: Candidates) -> FloatArray:
        """Score candidates: (n_queries, top_k) float32, aligned with `candidates`, never sorted."""


class Weight(ABC):
    """How much the second opinion counts."""

    value: float
    """The reranker's share, in [0, 1]."""

    @abstractmethod
    def combine(self, retrieval: FloatArray, rerank: FloatArray) -> FusedArray:
        """Fuse two (n_queries, top_k) score arrays into one of the same shape; larger is better."""


@dataclass(frozen=True)
class RunInfo:
    """What a run says of itself, on the console and on its pages.

    Attributes:
        data: Name and split of the data.
        reranker: The option of the group `reranker`.
        normalization: The option of the group `weight`.
        flags: What was typed before the overrides, such as --config-dir.
        overrides: What was typed, for the commands that a task prints.
        is_sample: Whether its pictures are the sample newsroom's.
        warning: What its pages say first; empty for nothing.
    """

    data: str = ""
    reranker: str = ""
    normalization: str = ""
    flags: Sequence[str] = ()
    overrides: Sequence[str] = ()
    is_sample: bool = False
    warning: str = ""


@dataclass(frozen=True)
class Components:
    """What a config instantiates, ready for a task to use."""

    dataset: Dataset
    backbone: Backbone
    index: Index
    reranker: Reranker
    weight: Weight
    top_k: int
    info: RunInfo = RunInfo()


class Task(ABC):
    """What a run does with its components."""

    tracked: bool = True
    """Whether a run of it is worth remembering; not if it only looks after those that are."""
    parts: Sequence[str] = ("backbone", "index", "reranker")
    """The groups that it uses on pictures, beside its own values."""

    @abstractmethod
    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """Do it; write what is worth keeping below `output_dir` and return the metrics."""
