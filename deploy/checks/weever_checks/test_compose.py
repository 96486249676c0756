"""compose.yaml, stack.yaml, and the secrets that both read."""

import base64
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from .tools import DEPLOY, eventually, free_ports, program, run, settings_hold

COMPOSE = DEPLOY / "compose"
SECRETS = ("redis.conf", "redis-url", "nats.conf", "nats-url", "relay-key")
ADDRESS = "203.0.113.7"


def resolved(name, **variables):
    """As docker-compose reads it: anchors, variables and short forms resolved."""
    told = run(program("docker-compose"), "-f", COMPOSE / name, "config", environment=dict(os.environ, **variables))
    return yaml.safe_load(told)


def environment(service, secrets):
    """What Weever finds, its secrets where they lie here."""
    return {name: str(value).replace("/run/secrets", str(secrets)).replace("{{.Node.Hostname}}", "machine1")
            for name, value in service["environment"].items()}


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.secrets = Path(cls.folder.name)
        run(COMPOSE / "secrets" / "make", cls.secrets)
        cls.compose = resolved("compose.yaml", PUBLIC_IP=ADDRESS)
        cls.stack = resolved("stack.yaml", WEEVER_IMAGE="registry.example.org/weever:1")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def nodes(self):
        return {name: service for name, service in self.compose["services"].items() if name.startswith("weever")}

    def test_it_is_a_redis_three_nats_and_three_nodes(self):
        self.assertEqual(sorted(self.compose["services"]), ["nats1", "nats2", "nats3", "redis", "weever1", "weever2", "weever3"])
        for node in self.nodes().values():
            self.assertEqual(node["depends_on"],
                             {name: {"condition": "service_healthy"} for name in ("nats1", "nats2", "nats3", "redis")})
        for name, service in self.compose["services"].items():
            self.assertIn("test", service["healthcheck"], name)

    def test_an_address_must_be_given(self):
        told = run(program("docker-compose"), "-f", COMPOSE / "compose.yaml", "config", status=1,
                   environment={key: value for key, value in os.environ.items() if key != "PUBLIC_IP"})
        self.assertIn("the address that clients reach this machine by", told)

    def test_ports_outside_are_those_that_clients_are_told(self):
        seen = set()
        for name, node in self.nodes().items():
            told, ports = node["environment"], node["ports"]
            udp = {(port.split("/")[0]) for port in ports if port.endswith("/udp")}
            first = int(told["UDP_PORT"])
            self.assertEqual(udp, {f"{port}:{port}" for port in range(first, first + int(told["WORKERS"]))}, name)
            self.assertTrue(any(port.split("/")[0] == f"{told['PORT']}:{told['PORT']}" for port in ports), ports)
            self.assertEqual(told["ADVERTISE_URL"], f"http://{ADDRESS}:{told['PORT']}")
            for port in ports:
                self.assertNotIn(port.rsplit(":", 1)[0], seen)
                seen.add(port.rsplit(":", 1)[0])
                # The private port answers this machine alone.
                self.assertTrue(not port.startswith("127.") or port.endswith(":9443/tcp") or port.endswith(":9443"), port)

    def test_weever_takes_its_environment(self):
        for name, node in self.nodes().items():
            settings_hold("", environment(node, self.secrets))
            self.assertEqual(node["environment"]["POD_NAME"], name)

    def test_there_is_time_for_the_drain(self):
        for service in [*self.nodes().values(), self.stack["services"]["weever"]]:
            grace = service["stop_grace_period"]
            minutes, _, seconds = grace.removesuffix("s").rpartition("m")
            self.assertGreaterEqual(int(minutes or 0) * 60 + int(seconds or 0), int(service["environment"]["DRAIN_TIMEOUT"]) + 15)

    def test_what_it_names_is_there(self):
        for node in self.nodes().values():
            (profile,) = [word.split(":", 1)[1] for word in node["security_opt"] if word.startswith("seccomp:")]
            self.assertTrue((COMPOSE / profile).exists(), profile)
        for told in (self.compose, self.stack):
            self.assertEqual({Path(secret["file"]).name for secret in told["secrets"].values()}, set(SECRETS))

    def test_the_stack_publishes_udp_at_the_machine_itself(self):
        weever = self.stack["services"]["weever"]
        self.assertEqual({port["mode"] for port in weever["ports"]}, {"host"})
        first, workers = int(weever["environment"]["UDP_PORT"]), int(weever["environment"]["WORKERS"])
        udp = {(port["target"], port["published"]) for port in weever["ports"] if port["protocol"] == "udp"}
        self.assertEqual(udp, {(port, port) for port in range(first, first + workers)})
        self.assertEqual(weever["deploy"]["mode"], "global")

    def test_weever_takes_the_stacks_environment(self):
        (bind,) = self.stack["services"]["weever"]["volumes"]
        told = environment(self.stack["services"]["weever"], self.secrets)
        self.assertEqual(told["CONFIG"], bind["target"])
        told["CONFIG"] = str(self.secrets / "node.toml")
        # As deploy/compose/README.md writes it.
        Path(told["CONFIG"]).write_text('public-ip = ["203.0.113.7"]\nadvertise-url = "https://sfu1.example.org:8443"\n')
        self.assertIn("203.0.113.7", settings_hold("", told))

    def test_secrets_are_made_once(self):
        for name in SECRETS:
            self.assertTrue((self.secrets / name).stat().st_size > 20, name)
        self.assertEqual(len(base64.b64decode((self.secrets / "relay-key").read_text())), 32)
        before = (self.secrets / "redis-url").read_text()
        self.assertIn("is there already", run(COMPOSE / "secrets" / "make", self.secrets, status=1))
        self.assertEqual((self.secrets / "redis-url").read_text(), before)
        with tempfile.TemporaryDirectory() as other:
            run(COMPOSE / "secrets" / "make", other)
            self.assertNotEqual((Path(other) / "redis-url").read_text(), before)

    def test_redis_and_nats_take_their_files(self):
        run(program("nats-server"), "-t", "-c", self.secrets / "nats.conf")
        (port,) = free_ports(1)
        redis = subprocess.Popen([program("redis-server"), self.secrets / "redis.conf", "--port", str(port), "--bind", "127.0.0.1"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.secrets)
        try:
            cli = [program("redis-cli"), "-p", port]
            eventually("an answer of Redis", lambda: "NOAUTH" in run(*cli, "PING", status=None))
            url = (self.secrets / "redis-url").read_text().strip()
            password = url.removeprefix("redis://:").rpartition("@")[0]
            self.assertIn("PONG", run(*cli, "-a", password, "--no-auth-warning", "PING"))
        finally:
            redis.terminate()
            redis.wait()

    def test_shell_programs_are_sound(self):
        run(program("shellcheck"), COMPOSE / "secrets" / "make", DEPLOY / "checks" / "run")
        self.assertTrue(shutil.which("bash"))
