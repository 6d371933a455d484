"""Real servers of backends on loopback, in the environment that `make test-backends` creates and names in BACKENDS."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

BACKENDS = os.environ.get("BACKENDS")
PATIENCE_SECONDS = 180


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def serve_mlflow(folder: Path) -> Iterator[str]:
    """Run MLflow with its data in a folder; yield its address."""
    port = free_port()
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", f"{folder}/files"]
    url = f"http://127.0.0.1:{port}"
    for _ in serve(command, f"{url}/health", folder / "log", MLFLOW_DISABLE_TELEMETRY="true"):
        yield url


def serve_phoenix(folder: Path) -> Iterator[str]:
    """Run Phoenix with its data in a folder; yield its address."""
    port = free_port()
    environment = {
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_WORKING_DIR": str(folder),
    }
    url = f"http://127.0.0.1:{port}"
    for _ in serve(["phoenix", "serve"], f"{url}/healthz", folder / "log", **environment):
        yield url


def serve(command: list[str], health: str, log: Path, **environment: str) -> Iterator[None]:
    """Run a server until the generator is closed."""
    programs = Path(BACKENDS or "")
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"  # MLflow starts uvicorn by its name
    with log.open("wb") as output:
        server = subprocess.Popen(
            [programs / command[0], *command[1:]],
            stdout=output,
            stderr=output,
            env={**os.environ, "PATH": path, **environment},
            cwd=log.parent,
        )
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    urlopen(health, timeout=2).close()
                    break
                except (URLError, OSError) as error:
                    if time.monotonic() > deadline or server.poll() is not None:
                        tail = log.read_text()[-2_000:]
                        raise RuntimeError(f"{command[0]} does not answer:\n{tail}") from error
                    time.sleep(0.5)
            yield
        finally:
            server.terminate()
            server.wait(timeout=30)
