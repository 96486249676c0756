"""What an operator watches: a real Prometheus is asked everything that dashboard and alerts ask; the log as JSON."""

import asyncio
import contextlib
import json
import math
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from .loadgen_scenarios import LOADGEN, loadgen
from .peers import until
from .scenario import scenario
from .server import OUTPUT, ROOT, free_tcp_port

sys.path.insert(0, str(ROOT / "deploy" / "grafana"))
from panels import Prometheus, dashboard, panels, variables  # noqa: E402

RULES = ROOT / "deploy" / "prometheus"
OFFER = ROOT / "controlplane" / "tests" / "sdp" / "clients" / "obs.sdp"
PATIENCE = 60
VIEWERS = 3
# A name that the seed gave, and that clients rely on.
LINT = 'sfu_pod_peer_count non-histogram and non-summary metrics should not have "_count" suffix'
# Without a webhook nothing is called, and without NATS nothing is relayed.
EMPTY = {"Webhooks", "Relayed packets", "Relay: delay", "Relay: lost and dropped", "Relay: tracks and connection", "Relay: bytes",
         "Relay: CPU"}


def promtool(*arguments, text=None):
    """Its exit code and all that it says."""
    done = subprocess.run(["promtool", *arguments], cwd=RULES, input=text, text=True, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


@asynccontextmanager
async def prometheus(target):
    """Scrapes `target` once a second; gives its API."""
    port = free_tcp_port()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="weever-prometheus-") as folder:
        config = Path(folder) / "prometheus.yml"
        text = (RULES / "prometheus.yml").read_text()
        for old, new in (("15s", "1s"), ("localhost:9443", target), ("alerts.yml", str(RULES / "alerts.yml"))):
            assert old in text, f"the sample has no {old} any more"
            text = text.replace(old, new)
        config.write_text(text)
        with open(OUTPUT / "prometheus.log", "wb") as log:
            process = await asyncio.create_subprocess_exec(
                "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}", stdout=log, stderr=log)
        try:
            api = Prometheus(f"http://127.0.0.1:{port}")
            await until(lambda: scraped(api), lambda: f"no scrape yet; see {OUTPUT}/prometheus.log", PATIENCE)
            yield api
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


def scraped(api):
    if not api.ready():
        return False
    try:
        return any(one["value"][1] == "1" for one in api.instant('up{job="weever"}'))
    except OSError:
        return False


@asynccontextmanager
async def viewers(server):
    process = await asyncio.create_subprocess_exec(
        LOADGEN, "broadcast", "--server", f"http://127.0.0.1:{server.port}", "--room", "metrics", "--audio",
        "--viewers", str(VIEWERS), "--bitrate", "500", "--seconds", str(PATIENCE), "--json",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def without_data(api):
    """What the dashboard asks without an answer."""
    board, missing = dashboard(), []
    for panel in panels(board, "20s", "60s"):
        for query in panel.queries:
            values = [float(one["value"][1]) for one in api.instant(query.expression)]
            if panel.title not in EMPTY and not any(math.isfinite(value) for value in values):
                missing.append(f"{panel.title}: {query.expression}")
    for name, selector, label in variables(board):
        if not api.label_values(selector, label):
            missing.append(f"variable {name}: {selector}")
    return missing


def alerts(api):
    return [rule for group in api.get("rules")["groups"] for rule in group["rules"]]


@scenario(own=("--pod-name=e2e",), ios=("uring",))
async def prometheus_answers_the_dashboard_and_the_alerts(server, note):
    """Each panel has data, each alert can be evaluated and is quiet, and promtool has nothing to say about names."""
    async with prometheus(f"127.0.0.1:{server.private_port}") as api:
        answer = await server.public("POST", "/pub/metrics/nonsense", "nonsense", {"Content-Type": "application/sdp"})
        assert answer.status == 400, answer
        gone = await server.public("POST", "/pub/metrics/gone", OFFER.read_text(), {"Content-Type": "application/sdp"})
        assert gone.status == 201, gone
        assert (await server.public("DELETE", gone.header("location"))).status == 200
        async with viewers(server):
            missing = None
            for _ in range(PATIENCE):
                missing = await asyncio.to_thread(without_data, api)
                if not missing:
                    break
                await asyncio.sleep(1)
            assert not missing, "no data for\n" + "\n".join(missing)
            await until(lambda: all(rule["health"] == "ok" for rule in alerts(api)),
                        lambda: [(rule["name"], rule["health"], rule.get("lastError")) for rule in alerts(api)], PATIENCE)
            loud = [(rule["name"], rule["state"]) for rule in alerts(api) if rule["state"] == "firing"]
            assert not loud, f"a healthy server raises {loud}"
            text = (await server.private("GET", "/metrics")).text
        code, said = promtool("check", "metrics", text=text)
        assert said == LINT, f"promtool check metrics ({code}): {said}"
        peers = [one for one in api.instant('sfu_pod_peer_count{room="metrics",type="sub"}[60s]')[0]["values"]]
        assert max(int(value) for _, value in peers) == VIEWERS, peers
        # Who is gone leaves no series behind.
        await server.private("DELETE", "/rooms/metrics")
        await until(lambda: not api.instant('sfu_pod_peer_count{room="metrics"}'), lambda: "the room is still shown", PATIENCE)
        note(f"{len(alerts(api))} alerts, {sum(len(panel.queries) for panel in panels(dashboard(), '20s', '60s'))} queries")


@scenario(own=(), ios=("uring",))
async def alerts_fire_when_they_should(server, note):
    """The alerts' own tests, with promtool; and an alert whose bound is moved fails them."""
    for arguments in (("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")):
        code, said = promtool(*arguments)
        assert code == 0 and "SUCCESS" in said, said
    with tempfile.TemporaryDirectory() as folder:
        for name in ("alerts.yml", "alerts_test.yml"):
            text = (RULES / name).read_text().replace("weever_worker_load_ratio > 0.97", "weever_worker_load_ratio > 0.7")
            (Path(folder) / name).write_text(text)
        code, said = promtool("test", "rules", f"{folder}/alerts_test.yml")
        assert code != 0 and "WeeverWorkerFull" in said, said
    note("promtool")


@scenario(own=("--log-format", "json"), ios=("uring",))
async def the_log_is_json_and_tells_each_join(server, note):
    """One object a line; a line for each join with its stages; no secret in it, however it came."""
    secret = {"Content-Type": "application/sdp", "Authorization": "Bearer hunter2-token"}
    assert (await server.public("POST", "/pub/log/nonsense", "nonsense", secret)).status == 400
    gone = await server.public("POST", "/pub/log/gone", OFFER.read_text(), secret)
    assert (await server.public("DELETE", gone.header("location"))).status == 200
    await loadgen("broadcast", "--server", f"http://127.0.0.1:{server.port}", "--room", "log", "--viewers", "2",
                  "--bitrate", "300", "--seconds", "2")
    await until(lambda: len(joins(server, "media")) == 3, lambda: joins(server), PATIENCE)
    for line in joins(server, "media"):
        stages = [line[f"{stage}_ms"] for stage in ("answer", "ice", "dtls", "media")]
        assert 0 < stages[0] and stages[1] <= stages[2] <= stages[3] < 60_000, line
        assert line["level"] == "INFO" and line["room"] == "log" and line["session"].startswith("s-"), line
    assert [line["outcome"] for line in joins(server)].count("left") == 1, joins(server)
    text = server.log_text()
    assert " INFO " not in text and "hunter2" not in text and gone.header("location").split("/")[-1] not in text
    note(f"{len(objects(server))} lines")


def objects(server):
    """The log's lines; the first are the command and the words of welcome."""
    return [json.loads(line) for line in server.log_text().splitlines() if line.startswith("{")]


def joins(server, outcome=None):
    return [line for line in objects(server)
            if line.get("message") == "join" and outcome in (None, line["outcome"])]
