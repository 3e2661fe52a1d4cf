#!/usr/bin/python3
"""Python clients that come one after the other and stay, over WebSocket, and tell when one is
connected or no longer is: a line of JSON each. They end with their input.

    /usr/bin/python3 sleepers.py --clients 10 --url URL

Not over polling: Debian's client stays offline for good when a POST is refused, so that its pong after
a pause takes it off, whatever the server does.
"""

import argparse
import json
import sys
import threading

import socketio

LINES = threading.Lock()


def tell(**news):
    with LINES:
        print(json.dumps(news), flush=True)


def sleeper(args, number):
    client = socketio.Client(reconnection_delay=0.2, reconnection_delay_max=0.5)
    client.on("connect", lambda: tell(client=number, connected=client.get_sid()))
    client.on("disconnect", lambda *_: tell(client=number, gone="disconnect"))
    client.connect(args.url, transports=["websocket"], socketio_path=args.path, wait_timeout=20)
    return client


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--path", default="/socket.io/")
    parser.add_argument("--clients", type=int, default=10)
    args = parser.parse_args()
    clients = [sleeper(args, number) for number in range(args.clients)]
    sys.stdin.read()
    for client in clients:
        client.disconnect()


if __name__ == "__main__":
    main()
