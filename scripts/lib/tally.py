#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Count what Meson's logs say: tally.py LOG...

Each LOG is a testlog.json of `meson test`. A test that speaks TAP counts its
own lines; any other counts once. Prints the names of what failed and of what
was skipped with the reason, then the closing line `N passed, N failed`. A line
of a test that speaks TAP that is no TAP is a failure: Meson would say ERROR in
a run that passed, and whoever reads that would look for what is wrong.
Exits 1 when something failed or when nothing ran.
"""
import json
import re
import sys

TAP = re.compile(r"^(not ok|ok)\b\s*\d*\s*-?\s*(.*)$")
OTHER_TAP = re.compile(r"^(1\.\.\d+|#|TAP version|Bail out!|pragma |\s|$)")
SKIP = re.compile(r"#\s*SKIP\b\s*(.*)", re.IGNORECASE)


class Tally:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def line(self, test, ok, text):
        skip = SKIP.search(text)
        if skip:
            name = text[: skip.start()].strip()
            self.skipped.append(f"{test}: {name} ({skip.group(1).strip()})")
        elif ok:
            self.passed += 1
        else:
            self.failed.append(f"{test}: {text}")

    def test(self, entry):
        name, result = entry["name"], entry["result"]
        before = (self.passed, len(self.failed), len(self.skipped))
        strange = []
        for line in (entry.get("stdout") or "").splitlines():
            m = TAP.match(line)
            if m:
                self.line(name, m.group(1) == "ok", m.group(2))
            elif not OTHER_TAP.match(line):
                strange.append(line)
        if strange and before != (self.passed, len(self.failed),
                                  len(self.skipped)):
            self.failed.append(f"{name}: prints what is no TAP: {strange[0]}")
        counted = before != (self.passed, len(self.failed), len(self.skipped))
        bad = result not in ("OK", "EXPECTEDFAIL", "SKIP")
        if bad and len(self.failed) == before[1]:
            self.failed.append(f"{name}: {result}")
        elif not counted and result == "SKIP":
            self.skipped.append(f"{name} ({self.why_skipped(entry)})")
        elif not counted and not bad:
            self.passed += 1


    @staticmethod
    def why_skipped(entry):
        """Its plan says so, or its last line does."""
        plan = SKIP.search(entry.get("stdout") or "")
        if plan and plan.group(1):
            return plan.group(1).strip()
        said = ((entry.get("stderr") or "") + (entry.get("stdout") or ""))
        return (said.strip().splitlines() or ["the test said so"])[-1]


def main(logs):
    tally = Tally()
    for log in logs:
        try:
            with open(log, encoding="utf-8") as f:
                for line in f:
                    tally.test(json.loads(line))
        except OSError as e:
            tally.failed.append(f"{log}: no log ({e.strerror})")
    for s in tally.skipped:
        print(f"skipped  {s}")
    for f in tally.failed:
        print(f"FAILED   {f}")
    tail = f", {len(tally.skipped)} skipped" if tally.skipped else ""
    print(f"{tally.passed} passed, {len(tally.failed)} failed{tail}")
    return 1 if tally.failed or tally.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
