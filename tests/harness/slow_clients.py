"""Many TLS clients that are as slow as they can: one process, one thread, non-blocking sockets.

    python3 -m tests.harness.slow_clients KIND COUNT PORT CERTS ROLE FILE      KIND: header | body | read | frame

Each opens a connection, sends FILE (a whole request) up to where KIND becomes slow, then a byte now and then, or reads a byte now and
then. Prints one JSON object when all are closed or PATIENCE_S is over: how long each lived from its handshake to the server's close.
A line "connected" on stderr says when the last handshake was over.
"""

import json
import pathlib
import resource
import selectors
import socket
import ssl
import sys
import time

PATIENCE_S = 90
PACE_S = 1.5  # between two bytes
RECEIVE_BUFFER = 4096
AT_ONCE = 32  # handshakes


class Client:
    """One slow connection."""

    def __init__(self, kind, port, context, request):
        self.kind = kind
        self.request = request
        self.sent = 0
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost", do_handshake_on_connect=False)
        self.is_proven = False
        self.began = time.monotonic()
        self.lived_s = None
        self.next = 0

    def handshake(self):
        """Goes on with the handshake; gives whether it is over."""
        try:
            self.socket.do_handshake()
            self.is_proven = True
            self.began = time.monotonic()
            self.next = self.began
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            self.end()
        return True

    def end(self):
        """The server has closed."""
        if self.lived_s is None:
            self.lived_s = time.monotonic() - self.began
            self.socket.close()

    def quick_part(self):
        """How much of the request goes out at once."""
        if self.kind == "read":
            return len(self.request)
        if self.kind == "body":
            return self.request.index(b"\r\n\r\n") + 4
        return min(20, len(self.request) - 1)

    def step(self):
        """Sends or reads a byte."""
        self.next = time.monotonic() + PACE_S
        try:
            if self.sent < len(self.request):
                until = max(self.quick_part(), self.sent + 1)
                self.sent += self.socket.send(self.request[self.sent:until])
            if self.kind == "read" or self.sent == len(self.request):
                self.look()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.end()

    def look(self):
        """Reads a byte."""
        if not self.socket.recv(1):
            self.end()

    def notice(self):
        """Something arrived: for who is not to read it, only its end matters."""
        try:
            if self.kind != "read" and not self.socket.recv(4096):
                self.end()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.end()


def connect(kind, count, port, context, request):
    """All clients, their handshakes over."""
    clients = []
    waiting = selectors.DefaultSelector()
    while len(clients) < count or waiting.get_map():
        while len(clients) < count and len(waiting.get_map()) < AT_ONCE:
            client = Client(kind, port, context, request)
            clients.append(client)
            if not client.handshake():
                waiting.register(client.socket, selectors.EVENT_READ, client)
        for key, _ in waiting.select(0.05):
            if key.data.handshake():
                waiting.unregister(key.fileobj)
                if key.data.is_proven:
                    key.data.step()
    return clients


def is_hung_up(client):
    """Whether the peer has closed, for who does not read."""
    try:
        return client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != 1  # TCP_ESTABLISHED
    except OSError:
        return True


def be_slow(clients):
    """Until all are closed, or the patience is over."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        left = [client for client in clients if client.lived_s is None]
        if not left:
            return
        now = time.monotonic()
        for client in left:
            if is_hung_up(client):
                client.end()
            elif client.next <= now:
                client.step()
                if client.lived_s is None:
                    client.notice()
        time.sleep(0.1)


def main():
    """Runs the clients."""
    kind, count, port, certs, role, file = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = pathlib.Path(certs)
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / f"{role}.pem", folder / f"{role}.key")
    began = time.monotonic()
    clients = connect(kind, int(count), int(port), context, pathlib.Path(file).read_bytes())
    print("connected", file=sys.stderr, flush=True)
    connected_s = time.monotonic() - began
    be_slow(clients)
    lived = sorted(client.lived_s for client in clients if client.lived_s is not None)
    print(json.dumps({"proven": sum(client.is_proven for client in clients), "connected_s": connected_s, "lived_s": lived,
                      "left": len(clients) - len(lived)}))


if __name__ == "__main__":
    main()
