"""Batches: who goes with whom, and that nobody is left waiting."""

import asyncio
from collections.abc import Sequence

import pytest

from recray.errors import StageError
from recray.serving.batching import Batcher


class Worker:
    """Answers a batch when told to, with each question doubled. State: batches in order, and those that may end."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self._gates: list[asyncio.Event] = []

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.batches.append(list(questions))
        self._gates.append(asyncio.Event())
        await self._gates[-1].wait()
        return [2 * question for question in questions]

    def end(self, batch: int) -> None:
        self._gates[batch].set()


def asking(batcher: Batcher[int, int], questions: Sequence[int]) -> list[asyncio.Task[int]]:
    return [asyncio.ensure_future(batcher.ask(question)) for question in questions]


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_arrives_while_a_batch_is_under_way_is_the_next_batch() -> None:
    async def run() -> None:
        worker = Worker()
        batcher: Batcher[int, int] = Batcher(worker, max_batch=3, max_concurrent=1)
        first = asking(batcher, [1])
        await turns()
        rest = asking(batcher, [2, 3, 4, 5])
        await turns()
        assert worker.batches == [[1]]
        assert batcher.n_inside == 5
        for batch in range(3):
            worker.end(batch)
            await turns()
        assert worker.batches == [[1], [2, 3, 4], [5]]
        assert await asyncio.gather(*first, *rest) == [2, 4, 6, 8, 10]
        assert batcher.n_inside == 0

    asyncio.run(run())


def test_a_further_batch_starts_once_it_is_as_large_as_those_under_way() -> None:
    async def run() -> None:
        worker = Worker()
        batcher: Batcher[int, int] = Batcher(worker, max_batch=8, max_concurrent=2)
        asking(batcher, [0])
        await turns()
        asking(batcher, [1])
        await turns()
        assert worker.batches == [[0], [1]]
        asking(batcher, [2, 3, 4])
        worker.end(0)
        await turns()
        assert worker.batches == [[0], [1], [2, 3, 4]]
        worker.end(1)
        await turns()
        asking(batcher, [5, 6])
        await turns()
        assert len(worker.batches) == 3, "two questions started beside a batch of three"
        asking(batcher, [7])
        await turns()
        assert worker.batches[3:] == [[5, 6, 7]]
        asking(batcher, [8])
        for batch in (2, 3):
            worker.end(batch)
            await turns()
        assert worker.batches[4:] == [[8]], "nobody was under way any more, and one question still waited"
        worker.end(4)
        await turns()
        assert batcher.n_inside == 0

    asyncio.run(run())


def test_a_failure_is_everybodys_in_the_batch_and_nobody_elses() -> None:
    async def fails_on_one(questions: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        if 1 in questions:
            raise StageError("one is not answered")
        return list(questions)

    async def run() -> None:
        batcher = Batcher(fails_on_one, max_batch=8, max_concurrent=1)
        first, *others = asking(batcher, [0, 1, 2])
        assert await first == 0
        for other in others:
            with pytest.raises(StageError, match="not answered"):
                await other
        assert await batcher.ask(3) == 3

    asyncio.run(run())
