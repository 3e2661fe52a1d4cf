"""Run by Python as root on a machine of the inventory: waits until the my-app that was installed there serves.

    python3 - VERSION SECONDS

Says so, or what is missing when the time is over, and then ends with 1."""

import http.client
import os
import socket
import subprocess
import sys
import time

NGINX_LISTENER = "/run/my-app/my-app.sock"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the listener that no setting can move: an admin may have closed the port, or changed it."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(NGINX_LISTENER)


def said(*command):
    """What a command printed, and its exit code."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    return done.stdout.strip(), done.returncode


def ready():
    """The status of /readyz, or why there is none."""
    connection = UnixConnection("localhost")
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except OSError as error:
        return error
    finally:
        connection.close()


def missing(version):
    """What keeps this version from serving; None: nothing."""
    package, _ = said("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "my-app")
    if package != f"installed {version}":
        return f"dpkg has it as {package!r}, not as 'installed {version}'"
    pid, _ = said("systemctl", "show", "--property=MainPID", "--value", "my-app.service")
    if pid in ("", "0"):
        # What is wrong with the configuration, or the machine, is known there.
        findings, _ = said("my-app", "check")
        return f"the service does not run; `my-app check` says:\n{findings}"
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError as error:
        return f"the service ended just now: {error}"
    if program.endswith(" (deleted)"):
        # It could not take over, and the one before serves on.
        findings, _ = said("my-app", "check")
        return f"the service (pid {pid}) is still the one from before the installation; `my-app check` says:\n{findings}"
    status, code = said("my-app", "status")
    if code:
        return "`my-app status` says: " + status.split("\n\n")[0]
    answer = ready()
    if answer != 200:
        return f"/readyz says {answer}"
    return None


def wait(version, seconds):
    began = time.monotonic()
    while True:
        why = missing(version)
        if why is None:
            print(f"my-app: serves, version {version}")
            return 0
        if time.monotonic() - began > seconds:
            lines = [line for line in why.splitlines() if line][:8]
            print(f"my-app: installed, but it does not serve, {seconds} s after that: {lines[0]}", file=sys.stderr)
            for line in lines[1:]:
                print(f"my-app: {line}", file=sys.stderr)
            return 1
        time.sleep(0.5)


sys.exit(wait(sys.argv[1], int(sys.argv[2])))
