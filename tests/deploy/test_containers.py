"""The container files against their linters, against each other, and against the programs.

No container is built here: problems that a build would show first (a missing copy, an unknown variable, an unneeded
package) are checked in the files.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from openai_frontend import __version__
from openai_frontend.settings import Settings
from speech_protocol.models import QWEN3_TTS, QWEN3_TTS_CUSTOM_VOICE

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = ("Dockerfile.triton", "Dockerfile.triton-cpu", "Dockerfile.frontend")
COMPOSE_FILES = ("docker-compose.yml", "docker-compose.cpu.yml")
TRITON_ARGUMENTS = [
    "--model-repository=/opt/speech/model_repository",
    "--model-control-mode=explicit",
    "--strict-readiness=false",
    "--model-load-thread-count=16",
    "--disable-auto-complete-config",
    "--allow-grpc=false",
    "--http-port=8000",
    "--metrics-port=8002",
    "--exit-timeout-secs=30",
]


class ComposeLoader(yaml.SafeLoader):
    """YAML with Docker Compose's `!reset`, which removes what an earlier file said, and `!override`, which replaces
    it."""


ComposeLoader.add_constructor("!reset", lambda loader, node: None)
ComposeLoader.add_constructor("!override", lambda loader, node: loader.construct_mapping(node, deep=True))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    return yaml.load(read(name), ComposeLoader)


def service(name: str) -> dict[str, Any]:
    return compose()["services"][name]


def run_tool(name: str, *arguments: str, stdin: str | None = None) -> None:
    command = [str(Path(sys.executable).parent / name), *arguments]
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def instruction(dockerfile: str, keyword: str) -> list[str]:
    """The arguments of every `keyword` instruction, continuation lines joined."""
    joined = read(dockerfile).replace("\\\n", " ")
    return re.findall(rf"^{keyword} +(.+)$", joined, re.MULTILINE)


def pins(requirements: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", read(f"requirements/{requirements}"), re.MULTILINE))


def project() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))["project"]


def documented_variables() -> dict[str, str | None]:
    """Name to default in .env.example; None if the program has the default."""
    found = re.findall(r"^(# )?([A-Z][A-Z0-9_]*)=(.*)$", read(".env.example"), re.MULTILINE)
    return {name: None if comment else value for comment, name, value in found}


def compose_variables() -> dict[str, str | None]:
    """Name to default of every variable that docker-compose.yml takes from .env."""
    text = "\n".join(line for line in read("docker-compose.yml").splitlines() if not line.lstrip().startswith("#"))
    variables: dict[str, str | None] = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", text))
    for each in compose()["services"].values():
        variables |= {name: None for name, value in each.get("environment", {}).items() if value is None}
    return variables


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration.removesuffix("s"))


# Linters


def test_hadolint_has_nothing_to_say_about_the_dockerfiles() -> None:
    run_tool("hadolint", *DOCKERFILES)


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_a_compose_file_follows_the_compose_specification(name: str) -> None:
    run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "-", stdin=json.dumps(compose(name)))


def test_yamllint_has_nothing_to_say_about_the_compose_files() -> None:
    run_tool("yamllint", "--strict", *COMPOSE_FILES, ".yamllint")


# Settings


def test_every_variable_of_compose_is_in_the_example_and_vice_versa_with_the_same_default() -> None:
    assert documented_variables() == compose_variables()


def test_every_setting_of_the_frontend_can_be_set_in_the_env_file() -> None:
    settings = {name.upper() for name in Settings.model_fields} - {"HOST", "PORT", "TRITON_URL"}
    assert settings <= set(service("frontend")["environment"])


def test_the_variables_of_the_single_file_server_keep_their_names_and_its_port_stays() -> None:
    variables = documented_variables()
    for name in ("idle_timeout", "request_timeout"):
        assert f"\n# {name.upper()}={Settings.model_fields[name].default}\n" in read(".env.example")
    assert variables["MODEL_ID"] == QWEN3_TTS_CUSTOM_VOICE.default_checkpoint
    assert f"MODEL_ID={QWEN3_TTS_CUSTOM_VOICE.default_checkpoint}" in instruction("Dockerfile.triton", "ENV")[0]
    assert variables["HOST_PORT"] == str(Settings.model_fields["port"].default) == "8101"
    assert service("frontend")["ports"] == ["${HOST_ADDRESS:-127.0.0.1}:${HOST_PORT:-8101}:8101"]


def test_both_containers_read_the_same_checkpoint_variables() -> None:
    triton, frontend = service("triton")["environment"], service("frontend")["environment"]
    assert {name: frontend[name] for name in frontend if name.endswith("MODEL_ID")} == {
        name: triton[name] for name in triton if name.endswith("MODEL_ID")
    }


def test_the_cpu_override_takes_the_gpu_away_and_makes_the_embedded_voice_the_default() -> None:
    services = compose("docker-compose.cpu.yml")["services"]
    assert services["triton"]["deploy"] is None
    assert services["triton"]["build"] == {"context": ".", "dockerfile": "Dockerfile.triton-cpu"}
    assert services["triton"]["image"] != service("triton")["image"]
    environment = services["frontend"]["environment"]
    assert environment["DEFAULT_MODEL"] == "hibari"
    assert json.loads(environment["UNAVAILABLE_MODELS"]).keys() == {spec.name for spec in QWEN3_TTS}


# Isolation


@pytest.mark.parametrize("name", ["triton", "frontend"])
def test_a_container_runs_without_privileges_on_a_read_only_file_system(name: str) -> None:
    each = service(name)
    assert each["read_only"] is True
    assert each["cap_drop"] == ["ALL"]
    assert each["security_opt"] == ["no-new-privileges:true"]
    assert each["restart"] == "unless-stopped"
    assert instruction(f"Dockerfile.{name}", "USER")[-1] == "1000:1000"


def test_the_one_shot_service_owns_every_folder_that_the_others_write_and_is_done_before_they_start() -> None:
    folders = service("folders")
    own = {volume.split(":")[1]: volume.split(":")[0] for volume in folders["volumes"]}
    for name in ("triton", "frontend"):
        for source, target, *mode in (volume.split(":") for volume in service(name)["volumes"]):
            assert mode == ["ro"] or own[target] == source
    script, user, *targets = folders["command"]
    assert targets == list(own)
    assert instruction("Dockerfile.triton", "USER") == [f"{user}:{user}"]
    assert any(line.endswith(f"deploy/own-folders.sh {script}") for line in instruction("Dockerfile.frontend", "COPY"))
    assert service("triton")["depends_on"] == {"folders": {"condition": "service_completed_successfully"}}
    # Root, with the required capabilities and nothing else: no network, no other capability, no second run.
    assert folders["user"] == "0:0"
    assert folders["cap_drop"] == ["ALL"]
    assert set(folders["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
    assert folders["network_mode"] == "none"
    assert folders["restart"] == "no"


def test_stored_voices_are_on_a_volume_that_only_the_containers_user_may_write_and_read() -> None:
    folder = service("frontend")["environment"]["VOICES_FOLDER"]
    assert f"voices:{folder}" in service("frontend")["volumes"]
    assert "voices" in compose()["volumes"]
    assert any(f"VOICES_FOLDER={folder}" in each for each in instruction("Dockerfile.frontend", "ENV"))
    # The image's user owns the folder from which an empty volume is initialised.
    made = f"install --directory --owner=1000 --group=1000 --mode=0700 {folder}"
    assert any(each.endswith(made) for each in instruction("Dockerfile.frontend", "RUN"))
    assert instruction("Dockerfile.frontend", "USER")[-1] == "1000:1000"
    assert all(not each.startswith("voices:") for each in service("triton")["volumes"])


def test_triton_is_reachable_from_the_frontend_only() -> None:
    triton = service("triton")
    assert "ports" not in triton
    assert "network_mode" not in triton
    assert service("frontend")["environment"]["TRITON_URL"] == "http://triton:8000"


def test_the_service_is_published_on_this_machine_only_by_default() -> None:
    assert documented_variables()["HOST_ADDRESS"] == "127.0.0.1"


def test_the_build_context_is_a_list_of_what_is_copied_and_holds_neither_weights_nor_secrets() -> None:
    rules = [line for line in read(".dockerignore").splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {Path(rule.strip("!/")).parts[0] for rule in rules if rule.startswith("!")}
    copies = [line for name in DOCKERFILES for line in instruction(name, "COPY") if "--from=" not in line]
    words = (word for line in copies for word in line.split()[:-1] if not word.startswith("--"))
    assert {Path(word).parts[0] for word in words} == allowed


# Start, health, stop


def test_tritonserver_is_process_one_with_the_arguments_the_service_relies_on() -> None:
    script = "deploy/entrypoint-triton.sh"
    for name in ("Dockerfile.triton", "Dockerfile.triton-cpu"):
        (entrypoint,) = json.loads(instruction(name, "ENTRYPOINT")[0])
        assert any(line.endswith(f"{script} {entrypoint}") for line in instruction(name, "COPY"))
    # `exec`: SIGTERM reaches the supervisor, which passes it on. What it is called with: test_entrypoint.py.
    assert "exec python3 -m triton_supervisor tritonserver" in read(script)


def test_the_frontend_starts_as_a_console_script_without_a_shell() -> None:
    [script] = json.loads(instruction("Dockerfile.frontend", "CMD")[0])
    assert project()["scripts"][script] == "openai_frontend.__main__:main"


@pytest.mark.parametrize(
    ("name", "path"),
    [("triton", ":8000/v2/health/live"), ("triton-cpu", ":8000/v2/health/live"), ("frontend", "/health")],
)
def test_the_image_and_compose_ask_for_health_in_the_same_way(name: str, path: str) -> None:
    _, _, command = instruction(f"Dockerfile.{name}", "HEALTHCHECK")[0].partition("CMD ")
    of_cpu = compose("docker-compose.cpu.yml")["services"]["triton"]
    assert (of_cpu if name == "triton-cpu" else service(name))["healthcheck"]["test"] == ["CMD", *json.loads(command)]
    assert path in command


def test_the_frontend_waits_until_triton_is_live() -> None:
    assert service("frontend")["depends_on"] == {"triton": {"condition": "service_healthy"}}


def test_docker_waits_longer_for_the_end_than_triton_does() -> None:
    exit_timeout = next(each for each in TRITON_ARGUMENTS if each.startswith("--exit-timeout-secs="))
    assert seconds(service("triton")["stop_grace_period"]) > int(exit_timeout.partition("=")[2])


# Images


def test_nothing_in_the_triton_image_that_a_model_is_loaded_from_can_be_written() -> None:
    for name, count in (("Dockerfile.triton", 6), ("Dockerfile.triton-cpu", 7)):
        copies = [
            line for line in instruction(name, "COPY") if not re.search("requirements|--from=|^local_stack", line)
        ]
        assert len(copies) == count
        assert all(line.startswith("--chown=root:root --chmod=0555 ") for line in copies)


def test_the_triton_image_has_every_package_that_its_engines_import() -> None:
    copied = {line.split()[2] for line in instruction("Dockerfile.triton", "COPY") if "--chmod" in line}
    sources = "".join(path.read_text() for path in (ROOT / "speech_engines").rglob("*.py"))
    ours = set(re.findall(r"^(?:from|import) (speech_\w+)", sources, re.MULTILINE))
    assert ours == {"speech_engines", "speech_protocol", "speech_text"} <= copied


def test_the_images_carry_the_version_of_the_project() -> None:
    for name in DOCKERFILES:
        assert f"VERSION={__version__}" in instruction(name, "ARG")


@pytest.mark.parametrize("name", ["Dockerfile.frontend", "Dockerfile.triton-cpu"])
def test_an_image_has_the_python_that_its_requirements_are_compiled_for(name: str) -> None:
    (tag,) = (each for each in instruction(name, "ARG") if each.startswith("PYTHON_TAG="))
    assert tag.startswith("PYTHON_TAG=3.12.")


# Requirements

HASHES = r"( \\\n    --hash=sha256:[0-9a-f]{64})+\n"


@pytest.mark.parametrize("name", ["triton-image.txt", "triton-cpu-image.txt", "frontend-image.txt"])
def test_a_compiled_requirement_file_is_exact_pins_and_names_no_registry(name: str) -> None:
    assert re.fullmatch(rf"([a-z0-9-]+==[a-z0-9.+]+{HASHES})+", read(f"requirements/{name}"))


@pytest.mark.parametrize("file", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda file: file.name)
def test_every_pinned_package_is_listed_by_the_hashes_of_its_files(file: Path) -> None:
    assert re.fullmatch(rf"([a-z0-9-]+(\[[a-z0-9,-]+\])?==[a-z0-9.+]+( ; [^\\\n]+)?{HASHES})+", file.read_text())


def test_what_has_no_hash_is_not_installed(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("pip-audit==0.0.1\n")
    command = ["sh", str(ROOT / "requirements/install.sh"), sys.prefix, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "--require-hashes" in done.stderr


def test_the_images_install_nothing_without_its_hash() -> None:
    for dockerfile in DOCKERFILES:
        commands = " ".join(instruction(dockerfile, "RUN"))
        for command in re.findall(r"pip (?:--python=\S+ )?install [^&]+", commands):
            assert "--require-hashes" in command or "--no-index" in command


def test_the_triton_image_installs_the_engines_and_neither_another_triton_nor_a_web_framework() -> None:
    installed = set(pins("triton-image.txt"))
    assert {"hibari-tts", "numpy", "qwen-tts", "torch", "torchaudio"} <= installed
    assert not installed & {"nvidia-pytriton", "tritonclient", "fastapi", "uvicorn", "aiohttp", "pydantic", "gradio"}


def test_the_cpu_image_has_the_embedded_voice_and_the_triton_of_the_tests_and_nothing_of_cuda() -> None:
    installed, tested = pins("triton-cpu-image.txt"), pins("dev.txt")
    assert {"hibari-tts", "nvidia-pytriton", "onnxruntime"} <= set(installed)
    assert installed.items() <= tested.items()
    # What the others of nvidia are, CUDA is.
    assert not [name for name in installed if name.startswith(("nvidia-cu", "cuda")) or name in {"torch", "triton"}]


def test_the_triton_image_pins_what_the_extras_of_the_project_pin() -> None:
    extras = project()["optional-dependencies"]
    pinned = {each for name in ("embedded", "qwen") for each in extras[name] if "==" in each}
    asked = {line for line in read("requirements/triton-image.in").splitlines() if "==" in line}
    assert asked == {each for each in pinned if not each.startswith("nvidia-pytriton")}
    assert asked <= {f"{name}=={version}" for name, version in pins("triton-image.txt").items()}


def test_the_frontend_image_has_every_dependency_of_the_project_and_no_torch() -> None:
    installed = pins("frontend-image.txt")
    for each in map(Requirement, project()["dependencies"]):
        if each.marker and not each.marker.evaluate({"python_version": "3.12"}):
            continue
        assert each.specifier.contains(installed[each.name])
    assert not set(installed) & {"torch", "torchaudio", "qwen-tts", "hibari-tts", "nvidia-pytriton"}


@pytest.mark.parametrize("image", ["frontend", "triton", "triton-cpu"])
def test_the_bill_of_materials_has_every_pinned_package_of_an_image(image: str, tmp_path: Path) -> None:
    pins = ROOT / f"requirements/{image}-image.txt"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(pins), "--output-file", str(tmp_path / "bill")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    components = json.loads((tmp_path / "bill").read_text())["components"]
    found = {(each["name"].lower(), each["version"]) for each in components}
    assert set(re.findall(r"^([a-z0-9-]+)==([^ ]+)", pins.read_text(), re.MULTILINE)) == found


def test_weights_are_in_the_triton_image_only_where_a_build_argument_names_them() -> None:
    text = read("Dockerfile.triton")
    assert 'ARG WEIGHTS=""' in text
    assert 'if [ -n "$WEIGHTS" ]' in text
