"""The image: Dockerfile, what is sent to its build, the health check, the seccomp profile."""

import fnmatch
import http.server
import json
import os
import pathlib
import platform
import re
import shutil
import socket
import tempfile
import threading
import tomllib
import unittest

from .known import DEPLOY, ROOT, WEEVER, said_by, settings
from .running import confined, environment

DOCKER = DEPLOY / "docker"
PROFILE = DOCKER / "seccomp.json"
IO_URING = ["io_uring_enter", "io_uring_register", "io_uring_setup"]
# What a container that was broken into would use next.
NEVER = {"bpf", "delete_module", "init_module", "keyctl", "mount", "perf_event_open", "pivot_root", "ptrace", "process_vm_readv", "setns",
         "unshare", "userfaultfd"}


def instructions():
    """[(instruction, rest)] of the Dockerfile."""
    text = re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def last_stage():
    stages = []
    for instruction, rest in instructions():
        if instruction == "FROM":
            stages.append([])
        stages[-1].append((instruction, rest))
    return dict(stages[-1])


def ignored(path, is_directory):
    for pattern in (ROOT / ".dockerignore").read_text().splitlines():
        if not pattern or pattern.startswith("#"):
            continue
        anywhere = pattern.removeprefix("**/")
        name = path.rsplit("/", 1)[-1] if anywhere != pattern else path
        if fnmatch.fnmatchcase(name, anywhere) and ("/" in anywhere or anywhere != pattern or "/" not in path):
            return True
    return False


def context():
    """What the build is sent, relative to the top."""
    for directory, names, files in os.walk(ROOT):
        below = pathlib.Path(directory).relative_to(ROOT)
        names[:] = [name for name in names if not ignored(str(below / name), True)]
        yield from (str(below / name) for name in files if not ignored(str(below / name), False))


def free_ports(count):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def rules():
    return json.loads(PROFILE.read_text())["syscalls"]


def in_force(without=()):
    """The rules that apply to a container here that has no capabilities."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    for rule in rules():
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if includes.get("caps") or machine not in includes.get("arches", [machine]) or machine in excludes.get("arches", []):
            continue
        yield rule | {"names": [name for name in rule["names"] if name not in without]}


class Image(unittest.TestCase):
    def test_runs_as_a_user_without_rights(self):
        stage = last_stage()
        self.assertRegex(stage["USER"], r"^[1-9]\d+:[1-9]\d+$")
        self.assertEqual(stage["STOPSIGNAL"], "SIGTERM")
        self.assertEqual(json.loads(stage["ENTRYPOINT"]), ["weever"])
        self.assertNotIn("RUN", stage, "the last stage installs nothing")

    def test_ports_are_those_of_the_settings(self):
        known = settings("weever")
        wanted = {f"{known['port']}/tcp", f"{known['udp-port']}/udp"}
        self.assertEqual(set(last_stage()["EXPOSE"].split()), wanted)

    def test_is_built_by_a_compiler_and_a_profile_that_are_there(self):
        cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
        bases = [rest.split()[0] for instruction, rest in instructions() if instruction == "FROM"]
        for base in bases:
            self.assertRegex(base, r":[a-z0-9.-]*bookworm", "pinned to a release, and to the same C library in both stages")
        version = tuple(map(int, re.match(r"rust:(\d+)\.(\d+)", bases[0]).groups()))
        self.assertGreaterEqual(version, tuple(map(int, cargo["workspace"]["package"]["rust-version"].split("."))))
        (build,) = [rest for instruction, rest in instructions() if instruction == "RUN" and "cargo build" in rest]
        profile = re.search(r"--profile (\S+)", build).group(1)
        self.assertIn(profile, cargo["profile"])
        self.assertIn(f"target/{profile}/weever", build)

    def test_what_is_sent_is_enough_to_build_and_no_more(self):
        sent = list(context())
        for name in re.findall(r"deploy/\S+", (DOCKER / "Dockerfile").read_text().split("FROM", 1)[1]):
            self.assertIn(name, sent)
        self.assertFalse([path for path in sent if re.search(r"(^|/)(target|node_modules|\.git|secrets)/|\.pem$", path)])
        with tempfile.TemporaryDirectory() as copy:
            for path in sent:
                if path.endswith((".rs", ".toml", ".lock")):
                    target = pathlib.Path(copy, path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / path, target)
            metadata = "cargo", "metadata", "--locked", "--offline", "--format-version=1"
            code, text = said_by(*metadata, cwd=copy)
            self.assertEqual(code, 0, text[-2000:])

    def test_the_profile_lets_pass_what_it_lists_and_nothing_else(self):
        profile = json.loads(PROFILE.read_text())
        self.assertEqual(profile["defaultAction"], "SCMP_ACT_ERRNO")
        self.assertEqual([rule for rule in rules() if rule["names"] == IO_URING], [rules()[0]])
        allowed = {name for rule in rules() if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
        self.assertEqual(allowed & NEVER, set())
        families = {rule["args"][0]["value"] for rule in rules() if rule["names"] == ["socket"]}
        self.assertEqual(families, {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK})

    def test_under_the_profile_weever_has_io_uring_and_without_does_without(self):
        for without, backend in (((), "uring"), (IO_URING, "syscalls")):
            with tempfile.TemporaryDirectory() as directory:
                port, private = free_ports(2)
                command = [WEEVER, "--host", "127.0.0.1", "--port", port, "--udp-host", "127.0.0.1", "--udp-port", port, "--private-port", private,
                           "--workers", "1", "--control-socket", f"{directory}/control.sock"]
                with confined(1, list(in_force(without)), *command) as log:
                    self.assertIn(f'io="{backend}"', log("worker serves"))
                    log("data plane ready")


class HealthCheck(unittest.TestCase):
    def setUp(self):
        self.asked, self.status = [], 200
        outer = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append((self.path, self.headers["Host"]))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def healthy(self, *words, **variables):
        port = str(self.server.server_address[1])
        return said_by(DOCKER / "healthcheck", *words, env=environment(PRIVATE_PORT=port) | variables)[0] == 0

    def test_is_the_images(self):
        command = json.loads(last_stage()["HEALTHCHECK"].split("CMD ")[1])
        self.assertEqual(command, ["healthcheck"])
        self.assertTrue(os.access(DOCKER / "healthcheck", os.X_OK))

    def test_tells_what_the_private_api_says(self):
        self.assertTrue(self.healthy())
        self.assertTrue(self.healthy("/readiness", PRIVATE_HOST="0.0.0.0"))
        self.assertEqual(self.asked, [("/liveness", "localhost"), ("/readiness", "localhost")])
        self.status = 503
        self.assertFalse(self.healthy())
        self.assertFalse(self.healthy(PRIVATE_PORT="1"))
