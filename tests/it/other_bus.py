# Between two programs of a reload, as the step from one to the other: hands over what it is handed, but says that the
# one before spoke the next version of the bus. See src/ipc/carrier.rs and src/wire/handover/mod.rs.
#
#   other_bus.py PROGRAM ARGUMENT...

import hashlib
import os
import socket
import sys

# Of the state: what its checksum is of besides the body, and that sum.
HEAD, SUM = 20, 32
MOST = 253


def changed(file):
    state = os.pread(file, os.fstat(file).st_size, 0)
    head, body = state[:HEAD], bytearray(state[HEAD + SUM :])
    # Behind two texts, the program's path and its version.
    at = 0
    for _ in range(2):
        assert body[at] < 128, "a length of one byte"
        at += 1 + body[at]
    body[at] += 1
    file = os.memfd_create("state")
    state = head + hashlib.sha256(head + body).digest() + body
    assert os.write(file, state) == len(state)
    return file


given = socket.socket(fileno=os.dup(0))
near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
packet = b""
while packet[:1] != b"s":
    packet, fds, _, _ = socket.recv_fds(given, 16, MOST)
    if packet[:1] == b"s":
        fds = [changed(*fds)]
    socket.send_fds(near, [packet], fds)
    for fd in fds:
        os.close(fd)
os.dup2(far.fileno(), 0)
os.execv(sys.argv[1], sys.argv[1:])
