"""The chart, rendered by helm itself and held against Kubernetes' schemas."""

import filecmp
import json
import tempfile
import unittest
from pathlib import Path

import kubernetes_validate
import yaml

from .tools import DEPLOY, helm, run, settings_hold

CHART = DEPLOY / "helm" / "weever"
KUBERNETES = ("1.28", "1.35")
# What the schemas don't know: operators' own kinds.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}
EXISTING = ("redis.enabled=false", "nats.enabled=false")
VARIANTS = {
    "as it comes": (),
    "node ports": ("media.mode=nodePort", "service.type=ClusterIP", "dataPlane.workers=4"),
    "pods' own addresses": ("media.mode=podIP", "media.publicIps={203.0.113.7}"),
    "scaling by load": ("autoscaling.enabled=true", "podDisruptionBudget.enabled=false"),
    "machines behind a NAT": ("media.publicIpOfMachine.worker-a=203.0.113.7", "media.publicIpOfMachine.worker-b=203.0.113.8"),
    "existing Redis and NATS": (*EXISTING, "cluster.existingSecret=mine", "redisCaSecret=a", "natsCaSecret=b", "natsCredentialsSecret=c"),
    "existing ones without a password": (*EXISTING, "existingRedisUrl=redis://r:6379", "existingNatsUrl=nats://a:4222\\,nats://b:4222"),
    "all that is optional": (
        "tls.existingSecret=cert", "advertiseUrl=https://$(POD_NAME).example.org", "networkPolicy.enabled=true",
        "networkPolicy.privateFrom[0].namespaceSelector.matchLabels.team=ops", "serviceMonitor.enabled=true", "prometheusRule.enabled=true",
        "extraSecrets={jwks}", "controlPlane.settings.auth=true", "controlPlane.settings.max-connections=20000",
        "dataPlane.settings.max-sessions=5000", "seccompProfile.type=Localhost", "seccompProfile.localhostProfile=profiles/weever.json",
        "podLabels.team=media", "podAnnotations.a=b", "priorityClassName=high", "nodeSelector.media=yes", "imagePullSecrets[0].name=pull"),
}


def rendered(values=(), status=0):
    sets = [word for value in values for word in ("--set", value)]
    told = run(helm(), "template", "live", CHART, "--namespace", "media", *sets, status=status)
    return told if status else [one for one in yaml.safe_load_all(told) if one]


def find(objects, kind, name="live-weever"):
    found = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}: {[(one['kind'], one['metadata']['name']) for one in objects]}"
    return found[0]


def planes(objects):
    pod = find(objects, "StatefulSet")["spec"]["template"]["spec"]
    return pod, {container["name"]: container for container in pod["containers"]}


def environment(container, folder):
    """What the plane finds, as the kubelet makes it; its files lie in a folder here."""
    fields = {"metadata.name": "live-weever-1", "metadata.labels['apps.kubernetes.io/pod-index']": "1", "spec.nodeName": "worker-a",
              "status.hostIP": "192.0.2.9"}
    told = {}
    for one in container["env"]:
        value = one["value"] if "value" in one else fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
        for name, known in told.items():
            value = value.replace(f"$({name})", known)
        told[one["name"]] = value.replace("/etc/weever", str(folder))
    for helper in ("POD_INDEX", "NODE_NAME", "HOST_IP"):
        told.pop(helper, None)
    # The name of the pod is no setting of a data plane, but what its name is made of.
    if container["name"] == "dataplane":
        told.pop("POD_NAME")
    return told


class Helm(unittest.TestCase):
    def test_lint(self):
        run(helm(), "lint", "--strict", CHART)

    def test_every_variant_is_what_kubernetes_takes(self):
        for about, values in VARIANTS.items():
            for one in rendered(values):
                for version in KUBERNETES:
                    with self.subTest(about, kind=one["kind"], version=version):
                        if one["kind"] not in FOREIGN:
                            kubernetes_validate.validate(one, version, strict=True)

    def test_the_validation_can_fail(self):
        one = find(rendered(), "StatefulSet")
        one["spec"]["replica"] = 3
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(one, KUBERNETES[-1], strict=True)

    def test_both_planes_take_their_environment(self):
        for about, values in VARIANTS.items():
            with self.subTest(about), tempfile.TemporaryDirectory() as folder:
                self.write_files(Path(folder))
                _, both = planes(rendered(values))
                for plane, container in both.items():
                    settings_hold(plane, environment(container, folder))
                    self.assertEqual(container["args"], [plane])

    def write_files(self, folder):
        certificate = folder / "certificate.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=x",
            "-keyout", folder / "key.pem", "-out", certificate)
        secret = find(rendered(), "Secret", "live-cluster")["stringData"]
        for place, text in {
            "cluster/redis-url": secret["redis-url"], "cluster/nats-url": secret["nats-url"], "cluster/relay-key": secret["relay-key"],
            "tls/tls.crt": certificate.read_text(), "tls/tls.key": (folder / "key.pem").read_text(),
            "redis-ca/ca.crt": certificate.read_text(), "nats-ca/ca.crt": certificate.read_text(),
            "machine.toml": find(rendered(VARIANTS["machines behind a NAT"]), "ConfigMap", "live-weever-machines")["data"]["worker-a.toml"],
        }.items():
            (folder / place).parent.mkdir(exist_ok=True)
            (folder / place).write_text(text)

    def test_a_drain_has_its_time_and_its_hook(self):
        pod, both = planes(rendered(("drainSeconds=120",)))
        self.assertEqual(pod["terminationGracePeriodSeconds"], 150)
        for container in both.values():
            self.assertIn({"name": "DRAIN_TIMEOUT", "value": "120"}, container["env"])
        self.assertEqual(both["controlplane"]["lifecycle"]["preStop"]["httpGet"]["path"], "/preStop")
        for probe, path in (("liveness", "/liveness"), ("readiness", "/readiness"), ("startup", "/liveness")):
            self.assertEqual(both["controlplane"][f"{probe}Probe"]["httpGet"], {"path": path, "port": "private"})

    def test_planes_share_a_socket_that_others_do_not_reach(self):
        pod, both = planes(rendered())
        for container in both.values():
            (socket,) = [one["value"] for one in container["env"] if one["name"] == "CONTROL_SOCKET"]
            (mount,) = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "run"]
            # Not in the volume's own directory, which everybody may write to.
            self.assertRegex(socket, rf"^{mount}/[a-z]+/control\.sock$")
            self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})
            self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])
        self.assertTrue(pod["securityContext"]["runAsNonRoot"])

    def test_node_ports_are_those_that_clients_are_told(self):
        objects = rendered(VARIANTS["node ports"])
        _, both = planes(objects)
        with tempfile.TemporaryDirectory() as folder:
            told = environment(both["dataplane"], folder)
        self.assertEqual((told["UDP_PORT"], told["WORKERS"], told["PUBLIC_IP"]), ("30100", "4", "192.0.2.9"))
        for index in range(3):
            service = find(objects, "Service", f"live-weever-media-{index}")["spec"]
            self.assertEqual(service["selector"], {"statefulset.kubernetes.io/pod-name": f"live-weever-{index}"})
            wanted = [30000 + 100 * index + worker for worker in range(4)]
            for field in ("port", "targetPort", "nodePort"):
                self.assertEqual([port[field] for port in service["ports"]], wanted)

    def test_host_network_publishes_every_workers_port(self):
        pod, both = planes(rendered(("dataPlane.workers=3", "media.udpPort=9000")))
        self.assertTrue(pod["hostNetwork"])
        self.assertEqual([port["containerPort"] for port in both["dataplane"]["ports"]], [9000, 9001, 9002])

    def test_scaling_goes_by_load_and_leaves_the_number_alone(self):
        objects = rendered(VARIANTS["scaling by load"])
        self.assertNotIn("replicas", find(objects, "StatefulSet")["spec"])
        (metric,) = find(objects, "HorizontalPodAutoscaler")["spec"]["metrics"]
        self.assertEqual(metric["pods"]["metric"]["name"], "weever_worker_load")
        # The adapter's rule in the README makes that metric of one that Weever has.
        guide = (CHART / "README.md").read_text()
        self.assertIn("weever_worker_load_ratio", guide)
        self.assertIn("as: weever_worker_load\n", guide)

    def test_selectors_meet_the_pods(self):
        objects = rendered(VARIANTS["all that is optional"])
        labels = find(objects, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
        monitor = find(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
        selectors = [find(objects, "Service")["spec"]["selector"], find(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
                     find(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]]
        for selector in selectors:
            self.assertLessEqual(selector.items(), labels.items())
        self.assertLessEqual(monitor.items(), find(objects, "Service", "live-weever-nodes")["metadata"]["labels"].items())
        self.assertFalse(monitor.items() <= find(objects, "Service")["metadata"]["labels"].items(), "each pod would be asked twice")

    def test_alerts_are_the_same_as_without_kubernetes(self):
        self.assertTrue(filecmp.cmp(CHART / "files" / "alerts.yml", DEPLOY / "prometheus" / "alerts.yml", shallow=False),
                        "copy deploy/prometheus/alerts.yml to deploy/helm/weever/files/")
        rule = find(rendered(VARIANTS["all that is optional"]), "PrometheusRule")["spec"]
        self.assertEqual(rule, yaml.safe_load((CHART / "files" / "alerts.yml").read_text()))

    def test_redis_and_nats_are_there_or_not(self):
        names = {(one["kind"], one["metadata"]["name"]) for one in rendered()}
        self.assertLessEqual({("StatefulSet", "live-redis"), ("StatefulSet", "live-nats"), ("Secret", "live-cluster")}, names)
        names = {one["metadata"]["name"] for one in rendered(VARIANTS["existing Redis and NATS"])}
        self.assertFalse({"live-redis", "live-nats", "live-cluster"} & names)
        secret = find(rendered(VARIANTS["existing ones without a password"]), "Secret", "live-cluster")["stringData"]
        self.assertEqual((secret["redis-url"], secret["nats-url"]), ("redis://r:6379", "nats://a:4222,nats://b:4222"))

    def test_urls_name_the_services_that_there_are(self):
        objects = rendered()
        secret = find(objects, "Secret", "live-cluster")["stringData"]
        for key, name, port in (("redis-url", "live-redis", 6379), ("nats-url", "live-nats", 4222)):
            self.assertTrue(secret[key].endswith(f"@{name}:{port}"), secret[key])
            self.assertIn(port, [one["port"] for one in find(objects, "Service", name)["spec"]["ports"]])

    def test_mistakes_are_named(self):
        for values, told in [
            (("media.mode=tcp",), "'/media/mode'"), (("replcas=2",), "'replcas'"), (("replicas=0",), "/replicas"),
            (("dataPlane.settings.Max Sessions=1",), "Max Sessions"), (("media.mode=nodePort", "replicas=11"), "take hostNetwork"),
            (("redis.enabled=false",), "where Redis is"), (("nats.enabled=false",), "where NATS is"),
            (("media.publicIps={192.0.2.1}", "media.publicIpOfMachine.a=192.0.2.1"), "give one"),
        ]:
            with self.subTest(values):
                self.assertIn(told, rendered(values, status=1))

    def test_every_value_is_in_the_schema(self):
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        schema = json.loads((CHART / "values.schema.json").read_text())

        def compare(value, known, path):
            for key, inner in value.items():
                self.assertIn(key, known["properties"], f"{path}{key}")
                if isinstance(inner, dict) and "properties" in known["properties"][key] and key != "resources":
                    compare(inner, known["properties"][key], f"{path}{key}.")

        compare(values, schema, "")
        self.assertEqual(set(schema["properties"]) - {"global"}, set(values))
