#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check-results.py SHMD-BENCH - a quick run of everything: are its reports what they should be?

Looks at their shape: the JSON against results.schema.json (which needs python3-jsonschema, and is
said to be left out without it), the CSV and the pictures beside it. Of speed it looks at few
ratios only, with margins that no machine gets near by bad luck: whether a sample's size matters, the
number of subscribers, a restart of the broker. Exits with 77 where the program can't write JSON, or
this process has one CPU.
"""
import csv
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile

TIMEOUT_S = 280
SKIPPED = 77

# Rows of what a restart costs: with how many subscribers, and of how many samples at least.
RESTART = {"restart": (4, 10000), "restart-calm": (4, 10000), "resume": (50, 20),
           "resume-fresh": (50, 20)}

faults = []


def check(good, text):
    if not good:
        faults.append(text)


def skip(text):
    print("skipped: " + text)
    sys.exit(SKIPPED)


def run(bench, directory):
    """The reports of a quick run, by their kind."""
    paths = {"json": "r.json", "csv": "r.csv"}
    if shutil.which("gnuplot"):
        paths.update(plot="latency.svg", states="floor.svg")
    else:
        print("no gnuplot: pictures are left out")
    paths = {kind: os.path.join(directory, name) for kind, name in paths.items()}
    command = [bench, "all", "--quick"]
    for kind, path in paths.items():
        command += ["--" + kind, path]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=TIMEOUT_S)
    if "built without jansson" in done.stderr:
        skip("shmd-bench was built without jansson")
    # 1: a row could not be measured, such as where the floor never holds still. It says so.
    check(done.returncode in (0, 1), "it exits with %d" % done.returncode)
    check("p99.9" in done.stdout, "there is no table")
    sys.stdout.write(done.stderr)
    return paths


def check_schema(report):
    schema = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results.schema.json")
    try:
        import jsonschema
    except ImportError:
        print("no python3-jsonschema: the schema is left out")
        return
    with open(schema, encoding="utf-8") as file:
        validator = jsonschema.Draft7Validator(json.load(file))
    for error in validator.iter_errors(report):
        check(False, "schema: %s: %s" % ("/".join(map(str, error.absolute_path)), error.message))


def check_rows(report):
    """What a schema can't say."""
    reasons = {entry["result"]: entry["reason"] for entry in report["reasons"]}
    for place, row in enumerate(report["results"]):
        name = "result %d (%s %s %s)" % (place, row["bench"], row["transport"], row["payload"])
        values = [row[key] for key in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")]
        there = [value for value in values[1:] if value is not None]
        check((row["p50_ns"] is None) == (place in reasons),
              name + ": figures or a reason, not both and not none")
        check(there == sorted(there), name + ": quantiles that fall: %s" % values)
        single = row["bench"] not in ("publish", "publish-paced") and row["samples"]
        for key, needed in (("p90_ns", 100), ("p99_ns", 1000), ("p999_ns", 10000)):
            check(not single or (row[key] is None) == (row["samples"] < needed),
                  "%s: %s of %s samples" % (name, key, row["samples"]))
        check(row["p50_ns"] is None or row["cpus"][0] == row["cpus"][1] or row["bench"] == "join"
              or row["bench"] in RESTART or row["floor_p50_ns"] is not None, name + ": no floor")
    check_paced(report)
    check_restart(report)
    points = report["floor"]
    check(points and points == sorted(points, key=lambda point: point[0]),
          "the floor over time is empty, or not in order")


def check_paced(report):
    rows = [row for row in report["results"] if row["bench"] == "publish-paced"]
    found = [(row["wait"], row["subscribers"]) for row in rows]
    check(found == [("idle", 1), ("poll", 1)], "publish-paced: rows %s" % found)
    for row in rows:
        # Of differences there is a middle one; what lies far from it is interrupts.
        known = [key for key in ("p90_ns", "p99_ns", "p999_ns", "max_ns", "mean_ns")
                 if row[key] is not None]
        check(not known, "publish-paced %s: has %s" % (row["wait"], ", ".join(known)))


def check_restart(report):
    for bench, (subscribers, least) in RESTART.items():
        rows = [row for row in report["results"] if row["bench"] == bench]
        check([row["subscribers"] for row in rows] == [subscribers], "%s: rows %s" % (bench, rows))
        for row in rows:
            check(row["samples"] is not None and row["samples"] >= least,
                  "%s: %s samples" % (bench, row["samples"]))


def check_csv(path, report):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    results = report["results"]
    check(rows[0] == list(results[0]), "the CSV's header is not the JSON's keys")
    check(len(rows) == 1 + len(results), "the CSV has %d rows" % len(rows))
    for line, result in zip(rows[1:], results):
        for cell, (key, value) in zip(line, result.items()):
            if value is None:
                same = cell == ""
            elif isinstance(value, list):
                same = cell == ",".join(map(str, value))
            elif isinstance(value, str):
                same = cell == value
            else:
                same = cell != "" and math.isclose(float(cell), value)
            check(same, "CSV: %s is %r, in JSON %r" % (key, cell, value))


def check_picture(path, report, words):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    check("<svg" in text and "</svg>" in text, path + ": no SVG")
    for word in [report["run"]["began"]] + words:
        check(word in text, "%s doesn't say %s" % (path, word))


def figure(report, name, **wanted):
    for row in report["results"]:
        if all(row[key] == value for key, value in wanted.items()):
            return row[name]
    check(False, "there is no row %s" % wanted)
    return None


def check_ratios(report):
    # Each to the floor of its own moment: the machine may have changed its state in between.
    small, large = (figure(report, "ratio_to_floor", bench="latency", transport="shmd",
                           wait="poll", touch="first", payload=size) for size in (64, 64 << 20))
    if small and large:
        check(large / small < 10, "64 MiB take %.1f times as long as 64 B" % (large / small))
    one, many = (figure(report, "p50_ns", bench="publish", wait="idle", subscribers=n)
                 for n in (1, 64))
    if one and many:
        check(many / one < 10, "64 subscribers cost %.1f times as much as one" % (many / one))
    for slower, than in (("restart", "restart-calm"), ("resume", "resume-fresh")):
        with_restart, without = (figure(report, "p50_ns", bench=bench) for bench in (slower, than))
        if with_restart and without:
            check(with_restart / without < 30, "%s takes %.1f times as long as %s" % (
                slower, with_restart / without, than))


def main():
    if len(os.sched_getaffinity(0)) < 2:
        skip("two CPUs are needed")
    with tempfile.TemporaryDirectory() as directory:
        paths = run(sys.argv[1], directory)
        with open(paths["json"], encoding="utf-8") as file:
            report = json.load(file)
        check_schema(report)
        check_rows(report)
        check_csv(paths["csv"], report)
        if "plot" in paths:
            check_picture(paths["plot"], report, ["shmd", "floor", "64 KiB"])
            check_picture(paths["states"], report, ["slice kept", "slice discarded"])
        check_ratios(report)
    for fault in faults:
        print(fault)
    print("%d results, %d faults" % (len(report["results"]), len(faults)))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
