"""Tells what happens on which machine in words, one line each, instead of Ansible's records.

ANSIBLE_STDOUT_CALLBACK=default brings those back, and ANSIBLE_OPTIONS=-vvv all that ssh says.
Our own scripts and the package's speak in lines that begin with "my-app: ", on either stream."""

import os
import re

from ansible import constants
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: words
    type: stdout
    short_description: what happens on which machine, in words
    description: One line for each machine and step; of a failure, what to do.
"""

MARKS = ("my-app: ", "adopt: ")

# What scripts/adopt says of each file, with the folder that all of them are in.
ASIDE = re.compile(r" is now (/var/backups/my-app-[0-9-]+)/")

# What brings such a folder back, whether the package was installed or not. tar, for the links: the removal may have left
# some there, and they are not to be followed.
WAY_BACK = (
    "dpkg --remove my-app; tar -C {0} -c . | tar -C / -x --no-overwrite-dir; systemctl daemon-reload;"
    " systemctl enable --now my-app.service; systemctl reload nginx"
)

# The play that looks at nothing else.
INVENTORY = "The inventory"

# What ssh, sudo and Python say, and what it means; the first that fits is told. {0} is the group of the pattern, the other
# names are what the inventory says.
MEANINGS = [
    (
        r"IDENTIFICATION HAS CHANGED",
        "its host key is another one than before: somebody may stand between. If the machine was made anew:"
        " ssh-keygen -R {host}, and then ssh {login}, which shows the new one",
    ),
    (
        r"Host key verification failed",
        "its host key is not known here. `ssh {login}` shows it: compare it, say yes, and try again",
    ),
    (r"UNPROTECTED PRIVATE KEY FILE", "the key {key} may be read by others, so ssh does not use it: chmod 600 {key}"),
    (r"(?:no such identity: |Identity file )([^\s:]+)", "there is no key at {0} (ansible_ssh_private_key_file)"),
    (
        r"Permission denied \(",
        "it does not let {user} in with this key: {key} (ansible_user, ansible_ssh_private_key_file)",
    ),
    (r"Could not resolve hostname", "there is no such name: {host} (ansible_host)"),
    (r"(Connection refused|Connection timed out|No route to host|Network is unreachable)", "{host}, port {port}: {0}"),
    (r"No space left on device", "its disk is full"),
    (
        r"Missing sudo password|a password is required|no password was provided",
        "sudo asks {user} for a password: ANSIBLE_OPTIONS=-K asks you for it",
    ),
    (r"Incorrect sudo password|Sorry, try again", "sudo does not take this password of {user}"),
    (r"is not in the sudoers|is not allowed to (?:run|execute)", "sudo does not let {user} become root there"),
    (r"sudo: (?:command )?not found", "it has no sudo, and {user} is not root: ansible_user=root, or install sudo there"),
]


def lines_of_ours(result):
    """What our scripts and the package's said."""
    text = "\n".join(str(result.get(name) or "") for name in ("msg", "stdout", "stderr"))
    return [line.split(": ", 1)[1].rstrip() for line in text.splitlines() if line.startswith(MARKS)]


def meaning(result, about):
    """What a failure means in words: lines."""
    ours = lines_of_ours(result)
    if any(line.startswith("to take it over") for line in ours):
        return [*ours, "or ADOPT=yes beside `make I=... install` does that on each machine, in its turn"]
    if ours:
        return ours
    said = [str(result.get(name) or "") for name in ("msg", "module_stderr", "module_stdout", "stderr", "stdout")]
    text = "\n".join(said)
    for pattern, words in MEANINGS:
        found = re.search(pattern, text)
        if found:
            return [words.format(*found.groups(), **about)]
    # apt's reasons begin with E:, dpkg's with its name. What apt cannot have says more than the line with E: behind it.
    relation = re.compile(r" +(\S+ : )?(Pre-?Depends|Depends|Conflicts|Breaks): ")
    missing = [line.strip() for line in text.splitlines() if relation.match(line)]
    reasons = [line for line in text.splitlines() if re.match(r"E: |dpkg: error", line)]
    if reasons:
        return missing + reasons
    # The last lines are those about the failure.
    lines = [line.strip() for part in said for line in part.splitlines()[-5:] if line.strip()]
    return lines or ["Ansible gives no reason; ANSIBLE_OPTIONS=-vvv shows all that happened"]


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "words"

    def __init__(self):
        super().__init__()
        self.play = None
        # Of each machine, in the order of the inventory: "ready", "begun", "done" or "failed".
        self.states = {}
        # Of each machine that was taken over, where the old deployment is.
        self.aside = {}

    def v2_playbook_on_play_start(self, play):
        self.play = play

    def v2_runner_on_start(self, host, task):
        if self.play.get_name() == INVENTORY:
            return
        self.states.setdefault(host.get_name(), "ready")
        if task.get_name().endswith("Copy the package"):
            self.states[host.get_name()] = "begun"

    def v2_runner_on_ok(self, result):
        host, task = self.parts(result)
        if task.get_name().endswith("Wait until it serves"):
            self.states[host.get_name()] = "done"
        for line in lines_of_ours(self.record(result)):
            self.remember(host, line)
            self.say(host, line, constants.COLOR_OK)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.failed(result)

    def v2_runner_on_unreachable(self, result):
        self.failed(result)

    def failed(self, result):
        host, _ = self.parts(result)
        # The inventory itself was wrong.
        if self.play.get_name() == INVENTORY:
            for line in lines_of_ours(self.record(result)):
                self._display.display(line, color=constants.COLOR_ERROR)
            return
        self.states[host.get_name()] = "failed"
        for line in meaning(self.record(result), self.about(host)):
            self.remember(host, line)
            self.say(host, line, constants.COLOR_ERROR)
        aside = self.aside.get(host.get_name())
        if aside:
            told = f"the old deployment is in {aside}; mend what is wrong and try again, or go back there, as root: "
            self.say(host, told + WAY_BACK.format(aside), constants.COLOR_ERROR)

    def v2_playbook_on_stats(self, stats):
        names = {state: [] for state in ("ready", "begun", "done", "failed")}
        for name, state in self.states.items():
            names[state].append(name)
        if not names["failed"]:
            return
        told = "failed: " + ", ".join(names["failed"])
        if os.environ.get("FLEET_DEB"):
            told += "; installed: " + (", ".join(names["done"]) or "none")
            told += "; as before: " + (", ".join(names["ready"] + names["begun"]) or "none")
        self._display.display(told, color=constants.COLOR_ERROR)

    def remember(self, host, line):
        found = ASIDE.search(line)
        if found:
            self.aside[host.get_name()] = found[1]

    def say(self, host, text, color=None):
        self._display.display(f"{host.get_name()}: {text}", color=color)

    def about(self, host):
        """What the inventory says of how a machine is reached."""
        known = self.play.get_variable_manager().get_vars(play=self.play, host=host)
        address = known.get("ansible_host", host.get_name())
        user = known.get("ansible_user")
        port = known.get("ansible_port")
        login = (f"-p {port} " if port else "") + (f"{user}@" if user else "") + address
        return {
            "host": address,
            "user": user or "you",
            "port": port or 22,
            "key": known.get("ansible_ssh_private_key_file", "ssh's own"),
            "login": login,
        }

    # The names without an underscore are those of newer Ansibles.

    @staticmethod
    def parts(result):
        if hasattr(result, "host"):
            return result.host, result.task
        return result._host, result._task

    @staticmethod
    def record(result):
        return result.result if hasattr(result, "result") else result._result
