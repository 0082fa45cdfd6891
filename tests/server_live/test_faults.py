"""Faults that come from outside: error codes of the device, a GPU that is out, a clock that jumps, hostile pictures.

    python3 -m pytest -q tests/server_live/test_faults.py        (INKLING=path/to/inkling; faketime installed)

Workers draw without a model here; what they report as a device's error goes the way of a real one (throw_device_error).
"""

import io
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from server import ROOT, Server, data_url

WISH = {"prompt": "a yellow duck", "seed": 1, "steps": 3}
CALLS = 1 + WISH["steps"] + 1  # opening, steps, the picture
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


def restless(folder, **breaker):
    """The built-in configuration with another breaker."""
    config = json.loads((Path(__file__).parents[2] / "data/server/models.json").read_text())
    config["breaker"].update(breaker)
    path = Path(folder) / "config.json"
    path.write_text(json.dumps(config))
    return str(path)


# --- H2: a call of the device fails, whichever it is

@pytest.mark.parametrize("code", [2, 700, 719, 999])
def test_h2_every_device_call_may_fail(tmp_path, code):
    faults = tmp_path / "faults"
    config = restless(tmp_path, failures=1000)
    with Server("--device", "cuda:0", "--synthetic-faults", str(faults), "--config", config, synthetic=2) as s:
        for call in range(1, CALLS + 1):
            s.wait_ready()
            before = s.stats()["workers"][0]
            faults.write_text(f"{code}@{call}")
            done = s.draw({**WISH, "seed": call})
            s.wait_ready()
            after = s.stats()["workers"][0]
            assert not faults.exists(), "the fault was not shown"
            if code == 2:  # out of memory: the job says so, the process lives
                assert done["status"] == "failed" and done["error"]["code"] == "out_of_memory", done
                assert after["pid"] == before["pid"] and after["restarts"] == before["restarts"]
            else:  # the context is lost: another process draws it, once more
                assert done["status"] == "succeeded" and "started again" in " ".join(done["notes"]), done
                assert after["pid"] != before["pid"] and after["restarts"] == before["restarts"] + 1
            assert s.draw({**WISH, "seed": 100 + call})["status"] == "succeeded"
        totals = s.stats()["totals"]
        assert totals["accepted"] == 2 * CALLS == totals["done"] + totals["failed"]
        assert s.stats()["oom"] == (CALLS if code == 2 else 0)


def test_h2_a_device_that_fails_twice_gives_a_clear_error(tmp_path):
    faults = tmp_path / "faults"
    with Server("--device", "cuda:0", "--synthetic-faults", str(faults), synthetic=100) as s:
        job = s.job({**WISH, "steps": 10})
        for _ in range(2):
            pid = s.worker_pid()
            while s.get(f"/v1/jobs/{job['id']}").json()["step"] == 0:
                time.sleep(0.02)
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
            while s.alive() and s.worker_pid() in (0, pid):
                time.sleep(0.02)
        done = s.finished(job)
        assert done["status"] == "failed" and done["error"]["code"] == "worker_failed" and not done["images"]


# --- H8: the GPU is out, the CPU draws

def kill_until_open(s):
    end = time.time() + 30
    while time.time() < end:
        gpu = next(w for w in s.stats()["workers"] if w["device"] == "cuda:0")
        if gpu["breaker"] == "open":
            return
        if gpu["pid"] > 0:
            try:
                os.kill(gpu["pid"], signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.05)
    raise AssertionError("the breaker did not open")


def test_h8_the_cpu_takes_over_and_gives_back(tmp_path):
    config = restless(tmp_path, open_s=8)
    with Server("--device", "cuda:0", "--cpu-fallback", "on", "--config", config, synthetic=150) as s:
        assert s.draw(WISH)["degraded"] is False
        flying = s.job({**WISH, "seed": 2, "steps": 8})
        waiting = s.job({**WISH, "seed": 3})
        kill_until_open(s)
        new = None
        end = time.time() + 10
        while new is None and time.time() < end:  # until the CPU's worker is up: 503
            answer = s.post("/v1/jobs", {**WISH, "seed": 4})
            assert answer.status in (202, 503), answer
            new = answer.json() if answer.status == 202 else time.sleep(0.1)
        # What was in flight was tried on the GPU at most twice; it either ends on the CPU or says why not.
        done = s.finished(flying)
        assert done["status"] == "succeeded" and done["degraded"] or done["error"]["code"] == "worker_failed", done
        for job in (waiting, new):
            done = s.finished(job)
            assert done["status"] == "succeeded" and done["degraded"] is True, done
            assert any("CPU" in d for d in done["degradations"]), done
        assert {w["device"]: w["breaker"] for w in s.stats()["workers"]} == {"cuda:0": "open", "cpu": "closed"}
        # The wait shortens the line: what could not be served in time by the CPU alone is refused.
        answers = [s.post("/v1/jobs", {**WISH, "seed": 100 + i, "deadline_s": 3}) for i in range(30)]
        assert {a.status for a in answers} == {202, 429} and sum(a.status == 202 for a in answers) < 15
        for a in answers:
            if a.status == 202:
                s.finished(a.json())
        # Its pictures are not kept as the GPU's, and the GPU comes back after its probe.
        end = time.time() + 20
        while next(w for w in s.stats()["workers"] if w["device"] == "cuda:0")["breaker"] != "closed" and time.time() < end:
            time.sleep(0.2)
        s.wait_ready()
        while s.stats()["degrade"]["level"] > 0:
            time.sleep(0.2)
        again = s.draw({**WISH, "seed": 3})
        assert again["status"] == "succeeded" and not again["degraded"] and again["cache"] is None, again


# --- G8: the wall clock jumps, what counts time does not

@pytest.mark.skipif(not FAKETIME.exists(), reason="the package faketime is not installed")
def test_g8_the_clock_jumps(tmp_path):
    clock = tmp_path / "clock"

    def jump(offset):
        clock.with_suffix(".new").write_text(offset)
        clock.with_suffix(".new").rename(clock)

    jump("+0")
    environment = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
                   "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    state = str(tmp_path / "state")
    with Server("--state", state, "--deadline", "20", environment=environment, synthetic=50) as s:
        assert s.draw(WISH)["cache"] is None and s.draw(WISH)["cache"] == "result"
        for offset, seed in (("+3600", 11), ("-3600", 12), ("+0", 13)):
            job = s.job({**WISH, "seed": seed, "steps": 20})  # 1 s, the clock jumps within it
            time.sleep(0.3)
            jump(offset)
            done = s.finished(job, 10)
            assert done["status"] == "succeeded" and 0.9 < done["timings"]["run_s"] < 5, done
            assert s.draw(WISH)["cache"] == "result", "an hour is no day"
            assert s.get("/readyz").status == 200 and s.stats()["workers"][0]["restarts"] == 0
            wait = s.stats()["queue"]["predicted_wait_s"]
            assert 0 <= wait < 5
        jump("+90000")  # 25 hours: what is kept for a day is gone
        assert s.draw(WISH)["cache"] is None
        assert s.stats()["cache"]["result"]["entries"] <= 5
        jump("+0")
        # Of the future: drawn by a clock that was wrong. It must not live for ever.
        assert s.draw(WISH)["status"] == "succeeded"


# --- J5: the state is read ten times a second under twice the load

def counters(text):
    values = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            values[name] = float(value)
    return values


def test_j5_metrics_under_load():
    with Server("--deadline", "3", "--max-batch", "1", synthetic=20) as s:  # 0.06 s a picture
        s.draw(WISH)
        stop, taken, texts = threading.Event(), [], []

        def load(number):
            i = 0
            while not stop.is_set():
                i += 1
                s.post("/v1/jobs", {**WISH, "seed": 1000 * number + i}, source=f"127.0.1.{number + 1}")
                time.sleep(0.12)

        clients = [threading.Thread(target=load, args=(i,)) for i in range(4)]  # 33 a second, 16 can be drawn
        [c.start() for c in clients]
        for _ in range(60):
            begun = time.time()
            texts.append(s.get("/metrics").body.decode())
            taken.append(time.time() - begun)
            time.sleep(max(0, 0.1 - taken[-1]))
        stop.set()
        [c.join() for c in clients]
        taken.sort()
        assert taken[len(taken) * 95 // 100] < 0.02, f"p95 {taken[len(taken) * 95 // 100]:.3f} s"
        stats = s.stats()
        totals, queue = stats["totals"], stats["queue"]
        assert totals["rejected"] > 0
        assert totals["accepted"] == totals["done"] + totals["failed"] + totals["cancelled"] + queue["waiting"] + queue["running"]
        ends = [sum(v for k, v in counters(t).items() if k.startswith("inkling_requests_total")) for t in texts]
        assert ends == sorted(ends) and ends[-1] > ends[0], "counters only rise"


# --- C: what decodes an upload can do nothing else

def test_the_decoder_has_no_rights():
    program = Server.program_path()
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([program, "decode", "--link", str(theirs.fileno())], pass_fds=[theirs.fileno()],
                               env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    theirs.close()
    try:
        end = time.time() + 10
        status = {}
        while status.get("Seccomp") != "2" and time.time() < end:
            time.sleep(0.02)
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            status = dict(line.split(":", 1) for line in lines)
            status = {k: v.strip() for k, v in status.items()}
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", status
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        for name, most in (("Max cpu time", "10"), ("Max file size", "0"), ("Max address space", str(2 << 30)),
                           ("Max processes", "0")):
            line = next(x for x in limits.splitlines() if x.startswith(name))
            assert line[len(name):].split()[0] == most, line
    finally:
        ours.close()
        assert process.wait(timeout=5) == 1, "it ends with its link"


def test_edits_of_every_format_pass_through_it():
    pictures = {"photograph": (ROOT / "tests/web/data/bag.png").read_bytes()}
    for kind in ("PNG", "JPEG", "WEBP"):
        image = Image.effect_noise((96, 64), 60).convert("RGB")
        stream = io.BytesIO()
        image.save(stream, kind)
        pictures[kind] = stream.getvalue()
    with Server(synthetic=1) as s:
        worker = s.worker_pid()
        for kind, picture in pictures.items():
            done = s.draw({**WISH, "prompt": f"make {kind} red", "images": [data_url(picture)]})
            assert done["status"] == "succeeded", done
            bad = s.draw({**WISH, "prompt": f"cut {kind}", "images": [data_url(picture[: len(picture) // 2])]})
            assert bad["status"] == "failed" and bad["error"]["param"] == "images[0]", bad
        assert s.worker_pid() == worker and s.stats()["workers"][0]["restarts"] == 0
