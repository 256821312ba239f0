"""One uvicorn process per core on one port, for the peers. Run it with `python -m recray.bench.per_core MODULE PORT N`.

Each process binds the port by itself (SO_REUSEPORT), so that the kernel spreads connections over all of them; the workers that
uvicorn forks share one socket, and the first to wake up accepts a whole burst of connections while the others stay idle.
They are forked from one that has imported the module, which takes seconds, and called nothing of it, so has no threads to lose.
"""

import importlib
import multiprocessing
import multiprocessing.connection
import signal
import socket
import sys
from types import FrameType

import uvicorn

HOST = "127.0.0.1"
_PENDING = 512


def serve(module: str, port: int) -> None:
    """Answer on the port with the application of a module's `app()`, until terminated."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind((HOST, port))
    listening.listen(_PENDING)
    application = importlib.import_module(module).app()
    uvicorn.Server(uvicorn.Config(application, access_log=False, log_level="warning")).run([listening])


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)  # the interpreter then terminates and awaits its daemonic children


def main(module: str, port: int, n_processes: int) -> None:
    """Start the processes and wait; SIGTERM ends all of them, and the end of one ends the rest."""
    signal.signal(signal.SIGTERM, _leave)
    importlib.import_module(module)
    forking = multiprocessing.get_context("fork")
    processes = [forking.Process(target=serve, args=(module, port), daemon=True) for _ in range(n_processes)]
    for process in processes:
        process.start()
    multiprocessing.connection.wait([process.sentinel for process in processes])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
