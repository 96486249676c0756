"""Pictures and sound through the server, by independent clients."""

import asyncio

from .encoder import Ffmpeg
from .multistream import Multistream
from .path import Path, own_address
from .peers import Player, Publisher, payload_types, until, until_async
from .scenario import scenario
from .server import ROOT

LOSS = 0.02
ENOUGH_DROPPED = 60
LOSSY_SECONDS = 45


@scenario()
async def aiortc_publishes_vp8_and_plays_it(server, note):
    """The picture is the pattern, and the tone is the tone."""
    async with Publisher(server, "vp8", "alice", variant=1, hertz=440):
        async with Player(server, "vp8", "viewer") as player:
            await asyncio.gather(player.sees(1), player.hears(440))
            note(f"{player.frames} frames")


@scenario()
async def aiortc_publishes_h264_and_plays_it(server, note):
    """The same with the other codec."""
    async with Publisher(server, "h264", "alice", variant=2, hertz=500, codec="H264"):
        async with Player(server, "h264", "viewer") as player:
            await asyncio.gather(player.sees(2), player.hears(500))
            note(f"{player.frames} frames")


@scenario()
async def player_waits_and_resumes(server, note):
    """Nobody live: it waits. The publisher goes and comes back: the same session goes on."""
    async with Player(server, "wait", "viewer") as player:
        location = player.location
        await asyncio.sleep(1)
        assert player.frames == 0
        async with Publisher(server, "wait", "alice", variant=3, hertz=440):
            await asyncio.gather(player.sees(3), player.hears(440))
        await asyncio.sleep(1)
        paused = player.frames
        await asyncio.sleep(1)
        assert player.frames == paused, "frames came without a publisher"
        async with Publisher(server, "wait", "alice", variant=4, hertz=700):
            await asyncio.gather(player.sees(4), player.hears(700))
        assert player.location == location
        video, _ = payload_types(player.answer, "video", "VP8")
        missing = player.main_stream(video).missing()
        assert not missing, f"sequence numbers jumped over the pause: {missing[:10]}"


@scenario()
async def slot_switches_to_next_publisher(server, note):
    """The longest-live by default, `?from=` picks one; when it leaves, the next takes the slot."""
    async with Publisher(server, "slots", "alice", variant=0, hertz=440) as alice:
        await wait_listed(server, "slots", "alice")
        async with Publisher(server, "slots", "bob", variant=3, hertz=700):
            async with Player(server, "slots", "v1") as default:
                async with Player(server, "slots", "v2", query="?from=bob") as chosen:
                    await asyncio.gather(default.sees(0), chosen.sees(3), default.hears(440), chosen.hears(700))
                    await alice.leave()
                    await asyncio.gather(default.sees(3), default.hears(700), chosen.sees(3))


@scenario()
async def nobody_receives_their_own_media(server, note):
    """A subscriber of the publisher's own ID, also of its screen's, waits for others."""
    async with Publisher(server, "self", "alice+k3x9", variant=0):
        async with Publisher(server, "self", "alice-screen+k3x9", variant=1):
            async with Multistream(server, "self", "alice+zzzz") as own:
                async with Publisher(server, "self", "bob", variant=2):
                    await own.knows("bob")
                    await own.sees("bob", 2)


@scenario()
async def ffmpeg_publishes_and_aiortc_plays_it(server, note):
    """H.264 and Opus by WHIP from an encoder that is the DTLS server."""
    async with Ffmpeg(server, "ffmpeg", "encoder") as ffmpeg:
        async with Player(server, "ffmpeg", "viewer") as player:
            await until(lambda: ffmpeg.check() and player.frames >= 30 and player.liveliness > 30,
                        lambda: f"{player.frames} frames, liveliness {player.liveliness:.0f}", 30)
            await player.hears(600)
            note(f"{player.frames} frames, liveliness {player.liveliness:.0f}")


async def gstreamer_publishes(server, note, codec):
    # libnice has no candidate on 127.0.0.1.
    async with Path(host=own_address()) as path, Player(server, f"gst-{codec}", "viewer") as player:
        path.server = ("127.0.0.1", server.udp_port)
        url = f"http://127.0.0.1:{server.port}/pub/gst-{codec}/gstreamer"
        process = await asyncio.create_subprocess_exec(
            "/usr/bin/python3", str(ROOT / "deploy" / "e2e" / "gstreamer.py"), "publish", url, codec,
            str(server.udp_port), path.host, str(path.port),
            stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        try:
            await until(lambda: process.returncode is not None or player.frames >= 60,
                        lambda: f"{player.frames} frames, {player.tap.packets()} packets", 30)
            if process.returncode is not None:
                raise AssertionError((await process.stderr.read()).decode(errors="replace")[-2000:])
            process.stdin.close()
            assert await asyncio.wait_for(process.wait(), 15) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

        async def gone():
            return await server.listed("pub", f"gst-{codec}") == []

        await until_async(gone, "it has left")
        for stream in player.tap.streams.values():
            assert not stream.missing(), stream.missing()[:10]
        note(f"{player.frames} frames")


@scenario(own=("--workers", "1"))
async def gstreamer_publishes_vp8(server, note):
    """webrtcbin by WHIP, with the RSA certificate that it makes."""
    await gstreamer_publishes(server, note, "VP8")


@scenario(own=("--workers", "1"))
async def gstreamer_publishes_h264(server, note):
    """The same with the other codec."""
    await gstreamer_publishes(server, note, "H264")


@scenario()
async def multistream_follows_publishers(server, note):
    """Two publishers, a late joiner, one that leaves and comes back, all on one PeerConnection."""
    async with Multistream(server, "multi", "watcher") as watcher:
        await watcher.knows()
        async with Publisher(server, "multi", "alice+1", variant=0):
            await watcher.knows("alice+1")
            await watcher.sees("alice+1", 0)
            async with Publisher(server, "multi", "bob+1", variant=1):
                async with Multistream(server, "multi", "late") as late:
                    for subscriber in (watcher, late):
                        await subscriber.knows("alice+1", "bob+1")
                        await asyncio.gather(
                            subscriber.sees("alice+1", 0), subscriber.sees("bob+1", 1),
                            subscriber.hears_packets("alice+1"), subscriber.hears_packets("bob+1"))
                    assert late.said("PUB_JOIN") == [], "publishers from before are in the SDP, not in messages"
            await watcher.knows("alice+1")
            async with Publisher(server, "multi", "bob+1", variant=5):
                await watcher.knows("alice+1", "bob+1")
                await asyncio.gather(watcher.sees("bob+1", 5), watcher.sees("alice+1", 0))
        await watcher.knows()
        assert watcher.said("PUB_JOIN") == ["alice+1", "bob+1", "bob+1"], watcher.said("PUB_JOIN")
        assert watcher.said("PUB_LEFT") == ["bob+1", "bob+1", "alice+1"], watcher.said("PUB_LEFT")
        lines = len(watcher.lines)
        assert lines <= 5, f"m-lines are recycled, but there are {lines}"
        watcher.channel.send("hello")
        await until(lambda: watcher.said("OK"), "anything else is answered by OK")


@scenario()
async def rtx_repairs_two_percent_loss(server, note):
    """A path to the viewer that loses 2 % of the server's RTP: every lost video packet comes again."""
    async with Path(loss_to_client=LOSS, seed=7) as path:
        async with Ffmpeg(server, "lossy", "encoder", kbit_per_second=2000):
            await wait_listed(server, "lossy", "encoder")
            player = Player(server, "lossy", "viewer")
            player.change_answer = path.redirect
            async with player:
                video, rtx = payload_types(player.answer, "video", "H264")
                assert rtx is not None, f"no RTX in {player.answer}"
                player.count_repairs(rtx)
                await until(lambda: player.frames > 0, "a first frame")
                asking = asyncio.ensure_future(player.keep_asking(video))
                try:
                    await until(lambda: path.dropped >= ENOUGH_DROPPED,
                                lambda: f"only {path.dropped} dropped of {path.forwarded}", LOSSY_SECONDS)
                    path.loss_to_client = 0
                    await until(lambda: not never_came(player, path, video),
                                lambda: never_repaired(player, path, video))
                finally:
                    asking.cancel()
                lost = len(dropped_of(player, path, video))
                frames = player.frames
                await until(lambda: player.frames > frames + 10, "frames still advance")
                assert lost >= ENOUGH_DROPPED // 2, f"the path dropped, but only {lost} video packets"
                note(f"{path.dropped} of {path.forwarded + path.dropped} dropped, "
                     f"{lost} video packets repaired, {player.frames} frames")


def dropped_of(player, path, video):
    """Sequence numbers of the video packets that the path dropped while the viewer watched."""
    ssrc = next(iter(player.tap.of_payload_type(video)))
    return {sequence for one, sequence in path.dropped_packets if one == ssrc}


def never_came(player, path, video):
    """Those of them that lie between the viewer's first and last packet and did not come again."""
    dropped = dropped_of(player, path, video)
    return [number for number in player.still_missing(video) if number & 0xFFFF in dropped]


def never_repaired(player, path, video):
    missing = player.still_missing(video)
    return (f"dropped and never repaired: {never_came(player, path, video)[:20]}; missing for any reason {len(missing)}; "
            f"{len(player.repaired)} repaired, {path.dropped} dropped by the path")


@scenario()
async def viewer_moves_to_another_address(server, note):
    """A NAT rebind in mid-session: media follows, without a new handshake."""
    async with Path() as path:
        async with Publisher(server, "move", "alice", variant=2):
            player = Player(server, "move", "viewer")
            player.change_answer = path.redirect
            async with player:
                await player.sees(2)
                await path.move()
                await player.sees(2, seconds=30)


@scenario()
async def publisher_moves_to_another_address(server, note):
    """The same on the other side."""
    async with Path() as path:
        publisher = Publisher(server, "move-pub", "alice", variant=4)
        publisher.change_answer = path.redirect
        async with publisher:
            async with Player(server, "move-pub", "viewer") as player:
                await player.sees(4)
                await path.move()
                before = player.frames
                await until(lambda: player.frames > before + 40, lambda: f"{player.frames - before} frames since", 30)


async def wait_listed(server, room, name):
    for _ in range(200):
        if name in await server.listed("pub", room):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} is not listed in {room}")
