"""Checks the ports of `make serve` before anything else: `make` runs this file with any Python, before the
installation.

The standard library only, and nothing newer than Python 3.8.
"""

import os
import socket
import sys
from typing import Dict, List, Mapping, Tuple  # noqa: UP035 - see above

LOOPBACK = "127.0.0.1"
DEFAULTS = {"PORT": 8101, "TRITON_HTTP_PORT": 8000, "TRITON_METRICS_PORT": 8002}


def read_ports(environment: Mapping[str, str]) -> Tuple[Dict[str, int], List[str]]:  # noqa: UP006
    """Setting to port, for the valid ones; and a sentence for each invalid one, and for a port given twice."""
    ports: Dict[str, int] = {}  # noqa: UP006
    problems = []
    for name, default in DEFAULTS.items():
        text = environment.get(name) or str(default)
        if not (text.isdecimal() and 0 < int(text) < 65_536):
            problems.append(f"{name} is '{text}'; it must be a port, 1 to 65535.")
        elif int(text) in ports.values():
            other = next(each for each, port in ports.items() if port == int(text))
            problems.append(f"{name} and {other} are both {text}; each needs a port of its own.")
        else:
            ports[name] = int(text)
    return ports, problems


def check_ports(environment: Mapping[str, str]) -> List[str]:  # noqa: UP006
    """A sentence for each problem with the ports, including those in use."""
    ports, problems = read_ports(environment)
    for name, port in ports.items():
        host = (environment.get("HOST") or LOOPBACK) if name == "PORT" else LOOPBACK
        if reason := _why_not(host, port):
            other = "another port, or HOST to an address of this machine" if name == "PORT" else "another port"
            problems.append(f"{host}:{port} cannot be used ({reason}). Set {name} to {other}.")
    return problems


def _why_not(host: str, port: int) -> str:
    """Why the port is unavailable; empty if it is available."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def cannot_start(problems: List[str]) -> str:  # noqa: UP006
    """The message if the server cannot start."""
    return "\n".join(f"Cannot start: {problem}" for problem in problems)


if __name__ == "__main__":
    sys.exit(cannot_start(check_ports(os.environ)) or None)
