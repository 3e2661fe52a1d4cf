//! `my-app check`, on a machine without the package: what it prints, for people and for programs, and that nothing holds
//! it up. The package's tests have the rest.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::*;

/// Runs the check of a configuration with `text`; gives the exit code and what it printed.
fn check(text: &str, options: &[&str]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my-app.toml");
    fs::write(&path, text).unwrap();
    let (code, said) = check_of(&path, options);
    (code, said.replace(path.to_str().unwrap(), "FILE"))
}

fn check_of(path: &Path, options: &[&str]) -> (i32, String) {
    let output = Command::new("timeout")
        .arg("30")
        .arg(program())
        .args(["check", "--config"])
        .arg(path)
        .args(options)
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), said)
}

fn as_json(text: &str) -> (i32, Value) {
    let (code, said) = check(text, &["--json"]);
    let report = serde_json::from_str(&said);
    (code, report.unwrap_or_else(|_| panic!("no JSON: {said}")))
}

/// A configuration whose port nobody else has.
const QUIET: &str = "listen = [\"127.0.0.1:0\"]\n";

#[test]
fn check_says_what_it_found_as_whom_and_what_it_did_not_see() {
    let (code, said) = check(QUIET, &[]);
    assert_eq!(code, 0, "{said}");
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap();
    let expected = format!(
        "FILE: good\n\nNothing found; looked as {}.\nNot seen: more than the configuration: the package is not \
         installed here.\n",
        user.trim()
    );
    assert_eq!(said, expected);
}

#[test]
fn a_finding_has_what_why_and_what_mends_it_for_people_and_for_programs() {
    let text = format!("{QUIET}limits.trusted_proxies = [\"0.0.0.0/0\"]\n");
    let (code, said) = check(&text, &[]);
    assert_eq!(code, 0, "{said}");
    for line in [
        "warning: limits.trusted_proxies trusts every address (trusts-everybody)\n   why: clients can write",
        "\n  mend: name the networks of your proxies alone: editor FILE\n",
        "\n1 warning; looked as ",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains('\u{1b}'), "plain in a pipe: {said}");
    let (code, report) = as_json(&text);
    assert_eq!((code, &report["healthy"]), (0, &json!(true)));
    let keys = [
        "configuration",
        "findings",
        "healthy",
        "looked_as",
        "unseen",
        "version",
    ];
    let found: Vec<_> = report.as_object().unwrap().keys().collect();
    assert_eq!(found, keys);
    let finding = &report["findings"][0];
    let keys = ["id", "remedy", "severity", "what", "why"];
    let found: Vec<_> = finding.as_object().unwrap().keys().collect();
    assert_eq!(found, keys);
    assert_eq!(finding["id"], "trusts-everybody");
    assert_eq!(finding["severity"], "warning");
}

#[test]
fn the_faults_of_a_configuration_are_a_program_s_to_read_too() {
    let (code, report) = as_json("worker = 2\nbalance = 1\n");
    assert_eq!(code, 78);
    assert_eq!(report["healthy"], false);
    let findings = report["findings"].as_array().unwrap();
    let told: Vec<_> = findings
        .iter()
        .map(|it| [&it["id"], &it["what"], &it["remedy"]].map(|it| it.as_str().unwrap()))
        .collect();
    assert_eq!(
        told[0],
        [
            "configuration",
            "FILE: line 1: worker: unknown key; did you mean workers?",
            "editor +1 FILE"
        ]
    );
    assert_eq!(told.len(), 2);
}

#[test]
fn a_port_that_another_program_has_is_told_with_its_name_and_one_of_my_app_is_not() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let (code, report) = as_json(&format!("listen = [\"{address}\"]"));
    assert_eq!(code, 0);
    let what = report["findings"][0]["what"].as_str().unwrap();
    let pid = format!("(pid {})", std::process::id());
    assert!(
        what.starts_with(&format!("{address} is held by ")) && what.contains(&pid),
        "{what}"
    );
    let server = Server::start();
    let (_, report) = as_json(&format!("listen = [\"{}\"]", server.addr));
    assert_eq!(report["findings"], json!([]));
}

#[test]
fn colours_are_for_a_terminal_and_for_who_wants_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my-app.toml");
    fs::write(&path, format!("{QUIET}limits.trusted_proxies = [\"::/0\"]")).unwrap();
    let on_a_terminal = |variable: &str| {
        let line = format!("{} check --config {}", program().display(), path.display());
        let output = Command::new("env")
            .args(["-u", "NO_COLOR", "TERM=xterm", variable])
            .args(["timeout", "30", "script", "-qec", &line, "/dev/null"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let coloured = on_a_terminal("A=1");
    assert!(
        coloured.contains("\u{1b}[33mwarning:\u{1b}[0m"),
        "{coloured}"
    );
    for variable in ["NO_COLOR=1", "TERM=dumb"] {
        let plain = on_a_terminal(variable);
        assert!(
            plain.contains("warning:") && !plain.contains('\u{1b}'),
            "{plain}"
        );
    }
}

#[test]
fn a_configuration_that_never_comes_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let began = Instant::now();
    let (code, said) = check_of(&path, &[]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("could not be read within 5 s"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(15));
}
