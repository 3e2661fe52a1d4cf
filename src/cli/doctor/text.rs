//! The report as people read it: on a terminal in colours, in a pipe plain.

use std::fmt::Write as _;

use super::finding::{Finding, Id, Report, Severity};
use crate::cli::text::{Style, Tone};
use crate::config::STANDARD_FILE;

/// The whole report. A command stands alone on its line, to be copied.
pub(super) fn text(report: &Report, style: Style) -> String {
    let mut text = String::new();
    if report.findings.iter().all(|it| !is_of_the_file(it)) {
        let _ = match &report.configuration {
            Some(file) => writeln!(text, "{file}: good"),
            None => writeln!(
                text,
                "{STANDARD_FILE}: good: there is no such file, so the defaults hold"
            ),
        };
    }
    for finding in &report.findings {
        let Finding {
            id,
            severity,
            what,
            why,
            remedy,
        } = finding;
        let word = painted(*severity, style);
        let id = serde_json::to_string(id).unwrap_or_default();
        let id = id.trim_matches('"');
        let _ = write!(
            text,
            "\n{word} {what} ({id})\n   why: {why}\n  mend: {remedy}\n"
        );
    }
    let _ = write!(text, "\n{}", last_lines(report));
    text
}

fn is_of_the_file(finding: &Finding) -> bool {
    matches!(finding.id, Id::Configuration | Id::ConfigurationUnreadable)
}

/// The word, as wide as the widest.
fn painted(severity: Severity, style: Style) -> String {
    let word = format!("{:<8}", format!("{}:", severity.word()));
    let tone = match severity {
        Severity::Fault => Tone::Bad,
        Severity::Warning => Tone::Warning,
        Severity::Note => Tone::Heading,
    };
    style.paint(tone, &word)
}

/// How much was found, as whom, and what was not seen.
fn last_lines(report: &Report) -> String {
    let counted = [Severity::Fault, Severity::Warning, Severity::Note].map(|severity| {
        let of_it = report.findings.iter().filter(|it| it.severity == severity);
        match (of_it.count(), severity.word()) {
            (0, _) => None,
            (1, word) => Some(format!("1 {word}")),
            (count, word) => Some(format!("{count} {word}s")),
        }
    });
    let counted: Vec<_> = counted.into_iter().flatten().collect();
    let found = match &counted[..] {
        [] => "Nothing found".to_owned(),
        _ => counted.join(", "),
    };
    let mut text = format!("{found}; looked as {}.\n", report.looked_as.user);
    for unseen in &report.unseen {
        let _ = writeln!(text, "Not seen: {unseen}.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Looker;

    fn report(findings: Vec<Finding>, unseen: &[&str]) -> Report {
        let looked_as = Looker {
            uid: 1000,
            user: "admin".into(),
        };
        let mut report = Report::new(Some("/a.toml".into()), looked_as, findings.into());
        report.unseen = unseen.iter().map(|it| (*it).to_owned()).collect();
        report
    }

    #[test]
    fn a_good_machine_takes_two_lines() {
        assert_eq!(
            text(&report(vec![], &[]), Style::Plain),
            "/a.toml: good\n\nNothing found; looked as admin.\n"
        );
    }

    #[test]
    fn each_finding_has_what_why_and_the_command_that_mends_it() {
        let findings = vec![
            Finding::note(Id::LocalPorts, "few ports", "some fail", "more"),
            Finding::fault(Id::Port80, "not here", "nobody comes", "enable"),
            Finding::note(Id::Ipv6, "none", "half", "listen"),
        ];
        assert_eq!(
            text(
                &report(findings, &["who has port 80: root sees that"]),
                Style::Plain
            ),
            "/a.toml: good\n\
             \nfault:   not here (port80)\n   why: nobody comes\n  mend: enable\n\
             \nnote:    few ports (local-ports)\n   why: some fail\n  mend: more\n\
             \nnote:    none (ipv6)\n   why: half\n  mend: listen\n\
             \n1 fault, 2 notes; looked as admin.\nNot seen: who has port 80: root sees that.\n"
        );
    }

    #[test]
    fn a_file_with_a_fault_is_not_called_good() {
        let fault = Finding::fault(Id::ConfigurationUnreadable, "closed", "no start", "chmod");
        assert!(!text(&report(vec![fault], &[]), Style::Plain).contains("good"));
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let findings = vec![Finding::warning(Id::Backlog, "short", "refused", "set")];
        let report = report(findings, &[]);
        assert!(text(&report, Style::Coloured).contains("\u{1b}[33mwarning:\u{1b}[0m short"));
        assert!(!text(&report, Style::Plain).contains('\u{1b}'));
    }
}
