"""The Helm chart, rendered by Helm."""

import functools
import json
import pathlib
import re
import subprocess
import tempfile
import unittest

import helm_python as helm
import kubernetes_validate
import yaml

from .compose_checks import secrets
from .known import DEPLOY, said_by, settings, variables
from .running import config_of

CHART = DEPLOY / "helm/weever"
# The newest that the schemas have, and the oldest that the chart takes.
KUBERNETES = ["1.37.0", "1.27.0"]
VALUES = sorted(CHART.glob("ci/*-values.yaml"))
# Of the Prometheus operator, of which Kubernetes has no schema.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}


def chart():
    return helm.Chart.load(CHART)


def merged(*overrides):
    """The chart's values with others laid over, as Helm does."""
    whole = {}
    for override in overrides:
        for key, value in override.items():
            both = isinstance(value, dict) and isinstance(whole.get(key), dict)
            whole[key] = merged(whole[key], value) if both else value
    return whole


@functools.cache
def rendered(values, release="weever"):
    """{(kind, name): object}; `values` is JSON."""
    with chart() as loaded:
        loaded.validate_schema(json.loads(values))
        texts = loaded.render(json.loads(values), name=release, namespace="media")
    objects = {}
    for path, text in texts.items():
        if not path.endswith(".txt"):
            for found in filter(None, yaml.safe_load_all(text)):
                name = found["kind"], found["metadata"]["name"]
                assert name not in objects, f"{name} twice"
                objects[name] = found
    return objects


def render(release="weever", **values):
    return rendered(json.dumps(values, sort_keys=True), release)


def of_file(stem):
    return yaml.safe_load((CHART / "ci" / f"{stem}-values.yaml").read_text())


def every():
    """[(name, objects)] of the defaults and of each file of values."""
    return [("default", render())] + [(file.stem, render(**yaml.safe_load(file.read_text()))) for file in VALUES]


def pod(objects, name="weever"):
    return objects["StatefulSet", name]["spec"]["template"]["spec"]


def container(objects, name="weever"):
    (only,) = pod(objects, name)["containers"]
    return only


def environment(objects, pod_name="weever-0"):
    """The container's variables as the kubelet fills them in."""
    fields = {"metadata.name": pod_name, "status.hostIP": "198.51.100.9"}
    filled = {}
    for variable in container(objects)["env"]:
        value = variable.get("value")
        if value is None:
            value = fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        filled[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda name: filled[name[1]], value)
    return filled


def command(objects):
    only = container(objects)
    # The image's entry point, where the pod names no command.
    return only.get("command", ["weever"]) + only.get("args", [])


class Rendered(unittest.TestCase):
    def test_lint_finds_nothing(self):
        for file in [None, *VALUES]:
            report = helm.lint(CHART, yaml.safe_load(file.read_text()) if file else {}, strict=True, with_subcharts=True)
            self.assertEqual(report["errors"], [])
            self.assertEqual({message["error"] for message in report["messages"]} - {"icon is recommended"}, set())

    def test_objects_are_kubernetes_own(self):
        self.assertGreater(len(VALUES), 4)
        for name, objects in every():
            for (kind, _), found in objects.items():
                if kind not in CUSTOM:
                    for version in KUBERNETES:
                        kubernetes_validate.validate(found, version, strict=True)

    def test_the_schemas_find_what_is_wrong(self):
        found = json.loads(json.dumps(render()["StatefulSet", "weever"]))
        found["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(found, KUBERNETES[0], strict=True)

    def test_names_fit_whatever_the_release_is_called(self):
        for release in ("weever", "live", "a-name-as-long-as-helm-lets-it-be-which-is-fifty-three"[:53]):
            objects = render(release, udp={"reach": "nodePort"})
            for _, name in objects:
                # A pod's name gets "-0" and is a label's value.
                self.assertLessEqual(len(name), 61)
            claims = [found["spec"]["serviceName"] for (kind, _), found in objects.items() if kind == "StatefulSet"]
            for service in claims:
                self.assertIn(("Service", service), objects)

    def test_all_that_selects_pods_finds_them(self):
        for name, objects in every():
            pods = [
                found["spec"]["template"]["metadata"]["labels"]
                for (kind, _), found in objects.items()
                if kind in ("StatefulSet", "Deployment")
            ]
            for (kind, each), found in objects.items():
                spec = found["spec"]
                selector = spec.get("podSelector", {}).get("matchLabels") if kind == "NetworkPolicy" else spec.get("selector")
                selector = (selector or {}).get("matchLabels", selector) if kind != "ServiceMonitor" else None
                if selector:
                    selector = {key: value for key, value in selector.items() if key != "statefulset.kubernetes.io/pod-name"}
                    chosen = [labels for labels in pods if selector.items() <= labels.items()]
                    self.assertEqual(len(chosen), 1, f"{name}: {kind} {each}")

    def test_notes_tell_the_names_that_are(self):
        with chart() as loaded:
            notes = loaded.render({"nats": {"replicas": 5}}, name="live", namespace="media")["weever/templates/NOTES.txt"]
        self.assertIn("make-secrets secrets live-redis live-nats-0.live-nats ", notes)
        self.assertIn("live-nats-4.live-nats", notes)
        self.assertIn("get service live-weever", notes)


class Pod(unittest.TestCase):
    def test_settings_exist(self):
        known = settings("weever")
        for name, objects in every():
            self.assertLessEqual({variable["name"] for variable in container(objects)["env"]}, set(variables("weever")), name)
            for argument in container(objects).get("args", []):
                self.assertIn(re.match(r"--([a-z0-9-]+)=", argument).group(1), known)

    def test_files_that_settings_name_are_mounted(self):
        for name, objects in every():
            volumes = {volume["name"]: volume for volume in pod(objects)["volumes"]}
            there = set()
            for mount in container(objects)["volumeMounts"]:
                volume = volumes[mount["name"]]
                items = volume.get("secret", {}).get("items", [])
                items += [item for source in volume.get("projected", {}).get("sources", []) for item in source["secret"]["items"]]
                there |= {f"{mount['mountPath']}/{item['path']}" for item in items}
                if mount["name"] == "tls":
                    there |= {f"{mount['mountPath']}/tls.{end}" for end in ("crt", "key")}
            named = {value for value in environment(objects).values() if value.startswith("/etc/")}
            self.assertEqual(named, there, name)

    def test_starts_with_what_it_is_told(self):
        with tempfile.TemporaryDirectory() as directory:
            made = pathlib.Path(directory)
            secrets(made / "cluster", "weever-redis", *(f"weever-nats-{at}.weever-nats" for at in range(3)))
            (made / "tls").mkdir()
            request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -keyout tls.key -out tls.crt"
            self.assertEqual(said_by(*request.split(), cwd=made / "tls")[0], 0)
            (made / "secrets").mkdir()
            for name in of_file("tls")["secretSettings"]:
                (made / "secrets" / name).write_text("correct-horse\n")
            for stem in ("single", "tls", "nodeport"):
                objects = render(**of_file(stem))
                for ordinal in range(objects["StatefulSet", "weever"]["spec"]["replicas"]):
                    names = environment(objects, f"weever-{ordinal}")
                    config = config_of(command(objects), names, {"/etc/weever": made})
                    first, workers = int(names["UDP_PORT"]), int(names["WORKERS"])
                    apart = ordinal * workers if stem == "nodeport" else 0
                    self.assertEqual(int(config["udp-port"]), first + apart)
                    self.assertEqual(int(config["workers"]), workers)
                    self.assertEqual(config["pod-name"], f"weever-{ordinal}")
                    if stem == "tls":
                        self.assertEqual(int(config["max-sessions"]), 5000)

    def test_comes_back_as_who_it_was(self):
        for name, objects in every():
            socket = pathlib.Path(environment(objects)["CONTROL_SOCKET"])
            # Below a mount that outlives the container, and in a directory that Weever makes for itself: everybody may write to the mount.
            mounts = [mount["mountPath"] for mount in container(objects)["volumeMounts"] if mount["name"] == "tmp"]
            self.assertEqual([str(socket.parent.parent)], mounts, name)

    def test_drains_before_it_is_killed(self):
        for name, objects in every():
            spec, only = pod(objects), container(objects)
            self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], int(environment(objects)["DRAIN_TIMEOUT"]) + 10)
            self.assertEqual(only["lifecycle"]["preStop"]["httpGet"]["path"], "/preStop")
            probes = {kind: only[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
            self.assertEqual(probes, {"startup": "/liveness", "liveness": "/liveness", "readiness": "/readiness"})

    def test_is_asked_where_it_listens(self):
        for name, objects in every():
            variables, only = environment(objects), container(objects)
            gets = [only[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
            gets.append(only["lifecycle"]["preStop"]["httpGet"])
            on_host = pod(objects).get("hostNetwork", False)
            # The kubelet asks from the machine: its loopback is the pod's with hostNetwork only.
            self.assertEqual({get.get("host") for get in gets}, {"127.0.0.1" if on_host else None}, name)
            self.assertEqual(variables["PRIVATE_HOST"], "127.0.0.1" if on_host else "0.0.0.0")
            ports = {port["name"]: port["containerPort"] for port in only["ports"]}
            self.assertEqual((ports["http"], ports["private"]), (int(variables["PORT"]), int(variables["PRIVATE_PORT"])))
            if on_host:
                first, workers = int(variables["UDP_PORT"]), int(variables["WORKERS"])
                media = sorted(port["containerPort"] for port in only["ports"] if port["protocol"] == "UDP")
                self.assertEqual(media, list(range(first, first + workers)))

    def test_has_no_rights(self):
        for name, objects in every():
            for (kind, each), found in objects.items():
                if kind not in ("StatefulSet", "Deployment"):
                    continue
                spec = found["spec"]["template"]["spec"]
                self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                self.assertFalse(spec["automountServiceAccountToken"] or spec["enableServiceLinks"])
                for only in spec["containers"]:
                    self.assertTrue(only["securityContext"]["readOnlyRootFilesystem"])
                    self.assertEqual(only["securityContext"]["capabilities"], {"drop": ["ALL"]})
        user = re.search(r"(?m)^USER (\d+):(\d+)$", (DEPLOY / "docker/Dockerfile").read_text())
        context = pod(render())["securityContext"]
        self.assertEqual((context["runAsUser"], context["runAsGroup"]), (int(user[1]), int(user[2])))


class Network(unittest.TestCase):
    def test_each_pod_has_node_ports_of_its_own(self):
        for stem, pods in (("nodeport", 3), ("everything", 6)):
            objects = render(**of_file(stem))
            taken = []
            for ordinal in range(pods):
                spec = objects["Service", f"weever-media-{ordinal}"]["spec"]
                self.assertEqual(spec["selector"]["statefulset.kubernetes.io/pod-name"], f"weever-{ordinal}")
                self.assertTrue(spec["publishNotReadyAddresses"], "media goes on while a pod drains")
                variables = environment(objects)
                first, workers = int(variables["UDP_PORT"]), int(variables["WORKERS"])
                wanted = list(range(first + ordinal * workers, first + (ordinal + 1) * workers))
                for key in ("port", "targetPort", "nodePort"):
                    self.assertEqual([port[key] for port in spec["ports"]], wanted)
                taken += wanted
            self.assertEqual(len(taken), len(set(taken)))
            self.assertNotIn(("Service", f"weever-media-{pods}"), objects)
        self.assertFalse([name for _, name in render() if "media" in name])

    def test_what_clients_are_told(self):
        self.assertNotIn("PUBLIC_IP", environment(render()))
        self.assertEqual(environment(render(udp={"reach": "nodePort"}))["PUBLIC_IP"], "198.51.100.9")
        self.assertEqual(environment(render(**of_file("nodeport")))["PUBLIC_IP"], "203.0.113.1,2001:db8::1")
        self.assertEqual(environment(render(**of_file("tls")), "weever-2")["ADVERTISE_URL"], "https://weever-2.live.example.org")

    def test_signalling_keeps_clients_and_their_addresses(self):
        spec = render()["Service", "weever"]["spec"]
        self.assertEqual((spec["type"], spec["sessionAffinity"], spec["externalTrafficPolicy"]), ("LoadBalancer", "ClientIP", "Local"))
        inside = render(**of_file("nodeport"))["Service", "weever"]["spec"]
        self.assertEqual((inside["type"], "externalTrafficPolicy" in inside), ("ClusterIP", False))

    def test_the_policy_lets_media_in_and_strangers_not_to_the_private_api(self):
        policy = render(**of_file("nodeport"))["NetworkPolicy", "weever"]["spec"]["ingress"]
        media = policy[0]["ports"][1]
        self.assertEqual((media["port"], media["endPort"], media["protocol"]), (31000, 31011, "UDP"))
        private = [rule for rule in policy if any(port["port"] == "private" for port in rule["ports"])]
        self.assertEqual([bool(rule["from"]) for rule in private], [True])


class Cluster(unittest.TestCase):
    def test_redis_and_nats_are_those_of_the_secret(self):
        with tempfile.TemporaryDirectory() as directory:
            with chart() as loaded:
                notes = loaded.render({}, name="live", namespace="media")["weever/templates/NOTES.txt"]
            hosts = re.search(r"make-secrets secrets (.*)", notes).group(1).split()
            made = secrets(directory, *hosts)
        objects = render("live")
        service = objects["Service", re.search(r"@([\w-]+):6379", made["redis.url"]).group(1)]
        self.assertEqual(service["spec"]["ports"][0]["port"], 6379)
        nats = objects["StatefulSet", "live-nats"]["spec"]
        names = [f"live-nats-{at}.{nats['serviceName']}" for at in range(nats["replicas"])]
        self.assertEqual(re.findall(r"@([\w.-]+):4222", made["nats.url"]), names)
        self.assertEqual(re.findall(r"@([\w.-]+):6222", made["nats.conf"]), names)
        # Asked from within, where it is told to listen.
        probe = container(objects, "live-nats")["readinessProbe"]["exec"]["command"][-1]
        self.assertIn(f'http: "{probe.split("/")[2]}"', made["nats.conf"])
        keys = {
            item["key"]
            for (kind, _), found in objects.items()
            if kind in ("StatefulSet", "Deployment")
            for volume in found["spec"]["template"]["spec"]["volumes"]
            for item in volume.get("secret", {}).get("items", [])
        }
        self.assertEqual(keys, set(made))

    def test_existing_ones_bring_none(self):
        objects = render(**of_file("existing"))
        self.assertFalse([name for name in objects if "redis" in name[1] or "nats" in name[1]])
        self.assertEqual(environment(objects)["REDIS_PREFIX"], "live")
        self.assertEqual(environment(objects)["NATS_CREDENTIALS"], "/etc/weever/cluster/nats.creds")

    def test_one_pod_is_alone(self):
        objects = render(**of_file("single"))
        self.assertEqual({kind for kind, _ in objects}, {"StatefulSet", "Service"})
        self.assertFalse([name for name in environment(objects) if "REDIS" in name or "NATS" in name])

    def test_scales_by_load_and_shrinks_slowly(self):
        objects = render(**of_file("everything"))
        self.assertNotIn("replicas", objects["StatefulSet", "weever"]["spec"])
        spec = objects["HorizontalPodAutoscaler", "weever"]["spec"]
        self.assertEqual((spec["minReplicas"], spec["maxReplicas"]), (2, 6))
        metric = spec["metrics"][0]["pods"]["metric"]["name"]
        self.assertIn(metric, (DEPLOY / "grafana/weever.json").read_text(), "a metric that Weever has")
        self.assertIn(metric, (CHART / "README.md").read_text())
        shrinks = spec["behavior"]["scaleDown"]["policies"][0]
        self.assertGreater(shrinks["periodSeconds"], pod(objects)["terminationGracePeriodSeconds"])
        self.assertEqual(objects["PodDisruptionBudget", "weever"]["spec"]["maxUnavailable"], 1)

    def test_prometheus_gets_the_alerts_and_the_job_they_name(self):
        objects = render(**of_file("everything"))
        alerts = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())
        self.assertEqual(objects["PrometheusRule", "weever"]["spec"], alerts)
        spec = objects["ServiceMonitor", "weever"]["spec"]
        watched = objects["Service", "weever-pods"]
        self.assertLessEqual(spec["selector"]["matchLabels"].items(), watched["metadata"]["labels"].items())
        self.assertEqual(spec["endpoints"][0]["port"], watched["spec"]["ports"][0]["name"])
        self.assertIn(f'job="{watched["metadata"]["labels"][spec["jobLabel"]]}"', json.dumps(alerts).replace('\\"', '"'))


class Refused(unittest.TestCase):
    def test_by_the_schema(self):
        for values, where in [
            ({"replicas": 0}, "replicas"),
            ({"replicas": "3"}, "replicas"),
            ({"replica": 3}, "replica"),
            ({"udp": {"reach": "loadBalancer"}}, "reach"),
            ({"udp": {"port": 80}}, "port"),
            ({"udp": {"publicIps": ["example.org"]}}, "publicIps"),
            ({"signalling": {"service": {"type": "ExternalName"}}}, "type"),
            ({"signalling": {"advertiseUrl": "node1:8443"}}, "advertiseUrl"),
            ({"settings": {"max_sessions": 5}}, "max_sessions"),
            ({"settings": {"turn-password": "hunter2"}}, "turn-password"),
            ({"secretSettings": {"turn-password": {"name": "turn"}}}, "turn-password"),
            ({"global": {"clusterSecret": ""}}, "clusterSecret"),
            ({"cluster": {"natsPrefix": "a.b *"}}, "natsPrefix"),
            ({"autoscaling": {"targetAverage": "60%"}}, "targetAverage"),
            ({"nats": {"replicas": 0}}, "nats"),
            ({"redis": {"persistence": True}}, "redis"),
            ({"seccompProfile": {"type": "Docker"}}, "seccompProfile"),
        ]:
            with chart() as loaded, self.subTest(values):
                with self.assertRaisesRegex(helm.HelmError, where):
                    loaded.validate_schema(values)

    def test_because_it_can_not_work(self):
        for values, why in [
            ({"cluster": {"enabled": False}}, "several pods need cluster.enabled"),
            (of_file("single") | {"nats": {"enabled": True}}, "nobody uses Redis and NATS"),
            ({"udp": {"reach": "nodePort", "port": 32764}}, "32764 to 32769"),
            ({"udp": {"reach": "nodePort", "port": 8443}}, "node ports 8443"),
            ({"udp": {"reach": "nodePort"}, "private": {"host": "127.0.0.1"}}, "private.host"),
            ({"serviceMonitor": {"enabled": True}}, "serviceMonitor"),
            ({"networkPolicy": {"enabled": True}}, "networkPolicy"),
            ({"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}, "minReplicas"),
        ]:
            with self.subTest(values), self.assertRaisesRegex(helm.HelmRenderError, re.escape(why)):
                render(**values)


class Alerts(unittest.TestCase):
    def test_are_rules_that_prometheus_takes(self):
        spec = render(**of_file("everything"))["PrometheusRule", "weever"]["spec"]
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            yaml.safe_dump(spec, file)
            file.flush()
            done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
