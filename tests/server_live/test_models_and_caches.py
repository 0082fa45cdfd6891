"""Which model draws, and what is answered without drawing: hot swap, routing, pool, templates, shared drawings.

    python3 -m pytest -q tests/server_live/test_models_and_caches.py        (INKLING=path/to/inkling)
"""

import json
import subprocess
import time

import pytest
from server import ROOT, Server, data_url, png

KEYS = ("first-key-0123456789abcdef", "second-key-0123456789abcdef")
SECOND = ROOT / "tests/parity/data/checkpoints/small-t2i"  # random weights: a checkpoint of its own, quick to draw


@pytest.fixture
def configured(tmp_path):
    """Path of the built-in configuration with changes made by a function."""
    def write(change):
        config = json.loads((ROOT / "data/server/models.json").read_text())
        change(config)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config))
        return str(path)
    return write


def second_model(kind, path=SECOND, **more):
    return {"id": "second", "kind": kind, "path": str(path), "device": "auto", "needs_bytes": 0, "edit": False, "side": 256,
            "min_side": 256, "steps": 4, "seconds": {"text": 0.3}, **more}


def picture(s, job):
    return s.get(job["images"][0]["url"]).body


def test_models_are_swapped_while_it_serves(configured):
    config = configured(lambda c: c["models"].append(second_model("full")))
    with Server("--config", config, "--state", "none") as s:
        worker = s.worker_pid()
        drawn = {"inkling": set(), "second": set()}
        for model in ("inkling", "second", "inkling", "second", "inkling"):
            done = s.draw({"prompt": "a yellow duck", "seed": 5, "model": model})
            assert done["status"] == "succeeded" and done["model"] == model and done["model_reason"] == "asked for", done
            drawn[model].add(picture(s, done))
        assert len(drawn["inkling"]) == len(drawn["second"]) == 1, "a model draws the same before and after a swap"
        assert drawn["inkling"] != drawn["second"]
        assert s.worker_pid() == worker, "the process stays"
        assert {m["id"] for m in s.get("/v1/models").json()["data"]} >= {"inkling", "second"}
        wrong = s.post("/v1/jobs", {"prompt": "make it red", "model": "second", "images": [data_url(png(64, 64))]})
        assert wrong.status == 400 and wrong.json()["error"]["param"] == "model"


def test_what_is_asked_often_goes_to_the_distilled_model(configured):
    def change(c):
        c["models"].append(second_model("distilled"))
        c["routing"]["frequency"] = {"window_s": 60, "count": 3}
    with Server("--config", configured(change), "--state", "none") as s:
        first = [s.draw({"prompt": p}) for p in ("a yellow duck", "A yellow  duck!", "a yellow duck")]
        assert [d["model"] for d in first] == ["inkling", "inkling", "second"]
        assert "3 times" in first[2]["model_reason"] and first[2]["degraded"] is True
        assert s.draw({"prompt": "a red cow"})["model"] == "inkling"


def test_a_model_that_cannot_be_read_stops_no_other(configured, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    config = configured(lambda c: c["models"].append(second_model("full", broken)))
    with Server("--config", config) as s:
        done = s.draw({"prompt": "a duck", "seed": 1, "model": "second"})
        assert done["status"] == "failed" and done["error"]["code"] == "model_unusable", done
        assert str(tmp_path) not in json.dumps(done), "answers tell no paths"
        done = s.draw({"prompt": "a duck", "seed": 1, "model": "inkling"})
        assert done["status"] == "succeeded" and s.stats()["workers"][0]["restarts"] == 0


def test_the_most_asked_animals_come_from_the_pool(tmp_path):
    state = tmp_path / "state"
    subprocess.run([Server.program_path(), "pool", "--state", str(state), "--device", "cpu"], check=True, capture_output=True)
    assert len(list((state / "pool").glob("*.latent"))) >= 55
    with Server("--state", str(state), "--profile", "kids") as s:
        s.draw({"prompt": "a small boat", "seed": 1})  # everything is loaded
        pictures = set()
        for wish in ("小鸭子", "duck", "A duckling!", "小猫", "panda"):
            begun = time.time()
            done = s.draw({"prompt": wish})
            assert done["cache"] == "latent" and time.time() - begun < 1, (wish, done)
            pictures.add(picture(s, done))
        assert len(pictures) >= 3
        for other in ({"prompt": "duck", "seed": 1}, {"prompt": "duck", "steps": 4}, {"prompt": "duck with a hat"},
                      {"prompt": "duck", "style": "none"}):
            assert s.draw(other)["cache"] is None, other
        assert s.stats()["cache"]["latent"]["hits"] == 5
        # A damaged file is no answer.
        for file in (state / "pool").glob("*.latent"):
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 0x40
            file.write_bytes(data)
        done = s.draw({"prompt": "小鸭子"})
        assert done["status"] == "succeeded" and done["cache"] is None, done


def test_common_edits_are_templates(tmp_path):
    with Server("--state", str(tmp_path / "state"), "--api-key", KEYS[0], "--api-key", KEYS[1]) as s:
        upload = data_url(png(96, 96, (90, 140, 200)))
        first = s.draw({"prompt": "make the background white", "images": [upload]})
        assert first["status"] == "succeeded" and first["cache"] is None, first
        again = s.draw({"prompt": "把背景换成白色", "images": [upload]})
        assert again["cache"] == "template" and picture(s, again) == picture(s, first)
        for other in ({"prompt": "make the background blue", "images": [upload]},
                      {"prompt": "make the background white", "images": [data_url(png(96, 96, (91, 140, 200)))]},
                      {"prompt": "make the background white", "images": [upload], "seed": 7},
                      {"prompt": "make the background white", "images": [upload], "postprocess": {"sharpen": 1}}):
            assert s.draw(other)["cache"] is None, other["prompt"]
        s.key = KEYS[1]
        assert s.draw({"prompt": "make the background white", "images": [upload]})["cache"] is None, "of another client"


def test_equal_wishes_share_one_drawing():
    with Server("--max-batch", "1", synthetic=150) as s:
        s.draw({"prompt": "warm", "seed": 1})
        begun = time.time()
        jobs = [s.job({"prompt": "the same duck", "seed": 9}) for _ in range(8)]
        done = [s.finished(j) for j in jobs]
        assert time.time() - begun < 2.5, "one drawing of 0.6 s, not eight"
        assert len({picture(s, d) for d in done}) == 1 and len({d["id"] for d in done}) == 8
        # One that leaves takes nothing from the others.
        jobs = [s.job({"prompt": "another duck", "seed": 9}) for _ in range(3)]
        s.post(f"/v1/jobs/{jobs[0]['id']}/cancel")
        assert [s.finished(j)["status"] for j in jobs] == ["cancelled", "succeeded", "succeeded"]
