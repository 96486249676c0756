"""A Weever of the test's own: started on free ports, watched, stopped by pid."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from . import plain_http

ROOT = Path(__file__).resolve().parents[3]
OUTPUT = ROOT / "target" / "e2e"
START_SECONDS = 20
STOP_SECONDS = 15
# A worker binds the base port plus its number.
UDP_PORTS = 16


def free_tcp_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_udp_ports():
    """The first of a run of ports that are all free."""
    for _ in range(200):
        base = random.randrange(20000, 30000)
        probes = []
        try:
            for port in range(base, base + UDP_PORTS):
                probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                probes.append(probe)
                probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise RuntimeError("found no run of free UDP ports between 20000 and 30000")


def program():
    path = Path(os.environ.get("WEEVER", ROOT / "target" / "debug" / "weever"))
    if not path.exists():
        raise RuntimeError(f"{path} is missing: build it by `deploy/test build`")
    return path


class Server:
    def __init__(self, name, io, *flags):
        self.name = name
        self.io = io
        self.flags = flags
        self.process = None
        # Where its log goes instead of to the file (a descriptor), and what else it finds in its environment.
        self.stderr = None
        self.environment = {}
        # Where it listens, also privately; the network namespace that it runs in, None for the tests' own.
        self.host, self.namespace = "127.0.0.1", None
        self.log_path = OUTPUT / f"{name}.log"

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.stop()

    async def start(self):
        self.port, self.private_port, self.udp_port = free_tcp_port(), free_tcp_port(), free_udp_ports()
        OUTPUT.mkdir(parents=True, exist_ok=True)
        self.socket_dir = tempfile.mkdtemp(prefix="weever-e2e-")
        self.control_socket = f"{self.socket_dir}/control.sock"
        command = [
            *(["ip", "netns", "exec", self.namespace] if self.namespace else []),
            str(program()), "--host", self.host, "--port", str(self.port),
            *(["--private-host", self.host] if self.namespace else []), "--private-port", str(self.private_port),
            "--udp-port", str(self.udp_port), "--udp-host", self.host,
            "--control-socket", self.control_socket, "--io", self.io, *self.flags,
        ]
        environment = dict(os.environ, RUST_LOG=os.environ.get("RUST_LOG", "info"), NO_COLOR="1", **self.environment)
        with open(self.log_path, "ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, env=environment,
                stderr=log if self.stderr is None else self.stderr,
                start_new_session=True,
            )
        await self.ready(START_SECONDS)

    async def ready(self, seconds):
        """Waits until the private port says that a data plane is there."""
        deadline = time.monotonic() + seconds
        seen = "nothing"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"weever ended by itself with {self.process.returncode}; see {self.log_path}")
            try:
                answer = await self.private("GET", "/readiness")
                seen = f"{answer.status} {answer.text!r}"
                if answer.status == 200:
                    return
            except OSError as error:
                seen = str(error)
            await asyncio.sleep(0.05)
        raise RuntimeError(f"weever was not ready within {seconds} s ({seen}); see {self.log_path}")

    async def stop(self):
        """Ends it by Ctrl-C, which waits for nobody; returns its exit code, and leaves no process behind."""
        if self.process is None:
            return None
        children = self.children()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            for pid in children:
                _kill(pid)
            raise RuntimeError(f"weever did not stop within {STOP_SECONDS} s of SIGINT; see {self.log_path}") from None
        code, self.process = self.process.returncode, None
        left = [pid for pid in children if _alive(pid)]
        for pid in left:
            _kill(pid)
        if left:
            raise RuntimeError(f"weever left processes behind: {left}")
        self._remove_socket_dir()
        return code

    def _remove_socket_dir(self):
        for name in os.listdir(self.socket_dir):
            os.unlink(f"{self.socket_dir}/{name}")
        os.rmdir(self.socket_dir)

    def children(self):
        return _children_of(self.process.pid)

    def plane(self, which):
        """The pid of `controlplane` or `dataplane`, None while it is not running."""
        for pid in self.children():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if which.encode() in words:
                return pid
        return None

    async def kill_plane(self, which, how=signal.SIGKILL):
        """Returns the pid that is gone."""
        pid = self.plane(which)
        assert pid is not None, f"no {which} process under weever {self.process.pid}"
        os.kill(pid, how)
        for _ in range(1000):
            if not _alive(pid):
                return pid
            await asyncio.sleep(0.01)
        raise AssertionError(f"{which} {pid} survived {how.name}")

    def log_text(self):
        if not self.log_path.exists():
            return ""
        return self.log_path.read_text(errors="replace")

    async def public(self, method, path, body=None, headers=None):
        return await plain_http.request(self.port, method, path, body, headers, self.host)

    async def private(self, method, path, body=None, headers=None):
        return await plain_http.request(self.private_port, method, path, body, headers, self.host)

    async def listed(self, role, room):
        answer = await self.private("GET", f"/list/{role}/{room}")
        assert answer.status == 200, answer
        return sorted(name for name in answer.text.strip().split(",") if name)


def _alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _children_of(parent):
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(entry))
    return found
