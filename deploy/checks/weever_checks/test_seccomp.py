"""Weever under the filters that we ship: the image's profile, and the units' lists."""

import json
import re
import signal
import subprocess
import tempfile
import unittest
from contextlib import contextmanager
from pathlib import Path

from .tools import DEPLOY, answers, built, eventually, free_ports, program, run

PROFILE = DEPLOY / "docker" / "seccomp.json"
HELPER = Path(__file__).with_name("under_filter.py")
IO_URING = {"io_uring_setup", "io_uring_enter", "io_uring_register"}


def profile(without=()):
    told = json.loads(PROFILE.read_text())
    for group in told["syscalls"]:
        group["names"] = [name for name in group["names"] if name not in without]
    return told


def units_list(unit):
    """What SystemCallFilter= of a unit comes to, as systemd itself names its sets."""
    sets, name = {}, None
    for line in run(program("systemd-analyze"), "syscall-filter").splitlines():
        word = line.split("#")[0].strip()
        if line.startswith("@"):
            name = word
            sets[name] = set()
        elif word and name:
            sets[name].add(word)

    def calls(word):
        return {call for part in sets[word] for call in calls(part)} if word.startswith("@") else {word}

    allowed = set()
    text = (DEPLOY / "systemd" / unit).read_text()
    for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.M):
        for word in line.lstrip("~").split():
            allowed = allowed - calls(word) if line.startswith("~") else allowed | calls(word)
    # systemd adds these to every list, and what it needs itself to get there.
    allowed |= calls("@default") | {"execve"}
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}]}


class Under:
    """A Weever, or one plane of it, with a filter on it."""

    def __init__(self, folder, name, told, *words):
        self.log = Path(folder) / f"{name}.log"
        place = Path(folder) / f"{name}.json"
        place.write_text(json.dumps(told))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/python3", str(HELPER), str(place), "--", built("weever"), *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"TMPDIR": str(folder), "NO_COLOR": "1", "RUST_LOG": "info"})

    def text(self):
        return self.log.read_text(errors="replace")

    def serves(self, private):
        def look():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.text()}"
            return answers(f"http://127.0.0.1:{private}/readiness")

        eventually("readiness", look)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def watched(port):
    """Media goes through it: a publisher and two viewers, nothing lost."""
    told = run(built("weever-loadgen"), "broadcast", "--server", f"http://127.0.0.1:{port}", "--viewers", 2, "--seconds", 2, "--json")
    report = json.loads(told[told.index("{"):])
    assert report["viewers"]["with_media"] == 2 and report["packets"] > 0, told
    return report


@contextmanager
def whole(told, *flags):
    port, private = free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        weever = Under(folder, "weever", told, "--host", "127.0.0.1", "--port", str(port), "--private-port", str(private),
                       "--udp-host", "127.0.0.1", "--udp-port", "0", "--workers", "1", *flags)
        try:
            yield weever, port, private
        finally:
            weever.stop()


class Seccomp(unittest.TestCase):
    def test_the_profile_allows_all_that_weever_does(self):
        for io in ("uring", "syscalls"):
            with self.subTest(io), whole(profile(), "--io", io) as (weever, port, private):
                weever.serves(private)
                watched(port)
                self.assertNotIn("panicked", weever.text())
                self.assertEqual(weever.stop(), 0, weever.text())

    def test_without_io_uring_it_takes_system_calls(self):
        with whole(profile(without=IO_URING)) as (weever, port, private):
            weever.serves(private)
            watched(port)
            self.assertIn("io_uring", weever.text(), "the log says which way it takes")
        # The filter is no fiction: who insists on io_uring doesn't get it.
        with whole(profile(without=IO_URING), "--io", "uring") as (weever, port, private):
            self.assertNotEqual(weever.process.wait(30), 0, weever.text())

    def test_the_profile_keeps_out_what_it_should(self):
        for call in ("mount", "ptrace", "unshare", "bpf", "init_module", "keyctl", "process_vm_readv", "userfaultfd", "perf_event_open"):
            names = [name for group in profile()["syscalls"] for name in group["names"]]
            self.assertNotIn(call, names)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "profile.json"
            # For a shell and what it starts, besides what Weever needs.
            told = profile()
            told["syscalls"].append({"names": ["fork", "vfork", "getpgid", "getgroups"], "action": "SCMP_ACT_ALLOW"})
            place.write_text(json.dumps(told))
            refused = run("/usr/bin/python3", HELPER, place, "--", "/usr/bin/unshare", "--user", "/bin/true", status=1)
            self.assertIn("Operation not permitted", refused)

    def test_the_units_lists_allow_both_planes(self):
        port, private = free_ports(2)
        with tempfile.TemporaryDirectory() as folder:
            socket = f"{folder}/own/control.sock"
            control = Under(folder, "controlplane", units_list("weever-controlplane.service"), "controlplane", "--host", "127.0.0.1",
                            "--port", str(port), "--private-port", str(private), "--control-socket", socket)
            media = Under(folder, "dataplane", units_list("weever-dataplane@.service"), "dataplane", "--control-socket", socket,
                          "--udp-host", "127.0.0.1", "--udp-port", "0", "--workers", "1", "--io", "uring")
            try:
                control.serves(private)
                watched(port)
            finally:
                codes = media.stop(), control.stop()
            self.assertEqual(codes, (0, 0), media.text() + control.text())
