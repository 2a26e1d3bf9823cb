"""servers - what the tests of the network examples share.

Each test is a program: NAME_test.py DIRECTORY [WRAPPER...], the programs' directory and what runs
them (an emulator). It calls run() with its tests; the first failure ends it.
"""
import atexit
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PROGRAMS = sys.argv[1] if len(sys.argv) > 1 else "."
WRAPPER = sys.argv[2:]
LIMIT = 120  # seconds, for what should take one
# ThreadSanitizer keeps signals back until the thread that got one calls libc: an idle program never
# learns of it. Servers are killed there, and their ends in order not tested.
SIGNALS = "GORT_NO_SIGNALS" not in os.environ
WORK = tempfile.mkdtemp(prefix="gort.")
running = []


def clean_up():
    for server in running:
        server.process.kill()
        server.process.wait()
    shutil.rmtree(WORK, ignore_errors=True)


atexit.register(clean_up)
signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))


def skip(why):
    print(f"skipped: {why}", flush=True)
    sys.exit(77)


def raise_files():
    """Of ours, and so of all that we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def command(name, *arguments):
    return WRAPPER + [os.path.join(PROGRAMS, name), *map(str, arguments)]


def check(true, what):
    if not true:
        raise AssertionError(what)


def equal(got, want, what):
    check(got == want, f"{what}: {got!r}, not {want!r}")


def eventually(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        check(time.monotonic() < end, f"not within {LIMIT} s: {what}")
        time.sleep(0.01)


def call(name, *arguments, status=0):
    """Run to the end; its output and messages."""
    done = subprocess.run(command(name, *arguments), capture_output=True, text=True, timeout=LIMIT, check=False)
    equal(done.returncode, status, f"{name} {arguments}: {done.stdout}{done.stderr}: exit status")
    return done.stdout, done.stderr


class Server:
    """One that prints its address, after "listening on ", first."""

    def __init__(self, name, *arguments, **options):
        self.name = name
        self.process = subprocess.Popen(command(name, *arguments), stdout=subprocess.PIPE, text=True, **options)
        running.append(self)
        line = self.process.stdout.readline()
        start = "listening on "
        check(line.startswith(start), f"{name} {arguments}: says {line!r}")
        self.address = line[len(start):].rstrip("\n")

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def connect(self, limit=LIMIT):
        s = socket.create_connection(("127.0.0.1", self.port), limit)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def tell(self, signo=signal.SIGTERM):
        self.process.send_signal(signo)

    def wait(self, status=0):
        got = self.process.wait(LIMIT)
        running.remove(self)
        self.process.stdout.close()
        equal(got, status, f"{self.name}: exit status after a signal")

    def stop(self, signo=signal.SIGTERM):
        self.tell(signo if SIGNALS else signal.SIGKILL)
        self.wait(0 if SIGNALS else -signal.SIGKILL)


def read_all(s):
    """Until the end: its bytes."""
    parts = []
    while part := s.recv(65536):
        parts.append(part)
    return b"".join(parts)


def is_reset(s):
    """It ends by a reset; False: in order."""
    try:
        read_all(s)
    except ConnectionResetError:
        return True
    return False


def usage(name, *wrong):
    out, err = call(name, "--help")
    check(out.startswith(f"Usage: {name} ") and not err, f"{name} --help: {out}{err}")
    for arguments in wrong:
        out, err = call(name, *arguments, status=2)
        check(not out and f"Try '{name} --help'" in err, f"{name} {arguments}: {out}{err}")


def run(*tests):
    for test in tests:
        if test.__name__.startswith("test_end_") and not SIGNALS:
            continue
        start = time.monotonic()
        try:
            test()
        except Exception as e:
            print(f"FAIL: {test.__name__}: {type(e).__name__}: {e}", flush=True)
            raise
        print(f"{test.__name__}: {time.monotonic() - start:.2f} s", flush=True)
