"""Open-loop load on a server: Poisson arrivals, latency from the intended time of sending, goodput within the deadline.

    python3 tests/server_live/load.py [--synthetic MS | --shipped] [--seconds 60] [--loads 0.5 1.0 2.0] [--deadline D]

Measures the capacity first (closed loop), then each load as a multiple of it. Prints one Markdown row a load; fails when
the goodput at 1.0 or 2.0 is below 85 % of the capacity, a refusal takes more than 50 ms, or the counters do not add up.
"""

import argparse
import asyncio
import json
import random
import sys
import time

from server import Server


async def post(port, body, timeout=300):
    """(status, headers, body) over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.{random.randint(1, 250)}.{random.randint(1, 250)}", 0))
    try:
        data = json.dumps(body).encode()
        writer.write(b"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                     b"Connection: close\r\nContent-Length: " + str(len(data)).encode() + b"\r\n\r\n" + data)
        answer = await asyncio.wait_for(reader.read(), timeout)
        return int(answer.split(b" ", 2)[1]), answer
    finally:
        writer.close()


def wish(seed, deadline):
    # Four steps are the fewest that the brown-out goes down to, so every picture takes the same time.
    return {"prompt": "a yellow duck", "seed": seed, "num_inference_steps": 4}


async def capacity(port, seconds, width):
    """Pictures a second when `width` clients ask one after the other."""
    done, end = 0, time.monotonic() + seconds

    async def client(number):
        nonlocal done
        seed = number * 1_000_000
        while time.monotonic() < end:
            seed += 1
            status, _ = await post(port, wish(seed, None))
            done += status == 200

    begun = time.monotonic()
    await asyncio.gather(*(client(i + 1) for i in range(width)))
    return done / (time.monotonic() - begun)


async def open_loop(port, rate, seconds, deadline, seed):
    rng = random.Random(seed)
    results, tasks, health = [], [], []
    begun = time.monotonic()

    async def one(number, intended):
        started = time.monotonic()
        try:
            status, answer = await post(port, wish(seed * 100_000 + number, deadline))
        except (OSError, asyncio.TimeoutError, IndexError):
            status, answer = 0, b""
        now = time.monotonic()
        results.append((status, now - intended, now - started, b'"degraded":true' in answer))

    async def watch():
        while True:
            t = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            await reader.read()
            writer.close()
            health.append(time.monotonic() - t)
            await asyncio.sleep(0.1)

    watcher = asyncio.create_task(watch())
    at, number = begun, 0
    while at < begun + seconds:
        at += rng.expovariate(rate)
        await asyncio.sleep(max(0, at - time.monotonic()))
        tasks.append(asyncio.create_task(one(number, at)))
        number += 1
    await asyncio.gather(*tasks)
    watcher.cancel()
    return results, time.monotonic() - begun, health


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--synthetic", type=float, default=12.5, help="milliseconds a step, four steps a picture")
    parser.add_argument("--shipped", action="store_true", help="the model that ships")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--deadline", type=float, default=0, help="default: 6 pictures' time")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--url-file", help=argparse.SUPPRESS)
    a = parser.parse_args()
    with Server("--deadline", "3600", "--state", "none", *(() if a.shipped else ("--max-batch", "1")),
                synthetic=None if a.shipped else a.synthetic) as s:
        rate = asyncio.run(capacity(s.port, 10, 4))
    deadline = a.deadline or max(1.0, 6 / rate)
    print(f"capacity {rate:.2f} pictures/s, deadline {deadline:.2f} s, {a.seconds:.0f} s a load")
    print("| load | asked | done | refused | late or failed | p50 | p95 | p99 | goodput % | simpler | refusal p99 | metrics p99 |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    bad = []
    for i, load in enumerate(a.loads):
        with Server("--deadline", str(deadline), "--state", "none", *(() if a.shipped else ("--max-batch", "1")),
                    synthetic=None if a.shipped else a.synthetic) as s:
            s.draw({"prompt": "warm", "seed": 1})
            results, wall, health = asyncio.run(open_loop(s.port, load * rate, a.seconds, deadline, i + 1))
            totals = s.stats()["totals"]
        done = [r for r in results if r[0] == 200]
        good = [r for r in done if r[1] <= deadline]
        refused = [r for r in results if r[0] in (429, 503)]
        # Of what could be served: the capacity, or what was asked for where chance asked for less.
        goodput = 100 * len(good) / min(a.seconds * rate, len(results))
        latency = [r[1] for r in done]
        refusal = 1000 * quantile([r[2] for r in refused], 0.99) if refused else 0
        print(f"| {load} | {len(results)} | {len(done)} | {len(refused)} | {len(results) - len(good) - len(refused)} | "
              f"{quantile(latency, .5):.2f} s | {quantile(latency, .95):.2f} s | {quantile(latency, .99):.2f} s | {goodput:.0f} | {sum(r[3] for r in done)} | "
              f"{refusal:.0f} ms | {1000 * quantile(health, .99):.0f} ms |", flush=True)
        if load >= 1.0 and goodput < 85:
            bad.append(f"goodput at {load} is {goodput:.0f} %")
        if refusal > 50:
            bad.append(f"a refusal at {load} takes {refusal:.0f} ms")
        if totals["accepted"] != totals["done"] + totals["failed"] + totals["cancelled"]:
            bad.append(f"counters at {load} do not add up: {totals}")
    print("\n".join(bad) or "all bars hold")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
