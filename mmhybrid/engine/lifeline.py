"""Notices on each rank when another rank has failed or disappeared.

Collective operations do not report this: NCCL waits for the other ranks forever, and gloo notices at the next exchange
and then complains about sockets. Here each rank keeps a connection to rank 0, over which it reports how it ends. If a
connection closes without a report, the process on the other side has disappeared.
"""

import json
import os
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from secrets import token_hex

from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, get_world_size
from mmengine.logging import print_log

CONNECT_SECONDS = 30.0
# Seconds in which a rank that heard of a loss may end by itself, since its own error message is more informative.
GRACE_SECONDS = 2.0
BYE = b'bye'


@dataclass(frozen=True)
class Loss:
    """A rank that failed or disappeared.

    Args:
        rank: Number of the rank.
        reason: Reason, such as ``ended with ValueError: ...``.
    """

    rank: int
    reason: str

    def __str__(self) -> str:
        return f'rank {self.rank} {self.reason}; rank {get_rank()} ends too'


class Lifeline:
    """The connections of this rank, and a thread that listens to them; all ranks create it at the same time.

    Args:
        end: Function that ends the process. The thread calls it with a loss unless the main thread ends by itself,
            which it often cannot, since it waits for the other ranks.
    """

    def __init__(self, end: Callable[[Loss], None]) -> None:
        self._end = end
        self._loss: Loss | None = None
        self._is_lost = threading.Event()
        self._main_ends = threading.Event()
        self._ends = threading.Lock()  # the thread that ends the process acquires it and keeps it
        self._peers = _connect()
        # Otherwise a worker process would keep the connection open after its rank has disappeared.
        os.register_at_fork(after_in_child=self._close)
        threading.Thread(target=self._listen, name='lifeline', daemon=True).start()

    def begin_to_end(self) -> None:
        """Let the main thread end the process; this does not return if the listening thread already ends it."""
        self._main_ends.set()
        self._ends.acquire()

    def fail(self, reason: str) -> None:
        """Tell the other ranks that this rank ends before its work is done."""
        self._tell(Loss(get_rank(), reason))

    def leave(self) -> None:
        """Tell the other ranks that this rank is done; a barrier must have shown that all ranks are."""
        self._send(BYE)

    def loss_within(self, seconds: float) -> Loss | None:
        """Wait for the first loss for up to ``seconds``, and return it, or None if there was none."""
        self._is_lost.wait(seconds)
        return self._loss

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, peer in self._peers.items():
                selector.register(peer, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    selector.unregister(key.fileobj)
                    word = _read_line(self._peers[key.data])
                    if not word:
                        self._hear(Loss(key.data, 'is gone (killed, or its machine failed)'))
                    elif word != BYE:
                        self._hear(Loss(**json.loads(word)))

    def _hear(self, loss: Loss) -> None:
        if self._loss is not None:
            return
        self._loss = loss
        if get_rank() == 0:
            self._tell(loss)
        self._is_lost.set()  # set last, since the main thread may wait for it and end the process
        if not self._main_ends.wait(GRACE_SECONDS) and self._ends.acquire(blocking=False):
            self._end(loss)

    def _tell(self, loss: Loss) -> None:
        self._send(json.dumps(asdict(loss)).encode())

    def _send(self, word: bytes) -> None:
        for peer in self._peers.values():
            with suppress(OSError):  # the peer has disappeared
                peer.sendall(word + b'\n')

    def _close(self) -> None:
        for peer in self._peers.values():
            peer.close()


def _connect() -> dict[int, socket.socket]:
    """Return the connections by rank: on rank 0 one to each other rank, elsewhere one to rank 0."""
    host = os.environ['MASTER_ADDR']  # the address of rank 0, for every launcher
    server = _listener(host) if get_rank() == 0 else None
    shared = [None if server is None else (server.getsockname()[1], token_hex(16))]
    broadcast_object_list(shared)
    assert shared[0] is not None
    port, token = shared[0]
    peer = _connected(host, port, f'{token} {get_rank()}') if server is None else None
    present = [rank for rank in all_gather_object(get_rank() if peer else 0) if rank]
    if server is None:
        return {0: peer} if peer else {}
    if missing := sorted(set(range(1, get_world_size())) - set(present)):
        print_log(f'ranks {missing} cannot reach {host}:{port}: nobody will notice at once if they fail', 'current')
    peers: dict[int, socket.socket] = {}
    with server:
        while len(peers) < len(present):
            peer = server.accept()[0]
            said, _, rank = _read_line(peer).decode(errors='replace').partition(' ')
            if said == token:
                peers[int(rank)] = peer
            else:
                peer.close()
    return peers


def _listener(host: str) -> socket.socket:
    """Return a server at the address of this machine that the other ranks know, or else at all its addresses."""
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, 0), family=family, backlog=get_world_size())
    except OSError:
        return socket.create_server(('', 0), backlog=get_world_size())


def _connected(host: str, port: int, greeting: str) -> socket.socket | None:
    try:
        peer = socket.create_connection((host, port), CONNECT_SECONDS)
        peer.settimeout(None)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.sendall(f'{greeting}\n'.encode())
    except OSError:
        return None
    return peer


def _read_line(peer: socket.socket) -> bytes:
    """Return the bytes up to the end of a line, without it; nothing if the connection closed before."""
    line = bytearray()
    while not line.endswith(b'\n'):
        try:
            part = peer.recv(1)
        except OSError:
            part = b''
        if not part:
            return b''
        line += part
    return bytes(line[:-1])
