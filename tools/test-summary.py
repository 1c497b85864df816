#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test-summary.py [--failed TEXT]... TESTLOG... - what meson's testlog.json files say, in a few lines.

Names what failed and what was skipped, with the reason that the test gave, and closes with
'N passed, N failed, N skipped'. A file that is missing, or has no test, counts as one failure:
silence must not look like success. --failed adds a failure from elsewhere. Exits 1 if anything
failed.
"""
import argparse
import json
import os
import sys

PASSED = ("OK", "EXPECTEDFAIL")


def reason(test):
    """The last line of a test's output that mentions skipping, or else simply its last."""
    text = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "skip" in line.lower()]
    return (telling or lines or ["no reason given"])[-1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--failed", action="append", default=[])
    parser.add_argument("paths", nargs="*")
    arguments = parser.parse_args()
    passed, failed, skipped = 0, arguments.failed, []
    for path in arguments.paths:
        try:
            with open(path, encoding="utf-8") as log:
                tests = [json.loads(line) for line in log if line.strip()]
        except OSError as error:
            failed.append(f"{path}: {error.strerror}")
            continue
        if not tests:
            failed.append(f"{path}: no test ran")
        # build/matrix-gcc-asan/meson-logs/testlog.json: say which of several builds it was.
        build = os.path.basename(os.path.dirname(os.path.dirname(os.path.abspath(path))))
        where = f"{build}: " if len(arguments.paths) > 1 else ""
        for test in tests:
            test["name"] = where + test["name"]
            if test["result"] in PASSED:
                passed += 1
            elif test["result"] == "SKIP":
                skipped.append(f"{test['name']}: {reason(test)}")
            else:
                failed.append(f"{test['name']}: {test['result']}")
    for line in skipped:
        print("skipped:", line)
    for line in failed:
        print("failed:", line)
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
