"""Who may join and with what limits, met by real publishers; and what must never be in a log."""

import asyncio
import json
import subprocess
import tempfile
from contextlib import asynccontextmanager

from .http_scenarios import ONCE, SDP, offer, problem
from .peers import Publisher, until_async
from .scenario import scenario
from .server import Server

TOKEN = "correct-horse-battery-staple"
LIMITS = {
    # The sound alone is more.
    "thin": {"max_bitrate": 20_000},
    "wide": {"max_bitrate": 50_000_000},
    "short": {"max_duration": 8},
    "no": {"allowed": False, "reason": "not today"},
}


@asynccontextmanager
async def judge(questions):
    """An auth webhook: the token names what is answered."""

    async def answer(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                question = json.loads(await reader.readexactly(length))
                questions.append(question)
                body = json.dumps(LIMITS.get(question["token"], {"allowed": False})).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                             b"content-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # The server has closed the connection.
        finally:
            writer.close()

    service = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{service.sockets[0].getsockname()[1]}/"
    finally:
        service.close()


async def gone(server, publisher):
    async def is_gone():
        return (await server.public("GET", publisher.location)).status == 404

    await until_async(is_gone, lambda: f"{publisher.path} is still there")


def left(server, name, reason):
    return any(f"id={name} " in line and f'reason="{reason}"' in line for line in server.log_text().splitlines())


@scenario(ios=ONCE)
async def limits_of_a_webhook_are_enforced(server, note):
    """Bit rate told and held, duration held, also by a control plane that began anew."""
    questions = []
    async with judge(questions) as url, \
            Server("weever-auth-webhook", server.io, "--auth-webhook", url) as guarded:
        no = {**SDP, "Authorization": "Bearer no"}
        problem(await guarded.public("POST", "/pub/room/alice", await offer(), no), 403, "not today")
        wide = Publisher(guarded, "room", "wide", token="wide")
        thin = Publisher(guarded, "room", "thin", token="thin")
        async with wide, thin:
            assert "b=TIAS:5000\r\n" in thin.answer and "b=AS:15\r\n" in thin.answer, thin.answer
            await gone(guarded, thin)
            assert left(guarded, "thin", "bitrate-exceeded"), "bitrate-exceeded is not in the log"
            short = Publisher(guarded, "room", "short", token="short")
            async with short:
                await guarded.kill_plane("controlplane")
                await guarded.ready(30)
                await gone(guarded, short)
                assert left(guarded, "short", "duration-exceeded"), "duration-exceeded is not in the log"
            assert await guarded.listed("pub", "room") == ["wide"], "who keeps to its limits stays"
            assert wide.pc.connectionState == "connected"
    asked = {question["full_id"]: question for question in questions}
    assert asked["wide"]["remote_addr"] == "127.0.0.1" and asked["wide"]["role"] == "pub", asked


@scenario(own=("--auth", "--log", "trace"), ios=ONCE)
async def no_token_is_in_the_log(server, note):
    """Set, used well and badly, over HTTP/1.1 and HTTP/2, with everything logged that can be."""
    wrong = TOKEN + "-wrong"
    for role in ("pub", "sub"):
        body = json.dumps({"room": "room", "id": "alice", "token": TOKEN})
        created = await server.private("POST", f"/create/{role}", body, {"Content-Type": "application/json"})
        assert created.text.strip() == f"{role} set", created
    sdp = await offer("recvonly")
    with tempfile.NamedTemporaryFile("w", suffix=".sdp") as file:
        file.write(sdp)
        file.flush()
        for http in ("--http1.1", "--http2-prior-knowledge"):
            for n, (token, status) in enumerate(((TOKEN, "201"), (wrong, "401"))):
                url = f"http://127.0.0.1:{server.port}/sub/room/alice+{http.strip('-')[:5]}{n}"
                command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", http,
                           "-H", "Content-Type: application/sdp", "-H", f"Authorization: Bearer {token}",
                           "--data-binary", f"@{file.name}", url]
                done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
                assert done.stdout.split() == [status, "2" if "2" in http else "1.1"], (command, done)
    async with Publisher(server, "room", "alice", token=TOKEN):
        pass
    log = server.log_text()
    assert "TRACE" in log and "room=room" in log, "the log says nothing"
    lines = [line for line in log.splitlines() if TOKEN in line]
    assert not lines, lines[:3]
    note(f"{len(log.splitlines())} lines without one")
