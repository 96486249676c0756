"""The systemd units."""

import os
import pathlib
import re
import shlex
import shutil
import tempfile
import unittest

from .known import DEPLOY, WEEVER, flags_in, said_by, settings, variables
from .running import config_of, confined

UNITS = DEPLOY / "systemd"
# Exposure in tenths, as `systemd-analyze security` counts it: 100 is a service without any sandbox.
EXPOSURE_MAX = 20
PLANES = {"controlplane": "weever-controlplane.service", "dataplane": "weever-dataplane@.service"}


def unit(name):
    """{key: [values]} of a unit, whatever the section; an empty value forgets those before it."""
    values = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


def installed(root):
    """A tree with the units, and with what they need of a system."""
    shutil.copytree("/lib/systemd/system", root / "lib/systemd/system", symlinks=True)
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    for file in [*UNITS.glob("*.service"), *UNITS.glob("*.target")]:
        shutil.copy(file, units)
    for program in ("usr/local/bin/weever", "bin/sh"):
        path = root / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)


def verified(root, name):
    return said_by("systemd-analyze", "verify", "--man=no", f"--root={root}", name)


def calls_of(group):
    """The system calls of one of systemd's groups."""
    code, text = said_by("systemd-analyze", "syscall-filter", "--no-pager", group)
    assert code == 0, text
    found = set()
    for line in text.splitlines()[1:]:
        name = line.strip()
        if name.startswith("@"):
            found |= calls_of(name)
        elif name and not name.startswith("#"):
            found.add(name)
    return found


class Systemd(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)

    def test_units_are_understood(self):
        installed(self.root)
        for name in ("weever.target", "weever-controlplane.service", "weever-dataplane@0.service", "weever-dataplane@7.service"):
            self.assertEqual(verified(self.root, name), (0, ""), name)

    def test_an_instance_is_a_core_and_misspelt_units_are_told(self):
        installed(self.root)
        code, text = verified(self.root, "weever-dataplane@first.service")
        self.assertIn("CPU affinity 'first'", text)
        file = self.root / "etc/systemd/system/weever-controlplane.service"
        file.write_text(file.read_text().replace("TimeoutStopSec=", "TimoutStopSec="))
        self.assertIn("TimoutStopSec", verified(self.root, "weever-controlplane.service")[1])

    def test_sandboxes_are_tight(self):
        for name in PLANES.values():
            # A template can't be asked about, an instance can.
            file = shutil.copy(UNITS / name, self.root / name.replace("@.", "@0."))
            security = "systemd-analyze", "security", "--no-pager", "--offline=yes"
            code, text = said_by(*security, f"--threshold={EXPOSURE_MAX}", file)
            self.assertEqual(code, 0, text)
            self.assertNotEqual(said_by(*security, "--threshold=5", file)[0], 0, "the threshold decides nothing")

    def test_flags_and_variables_exist(self):
        for plane, name in PLANES.items():
            (command,) = unit(name)["ExecStart"]
            self.assertIn(f"/usr/local/bin/weever {plane} ", command)
            self.assertLessEqual(set(flags_in(command)), set(settings(plane)), name)
            text = (UNITS / f"{plane}.env").read_text()
            named = re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE)
            self.assertGreater(len(named), 4)
            self.assertLessEqual(set(named), set(variables(plane)), f"{plane}.env")
            self.assertIn(f"EnvironmentFile=-/etc/weever/{plane}.env", (UNITS / name).read_text())

    def test_weever_takes_what_it_is_told(self):
        for plane, name in PLANES.items():
            variables = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", (UNITS / f"{plane}.env").read_text()))
            command = shlex.split(unit(name)["ExecStart"][0].replace("%i", "7").replace("$$", "$").replace("/usr/local/bin/", ""))
            if command[0] == "/bin/sh":
                # What is added to the command line is for Weever, not for the shell.
                command[-1] += ' "$0"'
            config = config_of(command, variables)
            self.assertEqual(config["control-socket"], "/run/weever/control.sock")
            if plane == "dataplane":
                port = int(settings(plane)["udp-port"]) + 7
                self.assertEqual((config["name"], config["workers"], config["udp-port"]), ("core7", "1", str(port)))
                self.assertEqual(config_of(command, variables | {"UDP_PORT": ""})["udp-port"], str(port))
                self.assertEqual(config_of(command, variables | {"UDP_PORT": "5000"})["udp-port"], "5007")

    def test_both_planes_meet_at_one_socket(self):
        sockets = {re.search(r"--control-socket (\S+?)'?$", unit(name)["ExecStart"][0]).group(1) for name in PLANES.values()}
        (socket,) = sockets
        for name in PLANES.values():
            self.assertEqual(unit(name)["ReadWritePaths"], [os.path.dirname(socket)])
            self.assertEqual(unit(name)["User"], ["weever"])
            self.assertIn("weever.target", unit(name)["PartOf"])
        self.assertIn("weever-controlplane.service", unit(PLANES["dataplane"])["After"][0])
        self.assertIn(f"d {os.path.dirname(socket)} 0700 weever weever", (UNITS / "weever.tmpfiles.conf").read_text())

    def test_stops_outlast_drains(self):
        dataplane = unit(PLANES["dataplane"])
        drain = int(re.search(r"--drain-timeout (\d+)", dataplane["ExecStart"][0]).group(1))
        self.assertGreaterEqual(int(dataplane["TimeoutStopSec"][0]), drain + 10)
        # Above --max-connections and 1300 more.
        wanted = int(settings("controlplane")["max-connections"]) + 1300
        for name in PLANES.values():
            self.assertGreaterEqual(int(unit(name)["LimitNOFILE"][0]), wanted)

    def test_the_user_and_its_directory_are_made(self):
        (self.root / "etc").mkdir()
        for tool, config in (("systemd-sysusers", "weever.sysusers.conf"), ("systemd-tmpfiles", "weever.tmpfiles.conf")):
            options = ["--create"] if tool == "systemd-tmpfiles" else []
            code, text = said_by(tool, f"--root={self.root}", *options, UNITS / config)
            self.assertEqual(code, 0, text)
        (line,) = [line for line in (self.root / "etc/passwd").read_text().splitlines() if line.startswith("weever:")]
        _, _, user, group, *_, shell = line.split(":")
        self.assertEqual(shell, "/usr/sbin/nologin")
        made = (self.root / "run/weever").stat()
        self.assertEqual((made.st_mode & 0o777, made.st_uid, made.st_gid), (0o700, int(user), int(group)))

    def test_the_sandbox_leaves_io_uring_and_pinning(self):
        allowed = set()
        for value in unit(PLANES["dataplane"])["SystemCallFilter"]:
            for group in value.lstrip("~").split():
                allowed = allowed - calls_of(group) if value.startswith("~") else allowed | calls_of(group)
        rules = [{"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}]
        command = [WEEVER, "dataplane", "--workers", "1", "--udp-port", "0", "--udp-host", "127.0.0.1"]
        socket = self.root / "control.sock"
        with confined(1, rules, *command, "--control-socket", socket) as log:
            text = log("worker serves")
        self.assertIn('io="uring"', text)
        self.assertNotIn("can't stay on one core", text)
        # The filter is one: without io_uring the data plane does without.
        rules = [{"names": sorted(allowed - calls_of("@aio")), "action": "SCMP_ACT_ALLOW"}]
        with confined(1, rules, *command, "--control-socket", socket) as log:
            self.assertIn('io="syscalls"', log("worker serves"))
