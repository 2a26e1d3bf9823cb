#!/usr/bin/env python3
"""browser_test - a real browser, headless Chromium, loads from examples/httpd a page with 100 assets: style
sheets, scripts, images. The page itself counts what has come to be in force, and the server's log must
have each once. Usage: browser_test.py DIRECTORY [WRAPPER...]. 77: there is no chromium."""
import collections
import os
import re
import shutil
import struct
import subprocess
import zlib

from servers import LIMIT, WORK, Server, check, equal, run, skip

ROOT = WORK + "/www"
STYLES, SCRIPTS, IMAGES = 35, 35, 30

COUNT = """
addEventListener("load", () => {
    const style = getComputedStyle(document.documentElement);
    let styles = 0, images = 0;
    for (let i = 0; i < STYLES; i++)
        styles += style.getPropertyValue("--s" + i).trim() == String(i * 7);
    for (const [i, image] of [...document.images].entries())
        images += image.complete && image.naturalWidth == i + 1 && image.naturalHeight == 3;
    document.getElementById("result").textContent =
        styles + " styles, " + scripts.size + " scripts, " + images + " images";
});
"""


def png(width, height):
    """Of noise: it is as long as its pixels."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + os.urandom(3 * width) for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) \
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def make_site():
    """The names of all that a browser has to ask for."""
    files = {f"s{i}.css": f":root {{ --s{i}: {i * 7}; }} /* {'x' * 1000 * i} */" for i in range(STYLES)}
    files |= {f"j{i}.js": f"scripts.add({i}); // {'x' * 1000 * i}" for i in range(SCRIPTS)}
    page = ['<!DOCTYPE html><html><head><title>gort</title><link rel="icon" href="data:,">']
    page += [f'<link rel="stylesheet" href="/s{i}.css">' for i in range(STYLES)]
    page += ["<script>const scripts = new Set();", COUNT.replace("STYLES", str(STYLES)), "</script></head><body>"]
    page += [f'<img src="/i{i}.png">' for i in range(IMAGES)]
    page += [f'<script src="/j{i}.js"></script>' for i in range(SCRIPTS)]
    files["index.html"] = "\n".join([*page, '<p id="result">nothing</p></body></html>'])
    files |= {f"i{i}.png": png(i + 1, 3) for i in range(IMAGES)}
    os.mkdir(ROOT)
    for name, data in files.items():
        with open(f"{ROOT}/{name}", "wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)
    return {"/" if name == "index.html" else "/" + name for name in files}


def browse(url):
    """The page as it is in the end."""
    done = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                           f"--user-data-dir={WORK}/profile", "--virtual-time-budget=60000", "--dump-dom", url],
                          capture_output=True, text=True, timeout=LIMIT, check=False)
    equal(done.returncode, 0, f"chromium: {done.stderr}: exit status")
    return done.stdout


def test_page_with_100_assets():
    names = make_site()
    log = WORK + "/log"
    server = Server("httpd", "--log", log, "127.0.0.1:0", ROOT)
    page = browse(f"http://{server.address}/")
    result = re.search(r'<p id="result">(.*)</p>', page)
    check(result, f"no result in {page!r}")
    equal(result[1], f"{STYLES} styles, {SCRIPTS} scripts, {IMAGES} images", "what the page has counted")
    server.stop()
    peers, asked = set(), collections.Counter()
    with open(log, encoding="ascii") as f:
        for line in f:
            match = re.search(r'^(\S+) .*"GET (\S+) HTTP/1\.1" (\d+) \d+$', line)
            check(match and match[3] == "200", f"in the log: {line!r}")
            peers.add(match[1])
            asked[match[2]] += 1
    equal(asked, collections.Counter(names), "what was asked for, and how often")
    check(1 < len(peers) <= 10, f"{len(peers)} connections: not several, each kept")


if not shutil.which("chromium"):
    skip("chromium is not installed")
run(test_page_with_100_assets)
