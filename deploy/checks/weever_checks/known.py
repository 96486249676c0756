"""What the other files may refer to: the settings of each program, by the samples that are tested against their tables."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
WEEVER = ROOT / "target/debug/weever"

# Of every program, and in no sample, since they are about samples.
COMMON = {"config", "print-config"}


def settings(program):
    """{name: default} of `weever`, `controlplane` or `dataplane`; a default is None if there is none."""
    found = {}
    for line in (DEPLOY / "config" / f"{program}.toml").read_text().splitlines():
        setting = re.match(r"#?([a-z0-9-]+) = (.*)$", line)
        if setting:
            name, value = setting.groups()
            literal = re.fullmatch(r'"(.*)"|(\d+)|true|false', value)
            found[name] = value.strip('"') if literal else None
    assert len(found) > 5, f"{program}.toml has no settings"
    return found | dict.fromkeys(COMMON - found.keys())


def variable(name):
    return "RUST_LOG" if name == "log" else name.upper().replace("-", "_")


def variables(program):
    """{environment variable: default}."""
    return {variable(name): default for name, default in settings(program).items()}


def flags_in(command):
    return re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", command)


def said_by(*command, **options):
    """Runs it; returns (exit code, all that it printed)."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=50, **options)
    return done.returncode, done.stdout
