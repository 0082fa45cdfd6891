"""A long mixed load with faults: bad requests, cancels, disconnects, worker kills. Nothing may grow, nothing may be lost.

    python3 tests/server_live/soak.py [--minutes 20] [--kill-every 60] [--shipped]

The long run before a release: --minutes 420. Prints a line every minute; fails when the memory of the server grows by more
than 2 % (and more than 8 MiB) once all that is kept is full, descriptors or threads grow, a job is lost, or an answer
is unexplained.
"""

import argparse
import http.client
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter

from server import ROOT, Server


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--kill-every", type=float, default=60, help="seconds")
    parser.add_argument("--shipped", action="store_true")
    a = parser.parse_args()
    flags = ["--deadline", "60", "--config", str(ROOT / "tests/server_live/restless.json")]
    answers, ids, lock = Counter(), [], threading.Lock()
    with Server(*flags, synthetic=None if a.shipped else 5) as s:
        stop = threading.Event()

        def client(number):
            rng = random.Random(number)
            s.local.address = f"127.0.1.{number + 1}"  # the connections of one address are capped
            while not stop.is_set():
                dice = rng.random()
                try:
                    if dice < 0.05:
                        answer = s.post("/v1/jobs", rng.choice([{"prompt": ""}, {"width": 3}, {"prompt": "duck", "n": 99}]))
                        outcome = "bad" if answer.status == 400 else f"unexplained {answer.status}"
                    elif dice < 0.10:
                        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=10, source_address=(f"127.0.2.{number + 1}", 0))
                        c.request("POST", "/v1/images/generations", json.dumps({"prompt": "duck", "seed": rng.randint(0, 10**9)}),
                                  {"Content-Type": "application/json"})
                        time.sleep(rng.random() * 0.03)
                        c.close()
                        outcome = "disconnected"
                    else:
                        wish = {"prompt": f"a duck {rng.randint(0, 500)}", "seed": rng.randint(0, 3) if dice < 0.5 else rng.randint(4, 10**9)}
                        answer = s.post("/v1/jobs", wish)
                        if answer.status in (429, 503):
                            outcome = f"refused {answer.status}"
                            time.sleep(0.2)
                        else:
                            job = answer.json()
                            with lock:
                                ids.append(job["id"])
                            if dice < 0.20:
                                s.post(f"/v1/jobs/{job['id']}/cancel")
                            outcome = s.finished(job, 60)["status"]
                except (OSError, http.client.HTTPException) as e:
                    outcome = f"unexplained {type(e).__name__}"
                except AssertionError:
                    outcome = "unexplained lost job"
                with lock:
                    answers[outcome] += 1

        clients = [threading.Thread(target=client, args=(i,)) for i in range(a.clients)]
        [c.start() for c in clients]
        begun, last_kill, base, kills = time.time(), time.time(), None, 0
        next_line = begun + min(60, a.minutes * 6)
        worst = {}
        while time.time() < begun + a.minutes * 60:
            time.sleep(0.5)
            if not s.alive():
                break
            if time.time() - last_kill > a.kill_every:
                last_kill = time.time()
                if pid := s.worker_pid():
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
            if time.time() < next_line:
                continue
            next_line += min(60, a.minutes * 6)
            now = {"rss": s.memory(), "fds": s.descriptors(), "threads": s.threads()}
            print(f"{(time.time() - begun) / 60:6.1f} min  {now['rss'] >> 20} MiB  {now['fds']} descriptors  "
                  f"{now['threads']} threads  {kills} kills  {dict(answers)}", flush=True)
            # Finished jobs are kept for ten minutes: before that everything still fills.
            if time.time() - begun < 60 * min(max(a.minutes / 5, 11), a.minutes * 0.6):
                continue
            base = base or now
            worst = {k: max(v, worst.get(k, 0)) for k, v in now.items()}
        stop.set()
        [c.join() for c in clients]
        time.sleep(1)
        bad = []
        if not s.alive():
            bad.append("the server ended")
        else:
            totals = s.stats()["totals"]
            if totals["accepted"] != totals["done"] + totals["failed"] + totals["cancelled"]:
                bad.append(f"counters do not add up: {totals}")
            if totals["failed"]:
                bad.append(f"{totals['failed']} jobs failed")
            if base and worst["rss"] > base["rss"] * 1.02 and worst["rss"] > base["rss"] + (8 << 20):
                bad.append(f"memory grew from {base['rss'] >> 20} to {worst['rss'] >> 20} MiB")
            if base and (worst["fds"] > base["fds"] + a.clients * 3 or worst["threads"] > base["threads"]):
                bad.append(f"descriptors or threads grew: {base} to {worst}")
        bad += [f"{k}: {v}" for k, v in answers.items() if k.startswith("unexplained")]
        print("\n".join(bad) or f"all bars hold over {a.minutes:g} minutes: {sum(answers.values())} requests, {kills} kills")
        return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
