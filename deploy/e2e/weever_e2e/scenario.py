"""What a scenario is, and how they are run."""

import asyncio
import time
import traceback
from dataclasses import dataclass

from .server import Server

SECONDS = 90
# If more fail, something is wrong, and isn't tried again.
MANY = 3
# Of the server's log, shown with a failure.
LOG_LINES = 25
IOS = ("uring", "syscalls")

SCENARIOS = []


@dataclass
class Scenario:
    name: str
    about: str
    run: callable
    own: tuple | None
    ios: tuple


def scenario(own=None, ios=IOS):
    """Registers `async def name(server, note)`.

    own: flags of a server of its own (it may break it); None shares one with the others.
    ios: the media I/O it is run on.
    """

    def register(function):
        SCENARIOS.append(Scenario(function.__name__, function.__doc__ or "", function, own, ios))
        return function

    return register


@dataclass
class Failure:
    name: str
    why: str
    # `async def again(report)` runs it by itself; None for what has to hold the first time.
    again: callable = None


class Report:
    def __init__(self):
        self.passed, self.failed, self.unsteady = 0, [], []

    def line(self, verdict, name, seconds, text=""):
        print(f"{verdict:<5} {name:<58} {seconds:6.1f} s  {text}".rstrip(), flush=True)

    def ok(self, name, seconds, text=""):
        self.passed += 1
        self.line("ok", name, seconds, text)

    def fail(self, name, seconds, why, server=None, again=None):
        self.failed.append(Failure(name, why.strip(), again))
        self.line("FAIL", name, seconds)
        print("      " + why.strip().replace("\n", "\n      "), flush=True)
        if server is not None:
            log = server.log_text().splitlines()[-LOG_LINES:]
            print(f"      --- the end of {server.log_path}", flush=True)
            print("      " + "\n      ".join(log), flush=True)


async def run_one(report, one, io, server):
    name, notes, begin = f"{one.name} [{io}]", [], time.monotonic()

    async def again(report):
        alone = Server(f"weever-{io}-{one.name}-again", io, *(one.own or ()))
        await with_server(report, alone, f"server of {one.name} [{io}]", [one])

    try:
        await asyncio.wait_for(one.run(server, notes.append), SECONDS)
        report.ok(name, time.monotonic() - begin, "; ".join(notes))
    except asyncio.TimeoutError:
        report.fail(name, time.monotonic() - begin, f"not done after {SECONDS} s", server, again)
    except Exception as error:  # Whatever went wrong is this scenario's failure, not the runner's.
        where = traceback.format_exc(limit=-3) if not isinstance(error, AssertionError) or not str(error) else ""
        place = traceback.extract_tb(error.__traceback__)[-1]
        report.fail(name, time.monotonic() - begin, f"{error} ({place.filename}:{place.lineno})\n{where}", server, again)


async def once_more(report):
    """Runs what failed a second time, each on a server of its own: real clients on a shared machine stumble now and then over
    what has nothing to do with the server. What passes then is told as unsteady, and what doesn't stays failed."""
    if not report.failed or len(report.failed) > MANY or any(failure.again is None for failure in report.failed):
        return
    print(f"\n{len(report.failed)} failed; once more, each by itself", flush=True)
    first, report.failed = report.failed, []
    for failure in first:
        failures = len(report.failed)
        await failure.again(report)
        if len(report.failed) == failures:
            report.unsteady.append(failure)


async def run_io(report, chosen, io, after=None):
    """All scenarios of one kind of media I/O: first those that share a server, then those with their own.

    after: what else is done with the shared server.
    """
    sharing = [one for one in chosen if io in one.ios and one.own is None]
    if sharing or after:
        await with_server(report, Server(f"weever-{io}", io), f"server [{io}]", sharing, after)
    for one in chosen:
        if io in one.ios and one.own is not None:
            server = Server(f"weever-{io}-{one.name}", io, *one.own)
            await with_server(report, server, f"server of {one.name} [{io}]", [one])


async def with_server(report, server, name, scenarios, after=None):
    """Runs scenarios one after another, and expects the server to come through and to stop cleanly."""
    name, begin = f"{name} starts, survives, stops", time.monotonic()
    shared = all(one.own is None for one in scenarios)
    server.log_path.unlink(missing_ok=True)
    try:
        await server.start()
        planes = (server.plane("controlplane"), server.plane("dataplane"))
        for one in scenarios:
            await run_one(report, one, server.io, server)
        if after:
            await after(report, server, server.io)
        if shared:
            now = (server.plane("controlplane"), server.plane("dataplane"))
            assert planes == now and None not in now, f"a plane died: {planes} became {now}"
        code = await server.stop()
        assert code == 0, f"weever ended with {code} after SIGINT"
        assert "panicked" not in server.log_text(), f"a panic in {server.log_path}"
        report.ok(name, time.monotonic() - begin)
    except Exception as error:
        report.fail(name, time.monotonic() - begin, str(error) or repr(error), server)
    finally:
        # Also when nobody reads our output any more.
        if server.process is not None:
            try:
                await server.stop()
            except RuntimeError as error:
                print(f"      {error}", flush=True)
