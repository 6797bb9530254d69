"""Checks the served packages against the database of known vulnerabilities; part of `make check`.

Exits with 1 if a pinned package has one. If the database is unreachable, it prints a message and exits with 0.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SERVED = ("qwen.txt", "frontend-image.txt", "triton-image.txt", "triton-cpu-image.txt")
TIMEOUT_S = 180


def main() -> None:
    folder = Path(__file__).parent
    files = [word for name in SERVED for word in ("--requirement", str(folder / name))]
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = ["pip-audit", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*command, f"--output={report}", *files], capture_output=True, timeout=TIMEOUT_S)
        packages = json.loads(report.read_text())["dependencies"] if report.exists() else []
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        print("pip-audit: its database is unreachable, nothing was audited")
        return
    weak = [package for package in audited if package["vulns"]]
    for package in weak:
        ids = ", ".join(weakness["id"] for weakness in package["vulns"])
        print(f"{package['name']} {package['version']}: {ids}", file=sys.stderr)
    print(f"pip-audit: {len(audited)} of {len(packages)} packages audited, {len(weak)} with known weaknesses")
    sys.exit(bool(weak))


if __name__ == "__main__":
    main()
