#!/usr/bin/env python3
"""httpd_test - examples/httpd: with curl, where there is one, and with sockets that do what curl would not.
See servers.py."""
import calendar
import concurrent.futures
import os
import re
import shutil
import socket
import subprocess
import time

from servers import LIMIT, WORK, Server, call, check, equal, eventually, read_all, run, usage

ROOT = WORK + "/root"
PAST = calendar.timegm((1994, 11, 6, 8, 49, 37))
PAST_TEXT = "Sun, 06 Nov 1994 08:49:37 GMT"
BIG = os.urandom(1 << 20) * 3 + b"and some more"


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def make_root():
    os.makedirs(ROOT + "/sub/deeper")
    os.makedirs(ROOT + "/empty")
    os.makedirs(WORK + "/outside")
    write(WORK + "/outside/secret.txt", b"secret")
    write(ROOT + "/index.html", b"<p>index</p>")
    write(ROOT + "/sub/index.html", b"<p>sub</p>")
    write(ROOT + "/sub/deeper/a b%c.txt", b"odd name")
    write(ROOT + "/digits.txt", b"0123456789")
    write(ROOT + "/nothing", b"")
    write(ROOT + "/.hidden", b"secret")
    write(ROOT + "/big", BIG)
    for size in (16383, 16384, 16385):
        write(f"{ROOT}/{size}.png", BIG[:size])
    os.utime(ROOT + "/digits.txt", (PAST, PAST))
    os.mkfifo(ROOT + "/fifo")
    os.symlink("digits.txt", ROOT + "/link")
    os.symlink("../outside/secret.txt", ROOT + "/out")
    os.symlink(WORK + "/outside", ROOT + "/outdir")


class Client:
    """One connection."""

    def __init__(self, server, text=b""):
        self.s = server.connect()
        self.rest = b""
        self.send(text)

    def send(self, text):
        self.s.sendall(text.encode() if isinstance(text, str) else text)

    def answer(self, body=True):
        """Status, headers and body of the next one; None: the end."""
        while b"\r\n\r\n" not in self.rest:
            part = self.s.recv(65536)
            if not part:
                equal(self.rest, b"", "an end within a head")
                return None
            self.rest += part
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d\d\d) [A-Z][A-Za-z ]*", lines[0])
        check(match, f"status line {lines[0]!r}")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        equal(len(headers), len(lines) - 1, f"headers that come once in {lines}")
        length = int(headers.get("Content-Length", 0)) if body else 0
        while len(self.rest) < length:
            part = self.s.recv(65536)
            check(part, f"an end within a body, after {len(self.rest)} of {length}")
            self.rest += part
        body, self.rest = self.rest[:length], self.rest[length:]
        return int(match.group(1)), headers, body

    def ask(self, target, *headers, method="GET", version="1.1"):
        self.send("\r\n".join([f"{method} {target} HTTP/{version}", "Host: x", *headers, "", ""]))
        return self.answer(method != "HEAD")

    def expect(self, status, what, closes=False):
        got = self.answer()
        check(got, f"{what}: no answer")
        equal(got[0], status, what)
        if closes:
            equal(got[1].get("Connection"), "close", what)
            equal(self.answer(), None, f"{what}: after the answer")
        return got


def test_usage():
    usage("httpd", [], [":0"], [":0", ".", "more"], ["--most", "0", ":0", "."], ["--idle", "x", ":0", "."])
    for arguments, what in (((":0", WORK + "/no"), WORK + "/no"), (("nonsense", "."), "nonsense"),
                            (("--log", WORK + "/no/log", ":0", "."), WORK + "/no/log")):
        _, err = call("httpd", *arguments, status=1)
        check(err.startswith(f"httpd: {what}: "), err)


def test_curl():
    if not shutil.which("curl"):
        print("curl is not installed: left out")
        return
    server = Server("httpd", "127.0.0.1:0", ROOT)
    base = f"http://{server.address}"

    def curl(*arguments):
        return subprocess.run(["curl", "-sS", "--max-time", str(LIMIT), *arguments], capture_output=True,
                              check=True).stdout

    def status(*arguments):
        return int(curl("-o", "/dev/null", "-w", "%{http_code}", *arguments))

    equal(curl(base + "/json"), b'{"message":"Hello, World!"}', "/json")
    equal(curl(base + "/big"), BIG, "/big")
    equal(curl("-r", "5-", base + "/big"), BIG[5:], "a range of /big")
    equal(curl(base + "/sub/deeper/a%20b%25c.txt"), b"odd name", "an odd name")
    equal(curl("-L", base + "/sub"), b"<p>sub</p>", "a directory without slash")
    equal(status(base + "/no"), 404, "/no")
    equal(status("-d", "x", base + "/json"), 405, "POST")
    equal(status("-X", "OPTIONS", base), 405, "OPTIONS")
    equal(status("-T", ROOT + "/big", base + "/new"), 413, "PUT of much")
    equal(status("-T", ROOT + "/16385.png", base + "/new"), 405, "PUT of some")
    equal(status("-z", ROOT + "/digits.txt", base + "/digits.txt"), 304, "not newer than itself")
    equal(status("--path-as-is", base + "/../outside/secret.txt"), 404, "..")
    out = curl("-w", "%{num_connects}", base + "/json", base + "/digits.txt", base + "/nothing", base + "/no")
    equal(re.sub(rb"[^0-9]", b"", out)[-1:], b"0", "new connections for the last of four")
    equal(curl("--http1.0", base + "/digits.txt"), b"0123456789", "HTTP/1.0")
    server.stop()


def test_files():
    server = Server("httpd", "127.0.0.1:0", ROOT)
    c = Client(server)
    for target, kind, data in (("/", "text/html; charset=utf-8", b"<p>index</p>"),
                               ("/?a=b#c", "text/html; charset=utf-8", b"<p>index</p>"),
                               ("http://host/digits.txt", "text/plain; charset=utf-8", b"0123456789"),
                               ("http://host", "text/html; charset=utf-8", b"<p>index</p>"),
                               ("//sub//", "text/html; charset=utf-8", b"<p>sub</p>"),
                               ("/%64igits%2etxt", "text/plain; charset=utf-8", b"0123456789"),
                               ("/link", "application/octet-stream", b"0123456789"),
                               ("/nothing", "application/octet-stream", b""),
                               ("/16383.png", "image/png", BIG[:16383]),
                               ("/16384.png", "image/png", BIG[:16384]),
                               ("/16385.png", "image/png", BIG[:16385]),
                               ("/big", "application/octet-stream", BIG)):
        status, headers, body = c.ask(target)
        equal((status, headers["Content-Type"], body), (200, kind, data), target)
        check(abs(calendar.timegm(time.strptime(headers["Date"], "%a, %d %b %Y %H:%M:%S GMT")) - time.time()) < LIMIT,
              headers["Date"])
        status, head, _ = c.ask(target, method="HEAD")
        equal({**head, "Date": 0}, {**headers, "Date": 0}, f"HEAD {target}")
    for target in ("/no", "/empty/", "/digits.txt/", "/fifo", "/.hidden", "/sub/.", "/..", "/sub/../digits.txt",
                   "/../outside/secret.txt", "/%2e%2e/outside/secret.txt", "/..%2foutside%2fsecret.txt",
                   "/sub/..%2f..%2foutside/secret.txt", "/out", "/outdir/secret.txt", "/outdir/",
                   "//etc/passwd", "/etc/passwd", "/%2fetc/passwd", "/" + "a" * 300):
        equal(c.ask(target)[0], 404, target)
    for target in ("/%", "/%4", "/%4x", "/a%00b", "/%zz", "/digits.txt%"):
        equal(c.ask(target)[0], 400, target)
    status, headers, _ = c.ask("///sub?x")
    equal((status, headers["Location"]), (301, "/sub/"), "a directory")
    equal(c.ask("/" + "a" * 1023)[0], 404, "a target that is as long as may be")
    equal(c.ask("/" + "a" * 1024)[0], 414, "one that is too long")
    equal(c.ask("/" + "%61" * 341)[0], 404, "one that is long as written only")
    server.stop()


def test_conditions_and_ranges():
    server = Server("httpd", "127.0.0.1:0", ROOT)
    c = Client(server)
    status, headers, _ = c.ask("/digits.txt")
    equal(headers["Last-Modified"], PAST_TEXT, "Last-Modified")
    for date, want in ((PAST_TEXT, 304), ("Sun, 06 Nov 1994 08:49:38 GMT", 304), ("Sun, 06 Nov 1994 08:49:36 GMT", 200),
                       ("Fri, 01 Jan 2100 00:00:00 GMT", 304), ("yesterday", 200), ("", 200),
                       ("Sun, 06 Nov 1994 08:49:37 ???", 200)):
        status, headers, body = c.ask("/digits.txt", "If-Modified-Since: " + date)
        equal((status, body), (want, b"" if want == 304 else b"0123456789"), f"If-Modified-Since: {date}")
    for text, want, data in (("bytes=0-0", 206, b"0"), ("bytes=2-4", 206, b"234"), ("bytes=7-", 206, b"789"),
                             ("bytes=-3", 206, b"789"), ("bytes=-100", 206, b"0123456789"),
                             ("bytes=5-99999999999999999999999", 206, b"56789"),
                             ("bytes=10-", 416, None), ("bytes=-0", 416, None),
                             ("bytes=99999999999999999999999-", 416, None),
                             ("bytes=4-2", 200, b"0123456789"), ("bytes=0-1,3-4", 200, b"0123456789"),
                             ("bytes=", 200, b"0123456789"), ("bytes=-", 200, b"0123456789"),
                             ("lines=1-2", 200, b"0123456789"), ("b", 200, b"0123456789")):
        status, headers, body = c.ask("/digits.txt", "Range: " + text)
        equal(status, want, text)
        if status == 416:
            equal(headers["Content-Range"], "bytes */10", text)
            continue
        equal(body, data, text)
        if status == 206:
            first = 10 - len(data) if text.startswith("bytes=-") else int(data[:1])
            equal(headers["Content-Range"], f"bytes {first}-{first + len(data) - 1}/10", text)
    equal(c.ask("/nothing", "Range: bytes=0-")[0], 416, "a range of nothing")
    equal(c.ask("/big", "Range: bytes=1000000-2999999")[2], BIG[1000000:3000000], "a large range")
    equal(c.ask("/digits.txt", "Range: bytes=1-", "If-Range: " + PAST_TEXT)[0], 206, "If-Range that is so")
    equal(c.ask("/digits.txt", "Range: bytes=1-", "If-Range: \"tag\"")[0], 200, "If-Range that is not so")
    for seconds in (0, 951782400, 951868799, 4107542399, 1709164800, 253402300799):  # leap days and such
        os.utime(ROOT + "/nothing", (seconds, seconds))
        text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(os.stat(ROOT + "/nothing").st_mtime))
        equal(c.ask("/nothing")[1]["Last-Modified"], text, "a date")
    server.stop()


def test_bad_requests():
    server = Server("httpd", "127.0.0.1:0", ROOT)
    host = "Host: x\r\n"
    for text, want in (("nonsense\r\n\r\n", 400), ("\x16\x03\x01\x02\0", 400), ("GET\r\n\r\n", 400),
                       ("GET / HTTP/1.1\r\n\r\n", 400), (f"GET / HTTP/1.1\r\n{host}{host}\r\n", 400),
                       (f"GET / HTTP/1.1\r\n{host}bad header: x\r\n\r\n", 400),
                       (f"GET / HTTP/1.1\r\n{host}Content-Length : 1\r\n\r\n", 400),
                       (f"GET / HTTP/1.1\r\n{host}A: b\r\n c\r\n\r\n", 400),
                       (f"GET / HTTP/1.1\r\n{host}: b\r\n\r\n", 400), (f"GET / HTTP/1.1\r\n{host}no colon\r\n\r\n", 400),
                       (f"GET / HTTP/1.1\r\n{host}Content-Length: x\r\n\r\n", 400),
                       (f"GET / HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n", 400),
                       (f"GET / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
                       (f"GET / HTTP/1.1\r\n{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
                       (f"GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nx\r\n", 400),
                       (f"GET / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
                       (f"GET / HTTP/1.1\r\n{host}Transfer-Encoding: gzip\r\n\r\n", 501),
                       (f"GET / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
                       (f"BREW / HTTP/1.1\r\n{host}\r\n", 501), (f"GET / HTTP/2.0\r\n{host}\r\n", 505),
                       ("GET /\r\n\r\n", 505), (f"GET / HTTP/1.1\r\n{host}Content-Length: 65537\r\n\r\n", 413),
                       (f"GET / HTTP/1.1\r\n{host}Content-Length: 99999999999999999\r\n\r\n", 413),
                       (f"GET / HTTP/1.1\r\n{host}A: {'a' * 9000}\r\n\r\n", 431),
                       (f"GET / HTTP/1.1\r\n{host}" + "A: b\r\n" * 2000 + "\r\n", 431),
                       (f"GET /{'a' * 9000} HTTP/1.1\r\n{host}\r\n", 431), ("\r\n" * 5000, 431)):
        Client(server, text).expect(want, repr(text[:70]), closes=True)
    c = Client(server, f"POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n")
    c.send("4000\r\n" + "x" * 0x4000 + "\r\n")  # without end
    for _ in range(4):
        c.send("4000\r\n" + "x" * 0x4000 + "\r\n")
    c.expect(413, "chunks without end", closes=True)
    c = Client(server, f"POST / HTTP/1.1\r\n{host}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    c.expect(405, "who waits for 100", closes=True)
    equal(Client(server, f"CONNECT x:80 HTTP/1.1\r\n{host}\r\n").expect(405, "CONNECT")[1]["Allow"], "GET, HEAD",
          "Allow")
    for text in ("", "G", "GET / HTTP/1.1\r\nHost: x\r\n"):  # nothing more comes
        s = server.connect()
        s.sendall(text.encode())
        s.shutdown(socket.SHUT_WR)
        equal(read_all(s), b"", f"the end after {text!r}")
    equal(Client(server).ask("/json")[0], 200, "after all that")
    server.stop()


def test_keep_alive():
    server = Server("httpd", "127.0.0.1:0", ROOT)
    c = Client(server)
    for _ in range(100):
        equal(c.ask("/json")[2], b'{"message":"Hello, World!"}', "again")
    check("Connection" not in c.ask("/json")[1], "HTTP/1.1 keeps a connection without a word")
    status, headers, _ = c.ask("/json", "Connection: close")
    equal(headers["Connection"], "close", "asked to close")
    equal(c.answer(), None, "after close")
    c = Client(server)
    equal(c.ask("/json", "Connection: keep-alive", version="1.0")[1]["Connection"], "keep-alive", "1.0, kept")
    equal(c.ask("/json", version="1.0")[1]["Connection"], "close", "1.0")
    equal(c.answer(), None, "after 1.0")
    c = Client(server)
    for body, headers in ((b"x" * 65536, ["Content-Length: 65536"]), (b"", ["Content-Length: 0"]),
                          (b"3\r\nabc\r\n5;x=y\r\nhello\r\n0\r\nTrailer: Host\r\nHost: y\r\n\r\n",
                           ["Transfer-Encoding: chunked"])):
        for method, want in (("POST", 405), ("GET", 200)):
            c.send("\r\n".join([f"{method} /json HTTP/1.1", "Host: x", *headers, "", ""]))
            c.send(body)
            c.expect(want, f"{method} with {headers}")
    server.stop()


def test_pipelining():
    server = Server("httpd", "127.0.0.1:0", ROOT)
    targets = ["/json", "/digits.txt", "/no", "/16384.png", "/16385.png", "/sub", "/big", "/nothing"] * 10
    c = Client(server)
    requests = [f"GET {t} HTTP/1.1\r\nHost: x\r\nPad: {'x' * (7 * i % 500)}\r\n\r\n" for i, t in enumerate(targets)]
    requests[5] = "POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + "y" * 5000
    requests[9] = "GET /no HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    with concurrent.futures.ThreadPoolExecutor(1) as sender:
        sent = sender.submit(c.send, "".join(requests))
        for i, target in enumerate(targets):
            want = {"/no": 404, "/sub": 301}.get(target, 200)
            want = {5: 405, 9: 404}.get(i, want)
            status, _, body = c.expect(want, f"{i}: {target}")
            if status == 200:
                equal(body, {"/json": b'{"message":"Hello, World!"}', "/digits.txt": b"0123456789", "/big": BIG,
                             "/nothing": b""}.get(target, BIG[:int(target[1:6])] if target[1] == "1" else None), target)
        sent.result()
    c = Client(server, "".join(requests[:3]) + "nonsense\r\n\r\n" + requests[0])
    for want in (200, 200, 404):
        c.expect(want, "before nonsense")
    c.expect(400, "nonsense", closes=True)
    for text in (requests[0], requests[5]):  # a byte at a time
        c = Client(server)
        for i in range(len(text)):
            c.send(text[i:i + 1])
        c.answer()
        equal(c.ask("/json")[0], 200, "after it")
    server.stop()


def test_slow_clients():
    server = Server("httpd", "--request", 1, "--idle", 2, "--write", 1, "127.0.0.1:0", ROOT)
    silent = Client(server)
    slow = [Client(server, "GET / HTTP"), Client(server, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")]
    start = time.monotonic()
    drip = Client(server)
    try:  # each byte is in time, but not all of them
        for byte in "GET / HTTP/1.1\r\n" + "A: b\r\n" * 100:
            drip.send(byte)
            time.sleep(0.1)
    except (ConnectionResetError, BrokenPipeError):
        pass
    check(time.monotonic() - start < LIMIT / 2, "who sends for ever is let go on")
    for c in slow:
        c.expect(408, "a request that does not come", closes=True)
    equal(silent.answer(), None, "who never asks")
    idle = Client(server)
    equal(idle.ask("/json")[0], 200, "before it is idle")
    equal(idle.answer(), None, "an idle connection")
    lazy = Client(server)
    lazy.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 10)  # and takes nothing
    time.sleep(3)
    try:
        check(len(read_all(lazy.s)) < 10 * len(BIG), "who takes nothing gets all the same")
    except ConnectionResetError:
        pass
    server.stop()


def test_most():
    server = Server("httpd", "--most", 2, "127.0.0.1:0", ROOT)
    first, second, third = Client(server), Client(server), Client(server, "GET /json HTTP/1.1\r\nHost: x\r\n\r\n")
    equal((first.ask("/json")[0], second.ask("/json")[0]), (200, 200), "two")
    third.s.settimeout(0.2)
    try:
        check(third.answer() is None, "a third is let in")
    except TimeoutError:
        pass
    third.s.settimeout(LIMIT)
    first.s.close()
    third.expect(200, "the third, once the first has gone")
    server.stop()


def test_many_downloads():
    server = Server("httpd", "127.0.0.1:0", ROOT)

    def download(i):
        return Client(server).ask("/big" if i % 4 else "/16384.png")[2]

    with concurrent.futures.ThreadPoolExecutor(100) as clients:
        for i, body in enumerate(clients.map(download, range(100))):
            check(body == (BIG if i % 4 else BIG[:16384]), f"download {i} differs")
    server.stop()


def refused(server):
    try:
        server.connect().close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False


def test_end_in_order():
    server = Server("httpd", "127.0.0.1:0", ROOT)
    idle, kept = Client(server), Client(server)
    equal(kept.ask("/json")[0], 200, "before")
    # One segment: when the first has its answer, the half has been read, too.
    half = Client(server, "GET /json HTTP/1.1\r\nHost: x\r\n\r\nGET /json HT")
    half.expect(200, "a request and a half")
    down = Client(server)
    down.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    down.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
    equal(down.s.recv(8), b"HTTP/1.1", "it runs")
    down.rest = b"HTTP/1.1"
    server.tell()
    eventually(lambda: refused(server), "no more are accepted")
    equal((idle.answer(), kept.answer()), (None, None), "idle connections")
    half.send("TP/1.1\r\nHost: x\r\n\r\n")
    equal(half.expect(200, "half a request")[1].get("Connection"), "close", "half a request")
    _, _, body = down.expect(200, "a download that ran")
    check(body == BIG, "the download differs")
    while down.answer():
        pass
    server.wait()


def test_end_without_patience():
    server = Server("httpd", "--grace", 1, "127.0.0.1:0", ROOT)
    stuck = Client(server, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
    equal(stuck.s.recv(8), b"HTTP/1.1", "it runs")
    start = time.monotonic()
    server.stop()
    check(time.monotonic() - start < LIMIT / 2, "it waits for who takes nothing")


def test_shrinking_file():
    write(ROOT + "/shrinks", BIG * 4)
    server = Server("httpd", "127.0.0.1:0", ROOT)
    c = Client(server, "GET /shrinks HTTP/1.1\r\nHost: x\r\n\r\n")
    equal(c.s.recv(8), b"HTTP/1.1", "it runs")
    os.truncate(ROOT + "/shrinks", 10)
    try:
        check(len(read_all(c.s)) < len(BIG) * 4, "all of what is gone")
    except ConnectionResetError:
        pass
    equal(Client(server).ask("/shrinks")[2], BIG[:10], "what is left of it")
    server.stop()


def test_log():
    log = WORK + "/log"
    server = Server("httpd", "--log", log, "127.0.0.1:0", ROOT)
    c = Client(server)
    c.ask("/digits.txt?a")
    c.ask("/no", method="HEAD")
    c.ask("/digits.txt", "Range: bytes=1-2")
    c.send(b'GET /"\xff\\ HTTP/1.1\r\nHost: x\r\n\r\n')
    c.answer()
    c.send("what\r\n\r\n")
    c.expect(400, "nonsense", closes=True)
    server.stop()
    with open(log, encoding="ascii") as f:
        lines = f.read().splitlines()
    want = ['"GET /digits.txt?a HTTP/1.1" 200 10', '"HEAD /no HTTP/1.1" 404 0', '"GET /digits.txt HTTP/1.1" 206 2',
            '"GET /\\x22\\xff\\x5c HTTP/1.1" 404 14', '"-" 400 16']
    equal([line.split("] ")[1] for line in lines], want, "the log")
    when = r"\[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d \+0000\]"
    for line in lines:
        check(re.match(r"127\.0\.0\.1:\d+ - - " + when + " ", line), line)


make_root()
run(test_usage, test_curl, test_files, test_conditions_and_ranges, test_bad_requests, test_keep_alive, test_pipelining,
    test_slow_clients, test_most, test_many_downloads, test_end_in_order, test_end_without_patience,
    test_shrinking_file, test_log)
