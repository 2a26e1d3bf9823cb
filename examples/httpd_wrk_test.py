#!/usr/bin/env python3
"""httpd_wrk_test - examples/httpd loaded by wrk: every answer is right and whole, the access log agrees with
what wrk has counted, and a signal in the midst leaves no request without its answer. Usage:
httpd_wrk_test.py DIRECTORY [WRAPPER...]; GORT_TEST_SCALE divides the connections. 77: there is no wrk."""
import collections
import os
import re
import shutil
import subprocess

from servers import WORK, Server, check, equal, eventually, raise_files, run, skip

SECONDS = 2
SCALE = int(os.environ.get("GORT_TEST_SCALE", "1"))
ROOT = WORK + "/root"
BODIES = {"/json": b'{"message":"Hello, World!"}', "/file.bin": os.urandom(100 * 1024)}

# In each of wrk's threads. Bodies are compared whole.
LUA = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args)
    right, wrong = 0, 0
    local f = assert(io.open(args[1], "rb"))
    body = f:read("*a")
    f:close()
end
function response(status, headers, got)
    if status == 200 and got == body then right = right + 1 else wrong = wrong + 1 end
end
function done()
    local right, wrong = 0, 0
    for _, thread in ipairs(threads) do
        right = right + thread:get("right")
        wrong = wrong + thread:get("wrong")
    end
    print(string.format("answers: %d right, %d wrong", right, wrong))
end
"""


def make_site():
    os.mkdir(ROOT)
    for name, data in (("/root/file.bin", BODIES["/file.bin"]), ("/json", BODIES["/json"]), ("/wrk.lua", LUA.encode())):
        with open(WORK + name, "wb") as f:
            f.write(data)


class Load:
    """wrk, which has been started."""

    def __init__(self, server, target, connections):
        body = WORK + "/json" if target == "/json" else ROOT + target
        self.process = subprocess.Popen(
            ["wrk", "-t", "1", "-c", str(connections), "-d", f"{SECONDS}s", "--timeout", "100s", "-s", WORK + "/wrk.lua",
             f"http://{server.address}{target}", "--", body], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def result(self):
        """What it says, and how many answers it got, all of them right."""
        out, _ = self.process.communicate()
        equal(self.process.returncode, 0, f"wrk: exit status; it said: {out}")
        counts = re.search(r"answers: (\d+) right, (\d+) wrong", out)
        check(counts and "Non-2xx" not in out, f"wrk: {out}")
        equal(int(counts[2]), 0, f"wrong answers; wrk: {out}")
        return out, int(counts[1])


def read_log(path, target, body):
    """How many answers, and from how many connections; all are right."""
    peers = collections.Counter()
    want = f'"GET {target} HTTP/1.1" 200 {len(body)}'
    with open(path, encoding="ascii") as f:
        for line in f:
            peer, _, rest = line.partition(" ")
            check(rest.endswith(f"] {want}\n"), f"{line!r} in the log, where all should be {want}")
            peers[peer] += 1
    return sum(peers.values()), len(peers)


def load(target, connections):
    log = f"{WORK}/log{target.replace('/', '.')}.{connections}"
    server = Server("httpd", "--log", log, "127.0.0.1:0", ROOT)
    out, right = Load(server, target, connections).result()
    check("Socket errors" not in out, f"wrk: {out}")
    check(right > 0, f"wrk: {out}")
    server.stop()
    answers, peers = read_log(log, target, BODIES[target])
    check(peers <= connections, f"{target}: {peers} connections in the log, not {connections} that were kept")
    # wrk ends with a request of each connection under way.
    check(right <= answers <= right + connections, f"{target}: {answers} answers in the log, {right} to wrk")


def test_64_connections():
    for target in BODIES:
        load(target, max(64 // SCALE, 8))


def test_1000_connections():
    for target in BODIES:
        load(target, max(1000 // SCALE, 50))


def test_end_under_load():
    """What the log has, wrk got, to the last byte; and no more."""
    for target, body in BODIES.items():
        log = WORK + "/log.end" + target.replace("/", ".")
        server = Server("httpd", "--grace", 100, "--log", log, "127.0.0.1:0", ROOT)
        wrk = Load(server, target, 64)
        eventually(lambda path=log: os.path.getsize(path) > 1000, "it is under load")
        server.tell()
        server.wait()
        out, right = wrk.result()
        answers, _ = read_log(log, target, body)
        equal(right, answers, f"{target}: answers that wrk got of those in the log; {out}")


if not shutil.which("wrk"):
    skip("wrk is not installed")
raise_files()
make_site()
run(test_64_connections, test_1000_connections, test_end_under_load)
