"""deploy/cluster: starts, tells, survives, ends, and leaves nothing."""

import json
import os
import signal
import subprocess
import tempfile
import unittest
from contextlib import contextmanager
from pathlib import Path

from .tools import DEPLOY, answers, built, eventually, program, run

CLUSTER = DEPLOY / "cluster"


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def pids(told):
    return [one["pid"] for one in [told["redis"], *told["nats"], *told["nodes"]]]


@contextmanager
def cluster(*words, folder=None):
    with tempfile.TemporaryDirectory() as own:
        folder = Path(folder or own) / "cluster"
        out = Path(own) / "out"
        with open(out, "wb") as log:
            process = subprocess.Popen([CLUSTER, "--port", "0", "--dir", folder, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env=dict(os.environ, WEEVER=built("weever")))
        told = {}
        try:
            def ready():
                assert process.poll() is None, f"it ended with {process.returncode}:\n{out.read_text()}"
                place = folder / "cluster.json"
                return place.exists() and json.loads(place.read_text())["ready"]

            eventually("the cluster", ready, 60)
            told = json.loads((folder / "cluster.json").read_text())
            yield process, told, out
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
            for pid in pids(told) if told else []:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)


class Cluster(unittest.TestCase):
    def test_publish_at_one_node_watch_at_the_others(self):
        with cluster("--nodes", "3") as (process, told, out):
            self.assertEqual([node["name"] for node in told["nodes"]], ["node1", "node2", "node3"])
            self.assertTrue(all(alive(pid) for pid in pids(told)))
            for server in told["nats"]:
                routes = json.loads(answers(f"http://127.0.0.1:{server['monitor_port']}/routez"))["routes"]
                self.assertEqual(len({route["remote_id"] for route in routes}), 2)
            first, *others = [node["url"] for node in told["nodes"]]
            text = run(built("weever-loadgen"), "broadcast", "--publish-server", first, "--server", ",".join(others), "--viewers", 4,
                       "--seconds", 3, "--json")
            report = json.loads(text[text.index("{") :])
            self.assertEqual([node["node"] for node in report["nodes"]], others)
            for node in report["nodes"]:
                self.assertEqual((node["viewers"]["with_media"], node["lost"]), (2, 0), node)
            process.terminate()
            self.assertEqual(process.wait(60), 0, out.read_text())
            self.assertFalse(any(alive(pid) for pid in pids(told)), out.read_text())
            self.assertFalse((Path(told["dir"]) / "cluster.json").exists())

    def test_a_lost_node_is_told_and_the_others_go_on(self):
        with cluster("--nodes", "2", "--nats-servers", "1") as (process, told, out):
            lost, kept = told["nodes"][1], told["nodes"][0]
            os.kill(lost["pid"], signal.SIGKILL)
            eventually("a word of it", lambda: f"node2 (pid {lost['pid']}) ended with -9" in out.read_text())
            self.assertEqual(answers(f"{kept['private_url']}/readiness"), "OK")
            # Started again by hand, with the same words.
            with open(lost["log"], "ab") as log:
                again = subprocess.Popen(lost["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                eventually("node2 again", lambda: answers(f"{lost['private_url']}/readiness"))
            finally:
                again.send_signal(signal.SIGINT)
                again.wait(30)
            self.assertIsNone(process.poll())

    def test_nothing_outlives_it(self):
        with cluster("--nodes", "1", "--nats-servers", "1") as (process, told, _):
            process.kill()
            process.wait()
            eventually("the end of all", lambda: not any(alive(pid) for pid in pids(told)))

    def test_it_ends_by_itself_and_removes_its_directory(self):
        with tempfile.TemporaryDirectory() as folder:
            told = run(CLUSTER, "--port", "0", "--nodes", "1", "--nats-servers", "1", "--seconds", "1",
                       environment=dict(os.environ, WEEVER=built("weever"), TMPDIR=folder))
            self.assertIn("The cluster is up", told)
            self.assertIn("Ended.", told)
            self.assertEqual(os.listdir(folder), [])

    def test_what_is_missing_is_named_with_its_cure(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("python3", "env"):
                os.symlink(program(name), f"{folder}/{name}")
            # Debian's servers are where a PATH need not look: a copy that looks nowhere else.
            copy = Path(folder) / "cluster"
            copy.write_text(CLUSTER.read_text().replace("/usr/local/sbin:/usr/sbin:/sbin", folder))
            copy.chmod(0o755)
            environment = {"PATH": folder, "WEEVER": built("weever")}
            told = run(copy, environment=environment, status=1)
            self.assertIn("redis-server is missing: install it by: apt-get install redis-server", told)
            os.symlink(program("redis-server"), f"{folder}/redis-server")
            self.assertIn("nats-server is missing", run(copy, environment=environment, status=1))
            told = run(CLUSTER, "--weever", "/nowhere/weever", status=1)
            self.assertIn("there is no program /nowhere/weever", told)

    def test_bad_flags_are_refused(self):
        for words in (["--nodes", "0"], ["--nats-servers", "10"], ["--port", "65000"], ["--workers", "11"], ["--speed"]):
            run(CLUSTER, *words, status=2)
        told = run(CLUSTER, "--help")
        self.assertIn("examples:", told)

    def test_a_taken_port_and_directory_are_named(self):
        with cluster("--nodes", "1", "--nats-servers", "1") as (process, told, _):
            port = told["nodes"][0]["port"]
            refused = run(CLUSTER, "--port", port, "--nodes", "1", environment=dict(os.environ, WEEVER=built("weever")), status=1)
            self.assertIn(f"port {port}, for node1, is taken", refused)
            refused = run(CLUSTER, "--port", "0", "--dir", told["dir"], environment=dict(os.environ, WEEVER=built("weever")), status=1)
            self.assertIn(f"another cluster's, of process {process.pid}", refused)
