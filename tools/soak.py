#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""soak.py [--minutes N] BUILD - keeps the promises of docs/robustness.md for as long as one likes.

The tables there that are headed '| Promise | Test | Injections | Result |' say which test of which
program holds each promise: `program: test`, as meson and cmocka call them. Each is run in its long
form (--long). As long as there are minutes left, those that choose by chance are run again, with
another seed. Then the last two columns, and the line between <!-- soak --> and <!-- /soak -->, are
written anew: no figure there is typed by hand. A test counts what it did to somebody in lines
'injections: N'.

soak.py --check: every row names a test that there is, and has its figures.

Exits 1 if a promise was not kept, or a test that is named isn't there.
"""
import argparse
import datetime
import json
import os
import platform
import re
import selectors
import subprocess
import sys
import textwrap
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENT = os.path.join(ROOT, "docs", "robustness.md")
HEADING = ["Promise", "Test", "Injections", "Result"]
NAMED = re.compile(r"`([\w-]+): (\w+)`")
ROUND = re.compile(r"<!-- soak -->.*?<!-- /soak -->", re.DOTALL)
LONGEST = 3600  # seconds, for one test


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def rows(lines):
    """(line number, cells) of each row of the tables with the heading."""
    inside = False
    for number, line in enumerate(lines):
        if not line.startswith("|"):
            inside = False
        elif cells(line) == HEADING:
            inside = True
        elif inside and not re.match(r"^\|[-:| ]+\|$", line.strip()):
            yield number, cells(line)


def named_tests(lines):
    """The tests that the rows name, in their order, each once."""
    found = {}
    for _, row in rows(lines):
        for name in NAMED.findall(row[1]):
            found[name] = True
    return list(found)


class Outcome:
    """What all runs of one test came to."""

    def __init__(self):
        self.runs, self.injections, self.failures, self.is_random = 0, 0, [], False


class Progress:
    """One line that changes, on a terminal; else a line for each test that ends."""

    def __init__(self, minutes):
        self.is_live = sys.stderr.isatty()
        self.begin = time.monotonic()
        self.minutes = minutes
        self.text = ""

    def show(self, text):
        if not self.is_live:
            return
        clock = self.clock(time.monotonic() - self.begin)
        if self.minutes:
            clock += f" of {self.clock(self.minutes * 60)}"
        line = f"soak: {clock}  {text}"[: os.get_terminal_size(2).columns - 1]
        sys.stderr.write("\r\033[K" + line)
        sys.stderr.flush()

    @staticmethod
    def clock(seconds):
        return f"{int(seconds) // 60}:{int(seconds) % 60:02}"

    def clear(self):
        if self.is_live:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def say(self, text):
        self.clear()
        print(f"soak: {text}", flush=True)

    def is_over(self):
        return time.monotonic() - self.begin >= self.minutes * 60


def run(command, test, label, progress):
    """Runs one test. (passed, skipped, injections, seed, output)"""
    process = subprocess.Popen(
        command + ["--long", test], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace")
    deadline = time.monotonic() + LONGEST
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    output, so_far = "", ""
    os.set_blocking(process.stdout.fileno(), False)
    while True:
        progress.show(f"{label}{so_far}  {test}")
        if selector.select(timeout=1):
            piece = process.stdout.read()
            if piece == "":
                break
            output += piece or ""
            told = re.findall(r"^injections so far: (\d+)$", output[-10000:], re.MULTILINE)
            so_far = f"  {int(told[-1]):,} injections" if told else so_far
        if time.monotonic() > deadline:
            process.kill()
            output += f"\nkilled: it took longer than {LONGEST} s\n"
            break
    status = process.wait()
    seeds = re.findall(r"^seed: (\d+)", output, re.MULTILINE)
    injections = sum(int(n) for n in re.findall(r"^injections: (\d+)$", output, re.MULTILINE))
    skipped = "[  SKIPPED ]" in output
    # A filter that matches nothing runs nothing, and that is no success.
    passed = status == 0 and "[       OK ]" in output
    return passed, skipped, injections, seeds[-1] if seeds else None, output


def run_once(name, command, outcome, label, progress):
    passed, skipped, injections, seed, output = run(command, name[1], label, progress)
    outcome.runs += 1
    outcome.injections += injections
    outcome.is_random = seed is not None
    if skipped:
        progress.say(f"{name[0]}: {name[1]}: skipped")
        outcome.failures.append("skipped")
    elif not passed:
        where = f"failed with seed {seed}" if seed else "failed"
        outcome.failures.append(where)
        progress.say(f"{name[0]}: {name[1]}: {where}")
        print(output, flush=True)
    else:
        progress.say(f"{name[0]}: {name[1]}: passed, {injections:,} injections")


def commands_of(build):
    tests = subprocess.run(["meson", "introspect", "--tests", build], check=True,
                           stdout=subprocess.PIPE).stdout
    return {test["name"]: test["cmd"] for test in json.loads(tests)}


def soak(names, build, minutes):
    progress = Progress(minutes)
    commands = commands_of(build)
    outcomes = {name: Outcome() for name in names}
    for number, name in enumerate(names, 1):
        if name[0] not in commands:
            progress.say(f"{name[0]}: there is no such test program")
            outcomes[name].failures.append("not there")
            continue
        run_once(name, commands[name[0]], outcomes[name],
                 f"{number} of {len(names)}", progress)
    again = [name for name in names if outcomes[name].is_random]
    while again and not progress.is_over():
        for name in again:
            run_once(name, commands[name[0]], outcomes[name], "again", progress)
            if progress.is_over():
                break
    progress.clear()
    return outcomes


# ---- the document ----


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def revision():
    try:
        return subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "a tree without history"


def said_of(outcomes, row):
    """The last two cells of a row."""
    own = [outcomes[name] for name in NAMED.findall(row[1])]
    failures = [failure for outcome in own for failure in outcome.failures]
    return f"{sum(outcome.injections for outcome in own):,}", failures[0] if failures else "passed"


def write_document(lines, outcomes, seconds):
    for number, row in rows(lines):
        if NAMED.search(row[1]):
            lines[number] = "| " + " | ".join(row[:2] + list(said_of(outcomes, row))) + " |\n"
    when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    total = sum(outcome.injections for outcome in outcomes.values())
    text = textwrap.fill(
        f"Last written on {when}, at {revision()}: {total:,} injections in "
        f"{Progress.clock(seconds)} minutes, {os.cpu_count()} CPUs ({processor()}), Linux {platform.release().split('-')[0]}.",
        width=100)
    document = ROUND.sub(lambda _: f"<!-- soak -->\n{text}\n<!-- /soak -->", "".join(lines))
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(document)


def check(lines):
    """Faults of the document, one line each."""
    sources = {}
    for directory, _, files in os.walk(os.path.join(ROOT, "tests")):
        for file in files:
            if file.endswith(".c"):
                with open(os.path.join(directory, file), encoding="utf-8") as source:
                    sources[file] = source.read()
    faults = []
    for number, row in rows(lines):
        where = f"docs/robustness.md:{number + 1}"
        if len(row) != len(HEADING) or not NAMED.search(row[1]):
            faults.append(f"{where}: no `program: test` is named")
            continue
        for program, test in NAMED.findall(row[1]):
            if not any(re.search(rf"\b{test}\b", text) for text in sources.values()):
                faults.append(f"{where}: {program} has no test {test}")
        if not re.fullmatch(r"[1-9][\d,]*", row[2]) or row[3] != "passed":
            faults.append(f"{where}: was not kept, or has no figures: ./run soak")
    if not ROUND.search("".join(lines)):
        faults.append("docs/robustness.md: has no line between <!-- soak --> and <!-- /soak -->")
    return faults


def main():
    parser = argparse.ArgumentParser(description="keeps the promises of docs/robustness.md")
    parser.add_argument("--minutes", type=float, default=0,
                        help="go on with what is random for so long (default: all once)")
    parser.add_argument("--check", action="store_true", help="only look at the document")
    parser.add_argument("build", nargs="?", default=os.path.join(ROOT, "build"))
    arguments = parser.parse_args()
    with open(DOCUMENT, encoding="utf-8") as file:
        lines = file.readlines()
    if arguments.check:
        faults = check(lines)
        print("\n".join(faults + [f"{len(named_tests(lines))} tests named, {len(faults)} faults"]))
        return 1 if faults else 0
    begin = time.monotonic()
    outcomes = soak(named_tests(lines), arguments.build, arguments.minutes)
    write_document(lines, outcomes, time.monotonic() - begin)
    failed = sum(bool(outcome.failures) for outcome in outcomes.values())
    print(f"{len(outcomes) - failed} tests passed, {failed} did not; "
          f"{sum(outcome.injections for outcome in outcomes.values()):,} injections; "
          "docs/robustness.md has the figures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
