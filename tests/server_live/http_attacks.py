#!/usr/bin/env python3
"""Attacks a running server over HTTP and says whether it held: one PASS or FAIL line per case, exit code 1 on any FAIL.

    python3 tests/server_live/http_attacks.py --url http://127.0.0.1:8080 --pid PID [--post /v1/jobs] [--large /path]

Cases A1 to A10 (oversized, bombs, smuggling, half-open clients, slow readers, grammar fuzzing). Needs loopback (clients
come from 127.0.0.x), /healthz, and a POST path (--post) that takes at most --limit bytes. Standard library only.
The process should be allowed 4,096 descriptors (ulimit -n), this script too.
"""
import argparse
import gzip
import os
import random
import select
import socket
import sys
import time
import urllib.parse

MIB = 1 << 20


class Target:
    def __init__(self, options):
        url = urllib.parse.urlsplit(options.url)
        self.address = (url.hostname, url.port or 80)
        self.host = f"{url.hostname}:{url.port}"
        self.pid, self.post, self.limit, self.key = options.pid, options.post, options.limit, options.key
        self.failed, self.ignore_memory = 0, options.ignore_memory

    def connect(self, source=None, timeout=5.0, receive_buffer=0):
        client = socket.socket()
        client.settimeout(timeout)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            client.bind((source, 0))
        client.connect(self.address)
        return client

    def head(self, method="GET", path="/healthz", *headers, host=True):
        lines = [f"{method} {path} HTTP/1.1"]
        if host:
            lines.append(f"Host: {self.host}")
        if self.key:
            lines.append(f"Authorization: Bearer {self.key}")
        return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode("latin-1")

    def post_head(self, *headers):
        return self.head("POST", self.post, "Content-Type: application/json", *headers)

    def exchange(self, *pieces, timeout=5.0, source=None):
        """Sends pieces (bytes or iterators of bytes) until the server answers; returns (status, bytes sent).
        Status 0: closed without an answer; None: no answer in time."""
        sent = 0
        try:
            with self.connect(source, timeout) as client:
                try:
                    for piece in pieces:
                        for part in [piece] if isinstance(piece, bytes) else piece:
                            client.sendall(part)
                            sent += len(part)
                            if select.select([client], [], [], 0)[0]:
                                raise BrokenPipeError
                except (BrokenPipeError, ConnectionResetError):
                    pass
                return status_of(client, timeout), sent
        except (ConnectionResetError, BrokenPipeError):
            return 0, sent
        except TimeoutError:
            return None, sent

    def alive(self):
        return self.exchange(self.head())[0] == 200

    def resident(self):
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))

    def reset_peak(self):
        try:
            with open(f"/proc/{self.pid}/clear_refs", "w") as file:
                file.write("5")
        except OSError as error:
            sys.exit(f"cannot reset the peak memory of process {self.pid}: {error}; run as its user")

    def peak(self):
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def settled_descriptors(self):
        """When connections that ended have been let go (the server lingers for 2 s)."""
        time.sleep(2.5)
        return self.descriptors()

    def case(self, name, good, text):
        self.failed += not good
        print(f"{'PASS' if good else 'FAIL'} {name}: {text}", flush=True)

    def attack(self, name, wanted, *pieces, growth=None, sent_limit=None, timeout=5.0):
        self.reset_peak()
        before = self.resident()
        status, sent = self.exchange(*pieces, timeout=timeout)
        grown = self.peak() - before
        good = status in wanted and self.alive()
        if growth is not None and not self.ignore_memory:
            good = good and grown < growth
        if sent_limit is not None:
            good = good and sent <= sent_limit
        self.case(name, good, f"status {status}, wanted {sorted(wanted)}; sent {sent:,} B, peak memory {grown / MIB:+.1f} MiB")


def status_of(client, timeout):
    """The status of the next final answer; 0 when the server closes without one; None when nothing comes."""
    data, end = b"", time.monotonic() + timeout
    while time.monotonic() < end:
        if not select.select([client], [], [], max(0.0, end - time.monotonic()))[0]:
            break
        try:
            piece = client.recv(65536)
        except ConnectionResetError:
            piece = b""
        data += piece
        if b"\r\n\r\n" in data and data.startswith(b"HTTP/1.1 "):
            status = int(data[9:12])
            if status != 100:
                return status
            data = data.split(b"\r\n\r\n", 1)[1]
        if not piece:
            return 0
    return None


def repeat(piece, total):
    for _ in range(total // len(piece)):
        yield piece


def sizes_and_encodings(target):
    limit, post = target.limit, target.post_head
    target.attack("A1 Content-Length over the limit", {413}, post(f"Content-Length: {limit + 1}"), growth=MIB)
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    # What the server discards after its answer, and what the kernel holds, are sent but not buffered by it.
    target.attack("A2 256 MiB chunked", {413, 0}, post("Transfer-Encoding: chunked"), repeat(chunk, 256 * MIB),
                  growth=limit + limit // 4, sent_limit=limit + 24 * MIB, timeout=20)
    bomb = gzip.compress(bytes(512 * MIB), 1)
    target.attack(f"A3 gzip bomb of {len(bomb):,} B", {415}, post("Content-Encoding: gzip", f"Content-Length: {len(bomb)}"),
                  bomb, growth=MIB)
    line = b"x-header: " + b"a" * 1000 + b"\r\n"
    target.attack("A4 192 MiB of headers", {431, 0}, target.head()[:-2], repeat(line, 192 * MIB), growth=MIB,
                  sent_limit=24 * MIB)
    target.attack("A4 250 MiB target without end", {414, 431, 0}, b"GET /", repeat(b"a" * 65536, 250 * MIB), growth=MIB,
                  sent_limit=24 * MIB)
    target.attack("A4 250 MiB header line without end", {431, 0}, target.head()[:-2] + b"x: ",
                  repeat(b"a" * 65536, 250 * MIB), growth=MIB, sent_limit=24 * MIB)


def chunks(target):
    head = target.post_head("Transfer-Encoding: chunked")
    for name, size in {"-2": b"-2", "2^64": b"10000000000000000", "0x prefix": b"0x4", "plus": b"+4", "empty": b"",
                       "space": b" 4", "letters": b"four"}.items():
        target.attack(f"A5 chunk size {name}", {400}, head + size + b"\r\nabcd\r\n0\r\n\r\n")
    target.attack("A5 chunk size 2^64-1", {400, 413}, head + b"FFFFFFFFFFFFFFFF\r\nabcd\r\n0\r\n\r\n")
    target.attack("A5 70,000 chunks of one byte", {400}, head, repeat(b"1\r\nx\r\n" * 100, 70_000 * 6), growth=2 * MIB)
    target.attack("A5 chunk without CRLF", {400}, head + b"2\r\nabcd\r\n0\r\n\r\n")
    target.attack("A5 endless chunk extension", {400, 0}, head + b"2;", repeat(b"e" * 4096, 4 * MIB), growth=MIB)
    target.attack("A5 endless trailers", {400, 0}, head + b"0\r\n", repeat(b"t: " + b"e" * 1000 + b"\r\n", 4 * MIB), growth=MIB)


def smuggling(target):
    post, base = target.post_head, target.head()[:-2]
    smuggled = target.head("GET", "/smuggled")
    cases = {
        "CL and TE": post(f"Content-Length: {len(smuggled)}", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + smuggled,
        "two CL, different": post("Content-Length: 0", f"Content-Length: {len(smuggled)}") + smuggled,
        "two CL, equal": post("Content-Length: 1", "Content-Length: 1") + b"x",
        "CL list": post("Content-Length: 1, 1") + b"x",
        "two TE": post("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + b"0\r\n\r\n",
        "TE with a space": post("Transfer-Encoding : chunked") + b"0\r\n\r\n",
        "TE with vertical tab": post("Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
        "bare LF": base.replace(b"\r\n", b"\n") + b"\n",
        "bare CR": base + b"a: b\rc: d\r\n\r\n",
        "NUL in a value": base + b"a: b\0c\r\n\r\n",
        "NUL in a name": base + b"a\0: b\r\n\r\n",
        "folded header": base + b"a: b\r\n c\r\n\r\n",
        "no Host": target.head(host=False),
        "two Hosts": target.head("GET", "/healthz", "Host: other"),
    }
    for name, text in cases.items():
        target.attack(f"A6 {name}", {400}, text)
        with target.connect() as client:  # nothing behind the refused request may be answered
            client.sendall(text + target.head())
            data = b""
            try:
                while piece := client.recv(65536):
                    data += piece
            except (ConnectionResetError, TimeoutError):
                pass
            if data.count(b"HTTP/1.1 ") != 1:
                target.case(f"A6 {name}, what follows", False, f"{data.count(b'HTTP/1.1 ')} answers")
    with target.connect() as client:
        client.sendall(target.head("GET", "/healthz", "x-a: a%0d%0ax-evil: 1") + target.head("GET", "/%0d%0ax-evil:%201"))
        time.sleep(0.5)
        data = client.recv(65536)
    target.case("A6 %0d%0a in headers and target", b"\nx-evil" not in data.lower() and data.startswith(b"HTTP/1.1 200"),
                "no header of the client's making")


def half_open(target, count, seconds):
    """`count` clients from many addresses drip one byte each 0.5 s; /healthz is asked 20 times a second."""
    target.reset_peak()
    before, start = target.resident(), time.monotonic()
    clients, cut_at, born, turn = {}, [], {}, 0

    def open_one():
        nonlocal turn
        turn += 1
        try:
            client = target.connect(f"127.0.{1 + turn % 100 // 50}.{2 + turn % 50}")
        except OSError:
            return
        client.setblocking(False)
        clients[client.fileno()] = client
        born[client] = time.monotonic()

    def drip():
        for number, client in list(clients.items()):
            try:
                client.send(b"G")
                closed = bool(select.select([client], [], [], 0)[0]) and client.recv(4096) in (b"", None)
            except BlockingIOError:
                closed = False
            except OSError:
                closed = True
            if closed:
                cut_at.append(time.monotonic() - born.pop(client))
                client.close()
                del clients[number]

    for _ in range(count):
        open_one()
    latencies, bad, next_drip = [], 0, start
    while time.monotonic() - start < seconds:
        asked = time.monotonic()
        try:
            with target.connect("127.0.0.1", 3.0) as probe:
                probe.sendall(target.head())
                bad += status_of(probe, 3.0) != 200
        except OSError:
            bad += 1
        latencies.append(time.monotonic() - asked)
        if time.monotonic() >= next_drip:
            next_drip = time.monotonic() + 0.5
            drip()
            for _ in range(count - len(clients)):  # those that were cut come back
                open_one()
        time.sleep(0.05)
    oldest = max((time.monotonic() - t for t in born.values()), default=0.0)
    for client in clients.values():
        client.close()
    latencies.sort()
    p99 = latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))]
    grown = target.peak() - before
    longest = max([oldest, *cut_at])
    good = bad == 0 and p99 < 0.1 and longest < 12 and (grown < 32 * MIB or target.ignore_memory)
    target.case(f"A7 {count} half-open clients for {seconds} s", good,
                f"/healthz {len(latencies)} asked, {bad} failed, p50 {latencies[len(latencies) // 2] * 1e3:.1f} ms, "
                f"p99 {p99 * 1e3:.1f} ms; {len(cut_at)} cut, longest life {longest:.1f} s; peak memory {grown / MIB:+.1f} MiB")


def slow_reader(target, path):
    before = target.settled_descriptors()
    with target.connect(receive_buffer=4096) as client:
        client.sendall(target.head("GET", path))
        good = client.recv(16).startswith(b"HTTP/1.1 200")
        start = time.monotonic()
        good = good and target.descriptors() == before + 1
        gone = None
        while good and gone is None and time.monotonic() - start < 40:
            time.sleep(0.5)
            if target.descriptors() <= before:
                gone = time.monotonic() - start
        text = "not cut within 40 s" if gone is None else f"cut after {gone:.1f} s"
        target.case(f"A8 slow reader of {path}", good and gone is not None and target.alive(), text)


def fuzz(target, seconds, seed):
    dice = random.Random(seed)
    methods = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "G\0T", "", "A" * 40]
    paths = ["/", "/healthz", "/v1/jobs", "/v1/jobs/job_0", "*", "http://evil.example/", "/%00", "/..%2f", "/%", "//",
             "/a b", "/\\", "?a=b", "/?" + "a=b&" * 50, "/" + "a" * 9000, "/\xff", "/#x", "/v1/models"]
    versions = ["HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.1 ", "", "http/1.1", "HTTP/11"]
    names = ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "Range", "Content-Type",
             "Authorization", "Origin", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "X" * 300, "", "a b", "\xe9", "Cookie"]
    values = ["", "0", "5", "-1", "99999999999999999999", "chunked", "gzip", "close", "keep-alive, Upgrade", "websocket",
              "100-continue", "bytes=0-", "application/json", "multipart/form-data; boundary=x", "null", "13", "\t", "\x01",
              "a" * 5000, "127.0.0.1", "dGhlIHNhbXBsZSBub25jZQ==", "Bearer x", "\r\n folded"]
    bodies = ["", "hello", "5\r\nhello\r\n0\r\n\r\n", "{}", "--x\r\n\r\n--x--", "\0" * 10, "\x81\x85\0\0\0\0hello"]
    ends = ["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\0\r\n"]
    start, requests, statuses, silent, slow = time.monotonic(), 0, {}, 0, 0
    while time.monotonic() - start < seconds:
        end = dice.choice(ends)
        lines = [f"{dice.choice(methods)} {dice.choice(paths)} {dice.choice(versions)}"]
        if dice.random() < 0.8:
            lines.append(f"Host: {target.host}")
        lines += [f"{dice.choice(names)}: {dice.choice(values)}" for _ in range(dice.randrange(5))]
        text = bytearray((end.join(lines) + end + end + dice.choice(bodies)).encode("latin-1"))
        for _ in range(dice.choice([0, 0, 0, 1, 3])):
            text[dice.randrange(len(text))] = dice.randrange(256)
        if dice.random() < 0.1:
            text = text[:dice.randrange(len(text))]
        requests += 1
        asked = time.monotonic()
        try:
            with target.connect(f"127.0.3.{dice.randrange(2, 200)}", 2.0) as client:
                client.sendall(bytes(text))
                client.shutdown(socket.SHUT_WR)  # an unfinished request ends here
                status = status_of(client, 2.0)
        except OSError:
            status = 0
        statuses[status] = statuses.get(status, 0) + 1
        silent += status is None
        slow += time.monotonic() - asked > 0.5
    errors = sum(count for status, count in statuses.items() if status and status >= 500 and status not in (501, 503, 505))
    target.case(f"A9 grammar fuzz for {seconds} s, seed {seed}", silent == 0 and errors == 0 and target.alive(),
                f"{requests} requests, {silent} without an end, {slow} over 0.5 s, {errors} server errors; statuses "
                + ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items(), key=lambda item: item[0] or 0)))


def oddities(target):
    target.attack("A10 unknown route", {404, 401}, target.head("GET", "/no/such/path"))
    target.attack("A10 unknown method", {405, 404}, target.head("BREW", "/healthz"))
    target.attack("A10 wrong method", {405, 404}, target.head("DELETE", "/healthz"))
    target.attack("A10 target over 8 KiB", {414}, target.head("GET", "/" + "a" * 8200))
    ranges = "bytes=" + ",".join(f"{i}-" for i in range(1000))
    target.attack("A10 1,000 overlapping ranges", {200, 400, 416}, target.head("GET", "/healthz", f"Range: {ranges}"), growth=MIB)
    for path in ("/images/..%2f..%2fetc/passwd", "/../../etc/passwd", "/%2e%2e/etc/passwd", "/a%00b", "/a%5c..%5cb", "/c:/x", "//etc/passwd"):
        target.attack(f"E5 path {path}", {400, 401, 404}, target.head("GET", path))
    clients = [target.connect("127.0.4.1") for _ in range(16)]
    time.sleep(0.2)
    refused = target.exchange(target.head(), source="127.0.4.1")[0]
    target.case("E9 seventeenth connection of an address", refused == 429 and target.alive(), f"status {refused}")
    for client in clients:
        client.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--pid", type=int, required=True, help="of the server: its memory is read from /proc")
    parser.add_argument("--post", default="/v1/jobs", help="a path that takes a POST body")
    parser.add_argument("--limit", type=int, default=20 * MIB, help="of that body, in bytes")
    parser.add_argument("--large", help="a path with an answer of 10 MiB or more, for the slow reader")
    parser.add_argument("--key", help="API key")
    parser.add_argument("--full", action="store_true", help="half-open clients for 60 s, fuzzing for 10 min")
    parser.add_argument("--ignore-memory", action="store_true", help="for a sanitizer build, which keeps what is freed")
    parser.add_argument("--fuzz-seconds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    target = Target(options)
    if not target.alive():
        sys.exit(f"{options.url}/healthz does not answer 200")
    descriptors = target.settled_descriptors()
    sizes_and_encodings(target)
    chunks(target)
    smuggling(target)
    oddities(target)
    for count in (64, 300, 1000):
        half_open(target, count, 60 if options.full else 15)
    if options.large:
        slow_reader(target, options.large)
    fuzz(target, 600 if options.full else options.fuzz_seconds, options.seed)
    left = target.settled_descriptors()
    target.case("descriptors at the end", left <= descriptors, f"{descriptors} before, {left} after")
    print(f"{target.failed} failed")
    return 1 if target.failed else 0


if __name__ == "__main__":
    sys.exit(main())
