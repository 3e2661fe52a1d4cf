//! The bridge to other machines: does it run, may it read its password, and is its server there?

mod looks;

use std::path::Path;
use std::time::Duration;

use rustix::process::geteuid;

use super::files::Identity;
use super::finding::{Finding, Id, Seen};
use super::look;
use super::units::{BRIDGE, SERVICE, Unit, Units};
use crate::config::{BridgeConfig, BridgeUrl};
use looks::{Looked, PasswordFile, Unreached};

/// Where the unit takes the password from, unless `secret_file` names another file.
const PASSWORD: &str = "/etc/my-app/bridge-password";
/// How long all looks together may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// Permissions with which others read a file, or the group writes it.
const TOO_OPEN: u32 = 0o027;

/// Looks at what belongs to the bridge of this machine's service.
pub(super) fn seen(config: &BridgeConfig, units: &Units) -> Seen {
    let mut seen = Seen::from(Vec::from_iter(life(config, units)));
    seen.findings.extend(without_effect(config));
    let Some(url) = &config.url else {
        return seen;
    };
    // By a name of systemd's; the server's is where there is no unit yet.
    let unit = if units.bridge.is_loaded() {
        &units.bridge
    } else {
        &units.service
    };
    let root = geteuid().is_root();
    let person = Identity::of_unit(unit).filter(|it| root || it.is_this_process());
    let Some(person) = person else {
        seen.cannot_see("what the bridge may read and connect to: root sees that");
        return seen;
    };
    let password = config.secret_file.clone();
    let password = password.unwrap_or_else(|| PASSWORD.into());
    let (ca, url) = (config.ca_file.clone(), url.clone());
    // The rights of a thread are its own, and end with it.
    let looked = look::within(PATIENCE, move || {
        (!root || person.become_it()).then(|| Looked {
            password: PasswordFile::look(&password),
            unreadable_ca: ca.filter(|ca| !looks::readable(ca)),
            unreached: looks::unreached(&url),
        })
    });
    match looked.flatten() {
        Some(looked) => seen.findings.extend(judge(config, &units.bridge, &looked)),
        None => seen.cannot_see("what the bridge may read and connect to: it took too long"),
    }
    seen
}

/// By hand the bridge has the rights of who starts the server.
pub(super) fn by_hand(config: &BridgeConfig) -> Seen {
    let mut seen = Seen::from(Vec::from_iter(without_effect(config)));
    let Some(url) = config.url.clone() else {
        return seen;
    };
    let ca = config.ca_file.clone();
    if let Some(secret) = &config.secret_file {
        let found = of_own_file(&PasswordFile::look(secret));
        seen.findings.extend(found);
    }
    let unreadable = ca.filter(|ca| !looks::readable(ca));
    seen.findings.extend(unreadable.map(|ca| of_ca_file(&ca)));
    match look::within(PATIENCE, move || looks::unreached(&url)) {
        Some(unreached) => seen.findings.extend(unreached.map(|it| unreachable(&it))),
        None => seen.cannot_see("the bridge's server: it took too long"),
    }
    seen
}

/// Whether the unit is what the configuration makes of it. While the service does not run, neither need the bridge.
fn life(config: &BridgeConfig, units: &Units) -> Option<Finding> {
    let bridge = &units.bridge;
    let restart = format!("systemctl restart {BRIDGE}");
    if config.url.is_none() {
        return bridge.is("active").then(|| {
            Finding::note(
                Id::BridgeUnused,
                format!("{BRIDGE} runs, and bridge.url is no longer set"),
                "this machine is still joined with others",
                format!("systemctl stop {BRIDGE} && systemctl restart {SERVICE}"),
            )
        });
    }
    if !units.service.is("active") {
        return None;
    }
    let alone = "this machine hears no other one, and none hears it";
    let (what, remedy) = match (bridge.get("LoadState"), bridge.get("ActiveState")) {
        ("masked", _) => (
            format!("bridge.url is set, and {BRIDGE} is masked"),
            format!("systemctl unmask {BRIDGE} && systemctl start {BRIDGE}"),
        ),
        ("" | "not-found", _) => (
            format!("bridge.url is set, and systemd knows no {BRIDGE}"),
            format!("apt-get install --reinstall my-app && {restart}"),
        ),
        (_, "failed") => (
            format!("{BRIDGE} has failed ({})", bridge.get("Result")),
            format!("journalctl -u my-app-bridge -n 50 tells why; then: {restart}"),
        ),
        (_, "inactive") => (
            format!("bridge.url is set, and {BRIDGE} is not running"),
            format!("systemctl start {BRIDGE}"),
        ),
        _ => return None,
    };
    Some(Finding::warning(Id::BridgeStopped, what, alone, remedy))
}

/// What is set and makes no difference.
fn without_effect(config: &BridgeConfig) -> Vec<Finding> {
    let note = |what: &str, why: &str, remedy: &str| {
        Finding::note(Id::BridgeUnused, what, why, remedy.to_owned())
    };
    let mut notes = Vec::new();
    let Some(url) = &config.url else {
        if config.node {
            notes.push(note(
                "bridge.node is set, and bridge.url is not",
                "no server of Node's is met",
                "set bridge.url to their Redis, or take bridge.node away",
            ));
        }
        return notes;
    };
    if config.ca_file.is_some() && !url.has_tls() {
        notes.push(note(
            "bridge.ca_file is set, and bridge.url has no TLS",
            "what is sent can be read and changed on the way",
            "write rediss:// in bridge.url, or take bridge.ca_file away",
        ));
    }
    notes
}

fn judge(config: &BridgeConfig, unit: &Unit, looked: &Looked) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(if config.secret_file.is_some() {
        of_secret_file(&looked.password)
    } else {
        of_credential(config.url.as_ref(), unit, &looked.password)
    });
    findings.extend(looked.unreadable_ca.as_deref().map(of_ca_file));
    findings.extend(looked.unreached.as_ref().map(unreachable));
    findings
}

/// The file with the authorities.
fn of_ca_file(ca: &Path) -> Finding {
    let ca = ca.display();
    Finding::warning(
        Id::BridgeSecret,
        format!("{ca}, which bridge.ca_file names, cannot be read by the bridge"),
        "no certificate can be verified, so that the bridge does not connect",
        format!("chmod a+r {ca}"),
    )
}

/// The file that the bridge itself reads, at each connection.
fn of_secret_file(file: &PasswordFile) -> Option<Finding> {
    let path = file.path.display();
    let write = format!("install -o root -g my-app-runner -m 640 /dev/stdin {path}");
    let close = format!("chown root:my-app-runner {path} && chmod 640 {path}");
    of_file(file, write, close)
}

/// The same, of a server that was started by hand.
fn of_own_file(file: &PasswordFile) -> Option<Finding> {
    let path = file.path.display();
    let write = format!("install -m 600 /dev/stdin {path}");
    of_file(file, write, format!("chmod 600 {path}"))
}

/// `write` and `close`: what makes the file, and what gives it the right permissions.
fn of_file(file: &PasswordFile, write: String, close: String) -> Option<Finding> {
    let path = file.path.display();
    let no_link = "the bridge does not connect";
    let (what, why, remedy) = match file.mode {
        None => ("is not there", no_link, write),
        Some(_) if file.empty => ("is empty", no_link, write),
        Some(_) if !file.readable => ("cannot be read by the bridge's user", no_link, close),
        Some(mode) if mode & TOO_OPEN != 0 => (
            "can be read, or changed, by others",
            "they have the password of the bridge's server",
            close,
        ),
        Some(_) => return None,
    };
    let what = format!("{path}, which bridge.secret_file names, {what}");
    Some(Finding::warning(Id::BridgeSecret, what, why, remedy))
}

/// The file that systemd reads when it starts the unit.
fn of_credential(url: Option<&BridgeUrl>, unit: &Unit, file: &PasswordFile) -> Option<Finding> {
    let path = file.path.display();
    let restart = format!("systemctl restart {BRIDGE}");
    let warning = |what, why: &str, remedy| Finding::warning(Id::BridgeSecret, what, why, remedy);
    let Some(mode) = file.mode else {
        let named = url.filter(|url| url.user().is_some() && url.socket().is_none())?;
        // An admin's own drop-in names other files.
        let elsewhere = unit
            .get("LoadCredentialEncrypted")
            .contains("bridge-password");
        return (!elsewhere).then(|| {
            warning(
                format!("bridge.url names a user ({named}), and there is no password for it"),
                "the server refuses the bridge, if it asks for one",
                format!("install -m 600 /dev/stdin {path} && {restart}"),
            )
        });
    };
    if mode & TOO_OPEN != 0 {
        return Some(warning(
            format!("{path} can be read, or changed, by others"),
            "they have the password of the bridge's server",
            format!("chmod 600 {path}"),
        ));
    }
    let started = unit.get("ActiveEnterTimestamp").strip_prefix('@');
    let started: Option<u64> = started.and_then(|it| it.parse().ok());
    let is_old = unit.is("active") && started.zip(file.changed).is_some_and(|(a, b)| b > a);
    is_old.then(|| {
        warning(
            format!("{path} has changed since {BRIDGE} was started"),
            "the bridge connects with the password of before, for systemd reads it at the start",
            restart,
        )
    })
}

fn unreachable(why: &Unreached) -> Finding {
    let warning = |what: String, remedy: String| {
        Finding::warning(
            Id::BridgeUnreachable,
            what,
            "this machine hears no other one until it is there; the bridge tries again by itself",
            remedy,
        )
    };
    match why {
        Unreached::Host(host, error) => warning(
            format!("the bridge's server does not answer: {host}: {error}"),
            "start it, or let this machine in, there: address, port, firewall".to_owned(),
        ),
        Unreached::Socket(path, error) => warning(
            format!("the bridge's server does not answer at {}: {error}", path.display()),
            "start it, or have it listen there: for Debian's Redis, `unixsocket` in /etc/redis/redis.conf".to_owned(),
        ),
        Unreached::Closed(path, group) => warning(
            format!(
                "{}: the bridge's user may not connect; its group is {group}",
                path.display()
            ),
            format!(
                "mkdir -p /etc/systemd/system/{BRIDGE}.d && printf '[Service]\\nSupplementaryGroups={group}\\n' \
                 >/etc/systemd/system/{BRIDGE}.d/group.conf && systemctl daemon-reload && systemctl restart {BRIDGE}; \
                 for Debian's Redis also `unixsocketperm 770` in /etc/redis/redis.conf"
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
