//! A fleet of Node servers becomes one of ours, server by server, while its clients talk.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::harness::*;
use super::node_servers::{bridged, command, connected};

/// Node servers, and clients of all that talk: `rolling.mjs`.
struct Fleet {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Fleet {
    #[track_caller]
    fn start(redis: &Redis, nodes: usize, adapter: &str, library: &str) -> Self {
        let nodes = nodes.to_string();
        let which = ["--adapter", adapter, "--library", library];
        let arguments = [&which[..], &["--nodes", &nodes]].concat();
        let mut command = command("rolling.mjs", redis, &arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut fleet = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        assert_eq!(fleet.line(), "ready");
        fleet
    }

    /// One Node server ends, and its clients connect there.
    #[track_caller]
    fn replace_one(&mut self, url: &str) {
        writeln!(self.input, "{}", json!({ "url": url })).unwrap();
        assert_eq!(self.line(), "replaced");
    }

    /// Everybody is silent, and what arrived is counted.
    #[track_caller]
    fn end(mut self) -> Value {
        writeln!(self.input, "{}", json!({ "end": true })).unwrap();
        serde_json::from_str(&self.line()).unwrap()
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.output.read_line(&mut line).unwrap();
        assert!(length > 0, "rolling.mjs ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Only what this test started is ended. Its Node servers end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Replaces all of them, as docs/MIGRATING.md says.
#[track_caller]
fn replace_all(adapter: &str, library: &str) {
    const NODES: usize = 3;
    let redis = Redis::start();
    let mut fleet = Fleet::start(&redis, NODES, adapter, library);
    let mut servers = Vec::new();
    for number in 1..=NODES {
        let number = format!("machine = {number}");
        let server = bridged(&redis).config(&number).start();
        connected(&server);
        fleet.replace_one(&server.url());
        servers.push(server);
    }
    let told = fleet.end();
    saw("messages", &told);
    for none in ["missing", "doubled", "disordered"] {
        assert_eq!(told[none], 0, "{told}");
    }
    assert!(told["due"].as_u64().unwrap() > 1_000, "{told}");
    for server in &servers {
        let bridge = server.control().get("/status")["bridge"].take();
        assert_eq!(bridge["lost_in"], 0, "{bridge}");
        assert_eq!(bridge["garbled"], 0, "{bridge}");
    }
}

#[test]
fn node_servers_of_version_8_make_way_one_by_one_and_nobody_who_stays_misses_a_word() {
    replace_all("8", "redis");
}

#[test]
fn node_servers_of_version_7_make_way_one_by_one_and_nobody_who_stays_misses_a_word() {
    replace_all("7", "ioredis");
}
