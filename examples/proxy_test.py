#!/usr/bin/env python3
"""proxy_test - examples/proxy, before examples/echo and before servers that misbehave. See servers.py."""
import hashlib
import os
import socket
import struct
import threading
import time

from servers import LIMIT, Server, call, check, equal, eventually, is_reset, read_all, run, usage


class Upstream:
    """Accepts, and has a function deal with each connection, in a thread."""

    def __init__(self, serve):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.serve = serve
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()


def resets(server):
    """A connection to it ends by a reset, be it at once."""
    try:
        return is_reset(server.connect())
    except ConnectionResetError:
        return True


def test_usage():
    usage("proxy", [], [":0"], [":0", ":1", ":2"], ["--idle", "0", ":0", ":1"], ["--most", "0", ":0", ":1"])
    _, err = call("proxy", "nonsense", ":1", status=1)
    check(err.startswith("proxy: nonsense: "), err)


def test_echo_behind_it():
    echo = Server("echo", "tcp", "127.0.0.1:0")
    proxy = Server("proxy", "127.0.0.1:0", echo.address)
    for connections, count in ((1, 0), (1, 50000000), (50, 300000)):
        call("echo", "--client", "--connections", connections, "--bytes", count, "--size", 16384, "tcp", proxy.address)
    proxy.stop()
    echo.stop()


def test_both_directions_at_once():
    size = 30 << 20
    down = os.urandom(1 << 20) * 30
    up = os.urandom(1 << 20) * 30
    got = {}

    def talk(name, s, data):
        def send():
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got[name] = hashlib.sha256(read_all(s)).digest()
        sender.join()

    upstream = Upstream(lambda s: talk("up", s, down))
    proxy = Server("proxy", "127.0.0.1:0", upstream.address)
    talk("down", proxy.connect(), up)
    eventually(lambda: len(got) == 2, "both have all")
    equal(got["down"], hashlib.sha256(down).digest(), f"{size} bytes down")
    equal(got["up"], hashlib.sha256(up).digest(), f"{size} bytes up")
    proxy.stop()


def test_half_close():
    def late(s):
        s.shutdown(socket.SHUT_WR)  # its end first, and then it listens
        s2 = read_all(s)
        received.append(s2)
        s.close()

    def answer_at_end(s):
        s.sendall(b"all of " + read_all(s))
        s.close()

    received = []
    upstream = Upstream(late)
    proxy = Server("proxy", "127.0.0.1:0", upstream.address)
    s = proxy.connect()
    equal(read_all(s), b"", "the upstream's end")
    s.sendall(b"still ")
    s.sendall(b"here")
    s.close()
    eventually(lambda: received, "what the client says after the upstream's end")
    equal(received, [b"still here"], "what the client says after the upstream's end")
    proxy.stop()

    upstream = Upstream(answer_at_end)
    proxy = Server("proxy", "127.0.0.1:0", upstream.address)
    s = proxy.connect()
    s.sendall(b"it")
    s.shutdown(socket.SHUT_WR)
    equal(read_all(s), b"all of it", "the answer after the client's end")
    proxy.stop()


def test_errors_are_no_ends():
    def reset(s):
        s.sendall(b"part of")
        s.recv(1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()

    upstream = Upstream(reset)
    proxy = Server("proxy", "127.0.0.1:0", upstream.address)
    s = proxy.connect()
    equal(s.recv(100), b"part of", "what comes before")
    s.sendall(b"x")
    check(is_reset(s), "a reset looks like an end")
    upstream.listener.close()
    proxy.stop()

    nobody = socket.create_server(("127.0.0.1", 0))
    address = "127.0.0.1:%d" % nobody.getsockname()[1]
    nobody.close()
    proxy = Server("proxy", "127.0.0.1:0", address)
    check(resets(proxy), "nobody there looks like an end")
    proxy.stop()


def test_idle():
    sent = []

    def drip(s):  # longer than the time-out, never silent for so long
        for _ in range(10):
            s.sendall(b".")
            sent.append(1)
            time.sleep(0.5)
        s.shutdown(socket.SHUT_WR)

    upstream = Upstream(drip)
    proxy = Server("proxy", "--idle", 2, "127.0.0.1:0", upstream.address)
    equal(read_all(proxy.connect()), b"." * 10, "slow, not idle: one direction only")
    proxy.stop()

    keep = []
    upstream = Upstream(keep.append)
    proxy = Server("proxy", "--idle", 1, "127.0.0.1:0", upstream.address)
    start = time.monotonic()
    check(resets(proxy), "idle: not cut off")
    check(0.9 < time.monotonic() - start < LIMIT, "idle: not after its time")
    s = proxy.connect()
    try:  # the upstream never reads
        while True:
            s.sendall(b"x" * 65536)
    except (ConnectionResetError, BrokenPipeError):
        pass
    proxy.stop()


def test_end_in_order():
    go_on = threading.Event()

    def half_way(s):
        s.sendall(b"first")
        go_on.wait(LIMIT)
        s.sendall(b"second")
        s.close()

    upstream = Upstream(half_way)
    proxy = Server("proxy", "127.0.0.1:0", upstream.address)
    s = proxy.connect()
    equal(s.recv(100), b"first", "what comes before")
    proxy.tell()

    def refused():
        try:
            proxy.connect().close()
        except (ConnectionRefusedError, ConnectionResetError):
            return True
        return False

    eventually(refused, "no more are accepted")
    go_on.set()
    equal(read_all(s), b"second", "what comes after the signal")
    s.close()
    proxy.wait()


def test_end_without_patience():
    keep = []
    upstream = Upstream(keep.append)
    proxy = Server("proxy", "--grace", 1, "127.0.0.1:0", upstream.address)
    s = proxy.connect()
    eventually(lambda: keep, "the upstream is dialled")
    proxy.stop()
    check(is_reset(s), "cut off looks like an end")


def test_most():
    echo = Server("echo", "tcp", "127.0.0.1:0")
    proxy = Server("proxy", "--most", 10, "127.0.0.1:0", echo.address)
    call("echo", "--client", "--connections", 100, "--bytes", 20000, "tcp", proxy.address)
    proxy.stop()
    echo.stop()


run(test_usage, test_echo_behind_it, test_both_directions_at_once, test_half_close, test_errors_are_no_ends,
    test_idle, test_end_in_order, test_end_without_patience, test_most)
