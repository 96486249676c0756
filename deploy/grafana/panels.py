"""The dashboard as Grafana reads it: panels, variables, and what each asks Prometheus.

Used by `render`, which draws all panels without Grafana, and by the end-to-end tests, which ask a real Prometheus
every question of the dashboard.
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

DASHBOARD = Path(__file__).parent / "weever.json"
SECONDS = 30


@dataclass
class Query:
    expression: str
    legend: str
    instant: bool


@dataclass
class Panel:
    title: str
    kind: str
    place: dict
    defaults: dict
    queries: list
    source: dict


def dashboard(path=DASHBOARD):
    return json.loads(Path(path).read_text())


def panels(board, rate_interval, shown, chosen=None):
    """All panels that ask something or head a row. The times are Prometheus durations; chosen: values of variables."""
    values = {variable["name"]: variable.get("allValue") or ".*" for variable in board["templating"]["list"]}
    values |= chosen or {}
    values |= {"__rate_interval": rate_interval, "__range": shown}

    def fill(expression):
        return re.sub(r"\$\{?(\w+)\}?", lambda match: values[match[1]], expression)

    found = []
    for panel in board["panels"]:
        queries = [Query(fill(target["expr"]), target["legendFormat"], target["instant"])
                   for target in panel.get("targets", [])]
        found.append(Panel(panel["title"], panel["type"], panel["gridPos"],
                           panel.get("fieldConfig", {}).get("defaults", {}), queries, panel))
    return found


def variables(board):
    """(name, selector, label) of those that list a label's values; All stands for other variables."""
    found = []
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            found.append((variable["name"], re.sub(r"\$\w+", ".*", match[1]), match[2]))
    return found


class Prometheus:
    """Its HTTP API. `url` without a path."""

    def __init__(self, url):
        self.url = url.rstrip("/")

    def get(self, path, **parameters):
        request = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                body = json.load(answer)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{parameters}: {error.read().decode()}") from None
        return body["data"]

    def ready(self):
        """Not while it still starts: it listens then already, and answers 503 to everything."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=SECONDS):
                return True
        except OSError:
            return False

    def instant(self, expression, **more):
        return self.get("query", query=expression, **more)["result"]

    def range(self, expression, start, end, step):
        return self.get("query_range", query=expression, start=start, end=end, step=step)["result"]

    def label_values(self, selector, label):
        return sorted({series[label] for series in self.get("series", **{"match[]": selector}) if label in series})


def legend(query, labels):
    """What Grafana writes beside a series."""
    if not query.legend:
        rest = ", ".join(f"{key}={value}" for key, value in labels.items() if key != "__name__")
        return rest or "value"
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), query.legend)
