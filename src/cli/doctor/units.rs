//! What systemd says of our units: where it is, and whether the service could do its work with what it has.

use std::path::Path;

use super::finding::{Finding, Id};
use super::look;

pub(super) const SERVICE: &str = "my-app.service";
pub(super) const SOCKET: &str = "my-app.socket";
pub(super) const TCP_SOCKET: &str = "my-app-tcp.socket";
pub(super) const BRIDGE: &str = "my-app-bridge.service";

/// Few files for a process that has one for each client.
const FEW_FILES: u64 = 65_536;

/// The properties of a unit, as `systemctl show` prints them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit(Vec<(String, String)>);

impl Unit {
    /// Empty, where there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        let mut all = self.0.iter();
        all.find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.get("LoadState") == "loaded"
    }

    pub(super) fn is(&self, state: &str) -> bool {
        self.get("ActiveState") == state
    }

    fn parse(block: &str) -> Self {
        let lines = block.lines().filter_map(|line| line.split_once('='));
        Self(
            lines
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }
}

/// Our units; all are empty where systemd does not run, or does not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Units {
    pub(super) service: Unit,
    pub(super) socket: Unit,
    pub(super) tcp: Unit,
    pub(super) bridge: Unit,
    pub(super) nginx: Unit,
}

impl Units {
    /// Asks systemd.
    pub(super) fn of_this_machine() -> Option<Self> {
        if !Path::new("/run/systemd/system").exists() {
            return Some(Self::default());
        }
        let (said, _) = look::command(&[
            "systemctl",
            "show",
            "--property=Id,LoadState,ActiveState,Result,UnitFileState,MainPID,User,Group,ProtectSystem,ReadWritePaths,\
             LimitNOFILE,Listen,SocketMode,SocketGroup,SupplementaryGroups,LoadCredentialEncrypted,\
             ActiveEnterTimestamp",
            "--timestamp=unix",
            SERVICE,
            SOCKET,
            TCP_SOCKET,
            BRIDGE,
            "nginx.service",
        ])?;
        let units = Self::parse(&said);
        // Without a bus it complains, and says nothing.
        (units.service != Unit::default()).then_some(units)
    }

    pub(super) fn parse(said: &str) -> Self {
        let blocks: Vec<_> = said.split("\n\n").map(Unit::parse).collect();
        let of = |id: &str| {
            let mut blocks = blocks.iter();
            blocks
                .find(|it| it.get("Id") == id)
                .cloned()
                .unwrap_or_default()
        };
        Self {
            service: of(SERVICE),
            socket: of(SOCKET),
            tcp: of(TCP_SOCKET),
            bridge: of(BRIDGE),
            nginx: of("nginx.service"),
        }
    }

    /// Whether a request would start the service, which is not the doctor's to do.
    pub(super) fn would_start(&self) -> bool {
        self.service.is_loaded() && !self.service.is("active")
    }

    /// Whether it runs. It is `status` that tells how: here the question is whether a start is all it takes.
    pub(super) fn life(&self) -> Option<Finding> {
        if !self.service.is_loaded() {
            return None;
        }
        let all = format!("systemctl start {SOCKET} {TCP_SOCKET} {SERVICE}");
        let waits = self.socket.is("active");
        match self.service.get("ActiveState") {
            "failed" => Some(Finding::warning(
                Id::ServiceStopped,
                format!("the service has failed ({})", self.service.get("Result")),
                "clients wait, or are refused; journalctl -u my-app -n 50 tells why",
                format!("systemctl restart {SERVICE}"),
            )),
            "inactive" if waits => Some(Finding::note(
                Id::ServiceStopped,
                "the service is stopped, and the next connection starts it",
                "nobody is connected now",
                format!("systemctl start {SERVICE}"),
            )),
            "inactive" => Some(Finding::warning(
                Id::ServiceStopped,
                "the service and its listeners are stopped",
                "clients are refused",
                all,
            )),
            _ => None,
        }
    }

    /// Whether the service may have enough files open. `in_force`: what the kernel says of its master.
    pub(super) fn files(&self, in_force: Option<u64>) -> Option<Finding> {
        let asked = match self.service.get("LimitNOFILE") {
            "infinity" => u64::MAX,
            number => number.parse().ok()?,
        };
        let files = in_force.unwrap_or(asked);
        if files >= FEW_FILES {
            return None;
        }
        let why = format!(
            "a client takes one, so that each worker serves fewer than {files}; who comes then is refused with 503"
        );
        let (what, remedy) = if asked < FEW_FILES {
            (
                format!(
                    "the service may have {files} files open, for its unit says LimitNOFILE={asked}"
                ),
                format!(
                    "mkdir -p /etc/systemd/system/{SERVICE}.d && printf '[Service]\\nLimitNOFILE=1048576\\n' >/etc/systemd/system/{SERVICE}.d/zz-files.conf && \
                     systemctl daemon-reload && systemctl restart {SERVICE}"
                ),
            )
        } else {
            (
                format!(
                    "the service may have {files} files open, though its unit asks for {asked}"
                ),
                format!(
                    "raise the limit of what this machine runs in (docker run --ulimit nofile=1048576), then: systemctl \
                     restart {SERVICE}"
                ),
            )
        };
        Some(Finding::warning(Id::ServiceFiles, what, why, remedy))
    }
}

/// The soft limit of open files in a text of /proc/PID/limits.
pub(super) fn soft_limit(limits: &str) -> Option<u64> {
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// How many files a process may have open, if anybody may know.
pub(super) fn open_files(pid: u32) -> Option<u64> {
    soft_limit(&std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(service: &str, socket: &str) -> Units {
        let said = format!(
            "Id={SERVICE}\nLoadState=loaded\nActiveState={service}\nResult=exit-code\nLimitNOFILE=1048576\n\n\
             Id={SOCKET}\nActiveState={socket}\n\nId={TCP_SOCKET}\nListen=127.0.0.1:3000 (Stream)\n"
        );
        Units::parse(&said)
    }

    #[test]
    fn what_systemd_shows_is_told_apart_by_unit() {
        let units = units("active", "active");
        assert_eq!(units.service.get("LimitNOFILE"), "1048576");
        assert_eq!(units.tcp.get("Listen"), "127.0.0.1:3000 (Stream)");
        assert_eq!(units.nginx, Unit::default());
        assert!(!units.would_start() && units.life().is_none());
        let none = Units::parse("");
        assert!(!none.would_start() && none.life().is_none() && none.files(Some(5)).is_none());
    }

    #[test]
    fn a_service_that_does_not_run_is_told_with_the_command_that_starts_it() {
        for (service, socket, remedy) in [
            ("failed", "active", Some("systemctl restart my-app.service")),
            ("inactive", "active", Some("systemctl start my-app.service")),
            (
                "inactive",
                "inactive",
                Some("systemctl start my-app.socket my-app-tcp.socket my-app.service"),
            ),
            ("activating", "active", None),
        ] {
            let life = units(service, socket).life().map(|it| it.remedy);
            assert_eq!(life.as_deref(), remedy, "{service}");
            assert!(units(service, socket).would_start());
        }
    }

    #[test]
    fn few_open_files_are_told_with_their_cause() {
        let mut units = units("active", "active");
        for (asked, in_force, cause) in [
            ("1048576", Some(1_048_576), None),
            ("1048576", None, None),
            ("infinity", Some(1_000_000), None),
            (
                "1048576",
                Some(20_000),
                Some("though its unit asks for 1048576"),
            ),
            (
                "1024",
                Some(1024),
                Some("for its unit says LimitNOFILE=1024"),
            ),
            ("1024", None, Some("for its unit says LimitNOFILE=1024")),
        ] {
            units.service = Unit::parse(&format!("LimitNOFILE={asked}"));
            let found = units.files(in_force);
            match cause {
                Some(cause) => assert!(found.unwrap().what.contains(cause), "{asked} {in_force:?}"),
                None => assert_eq!(found, None, "{asked} {in_force:?}"),
            }
        }
    }

    #[test]
    fn the_limit_of_open_files_is_read() {
        let limits =
            "Limit                     Soft Limit           Hard Limit           Units     
Max processes             94000                94000                processes 
Max open files            1024                 1048576              files     
";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(
            soft_limit(&limits.replace("1024 ", "unlimited ")),
            Some(u64::MAX)
        );
        assert_eq!(soft_limit(""), None);
        assert!(open_files(std::process::id()).is_some());
    }
}
