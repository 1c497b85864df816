#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cost.py [--rounds N] [--print] BASE [HEAD] - is anything slower than it was at BASE?

Both commits are built, as releases, from the history of the repository, in a directory that goes
away. Both are measured by the same program, the shmd-bench of HEAD: it uses nothing but the public
interface, so the two differ in library and broker only. A copy of it lies in each build, where it
finds that build's libshmd.so and shmd beside itself; that it does is looked at first.

A round measures each row four times, BASE HEAD HEAD BASE, so that what drifts meanwhile falls on
both alike; its ratio is the root of (HEAD x HEAD) / (BASE x BASE). Where both ends spin, the figures
are those beside the floor of their own moment, since two of them may meet two states of the machine;
where somebody sleeps, times. Of all rounds' ratios the middle one is shown, and the interval that
has the true middle in it with at least 95 %, by the order of the ratios alone: no distribution is
assumed. It takes six rounds to have one.

The table goes between <!-- cost --> and <!-- /cost --> in docs/robustness.md; --print writes it to
standard output instead. Exits with 1 if a row's whole interval lies above what is allowed.
"""
import argparse
import datetime
import json
import math
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENT = os.path.join(ROOT, "docs", "robustness.md")
PLACE = re.compile(r"<!-- cost -->.*?<!-- /cost -->", re.DOTALL)
ALLOWED = 1.03
ROUNDS = 12
SECONDS = "0.5"  # for a row, each time
JOINS = "150"
LONGEST = 60  # seconds, for one measurement

# What a row is called, what gives it, and by which of its figures.
ROWS = [(f"latency, {name}, {how}", ["latency", "--transport", "shmd", "--payload", payload,
                                     "--wait", wait, "--seconds", SECONDS],
         "p50_ns" if wait == "block" else "ratio_to_floor")
        for wait, how in (("poll", "poll"), ("block", "block"), ("adaptive", "default wait"))
        for payload, name in (("64", "64 B"), ("64K", "64 KiB"))]
ROWS += [(f"publish, {n} idle subscriber{s}", ["publish", "--subscribers", n, "--readers", "idle",
                                               "--seconds", SECONDS], "ratio_to_floor")
         for n, s in (("1", ""), ("64", "s"))]
ROWS += [("join", ["join", "--count", JOINS], "p50_ns")]


def say(text):
    print("cost: " + text, file=sys.stderr, flush=True)


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


# ---- two builds --------------------------------------------------------------------------------

def run_quietly(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        sys.exit(f"cost.py: {' '.join(command)}:\n{done.stdout}")


def target_of_library(made):
    targets = subprocess.run(["meson", "introspect", "--targets", made], check=True,
                             stdout=subprocess.PIPE).stdout
    return next(os.path.relpath(target["filename"][0], os.path.realpath(made))
                for target in json.loads(targets)
                if target["name"] == "shmd" and target["type"] == "shared library")


def build(commit, directory, *targets):
    """A release of the commit's library and broker, and of these targets. The build directory."""
    tree, made = os.path.join(directory, "tree"), os.path.join(directory, "build")
    os.makedirs(tree)
    archive = subprocess.Popen(["git", "-C", ROOT, "archive", commit], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", tree], check=True, stdin=archive.stdout)
    if archive.wait():
        sys.exit(f"cost.py: git archive {commit} failed")
    run_quietly(["meson", "setup", "--buildtype=release", made, tree])
    run_quietly(["ninja", "-C", made, target_of_library(made), "services/shmd/shmd", *targets])
    return made


class Side:
    """A commit that is measured."""

    def __init__(self, commit, made):
        self.commit = git("rev-parse", "--short", commit)
        self.bench = os.path.join(made, "bench", "shmd-bench")
        self.made = made

    def check(self):
        """Whether the program finds this build's library, and the broker is there."""
        linked = subprocess.run(["ldd", self.bench], check=True, stdout=subprocess.PIPE,
                                text=True).stdout
        found = re.search(r"libshmd\.so\S* => (/\S+)", linked)
        where = os.path.realpath(found.group(1)) if found else "nowhere"
        if not where.startswith(os.path.realpath(self.made) + os.sep):
            sys.exit(f"cost.py: {self.bench} finds libshmd.so in {where}")
        if not os.access(os.path.join(self.made, "services", "shmd", "shmd"), os.X_OK):
            sys.exit(f"cost.py: {self.made} has no broker")

    def measure(self, arguments):
        """The row of shmd, or None if it could not be measured this time."""
        command = [self.bench, *arguments, "--runs", "1", "--json", "-"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True, timeout=LONGEST)
            rows = json.loads(done.stdout)["results"]
        except (subprocess.TimeoutExpired, ValueError):
            return None
        return next((row for row in rows if row["transport"] == "shmd"), None)


def both_sides(base, head, directory):
    say("building both")
    made = (build(base, os.path.join(directory, "base")),
            build(head, os.path.join(directory, "head"), "bench/shmd-bench"))
    os.makedirs(os.path.join(made[0], "bench"), exist_ok=True)
    shutil.copy(os.path.join(made[1], "bench", "shmd-bench"),
                os.path.join(made[0], "bench", "shmd-bench"))
    sides = [Side(base, made[0]), Side(head, made[1])]
    for side in sides:
        side.check()
    return sides


# ---- measuring ---------------------------------------------------------------------------------

class Row:
    """What all rounds of one row came to."""

    def __init__(self, name, arguments, key):
        self.name, self.arguments, self.key = name, arguments, key
        self.found = ([], [])  # rows of base, of head
        self.ratios = []
        self.n_left_out = 0

    def round(self, base, head):
        rows = [side.measure(self.arguments) for side in (base, head, head, base)]
        values = [row and row[self.key] for row in rows]
        if not all(values):
            self.n_left_out += 1
            return
        self.found[0].extend((rows[0], rows[3]))
        self.found[1].extend((rows[1], rows[2]))
        self.ratios.append(math.sqrt(values[1] * values[2] / (values[0] * values[3])))

    def middle(self, side, key):
        known = [row[key] for row in self.found[side] if row[key] is not None]
        return statistics.median(known) if known else None

    def interval(self):
        """The ratios that have the middle of all between them with 95 %; None of too few."""
        ordered, n = sorted(self.ratios), len(self.ratios)
        best, outside = None, 0.0
        for low in range(n // 2):
            outside += 2 * math.comb(n, low) / 2 ** n  # fewer than low + 1 lie below it, or above
            if outside > 0.05:
                break
            best = (ordered[low], ordered[n - 1 - low])
        return best

    def is_slower(self):
        interval = self.interval()
        return interval is not None and interval[0] > ALLOWED


def measure_all(sides, n_rounds):
    rows = [Row(*row) for row in ROWS]
    begin = time.monotonic()
    for n in range(n_rounds):
        for i, row in enumerate(rows):
            done = n * len(rows) + i
            if sys.stderr.isatty():
                left = (time.monotonic() - begin) / done * (n_rounds * len(rows) - done) if done else 0
                sys.stderr.write(f"\r\033[Kcost: {int(left) // 60}:{int(left) % 60:02} left; round "
                                 f"{n + 1} of {n_rounds}: {row.name}")
                sys.stderr.flush()
            row.round(*sides)
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    return rows


# ---- the table ---------------------------------------------------------------------------------

def shown_time(ns):
    if ns is None:
        return "–"
    return f"{ns:.1f} ns" if ns < 1000 else f"{ns / 1e3:.1f} µs"


def shown_ratio(value, digits=2):
    return "–" if value is None else f"{value:.{digits}f}"


def verdict(row):
    interval = row.interval()
    if interval is None:
        return "too few rounds to say"
    if interval[1] <= ALLOWED:
        return "kept"
    return "slower" if row.is_slower() else "too close to tell"


def table(rows):
    lines = ["| | base | × floor | head | × floor | head / base | 95 % | |",
             "|---|---:|---:|---:|---:|---:|---:|---|"]
    for row in rows:
        cells = [row.name]
        for side in (0, 1):
            cells += [shown_time(row.middle(side, "p50_ns")),
                      shown_ratio(row.middle(side, "ratio_to_floor"))]
        interval = row.interval()
        cells += [shown_ratio(statistics.median(row.ratios) if row.ratios else None, 3),
                  f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "–", verdict(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def section(sides, rows, n_rounds):
    left_out = sum(row.n_left_out for row in rows)
    when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    text = (f"Measured on {when}: {sides[0].commit} (base) and {sides[1].commit} (head), "
            f"{n_rounds} round{'s' if n_rounds > 1 else ''} of base, head, head, base"
            f"{f', of which {left_out} gave no figure' if left_out else ''}; {os.cpu_count()} CPUs "
            f"({processor()}), Linux {platform.release().split('-')[0]}.")
    return "\n".join([textwrap.fill(text, width=100), ""] + table(rows))


def write_document(text):
    with open(DOCUMENT, encoding="utf-8") as file:
        document = file.read()
    renewed, n = PLACE.subn(lambda _: f"<!-- cost -->\n{text}\n<!-- /cost -->", document)
    if n != 1:
        sys.exit("cost.py: docs/robustness.md has no place between <!-- cost --> and <!-- /cost -->")
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(renewed)


def main():
    parser = argparse.ArgumentParser(description="is anything slower than it was at BASE?")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument("--print", action="store_true", help="leave docs/robustness.md as it is")
    parser.add_argument("base")
    parser.add_argument("head", nargs="?", default="HEAD")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds: at least one")
    for commit in (arguments.base, arguments.head):
        if subprocess.run(["git", "-C", ROOT, "rev-parse", "--verify", "--quiet",
                           commit + "^{commit}"], stdout=subprocess.DEVNULL).returncode:
            parser.error(f"there is no commit {commit}")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("cost.py: two CPUs are needed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the directory goes
    with tempfile.TemporaryDirectory(prefix="shmd-cost-") as directory:
        sides = both_sides(arguments.base, arguments.head, directory)
        rows = measure_all(sides, arguments.rounds)
    text = section(sides, rows, arguments.rounds)
    print(text)
    if not arguments.print:
        write_document(text)
        say("docs/robustness.md has these figures now")
    return 1 if any(row.is_slower() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
