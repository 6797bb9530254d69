"""Every overlay of deploy/kubernetes, rendered, and validated against the schemas and the code."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from openai_frontend.observability.metrics import Metrics
from openai_frontend.settings import Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
VERSION = "1.33"
CRDS = {"keda.sh", "gateway.networking.k8s.io", "monitoring.coreos.com", "gateway.envoyproxy.io"}
PACKAGES = ("keda@2.0.0", "gateway-api@2.0.0", "prometheus-operator@6.0.0")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifests, with the secrets that an operator would have written."""
    folder = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    shutil.copytree(KUBERNETES, folder)
    shutil.copy(folder / "base/secret.env.example", folder / "base/secret.env")
    return folder


def render(tree: Path, overlay: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send. Skips if there is no kubectl that knows this kustomization."""
    if not _has_kubectl():
        pytest.skip("needs kubectl 1.27 or newer")
    command = ["kubectl", "kustomize", str(tree / "overlays" / overlay)]
    rendered = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert rendered.returncode == 0, rendered.stderr
    return list(yaml.safe_load_all(rendered.stdout))


@cache
def _has_kubectl() -> bool:
    if shutil.which("kubectl") is None:
        return False
    command = ["kubectl", "version", "--client", "--output=json"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return told.returncode == 0 and int(json.loads(told.stdout)["clientVersion"]["minor"].rstrip("+")) >= 27


@cache
def sources() -> list[tuple[str, dict[str, Any]]]:
    """Every resource as it is written, without what kustomize adds: these are checked on any machine."""
    return [
        (str(file.relative_to(KUBERNETES)), document)
        for file in sorted(KUBERNETES.rglob("*.yaml"))
        if file.name != "kustomization.yaml"
        for document in yaml.safe_load_all(file.read_text())
    ]


def check(document: dict[str, Any]) -> None:
    """Strictly: an unknown field is an error. Raises ValidationError."""
    import kubernetes_validate  # takes a second, in each of the parallel processes if it were imported above

    if document["apiVersion"].split("/")[0] not in CRDS:
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize(("file", "document"), sources(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_manifest_is_one_that_kubernetes_knows(file: str, document: dict[str, Any]) -> None:
    check(document)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_renders_to_what_kubernetes_knows(tree: Path, overlay: str) -> None:
    documents = render(tree, overlay)
    for document in documents:
        check(document)
        assert document["metadata"]["namespace"] == "speech"
    kinds = {document["kind"] for document in documents}
    assert {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "Secret", "ConfigMap"} <= kinds


def test_an_unknown_field_does_not_pass() -> None:
    import kubernetes_validate

    _, document = next(each for each in sources() if each[1]["kind"] == "Service")
    with pytest.raises(kubernetes_validate.ValidationError):
        check({**document, "spec": {**document["spec"], "prots": []}})


def test_resources_of_other_projects_are_as_their_schemas_say(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs Node.js and npm")
    packages = [f"@kubernetes-models/{name}" for name in PACKAGES]
    (tmp_path / "package.json").write_text("{}")
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent", "--prefix", str(tmp_path)]
    subprocess.run([*command, *packages], check=True, capture_output=True, timeout=180)
    groups = CRDS - {"gateway.envoyproxy.io"}  # which publishes none there
    theirs = [document for _, document in sources() if document["apiVersion"].split("/")[0] in groups]
    kinds = {document["kind"] for document in theirs}
    assert kinds == {"HTTPRoute", "ScaledObject", "ServiceMonitor", "PrometheusRule"}
    script = Path(__file__).with_name("crds.mjs")

    def complaints(documents: list[dict[str, Any]]) -> str:
        command = [node or "", str(script), str(tmp_path)]
        return subprocess.run(command, input=json.dumps(documents), capture_output=True, text=True, check=True).stdout

    assert complaints(theirs) == ""
    assert "ScaledObject" in complaints([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "spec": {}}])


def pods() -> Iterator[dict[str, Any]]:
    for _, document in sources():
        if document["kind"] == "Deployment":
            yield document["spec"]["template"]["spec"]


def test_every_container_is_hardened_and_no_pod_has_a_token() -> None:
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_streams_have_their_time_before_a_pod_is_killed() -> None:
    lines = (KUBERNETES / "base/settings.env").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line)
    for pod in pods():
        waits = [int(each["lifecycle"]["preStop"]["exec"]["command"][1]) for each in pod["containers"]]
        grace_s = pod["terminationGracePeriodSeconds"]
        assert all(wait < grace_s for wait in waits)
        frontends = [wait for wait, each in zip(waits, pod["containers"], strict=True) if each["name"] == "frontend"]
        for wait in frontends:
            assert wait + int(settings["STOP_TIMEOUT"]) < grace_s
            # Triton goes on until the frontend is done.
            assert max(waits) > wait + int(settings["STOP_TIMEOUT"]) or len(waits) == 1


def test_only_the_frontend_can_reach_triton(tree: Path) -> None:
    for overlay in ("single-gpu", "fleet"):
        documents = render(tree, overlay)
        for document in documents:
            if document["kind"] == "Service":
                assert 8000 not in {port["port"] for port in document["spec"]["ports"]}
        [policy] = [document for document in documents if document["kind"] == "NetworkPolicy"]
        assert 8000 not in {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}


def test_every_setting_is_one_of_ours_and_every_figure_that_scales_is_there(tree: Path) -> None:
    known = {name.upper() for name in Settings.model_fields} | {"HF_HOME", "MODEL_ID"}
    for _, document in sources():
        text = json.dumps(document)
        for metric in re.findall(r"\btts_\w+", text) if document["kind"] == "ScaledObject" else ():
            assert f"# HELP {metric} " in Metrics().expose().decode()
        if document["kind"] == "Deployment":
            for container in document["spec"]["template"]["spec"]["containers"]:
                assert {each["name"] for each in container["env"]} <= known
    for overlay in OVERLAYS:
        for document in render(tree, overlay):
            if document["kind"] == "ConfigMap":
                assert set(document["data"]) <= known
                settings = {name.lower(): value for name, value in document["data"].items()}
                Settings(**{name: value for name, value in settings.items() if name in Settings.model_fields})


def test_the_rules_are_those_that_prometheus_was_tested_with() -> None:
    [rule] = [document for _, document in sources() if document["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())


def test_scaled_to_zero_the_frontend_stays_and_reaches_triton_over_its_service(tree: Path) -> None:
    deployments = {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]["containers"]
        for document in render(tree, "scale-to-zero")
        if document["kind"] == "Deployment"
    }
    [frontend], [triton] = deployments["speech"], deployments["triton"]
    assert (frontend["name"], triton["name"]) == ("frontend", "triton")
    assert {"name": "TRITON_URL", "value": "http://triton:8000"} in frontend["env"]
    assert frontend["readinessProbe"]["httpGet"]["path"] == "/live"
    assert "nvidia.com/gpu" not in frontend["resources"]["limits"]
