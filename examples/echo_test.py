#!/usr/bin/env python3
"""echo_test - examples/echo, server and client, on every network. See servers.py."""
import os
import signal
import socket
import threading

from servers import SIGNALS, WORK, Server, call, check, equal, is_reset, read_all, run, usage

NETWORKS = {
    "tcp": "127.0.0.1:0",
    "tcp4": ":0",
    "udp": "127.0.0.1:0",
    "unix": WORK + "/stream",
    "unixpacket": WORK + "/packet",
    "unixgram": WORK + "/datagram",
}


def dialled(address):
    return address.replace("0.0.0.0", "127.0.0.1")


def test_usage():
    usage("echo", [], ["tcp"], ["tcp", ":0", "more"], ["--most", "0", "tcp", ":0"], ["--size", "16385", "tcp", ":0"],
          ["--idle", "x", "tcp", ":0"], ["--no-such"])
    for network, address in (("tcpx", ":0"), ("tcp", "nonsense"), ("unix", WORK + "/no/such")):
        _, err = call("echo", network, address, status=1)
        check(err.startswith(f"echo: {address}: "), err)


def test_every_network():
    networks = dict(NETWORKS)
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        networks.update(tcp6="[::1]:0", udp6="[::1]:0")
    for network, address in networks.items():
        datagrams = network.startswith("udp") or network == "unixgram"
        server = Server("echo", network, address)
        for connections, count, size in ((1, 0, 1), (5, 10000 if datagrams else 3000000, 1000), (2, 100000, 16384)):
            out, _ = call("echo", "--client", "--connections", connections, "--bytes", count, "--size", size,
                          network, dialled(server.address))
            equal(out, f"{connections} x {count} bytes came back\n", network)
        if address.startswith("/"):
            _, err = call("echo", network, address, status=1)
            check("Address already in use" in err, err)
        server.stop()
        check(not SIGNALS or not os.path.exists(address), f"{address} is left behind")


def test_abstract_name():
    server = Server("echo", "unix", f"@gort-echo-{os.getpid()}")
    call("echo", "--client", "unix", server.address)
    server.stop()


def test_client_finds_what_is_wrong():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    answers = [b"\0" * 100, b"", None]

    def answer():
        for text in answers:
            s, _ = listener.accept()
            got = read_all(s)
            s.sendall(got + b"more" if text is None else text)
            s.close()

    thread = threading.Thread(target=answer)
    thread.start()
    for _ in answers:
        _, err = call("echo", "--client", "--bytes", "100", "tcp", f"127.0.0.1:{port}", status=1)
        check("is not what was sent" in err, err)
    thread.join()
    listener.close()
    _, err = call("echo", "--client", "tcp", f"127.0.0.1:{port}", status=1)
    check("Connection refused" in err, err)


def test_half_close_and_silence():
    server = Server("echo", "tcp", "127.0.0.1:0")
    s = server.connect()
    s.sendall(b"x" * 100000)
    s.shutdown(socket.SHUT_WR)
    equal(len(read_all(s)), 100000, "what comes back after a half close")
    server.stop()
    server = Server("echo", "--idle", 1, "tcp", "127.0.0.1:0")
    silent = server.connect()
    equal(read_all(silent), b"", "who says nothing")
    greedy = server.connect()  # sends, and never takes the echo: cut off
    try:
        while True:
            greedy.sendall(b"x" * 65536)
    except (ConnectionResetError, BrokenPipeError):
        pass
    server.stop()


def test_most():
    server = Server("echo", "--most", 1, "tcp", "127.0.0.1:0")
    first, second = server.connect(), server.connect()
    first.sendall(b"one")
    equal(first.recv(100), b"one", "the first")
    second.sendall(b"two")
    second.settimeout(0.2)
    try:
        check(not second.recv(100), "the second is let in")
    except TimeoutError:
        pass
    second.settimeout(60)
    first.close()
    equal(second.recv(100), b"two", "the second, once the first has gone")
    server.stop()


def test_end_with_connections():
    server = Server("echo", "tcp", "127.0.0.1:0")
    connections = [server.connect() for _ in range(50)]
    for s in connections:
        s.sendall(b"hello")
        equal(s.recv(100), b"hello", "an echo")
    server.stop(signal.SIGINT)
    for s in connections:
        check(not is_reset(s), "the end of an idle connection is a reset")


def test_datagrams_that_want_no_answer():
    server = Server("echo", "udp", "127.0.0.1:0")
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", server.port))
    s.settimeout(60)
    s.send(b"")
    equal(s.recv(100), b"", "an empty datagram")
    server.stop()
    path = WORK + "/answers"
    server = Server("echo", "unixgram", path)
    nameless = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    nameless.sendto(b"nobody", path)
    lazy = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    lazy.bind(WORK + "/lazy")
    lazy.settimeout(60)
    for _ in range(2000):  # never read: its queue is full, and answers are lost
        lazy.sendto(b"x", path)
    call("echo", "--client", "--bytes", "5000", "unixgram", path)
    server.stop()


run(test_usage, test_every_network, test_abstract_name, test_client_finds_what_is_wrong, test_half_close_and_silence,
    test_most, test_end_with_connections, test_datagrams_that_want_no_answer)
