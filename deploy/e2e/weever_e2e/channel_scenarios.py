"""The data channels: a storm of publishers on the control channel, owner notices, chat."""

import asyncio
import random
import re

from aiortc.mediastreams import AudioStreamTrack

from .browser import end, node
from .multistream import Multistream
from .peers import Peer, until, until_async
from .scenario import scenario

# Publishers in all, and at once.
STORM, AT_ONCE = 40, 6
ANSWER_SECONDS = 1.5
BROWSER_SECONDS = 80


class Light(Peer):
    """Publishes silence, and opens channels: as little as makes a publisher."""

    def __init__(self, server, room, name):
        super().__init__(server, f"/pub/{room}/{name}")
        self.heard = {"control": [], "chat": []}

    def prepare(self):
        self.pc.addTransceiver(AudioStreamTrack(), "sendonly")
        self.control, self.chat = (self.channel(label) for label in self.heard)

    def channel(self, label):
        channel = self.pc.createDataChannel(label)
        channel.on("message", self.heard[label].append)
        return channel

    async def open(self):
        await until(lambda: self.control.readyState == self.chat.readyState == "open", "the channels open")


class Slow(Multistream):
    """Answers when it feels like it."""

    def reply(self):
        asyncio.get_running_loop().call_later(random.uniform(0, ANSWER_SECONDS), self.reply_late, len(self.offers))

    def reply_late(self, offer):
        # One that came after it is answered by itself.
        if offer == len(self.offers) and self.channel.readyState == "open":
            super().reply()


async def browser(server, script, *arguments):
    """Its output, once it has ended well."""
    process = await node(server, script, *arguments)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), BROWSER_SECONDS)
    finally:
        await end(process)
    output = output.decode(errors="replace")
    assert process.returncode == 0, output[-4000:]
    return output


async def counted(server, reason):
    """How much was dropped for this reason, by the server's own metrics."""
    metrics = (await server.private("GET", "/metrics")).text
    return sum(float(count) for count in re.findall(rf'(?m)^weever_\w*{{[^}}]*reason="{reason}"[^}}]*}} (\S+)', metrics))


@scenario(ios=("uring",))
async def a_storm_of_publishers_ends_with_the_live_ones(server, note):
    """Forty come and go in one room; two aiortc subscribers, a slow one and Chromium end with exactly who stayed."""
    room, live, tasks = "storm", {}, set()
    dice = random.Random(5)
    watching = asyncio.ensure_future(browser(server, "chromium_storm.mjs", room, "stays"))
    subscribers = [Multistream(server, room, "prompt"), Slow(server, room, "slow"), Multistream(server, room, "p3")]
    try:
        await asyncio.gather(*(one.join() for one in subscribers))
        for number in range(STORM):
            name = f"p{number}+{number}"
            one = Light(server, room, name)
            await one.join()
            live[name] = one
            if len(live) >= dice.randint(2, AT_ONCE):
                leaving = asyncio.ensure_future(live.pop(dice.choice(sorted(live))).leave())
                tasks.add(leaving)
                leaving.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        # The browser has seen it all when it sees this one.
        last = Light(server, room, "stays+1")
        live["stays+1"] = last
        await last.join()
        for one in subscribers:
            own = one.path.split("/")[-1]
            names = [name for name in live if name.split("+")[0] != own]
            await one.knows(*names)
            await asyncio.gather(*(one.hears_packets(name, 10) for name in names))
            told = one.publishers_told()
            assert told == set(names), f"{one.path} was told of {told}, there are {names}"
            assert not any(name.startswith(f"{own}+") for name in one.said("PUB_JOIN")), "told of its own"
            assert len(one.lines) <= 1 + 2 * AT_ONCE + 2, f"{len(one.lines)} m-lines for at most {AT_ONCE + 1} tracks"
        seen = (await watching).split()
        assert seen == sorted(live), f"Chromium sees {seen}, there are {sorted(live)}"
        note(f"{len(live)} stayed; offers: {', '.join(str(len(one.offers)) for one in subscribers)}; "
             f"m-lines: {', '.join(str(len(one.lines)) for one in subscribers)}")
    finally:
        watching.cancel()
        await asyncio.gather(*(one.leave() for one in [*live.values(), *subscribers] if one.location),
                             return_exceptions=True)


@scenario(ios=("uring",))
async def owners_are_told_of_viewers_and_rooms_chat(server, note):
    """aiortc publishes and asks for its viewers; Chromium watches; what one says on `chat` the other hears."""
    room = "chat"
    async with Light(server, room, "alice+1") as alice, Light(server, room, "bob+1") as bob:
        await asyncio.gather(alice.open(), bob.open())
        alice.control.send("SUBS ON")
        await until(lambda: alice.heard["control"] == ["OK"], lambda: f"alice heard {alice.heard}")
        chatting = asyncio.ensure_future(browser(server, "chromium_chats.mjs", room, "carol+1"))
        try:
            await until(lambda: "SUB_JOIN carol+1" in alice.heard["control"], lambda: f"alice heard {alice.heard}", 60)
            # Whatever is sent before the browser's channel is open doesn't reach it, so she starts.
            for one in (alice, bob):
                await until(lambda: "carol+1 hello from Chromium" in one.heard["chat"], lambda: f"heard {one.heard}", 60)
            alice.chat.send("hello from aiortc \N{FISH}")
            await until(lambda: "alice+1 hello from aiortc \N{FISH}" in alice.heard["chat"], "her own words come back")
            await chatting
        finally:
            chatting.cancel()
        await until(lambda: "SUB_LEFT carol+1" in alice.heard["control"], lambda: f"alice heard {alice.heard}", 60)
        for said, word in (("x" * 4097, "4096"), (b"\x00\x01", "text"), ("", "text")):
            alice.chat.send(said)
            await until(lambda: word in alice.heard["chat"][-1] and alice.heard["chat"][-1].startswith("* not sent: "),
                        lambda: f"{said[:10]} was answered by {alice.heard['chat'][-1]}")
        for _ in range(50):
            bob.chat.send("spam")
        await until(lambda: "* not sent: too fast; 10 at once, then 2 a second" in bob.heard["chat"],
                    lambda: f"bob heard {bob.heard['chat'][-3:]}")
        assert bob.heard["control"] == [], "nobody is told who didn't ask"
        spam = sum(text == "bob+1 spam" for text in alice.heard["chat"])
        assert 0 < spam < 30, f"{spam} of 50 at once"
        # Told once a second.
        await until_async(lambda: counted(server, "chat_too_fast"), "what was too fast is counted")
        await until_async(lambda: counted(server, "chat_message"), "what was no message is counted")
        note(f"{spam} of 50 at once passed")
