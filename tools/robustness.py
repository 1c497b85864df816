#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""robustness.py BUILD [DOCUMENT] - puts what the tests have done into docs/robustness.md.

BUILD is a build directory in which `meson test` has run. Tests print lines

    injections: NUMBER: WHAT

and the document has tables between two comments, the first of which names the tests:

    <!-- injections of: faults-calls faults-handlers -->
    <!-- end -->

What stands between them is made anew: a row for each line, with the test's result. A test that
has not run, or says nothing, is an error: a promise without a proof must not look like one.
"""
import json
import os
import re
import sys

TABLE = re.compile(r"(<!-- injections of: ([^>]*?) -->\n).*?(<!-- end -->)", re.S)
LINE = re.compile(r"^injections: (\d+): (.*)$", re.M)


def read_log(build):
    """{test: (result, [(what, number)])}"""
    tests = {}
    with open(os.path.join(build, "meson-logs", "testlog.json"), encoding="utf-8") as log:
        for line in log:
            test = json.loads(line)
            name = test["name"].split(" / ")[-1]
            rows = [(what, int(n)) for n, what in LINE.findall(test.get("stdout") or "")]
            tests[name] = (test["result"], rows)
    return tests


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    document = os.path.join(os.path.dirname(__file__), "..", "docs", "robustness.md")
    document = sys.argv[2] if len(sys.argv) == 3 else document
    tests = read_log(sys.argv[1])
    missing = []

    def table(match):
        rows = ["| test | what was done | how often | result |", "|---|---|---:|---|"]
        total = 0
        for name in match.group(2).split():
            result, lines = tests.get(name, ("did not run", []))
            if not lines:
                missing.append(f"{name}: {result}, and says nothing of injections")
            for what, number in lines:
                total += number
                said = "passed" if result == "OK" else result
                rows.append(f"| `{name}` | {what} | {number:,} | {said} |")
        rows.append(f"| | together | {total:,} | |")
        return match.group(1) + "\n".join(rows) + "\n" + match.group(3)

    with open(document, encoding="utf-8") as file:
        text = file.read()
    text = TABLE.sub(table, text)
    if missing:
        sys.exit("robustness.py: " + "; ".join(missing))
    with open(document, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
