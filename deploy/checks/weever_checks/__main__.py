"""Runs the checks; see `deploy/checks/run --help`."""

import argparse
import sys
import time
import unittest

from . import test_cluster, test_compose, test_helm, test_image, test_seccomp, test_systemd

MODULES = (test_image, test_seccomp, test_compose, test_helm, test_systemd, test_cluster)
EPILOG = """examples:
  deploy/checks/run                everything
  deploy/checks/run helm           those with this in their name
  deploy/checks/run --list         their names
  WEEVER=/usr/bin/weever deploy/checks/run seccomp"""


class Lines(unittest.TextTestResult):
    """A line for each, as the end-to-end tests have."""

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def say(self, verdict, test):
        print(f"{verdict:<5} {name_of(test):<90} {time.monotonic() - self.began:6.1f} s", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.say("ok", test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.say("FAIL", test)

    def addError(self, test, error):
        super().addError(test, error)
        self.say("FAIL", test)


def name_of(test):
    return ".".join(test.id().split(".")[-3:]).removeprefix("test_")


def all_of(suite):
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from all_of(one)
        else:
            yield one


def main():
    parser = argparse.ArgumentParser(prog="deploy/checks/run", description="Checks image, compose, chart, units and deploy/cluster.",
                                     epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help="run only those with this in their name")
    parser.add_argument("--list", action="store_true", help="list them and end")
    options = parser.parse_args()
    loader = unittest.defaultTestLoader
    chosen = [test for module in MODULES for test in all_of(loader.loadTestsFromModule(module))
              if not options.part or any(part in name_of(test) for part in options.part)]
    if options.list:
        print("\n".join(name_of(test) for test in chosen))
        return 0
    if not chosen:
        print(f"nothing has {' or '.join(options.part)} in its name; see --list", file=sys.stderr)
        return 2
    begin = time.monotonic()
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0, resultclass=Lines).run(unittest.TestSuite(chosen))
    bad = len({name_of(test) for test, _ in result.failures + result.errors})
    left_out = len(result.skipped) + len(result.expectedFailures)
    passed = result.testsRun - bad - left_out
    # The same words as cargo's, so that deploy/test counts both alike.
    print(f"\ntest result: {'FAILED' if bad else 'ok'}. {passed} passed; {bad} failed; {left_out} ignored; "
          f"finished in {time.monotonic() - begin:.1f}s", flush=True)
    return 1 if bad or left_out or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
