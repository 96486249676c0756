"""Weever's planes as processes, for checks of what they are started with."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

from .known import WEEVER

CONFINED = pathlib.Path(__file__).with_name("confined.py")
PATIENCE = 20


def environment(**settings):
    """Ours without settings that whoever runs the checks may have, and with these."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LANG")}
    return kept | settings


@contextlib.contextmanager
def confined(errno, rules, *command, **settings):
    """The command under a filter of system calls; yields what returns its log once that contains a pattern."""
    assert WEEVER.exists(), "build first: deploy/test build"
    with tempfile.TemporaryDirectory() as directory:
        table, log = pathlib.Path(directory, "filter.json"), pathlib.Path(directory, "log")
        table.write_text(json.dumps({"errno": errno, "rules": rules}))
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["/usr/bin/python3", CONFINED, table, *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(**settings),
            )
        try:
            yield lambda pattern: said(process, log, pattern)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def said(process, log, pattern):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if re.search(pattern, text):
            return text
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}:\n{text}")
        time.sleep(0.05)
    raise AssertionError(f"never said {pattern!r}:\n{log.read_text(errors='replace')}")
