//! Node's own server and ours get the same bytes, and must answer the same: tests/differential.

use std::path::Path;
use std::process::{Command, Stdio};

use super::harness::*;

fn runner() -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/run.mjs");
    let mut command = Command::new("node");
    command.arg(script).stdin(Stdio::null());
    command
}

#[test]
fn whatever_a_client_sends_it_sees_what_node_would_show_it() {
    let told = run(runner().arg("--configs"));
    let servers: Vec<_> = told
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, wanted)| {
            let engine = wanted["engine"].as_str().unwrap();
            let mut setup = Setup::new()
                .workers(1)
                .config(&format!("[engine]\n{engine}"));
            if let Some(example) = wanted["application"].as_str() {
                setup = setup.example(example);
            }
            (name, setup.start())
        })
        .collect();
    let mut compare = runner();
    for (name, server) in &servers {
        let port = server.addr.port();
        compare.arg("--ours").arg(format!("{name}={port}"));
    }
    let told = run(&mut compare);
    saw("cases", &told["cases"]);
    saw("listed differences", &told["listed"]);
}
