//! Node servers with the classic Redis adapter, on the same Redis: what is done on either side concerns both.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::harness::*;

/// A bridge that speaks with Node's servers over this Redis.
pub(super) fn bridged(redis: &Redis) -> Setup {
    Setup::new().config(&format!(
        "[bridge]\nurl = \"{}\"\nnode = true\n",
        redis.url()
    ))
}

/// Waits until the bridge is connected.
#[track_caller]
pub(super) fn connected(server: &Server) -> u32 {
    eventually("the bridge is up", SOON, || {
        server.control().get("/status")["bridge"]["state"] == "up"
    });
    server.bridge().expect("the master has a bridge")
}

/// A script of `tests/redis`.
pub(super) fn command(name: &str, redis: &Redis, arguments: &[&str]) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis");
    let port = redis.port.to_string();
    let mut command = Command::new("node");
    command.arg(folder.join(name)).args(["--redis", &port]);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a script, which prints a line for all that is as it should be.
#[track_caller]
fn script_of_node(name: &str, redis: &Redis, arguments: &[&str]) {
    let output = command(name, redis, arguments)
        .output()
        .expect("node is installed (make test installs it)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, faults) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{faults}");
    for line in said.lines() {
        println!("    {name}: {line}");
    }
}

/// Every exchange, both ways.
#[track_caller]
fn all_exchanges(adapter: &str, library: &str, answers: &str) {
    let redis = Redis::start();
    let server = bridged(&redis).example("operators").start();
    let bridge = connected(&server).to_string();
    let worker = server.workers()[1].to_string();
    let url = server.url();
    let arguments = ["--adapter", adapter, "--library", library, "--url", &url];
    let more = [
        "--answers",
        answers,
        "--bridge",
        &bridge,
        "--worker",
        &worker,
    ];
    script_of_node("nodes.mjs", &redis, &[arguments, more].concat());
}

#[test]
fn version_8_of_the_adapter_and_we_are_one_cluster() {
    all_exchanges("8", "redis", "general");
}

#[test]
fn version_8_over_ioredis_and_we_are_one_cluster() {
    all_exchanges("8", "ioredis", "general");
}

#[test]
fn version_8_with_answers_on_channels_of_their_own_and_we_are_one_cluster() {
    all_exchanges("8", "redis", "specific");
}

#[test]
fn version_7_of_the_adapter_and_we_are_one_cluster() {
    all_exchanges("7", "redis", "general");
}

#[test]
fn version_7_over_ioredis_and_we_are_one_cluster() {
    all_exchanges("7", "ioredis", "general");
}

/// Who asks while somebody of the other kind hangs, and when that one has died.
#[track_caller]
fn waits(adapter: &str, library: &str) {
    let redis = Redis::start();
    let server = bridged(&redis).example("operators").start();
    let bridge = connected(&server).to_string();
    let url = server.url();
    let which = ["--adapter", adapter, "--library", library];
    let arguments = [&which[..], &["--url", &url, "--bridge", &bridge]].concat();
    script_of_node("waits.mjs", &redis, &arguments);
    assert!(server.count_lines("1 of Node's servers did not answer") > 0);
}

#[test]
fn version_8_waits_for_a_bridge_that_hangs_as_for_a_node_server_and_we_for_two_seconds() {
    waits("8", "redis");
}

#[test]
fn version_7_waits_for_a_bridge_that_hangs_as_for_a_node_server_and_we_for_two_seconds() {
    waits("7", "ioredis");
}

#[test]
fn a_room_over_two_node_servers_and_two_of_ours_has_every_message_once_and_in_order() {
    let redis = Redis::start();
    let servers = [1, 2].map(|machine| {
        let number = format!("machine = {machine}");
        bridged(&redis).config(&number).start()
    });
    for server in &servers {
        connected(server);
        eventually("each knows the other one", SOON, || {
            let status = server.control().get("/status");
            status["bridge"]["machines"].as_array().map(Vec::len) == Some(1)
        });
    }
    let urls = servers.each_ref().map(Server::url);
    for (adapter, library) in [("8", "redis"), ("7", "ioredis")] {
        let which = ["--adapter", adapter, "--library", library];
        let of_ours = ["--url", &urls[0], "--url", &urls[1]];
        let arguments = [&which[..], &of_ours, &["--messages", "2000"]].concat();
        script_of_node("chat.mjs", &redis, &arguments);
    }
}

#[test]
fn a_thousand_random_messages_on_each_channel_are_counted_and_end_nothing() {
    const EACH: usize = 1_000;
    let redis = Redis::start();
    let server = bridged(&redis).example("operators").start();
    let bridge = connected(&server);
    let workers = server.workers();
    let counted = |channel: &str| redis.ask(&["PUBSUB", "NUMSUB", channel]).contains("\n1");
    eventually("it is subscribed", SOON, || counted("socket.io-request#/#"));

    let mut random = 7_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize
    };
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
    for channel in [
        "socket.io#/#",
        "socket.io-request#/#",
        "socket.io-response#/#",
        "socket.io#/#room#",
    ] {
        for _ in 0..EACH {
            let payload: Vec<u8> = (0..next() % 300).map(|_| next() as u8).collect();
            let (name, len) = (channel.len(), payload.len());
            let head = format!("*3\r\n$7\r\nPUBLISH\r\n${name}\r\n{channel}\r\n${len}\r\n");
            stream
                .write_all(&[head.as_bytes(), &payload, b"\r\n"].concat())
                .unwrap();
        }
    }
    // What comes behind all of them arrives.
    let crowd = Crowd::official(&server, "/", 4, &[]);
    let hello = json!({"requestId": "r", "uid": "abcdef", "type": 6, "data": ["tell", "hello"]});
    redis.ask(&["PUBLISH", "socket.io-request#/#", &hello.to_string()]);
    for client in crowd.iter() {
        eventually("its worker heard it", SOON, || {
            client.call("heard", json!([]))["heard"] == json!(["hello"])
        });
    }
    eventually("they are counted", SOON, || {
        let status = server.control().get("/status");
        status["bridge"]["garbled"].as_u64() > Some(3_900)
    });
    assert_eq!((server.bridge(), server.workers()), (Some(bridge), workers));
    nobody_went(crowd.iter());
}

#[test]
fn without_node_nothing_is_said_to_node() {
    let redis = Redis::start();
    let url = redis.url();
    let silent = format!("[bridge]\nurl = \"{url}\"\nemitter = false\n");
    let server = Setup::new().example("operators").config(&silent).start();
    connected(&server);
    let spoken = bridged(&redis).example("operators").start();
    connected(&spoken);
    let monitor = redis_program("cli")
        .args(["-p", &redis.port.to_string(), "monitor"])
        .stdout(Stdio::piped())
        .spawn();
    let mut monitor = monitor.unwrap();
    let crowd = Crowd::official(&server, "/", 4, &[]);
    crowd[0].call("emit", json!([{}, "note", 1]));
    crowd[0].call("fetch", json!([{}]));
    for client in crowd.iter() {
        client.hears("note", &json!(1));
    }
    drop(spoken);
    eventually("the other one is gone", SOON, || {
        redis
            .ask(&["PUBSUB", "CHANNELS", "socket.io*"])
            .trim()
            .is_empty()
    });
    assert_eq!(redis.ask(&["PUBSUB", "NUMPAT"]).trim(), "0");
    crowd[0].call("fetch", json!([{}]));
    monitor.kill().unwrap();
    let seen = monitor.wait_with_output().unwrap().stdout;
    let seen = String::from_utf8_lossy(&seen);
    let said = seen
        .lines()
        .filter(|line| line.contains("\"PUBLISH\" \"socket.io"));
    assert_eq!(said.count(), 0, "{seen}");
}
