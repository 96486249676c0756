"""Plain HTTP to one port: what is sent is what the test says, nothing added."""

import asyncio
import http.client
import json
from dataclasses import dataclass

SECONDS = 15


@dataclass
class Answer:
    status: int
    headers: list
    body: bytes

    @property
    def text(self):
        return self.body.decode(errors="replace")

    @property
    def json(self):
        return json.loads(self.body)

    def header(self, name):
        """The one header of this name, None without."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is there {len(values)} times: {values}"
        return values[0] if values else None

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __str__(self):
        return f"{self.status} {self.headers} {self.text[:400]!r}"


async def request(port, method, path, body=None, headers=None, host="127.0.0.1"):
    return await asyncio.to_thread(_request, host, port, method, path, body, headers or {})


def _request(host, port, method, path, body, headers):
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        if isinstance(body, str):
            body = body.encode()
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read())
    finally:
        connection.close()
