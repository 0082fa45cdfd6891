"""Starts `inkling serve` for tests and speaks to it. Standard library only."""

import base64
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def png(width, height, color=(200, 120, 40), alpha=None):
    """A small PNG; with `alpha` a function (x, y) -> 0..255."""
    rows = b""
    for y in range(height):
        row = b"".join(bytes(color) + (bytes([alpha(x, y)]) if alpha else b"") for x in range(width))
        rows += b"\0" + row

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6 if alpha else 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def data_url(picture):
    return "data:image/png;base64," + base64.b64encode(picture).decode()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Server:
    """One server process with a folder of its own; `with Server(...) as s:`."""

    def __init__(self, *flags, program=None, environment=None, synthetic=None, wait=True, limit_files=None):
        self.program = program or self.program_path()
        self.folder = tempfile.TemporaryDirectory(prefix="inkling-test-")
        self.port_file = Path(self.folder.name) / "port"
        self.log_path = Path(self.folder.name) / "log"
        command = [self.program, "serve", "--listen", "127.0.0.1:0", "--port-file", str(self.port_file),
                   "--log-file", str(self.log_path), "--device", "cpu", "--rate-limit", "0"]
        if "--state" not in flags:
            command += ["--state", str(Path(self.folder.name) / "state")]
        if synthetic is not None:
            command += ["--synthetic-step-ms", str(synthetic)]
        prelude = (lambda: __import__("resource").setrlimit(7, (limit_files, limit_files))) if limit_files else None
        self.process = subprocess.Popen(command + list(flags), env={**os.environ, **(environment or {})},
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=prelude)
        self.key = None
        self.local = threading.local()  # .address: where this thread's requests come from
        if "--api-key" in flags:
            self.key = flags[flags.index("--api-key") + 1]
        if wait:
            self.wait_ready()

    @staticmethod
    def program_path():
        return os.environ.get("INKLING", str(ROOT / "build/bin/inkling"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    @property
    def port(self):
        end = time.time() + 20
        while time.time() < end:
            if self.port_file.exists() and self.port_file.read_text().strip():
                return int(self.port_file.read_text())
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.process.stderr.read().decode()}")
            time.sleep(0.01)
        raise RuntimeError("the server gave no port")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def wait_ready(self, seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.process.stderr.read().decode()}")
            try:
                if self.get("/readyz").status == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError("the server did not become ready")

    def request(self, method, path, body=None, headers=None, timeout=60, source=None):
        source = source or getattr(self.local, "address", None)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout,
                                                source_address=(source, 0) if source else None)
        headers = dict(headers or {})
        if self.key and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.key}"
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body=None, **options):
        return self.request("POST", path, body if body is not None else {}, **options)

    def job(self, wish, **options):
        answer = self.post("/v1/jobs", wish, **options)
        assert answer.status in (200, 202), answer
        return answer.json()

    def finished(self, job, seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            state = self.get(f"/v1/jobs/{job['id']}").json()
            if state["status"] in ("succeeded", "failed", "cancelled"):
                return state
            time.sleep(0.02)
        raise AssertionError(f"job did not end: {state}")

    def draw(self, wish, seconds=60):
        return self.finished(self.job(wish), seconds)

    def stats(self):
        return self.get("/v1/stats").json()

    def worker_pid(self):
        return next((w["pid"] for w in self.stats()["workers"] if w["pid"] > 0), 0)

    def memory(self, pid=None):
        """Resident bytes."""
        for line in Path(f"/proc/{pid or self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def logs(self):
        return [json.loads(line) for line in self.log_path.read_text().splitlines()] if self.log_path.exists() else []

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.folder.cleanup()


def raw_request(port, data, seconds=5):
    """Bytes out, bytes in until the other side closes or the time is over."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as s:
        s.sendall(data)
        got = b""
        try:
            while chunk := s.recv(65536):
                got += chunk
        except (TimeoutError, ConnectionResetError):
            pass
        return got


def events(server, job, seconds=60):
    """(event, data) of a job's stream until it ends."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=seconds)
    connection.request("GET", f"/v1/jobs/{job['id']}/events",
                       headers={"Authorization": f"Bearer {server.key}"} if server.key else {})
    answer = connection.getresponse()
    assert answer.status == 200 and answer.getheader("Content-Type") == "text/event-stream", answer.status
    name = None
    for line in answer:
        line = line.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])
    connection.close()
