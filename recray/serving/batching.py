"""Questions that wait are answered together: a batch forms while others are under way, so an idle server adds no wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass
class Batcher(Generic[Question, Answer]):
    """Collects single questions into batches, answered in their order. State: the queue and the number of batches under way.

    Used from one event loop. At most `max_concurrent` batches are under way; whatever arrives meanwhile, up to `max_batch`,
    is the next batch. Beside others a batch starts once it is as large as they are on average: the first question that finds
    room would else go alone. `answered` is called with a batch once its answers are on their way to whoever asked.
    """

    answer: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]]
    max_batch: int
    max_concurrent: int
    answered: Callable[[Sequence[Question], Sequence[Answer]], None] = lambda questions, answers: None
    _waiting: list[tuple[Question, asyncio.Future[Answer]]] = field(default_factory=list)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)
    _n_asked: int = 0

    @property
    def n_inside(self) -> int:
        """Questions that wait or are being answered."""
        return len(self._waiting) + self._n_asked

    async def ask(self, question: Question) -> Answer:
        """The answer to one question."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        self._start()
        return await future

    def _start(self) -> None:
        while self._waiting and len(self._under_way) < self.max_concurrent:
            if len(self._waiting) * len(self._under_way) < self._n_asked:
                return
            batch, self._waiting = self._waiting[: self.max_batch], self._waiting[self.max_batch :]
            self._n_asked += len(batch)
            task = asyncio.ensure_future(self._run(batch))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._start()

    async def _run(self, batch: list[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            await self._answer(batch)
        finally:
            self._n_asked -= len(batch)

    async def _answer(self, batch: list[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self.answer([question for question, _ in batch])
        except Exception as problem:  # noqa: BLE001  # handed to every caller of the batch, whose routes map it
            for _, future in batch:
                if not future.done():
                    future.set_exception(problem)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
        self.answered([question for question, _ in batch], answers)
