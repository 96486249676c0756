"""Runs the checks, or those whose names contain a word of the command line."""

import sys
import time
import unittest

from . import chart_checks, compose_checks, image_checks, systemd_checks

MODULES = [systemd_checks, image_checks, compose_checks, chart_checks]


def all_of(suite):
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from all_of(part)
        else:
            yield part


def main():
    words = sys.argv[1:]
    loader = unittest.TestLoader()
    checks = [check for module in MODULES for check in all_of(loader.loadTestsFromModule(module))]
    chosen = [check for check in checks if not words or any(word in check.id() for word in words)]
    passed, failed, skipped = 0, 0, 0
    for check in chosen:
        result, begin = unittest.TestResult(), time.monotonic()
        check.run(result)
        name = check.id().removeprefix("weever_checks.")
        took = f"{time.monotonic() - begin:.1f} s"
        problems = result.errors + result.failures + [(check, "succeeded unexpectedly") for _ in result.unexpectedSuccesses]
        skips = result.skipped + result.expectedFailures
        if problems:
            failed += 1
            print(f"{name} FAILED {took}")
            for _, text in problems:
                print(text)
        elif skips:
            skipped += 1
            print(f"{name} skipped: {skips}")
        else:
            passed += 1
            print(f"{name} ok {took}")
    good = passed and not failed and not skipped
    print(f"test result: {'ok' if good else 'FAILED'}. {passed} passed; {failed} failed; {skipped} ignored")
    sys.exit(not good)


main()
