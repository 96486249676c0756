"""The HTTP contract: every code and header that clients and operators rely on."""

import re
import socket
import time

from .media_scenarios import wait_listed
from .peers import Player, Publisher, connection
from .scenario import scenario

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
MAX_BODY = 256 * 1024
# SECURITY 9 wants 100 ms; the bound leaves room for a busy machine.
HOSTILE_SECONDS = 2
ONCE = ("uring",)


async def offer(direction="sendonly"):
    """A complete offer with audio and video of a client that will never connect."""
    pc = connection()
    try:
        for kind in ("audio", "video"):
            pc.addTransceiver(kind, direction)
        await pc.setLocalDescription(await pc.createOffer())
        return pc.localDescription.sdp
    finally:
        await pc.close()


def problem(answer, status, detail=None):
    """It is this error, told as RFC 9457 wants it."""
    assert answer.status == status, f"{status} expected: {answer}"
    assert answer.header("Content-Type").startswith("application/problem+json"), answer
    told = answer.json
    assert told.get("status", status) == status and told.get("detail"), told
    if detail is not None:
        assert told["detail"].startswith(detail), f"{detail!r} expected: {told}"
    return told


@scenario(ios=ONCE)
async def post_answers_201(server, note):
    """Location, ETag, Accept-Patch, and an answer with every candidate."""
    for role, direction in (("pub", "sendonly"), ("sub", "recvonly")):
        answer = await server.public("POST", f"/{role}/created/alice", await offer(direction), SDP)
        assert answer.status == 201, answer
        assert answer.header("Content-Type").startswith("application/sdp"), answer
        location = answer.header("Location")
        assert re.fullmatch(r"/\S*/[0-9a-f]{32}", location) and "http" not in location, location
        assert re.fullmatch(r'"[^"]+"', answer.header("ETag")), "a strong ETag"
        assert "application/trickle-ice-sdpfrag" in answer.header("Accept-Patch")
        assert not [link for link in answer.all("Link") if "ice-server" in link], "no server is configured"
        for text in ("a=ice-lite", "a=candidate:", "a=fingerprint:sha-256 ", "a=rtcp-mux", "a=group:BUNDLE"):
            assert text in answer.text, f"{text} is missing in {answer.text}"
        assert len(answer.body) < 8192, "ffmpeg reads 8 KiB"
        session = await server.public("GET", location)
        assert session.status == 200, session
        assert {key: session.json[key] for key in ("room", "id")} == {"room": "created", "id": "alice"}, session
        head = await server.public("HEAD", location)
        assert head.status == 200 and head.body == b"", head
        assert (await server.public("DELETE", location, headers={"If-Match": '"stale"'})).status == 200
        problem(await server.public("DELETE", location), 404)
        problem(await server.public("GET", location), 404)


@scenario(ios=ONCE)
async def bad_offers_are_refused(server, note):
    """400, 413, 415, 422, each by its own rule."""
    good = await offer()
    path = "/pub/bad/alice"
    problem(await server.public("POST", path, "", SDP), 400)
    problem(await server.public("POST", path, "this is not SDP", SDP), 400, "bad SDP")
    problem(await server.public("POST", path, b"\xff\xfe\x00v=0", SDP), 400, "bad SDP")
    problem(await server.public("POST", path, good, {"Content-Type": "text/plain"}), 415)
    problem(await server.public("POST", path, good), 415)
    problem(await server.public("POST", path, "v" * (MAX_BODY + 1), SDP), 413)
    without_bundle = re.sub(r"(?m)^a=group:BUNDLE.*\r\n", "", good)
    problem(await server.public("POST", path, without_bundle, SDP), 422)
    without_fingerprint = re.sub(r"(?m)^a=fingerprint:.*\r\n", "", good)
    problem(await server.public("POST", path, without_fingerprint, SDP), 422)
    unknown_codecs = re.sub(r"(?m)^(a=rtpmap:\d+) [^/]+/", r"\1 X-NOVEL/", re.sub(r"(?m)^(m=\w+ \d+ \S+).*?\r$", r"\1 120\r", good))
    problem(await server.public("POST", path, unknown_codecs, SDP), 422)
    assert await server.listed("pub", "bad") == [], "a refused offer left something behind"
    accepted = await server.public("POST", path, good, {"Content-Type": "Application/SDP; charset=utf-8"})
    assert accepted.status == 201, accepted
    assert (await server.public("DELETE", accepted.header("Location"))).status == 200


@scenario(ios=ONCE)
async def names_are_checked(server, note):
    """1 to 128 printable characters without space . , / # * > (SPEC §1)."""
    good = await offer()
    for bad in ("a%20b", "a.b", "a,b", "a%23b", "a*b", "a%3Eb", "a%2Fb", "a%00b", "a%7Fb", "%C3%A4", "a" * 129):
        for path in (f"/pub/{bad}/alice", f"/pub/room/{bad}", f"/sub/{bad}/alice", f"/sub/room/{bad}"):
            problem(await server.public("POST", path, good, SDP), 400)
    longest = await server.public("POST", f"/pub/{'r' * 128}/{'i' * 128}", good, SDP)
    assert longest.status == 201, longest
    assert (await server.public("DELETE", longest.header("Location"))).status == 200


@scenario(ios=ONCE)
async def duplicates_are_refused(server, note):
    """409 for a Full ID that is taken in that role, and only for it."""
    publish, subscribe = await offer(), await offer("recvonly")
    first = await server.public("POST", "/pub/twice/alice+1", publish, SDP)
    assert first.status == 201, first
    problem(await server.public("POST", "/pub/twice/alice+1", publish, SDP), 409, "duplicate publisher")
    watching = await server.public("POST", "/sub/twice/alice+1", subscribe, SDP)
    assert watching.status == 201, watching
    problem(await server.public("POST", "/sub/twice/alice+1", subscribe, SDP), 409, "duplicate subscriber")
    other = await server.public("POST", "/pub/twice/alice+2", publish, SDP)
    assert other.status == 201, other
    for one in (first, watching, other):
        assert (await server.public("DELETE", one.header("Location"))).status == 200
    again = await server.public("POST", "/pub/twice/alice+1", publish, SDP)
    assert again.status == 201, "a name is free after DELETE"
    assert (await server.public("DELETE", again.header("Location"))).status == 200


@scenario(ios=ONCE)
async def other_methods_and_paths(server, note):
    """405 with Allow, 404, OPTIONS with Accept-Post."""
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        for path in ("/pub/room/alice", "/sub/room/alice"):
            answer = await server.public(method, path)
            assert answer.status == 405, answer
            assert "POST" in answer.header("Allow") and "OPTIONS" in answer.header("Allow"), answer
    answer = await server.public("OPTIONS", "/pub/room/alice")
    assert answer.status == 200 and answer.header("Accept-Post") == "application/sdp", answer
    unknown = "/session/" + "0" * 32
    for method, body, headers in (("GET", None, {}), ("DELETE", None, {}), ("PATCH", "a=candidate:x\r\n", FRAGMENT)):
        problem(await server.public(method, unknown, body, headers), 404)
    problem(await server.public("POST", "/pub/room", "x", SDP), 400)
    assert (await server.public("GET", "/no/such/page")).status == 404
    # The operator's side is not on the public port.
    for path in ("/list/pub/room", "/metrics", "/create/pub"):
        assert (await server.public("GET", path)).status in (404, 405), path


@scenario(ios=ONCE)
async def trickle_and_ice_restart(server, note):
    """PATCH: 204 for candidates, 200 for new credentials, 412 and 428 by If-Match."""
    sdp = await offer()
    created = await server.public("POST", "/pub/trickle/alice", sdp, SDP)
    assert created.status == 201, created
    location, tag = created.header("Location"), created.header("ETag")
    ufrag = re.search(r"(?m)^a=ice-ufrag:(\S+)", sdp)[1]
    password = re.search(r"(?m)^a=ice-pwd:(\S+)", sdp)[1]
    candidate = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host\r\n"
    same = f"a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n{candidate}"

    async def patch(body, headers):
        return await server.public("PATCH", location, body, {**FRAGMENT, **headers})

    assert (await patch(same, {"If-Match": tag})).status == 204
    assert (await patch(same, {})).status == 204, "the session's own ufrag stands in for If-Match"
    problem(await patch(same, {"If-Match": '"stale"'}), 412)
    problem(await patch(candidate, {}), 428)
    problem(await server.public("PATCH", location, same, {"Content-Type": "text/plain", "If-Match": tag}), 415)
    restart = f"a=ice-ufrag:neuu\r\na=ice-pwd:{'p' * 24}\r\n{candidate}"
    problem(await patch(restart, {}), 428)
    restarted = await patch(restart, {"If-Match": tag})
    assert restarted.status == 200, restarted
    assert restarted.header("Content-Type").startswith("application/trickle-ice-sdpfrag"), restarted
    assert restarted.header("ETag") not in (None, tag), "a new ICE session has a new ETag"
    assert "a=ice-ufrag:" in restarted.text and "a=candidate:" in restarted.text, restarted
    old_ufrag = re.search(r"(?m)^a=ice-ufrag:(\S+)", created.text)[1]
    assert f"a=ice-ufrag:{old_ufrag}\r" not in restarted.text, "the server's credentials are new too"
    problem(await patch(restart, {"If-Match": tag}), 412)
    assert (await server.public("DELETE", location)).status == 200


@scenario(ios=ONCE)
async def hostile_sdp_is_refused_fast(server, note):
    """10,000 m-lines, the same mid twice, payload types over 127: 4xx, soon, and nothing left behind."""
    good = await offer()
    head, audio, video = re.split(r"(?m)^(?=m=)", good)
    hostile = {
        "10,000 m-lines": head + "m=audio 9 X 0\r\n" * 10000,
        "many m-lines": head + "".join(f"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{n}\r\n" for n in range(5000)),
        "a mid twice": head + audio + audio + video,
        "payload type 200": re.sub(r"(?m)^(m=video \d+ \S+).*\r$", r"\1 200\r", good).replace("a=rtpmap:97 ", "a=rtpmap:200 "),
        "a long line": head + audio + "a=" + "x" * 200_000 + "\r\n",
        "a bad direction and port": good.replace("m=audio", "m=audio 99999999", 1),
    }
    slowest = 0.0
    for name, sdp in hostile.items():
        begin = time.monotonic()
        answer = await server.public("POST", "/pub/hostile/mallory", sdp, SDP)
        slowest = max(slowest, time.monotonic() - begin)
        if name == "a long line":
            assert answer.status in (201, 400, 422), f"{name}: {answer}"
            if answer.status == 201:
                await server.public("DELETE", answer.header("Location"))
            continue
        assert 400 <= answer.status < 500, f"{name}: {answer}"
    assert slowest < HOSTILE_SECONDS, f"{slowest:.2f} s"
    assert await server.listed("pub", "hostile") == []
    note(f"slowest {slowest * 1000:.0f} ms")


@scenario(ios=ONCE)
async def operators_side(server, note):
    """Probes, lists and the peer gauge on the private port."""
    for path in ("/liveness", "/readiness"):
        answer = await server.private("GET", path)
        assert (answer.status, answer.text.strip()) == (200, "OK"), answer
    assert (await server.private("GET", "/list/pub/ops")).text.strip() == ""
    async with Publisher(server, "ops", "alice+1"):
        async with Player(server, "ops", "viewer"):
            await wait_listed(server, "ops", "alice+1")
            assert await server.listed("sub", "ops") == ["viewer"]
            listed = await server.private("GET", "/list/pub/ops", headers={"Accept": "application/json"})
            assert listed.json == ["alice+1"], listed
            metrics = (await server.private("GET", "/metrics")).text
            for role in ("pub", "sub"):
                gauge = [line for line in metrics.splitlines() if line.startswith("sfu_pod_peer_count{")
                         and 'room="ops"' in line and f'type="{role}"' in line]
                assert len(gauge) == 1 and gauge[0].split()[-1] == "1", gauge
    metrics = (await server.private("GET", "/metrics")).text
    left = [line for line in metrics.splitlines() if line.startswith("sfu_pod_peer_count{") and 'room="ops"' in line]
    assert all(line.split()[-1] == "0" for line in left), left
    for answer in (await server.public("GET", "/"), await server.private("GET", "/")):
        assert answer.status == 200 and answer.header("Content-Type").startswith("text/html"), answer


@scenario(own=("--auth",), ios=ONCE)
async def tokens(server, note):
    """--auth: a token for each role, room and ID; it belongs to the base ID."""
    publish, subscribe = await offer(), await offer("recvonly")

    async def create(role, room, name, token):
        return await server.private("POST", f"/create/{role}",
                                    f'{{"room":"{room}","id":"{name}","token":"{token}"}}',
                                    {"Content-Type": "application/json"})

    def bearer(token):
        return {**SDP, "Authorization": f"Bearer {token}"}

    for role in ("pub", "sub"):
        created = await create(role, "room", "alice", f"secret-{role}")
        assert (created.status, created.text.strip()) == (200, f"{role} set"), created
    assert (await create("pub", "ro.om", "alice", "x")).status == 400
    broken = await server.private("POST", "/create/pub", "{", {"Content-Type": "application/json"})
    assert broken.status in (400, 422), broken

    refused = [SDP, bearer("wrong"), bearer("secret-su"), bearer("secret-sub"), bearer(""),
               {**SDP, "Authorization": "Basic secret-pub"}]
    for headers in refused:
        problem(await server.public("POST", "/pub/room/alice", publish, headers), 401, "bad token")
    problem(await server.public("POST", "/sub/room/alice", subscribe, bearer("secret-pub")), 401, "bad token")
    problem(await server.public("POST", "/pub/other/alice", publish, bearer("secret-pub")), 401, "bad token")
    problem(await server.public("POST", "/pub/room/bob", publish, bearer("secret-pub")), 401, "bad token")
    for name in ("alice", "alice+k3x9", "alice-screen+k3x9"):
        admitted = await server.public("POST", f"/pub/room/{name}", publish, bearer("secret-pub"))
        assert admitted.status == 201, f"{name}: {admitted}"
        assert (await server.public("DELETE", admitted.header("Location"))).status == 200
    admitted = await server.public("POST", "/sub/room/alice", subscribe, bearer("secret-sub"))
    assert admitted.status == 201, admitted
    assert "secret-" not in server.log_text(), "a token is in the log"


@scenario(own=("--cors-domain", "example.org", "--stun", "stun:127.0.0.1:3478", "--turn", "turn:127.0.0.1:3478",
               "--turn-username", "ann", "--turn-password", "pass"), ios=ONCE)
async def cors_and_ice_servers(server, note):
    """Origins of the domain only; one Link for each STUN and TURN server, none on a preflight."""
    sdp = await offer()

    async def post(origin, name):
        return await server.public("POST", f"/pub/cors/{name}", sdp, {**SDP, "Origin": origin})

    for number, origin in enumerate(("https://example.org", "https://app.example.org", "http://example.org:8000")):
        answer = await post(origin, f"a{number}")
        assert answer.status == 201 and answer.header("Access-Control-Allow-Origin") == origin, answer
        exposed = answer.header("Access-Control-Expose-Headers").lower()
        assert all(name in exposed for name in ("location", "etag", "link", "accept-patch")), exposed
    for number, origin in enumerate(("https://evil.org", "https://badexample.org", "https://example.org.evil.org", "null")):
        answer = await post(origin, f"b{number}")
        assert answer.header("Access-Control-Allow-Origin") is None, answer
    links = answer.all("Link")
    assert len(links) == 2 and all('rel="ice-server"' in link for link in links), links
    stun = next(link for link in links if link.startswith("<stun:127.0.0.1:3478"))
    turn = next(link for link in links if link.startswith("<turn:127.0.0.1:3478"))
    assert "username" not in stun, stun
    for part in ('username="ann"', 'credential="pass"', 'credential-type="password"'):
        assert part in turn, turn
    preflight = await server.public("OPTIONS", "/pub/cors/x", headers={
        "Origin": "https://app.example.org", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type"})
    assert preflight.status in (200, 204), preflight
    assert preflight.header("Access-Control-Allow-Origin") == "https://app.example.org", preflight
    allowed = preflight.header("Access-Control-Allow-Methods").upper()
    assert all(method in allowed for method in ("POST", "PATCH", "DELETE")), allowed
    headers = preflight.header("Access-Control-Allow-Headers").lower()
    assert all(name in headers for name in ("authorization", "content-type", "if-match")), headers
    assert preflight.all("Link") == [], "no ICE servers on a preflight"


@scenario(own=("--debug",), ios=ONCE)
async def debug_serves_the_operators_side_publicly(server, note):
    """--debug: /create and /list on the public port as well."""
    created = await server.public("POST", "/create/pub", '{"room":"r","id":"i","token":"t"}',
                                  {"Content-Type": "application/json"})
    assert (created.status, created.text.strip()) == (200, "pub set"), created
    assert (await server.public("GET", "/list/pub/r")).status == 200


@scenario(ios=ONCE)
async def unfinished_requests_hang_nobody(server, note):
    """Half a request on many connections: others are served meanwhile."""
    idle = []
    try:
        for _ in range(100):
            one = socket.create_connection(("127.0.0.1", server.port), timeout=5)
            one.sendall(b"POST /pub/slow/loris HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Le")
            idle.append(one)
        answer = await server.public("POST", "/pub/slow/alice", await offer(), SDP)
        assert answer.status == 201, answer
        assert (await server.public("DELETE", answer.header("Location"))).status == 200
    finally:
        for one in idle:
            one.close()
