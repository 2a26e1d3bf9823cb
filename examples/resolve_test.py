#!/usr/bin/env python3
"""resolve_test - examples/resolve. See servers.py. No name server is needed, and none believed."""
from servers import call, check, equal, run, usage


def test_usage():
    usage("resolve", [], ["--timeout", "x", "localhost"], ["--timeout", "-1", "localhost"], ["--no-such"])


def test_numbers():
    out, _ = call("resolve", "127.0.0.1", "::1", "192.0.2.7")
    equal(out, "127.0.0.1 127.0.0.1\n::1 ::1\n192.0.2.7 192.0.2.7\n", "addresses")


def test_names():
    out, err = call("resolve", *["localhost"] * 100)
    lines = out.splitlines()
    check(len(lines) >= 100 and not err, f"{out}{err}")
    check(set(lines) <= {"localhost 127.0.0.1", "localhost ::1"}, out)


def test_failures():
    out, err = call("resolve", "no-such-host.invalid", "127.0.0.1", "two words", "", status=1)
    equal(out, "127.0.0.1 127.0.0.1\n", "one that is right among others")
    equal([line.split(": ")[1] for line in err.splitlines()], ["no-such-host.invalid", "two words", ""], "who failed")
    _, err = call("resolve", "--timeout", 0, "localhost", status=1)
    equal(err, "resolve: localhost: no answer in time\n", "no time at all")


run(test_usage, test_numbers, test_names, test_failures)
