"""Base of rerankers that show several numbered pictures in one prompt."""

from collections.abc import Sequence

from newsimg.datatypes import PICTURE_PLACE, Query
from newsimg.interfaces import Reranker, VisionLanguageModel
from newsimg.reranker.vlm.questions import fill_question
from newsimg.storage.text.templates import (
    check_prompt_fields,
    check_query_fields,
    list_fields,
)

OTHERS = {"pictures", "num_pictures"}  # fields of the question that are not of the query
N_TRIED = 8  # prompts, one of whose answers must be readable before the others are asked


class PictureListReranker(Reranker):
    """A reranker that asks a question about several pictures of a query.

    Args:
        vlm: Vision-language model that shows several pictures in one prompt.
        question: Text with {title} and {pictures}, which writes "[1]" and the first picture, "[2]"
            and the second, each in a line; and {num_pictures}, {tags} or columns of the data.
        window: Pictures in one prompt.
        max_side: Pixels of the longer side to which larger pictures are scaled down.

    Raises:
        ValueError: If an argument is invalid; names it.
    """

    def __init__(
        self, *, vlm: VisionLanguageModel, question: str, window: int, max_side: int
    ) -> None:
        fields = check_prompt_fields(question, "reranker.question")
        if "title" not in fields or question.count("{pictures}") != 1:
            raise ValueError(
                f"reranker.question must contain {{title}}, and {{pictures}} once, got {question!r}"
            )
        if window < 2:
            raise ValueError(f"reranker.window must be at least 2, got {window}")
        if max_side < 1:
            raise ValueError(f"reranker.max_side must be at least 1, got {max_side}")
        self.vlm = vlm
        self.question = question
        self.window = window
        self.max_side = max_side

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Reranker.check_queries`."""
        check_query_fields(queries, list_fields(self.question) - OTHERS, "reranker.question")

    def fill(self, query: Query, n_pictures: int) -> str:
        """Return the question about `n_pictures` pictures, with a place for each."""
        pictures = "\n".join(f"[{i + 1}] {PICTURE_PLACE}" for i in range(n_pictures))
        others = {"pictures": pictures, "num_pictures": n_pictures}
        return fill_question(self.question, query, others, "reranker.question")
