"""What the service does with a GPU's figures: which model fits, when it is too busy, what the metrics say.

    python3 -m pytest -q tests/server_live/test_gpu_policy.py        (INKLING=path/to/inkling; a C compiler)

The driver's library is a stand-in whose figures the test sets; workers draw without a model.
"""

import json
import subprocess
import time
from pathlib import Path

import pytest
from server import ROOT, Server


@pytest.fixture
def gpu(tmp_path):
    """set(utilisation, free MiB): what the driver says from now on; environment: of a server that asks it."""
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(Path(__file__).parent / "fake_nvml.c")], check=True)
    figures = tmp_path / "figures"

    class Gpu:
        environment = {"LD_LIBRARY_PATH": str(tmp_path), "FAKE_NVML": str(figures)}

        def set(self, utilisation, free):
            new = figures.with_suffix(".new")
            new.write_text(f"{utilisation} {free} 8192")
            new.rename(figures)

        def config(self, change):
            config = json.loads((ROOT / "data/server/models.json").read_text())
            change(config)
            path = tmp_path / "config.json"
            path.write_text(json.dumps(config))
            return str(path)

    g = Gpu()
    g.set(0, 6000)
    return g


def test_the_model_follows_free_memory(gpu):
    with Server("--device", "cuda:0", environment=gpu.environment, synthetic=1) as s:
        def drawn():
            return s.draw({"prompt": "a duck"})

        done = drawn()
        assert (done["model"], done["degraded"]) == ("inkling", False), done
        gpu.set(0, 800)  # 1 GiB and the reserve do not fit, half a GiB and the reserve do
        done = drawn()
        assert (done["model"], done["degraded"]) == ("inkling-4bit", True) and "device memory is short" in done["model_reason"], done
        gpu.set(0, 300)
        assert s.post("/v1/jobs", {"prompt": "a duck"}).status == 503
        gpu.set(0, 6000)
        assert drawn()["model"] == "inkling"


def test_a_busy_gpu_draws_smaller_if_configured(gpu):
    def change(c):
        c["brown_out"]["utilisation"] = {"percent": 80, "seconds": 2}
        for model in c["models"]:
            model["side"] = 1024
    with Server("--device", "cuda:0", "--config", gpu.config(change), environment=gpu.environment, synthetic=0.1) as s:
        assert s.draw({"prompt": "a duck", "seed": 1})["degraded"] is False
        gpu.set(95, 6000)
        time.sleep(1)
        assert s.stats()["degrade"]["level"] == 0, "busy for a moment is no reason"
        end = time.time() + 5
        while s.stats()["degrade"]["level"] == 0 and time.time() < end:
            time.sleep(0.1)
        assert "GPU busier than 80 %" in s.stats()["degrade"]["reason"]
        done = s.draw({"prompt": "a duck", "seed": 2})
        assert "384 x 384 pixels instead of 1024 x 1024" in done["degradations"], done
        gpu.set(20, 6000)
        end = time.time() + 30
        while s.stats()["degrade"]["level"] > 0 and time.time() < end:
            time.sleep(0.2)
        assert s.draw({"prompt": "a duck", "seed": 3})["degraded"] is False


def test_the_state_of_the_gpu_is_told(gpu):
    with Server("--device", "cuda:0", environment=gpu.environment, synthetic=1) as s:
        gpu.set(42, 2192)
        time.sleep(0.6)
        worker = s.stats()["workers"][0]
        assert worker["gpu"] == {"utilisation": 42, "used_bytes": 6000 << 20, "total_bytes": 8192 << 20}
        assert 'inkling_gpu_utilisation_ratio{device="cuda:0"} 0.42' in s.get("/metrics").body.decode()
        top = subprocess.run([s.program, "top", "--once", "--url", s.url], capture_output=True, text=True, check=True)
        assert "cuda:0" in top.stdout and "42" in top.stdout
