"""A TCP proxy with a rate and a round trip, like a bad radio link, that holds next to nothing itself: who sends feels the link."""
import asyncio
import socket
import threading


class SlowLink:
    """`to_port`: where it leads, 0 for nowhere. `sent`: bytes that went to the far side. Both ways have the rate, in bytes a second."""

    def __init__(self, round_trip, bytes_per_second):
        self.to_port, self.delay, self.rate, self.sent = 0, round_trip / 2, bytes_per_second, 0
        self.free_at = {"up": 0.0, "down": 0.0}
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)  # accepted sockets have it too
        self.listener.bind(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        started = threading.Event()

        def run():
            asyncio.set_event_loop(self.loop)
            self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, sock=self.listener, limit=512))
            started.set()
            self.loop.run_forever()
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        started.wait(10)

    async def serve(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to_port, limit=512)
        except OSError:
            return writer.close()
        await asyncio.gather(self.carry(reader, far_writer, "up"), self.carry(far_reader, writer, "down"))

    async def carry(self, reader, writer, way):
        """Bytes leave at the link's rate, all connections together, and arrive half a round trip later."""
        queue = asyncio.Queue()  # what is on its way: rate times delay

        async def deliver():
            while True:
                at, chunk = await queue.get()
                await asyncio.sleep(max(0, at - self.loop.time()))
                if not chunk:
                    return writer.close()
                writer.write(chunk)
                await writer.drain()
        delivering = asyncio.ensure_future(deliver())
        try:
            while True:
                chunk = await reader.read(min(1024, max(64, int(self.rate / 20))))
                self.free_at[way] = max(self.free_at[way], self.loop.time()) + len(chunk) / self.rate
                await asyncio.sleep(max(0, self.free_at[way] - self.loop.time()))
                if way == "up":
                    self.sent += len(chunk)
                await queue.put((self.loop.time() + self.delay, chunk))
                if not chunk:
                    break
            await delivering
        except (ConnectionError, OSError):
            delivering.cancel()
            writer.close()

    def pause(self):
        """Nothing moves any more, and nobody is told."""
        self.rate = 0.001

    def stop(self):
        async def end():
            self.server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            self.loop.stop()
        asyncio.run_coroutine_threadsafe(end(), self.loop)
        self.thread.join(5)
