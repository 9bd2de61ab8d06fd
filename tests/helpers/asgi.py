"""Calls an ASGI application as a server does, without one."""

import asyncio
import dataclasses
import json
import threading


@dataclasses.dataclass(frozen=True)
class Answer:
    """What an application answers."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self):
        return self.content.decode()

    def json(self):
        return json.loads(self.content)


class Client:
    """Runs an application on an event loop in a thread; a context manager, as its lifespan.

    An application that raises an error after its answer has begun is answered as servers do.
    """

    def __init__(self, app):
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._incoming, self._outgoing = asyncio.Queue(), asyncio.Queue()
        self._lifespan = asyncio.run_coroutine_threadsafe(
            self._app({"type": "lifespan"}, self._incoming.get, self._outgoing.put), self._loop
        )
        self._pass_on("startup")
        return self

    def __exit__(self, *error):
        self._pass_on("shutdown")
        self._lifespan.result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _pass_on(self, event):
        async def meet():
            await self._incoming.put({"type": f"lifespan.{event}"})
            return await self._outgoing.get()

        message = asyncio.run_coroutine_threadsafe(meet(), self._loop).result(10)
        assert message["type"] == f"lifespan.{event}.complete", message

    def get(self, path):
        return self._call("GET", path, [b""])

    def post(self, path, content):
        """Sends bytes with their length, or parts of unknown length."""
        return self.begin(path, content).result(60)

    def begin(self, path, content, leaves=False, stalls=False):
        """Begins to send; returns a future.

        A client that leaves does so after its last byte; one that stalls never ends its body.
        """
        end = {"leaves": leaves, "stalls": stalls}
        if isinstance(content, bytes):
            length = [(b"content-length", str(len(content)).encode())]
            return self._begin("POST", path, iter([content]), length, **end)
        return self._begin("POST", path, iter(content), (), **end)

    def _call(self, method, path, parts):
        return self._begin(method, path, iter(parts), ()).result(60)

    def _begin(self, method, path, parts, headers, leaves=False, stalls=False):
        return asyncio.run_coroutine_threadsafe(
            self._answer(method, path, parts, headers, leaves, stalls), self._loop
        )

    async def _answer(self, method, path, parts, headers, leaves, stalls):
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query.encode(),
            "headers": [(b"host", b"test"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        sent, ended = [], False

        async def receive():
            nonlocal ended
            for part in parts:
                return {"type": "http.request", "body": part, "more_body": True}
            if stalls:
                await asyncio.Event().wait()
            if not ended:
                ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if not leaves:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        try:
            await self._app(scope, receive, send)
        except Exception:
            assert sent, "the application answered nothing"
        start, *bodies = sent
        return Answer(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(body.get("body", b"") for body in bodies),
        )
