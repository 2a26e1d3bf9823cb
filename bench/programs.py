"""programs - real programs beside others' of their kind: examples/httpd, examples/proxy, and reads of
a large file. Figures are the server's CPU time, for a request or a GB, beside gort's ("/gort"), or for
reads beside the floor's ("/raw"); rates come from whoever loads it, on the same processors.
"""

import contextlib
import os
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time

from compare import Failed, PATIENCE, Side, TIMEOUT, beside, figures_of, find_program, port_of, serving

FILE = "file.bin"
FILE_SIZE = 100 * 1024
WARM_UP, LENGTH = 1, 3  # seconds of wrk
TARGETS = {"json": ("/json", 64), "json_1000": ("/json", 1000),
           "file": ("/" + FILE, 64), "file_1000": ("/" + FILE, 1000)}
MANY_FILES = 16384

NGINX_WORKERS = {"nginx": 1, "nginx_2": 2}
NGINX = """
daemon off;
worker_processes {workers};
worker_rlimit_nofile {files};
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ worker_connections {files}; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    server {{ listen 127.0.0.1:{port}; root {work}/www; }}
}}
"""

# Left to itself (splice-auto, pipes of 64 KiB) it takes twice as much for a GB.
HAPROXY = """
global
    nbthread 1
    maxconn 1000
    tune.pipesize 262144
defaults
    mode tcp
    option splice-request
    option splice-response
    timeout connect 10s
    timeout client 300s
    timeout server 300s
listen proxy
    bind 127.0.0.1:{port}
    server sink 127.0.0.1:{upstream}
"""


def raise_files():
    """Of ours, and so of all that we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MANY_FILES if hard == resource.RLIM_INFINITY else min(MANY_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def find_other(name, package):
    """A server that is not ours; None, after saying so, where there is none."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not path:
        print(f"No {name} found (Debian: {package}): it is left out.")
    return path


def sides_with(what, sides, others):
    """Those that have such a program; others' have one thread, whatever procs says."""
    more = [Side(name, "GORT_MAXPROCS", {what: path}) for name, path in others.items() if path]
    return [side for side in [*sides, *more] if side.program(what)]


# ---- servers of others ------------------------------------------------------------------------------


def free_port():
    """For those that cannot tell which they took."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(server, port):
    end = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise Failed(f"{server.args[0]} does not listen")


@contextlib.contextmanager
def configured(work, text, command, **values):
    """A server with a configuration of its own: (the server, its port)."""
    port = free_port()
    path = os.path.join(work, "configuration")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.format(work=work, port=port, files=MANY_FILES, **values))
    with serving([*command, path]) as server:
        try:
            wait_for(server, port)
            yield server, port
        finally:
            server.terminate()  # not kill: its worker would stay
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(PATIENCE)


@contextlib.contextmanager
def telling(command, env):
    with serving(command, env) as server:
        yield server, port_of(server)


# ---- CPU time, from outside ---------------------------------------------------------------------------


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        return [int(child) for child in f.read().split()]


def cpu_of(pid):
    """Seconds, by the clock of the process, and those of its workers."""
    return sum(time.clock_gettime((~p << 3) | 2) for p in [pid, *children_of(pid)])


# ---- httpd --------------------------------------------------------------------------------------------


def run_wrk(url, connections, seconds):
    """What it says, of answers that were all good."""
    command = ["wrk", "--latency", "--timeout", "10s", "-t1", f"-c{connections}", f"-d{seconds}", url]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except (subprocess.TimeoutExpired, OSError) as e:
        raise Failed(f"wrk: {e}") from None
    bad = re.search(r"(Non-2xx|Socket errors).*", done.stdout)
    if bad or done.returncode != 0:
        raise Failed(f"wrk {url}: {bad.group() if bad else done.stderr}")
    return done.stdout


def microseconds(wrk, percent):
    value, unit = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", wrk, re.MULTILINE).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6}[unit]


def load_httpd(server, port, target):
    path, connections = TARGETS[target]
    url = f"http://127.0.0.1:{port}{path}"
    run_wrk(url, connections, WARM_UP)
    before = cpu_of(server.pid)
    out = run_wrk(url, connections, LENGTH)
    cpu = cpu_of(server.pid) - before
    requests, seconds = re.search(r"(\d+) requests in ([\d.]+)s", out).groups()
    if requests == "0":
        raise Failed(f"wrk {url}: no request was answered")
    return {"cpu": (cpu * 1e6 / int(requests), "us"),
            "rate": (int(requests) / float(seconds), "/s"),
            "p50": (microseconds(out, 50), "us"), "p99": (microseconds(out, 99), "us")}


def httpd_command(side, root):
    return [side.program("httpd"), *(["127.0.0.1:0"] if side.name == "gort" else []), root]


def measure_httpd(side, procs, target, work):
    if side.name in NGINX_WORKERS:
        command = [side.program("httpd"), "-p", work, "-e", os.path.join(work, "error.log"), "-c"]
        started = configured(work, NGINX, command, workers=NGINX_WORKERS[side.name])
    else:
        command = httpd_command(side, os.path.join(work, "www"))
        started = telling(command, side.environment(procs))
    with started as (server, port):
        try:
            return load_httpd(server, port, target)
        except Failed as e:
            raise Failed(f"{side.name}: {e}") from None


def make_site(work):
    """Also for a worker of nginx that root starts: it is somebody else then."""
    os.chmod(work, 0o755)
    os.mkdir(os.path.join(work, "www"))
    with open(os.path.join(work, "www", FILE), "wb") as f:
        f.write(os.urandom(FILE_SIZE))


def run_httpd(sides, procs_list, runs):
    """True if it could be run."""
    if not shutil.which("wrk"):
        print("httpd: no wrk found (Debian: wrk), which is what loads it: skipped")
        return False
    nginx = find_other("nginx", "nginx-light")
    with_nginx = sides_with("httpd", sides, dict.fromkeys(NGINX_WORKERS, nginx))
    without = sides_with("httpd", sides, {})
    if not without or without[0].name != "gort":
        print("httpd: the build has none (it needs http_parser): skipped")
        return False
    good = True
    with tempfile.TemporaryDirectory(prefix="gort-bench.") as work:
        make_site(work)
        for target, (path, connections) in TARGETS.items():
            what = f"a file of {FILE_SIZE} bytes" if path != "/json" else "a JSON answer of 27 bytes"
            print(f"\nhttpd: {what}, {connections} connections")
            good = beside(target, without if path == "/json" else with_nginx, procs_list, runs,
                          lambda side, procs: measure_httpd(side, procs, target, work)) and good
    return good


# ---- proxy --------------------------------------------------------------------------------------------


def proxy_started(side, procs, sink, work):
    upstream = f"127.0.0.1:{sink}"
    if side.name == "haproxy":
        return configured(work, HAPROXY, [side.program("proxy"), "-db", "-f"], upstream=sink)
    first = ["127.0.0.1:0"] if side.name == "gort" else []
    return telling([side.program("proxy"), *first, upstream], side.environment(procs))


def measure_proxy(side, procs, work):
    netload = find_program("netload")
    with telling([netload, "sink"], None) as (_, sink), \
            proxy_started(side, procs, sink, work) as (server, port):
        return figures_of(f"{side.name}: proxy",
                          [netload, "-c", "8", "-s", "65536", "stream", str(port), str(server.pid)])


def run_proxy(sides, procs_list, runs):
    """True if it could be run."""
    sides = sides_with("proxy", sides, {"haproxy": find_other("haproxy", "haproxy")})
    if not sides or sides[0].name != "gort" or not find_program("netload"):
        print("proxy: the build has none, or no netload: skipped")
        return False
    print("\nproxy: 8 connections, each as much as it takes in writes of 64 KiB, one way")
    with tempfile.TemporaryDirectory(prefix="gort-bench.") as work:
        return beside("proxy", sides, procs_list, runs,
                      lambda side, procs: measure_proxy(side, procs, work))


# ---- file_read ----------------------------------------------------------------------------------------


def make_large(directory, mib):
    """Not of zeros, nor with holes; on the disk before anything is measured."""
    path = os.path.join(directory, "large")
    part = os.urandom(1 << 20)
    with open(path, "wb") as f:
        for _ in range(mib):
            f.write(part)
        f.flush()
        os.fsync(f.fileno())
    return path


def forget(path):
    """Drop what the page cache has of it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def measure_read(side, procs, path, cold):
    if cold:
        forget(path)
    return figures_of(f"{side.name}: file_read", [side.program("read"), path], side.environment(procs))


def run_reads(sides, procs_list, runs, path, cold):
    """True if they could be run."""
    name, floor = ("file_cold", "read_uring") if cold else ("file_read", "read_raw")
    raw = Side("raw", "GORT_MAXPROCS", {"read": find_program(floor)})  # it has one thread
    sides = sides_with("read", [raw, *sides], {})
    if sides[0].name != "raw":
        print(f"{name}: the build has no {floor}: skipped")
        return False
    print(f"\n{name}: 4 KiB at random places of a file of {os.path.getsize(path) >> 20} MiB, by 64 goroutines.")
    print("Nothing is in the page cache; raw: one thread, with 64 reads under way in an io_uring." if cold
          else "It has just been written: what fits is in the page cache; raw: one thread.")
    return beside(name, sides, procs_list, runs,
                  lambda side, procs: measure_read(side, procs, path, cold))


def run_file_read(sides, procs_list, runs, mib):
    """True if all could be run."""
    with tempfile.TemporaryDirectory(prefix="gort-bench.") as directory:
        path = make_large(directory, mib)
        return all([run_reads(sides, procs_list, runs, path, cold) for cold in (False, True)])


# ---- all ----------------------------------------------------------------------------------------------

NAMES = ["httpd", "proxy", "file_read"]


def run_programs(names, sides, procs_list, runs, mib):
    """True if all could be run."""
    run = {"httpd": lambda: run_httpd(sides, procs_list, runs),
           "proxy": lambda: run_proxy(sides, procs_list, runs),
           "file_read": lambda: run_file_read(sides, procs_list, runs, mib)}
    if names:
        raise_files()
    return all([run[name]() for name in names])
