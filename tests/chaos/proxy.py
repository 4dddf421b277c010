"""A TCP proxy between programs and etcd that delays, cuts, swallows, dribbles and repeats.

It understands HTTP/1.1 just well enough to know where a request ends; answers are bytes. One thread
runs them all. What the proxies do at a moment is proxies.mode; a change holds for the next piece that
passes, on old connections too.
"""
import asyncio
import socket
import struct
import threading

PIECE = 64 * 1024


class Pass:
    """Does nothing; the base of the others."""
    repeats = False

    async def request(self, data):
        """Before data goes on to etcd."""

    async def answer(self, data, writer):
        writer.write(data)
        await writer.drain()


class Delay(Pass):
    def __init__(self, rng, shortest, longest):
        self.rng, self.span = rng, (shortest, longest)

    async def request(self, data):
        await asyncio.sleep(self.rng.uniform(*self.span))

    async def answer(self, data, writer):
        await asyncio.sleep(self.rng.uniform(*self.span))
        await super().answer(data, writer)


class Reset(Pass):
    """Resets the client's connection in the middle of an answer, or just before it: etcd has done what
    it was asked for."""

    def __init__(self, rng, share):
        self.rng, self.share = rng, share

    async def answer(self, data, writer):
        if self.rng.random() >= self.share:
            return await super().answer(data, writer)
        writer.write(data[:self.rng.randrange(len(data))])
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        raise ConnectionResetError


class Hold(Pass):
    """A black hole while it lasts. What it has swallowed arrives when it is over, as retransmitted
    packets do, even if whoever sent it has given up: a late transaction."""

    def __init__(self, requests=True, answers=True):
        self.holds = {"request": requests, "answer": answers}
        self.over = asyncio.Event()

    async def request(self, data):
        if self.holds["request"]:
            await self.over.wait()

    async def answer(self, data, writer):
        if self.holds["answer"]:
            await self.over.wait()
        await super().answer(data, writer)


class Dribble(Pass):
    def __init__(self, rng):
        self.rng = rng

    async def answer(self, data, writer):
        step = max(1, len(data) // 20)
        for at in range(0, len(data), step):
            await super().answer(data[at:at + step], writer)
            await asyncio.sleep(self.rng.uniform(0, 0.004))


class Repeat(Pass):
    """Every request goes to etcd twice; the client gets the first answer, or the second."""
    repeats = True

    def __init__(self, rng):
        self.rng = rng


class Proxies:
    """One proxy in front of each address."""

    def __init__(self, addresses):
        self.mode = Pass()
        self.held = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        self.thread.start()
        self.urls = [f"http://127.0.0.1:{self.run(self.listen(a))}" for a in addresses]

    @property
    def client(self):
        return ",".join(self.urls)

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def set(self, mode):
        async def change():
            old, self.mode = self.mode, mode
            if isinstance(old, Hold):
                old.over.set()
        self.run(change())

    def close(self):
        self.set(Pass())
        self.run(self.end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    async def end(self):
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def listen(self, address):
        async def serve(reader, writer):
            try:
                await self.serve(reader, writer, address)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        return server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer, address):
        """One client connection: its requests one after the other, answers as they come."""
        up = None
        try:
            while True:
                request = await read_request(reader)
                if self.mode.repeats and not is_stream(request):
                    writer.write(await self.twice(request, address))
                    await writer.drain()
                    return  # the answer said: Connection: close
                await self.mode.request(request)
                if up is None:
                    up_reader, up = await asyncio.open_connection(*address)
                    answers = asyncio.ensure_future(self.pump(up_reader, writer))
                up.write(request)
                await up.drain()
        finally:
            if up is not None:
                # What was on its way to etcd still gets there.
                up.close()
                answers.cancel()

    async def pump(self, reader, writer):
        try:
            while data := await reader.read(PIECE):
                await self.mode.answer(data, writer)
        except OSError:
            pass
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def twice(self, request, address):
        first = await once(request, address)
        second = await once(request, address)
        return self.mode.rng.choice((first, second)) if self.mode.repeats else first


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head + (await reader.readexactly(length) if length else b"")


def is_stream(request):
    return request.startswith(b"POST /v3/watch")


async def once(request, address):
    """The whole answer, on a connection of its own."""
    head, _, body = request.partition(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(head + b"\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()
        return await reader.read(-1)
    finally:
        writer.close()
