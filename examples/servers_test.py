#!/usr/bin/env python3
"""servers_test - examples/httpd and examples/proxy among other people's servers: HAProxy and nginx in front of
them and behind them, wrk and curl to ask. Usage: servers_test.py DIRECTORY [WRAPPER...]. 77: one is missing."""
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess

from servers import LIMIT, WORK, Server, check, equal, eventually, raise_files, run, running, skip

ROOT = WORK + "/www"
FILES = {"small.txt": os.urandom(500), "file.bin": os.urandom(100 * 1024), "big.bin": os.urandom(1 << 20) * 8}
SUMS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
ENOUGH = 4096  # descriptors and connections for each

NGINX = """
daemon off;
master_process off;
pid {work}/nginx.{port}.pid;
error_log {work}/nginx.{port}.log;
events {{ worker_connections {enough}; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    default_type application/octet-stream;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/temporary;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    {what}
}}
"""

SERVES = "server {{ listen 127.0.0.1:{port}; root {work}/www; }}"

# It keeps connections to the one behind it.
PASSES_ON = """
    upstream behind {{ server {behind}; keepalive 128; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""

HAPROXY = """
global
    maxconn {enough}
defaults
    mode http
    option redispatch
    retries 3
    timeout connect 10s
    timeout client 100s
    timeout server 100s
    timeout check 10s
frontend front
    bind 127.0.0.1:{port}
    default_backend behind
backend behind
    option httpchk GET /json
    http-check expect status 200
    http-reuse always
    server one {behind} check inter 100ms
"""


class Other:
    """A server that is not ours, with a configuration; it has a class Server's members."""

    def __init__(self, command, text, **values):
        with socket.socket() as s:  # it cannot tell which it took
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        path = f"{WORK}/configuration.{self.port}"
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.format(port=self.port, work=WORK, enough=ENOUGH, **values))
        with open(path + ".log", "wb") as log:
            self.process = subprocess.Popen([*command, path], stdout=log, stderr=log)
        running.append(self)
        eventually(self.answers, f"{command[0]} listens")

    def answers(self):
        check(self.process.poll() is None, f"{self.process.args} has ended: {self.said()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def said(self):
        with open(f"{WORK}/configuration.{self.port}.log", encoding="utf-8") as f:
            return f.read()

    def stop(self):
        self.process.terminate()
        self.process.wait(LIMIT)
        running.remove(self)


def nginx(what, **values):
    return Other(["nginx", "-e", WORK + "/nginx.log", "-c"], NGINX.replace("{what}", what), **values)


def haproxy(behind):
    return Other(["haproxy", "-db", "-f"], HAPROXY, behind=behind.address)


def httpd(*options):
    return Server("httpd", *options, "127.0.0.1:0", ROOT)


def curl(*arguments):
    return subprocess.run(["curl", "-sS", "--max-time", str(LIMIT), *arguments], capture_output=True, check=False)


def check_files(server, rounds=3):
    """All of them come whole, over one connection."""
    names = list(FILES) * rounds
    out = [f"{WORK}/got.{i}" for i in range(len(names))]
    done = curl(*[word for i, name in enumerate(names) for word in ("-o", out[i], f"http://{server.address}/{name}")],
                "-w", "%{http_code} %{num_connects}\n")
    equal(done.returncode, 0, f"curl: {done.stderr}: exit status")
    lines = done.stdout.decode().split("\n")[:-1]
    equal([line.split()[0] for line in lines], ["200"] * len(names), "statuses")
    equal(sum(int(line.split()[1]) for line in lines), 1, "connections of curl's")
    for name, path in zip(names, out):
        with open(path, "rb") as f:
            equal(hashlib.sha256(f.read()).hexdigest(), SUMS[name], f"the checksum of {name}")


def wrk(server, name, seconds=2, connections=64):
    return subprocess.Popen(["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "100s",
                             f"http://{server.address}/{name}"], stdout=subprocess.PIPE, text=True)


def check_load(server):
    for name in ("json", "file.bin"):
        load = wrk(server, name)
        out, _ = load.communicate()
        equal(load.returncode, 0, f"wrk: {out}: exit status")
        check("Requests/sec" in out and "Non-2xx" not in out and "Socket errors" not in out, f"wrk: {out}")


def held(server):
    """Its sockets, and pipes for splice: when nobody is connected, one, which listens."""
    path, count = f"/proc/{server.process.pid}/fd", 0
    for number in os.listdir(path):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += int(number) > 2 and os.readlink(f"{path}/{number}").startswith(("socket:", "pipe:"))
    return count


def check_idle(server):
    eventually(lambda: held(server) == 1, f"{server.name} has closed all connections")


def log_of(path):
    with open(path, encoding="ascii") as f:
        return f.read().splitlines()


def test_haproxy_before_httpd():
    log = WORK + "/log.haproxy"
    behind = httpd("--log", log)
    front = haproxy(behind)
    eventually(lambda: curl("-f", f"http://{front.address}/json").returncode == 0, "it is found in good health")
    check_files(front)
    check_load(front)
    count = len(log_of(log))
    eventually(lambda: len(log_of(log)) > count + 3, "health is checked on and on")
    front.stop()
    check_idle(behind)
    equal({line.rsplit(" ", 2)[1] for line in log_of(log)}, {"200"}, "statuses in the log")
    behind.stop()


def test_nginx_before_httpd():
    log = WORK + "/log.nginx"
    behind = httpd("--log", log)
    front = nginx(PASSES_ON, behind=behind.address)
    check_files(front)
    lines = log_of(log)
    peers = {line.split()[0] for line in lines}
    check(len(peers) < len(lines) / 2, f"{len(peers)} connections for {len(lines)} requests: they are not kept")
    check_load(front)
    front.stop()
    check_idle(behind)
    equal({line.rsplit(" ", 2)[1] for line in log_of(log)}, {"200"}, "statuses in the log")
    behind.stop()


def test_proxy_before_nginx():
    behind = nginx(SERVES)
    proxy = Server("proxy", "127.0.0.1:0", behind.address)
    with open(ROOT + "/json", "wb") as f:  # nginx makes none
        f.write(b"{}")
    check_files(proxy)
    check_load(proxy)
    check_idle(proxy)
    proxy.stop()
    behind.stop()


def test_haproxy_before_proxy_before_httpd():
    behind = httpd()
    proxy = Server("proxy", "127.0.0.1:0", behind.address)
    front = haproxy(proxy)
    eventually(lambda: curl("-f", f"http://{front.address}/json").returncode == 0, "it is found in good health")
    check_files(front)
    check_load(front)
    for server in (front, proxy, behind):
        server.stop()


def kill_under_load(front, middle, behind, learnt):
    """In the midst of wrk's load, which goes on until that has been learnt: what wrk says."""
    load = wrk(front, "file.bin", seconds=LIMIT)
    eventually(lambda: held(middle) > 64, "it is under load")
    behind.process.kill()
    behind.process.wait()
    running.remove(behind)
    eventually(learnt, "the one behind is gone")
    load.send_signal(signal.SIGINT)
    out, _ = load.communicate()
    return out


def proxy_before(behind):
    """One whose complaints are kept in a file."""
    with open(WORK + "/complaints", "wb") as f:
        return Server("proxy", "127.0.0.1:0", behind.address, stderr=f)


def proxy_complains():
    return os.path.getsize(WORK + "/complaints") > 0


def test_the_one_behind_the_proxy_is_killed():
    behind = httpd()
    proxy = proxy_before(behind)
    out = kill_under_load(proxy, proxy, behind, proxy_complains)
    check("Socket errors" in out, f"no client has learnt of it; wrk: {out}")
    check_idle(proxy)
    done = curl(f"http://{proxy.address}/json")
    # A reset may come before curl has seen that it is connected (7), has asked (55), or after it (52, 56).
    check(done.returncode in (7, 52, 55, 56), f"nobody behind it: curl: {done.returncode}, {done.stderr}")
    equal(proxy.process.poll(), None, "the proxy's exit status")
    again = Server("httpd", behind.address, ROOT)
    check_files(proxy)
    check_load(proxy)
    check_idle(proxy)
    proxy.stop()
    again.stop()


def test_the_one_behind_haproxy_and_the_proxy_is_killed():
    """HAProxy notices by its checks that nobody answers through the proxy, and that somebody does again."""
    def status():
        return curl("-o", "/dev/null", "-w", "%{http_code}", f"http://{front.address}/json").stdout

    behind = httpd()
    proxy = proxy_before(behind)
    front = haproxy(proxy)
    eventually(lambda: status() == b"200", "it is found in good health")
    out = kill_under_load(front, proxy, behind, lambda: status() == b"503")
    check("Non-2xx" in out or "Socket errors" in out, f"no client has learnt of it; wrk: {out}")
    again = Server("httpd", behind.address, ROOT)
    eventually(lambda: status() == b"200", "it is found again")
    check_files(front)
    for server in (front, proxy, again):
        server.stop()


def make_site():
    os.mkdir(ROOT)
    os.chmod(WORK, 0o755)
    for name, data in FILES.items():
        with open(f"{ROOT}/{name}", "wb") as f:
            f.write(data)


os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin"
for program in ("haproxy", "nginx", "wrk", "curl"):
    if not shutil.which(program):
        skip(f"{program} is not installed")
raise_files()
make_site()
run(test_haproxy_before_httpd, test_nginx_before_httpd, test_proxy_before_nginx, test_haproxy_before_proxy_before_httpd,
    test_the_one_behind_the_proxy_is_killed, test_the_one_behind_haproxy_and_the_proxy_is_killed)
