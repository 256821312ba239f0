"""How commands reach a cluster of RESP servers: one round trip per node, all nodes at once.

Which node holds which slot is redis-py's knowledge. Its own pipeline is not used: after a lost answer it sends writes once
more, and what was redirected it asks for one by one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis import exceptions
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot

from recray.errors import ConfigError
from recray.stores.resp import Command, RespClient

CLUSTER: Final = "+cluster"
_PORT: Final = 6_379
_MOST_CONNECTIONS: Final = 1_000
_PAUSE_S: Final = 0.02
"""Between two attempts: a slot on its way changes hands in less than a second, a failed node is replaced after several."""
_FIRST_KEY: Final = {"EVALSHA": 3}
"""Where a command's first key stands; at 1 if it is not named here. All keys of a command lie on one slot."""
_NOT_DONE: Final = (exceptions.MovedError, exceptions.AskError, exceptions.TryAgainError, exceptions.ClusterDownError)


def is_cluster(url: str) -> bool:
    """Whether a store's URL names nodes of a cluster."""
    return urlsplit(url).scheme.endswith(CLUSTER)


class _UnreachedError(exceptions.ConnectionError):
    """A node took no connection, so nothing was asked."""


class RespCluster(RespClient):
    """Connections to the nodes of a cluster; the first call learns the nodes, and a node that fails makes them learnt anew.

    What was certainly not done is asked for again until `store.timeout_s` has passed: commands for a slot that is elsewhere or
    on its way, and for a node that takes no connection. An answer that was lost is a `StoreError`, as with one server.
    State: the slots' nodes and their connections, which belong to the event loop of the first call.
    """

    def _connected(self, url: str) -> RedisCluster:
        parts = urlsplit(url)
        who, _, hosts = parts.netloc.rpartition("@")
        user, _, password = who.partition(":")
        if parts.path.strip("/") not in {"", "0"}:
            raise ConfigError(f"store.url is {self.address!r}; a cluster has database 0 alone: leave the path out")
        return RedisCluster(
            startup_nodes=[_node(host, self.address) for host in hosts.split(",")],
            username=unquote(user) or None,
            password=unquote(password) or None,
            ssl=parts.scheme.startswith("rediss"),
            socket_timeout=self._settings.timeout_s,
            socket_connect_timeout=self._settings.timeout_s,
            require_full_coverage=False,
            max_connections=_MOST_CONNECTIONS,
            retry=Retry(NoBackoff(), 0),
        )

    async def _answers_in_turn(self, first: Sequence[Command], then: Sequence[Command]) -> list[Any]:
        return [*await self._answers(first), *await self._answers(then)]  # nodes keep no order among each other

    async def _servers(self) -> list[Callable[[Sequence[Command]], Awaitable[list[Any]]]]:
        await self._client.initialize()
        return [partial(_asked, node) for node in self._client.get_primaries()]

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        now = asyncio.get_running_loop().time
        until_s = now() + self._settings.timeout_s
        answers: list[Any] = [None] * len(commands)
        waiting, asking = list(range(len(commands))), dict[int, ClusterNode]()
        await self._client.initialize()
        while waiting:
            await self._round(commands, waiting, asking, answers)
            waiting = [row for row in waiting if isinstance(answers[row], (*_NOT_DONE, _UnreachedError))]
            if not waiting or now() >= until_s:
                break
            asking = await self._follow({row: answers[row] for row in waiting})
        return answers

    async def _round(
        self, commands: Sequence[Command], waiting: Iterable[int], asking: dict[int, ClusterNode], answers: list[Any]
    ) -> None:
        """Ask every node once for what it holds of the commands that wait; answers and failures go into `answers`."""
        rows_of: dict[ClusterNode, list[int]] = {}
        for row in waiting:
            node = asking.get(row) or self._holder(commands[row])
            if node is None:
                answers[row] = exceptions.ClusterDownError("no node holds the slot")
            else:
                rows_of.setdefault(node, []).append(row)

        async def ask(node: ClusterNode, rows: list[int]) -> None:
            said: list[Command] = []
            for row in rows:
                said += [("ASKING",), commands[row]] if row in asking else [commands[row]]
            try:
                told = await _asked(node, said)
            except (exceptions.RedisError, OSError) as problem:
                told = [problem] * len(said)
            kept = (answer for command, answer in zip(said, told, strict=True) if command[0] != "ASKING")
            for row, answer in zip(rows, kept, strict=True):
                answers[row] = answer
            if any(isinstance(answer, exceptions.ConnectionError) for answer in told):
                await node.disconnect_free_connections()

        await asyncio.gather(*(ask(node, rows) for node, rows in rows_of.items()))

    def _holder(self, command: Command) -> ClusterNode | None:
        key = command[_FIRST_KEY.get(command[0], 1)]
        nodes = self._client.nodes_manager.slots_cache.get(key_slot(key.encode() if isinstance(key, str) else key))
        return nodes[0] if nodes else None

    async def _follow(self, refused: dict[int, Exception]) -> dict[int, ClusterNode]:
        """Learn from refusals where the slots are; returns the commands to be asked for at the node that gets their slot."""
        asking: dict[int, ClusterNode] = {}
        known, learn, wait = self._client.nodes_manager, False, False
        for row, refusal in refused.items():
            match refusal:
                case exceptions.MovedError():
                    await known.move_slot(refusal)
                case exceptions.AskError():
                    node = known.get_node(host=refusal.host, port=refusal.port)
                    learn = learn or node is None
                    if node is not None:
                        asking[row] = node
                case exceptions.TryAgainError():
                    wait = True
                case _:
                    learn = wait = True
        if wait:
            await asyncio.sleep(_PAUSE_S)
        if learn:
            await known.initialize()
        return asking


def _node(host: str, address: str) -> ClusterNode:
    parts = urlsplit(f"//{host}")
    try:
        if parts.hostname:
            return ClusterNode(parts.hostname, parts.port or _PORT)
    except ValueError:  # a port that is no number
        pass
    raise ConfigError(f"store.url is {address!r}; expected redis+cluster://[user:password@]host:port,host:port")


async def _asked(node: ClusterNode, commands: Sequence[Command]) -> list[Any]:
    """A node's answers, in one round trip; refusals and lost answers stand in their place.

    Raises:
        _UnreachedError: it took no connection.
        exceptions.RedisError: the commands could not be sent whole.
    """
    connection = node.acquire_connection()
    try:
        await node.disconnect_if_needed(connection)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except (exceptions.RedisError, OSError) as problem:
            raise _UnreachedError(str(problem)) from problem
        await connection.send_packed_command(connection.pack_commands(commands))
        answers: list[Any] = []
        for command in commands:
            try:
                answers.append(await node.parse_response(connection, command[0]))
            except (exceptions.RedisError, OSError) as problem:
                answers.append(problem)
        return answers
    finally:
        node.release(connection)
