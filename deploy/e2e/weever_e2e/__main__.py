"""Runs the scenarios; see `deploy/e2e/run --help`."""

import argparse
import asyncio
import logging
import sys
import time

from . import (  # noqa: F401 (they register themselves)
    auth_scenarios,
    browser,
    channel_scenarios,
    client_scenarios,
    cluster_program_scenarios,
    cluster_scenarios,
    fault_scenarios,
    hostile_scenarios,
    http_scenarios,
    loadgen_scenarios,
    media_scenarios,
    metrics_scenarios,
    operator_scenarios,
    packet_scenarios,
    restart_scenarios,
    shard_scenarios,
)
from .scenario import IOS, SCENARIOS, Report, once_more, run_io

EPILOG = """examples:
  deploy/e2e/run                        everything
  deploy/e2e/run rtx kill               scenarios whose name has one of these in it
  deploy/e2e/run --io syscalls tokens   one kind of media I/O only
  WEEVER=/usr/bin/weever deploy/e2e/run another build

The server's log of each run is in target/e2e/."""


def arguments():
    parser = argparse.ArgumentParser(
        prog="deploy/e2e/run", description="End-to-end tests: independent clients against a running Weever.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help="run only scenarios with this in their name")
    parser.add_argument("--io", choices=(*IOS, "both"), default="both", help="media I/O of the server (default: both)")
    parser.add_argument("--no-browser", action="store_true", help="leave Chromium out")
    parser.add_argument("--list", action="store_true", help="list the scenarios and end")
    return parser.parse_args()


async def main(options):
    chosen = [one for one in SCENARIOS if not options.part or any(part in one.name for part in options.part)]
    if options.no_browser:
        chosen = [one for one in chosen if one.run.__module__ != browser.__name__]
    site = [] if options.no_browser else await browser.suite_names(options.part)
    if options.list:
        for one in chosen:
            print(f"{one.name:<48} {', '.join(one.ios):<16} {one.about}")
        for name in site:
            print(f"{name}  (Chromium)")
        return 0
    if not chosen and not site:
        print(f"no scenario has {' or '.join(options.part)} in its name; see --list", file=sys.stderr)
        return 2

    async def suite(report, server, io):
        await browser.suite(report, server, io, options.part)

    report, begin = Report(), time.monotonic()
    for io in IOS if options.io == "both" else (options.io,):
        await run_io(report, chosen, io, suite if site else None)
    await once_more(report)
    # At the end, where one looks first.
    for failure in report.unsteady:
        print(f"unsteady: {failure.name} passed the second time; the first time: {failure.why}")
    for failure in report.failed:
        print(f"failed: {failure.name}: {failure.why}")
    # The same words as cargo's, so that deploy/test counts both alike.
    verdict = "FAILED" if report.failed else "ok"
    print(f"\ntest result: {verdict}. {report.passed} passed; {len(report.failed)} failed; 0 ignored; "
          f"finished in {time.monotonic() - begin:.1f}s", flush=True)
    return 1 if report.failed or not report.passed else 0


# aiortc tells each lost frame and late packet.
logging.disable(logging.WARNING)
sys.exit(asyncio.run(main(arguments())))
