"""Windows of candidates that a vision-language model puts in order."""

from dataclasses import dataclass, field

from newsimg.reranker.vlm.written_orders import read_order


@dataclass(eq=False)
class Window:
    """Candidates of a query that are put in order together.

    Attributes:
        query: Position of the query.
        rows: The candidates in their order before.
        answers: The rows in the order in which they were shown, the answer, and its order.
    """

    query: int
    rows: list[int]
    answers: list[tuple[list[int], str, list[int] | None]] = field(default_factory=list)

    def add(self, shown: list[int], text: str) -> int | None:
        """Add an answer; return the number of pictures that it names, None if it has no order."""
        read = read_order(text, len(shown))
        order = None
        if read is not None:
            named = [shown[number] for number in read]
            order = named + [row for row in self.rows if row not in named]
        self.answers.append((shown, text, order))
        return None if read is None else len(read)

    def merge(self) -> list[int]:
        """Return the candidates by their mean rank in the answers; ties keep their order."""
        orders = [order for _, _, order in self.answers if order is not None]
        return sorted(self.rows, key=lambda row: sum(order.index(row) for order in orders))

    def describe(self) -> dict[int, str]:
        """Return for each candidate its number in the prompts, and the answers."""
        return {
            row: "; ".join(
                f"[{shown.index(row) + 1}] in: {' '.join(text.split())}"
                for shown, text, _ in self.answers
            )
            for row in self.rows
        }


def list_windows(n_items: int, window: int, stride: int) -> list[tuple[int, int]]:
    """Return the start and end of each window, from the last items to the first."""
    if n_items < 2:
        return []
    starts = [max(n_items - window, 0)]
    while starts[-1] > 0:
        starts.append(max(starts[-1] - stride, 0))
    return [(start, min(start + window, n_items)) for start in starts]
