"""A real Prometheus for tests: the installed one, or Debian's package, unpacked into a folder."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_stack.triton_process import free_port
from tests.support.locks import installing
from tests.support.waiting import eventually

_APT_TIMEOUT_S = 180
DEPLOY = Path(__file__).parents[2] / "deploy/prometheus"


def find_tools(folder: Path) -> Path:
    """The folder of `prometheus` and `promtool`. Skips the test if they are unavailable."""
    if found := shutil.which("prometheus"):
        return Path(found).parent
    folder.mkdir(parents=True, exist_ok=True)
    for arguments in (["download", "prometheus"], ["update"], ["download", "prometheus"]):
        try:
            with installing("apt"):
                subprocess.run(["apt-get", *arguments], cwd=folder, capture_output=True, timeout=_APT_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            break
        if packages := sorted(folder.glob("prometheus_*.deb")):
            subprocess.run(["dpkg", "-x", str(packages[0]), str(folder)], check=True)
            return folder / "usr/bin"
    pytest.skip("needs Prometheus: apt-get install prometheus")


class Prometheus:
    """A running one, asked over its API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression; AssertionError if it is not one."""
        reply = self._get("/api/v1/query", query=expression)
        assert reply["status"] == "success", reply
        return list(reply["data"]["result"])

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its health."""
        return [rule for group in self._get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {alert["metric"]["alertname"] for alert in self.query('ALERTS{alertstate="firing"}')}

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as reply:
                return dict(json.load(reply))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))


@contextmanager
def running(tools: Path, folder: Path, targets: dict[str, str]) -> Iterator[Prometheus]:
    """Prometheus with our own configuration and rules, but that each job has the target given here, that it looks every
    second, and that no alert waits."""
    configuration = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in configuration["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    rules = yaml.safe_load((DEPLOY / "rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    port = free_port()
    command = [
        *(str(tools / "prometheus"), f"--config.file={folder / 'prometheus.yml'}"),
        *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = Prometheus(f"http://127.0.0.1:{port}")
    try:
        eventually(lambda: _is_ready(found.url), "Prometheus is ready")
        yield found
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/-/ready", timeout=5).close()
    except OSError:
        return False
    return True
