"""Interfaces of all components. Start reading here."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    KeepRow,
    KeepText,
    KeepWritten,
    Listed,
    PictureFilter,
    Query,
    Rating,
    RerankScores,
    RunInfo,
    SharedResults,
    ValidationRules,
)

if TYPE_CHECKING:
    import pandas as pd


class Dataset(ABC):
    """A source of queries and images."""

    name: str  # collection; runs on the same data share an MLflow experiment
    filter: PictureFilter | None = None  # which pictures are searched and indexed
    is_sample: bool = (
        False  # whether the pictures are those that the sample's models were trained for
    )

    @abstractmethod
    def load(self) -> Collection:
        """Read the queries, the images and, if known, the relevant image of each query."""

    def stream_images(self) -> Iterator[Listed]:
        """Yield images in a fixed order as they are listed, and rejected or skipped files."""
        return iter(self.load().images)

    def load_queries(self) -> Sequence[Query]:
        """Return the queries without listing images."""
        return self.load().queries

    @abstractmethod
    def with_split(self, split: str) -> "Dataset":
        """Return a copy with another split; ValueError if the split does not exist."""


class Survey(ABC):
    """A survey in which people rated pictures of articles."""

    @abstractmethod
    def read(self, dataset: Dataset) -> list[Rating]:
        """Return the ratings, with pseudonyms of the raters.

        Args:
            dataset: The run's data, for a survey that is made up for it.
        """


class Backbone(ABC):
    """A dual encoder that embeds headlines and pictures in one space."""

    query_template: str | list[str]  # how a query becomes text, e.g. "{title}. {tags}"; or several
    batch_size: int  # items per forward pass

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifier of all that embeddings depend on: weights, dtype, preprocessing, padding."""

    @property
    def description(self) -> Mapping[str, Any]:
        """Readable form of the fingerprint: `model`, and settings by argument."""
        return {"class": type(self).__name__}

    @property
    def is_asynchronous(self) -> bool:
        """Whether pictures are embedded on a GPU, and by several threads at a time."""
        return False

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts: (n_texts, dim) float32, rows of unit length."""

    @abstractmethod
    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """Embed pictures: (n_images, dim) unit rows; ValueError names an unreadable picture."""

    def with_digests(self, images: Sequence[Image]) -> Sequence[Image]:
        """Return the pictures with the digests of their bytes, if there is a cache of digests."""
        return images

    def find_truncated(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether it exceeds the backbone's text length and is truncated."""
        return [False] * len(texts)

    def find_embeddings(self, images: Sequence[Image]) -> list[FloatArray | None]:
        """Return the cached embedding of each picture, (dim,), or None."""
        return [None] * len(images)

    def take_counts(self) -> dict[str, float]:
        """Write cached results to disk and return the counts since the last call."""
        return {}

    def add_counts(self, counts: Mapping[str, float]) -> None:  # noqa: B027
        """Add counts that another process returned from `take_counts`."""

    def load_preprocessing(self) -> None:  # noqa: B027
        """Load what `preprocess` needs, so that copies of this in other processes need not."""

    def preprocess(self, image: Image) -> Any:
        """Preprocess one picture, in any thread; by default do nothing."""
        return image

    def embed_preprocessed(self, images: Sequence[Image], inputs: Sequence[Any]) -> FloatArray:
        """Embed a batch of `images` from the results of `preprocess`; see `embed_images`."""
        return self.embed_images(images)


class ChatModel(ABC):
    """Base of language and vision-language models."""

    repeatable: bool = True  # deterministic; if not, unusable answers are not cached

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifier of everything but the prompt that answers depend on: JSON with key `model`."""


class LanguageModel(ChatModel):
    """A chat model that generates text."""

    @abstractmethod
    def generate(
        self, chats: Sequence[Chat], seed: int | None, keep: KeepText | None = None
    ) -> list[str]:
        """Answer chats; an answer does not depend on the other chats.

        Args:
            chats: Conversations, of each of which the model writes the next turn.
            seed: Seed of sampling; None for greedy decoding.
            keep: Called with the position and text of each answer when it is available, in any
                order.
        """


class VisionLanguageModel(ChatModel):
    """A chat model that answers questions about a picture."""

    @abstractmethod
    def ask(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """Ask questions about pictures and return how likely each of the given answers is.

        Args:
            images: Pictures, each of which is encoded once.
            questions: Questions about each picture.
            answers: Possible answers, each of which must be one token.
            keep: Called with the result of each question when it is available, in any order.

        Returns:
            For each picture (n_questions, n_answers): probability of each answer as the next token,
            among all tokens, so that they sum to at most 1.
        """

    @abstractmethod
    def write(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        keep: KeepWritten | None = None,
        is_answer: Callable[[str], bool] | None = None,
    ) -> list[list[str]]:
        """Write an answer to each question about each picture, greedily.

        Args:
            images: Pictures.
            questions: Questions about each picture.
            keep: Called with each answer when it is available, in any order.
            is_answer: Whether a text answers its question. If the model is not repeatable, other
                texts are not cached.

        Returns:
            The answers to each picture's questions.
        """

    def compare(
        self,
        images: Sequence[Sequence[Image]],
        questions: Sequence[str],
        max_side: int,
        max_new_tokens: int,
        keep: KeepText | None = None,
        is_answer: Callable[[str], bool] | None = None,
    ) -> list[str]:
        """Write an answer to each question about several pictures in one prompt, greedily.

        Args:
            images: The pictures of each question.
            questions: Texts, each with a `PICTURE_PLACE` for each of its pictures, in order.
            max_side: Pixels of the longer side to which larger pictures are scaled down.
            max_new_tokens: Maximum length of an answer.
            keep: Called with the position and text of each answer when it is available, in any
                order.
            is_answer: See `write`.

        Raises:
            ValueError: If the model takes one picture per question.
        """
        raise self._refuse_lists()

    def choose(
        self,
        images: Sequence[Sequence[Image]],
        questions: Sequence[str],
        answers: Sequence[str],
        max_side: int,
        answer_prefix: str,
        keep: KeepRow | None = None,
    ) -> FloatArray:
        """Ask questions about several pictures in one prompt; return how likely each answer is.

        Args:
            images: See `compare`.
            questions: See `compare`.
            answers: Possible answers, each of which must be one token after `answer_prefix`.
            max_side: See `compare`.
            answer_prefix: Text with which the model's turn begins, instead of its own one; if
                empty, its own.
            keep: Called with the position and row of each question when it is available, in any
                order.

        Returns:
            (n_questions, n_answers) float32: probability of each answer as the next token, among
            all tokens.

        Raises:
            ValueError: If the model takes one picture per question.
        """
        raise self._refuse_lists()

    def _refuse_lists(self) -> ValueError:
        return ValueError(
            f"{type(self).__name__} shows one picture in a prompt; several need a model such as "
            "vlm=qwen3_vl_4b"
        )


class Index(ABC):
    """An index for nearest-neighbour search."""

    @property
    def images(self) -> Sequence[Image] | None:
        """The pictures of a saved index; None if it is built from a collection."""
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

    def describe(self, images: Sequence[Image]) -> None:  # noqa: B027
        """Take the pictures that the rows refer to, before a search; by default do nothing."""

    def check_queries(self, queries: Sequence[Query]) -> None:  # noqa: B027
        """Raise ValueError for queries that cannot be searched for; by default do nothing."""

    def search_queries(
        self, queries: Sequence[Query], embeddings: FloatArray, top_k: int
    ) -> tuple[FloatArray, IntArray]:
        """Search for queries of which the words are known too; by default by embeddings alone.

        Args:
            queries: (n_queries,).
            embeddings: See `search`.
            top_k: See `search`.
        """
        return self.search(embeddings, top_k)


class Reranker(ABC):
    """Scores the candidates of each query."""

    @abstractmethod
    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """Score candidates; `values` are aligned with `candidates`, never sorted."""

    def check_queries(self, queries: Sequence[Query]) -> None:  # noqa: B027
        """Raise ValueError for queries that cannot be scored, before any model runs."""


class Weight(ABC):
    """Normalises and fuses retrieval and rerank scores."""

    value: float  # the reranker's share, in [0, 1]

    @abstractmethod
    def combine(self, retrieval: FloatArray, rerank: FloatArray) -> FusedArray:
        """Fuse two (n_queries, top_k) score arrays into one of the same shape; larger is better."""


class WeightRule(ABC):
    """Chooses a weight from the exact curve of a measure over the weight.

    Args:
        measure: Measure of the curve, e.g. "mrr_at_10"; None for the measure to maximise.
    """

    def __init__(self, *, measure: str | None) -> None:
        self.measure = measure

    @abstractmethod
    def choose(
        self, bounds: FusedArray, values: FusedArray, errors: FusedArray, peaks: FusedArray
    ) -> tuple[float, float, float]:
        """Return the lower end of an interval of weights, the weight, and the upper end.

        Args:
            bounds: (n_intervals + 1,) weights, ascending from 0 to 1; the curve's steps.
            values: (n_intervals,) the curve.
            errors: (n_intervals,) standard error of the difference to the best interval.
            peaks: (n_resamples,) best weight on each bootstrap resample of the queries.
        """


class Engine(ABC):
    """Reads, validates and embeds pictures, in one or several processes."""

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
    """The components of a config, as passed to a task."""

    dataset: Dataset
    backbone: Backbone
    index: Index
    reranker: Reranker
    weight: Weight
    top_k: int
    info: RunInfo = field(default_factory=RunInfo)
    shared: SharedResults = field(default_factory=SharedResults)  # by the jobs of a sweep


class Task(ABC):
    """The work of a run."""

    tracked: bool = True  # whether its runs are tracked
    parts: Sequence[str] = ("backbone", "index", "reranker")  # groups whose models it uses

    @abstractmethod
    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """Run the task; write files to `output_dir` and return the metrics."""


class Tracker(ABC):
    """Logs runs for comparison."""

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
