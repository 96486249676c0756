"""Several nodes on Redis and NATS: publish at one, watch at any; lose one, or an engine, and go on."""

import asyncio
import time

from .browser import WATCH_SECONDS, end, node
from .channel_scenarios import Light
from .cluster import Cluster, Divided, Nats
from .island import Island
from .loadgen_scenarios import loadgen
from .multistream import Multistream
from .path import Path
from .peers import Player, Publisher, until, until_async
from .scenario import scenario
from .server import Server
from .shard_scenarios import DataPlane, assert_whole, where

# A dead node's entries go within ten seconds; the rest is for a busy machine.
GONE_SECONDS = 20
AGREE_SECONDS = 20
VIEWERS = 300
MEASURE_SECONDS = 10


async def lists(cluster, room, publishers, subscribers=None, nodes=None, seconds=AGREE_SECONDS):
    """Until each node lists these, and nobody else."""
    nodes = cluster.nodes if nodes is None else nodes
    seen = {}

    async def agree():
        for one in nodes:
            seen[one.node] = (await one.listed("pub", room), await one.listed("sub", room))
        return all(pub == sorted(publishers) and (subscribers is None or sub == sorted(subscribers))
                   for pub, sub in seen.values())

    await until_async(agree, lambda: f"all list {publishers} and {subscribers}: {seen}", seconds)


@scenario(ios=("uring",))
async def cluster_publish_at_one_watch_at_another(_server, note):
    """Players, and subscribers with a control channel, of three nodes; lists, counts and notices are the cluster's."""
    async with Cluster("uring", 3) as cluster:
        async with Multistream(cluster[2], "room", "early") as early:
            await early.knows()
            async with Publisher(cluster[0], "room", "alice", variant=0, hertz=660) as alice:
                began = time.monotonic()
                await early.knows("alice")
                heard_ms = 1000 * (time.monotonic() - began)
                await early.sees("alice", 0)
                async with Player(cluster[1], "room", "tv") as player, Player(cluster[0], "room", "near") as near:
                    await asyncio.gather(player.sees(0), near.sees(0))
                    await asyncio.gather(player.hears(660), near.hears(660))
                    await lists(cluster, "room", ["alice"], ["early", "near", "tv"])
                    async with Publisher(cluster[1], "room", "bob", variant=1):
                        await early.knows("alice", "bob")
                        await early.sees("bob", 1)
                        await early.sees("alice", 0)
                    await early.knows("alice")
                    assert early.publishers_told() == {"alice"}
                    await player.sees(0)
                    for one in (player, near):
                        for stream in one.tap.streams.values():
                            assert not stream.missing(), f"{one.path} misses {stream.missing()[:10]}"
                await alice.leave()
            await early.knows()
            assert early.said("PUB_LEFT") == ["bob", "alice"]
        await lists(cluster, "room", [], [])
    note(f"told after {heard_ms:.0f} ms")


@scenario(ios=("uring",))
async def data_planes_share_a_room_by_the_relay(_server, note):
    """A second data plane takes newcomers to a room of one that is being drained; who publishes on either is seen on both."""
    async with Nats() as nats, Server("relayed", "uring", "--nats", nats.url, "--workers", "1") as server:
        async with Publisher(server, "room", "alice", variant=0), Player(server, "room", "near") as near:
            await near.sees(0)
            async with DataPlane(server, "second", "--nats", nats.url):
                drained = await server.private("POST", "/shards/dataplane/drain")
                assert drained.status == 200, drained
                async with Player(server, "room", "far") as far, Multistream(server, "room", "screen") as screen:
                    await asyncio.gather(far.sees(0), screen.sees("alice", 0))
                    assert await where(server, "room") == {"dataplane", "second"}
                    async with Publisher(server, "room", "bob", variant=1), Player(server, "room", "bobs", "?from=bob") as bobs:
                        await screen.knows("alice", "bob")
                        await asyncio.gather(screen.sees("bob", 1), bobs.sees(1))
                    await asyncio.gather(near.sees(0), far.sees(0))
                    for one in (near, far):
                        assert_whole(one)
                    note(f"{far.frames} frames across")


@scenario(ios=("uring",))
async def cluster_chats(_server, note):
    """What one says on `chat` is heard once by each member at each node."""
    async with Cluster("uring", 2) as cluster:
        async with Light(cluster[0], "room", "alice") as alice, Light(cluster[1], "room", "bob") as bob, \
                Light(cluster[1], "other", "carol") as carol:
            members = (alice, bob, carol)
            await asyncio.gather(*(one.open() for one in members))
            await lists(cluster, "room", ["alice", "bob"])
            alice.chat.send("hello")
            await until(lambda: bob.heard["chat"] == ["alice hello"], lambda: f"bob heard {bob.heard}")
            bob.chat.send("you too")
            await until(lambda: alice.heard["chat"] == ["alice hello", "bob you too"], lambda: f"alice heard {alice.heard}")
            assert bob.heard["chat"] == ["alice hello", "bob you too"] and carol.heard["chat"] == []


@scenario(ios=("uring",))
async def cluster_carries_a_stream_once_for_each_node(_server, note):
    """300 viewers at two nodes: NATS hands the stream out twice, by its own count."""
    async with Cluster("uring", 3) as cluster:
        urls = [f"http://127.0.0.1:{one.port}" for one in cluster.nodes]
        measuring = asyncio.ensure_future(loadgen(
            "broadcast", "--whip", f"{urls[0]}/pub/wide/source", "--whep", f"{urls[1]}/sub/wide/a{{n}}", "--whep",
            f"{urls[2]}/sub/wide/b{{n}}", "--viewers", str(VIEWERS), "--bitrate", "500", "--seconds", str(MEASURE_SECONDS),
            "--join-rate", "100"))
        try:
            async def all_there():
                if measuring.done():
                    await measuring
                return len(await cluster[0].listed("sub", "wide")) == VIEWERS

            await until_async(all_there, "all viewers are there", 60)
            begin = await cluster.nats.passed()
            await asyncio.sleep(4)
            now = await cluster.nats.passed()
            report = await measuring
        finally:
            measuring.cancel()
        came, went = now["in_bytes"] - begin["in_bytes"], now["out_bytes"] - begin["out_bytes"]
        # 500 kbit/s for four seconds are 250 kB.
        assert came > 150_000, f"{came} bytes came to NATS"
        assert 1.8 < went / came < 2.2, f"{went} bytes went for {came} that came"
        assert report["viewers"]["with_media"] == VIEWERS and report["lost"] == 0, (report["viewers"], report["lost"])
        note(f"{went / came:.2f} bytes out for each in, p99 {report['delay_ms']['p99']:.1f} ms")


@scenario(ios=("uring",))
async def cluster_lets_one_of_many_have_a_name(_server, note):
    """The same Full ID posted at three nodes at once, many times: exactly one has it."""
    async with Cluster("uring", 3) as cluster:
        probe = Publisher(cluster[0], "race", "probe")
        probe.prepare()
        await probe.pc.setLocalDescription(await probe.pc.createOffer())
        offer = probe.pc.localDescription.sdp
        await probe.pc.close()
        for attempt in range(10):
            answers = await asyncio.gather(*(one.public("POST", f"/pub/race/alice+{attempt}", offer,
                                                        {"Content-Type": "application/sdp"})
                                             for one in cluster.nodes for _ in range(3)))
            codes = sorted(answer.status for answer in answers)
            assert codes == [201] + [409] * 8, codes
            refused = next(answer for answer in answers if answer.status == 409)
            assert "duplicate publisher" in refused.text, refused
        await lists(cluster, "race", [f"alice+{attempt}" for attempt in range(10)])
    note("10 races")


@scenario(ios=("uring",))
async def cluster_loses_a_node(_server, note):
    """kill -9 of the publisher's node: others say PUB_LEFT within ten seconds, and its name is free at the next node."""
    async with Cluster("uring", 3) as cluster:
        async with Multistream(cluster[1], "room", "viewer") as viewer:
            async with Publisher(cluster[0], "room", "alice", variant=0) as alice:
                await viewer.knows("alice")
                await viewer.sees("alice", 0)
                await cluster[0].die()
                begin = time.monotonic()
                await until(lambda: viewer.said("PUB_LEFT") == ["alice"], "PUB_LEFT alice", GONE_SECONDS)
                gone = time.monotonic() - begin
                await alice.vanish()
            others = cluster.nodes[1:]
            await lists(cluster, "room", [], ["viewer"], others)
            async with Publisher(cluster[2], "room", "alice", variant=2):
                await viewer.knows("alice")
                await viewer.sees("alice", 2)
                await lists(cluster, "room", ["alice"], ["viewer"], others)
    note(f"gone after {gone:.1f} s")


@scenario(ios=("uring",))
async def cluster_publisher_moves_between_nodes(_server, note):
    """An encoder that lost its network comes back at another node: the same viewers, the same session, another picture."""
    async with Cluster("uring", 3) as cluster, Path() as path:
        old = Publisher(cluster[0], "room", "alice", variant=0)
        old.change_answer = path.redirect
        async with old, Player(cluster[2], "room", "tv") as player, Player(cluster[0], "room", "near") as near:
            await asyncio.gather(player.sees(0), near.sees(0))
            new = Publisher(cluster[1], "room", "alice", variant=3)
            new.prepare()
            refused = await new.post()
            assert refused.status == 409, refused
            await new.pc.close()
            path.cut = True
            begin = time.monotonic()

            new = Publisher(cluster[1], "room", "alice", variant=3)
            new.prepare()
            answer = None

            async def taken():
                nonlocal answer
                answer = await new.post()
                return answer.status == 201

            # Its old session is silent after five seconds.
            await until_async(taken, lambda: f"the name is given: {answer}", GONE_SECONDS)
            new.location = answer.header("Location")
            await new.finish_join(answer.text)
            await asyncio.gather(player.sees(3), near.sees(3))
            took = time.monotonic() - begin
            await lists(cluster, "room", ["alice"], ["near", "tv"])
            detail = await cluster[0].private("GET", "/rooms/room")
            assert '"alice"' not in detail.text, f"a ghost: {detail.text}"
            await new.leave()
            await old.vanish()
    note(f"moved in {took:.1f} s")


@scenario(ios=("uring",))
async def cluster_goes_on_without_redis(_server, note):
    """Redis is killed under load and comes back empty: media never stops, here or across, and all is known again."""
    async with Cluster("uring", 2) as cluster:
        async with Publisher(cluster[0], "room", "alice", variant=0), Player(cluster[0], "room", "near") as near, \
                Player(cluster[1], "room", "far") as far, Multistream(cluster[1], "room", "screen") as screen:
            await asyncio.gather(near.sees(0), far.sees(0), screen.sees("alice", 0))
            await cluster.redis.kill()
            # Longer than a lease.
            await asyncio.sleep(8)
            await asyncio.gather(near.sees(0), far.sees(0), screen.sees("alice", 0))
            async with Publisher(cluster[0], "room", "bob", variant=1), Player(cluster[0], "room", "bobs", "?from=bob") as bobs:
                await bobs.sees(1)
                await cluster.redis.start()
                await screen.knows("alice", "bob")
                await screen.sees("bob", 1)
                await lists(cluster, "room", ["alice", "bob"], ["bobs", "far", "near", "screen"])
            await screen.knows("alice")
            assert "alice" not in screen.said("PUB_LEFT"), screen.messages
            for one in (near, far):
                await one.sees(0)
                for stream in one.tap.streams.values():
                    assert not stream.missing(), f"{one.path} misses {stream.missing()[:10]}"
            note(f"{far.frames} frames across")


@scenario(ios=("uring",))
async def cluster_goes_on_without_nats(_server, note):
    """NATS is killed under load: who watches at the publisher's node loses nothing, and others go on when it is back."""
    async with Cluster("uring", 2) as cluster:
        # Not a player of aiortc at the other node: its jitter buffer waits for 512 packets before it gives up a gap.
        async with Publisher(cluster[0], "room", "alice", variant=0), Player(cluster[0], "room", "near") as near, \
                Multistream(cluster[1], "room", "far") as far:
            await asyncio.gather(near.sees(0), far.sees("alice", 0))
            await cluster.nats.kill()
            await asyncio.sleep(1)
            stopped = far.tap.packets()
            await near.sees(0, frames=30)
            assert far.tap.packets() == stopped, "media crossed without NATS"
            await cluster.nats.start()
            begin = time.monotonic()
            await far.sees("alice", 0, seconds=AGREE_SECONDS)
            back = time.monotonic() - begin
            assert far.said("PUB_LEFT") == []
            for stream in near.tap.streams.values():
                assert not stream.missing(), f"the near one misses {stream.missing()[:10]}"
            await lists(cluster, "room", ["alice"], ["far", "near"])
    note(f"back after {back:.1f} s")


@scenario(ios=("uring",))
async def cluster_starts_without_its_engines(_server, note):
    """Without Redis and NATS each node serves its own; when they come, the nodes find each other."""
    async with Cluster("uring", 2, engines=False) as cluster:
        async with Publisher(cluster[0], "room", "alice", variant=0), Player(cluster[0], "room", "near") as near, \
                Multistream(cluster[1], "room", "far") as far:
            await near.sees(0)
            assert far.publishers() == []
            async with cluster.redis, cluster.nats:
                begin = time.monotonic()
                await until(lambda: far.publishers() == ["alice"], "the other node knows alice", AGREE_SECONDS)
                await far.sees("alice", 0)
                found = time.monotonic() - begin
                await lists(cluster, "room", ["alice"], ["far", "near"])
    note(f"one cluster after {found:.1f} s")


@scenario(ios=("uring",))
async def cluster_is_divided_and_healed(_server, note):
    """One node can't reach Redis and NATS for longer than a lease: both sides go on with their own; then they agree again."""
    async with Island() as island, Divided("uring", island) as cluster, Path(host=island.near) as way, \
            Path(host=island.near) as other_way:
        here, there = cluster.nodes

        def by(path, peer):
            peer.change_answer = path.redirect
            return peer

        async with Publisher(here, "room", "alice", variant=0), by(way, Publisher(there, "room", "bob", variant=1)), \
                Multistream(here, "room", "h") as at_home, by(other_way, Multistream(there, "room", "t")) as abroad:
            for viewer in (at_home, abroad):
                await viewer.knows("alice", "bob")
                await asyncio.gather(viewer.sees("alice", 0), viewer.sees("bob", 1))
            await island.cut()
            await until(lambda: at_home.said("PUB_LEFT") == ["bob"], "the island's publisher is gone here", GONE_SECONDS)
            # Both sides go on with what they have.
            await asyncio.gather(at_home.sees("alice", 0), abroad.sees("bob", 1))
            # In the meantime carol comes here.
            async with Publisher(here, "room", "carol", variant=2):
                await at_home.sees("carol", 2)
                assert "carol" not in abroad.publishers(), "the way isn't cut"
                await island.heal()
                begin = time.monotonic()
                for viewer in (at_home, abroad):
                    await viewer.knows("alice", "bob", "carol")
                agreed = time.monotonic() - begin
                await lists(cluster, "room", ["alice", "bob", "carol"], ["h", "t"])
                for viewer in (at_home, abroad):
                    await asyncio.gather(viewer.sees("alice", 0), viewer.sees("bob", 1), viewer.sees("carol", 2))
            for viewer in (at_home, abroad):
                await viewer.knows("alice", "bob")
    note(f"agreed {agreed:.1f} s after the healing")


@scenario(ios=("uring",))
async def cluster_gives_a_name_once_across_a_division(_server, note):
    """Both sides of a division have a publisher of one name: after the healing one of them has it, the other has ended."""
    async with Island() as island, Divided("uring", island) as cluster, Path(host=island.near) as way, \
            Path(host=island.near) as other_way:
        here, there = cluster.nodes
        old, seen = Publisher(there, "room", "alice", variant=1), Multistream(there, "room", "t")
        old.change_answer, seen.change_answer = way.redirect, other_way.redirect
        async with old, seen, Multistream(here, "room", "h") as at_home:
            await at_home.knows("alice")
            await asyncio.gather(at_home.sees("alice", 1), seen.sees("alice", 1))
            await island.cut()
            await until(lambda: at_home.said("PUB_LEFT") == ["alice"], "it is gone here", GONE_SECONDS)
            # Its name is free here; the old one never knew.
            async with Publisher(here, "room", "alice", variant=2):
                await asyncio.gather(at_home.sees("alice", 2), seen.sees("alice", 1))
                await island.heal()
                begin = time.monotonic()
                await asyncio.gather(at_home.sees("alice", 2, seconds=AGREE_SECONDS), seen.sees("alice", 2, seconds=AGREE_SECONDS))
                agreed = time.monotonic() - begin
                await lists(cluster, "room", ["alice"], ["h", "t"])
                answer = await there.private("GET", "/rooms/room")
                assert '"alice"' not in answer.text, f"a ghost: {answer.text}"
            await old.vanish()
    note(f"agreed {agreed:.1f} s after the healing")


@scenario(ios=("uring",))
async def cluster_replaces_a_control_plane(_server, note):
    """kill -9 of the control plane at the viewers' node: what is relayed goes on without a gap, and nobody is told a lie."""
    async with Cluster("uring", 2) as cluster:
        async with Publisher(cluster[0], "room", "alice", variant=0), Player(cluster[1], "room", "far") as far, \
                Multistream(cluster[1], "room", "screen") as screen:
            await asyncio.gather(far.sees(0), screen.sees("alice", 0))
            for number in (1, 0):
                killed = await cluster[number].kill_plane("controlplane")
                await until(lambda: cluster[number].plane("controlplane") not in (None, killed), "there is another", 20)
                await cluster[number].ready(20)
                await lists(cluster, "room", ["alice"], ["far", "screen"])
                await far.sees(0, frames=30)
            # What was said meanwhile comes to nothing.
            await asyncio.sleep(6)
            assert screen.publishers_told() == {"alice"} and "PUB_LEFT" not in [verb for verb, _ in screen.messages]
            for stream in far.tap.streams.values():
                assert not stream.missing(), f"it misses {stream.missing()[:10]}"
            async with Publisher(cluster[0], "room", "bob", variant=1):
                await screen.knows("alice", "bob")
                await screen.sees("bob", 1)
            await screen.knows("alice")
    note(f"{far.frames} frames")


@scenario(ios=("uring",))
async def cluster_shows_chromium_to_chromium(_server, note):
    """A page that publishes at one node, pages that watch at another: picture and sound."""
    async with Cluster("uring", 2) as cluster:
        process = await node(cluster[1], "chromium_across.mjs", f"http://127.0.0.1:{cluster[0].port}")
        try:
            output, _ = await asyncio.wait_for(process.communicate(), WATCH_SECONDS)
        finally:
            await end(process)
        assert process.returncode == 0, output.decode(errors="replace")[-4000:]
        note(output.decode().strip())
