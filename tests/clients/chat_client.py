#!/usr/bin/python3
"""A Python client in /chat that says again whatever it hears in its room: see chat-python.mjs.

    /usr/bin/python3 chat_client.py --room ROOM --transport polling|websocket|upgrade --url URL
"""

import argparse
import json
import os
import queue

from echo_client import TRANSPORTS, Failed, InOrderClient, WAITING, assert_equal, assert_transport, start_deadline, version, waiting

NAMESPACE = "/chat"


class Member:
    def __init__(self, args):
        self.args = args
        self.client = InOrderClient(reconnection=False)
        self.arrived = queue.Queue()
        self.client.on("*", lambda event, *came: self.arrived.put([event, *came]), namespace=NAMESPACE)
        self.client.on("collect", lambda payload: {"python": payload, "bytes": b"\0\xff"}, namespace=NAMESPACE)
        self.client.on("disconnect", lambda *_: self.arrived.put(["(disconnected)"]), namespace=NAMESPACE)
        waiting("the Python client to connect")
        self.client.connect(args.url, namespaces=[NAMESPACE], transports=TRANSPORTS[args.transport], socketio_path=args.path, wait_timeout=args.deadline)
        assert_transport(args, self.client.transport())
        self.id = self.client.get_sid(NAMESPACE)

    def ask(self, event, *data):
        waiting(f"the answer to {event}")
        return self.client.call(event, data, namespace=NAMESPACE, timeout=self.args.deadline)

    def say(self, payload):
        self.client.emit("message", (self.args.room, payload), namespace=NAMESPACE)

    def next(self, what):
        waiting(what)
        return self.arrived.get()


def run(args):
    member = Member(args)
    room = args.room
    worker = member.ask("whereami")["worker"]
    assert_equal("joining", {"ok": True, "room": room}, member.ask("join", room))
    who = member.ask("who", room)["sockets"]
    if member.id not in who:
        raise Failed(f"expected {member.id} to be in {room}, came {who}")
    refused = member.ask("join", 1)
    assert_equal("joining a number", False, refused["ok"])
    member.say({"ready": worker})

    # What one says comes with its payload; all is said again, until somebody says "enough".
    heard = 0
    while True:
        event, value = member.next(f"what comes after {heard} messages")
        if event == "announce":
            member.say({"again": heard, "announced": value})
        else:
            assert_equal(f"message {heard}", ["message", room, ["from", "payload", "room"]], [event, value["room"], sorted(value)])
            if value["payload"] == "enough":
                break
            member.say({"again": heard, "from": value["from"], "payload": value["payload"]})
        heard += 1

    answers = member.ask("collect", b"asked")
    own = {"python": b"asked", "bytes": b"\0\xff"}
    if own not in answers["responses"]:
        raise Failed(f"expected {own} among the answers, came {answers}")
    event, value = member.next("its own announce") if member.ask("announce", [b"own"]) == {"ok": True} else (None, None)
    assert_equal("its own announce", ["announce", [b"own"]], [event, value])
    assert_equal("leaving", {"ok": True, "room": room}, member.ask("leave", room))
    if not member.arrived.empty():
        raise Failed(f"expected nothing more, came {member.arrived.get()}")
    member.client.disconnect()
    return {"id": member.id, "worker": worker, "heard": heard, "answers": len(answers["responses"]), "version": version()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--path", default="/socket.io/")
    parser.add_argument("--transport", choices=list(TRANSPORTS), default="websocket")
    parser.add_argument("--room", required=True)
    parser.add_argument("--deadline", type=float, default=60)
    args = parser.parse_args()
    start_deadline(args.deadline)
    try:
        figures = run(args)
    except Exception as error:  # whatever it was, it is this script's result
        print(f"FAILED: {type(error).__name__}: {error} (waiting for {WAITING[0]})", flush=True)
        os._exit(1)
    print(json.dumps(figures), flush=True)
    # Its threads may outlive the connection by a poll.
    os._exit(0)


if __name__ == "__main__":
    main()
