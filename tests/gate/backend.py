"""A backend at the level of bytes: it records exactly what the gate sent, and misbehaves as each test tells it to."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Call:
    """One request as it arrived, and the connection to answer it on."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head, self.body = head, b""
        request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        self.method, self.target, _ = request_line.split(b" ")
        self.headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        self.peer = writer.get_extra_info("peername")
        """Tells connections apart."""
        self.gone = asyncio.Event()
        """Set when the gate has closed the connection; see `watch`."""
        self.reader, self.writer = reader, writer

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def names(self) -> set[bytes]:
        return {name.lower() for name, _ in self.headers}

    async def read_body(self) -> None:
        """By the framing that the gate chose."""
        if lengths := self.all(b"content-length"):
            self.body += await self.reader.readexactly(int(lengths[0]))
        elif self.all(b"transfer-encoding"):
            while size := int(await self.reader.readline(), 16):
                self.body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)

    async def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    async def stream(self, *headers: str) -> None:
        """The head of an answer without an end."""
        lines = "".join(f"{line}\r\n" for line in headers)
        await self.send(f"HTTP/1.1 200 OK\r\n{lines}Transfer-Encoding: chunked\r\n\r\n".encode())

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def watch(self) -> None:
        """Returns when the gate has closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.gone.set()

    def reset(self) -> None:
        """TCP RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Script = Callable[[Call], Awaitable[object]]


class Backend:
    """Answers 200 to all until `script` says otherwise; a script that returns keeps the connection open."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.script: Script | None = None
        self.arrived = asyncio.Condition()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def forget(self) -> None:
        self.calls, self.script = [], None

    @property
    def call(self) -> Call:
        """The only call there was."""
        assert len(self.calls) == 1, [call.head for call in self.calls]
        return self.calls[0]

    async def next_call(self, number: int = 1) -> Call:
        """Waits until the head of so many requests has arrived."""
        async with self.arrived:
            await asyncio.wait_for(self.arrived.wait_for(lambda: len(self.calls) >= number), 5)
        return self.calls[number - 1]

    def answer(self, raw: bytes) -> None:
        """Answers every request with these bytes, after its body."""

        async def script(call: Call) -> None:
            await call.read_body()
            await call.send(raw)

        self.script = script

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = Call(await reader.readuntil(b"\r\n\r\n"), reader, writer)
        self.calls.append(call)
        async with self.arrived:
            self.arrived.notify_all()
        if self.script is not None:
            await self.script(call)
            return
        await call.read_body()
        await call.send(OK)
