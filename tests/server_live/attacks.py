"""Runs http_attacks.py against a server of its own: hostile HTTP, memory watched. Further arguments are passed on."""

import subprocess
import sys
import tempfile
from pathlib import Path

from server import Server

with tempfile.TemporaryDirectory() as folder:
    assets = Path(folder) / "assets"
    assets.mkdir()
    (assets / "large.bin").write_bytes(bytes(20 << 20))
    with Server("--web-root", folder, synthetic=5) as s:
        script = Path(__file__).parent / "http_attacks.py"
        result = subprocess.run([sys.executable, script, "--url", s.url, "--pid", str(s.pid), "--large", "/assets/large.bin",
                                 "--limit", str(32 << 20),  # of /v1/jobs
                                 *sys.argv[1:]])
        assert s.alive() and s.draw({"prompt": "still here", "seed": 1})["status"] == "succeeded"
        sys.exit(result.returncode)
