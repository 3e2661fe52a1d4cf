//! What the doctor finds, and what it says in the end: for people in [`text`](super::text), for programs here.

use serde::Serialize;

use crate::cli::Exit;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// The server does not start with it, or clients are kept out.
    Fault,
    /// The server serves, but something is lost, or will be when many come.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What kind of finding it is. The words are part of the program's interface: none ever changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Id {
    /// The file has faults, or cannot be read.
    Configuration,
    /// The service's user may not read the file.
    ConfigurationUnreadable,
    /// `listen` is set and not used.
    ListenUnused,
    /// `limits.trusted_proxies` has everybody.
    TrustsEverybody,
    /// The program was built without the files that `serve_client` is about.
    NoClientFiles,
    /// The bridge to other machines does not run, and should.
    BridgeStopped,
    /// Something of `[bridge]` makes no difference.
    BridgeUnused,
    /// The bridge's password, or the authorities of its TLS, cannot be read, or the password by too many.
    BridgeSecret,
    /// The bridge's server does not answer.
    BridgeUnreachable,
    /// nginx chooses machines by their numbers, and this one's is made up.
    MachineNumber,
    /// The service's user may not write the log file.
    LogUnwritable,
    /// The service is not running.
    ServiceStopped,
    /// Few open files for the service.
    ServiceFiles,
    /// nginx's way to the server is not there.
    SocketMissing,
    /// nginx may not use the way to the server.
    SocketClosed,
    /// Everybody may use a socket that is for few.
    SocketOpen,
    /// Another program has one of our ports.
    PortTaken,
    /// Workers shall have ports of their own, which systemd does not open.
    WorkerPorts,
    /// Port 80 does not lead to my-app, and should.
    Port80,
    /// nginx is not running.
    NginxStopped,
    /// nginx could not be started again.
    NginxBroken,
    /// Files of the package are missing below /etc/nginx.
    NginxFiles,
    /// nginx does not read conf.d.
    NginxConfD,
    /// nothing in nginx leads to my-app.
    NginxSite,
    /// Few connections for nginx.
    NginxConnections,
    /// Few open files for nginx.
    NginxOpenFiles,
    /// nginx ends what the server still waits for.
    NginxTimeout,
    /// nginx takes less of a body than the server.
    NginxBody,
    /// Clients that come over IPv6 find nobody.
    Ipv6,
    /// The kernel cuts the listeners' backlog.
    Backlog,
    /// Few local ports.
    LocalPorts,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) id: Id,
    pub(super) severity: Severity,
    /// What it is, where, with its figures.
    pub(super) what: String,
    /// Why it matters.
    pub(super) why: String,
    /// The command that mends it, or the line to change and the command that makes it count.
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn fault(
        id: Id,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            id,
            severity: Severity::Fault,
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn warning(
        id: Id,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::fault(id, what, why, remedy)
        }
    }

    pub(super) fn note(
        id: Id,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Note,
            ..Self::fault(id, what, why, remedy)
        }
    }
}

/// As whom the doctor looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Looker {
    pub(super) uid: u32,
    /// The name, or the number where there is none.
    pub(super) user: String,
}

/// All that is found. As JSON this is what `--json` prints; keys are added, but none is removed or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// There is no fault. The exit code is 0 then, and only then.
    pub(super) healthy: bool,
    pub(super) version: &'static str,
    /// The file that was read; none: the defaults hold.
    pub(super) configuration: Option<String>,
    pub(super) looked_as: Looker,
    /// What could not be looked at, and why.
    pub(super) unseen: Vec<String>,
    /// The worst first.
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(configuration: Option<String>, looked_as: Looker, seen: Seen) -> Self {
        let Seen {
            mut findings,
            unseen,
        } = seen;
        findings.sort_by_key(|finding| finding.severity);
        Self {
            healthy: findings.iter().all(|it| it.severity != Severity::Fault),
            version: env!("CARGO_PKG_VERSION"),
            configuration,
            looked_as,
            unseen,
            findings,
        }
    }

    /// 78 when the service cannot start with its configuration, 71 for a fault around it, else 0: warnings and
    /// notes keep nobody from starting it.
    pub(super) fn exit(&self) -> Exit {
        let mut faults = self
            .findings
            .iter()
            .filter(|it| it.severity == Severity::Fault);
        let is_configuration =
            |it: &Finding| matches!(it.id, Id::Configuration | Id::ConfigurationUnreadable);
        if self.healthy {
            Exit::Ok
        } else if faults.any(is_configuration) {
            Exit::Config
        } else {
            Exit::Os
        }
    }
}

/// What one look brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) findings: Vec<Finding>,
    pub(super) unseen: Vec<String>,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.findings.extend(other.findings);
        for unseen in other.unseen {
            self.cannot_see(unseen);
        }
    }

    /// Says once what could not be looked at.
    pub(super) fn cannot_see(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.unseen.contains(&what) {
            self.unseen.push(what);
        }
    }
}

impl From<Vec<Finding>> for Seen {
    fn from(findings: Vec<Finding>) -> Self {
        Self {
            findings,
            unseen: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> Report {
        let looked_as = Looker {
            uid: 0,
            user: "root".into(),
        };
        Report::new(Some("/a.toml".into()), looked_as, findings.into())
    }

    #[test]
    fn faults_of_the_configuration_end_with_78_other_faults_with_71_and_nothing_else_counts() {
        let configuration = Finding::fault(Id::Configuration, "", "", "");
        let other = Finding::fault(Id::Port80, "", "", "");
        let warning = Finding::warning(Id::Backlog, "", "", "");
        let note = Finding::note(Id::LocalPorts, "", "", "");
        for (findings, exit) in [
            (vec![], Exit::Ok),
            (vec![note.clone(), warning.clone()], Exit::Ok),
            (vec![warning, other.clone(), note], Exit::Os),
            (vec![other, configuration], Exit::Config),
        ] {
            let report = report(findings);
            assert_eq!(report.exit(), exit, "{report:?}");
            assert_eq!(report.healthy, exit == Exit::Ok);
        }
    }

    #[test]
    fn the_json_has_the_documented_shape_the_worst_first() {
        let report = report(vec![
            Finding::note(Id::ListenUnused, "a", "b", "c"),
            Finding::fault(Id::Port80, "d", "e", "f"),
        ]);
        let json = serde_json::to_value(report).unwrap();
        let expected = serde_json::json!({
            "healthy": false,
            "version": env!("CARGO_PKG_VERSION"),
            "configuration": "/a.toml",
            "looked_as": {"uid": 0, "user": "root"},
            "unseen": [],
            "findings": [
                {"id": "port80", "severity": "fault", "what": "d", "why": "e", "remedy": "f"},
                {"id": "listen-unused", "severity": "note", "what": "a", "why": "b", "remedy": "c"},
            ],
        });
        assert_eq!(json, expected);
    }
}
