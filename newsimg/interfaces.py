"""The parts that a run is put together from. Start reading here."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from newsimg.datatypes import (
    Candidates,
    Chat,
    Chunks,
    Collection,
    Embedded,
    FloatArray,
    FusedArray,
    Image,
    IntArray,
    Job,
    KeepAnswers,
    KeepText,
    Listed,
    Query,
    Reading,
    RerankScores,
    RunInfo,
    SharedResults,
    ValidationRules,
)

if TYPE_CHECKING:
    import pandas as pd


class Dataset(ABC):
    """Where queries and images come from."""

    name: str  # of the collection; runs on the same data share an MLflow experiment
    is_sample: bool = False  # whether its pictures are those that the sample's models know alone

    @abstractmethod
    def load(self) -> Collection:
        """Read queries, pool and, if known, the editors' choices; errors name what is wrong."""

    def stream_images(self) -> Iterator[Listed]:
        """Yield the images in a fixed order, each once it is known, and what cannot be used."""
        return iter(self.load().images)

    def load_queries(self) -> Sequence[Query]:
        """Return the queries alone; a collection without any lists nothing for it."""
        return self.load().queries

    @abstractmethod
    def with_split(self, split: str) -> "Dataset":
        """Return the same data with another split's articles; ValueError if there is none."""


class Backbone(ABC):
    """A dual encoder: headlines and pictures in one space, where cosines say what fits."""

    query_template: str  # how a query becomes text, e.g. "{title}. {tags}"
    batch_size: int  # items per forward pass

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
        """Embed pictures: (n_images, dim) unit rows; a ValueError names one that cannot be read."""

    def with_digests(self, images: Sequence[Image]) -> Sequence[Image]:
        """Return the pictures, with the digests of their bytes where the cache tells them."""
        return images

    def find_truncated(self, texts: Sequence[str]) -> list[bool]:
        """Tell which texts are longer than the backbone reads: their ends count nothing."""
        return [False] * len(texts)

    def find_embeddings(self, images: Sequence[Image]) -> list[FloatArray | None]:
        """Return the embeddings that need not be computed, each (dim,); None for the others."""
        return [None] * len(images)

    def take_counts(self) -> dict[str, float]:
        """Return what a cache has counted since the last call; all of that is on disk then."""
        return {}

    def add_counts(self, counts: Mapping[str, float]) -> None:  # noqa: B027
        """Count what another process has done for this one, as `take_counts` tells it there."""

    def preprocess(self, image: Image) -> Any:
        """Do for one picture what comes before the model, in any thread; at the least nothing."""
        return image

    def embed_preprocessed(self, images: Sequence[Image], inputs: Sequence[Any]) -> FloatArray:
        """Embed a batch of `images` from what `preprocess` made of each; see `embed_images`."""
        return self.embed_images(images)


class ChatModel(ABC):
    """What the models that answer have in common."""

    repeatable: bool = True  # would answer the same again; if not, a useless answer is not kept

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies all that an answer depends on but what is asked: JSON, with `model` in it."""


class LanguageModel(ChatModel):
    """A chat model that writes."""

    @abstractmethod
    def generate(
        self, chats: Sequence[Chat], seed: int | None, keep: KeepText | None = None
    ) -> list[str]:
        """Answer each chat, whatever the others are.

        Args:
            chats: The conversations; the model writes the next turn of each.
            seed: None takes the likeliest token at each step, a number draws by it.
            keep: Called with each answer's position and text once it is there, in any order.
        """


class VisionLanguageModel(ChatModel):
    """A chat model that looks at a picture and answers questions about it."""

    @abstractmethod
    def ask(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        reading: Reading,
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """Ask about pictures, and read which of some answers the model gives.

        Args:
            images: Pictures, each of which is encoded once.
            questions: For each picture, what is asked about it.
            answers: Words; for "probabilities" of one token each, which is checked.
            reading: "probabilities": how likely each answer is as the next token, among all tokens.
                "text": the model writes, and the answer is found in its text.
            keep: Called with each question's result once it is there, in any order.

        Returns:
            For each picture (n_questions, n_answers): probabilities, summing to at most 1, or 1 for
            the answer that the text names; all zeros where none could be read.
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

    @abstractmethod
    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """Score candidates; `values` are aligned with `candidates`, never sorted."""


class Weight(ABC):
    """How much the second opinion counts."""

    value: float  # the reranker's share, in [0, 1]

    @abstractmethod
    def combine(self, retrieval: FloatArray, rerank: FloatArray) -> FusedArray:
        """Fuse two (n_queries, top_k) score arrays into one of the same shape; larger is better."""


class Engine(ABC):
    """Reads, judges and embeds pictures: in this process, or in several."""

    @abstractmethod
    def embed(
        self,
        listing: Chunks,
        numbers: range,
        backbone: Backbone,
        rules: ValidationRules,
        n_threads: int,
    ) -> Iterator[Embedded]:
        """Yield a result for each picture of the chunks `numbers`, in order, in constant memory."""


@dataclass(frozen=True)
class Components:
    """What a config instantiates, ready for a task to use."""

    dataset: Dataset
    backbone: Backbone
    index: Index
    reranker: Reranker
    weight: Weight
    top_k: int
    info: RunInfo = field(default_factory=RunInfo)
    shared: SharedResults = field(default_factory=SharedResults)  # with the other jobs of a sweep


class Task(ABC):
    """What a run does with its components."""

    tracked: bool = True  # whether a run of it is worth remembering
    parts: Sequence[str] = ("backbone", "index", "reranker")  # groups that it uses on pictures

    @abstractmethod
    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """Do it; write what is worth keeping below `output_dir` and return the metrics."""


class Tracker(ABC):
    """Logs runs, so that they can be compared."""

    @abstractmethod
    def track(self, job: Job) -> AbstractContextManager[None]:
        """Open a run; on exit, close it as FINISHED, FAILED (exception) or KILLED (Ctrl-C)."""

    @abstractmethod
    def find_finished(self, job: Job) -> dict[str, float] | None:
        """Return the metrics of a finished run with the job's tag `config_hash`, or None."""

    @abstractmethod
    def add_failed(self, job: Job, error: Exception) -> None:
        """Add a failed run to the open sweep for a job that failed before it called `track`."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], tags: dict[str, str] | None = None) -> None:
        """Add metrics and tags to the open run."""

    @abstractmethod
    def log_artifacts(self, output_dir: Path) -> None:
        """Add all files in `output_dir` to the open run, except those of nested runs."""

    @abstractmethod
    def open_sweep(
        self,
        experiment: str,
        name: str,
        output_dir: Path,
        objective: str | None = None,
        swept: Sequence[str] = (),
    ) -> None:
        """Open the parent run of a sweep, whose jobs have folders in `output_dir`.

        `objective` is the metric that it maximises, `swept` the overrides in which jobs differ.
        """

    @abstractmethod
    def load_jobs(self) -> "pd.DataFrame":
        """Return the open sweep's jobs: `name`, `status`, `error`, `link`, `params.*`, metrics."""

    @abstractmethod
    def close_sweep(
        self, status: str, metrics: Mapping[str, float], output_dir: Path | None, note: str
    ) -> None:
        """Close the parent run as FINISHED, FAILED or KILLED, with metrics, files and a note."""

    @abstractmethod
    def drop_sweep(self) -> None:
        """Delete the open sweep, which was rejected before its first job."""

    @abstractmethod
    def send_waiting(self) -> "pd.DataFrame":
        """Send what the store lacks of recorded runs: `name`, `status`, `folder`, `outcome`."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """Return the URL of the last run's page and the command that serves it, by label."""

    @abstractmethod
    def serve(self, port: int) -> AbstractContextManager[tuple[str, bool]]:
        """Serve the pages of runs inside the block, on 127.0.0.1, unless a server already does.

        Yields the URL of the latest run or sweep, and whether it is served inside the block only;
        a ValueError says that no runs are kept, or the port is in use.
        """
