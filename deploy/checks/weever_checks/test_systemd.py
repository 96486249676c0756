"""The units, read by systemd's own programs."""

import re
import shutil
import tempfile
import unittest
from pathlib import Path

from .tools import DEPLOY, built, program, run

UNITS = DEPLOY / "systemd"
# systemd's own scale: below 2 it says OK.
EXPOSURE_MAX = 2.0


def lines(unit, key):
    return re.findall(rf"^{key}=(.*)$", (UNITS / unit).read_text().replace("\\\n", ""), re.M)


class Systemd(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        place = Path(self.folder.name)
        for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.target")]:
            # Where it is installed there is nothing here.
            (place / unit.name).write_text(unit.read_text().replace("/usr/local/bin/weever", built("weever")))
        shutil.copyfile(place / "weever-dataplane@.service", place / "weever-dataplane@3.service")

    def verify(self, *names, status=0):
        places = [Path(self.folder.name) / name for name in names]
        return run(program("systemd-analyze"), "verify", "--man=no", *places, status=status)

    def test_systemd_takes_them(self):
        told = self.verify("weever-controlplane.service", "weever-dataplane@3.service", "weever.target")
        # It names what it does not know, and goes on.
        self.assertEqual(told.strip(), "")

    def test_the_verification_can_fail(self):
        unit = Path(self.folder.name) / "weever-dataplane@x.service"
        shutil.copyfile(Path(self.folder.name) / "weever-dataplane@.service", unit)
        # The core's number comes from the instance's name.
        self.assertIn("Failed to parse CPU affinity 'x'", self.verify(unit.name, status=None))

    def test_they_are_closed_to_what_they_do_not_need(self):
        for unit in ("weever-controlplane.service", "weever-dataplane@3.service"):
            told = run(program("systemd-analyze"), "security", "--offline=yes", "--no-pager", Path(self.folder.name) / unit)
            exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", told)[1])
            self.assertLess(exposure, EXPOSURE_MAX, told)

    def test_there_is_time_for_the_drain(self):
        default = int(re.search(r"#drain-timeout = (\d+)", (DEPLOY / "config" / "dataplane.toml").read_text())[1])
        (stop,) = lines("weever-dataplane@.service", "TimeoutStopSec")
        self.assertGreaterEqual(int(stop), default + 10)

    def test_weever_takes_the_command_lines(self):
        place = Path(self.folder.name)
        for unit, plane in (("weever-controlplane.service", "controlplane"), ("weever-dataplane@.service", "dataplane")):
            (command,) = lines(unit, "ExecStart")
            command = command.replace("/usr/local/bin/weever", built("weever")).replace("%i", "3").replace("$$", "$")
            config = place / f"{plane}.toml"
            config.write_text("")
            command = command.replace(f"/etc/weever/{plane}.toml", str(config))
            if command.startswith("/bin/sh -c '"):
                command = command[len("/bin/sh -c '") : -1]
            told = run("/bin/sh", "-c", f"{command} --print-config", environment={"UDP_PORT_FIRST": "8443"})
            self.assertIn('control-socket = "/run/weever/control.sock"', told)
            if plane == "dataplane":
                self.assertIn("udp-port = 8446", told)
                self.assertIn('name = "core3"', told)

    def test_users_and_directories(self):
        with tempfile.TemporaryDirectory() as root:
            (Path(root) / "etc").mkdir()
            run(program("systemd-sysusers"), f"--root={root}", UNITS / "weever.sysusers.conf")
            self.assertIn("weever:x:", (Path(root) / "etc" / "passwd").read_text())
            run(program("systemd-tmpfiles"), f"--root={root}", "--create", UNITS / "weever.tmpfiles.conf")
            self.assertEqual((Path(root) / "run" / "weever").stat().st_mode & 0o777, 0o700)
            self.assertEqual((Path(root) / "etc" / "weever").stat().st_mode & 0o777, 0o750)
