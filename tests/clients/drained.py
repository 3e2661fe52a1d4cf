#!/usr/bin/python3
"""Python clients in /chat that come back when they are cut off, and keep the numbers of the events "n". Each says in a line
that it has connected. With the end of their input they tell, for each, how often it connected and what it heard.

    /usr/bin/python3 drained.py --transport websocket --clients 6 --url URL
"""

import argparse
import json
import sys

import socketio

TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}


class Drained:
    def __init__(self, args):
        self.connects = 0
        self.heard = []
        self.client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.3)
        self.client.on("connect", self.connected, namespace="/chat")
        self.client.on("n", self.heard.append, namespace="/chat")
        self.client.connect(
            args.url, transports=TRANSPORTS[args.transport], socketio_path=args.path, namespaces=["/chat"], wait_timeout=20
        )

    def connected(self):
        self.connects += 1
        print("connected", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--path", default="/socket.io/")
    parser.add_argument("--transport", required=True, choices=TRANSPORTS)
    parser.add_argument("--clients", type=int, default=6)
    args = parser.parse_args()
    clients = [Drained(args) for _ in range(args.clients)]
    sys.stdin.read()
    told = [{"connects": it.connects, "heard": it.heard} for it in clients]
    for it in clients:
        it.client.disconnect()
    print(json.dumps({"clients": told}), flush=True)


if __name__ == "__main__":
    main()
