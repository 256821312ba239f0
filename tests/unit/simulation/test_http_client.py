"""The connection: answers however they are cut, servers that leave, and where load may go."""

import asyncio

import pytest

from recray.errors import ConfigError
from recray.simulation.http_client import Connection, Reply, Target


async def answered_in(*pieces: bytes, keeps_body: bool = False) -> Reply:
    """What a connection makes of an answer that arrives in these pieces."""
    connection = Connection("127.0.0.1", 1, keeps_body=keeps_body)
    protocol = connection._protocol
    protocol.reply = asyncio.get_running_loop().create_future()
    for piece in pieces:
        assert not protocol.reply.done()
        protocol.data_received(piece)
    return await asyncio.wait_for(protocol.reply, 1)


async def test_an_answer_is_read_however_it_is_cut() -> None:
    whole = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\nx: y\r\n\r\n{"degraded":["a"]}'
    assert await answered_in(whole) == Reply(200, True)
    for cut in (5, 30, len(whole) - 19, len(whole) - 1):
        assert await answered_in(whole[:cut], whole[cut:]) == Reply(200, True)
    assert await answered_in(b'HTTP/1.1 503 No\r\ncontent-length:15\r\n\r\n{"degraded":[]}') == Reply(503, False)


async def test_an_answer_in_chunks_ends_with_the_last_of_them() -> None:
    whole = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert await answered_in(whole) == Reply(404, False)
    assert await answered_in(whole[:50], whole[50:-2], whole[-2:]) == Reply(404, False)


async def test_a_body_is_kept_only_when_asked_for() -> None:
    whole = b"HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\n\r\nhello"
    assert await answered_in(whole) == Reply(202, False)
    assert await answered_in(whole, keeps_body=True) == Reply(202, False, None, b"hello")


async def test_when_to_come_again_is_read_from_a_server_that_is_full_and_from_no_other() -> None:
    head = b"HTTP/1.1 %d X\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n"
    assert (await answered_in(head % 503)).retry_after_s == 7.0
    assert (await answered_in(head % 429)).retry_after_s is None
    assert (await answered_in(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n")).retry_after_s is None


async def test_a_server_that_says_it_closes_is_not_asked_on_that_connection_again() -> None:
    connection = Connection("127.0.0.1", 1)
    protocol = connection._protocol
    protocol.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert not protocol.lost
    protocol.data_received(b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 0\r\n\r\n")
    assert protocol.lost


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:8000", Target("127.0.0.1", 8000)),
        ("localhost:9000/", Target("localhost", 9000)),
        ("http://[::1]:80", Target("::1", 80)),
        ("http://127.1.2.3", Target("127.1.2.3", 80)),
    ],
)
def test_this_machine_may_be_loaded(url: str, target: Target) -> None:
    assert Target.at(url) == target
    assert Target.at(target.url) == target


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:8000", "http://recommend.example:80", "http://localhost.example", "[2001:db8::1]:80"]
)
def test_another_machine_is_refused_unless_it_is_allowed(url: str) -> None:
    with pytest.raises(ConfigError, match=r"is not this machine; load can take a service down .* --allow-remote"):
        Target.at(url)
    assert Target.at(url, allow_remote=True).port in {80, 8000}


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1", "http://", "http://127.0.0.1:x", "http://127.0.0.1/api", "ftp://127.0.0.1", "http://[::1"]
)
def test_what_is_no_plain_http_host_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="expected http://host:port"):
        Target.at(url)
