"""The operator's side through the real data plane: what is live, what happens, and disconnecting."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

from .peers import Player, Publisher, until, until_async
from .scenario import scenario

ONCE = ("uring",)
# SPEC wants 100 ms; the bound leaves room for a busy machine. The figure is printed.
DISCONNECT_SECONDS = 5
EVENT_SECONDS = 30


@asynccontextmanager
async def events(server, query=""):
    """The server-sent events of `GET /events`, as a function that waits for the next one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.private_port)
    writer.write(f"GET /events{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head

    async def following():
        while True:
            line = await asyncio.wait_for(reader.readline(), EVENT_SECONDS)
            assert line, "the stream has ended"
            if line.startswith(b"data: "):
                return json.loads(line[len(b"data: ") :])

    try:
        yield following
    finally:
        writer.close()


async def expect(following, **wanted):
    """Waits for the event that has these; returns it and what came before."""
    before = []
    while True:
        event = await following()
        if wanted.items() <= event.items():
            return event, before
        before.append(event)


async def room(server, name):
    answer = await server.private("GET", f"/rooms/{name}")
    assert answer.status == 200, answer
    return answer.json


async def is_quiet(player):
    """Whether no packet comes for a second."""
    before = player.tap.packets()
    await asyncio.sleep(1)
    return player.tap.packets() == before


@scenario(ios=ONCE)
async def what_is_live_is_told(server, note):
    """/events tells a broadcast's life in its order; /rooms knows codecs, bit rates and viewers of its tracks."""
    async with events(server, "?room=told") as following:
        assert (await following())["type"] == "reset"
        async with Publisher(server, "told", "alice+1") as _, Player(server, "told", "bob") as bob:
            await bob.sees(0)
            alice = {"full_id": "alice+1", "role": "pub", "room": "told"}
            joined, before = await expect(following, type="session-joined", **alice)
            assert [event["type"] for event in before] == ["room-opened"], before
            await expect(following, type="session-connected", session=joined["session"])
            live, _ = await expect(following, type="track-live", kind="video", **alice)
            assert (live["track"], live["codec"]) == ("video0", "VP8"), live

            async def measured():
                tracks = (await room(server, "told"))["publishers"][0]["tracks"]
                return all(track["bits_per_second"] for track in tracks) and tracks

            await until_async(measured, "bit rates of both tracks")
            seen = await room(server, "told")
            publisher, (subscriber,) = seen["publishers"][0], seen["subscribers"]
            assert (publisher["session"], publisher["connected"], publisher["id"]) == (joined["session"], True, "alice")
            assert subscriber["full_id"] == "bob" and subscriber["receives"] == 2, subscriber
            tracks = {track["track"]: track for track in publisher["tracks"]}
            video = tracks["video0"]
            assert set(tracks) == {"audio0", "video0"} and tracks["audio0"]["codec"] == "opus", tracks
            assert video["live"] and video["viewers"] == 1 and video["keyframes"] >= 1 and video["packets"] > 0, video
            note(f"video {video['bits_per_second'] // 1000} kbit/s")
        left, before = await expect(following, type="session-left", **alice)
        assert left["reason"] == "left", left
        assert {event["track"] for event in before if event["type"] == "track-gone"} == {"audio0", "video0"}, before
        await expect(following, type="room-closed")


@scenario(ios=ONCE)
async def an_operator_disconnects_at_once(server, note):
    """DELETE ends a publisher's connection by a close_notify, and its viewers' media, without anybody's help."""
    async with Publisher(server, "ended", "alice") as alice, Player(server, "ended", "bob") as bob:
        await bob.sees(0)
        begin = time.monotonic()
        answer = await server.private("DELETE", "/rooms/ended/pub/alice")
        answered = time.monotonic() - begin
        assert answer.status == 200, answer
        await until(lambda: alice.dtls().state == "closed", "alice is told", DISCONNECT_SECONDS)
        told = time.monotonic() - begin
        assert await server.listed("pub", "ended") == []
        await until_async(lambda: is_quiet(bob), "bob gets nothing any more", DISCONNECT_SECONDS + 1)
        note(f"answered after {answered * 1e3:.0f} ms, close_notify after {told * 1e3:.0f} ms")
        missing = await server.private("DELETE", "/rooms/ended/pub/alice")
        assert missing.status == 404 and "nobody called alice is in ended" in missing.text, missing
        assert (await server.private("DELETE", "/rooms/ended")).status == 200
        await until(lambda: bob.dtls().state == "closed", "bob is told", DISCONNECT_SECONDS)
        assert (await server.private("DELETE", "/rooms/ended")).status == 404
