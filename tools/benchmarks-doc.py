#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""benchmarks-doc.py [--from DIRECTORY | --check] - the figures in docs/benchmarks.md, from one run.

Everything in that document between a line `<!-- generated: NAME -->` and `<!-- end -->` is computed
here from docs/benchmarks/results.json, as `shmd-bench all --json` wrote it; what stands elsewhere is
written by hand and has no figure in it. --from takes results.json, latency.svg and floor.svg out of
a directory first, as ./run bench leaves them; --check changes nothing, and exits with 1 if the
document isn't what the figures give, or a picture isn't of their run.

Why shmd isn't ahead somewhere is written by hand in docs/benchmarks/reasons.json: the first entry
that fits a row gives its text.
"""
import argparse
import json
import os
import re
import shutil
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENT = os.path.join(ROOT, "docs", "benchmarks.md")
PLACE = os.path.join(ROOT, "docs", "benchmarks")
PICTURES = ("latency.svg", "floor.svg")

# Below this, both ends spinning, it is cache lines that take the time, and not copying.
SPINNING_NS = 2000
FLOORS = ("floor", "floor-readonly")
UNKNOWN = "no reason known"


# ---- how figures are written -------------------------------------------------------------------

def size(value):
    for unit in ("", " KiB", " MiB", " GiB"):
        if value < 1024 or value % 1024 or unit == " GiB":
            return "%d%s" % (value, unit)
        value //= 1024


def time(ns):
    if ns is None:
        return "–"
    for unit, scale in (("ns", 1), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)):
        if ns < 999.5 * scale or unit == "s":
            value = ns / scale
            return "%.*f %s" % (1 if value < 99.95 else 0, value, unit)


def ratio(value):
    if value is None:
        return "–"
    return "%.*f" % (2 if value < 10 else 1 if value < 100 else 0, value)


def quotient(a, b):
    return a / b if a is not None and b else None


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


# ---- what was measured -------------------------------------------------------------------------

class Report:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        self.machine, self.run, self.floor = data["machine"], data["run"], data["floor"]
        self.rows = data["results"]
        self.reasons = {entry["result"]: entry["reason"] for entry in data["reasons"]}
        for place, row in enumerate(self.rows):
            row["reason"] = self.reasons.get(place)
            row["one_cpu"] = row["cpus"][0] == row["cpus"][1]

    def find(self, **wanted):
        """All rows with these values."""
        return [row for row in self.rows
                if all(row[key] == value for key, value in wanted.items())]

    def one(self, **wanted):
        """The row with these values and figures, or None."""
        rows = [row for row in self.find(**wanted) if row["p50_ns"] is not None]
        return rows[0] if rows else None

    def small(self, transport, wait="poll", payload=64, one_cpu=False):
        return self.one(bench="latency", transport=transport, wait=wait, payload=payload,
                        touch="first" if payload else None, one_cpu=one_cpu)


def value(row, key):
    return row[key] if row else None


def beside_small(report, row):
    """A row of shmd that spins, as a multiple of what the smallest payloads take in the same state of
    the machine: what spins does not scale with the floor from state to state, so 8 B stands in for
    64 B if that was met in another one. And which it was."""
    for payload in (64, 8):
        small = report.small("shmd", payload=payload)
        floors = value(row, "floor_p50_ns"), value(small, "floor_p50_ns")
        if all(floors) and max(floors) <= 1.25 * min(floors):
            return quotient(value(row, "p50_ns"), value(small, "p50_ns")), "%d B" % payload
    return None, "64 B"


def tail(row):
    return quotient(value(row, "p999_ns"), value(row, "p50_ns"))


# ---- the sections ------------------------------------------------------------------------------

def section_machine(report):
    m = report.machine
    kind = {True: ", a virtual machine", False: "", None: ""}[m["virtual"]]
    governor = "governor " + m["governor"] if m["governor"] else "no governor to see"
    return [
        "- CPU: %s, %d of them%s; %s." % (m["cpu"] or m["architecture"], m["cpus_online"], kind,
                                          governor),
        "- System: %s, Linux %s, %s of memory." % (m["system"], m["kernel"],
                                                   size(m["memory_bytes"] >> 20 << 20)),
        "- Clock: %s, costs %.1f ns, steps by %.0f ns." % (m["clock_source"], m["clock_cost_ns"],
                                                           m["clock_step_ns"]),
        "- libshmd %s; begun %s, took %d minutes; %d run%s." % (
            m["shmd_version"], report.run["began"], round(report.run["took_s"] / 60),
            report.run["runs"], "s, of which the middle one of each row is shown"
            if report.run["runs"] > 1 else ""),
    ]


def section_states(report):
    floors = sorted(point[1] for point in report.floor)
    kept = sum(1 for point in report.floor if point[2])
    if not floors:
        return ["No floor was measured."]

    def at(share):
        return time(floors[min(len(floors) - 1, int(share * len(floors)))])
    return [
        "%d floors were measured beside slices, one before and one after each: from %s to %s, a "
        "tenth" % (len(floors), at(0), at(1)),
        "of them below %s, half below %s, nine tenths below %s. Of the slices %.1f %% were kept." % (
            at(0.1), at(0.5), at(0.9), 100 * kept / len(floors)),
        "",
        "![The floor over the time of the run](benchmarks/floor.svg)",
    ]


def section_pictures(report):
    return ["![Latency over payload](benchmarks/latency.svg)"]


def aims(report):
    """What is aimed at: text, at most, measured, and how it was formed."""
    shmd, floor = report.small("shmd"), report.small("floor", payload=None)
    readonly = report.small("floor-readonly", payload=None)
    to_floor = value(shmd, "ratio_to_floor")
    yield "shmd / `floor`, 64 B, poll", 1.1, to_floor
    yield "shmd / `floor-readonly`, 64 B, poll", None, quotient(
        to_floor, value(readonly, "ratio_to_floor"))
    yield "p99.9 / p50 of shmd, 64 B, poll / the same of `floor`", 3, quotient(
        tail(shmd), tail(floor))
    for payload in (64 << 20, 1 << 30):
        measured, small = beside_small(report, report.small("shmd", payload=payload))
        yield "shmd %s / %s, first, poll" % (size(payload), small), 1.15, measured
    for one_cpu, most in ((False, 1.15), (True, 1.5)):
        yield "shmd block / pipe block, 64 B, %s" % (
            "both on one CPU" if one_cpu else "two CPUs"), most, quotient(
                value(report.small("shmd", "block", one_cpu=one_cpu), "p50_ns"),
                value(report.small("pipe", "block", one_cpu=one_cpu), "p50_ns"))
    measured, small = beside_small(report, report.small("shmd", "adaptive"))
    yield "shmd's default wait, 64 B / poll, %s" % small, 1.3, measured
    publish = {(row["wait"], row["subscribers"]): row for row in report.find(bench="publish")}
    yield "publish / `floor`, one subscriber that spins", 0.35, value(
        publish.get(("poll", 1)), "ratio_to_floor")
    yield "the same, published a microsecond apart", 0.35, value(
        report.one(bench="publish-paced", wait="poll", subscribers=1), "ratio_to_floor")
    yield "publish with 64 idle subscribers / with one", 1.5, quotient(
        value(publish.get(("idle", 64)), "p50_ns"), value(publish.get(("idle", 1)), "p50_ns"))
    yield "join / connect and first byte over a Unix socket", 10, quotient(
        value(report.one(bench="join", transport="shmd"), "p50_ns"),
        value(report.one(bench="join", transport="unix-stream"), "p50_ns"))
    for text, key, with_restart, without in (
            ("p99.9 of samples in windows with a restart of the broker / without one", "p999_ns",
             "restart", "restart-calm"),
            ("100 clients back at the next broker / 100 fresh ones", "p50_ns", "resume",
             "resume-fresh")):
        yield text, 3, quotient(value(report.one(bench=with_restart), key),
                                value(report.one(bench=without), key))


def section_aims(report):
    rows = []
    for text, most, measured in aims(report):
        if measured is None:
            verdict = "not measured"
        elif most is None:
            verdict = ""
        else:
            verdict = "reached" if measured <= most else "missed"
        rows.append([text, "–" if most is None else "%g" % most,
                     "–" if measured is None else "%.3f" % measured, verdict])
    pairs = list(comparisons(report))
    behind = [pair for pair in pairs if pair[2] > 1]
    rows.append(["rows of others, each beside shmd's, in which shmd is not ahead", "0, or a reason",
                 "%d of %d" % (len(behind), len(pairs)),
                 "reached" if all(why(row, ours, key) != UNKNOWN
                                  for row, ours, _, key in behind) else "missed"])
    return table(["", "at most", "measured", ""], rows)


def groups(report):
    """The ways of measuring latency: (wait, touch, on one CPU), in the order of the results."""
    seen = []
    for row in report.find(bench="latency"):
        key = (row["wait"], row["touch"], row["one_cpu"])
        if row["touch"] and key not in seen:
            seen.append(key)
    return seen


def group_title(wait, touch, one_cpu):
    return "`--wait %s --touch %s`%s" % (wait, touch, ", both ends on one CPU" if one_cpu else "")


def ordered(rows, key):
    seen = []
    for row in rows:
        if row[key] not in seen:
            seen.append(row[key])
    return seen


def section_latency(report):
    lines = []
    for wait, touch, one_cpu in groups(report):
        rows = report.find(bench="latency", wait=wait, touch=touch, one_cpu=one_cpu)
        payloads = sorted(set(row["payload"] for row in rows))
        body = []
        for transport in ordered(rows, "transport"):
            cells = []
            for payload in payloads:
                found = [row for row in rows
                         if row["transport"] == transport and row["payload"] == payload]
                cells.append("" if not found else "can't" if found[0]["reason"]
                             else time(found[0]["p50_ns"]))
            body.append(["`%s`" % transport] + cells)
        lines += ["", group_title(wait, touch, one_cpu) + ", p50 one way:", ""]
        lines += table(["payload"] + [size(payload) for payload in payloads], body)
    return lines[1:]


def section_quantiles(report):
    body = []
    for row in report.find(bench="latency"):
        if row["payload"] in (None, 64) and row["touch"] in (None, "first") and row["p50_ns"]:
            body.append([
                "`%s`" % row["transport"], row["wait"], "one" if row["one_cpu"] else "two"] + [
                    time(row[key]) for key in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns",
                                               "floor_p50_ns")] + [
                    ratio(row["ratio_to_floor"]),
                    "–" if row["slices_discarded"] is None else str(row["slices_discarded"])])
    return table(["64 bytes", "wait", "CPUs", "p50", "p90", "p99", "p99.9", "max", "floor",
                  "× floor", "discarded"], body)


def section_cannot(report):
    by_reason = {}
    for row in report.rows:
        if row["reason"]:
            key = (row["transport"], row["reason"])
            by_reason.setdefault(key, set()).add(row["payload"])
    if not by_reason:
        return ["Every row has its figures."]
    return table(["transport", "payload", "why"],
                 [["`%s`" % transport, ", ".join(size(p) for p in sorted(payloads)), reason]
                  for (transport, reason), payloads in by_reason.items()])


def section_publish(report):
    body = [[apart, row["wait"], str(row["subscribers"]), time(row["p50_ns"]),
             time(row["floor_p50_ns"]), ratio(row["ratio_to_floor"])]
            for bench, apart in (("publish", "nothing"), ("publish-paced", "1 µs of work"))
            for row in report.find(bench=bench)]
    return table(["between two", "readers", "subscribers", "one publish", "floor", "× floor"], body)


def section_join(report):
    body = [["`%s`" % row["transport"], time(row["p50_ns"]), time(row["p90_ns"]),
             time(row["max_ns"])] for row in report.find(bench="join")]
    return table(["join", "p50", "p90", "max"], body)


def section_restart(report):
    body = [[text, "–" if row["samples"] is None else str(row["samples"])] +
            [time(row[key]) for key in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")]
            for bench, text in (("restart", "with a restart"), ("restart-calm", "without"))
            for row in report.find(bench=bench)]
    return table(["windows", "samples taken", "p50", "p90", "p99", "p99.9", "max"],
                 body) if body else ["Not measured yet."]


def section_resume(report):
    body = [[text, "–" if row["samples"] is None else str(row["samples"]), time(row["p50_ns"]),
             time(row["max_ns"])]
            for bench, text in (("resume", "back at the next broker"), ("resume-fresh", "fresh"))
            for row in report.find(bench=bench)]
    return table(["100 clients", "times", "p50", "max"], body) if body else ["Not measured yet."]


def section_readonly(report):
    rows = [report.small("floor", payload=None), report.small("floor-readonly", payload=None),
            report.small("shmd")]
    return table(["poll, 64 B", "p50", "× floor"],
                 [["`%s`" % row["transport"], time(row["p50_ns"]), ratio(row["ratio_to_floor"])]
                  for row in rows if row])


# ---- who is ahead ------------------------------------------------------------------------------

def comparisons(report):
    """Each row of another transport with the row of shmd that it stands beside, by how many times
    shmd takes longer, and by which of the keys."""
    for row in report.find(bench="latency"):
        if row["transport"] in FLOORS + ("shmd",) or row["p50_ns"] is None:
            continue
        wait = "block" if row["wait"] == "bare" else row["wait"]
        ours = report.one(bench="latency", transport="shmd", wait=wait, touch=row["touch"],
                          payload=row["payload"], one_cpu=row["one_cpu"])
        if not ours:
            continue
        key = "p50_ns"
        if wait == "poll" and max(ours["p50_ns"], row["p50_ns"]) < SPINNING_NS:
            key = "ratio_to_floor"
        if ours[key] and row[key]:
            yield row, ours, ours[key] / row[key], key


def fits(entry, row):
    least, most = entry.get("payload", [0, None])
    return (row["transport"] in entry["transports"] and row["wait"] in entry["waits"]
            and row["touch"] in entry.get("touches", ["first", "all"])
            and entry.get("one_cpu", row["one_cpu"]) == row["one_cpu"]
            and least <= row["payload"] and (most is None or row["payload"] <= most))


def other_state(row, ours, key):
    """Why a time says nothing: the machine changed its state from one row to the other."""
    floors = [each["floor_p50_ns"] for each in (row, ours)]
    ratios = [each["ratio_to_floor"] for each in (row, ours)]
    if (key != "p50_ns" or row["wait"] != "poll" or None in floors + ratios or ratios[1] > ratios[0]
            or max(floors) < 1.15 * min(floors)):
        return None
    return ("The machine changed in between: the floor was %s beside it, %s beside shmd; by the "
            "ratio to it, %s and %s, shmd is ahead." % (time(floors[0]), time(floors[1]),
                                                       ratio(ratios[0]), ratio(ratios[1])))


def why(row, ours, key):
    reason = other_state(row, ours, key)
    if reason:
        return reason
    with open(os.path.join(PLACE, "reasons.json"), encoding="utf-8") as file:
        for entry in json.load(file)["reasons"]:
            if fits(entry, row):
                return entry["reason"]
    return UNKNOWN


def section_behind(report):
    pairs = list(comparisons(report))
    behind = [pair for pair in pairs if pair[2] > 1]
    body = []
    for row, ours, times, key in behind:
        cells = [time(each[key]) if key == "p50_ns" else ratio(each[key]) + " × floor"
                 for each in (row, ours)]
        body.append([group_title(row["wait"], row["touch"], row["one_cpu"]), size(row["payload"]),
                     "`%s`" % row["transport"]] + cells + [ratio(times), why(row, ours, key)])
    text = "Of %d rows of others shmd is ahead in %d." % (len(pairs), len(pairs) - len(behind))
    if not behind:
        return [text]
    return [text + " These are the rest:", ""] + table(
        ["", "payload", "transport", "it takes", "shmd", "× as long", "why"], body)


SECTIONS = {
    "machine": section_machine,
    "states": section_states,
    "pictures": section_pictures,
    "aims": section_aims,
    "latency": section_latency,
    "quantiles": section_quantiles,
    "cannot": section_cannot,
    "behind": section_behind,
    "publish": section_publish,
    "join": section_join,
    "restart": section_restart,
    "resume": section_resume,
    "readonly": section_readonly,
}


# ---- the document ------------------------------------------------------------------------------

def generate(document, report):
    """The document with its sections renewed. Each has to be there once, no other may."""
    names = re.findall(r"^<!-- generated: (\S+) -->$", document, re.M)
    if sorted(names) != sorted(SECTIONS):
        sys.exit("%s: sections %s, wanted %s" % (DOCUMENT, sorted(names), sorted(SECTIONS)))

    def renew(match):
        lines = SECTIONS[match.group(1)](report)
        return "<!-- generated: %s -->\n\n%s\n\n<!-- end -->\n" % (match.group(1), "\n".join(lines))
    renewed, n = re.subn(r"^<!-- generated: (\S+) -->\n(?:.*\n)*?<!-- end -->\n", renew, document,
                         flags=re.M)
    if n != len(SECTIONS):
        sys.exit("%s: a section doesn't end with <!-- end -->" % DOCUMENT)
    return renewed


def pictures_check(report):
    faults = 0
    for name in PICTURES:
        with open(os.path.join(PLACE, name), encoding="utf-8") as file:
            if report.run["began"] not in file.read():
                print("docs/benchmarks/%s is not of the run that began %s" % (
                    name, report.run["began"]))
                faults += 1
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="source", metavar="DIRECTORY")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.source:
        for name in PICTURES + ("results.json",):
            shutil.copyfile(os.path.join(arguments.source, name), os.path.join(PLACE, name))
    report = Report(os.path.join(PLACE, "results.json"))
    with open(DOCUMENT, encoding="utf-8") as file:
        document = file.read()
    renewed = generate(document, report)
    if not arguments.check:
        with open(DOCUMENT, "w", encoding="utf-8") as file:
            file.write(renewed)
        return pictures_check(report)
    faults = pictures_check(report)
    if renewed != document:
        old, new = document.splitlines(), renewed.splitlines()
        line = next((i for i, pair in enumerate(zip(old, new)) if pair[0] != pair[1]),
                    min(len(old), len(new)))
        print("docs/benchmarks.md:%d: not what docs/benchmarks/results.json gives; "
              "tools/benchmarks-doc.py writes it" % (line + 1))
        faults += 1
    print("%d sections, %d faults" % (len(SECTIONS), faults))
    return faults


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
