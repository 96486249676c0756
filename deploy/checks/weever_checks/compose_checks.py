"""The cluster by Compose and by Swarm, and the secrets that it shares."""

import functools
import pathlib
import re
import socket
import subprocess
import tempfile
import time
import unittest

import yaml

from .known import DEPLOY, said_by, settings, variables
from .running import config_of, environment

COMPOSE = DEPLOY / "compose"
NODES = ["node1", "node2", "node3"]
PUBLIC = {"PUBLIC_IP": "203.0.113.7", "NODE1_IP": "203.0.113.1", "NODE2_IP": "203.0.113.2", "NODE3_IP": "203.0.113.3"}
# What `docker stack deploy` leaves out with a warning.
NOT_IN_SWARM = {"build", "cgroup_parent", "devices", "depends_on", "external_links", "links", "network_mode", "privileged", "restart", "security_opt", "tmpfs", "userns_mode"}


@functools.cache
def parsed(name, **variables):
    """The file as docker-compose understands it: merged, with variables filled in."""
    # Compose 1.29, which Debian has, is older than the `name` at the top.
    text = re.sub(r"(?m)^name: .*$", "", (COMPOSE / name).read_text())
    done = subprocess.run(
        ["docker-compose", "-f", "-", "config"],
        input=text,
        capture_output=True,
        text=True,
        timeout=50,
        cwd=COMPOSE,
        env=environment(**variables),
    )
    if done.returncode != 0:
        raise AssertionError(f"{name}: {done.stderr}")
    return yaml.safe_load(done.stdout)


def seconds(text):
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text).groups()
    return int(minutes or 0) * 60 + int(rest or 0)


def published(service):
    """[(address, outside, inside, protocol)], each port by itself."""
    for port in service["ports"]:
        if isinstance(port, dict):
            yield "", int(port["published"]), int(port["target"]), port.get("protocol", "tcp")
            continue
        address, outside, inside, protocol = re.fullmatch(r"(?:([\d.]+):)?([\d-]+):([\d-]+)(?:/(\w+))?", port).groups()
        ranges = [[int(end) for end in text.split("-")] for text in (outside, inside)]
        for at in range(ranges[0][-1] - ranges[0][0] + 1):
            yield address or "", ranges[0][0] + at, ranges[1][0] + at, protocol or "tcp"


class Cluster:
    """What is true of both files; `self.whole` is the file."""

    def nodes(self):
        return [self.whole["services"][name] for name in NODES]

    def test_settings_exist(self):
        known = set(variables("weever"))
        for node in self.nodes():
            self.assertGreater(len(node["environment"]), 5)
            self.assertLessEqual(set(node["environment"]), known)

    def test_nodes_have_names_and_addresses_of_their_own(self):
        for key in ("POD_NAME", "ADVERTISE_URL"):
            self.assertEqual(len({node["environment"][key] for node in self.nodes()}), 3, key)
        for node in self.nodes():
            inside = int(settings("weever")["port"])
            (outside,) = [port for _, port, target, protocol in published(node) if (target, protocol) == (inside, "tcp")]
            ip = node["environment"]["PUBLIC_IP"]
            self.assertEqual(node["environment"]["ADVERTISE_URL"], f"http://{ip}:{outside}")

    def test_a_node_comes_back_as_who_it_was(self):
        for name, node in zip(NODES, self.nodes(), strict=True):
            self.assertEqual((node["hostname"], node["environment"]["POD_NAME"]), (name, name))
            self.assertEqual(node["environment"]["CONTROL_SOCKET"], "/tmp/weever/control.sock")

    def test_each_worker_has_its_udp_port_published_as_it_is(self):
        for node in self.nodes():
            first, workers = int(node["environment"]["UDP_PORT"]), int(node["environment"]["WORKERS"])
            udp = [(outside, inside) for _, outside, inside, protocol in published(node) if protocol == "udp"]
            self.assertEqual(udp, [(port, port) for port in range(first, first + workers)])

    def test_secrets_are_given_to_who_names_them(self):
        for name, service in self.whole["services"].items():
            given = {secret["source"] for secret in service.get("secrets", [])}
            self.assertLessEqual(given, set(self.whole["secrets"]))
            texts = [*service.get("environment", {}).values(), *(service.get("command") or [])]
            named = {found for text in texts for found in re.findall(r"/run/secrets/(\w+)", str(text))}
            self.assertEqual(named, given, name)

    def test_weever_takes_what_it_is_told(self):
        with tempfile.TemporaryDirectory() as directory:
            secrets(directory)
            files = {
                f"/run/secrets/{name}": pathlib.Path(directory, pathlib.Path(secret["file"]).name)
                for name, secret in self.whole["secrets"].items()
            }
            for name, node in zip(NODES, self.nodes(), strict=True):
                config = config_of(["weever"], node["environment"], files)
                self.assertEqual(config["pod-name"], name)
                self.assertEqual(config["udp-port"], node["environment"]["UDP_PORT"])
                self.assertIn(node["environment"]["PUBLIC_IP"], config["public-ip"])

    def test_stops_outlast_drains(self):
        for node in self.nodes():
            drain = int(node["environment"].get("DRAIN_TIMEOUT", settings("weever")["drain-timeout"]))
            self.assertGreaterEqual(seconds(node["stop_grace_period"]), drain + 10)

    def test_nothing_runs_with_rights_it_needs_not(self):
        for name, service in self.whole["services"].items():
            if name != "redis":  # Its image starts as root and steps down.
                self.assertEqual((service["cap_drop"], service["read_only"]), (["ALL"], True), name)

    def test_nats_servers_are_those_that_weever_and_they_are_told_of(self):
        servers = {name for name in self.whole["services"] if name.startswith("nats")}
        for name in servers:
            command = self.whole["services"][name]["command"]
            self.assertEqual(command[command.index("--name") + 1], name)
        with tempfile.TemporaryDirectory() as directory:
            made = secrets(directory)
            self.assertEqual(set(re.findall(r"@(\w+):4222", made["nats.url"])), servers)
            self.assertEqual(set(re.findall(r"@(\w+):6222", made["nats.conf"])), servers)
            self.assertIn("@redis:6379", made["redis.url"])
            files = {pathlib.Path(secret["file"]).name for secret in self.whole["secrets"].values()}
            self.assertEqual(files, set(made))


class Compose(Cluster, unittest.TestCase):
    def setUp(self):
        self.whole = parsed("compose.yaml", PUBLIC_IP=PUBLIC["PUBLIC_IP"])

    def test_nothing_is_published_twice(self):
        taken = [(outside, protocol) for node in self.nodes() for _, outside, _, protocol in published(node)]
        self.assertEqual(len(taken), len(set(taken)))

    def test_the_private_api_is_published_to_loopback_alone(self):
        private = int(settings("weever")["private-port"])
        for node in self.nodes():
            self.assertEqual([address for address, _, inside, _ in published(node) if inside == private], ["127.0.0.1"])

    def test_nodes_wait_for_what_tells_its_health(self):
        for node in self.nodes():
            waited = node["depends_on"]
            self.assertEqual(set(waited), {"redis", "nats1", "nats2", "nats3"})
            for name, how in waited.items():
                self.assertEqual(how["condition"], "service_healthy")
                self.assertIn("test", self.whole["services"][name]["healthcheck"])

    def test_nodes_have_the_profile(self):
        for node in self.nodes():
            (profile,) = [option for option in node["security_opt"] if option.startswith("seccomp")]
            # Relative to the file, or to where docker-compose 1 is started; `:` is how 1.29 writes it.
            path = re.fullmatch(r"seccomp[:=](.*)", profile).group(1)
            self.assertEqual((COMPOSE / path).resolve(), (DEPLOY / "docker/seccomp.json").resolve())

    def test_without_an_address_it_is_for_this_machine(self):
        whole = parsed("compose.yaml")
        self.assertEqual({whole["services"][name]["environment"]["PUBLIC_IP"] for name in NODES}, {"127.0.0.1"})


class Swarm(Cluster, unittest.TestCase):
    def setUp(self):
        self.whole = parsed("stack.yaml", **PUBLIC)

    def test_says_nothing_that_swarm_leaves_out(self):
        for name, service in self.whole["services"].items():
            self.assertFalse(NOT_IN_SWARM & set(service), name)

    def test_ports_are_the_machines_own(self):
        for node in self.nodes():
            self.assertEqual({port["mode"] for port in node["ports"]}, {"host"})
            # So that the new task finds them free.
            self.assertEqual(node["deploy"]["update_config"]["order"], "stop-first")

    def test_each_node_is_on_a_machine_of_its_own(self):
        places = [node["deploy"]["placement"]["constraints"] for node in self.nodes()]
        self.assertEqual(places, [[f"node.labels.weever == {number}"] for number in (1, 2, 3)])

    def test_addresses_are_wanted(self):
        with self.assertRaisesRegex(AssertionError, "NODE2_IP"):
            parsed("stack.yaml", **{name: ip for name, ip in PUBLIC.items() if name != "NODE2_IP"})


def secrets(directory, *hosts):
    code, text = said_by(COMPOSE / "make-secrets", directory, *hosts)
    assert code == 0, text
    return {file.name: file.read_text() for file in pathlib.Path(directory).iterdir()}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Secrets(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name, "secrets")

    def start(self, *command):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.directory)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def until(self, answers):
        deadline = time.monotonic() + 20
        while not answers():
            self.assertLess(time.monotonic(), deadline, "it never answered")
            time.sleep(0.1)

    def test_are_kept_and_only_for_who_made_them(self):
        first = secrets(self.directory)
        self.assertEqual(self.directory.stat().st_mode & 0o777, 0o700)
        self.assertEqual(secrets(self.directory), first)
        other = secrets(self.directory.with_name("other"))
        self.assertFalse(set(first.values()) & set(other.values()))
        for name in ("redis.url", "nats.url", "relay.key"):
            self.assertEqual(first[name].count("\n"), 1, "Weever reads one line")

    def test_open_redis_and_nothing_else_does(self):
        url = secrets(self.directory, "127.0.0.1")["redis.url"].strip()
        port = free_port()
        self.start("redis-server", "redis.conf", "--bind", "127.0.0.1", "--port", str(port))
        ask = "redis-cli", "--no-auth-warning", "-p", str(port)
        (health,) = parsed("compose.yaml")["services"]["redis"]["healthcheck"]["test"][1:]
        self.until(lambda: said_by("sh", "-c", health.replace("redis-cli", f"redis-cli -p {port}"))[0] == 0)
        self.assertIn("NOAUTH", said_by(*ask, "ping")[1])
        self.assertEqual(said_by(*ask, "-u", url.replace(":6379", f":{port}"), "ping")[1].strip(), "PONG")

    def test_open_nats_and_nothing_else_does(self):
        made = secrets(self.directory, "redis", "127.0.0.1")
        port, monitor = free_port(), free_port()
        ports = ["-a", "127.0.0.1", "-p", str(port), "-m", str(monitor), "--cluster", f"nats://127.0.0.1:{free_port()}"]
        self.start("nats-server", "--config", "nats.conf", "--name", "nats1", *ports)
        probe = parsed("compose.yaml")["services"]["nats1"]["healthcheck"]["test"][1:]
        probe = [word.replace(":8222", f":{monitor}") for word in probe]
        self.until(lambda: said_by(*probe)[0] == 0)
        password = re.search(r"nats://weever:(\w+)@127.0.0.1:4222", made["nats.url"]).group(1)
        self.assertIn(b"PONG", self.greeted(port, password))
        self.assertIn(b"Authorization Violation", self.greeted(port, "guessed"))

    def greeted(self, port, password):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            self.assertIn(b"INFO", connection.recv(4096))
            connection.sendall(b'CONNECT {"user":"weever","pass":"%s","verbose":false}\r\nPING\r\n' % password.encode())
            return connection.recv(4096)
