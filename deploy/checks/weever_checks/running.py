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


def config_of(command, settings, files=None):
    """What `weever --print-config` says is in force: {setting: text as it stands there}. `files` says what stands for a path's beginning."""
    assert WEEVER.exists(), "build first: deploy/test build"

    def here(text):
        for path, copy in (files or {}).items():
            text = str(text).replace(path, str(copy))
        return str(text)

    with tempfile.TemporaryDirectory() as directory:
        # As `weever` of the PATH, which is what images and pods call.
        pathlib.Path(directory, "weever").symlink_to(WEEVER)
        variables = environment(**{name: here(value) for name, value in settings.items()})
        variables["PATH"] = f"{directory}:{variables['PATH']}"
        done = subprocess.run(
            [*map(here, command), "--print-config"], capture_output=True, text=True, timeout=PATIENCE, env=variables
        )
    if done.returncode != 0:
        raise AssertionError(f"ended with {done.returncode}:\n{done.stderr}")
    return {found[1]: found[2].strip('"') for found in re.finditer(r"(?m)^([a-z0-9-]+) = (.*?)\s*(?:#.*)?$", done.stdout)}
