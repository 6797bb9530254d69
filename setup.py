"""The packages of the wheel; everything else is in pyproject.toml.

`client` is named `triton_speech_client` there: other projects install a package of that name, too. Packages that are
not in the folder, as in an image's build, are left out."""

from pathlib import Path

from setuptools import find_packages, setup

NAMES = ("openai_frontend", "speech_client", "speech_engines", "speech_protocol", "speech_text", "triton_supervisor")
TOOLS = "triton_speech_client"

packages = find_packages(include=[pattern for name in NAMES for pattern in (name, f"{name}.*")])
if Path("client").is_dir():
    packages += [TOOLS, *(f"{TOOLS}.{name}" for name in find_packages("client"))]

setup(packages=packages, package_dir={TOOLS: "client"})
