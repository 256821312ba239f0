import asyncio

import pytest

from recray.errors import StageError
from recray.guard import Guard


class Stage:
    """A stage that fails or hangs while it is told to."""

    def __init__(self) -> None:
        self.now_s, self.calls, self.fault = 0.0, 0, ""
        self.guard = Guard("rank:deep", 0.02, 3, 1.0, lambda: self.now_s)

    async def work(self) -> int:
        self.calls += 1
        if self.fault == "fails":
            raise ValueError("a bug")
        if self.fault == "hangs":
            await asyncio.sleep(30)
        return 7

    async def tried(self) -> bool:
        before = self.calls
        try:
            assert await self.guard.run(self.work) == 7
        except StageError:
            assert self.fault
        return self.calls > before


@pytest.mark.parametrize("fault", ["fails", "hangs"])
async def test_a_stage_that_keeps_failing_is_left_out_then_tried_by_one(fault: str) -> None:
    stage = Stage()
    stage.fault = fault
    assert [await stage.tried() for _ in range(5)] == [True, True, True, False, False]
    stage.now_s = 1.1
    assert [await stage.tried() for _ in range(2)] == [True, False]
    stage.now_s = 2.2
    stage.fault = ""
    assert [await stage.tried() for _ in range(3)] == [True, True, True]


async def test_failures_that_are_not_in_a_row_leave_the_stage_in() -> None:
    stage = Stage()
    for fault in ("fails", "fails", "", "fails", "fails", "", "fails"):
        stage.fault = fault
        assert await stage.tried()


async def test_only_one_call_tries_a_stage_that_was_left_out() -> None:
    stage = Stage()
    stage.fault = "hangs"
    for _ in range(3):
        await stage.tried()
    stage.now_s = 1.1
    await asyncio.gather(*(stage.tried() for _ in range(4)))
    assert stage.calls == 3 + 1
