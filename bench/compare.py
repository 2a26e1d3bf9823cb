"""compare - what the benchmarks share: the sides that are compared, runs that alternate, tables."""

import contextlib
import os
import select
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
TIMEOUT = 300  # seconds for one run of one program
PATIENCE = 10  # seconds for a server to start

# Our programs, and the packages of bench/go that are their twins, by what they do.
OURS = {"bench": "gortbench", "treesum": "treesum", "echo": "echo_gort", "httpd": "httpd",
        "proxy": "proxy", "read": "read_gort"}
TWINS = {"bench": ".", "treesum": "./treesum", "echo": "./echo", "httpd": "./httpd",
         "proxy": "./proxy", "read": "./fileread"}


class Failed(Exception):
    """A program could not be run, or its output is not what it should be."""


# ---- programs ---------------------------------------------------------------------


class Side:
    """One of those that are compared: its name, its programs by what they do (None, or missing: it
    has none such), and how it is told its processors."""

    def __init__(self, name, variable, programs):
        self.name = name
        self.variable = variable
        self.programs = programs

    def program(self, what):
        return self.programs.get(what)

    def environment(self, procs):
        """The caller's, without what would tune the one side or the other."""
        env = {k: v for k, v in os.environ.items()
               if not k.startswith("GORT_") and k not in ("GOGC", "GODEBUG", "GOMEMLIMIT")}
        env[self.variable] = str(procs)
        return env

    def measure(self, name, procs):
        """Run one benchmark: {figure: (value, unit)}."""
        return figures_of(f"{self.name}: {name}", [self.program("bench"), name], self.environment(procs))


def figures_of(what, command, env=None):
    """What a program prints in lines FIGURE VALUE UNIT: {figure: (value, unit)}."""
    try:
        out = subprocess.run(command, env=env, timeout=TIMEOUT, check=True, capture_output=True,
                             text=True).stdout
    except subprocess.TimeoutExpired:
        raise Failed(f"{what}: no end after {TIMEOUT} s") from None
    except subprocess.CalledProcessError as e:
        raise Failed(f"{what}: exit status {e.returncode}\n{e.stderr}") from None
    except OSError as e:
        raise Failed(f"{what}: {e}") from None
    figures = {}
    for line in out.splitlines():
        figure, value, unit = line.split()
        figures[figure] = (float(value), unit)
    return figures


def build_dir():
    return os.path.join(ROOT, os.environ.get("GORT_BUILD", "build/release"))


def find_program(name):
    """Where the build put it, or None."""
    for place in ("bench", "bench/net", "bench/file", "examples", "bin", ""):
        path = os.path.join(build_dir(), place, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def our_side():
    programs = {what: find_program(name) for what, name in OURS.items()}
    if not programs["bench"]:
        sys.exit(f"bench/run: no gortbench in {build_dir()}: build first, or set GORT_BUILD")
    return Side("gort", "GORT_MAXPROCS", programs)


def go_side():
    """Build the twins; None, after saying so, where there is no Go to build them."""
    go = shutil.which("go")
    if not go:
        print("No Go found: its side is skipped.\n")
        return None
    out = os.path.join(build_dir(), "bench", "go")
    os.makedirs(out, exist_ok=True)
    env = dict(os.environ, GOFLAGS="", GOWORK="off", GOTOOLCHAIN="local")
    programs = {what: os.path.join(out, "go" + what) for what in TWINS}
    for what, package in TWINS.items():
        built = subprocess.run([go, "build", "-o", programs[what], package],
                               cwd=os.path.join(HERE, "go"), env=env, capture_output=True, text=True)
        if built.returncode != 0:
            print(f"Go cannot build the twins, its side is skipped:\n{built.stderr}")
            return None
    return Side("go", "GOMAXPROCS", programs)


# ---- figures ------------------------------------------------------------------------


def alternate(sides, runs, measure):
    """A B A B ...: {side name: [what measure(side) gave]}."""
    taken = {side.name: [] for side in sides}
    for _ in range(runs):
        for side in sides:
            taken[side.name].append(measure(side))
    return taken


def medians(samples):
    """Of the figures of several runs: {figure: (median, spread, unit)}. The spread is half of
    the range over the median, which says whether the machine was quiet."""
    result = {}
    for figure, (_, unit) in samples[0].items():
        values = [s[figure][0] for s in samples]
        middle = statistics.median(values)
        spread = (max(values) - min(values)) / 2 / middle if middle else 0.0
        result[figure] = (middle, spread, unit)
    return result


def number(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(theirs, ours):
    return f"{theirs / ours:.2f}" if ours > 0 else "-"


class Table:
    """Rows printed as they come: a benchmark takes a while."""

    def __init__(self, *columns):
        self.widths = [width for _, width in columns]
        self.row([title for title, _ in columns])

    def row(self, cells):
        padded = [f"{c:<{w}}" if i == 0 else f"{c:>{w}}"
                  for i, (c, w) in enumerate(zip(cells, self.widths))]
        print(" ".join(padded).rstrip(), flush=True)


# ---- servers, and what is compared with the first of several ----------------------------------------


@contextlib.contextmanager
def serving(command, env=None):
    """A server while the body runs."""
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server
        finally:
            server.kill()


def port_of(server):
    """Its first line ends with it: PORT, or ADDRESS:PORT."""
    ready, _, _ = select.select([server.stdout], [], [], PATIENCE)
    line = server.stdout.readline() if ready else ""
    port = line.strip().rpartition(":")[2]
    if not port.isdecimal():
        raise Failed(f"{server.args[0]} tells no port")
    return port


def columns_beside(base, figures):
    """Of the figures that a run gave; CPU time is followed by what it is to the base's."""
    columns = [("name", 10), ("procs", 5), ("server", 7)]
    for figure, (_, unit) in figures.items():
        columns.append((f"{figure} {unit}".replace(" /", "/"), 10))
        if figure == "cpu":
            columns.append(("/" + base, 6))
    return columns + [("spread", 6)]


def row_beside(base, name, procs, side, taken):
    """The spread is the first figure's."""
    figures = medians(taken[side.name])
    row = [name, procs, side.name]
    for figure, (value, _, _) in figures.items():
        row.append(number(value))
        if figure == "cpu":
            rounds = zip(taken[side.name], taken[base])
            row.append(f"{statistics.median(a['cpu'][0] / b['cpu'][0] for a, b in rounds):.2f}")
    return row + [f"{next(iter(figures.values()))[1]:.0%}"]


def beside(name, sides, procs_list, runs, measure):
    """A table of sides, beside the first of them; measure(side, procs) runs one once, and gives
    {figure: (value, unit)}. True if it could be run."""
    base = sides[0].name
    table = None
    for procs in procs_list:
        try:
            taken = alternate(sides, runs, lambda side: measure(side, procs))
        except (Failed, OSError) as e:
            print(f"{name} {procs}: {e}", flush=True)
            return False
        table = table or Table(*columns_beside(base, taken[base][0]))
        for side in sides:
            table.row(row_beside(base, name, procs, side, taken))
    return True
