#!/usr/bin/python3
"""The Python clients, plain and asyncio: echoes, acknowledgements and order.

    /usr/bin/python3 echo_client.py --transport polling|websocket|upgrade --url URL
"""

import argparse
import asyncio
import json
import os
import queue
import threading
from importlib import metadata

import engineio
import socketio
from engineio.payload import Payload

# As the client's documentation advises where many events come at once: it
# otherwise takes no more than 16 packets in one answer to a poll.
Payload.max_decode_packets = 100_000

TRANSPORTS = {
    "polling": ["polling"],
    "websocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
}

CASES = [
    ("no arguments", "none", ()),
    ("one string", "message", ("hello",)),
    ("empty values", "empty", ("", [], {})),
    ("null and booleans", "plain", (None, True, False, [None, [True]], {"a": None})),
    ("integers", "numbers", (0, 1, -1, 255, 65536, 2**31, -(2**31) - 1, 2**32, 2**53, -(2**53))),
    ("floats", "numbers", (0.1, -0.5, 1e308, 5e-324, 2.2250738585072014e-308, 3.141592653589793)),
    ("nested", "nested", ({"a": {"b": [{"c": [[["deep"]]]}], "d": {}}, "e": [[], {}]},)),
    ("unicode", "unicode", ("äöü", "Ελληνικά", "עברית", "漢字", "😀👩‍👩‍👧‍👦𝒳", "\U0010ffff", "\0 a\0b", "\u2028\u2029\x1e\x7f")),
    ("escapes", "escapes", ('"', "\\", '\\"', "/", "</script>", "\b\f\n\r\t")),
    ("keys", "keys", ({"": 1, '"': 2, "\\": 3, "😀": 4, "שלום": 5, "\0": 6, "a b": 7},)),
    ("many arguments", "many", tuple(range(50))),
    ("words of a placeholder, without binary", "placeholder", ({"_placeholder": True, "num": 0},)),
    ("binary: 0 bytes", "binary", (b"",)),
    ("binary: 1 byte", "binary", (b"\0",)),
    ("binary: every byte", "binary", (bytes(range(256)),)),
    ("binary: 100 kB", "binary", (bytes(i * 7 % 251 for i in range(100_000)),)),
    ("binary: several, nested", "binary", ({"a": b"one", "b": [b"two", {"c": b"three"}], "d": "text"}, "between", b"four")),
    ("long string", "long", ("abc\"\\ " * 80_000,)),
]

# The Python clients escape in JSON all that is beyond ASCII.
NAMES = ['na"me 😀 שלום', '"', "\\", '\\"', "a\nb\0", "\\u0022", "é", "😀", "\U000f0022", '\U000f00ff"\U000f005c']
CASES += [(f"event name {name!r}", name, (1, {name: b"x", f"{name} ": 1})) for name in NAMES]


class Failed(Exception):
    pass


WAITING = ["nothing in particular"]


def waiting(what):
    WAITING[0] = what


def start_deadline(seconds):
    def late():
        print(f"FAILED: not done after {seconds} s; waiting for {WAITING[0]}", flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, late)
    timer.daemon = True
    timer.start()


def shown(value):
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}… ({len(text)} characters)"


def difference(expected, came, place="the top"):
    """Where and how the two differ, or None."""
    if isinstance(expected, dict) and isinstance(came, dict):
        if expected.keys() != came.keys():
            return f"at {place}: expected the keys {shown(list(expected))}, came {shown(list(came))}"
        for key in expected:
            found = difference(expected[key], came[key], f"{place}.{key!r}")
            if found:
                return found
        return None
    if isinstance(expected, (list, tuple)) and isinstance(came, (list, tuple)):
        if len(expected) != len(came):
            return f"at {place}: expected {len(expected)} items {shown(expected)}, came {len(came)} items {shown(came)}"
        for index, (one, other) in enumerate(zip(expected, came)):
            found = difference(one, other, f"{place}[{index}]")
            if found:
                return found
        return None
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (expected, came))
    if expected != came or (type(expected) is not type(came) and not numbers):
        return f"at {place}: expected {shown(expected)}, came {shown(came)}"
    return None


def assert_equal(what, expected, came):
    found = difference(expected, came)
    if found:
        raise Failed(f"{what}: {found}")


def assert_transport(args, transport):
    expected = "polling" if args.transport == "polling" else "websocket"
    assert_equal("the transport in use", expected, transport)


def as_ack(answer):
    """What call() gives, as the list of the acknowledgement's arguments."""
    if answer is None:
        return []
    return list(answer) if isinstance(answer, tuple) else [answer]


class InOrderEngine(engineio.Client):
    """Handles each message before it reads the next.

    The plain client starts a thread for each message, so that it keeps no
    order by itself, whatever the server sends.
    """

    def _trigger_event(self, event, *args, **kwargs):
        kwargs["run_async"] = False
        return super()._trigger_event(event, *args, **kwargs)


class InOrderClient(socketio.Client):
    def _engineio_client_class(self):
        return InOrderEngine


def plain(args):
    client = InOrderClient(reconnection=False)
    arrived = queue.Queue()
    client.on("*", lambda event, *came: arrived.put([event, *came]))
    client.on("disconnect", lambda: arrived.put(["(disconnected)"]))

    waiting("the plain client to connect")
    client.connect(args.url, transports=TRANSPORTS[args.transport], socketio_path=args.path, wait_timeout=args.deadline)
    assert_transport(args, client.transport())
    for name, event, data in CASES:
        waiting(f"the plain client's echo of {name}")
        client.emit(event, data)
        assert_equal(f"plain client: echo of {name}", [event, *data], arrived.get())
        waiting(f"the plain client's acknowledgement of {name}")
        answer = client.call(event, data, timeout=args.deadline)
        assert_equal(f"plain client: acknowledgement of {name}", [event, *data], as_ack(answer))
    for number in range(args.events):
        client.emit("n", (number, {"text": "ö"}))
    for number in range(args.events):
        waiting(f"the plain client's event {number}")
        assert_equal(f"plain client: event {number}", ["n", number, {"text": "ö"}], arrived.get())
    if not arrived.empty():
        raise Failed(f"plain client: expected nothing more, came {shown(arrived.get())}")
    assert_transport(args, client.transport())
    client.disconnect()


async def with_asyncio(args):
    client = socketio.AsyncClient(reconnection=False)
    arrived = asyncio.Queue()
    client.on("*", lambda event, *came: arrived.put_nowait([event, *came]))
    client.on("disconnect", lambda: arrived.put_nowait(["(disconnected)"]))

    waiting("the asyncio client to connect")
    await client.connect(args.url, transports=TRANSPORTS[args.transport], socketio_path=args.path, wait_timeout=args.deadline)
    assert_transport(args, client.transport())
    for name, event, data in CASES:
        waiting(f"the asyncio client's echo of {name}")
        await client.emit(event, data)
        assert_equal(f"asyncio client: echo of {name}", [event, *data], await arrived.get())
        waiting(f"the asyncio client's acknowledgement of {name}")
        answer = await client.call(event, data, timeout=args.deadline)
        assert_equal(f"asyncio client: acknowledgement of {name}", [event, *data], as_ack(answer))
    for number in range(args.events):
        await client.emit("n", (number, {"text": "ö"}))
    for number in range(args.events):
        waiting(f"the asyncio client's event {number}")
        assert_equal(f"asyncio client: event {number}", ["n", number, {"text": "ö"}], await arrived.get())
    if not arrived.empty():
        raise Failed(f"asyncio client: expected nothing more, came {shown(arrived.get_nowait())}")
    assert_transport(args, client.transport())
    await client.disconnect()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--path", default="/socket.io/")
    parser.add_argument("--transport", choices=list(TRANSPORTS), default="websocket")
    parser.add_argument("--client", choices=["plain", "asyncio", "both"], default="both")
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--deadline", type=float, default=60)
    args = parser.parse_args()
    start_deadline(args.deadline)
    clients = ["plain", "asyncio"] if args.client == "both" else [args.client]
    try:
        if "plain" in clients:
            plain(args)
            print("the plain client is done", flush=True)
        if "asyncio" in clients:
            asyncio.run(with_asyncio(args))
            print("the asyncio client is done", flush=True)
    except Exception as error:  # whatever it was, it is this script's result
        print(f"FAILED: {type(error).__name__}: {error} (waiting for {WAITING[0]})", flush=True)
        os._exit(1)
    figures = {"clients": clients, "transport": args.transport, "version": version(), "cases": len(CASES), "acks": len(CASES), "events": args.events}
    print(json.dumps(figures), flush=True)
    # The plain client's threads may outlive the connection by a poll.
    os._exit(0)


def version():
    try:
        return metadata.version("python-socketio")
    except metadata.PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    main()
