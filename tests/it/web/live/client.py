"""Hears so many events from the live socket and prints them: the library's own handshake, pings and closing."""
import asyncio
import json
import sys

import websockets


async def main(uri, token, count):
    async with websockets.connect(uri, subprotocols=["jobq.v1"]) as socket:
        assert socket.subprotocol == "jobq.v1", socket.subprotocol
        await socket.send(json.dumps({"token": token, "since": 0}))
        hello = json.loads(await socket.recv())
        assert hello["hello"]["tenant"] is None, hello
        await socket.send(json.dumps({"sub": 1, "topic": "events"}))
        await (await socket.ping())
        heard = 0
        while heard < count:
            frame = json.loads(await socket.recv())
            for event in frame.get("patch", {}).get("events", []):
                print(event["id"], event["kind"], flush=True)
                heard += 1


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
