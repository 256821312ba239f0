"""The fixture that keeps unit tests within this process can fail."""

import asyncio
import logging
import socket
import time

import pytest
import ray


def test_clock_raises() -> None:
    with pytest.raises(AssertionError, match="reached for the wall clock"):
        time.time()


def test_log_records_are_still_stamped(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("recray").warning("something")
    assert caplog.records[0].created > 0


def test_connection_raises() -> None:
    with socket.socket() as outside, pytest.raises(AssertionError, match="reached for the network"):
        outside.connect(("127.0.0.1", 9))
    with pytest.raises(AssertionError, match="reached for the network"):
        socket.create_connection(("127.0.0.1", 9))


def test_event_loop_runs() -> None:
    async def nothing() -> int:
        await asyncio.sleep(0)
        return 1

    assert asyncio.run(nothing()) == 1


def test_ray_start_raises() -> None:
    with pytest.raises(AssertionError, match=r"reached for ray\.init"):
        ray.init()
