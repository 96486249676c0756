"""Floods at the HTTP port, from a process of their own so that the players of the test have theirs to themselves.

`python -m weever_e2e.floods PORT SECONDS` prints, as JSON, how often what happened."""

import json
import selectors
import socket
import sys
import threading
import time
from collections import Counter

SILENT = 400
MAX_SDP = 256 * 1024
# RFC 9113: the preface with empty SETTINGS.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
BATCH = 200


def connect(port):
    stream = socket.create_connection(("127.0.0.1", port), timeout=5)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def status_of(answer):
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def post(port, path, body, counts):
    try:
        with connect(port) as stream:
            stream.sendall(f"POST {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Type: application/sdp\r\n"
                           f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = b""
            while piece := stream.recv(65536):
                answer += piece
            counts[f"post {status_of(answer)}"] += 1
    except OSError:
        counts["post cut off"] += 1


def posts(port, end, counts):
    """Garbage, as large as it may be, as fast as it goes."""
    bodies = (b"v" * MAX_SDP, b"v=0\r\n" + b"m=audio 9 X 0\r\n" * 10000, b"")
    number = 0
    while time.monotonic() < end:
        post(port, f"/pub/flood/m{number}", bodies[number % len(bodies)], counts)
        number += 1


def small_posts(port, end, counts):
    """Many on one connection, without waiting for answers: each counts as a join."""
    one = b"POST /sub/flood/x HTTP/1.1\r\nHost: w\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0"
    while time.monotonic() < end:
        try:
            with connect(port) as stream:
                stream.sendall(one * 500 + one.replace(b"Host: w", b"Host: w\r\nConnection: close"))
                answers = b""
                while piece := stream.recv(65536):
                    answers += piece
                counts["told to wait"] += answers.count(b"HTTP/1.1 429")
                counts["refused"] += answers.count(b"HTTP/1.1 400")
        except OSError:
            counts["pipeline cut off"] += 1


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def resets(port, end, counts):
    """HTTP/2 streams that are begun and reset at once (CVE-2023-44487)."""
    while time.monotonic() < end:
        try:
            with connect(port) as stream:
                stream.sendall(PREFACE)
                for batch in range(100):
                    ids = range(batch * BATCH * 2 + 1, (batch + 1) * BATCH * 2, 2)
                    stream.sendall(b"".join(
                        frame(1, 5, n, b"\x82\x86\x84\x41\x01w") + frame(3, 0, n, b"\0\0\0\x08") for n in ids))
                    counts["streams reset"] += BATCH
        except OSError:
            counts["http/2 connections ended"] += 1


def dawdlers(port, end, counts):
    """Connections that say nothing, or a header now and then."""
    held, watch = [], selectors.DefaultSelector()
    while time.monotonic() < end:
        while len(held) < SILENT:
            try:
                stream = connect(port)
                stream.sendall(b"POST /pub/flood/slow HTTP/1.1\r\nHost: w\r\n" if len(held) % 2 else b"")
                watch.register(stream, selectors.EVENT_READ)
                held.append(stream)
                counts["dawdlers"] += 1
            except OSError:
                counts["dawdlers refused"] += 1
                break
        for stream in held[1::2]:
            try:
                stream.sendall(b"X-A: b\r\n")
            except OSError:
                pass
        for key, _ in watch.select(0.5):
            counts["dawdlers let go"] += 1
            watch.unregister(key.fileobj)
            key.fileobj.close()
            held.remove(key.fileobj)
    for stream in held:
        stream.close()


def guesses(port, end, counts):
    """URLs of sessions that nobody told."""
    number = 0
    while time.monotonic() < end:
        try:
            with connect(port) as stream:
                ask = "".join(f"DELETE /session/{number + n:032x} HTTP/1.1\r\nHost: w\r\n\r\n" for n in range(BATCH))
                # The last one closes the connection.
                stream.sendall(ask.removesuffix("\r\n").encode() + b"Connection: close\r\n\r\n")
                answers = b""
                while piece := stream.recv(65536):
                    answers += piece
                counts["guesses wrong"] += answers.count(b"HTTP/1.1 404")
                counts["guesses right"] += answers.count(b"HTTP/1.1 200")
                number += BATCH
        except OSError:
            counts["guesses cut off"] += 1


def main(port, seconds):
    counts, end = Counter(), time.monotonic() + seconds
    kinds = (posts, posts, small_posts, resets, dawdlers, guesses)
    threads = [threading.Thread(target=kind, args=(port, end, counts)) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
