use std::path::Path;

use serde_json::Value as Json;

use super::*;
use crate::config::{Balance, BridgeConfig, ListenAddr, LogFormat, LogLevel, Parser, Transport};

/// The faults of `text`, one a line.
fn faults(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn config(text: &str) -> Config {
    parse(text)
        .unwrap_or_else(|faults| panic!("{faults}"))
        .config
}

const SAMPLE: &str = include_str!("../../../debian/my-app.toml");

/// The sample with its defaults switched on: prose has a space after its mark, settings have none.
fn uncommented() -> String {
    let lines = SAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_changes_nothing() {
    let parsed = parse(SAMPLE).unwrap();
    assert_eq!(parsed.config, Config::default());
    assert_eq!(parsed.given, Vec::<&str>::new());
}

#[test]
fn the_shipped_file_shows_every_key_with_its_default() {
    let parsed = parse(&uncommented()).unwrap();
    assert_eq!(parsed.config, Config::default());
    let mut all: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    all.sort_unstable();
    assert_eq!(parsed.given, all);
}

#[test]
fn every_field_of_the_configuration_has_its_key() {
    let Json::Object(fields) = serde_json::to_value(Config::default()).unwrap() else {
        panic!("not an object");
    };
    for (name, value) in fields {
        let names: Vec<_> = match value {
            Json::Object(inner) if !inner.contains_key("secs") => {
                inner.keys().map(|key| format!("{name}.{key}")).collect()
            }
            _ => vec![name],
        };
        for name in names {
            assert!(
                KEYS.iter().any(|key| key.name == name),
                "{name} cannot be set"
            );
        }
    }
}

#[test]
fn every_key_reaches_its_own_field() {
    let config = config(
        r#"
        listen = ["[::1]:80", "unix:/run/a.sock"]
        workers = 3
        balance = "round-robin"
        stop_drain = "0s"
        drain = "7s"
        start_timeout = "5s"
        watchdog = "1s"
        engine.path = "/ws"
        engine.ping_interval = "1m 30s"
        engine.ping_timeout = "500ms"
        engine.upgrade_timeout = "1s"
        engine.connect_timeout = "2s"
        engine.max_payload = 1_000
        engine.transports = ["websocket"]
        engine.allow_eio3 = true
        engine.parser = "msgpack"
        engine.per_message_deflate = true
        engine.http_compression = false
        engine.compression_threshold = 0
        engine.cors_origins = ["https://a.example", "https://b.example"]
        engine.cors_credentials = true
        engine.cors_headers = ["X-Token"]
        engine.write_stall_timeout = "3s"
        engine.serve_client = false
        limits = { max_connections = 1, max_connections_per_address = 2, head_timeout = "4s", new_sessions_per_second = 0x10, rooms_per_socket = 5 }
        [log]
        level = "trace"
        file = ""
        format = "json"
        stats_interval = "0s"
        [control]
        socket = "/run/c.sock"
        "#,
    );
    let unix = ListenAddr::Unix("/run/a.sock".into());
    assert_eq!(config.listen, [ListenAddr::Tcp("[::1]:80".into()), unix]);
    assert_eq!((config.workers, config.balance), (3, Balance::RoundRobin));
    assert_eq!(
        config.control.socket.as_deref(),
        Some(Path::new("/run/c.sock"))
    );
    assert_eq!(
        (config.stop_drain, config.watchdog),
        (Duration::ZERO, Duration::from_secs(1))
    );
    assert_eq!(config.drain, Duration::from_secs(7));
    assert_eq!(config.start_timeout, Duration::from_secs(5));
    let engine = &config.engine;
    assert_eq!(engine.path, "/ws/");
    assert_eq!(engine.ping_interval, Duration::from_secs(90));
    assert_eq!(engine.ping_timeout, Duration::from_millis(500));
    assert_eq!(engine.upgrade_timeout, Duration::from_secs(1));
    assert_eq!(engine.connect_timeout, Duration::from_secs(2));
    assert_eq!(engine.max_payload, 1000);
    assert_eq!(engine.transports, [Transport::Websocket]);
    assert!(engine.allow_eio3 && engine.cors_credentials);
    assert_eq!(engine.parser, Parser::Msgpack);
    assert!(engine.per_message_deflate && !engine.http_compression);
    assert!(!engine.serve_client);
    assert_eq!(engine.compression_threshold, 0);
    assert_eq!(
        engine.cors_origins,
        ["https://a.example", "https://b.example"]
    );
    assert_eq!(engine.cors_headers, ["x-token"]);
    assert_eq!(engine.write_stall_timeout, Duration::from_secs(3));
    assert_eq!(config.limits.max_connections, 1);
    assert_eq!(config.limits.max_connections_per_address, 2);
    assert_eq!(config.limits.head_timeout, Duration::from_secs(4));
    assert_eq!(config.limits.new_sessions_per_second, 16);
    assert_eq!(config.limits.rooms_per_socket, 5);
    assert_eq!(
        (config.log.level, config.log.format),
        (LogLevel::Trace, LogFormat::Json)
    );
    assert_eq!(
        (config.log.file, config.log.stats_interval),
        (None, Duration::ZERO)
    );
}

#[test]
fn every_key_of_the_bridge_reaches_its_own_field() {
    let config = config(
        r#"
        [bridge]
        url = "redis://u@a:7000"
        secret_file = "/etc/s"
        ca_file = "/etc/ca.pem"
        prefix = "p"
        machine = 4095
        catch_up = "30s"
        emitter = false
        emitter_prefix = "k"
        node = true
        "#,
    );
    assert_eq!(
        config.bridge,
        BridgeConfig {
            url: Some("redis://u@a:7000".parse().unwrap()),
            secret_file: Some("/etc/s".into()),
            ca_file: Some("/etc/ca.pem".into()),
            prefix: "p".to_owned(),
            machine: 4095,
            catch_up: Duration::from_secs(30),
            emitter: false,
            emitter_prefix: "k".to_owned(),
            node: true,
        }
    );
}

#[test]
fn a_configuration_survives_the_way_to_a_worker() {
    let config = config(
        "limits.trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nlog.file = \"/a\"\nbridge.url = \"redis://a\"\n",
    );
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
}

#[test]
fn all_faults_are_told_at_once_with_their_lines() {
    let text = "workers = \"two\"\n\n[engine]\nping_interval = \"25\"\ntransports = [\n  \
                \"polling\",\n  \"sse\",\n  \"polling\"]\n[log]\nlevel = 3\n";
    assert_eq!(
        faults(text),
        "line 1: workers = \"two\": expected a whole number, found a string\n\
         line 4: engine.ping_interval = \"25\": not a duration; write a number with a unit, in \
         quotes, such as \"25s\", \"1m 30s\" or \"500ms\"\n\
         line 7: engine.transports = \"sse\": write one of \"polling\", \"websocket\"\n\
         line 8: engine.transports = \"polling\": stands twice in the list; write it once\n\
         line 10: log.level = 3: expected a string, found a whole number"
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    for (text, answer) in [
        (
            "worker = 1",
            "line 1: worker: unknown key; did you mean workers?",
        ),
        (
            "\n[engine]\nping_intervall = \"1s\"",
            "line 3: engine.ping_intervall: unknown key; did you mean ping_interval in [engine]?",
        ),
        (
            "ping_interval = \"1s\"",
            "line 1: ping_interval: unknown key; did you mean ping_interval in [engine]?",
        ),
        (
            "[logs]\nlevel = \"info\"",
            "line 1: logs: unknown section; did you mean [log]?",
        ),
        ("zebra = 1", "line 1: zebra: unknown key"),
        ("[zebra]\nx = 1", "line 1: zebra: unknown section"),
        (
            "\"engine.path\" = \"/a\"",
            "line 1: engine.path: unknown key; did you mean path in [engine]?",
        ),
        ("\"a\\n\\u001b\" = 1", "line 1: a\\n\\u{1b}: unknown key"),
        (
            "engine = 3",
            "line 1: engine = 3: expected a section [engine], found a whole number",
        ),
    ] {
        assert_eq!(faults(text), answer);
    }
}

#[test]
fn a_fault_of_syntax_is_one_fault_with_its_line() {
    for (text, answer) in [
        (
            "workers = 1\nworkers = 2\n",
            "line 2: not TOML: duplicate key",
        ),
        ("[log]\n[log]\n", "line 2: not TOML: duplicate key"),
        (
            "\nstop_drain = 2s\n",
            "line 2: not TOML: string values must be quoted",
        ),
        ("[engine\nx = 1", "line 1: not TOML: unclosed table"),
    ] {
        let faults = parse(text).unwrap_err();
        assert_eq!(faults.iter().count(), 1);
        assert!(faults.to_string().starts_with(answer), "{faults}");
    }
}

#[test]
fn a_value_out_of_range_is_told_the_range() {
    for (text, answer) in [
        ("workers = 4097", "write a whole number from 0 to 4096"),
        ("workers = -1", "write a whole number from 0 to 4096"),
        (
            "engine.max_payload = 0",
            "write a whole number from 1 to 1073741824",
        ),
        (
            "limits.max_connections = 99999999999999999999",
            "from 0 to 4294967295",
        ),
        (
            "watchdog = \"0s\"",
            "write a duration from \"1s\" to \"1day\"",
        ),
        (
            "stop_drain = \"10ms\"",
            "write a duration from \"100ms\" to \"1day\"",
        ),
        (
            "engine.ping_timeout = \"0s\"",
            "write a duration from \"100ms\" to \"1day\"",
        ),
        (
            "engine.ping_timeout = \"2days\"",
            "write a duration from \"100ms\" to \"1day\"",
        ),
    ] {
        assert!(faults(text).contains(answer), "{}", faults(text));
    }
}

#[test]
fn a_duration_needs_a_number_a_unit_and_quotes() {
    for text in [
        "\"25\"",
        "\"0\"",
        "\"\"",
        "\"-1s\"",
        "\"soon\"",
        "\"1 fortnight\"",
    ] {
        assert!(faults(&format!("watchdog = {text}")).contains("not a duration; write a number"));
    }
    assert!(faults("watchdog = 25").contains("expected a duration, found a whole number"));
}

#[test]
fn a_type_that_does_not_fit_is_told_both_types() {
    for (text, answer) in [
        (
            "listen = \"127.0.0.1:3000\"",
            "expected a list in brackets, found a string",
        ),
        (
            "workers = 1.5",
            "expected a whole number, found a number with a fraction",
        ),
        (
            "workers = 1979-05-27",
            "expected a whole number, found a date",
        ),
        (
            "engine.allow_eio3 = \"yes\"",
            "expected true or false, found a string",
        ),
        ("engine.path = [\"/a\"]", "expected a string, found a list"),
        ("log.level = true", "expected a string, found true or false"),
        ("[workers]", "expected a whole number, found a section"),
    ] {
        assert!(faults(text).contains(answer), "{}", faults(text));
    }
}

#[test]
fn lists_that_would_do_nothing_are_refused() {
    assert!(faults("listen = []").contains("write at least one"));
    assert!(faults("engine.transports = []").contains("write at least one"));
    assert!(
        config("engine.cors_origins = []")
            .engine
            .cors_origins
            .is_empty()
    );
}

#[test]
fn every_origin_cannot_be_mixed_with_some_or_with_credentials() {
    assert!(faults("engine.cors_origins = [\"*\", \"https://a.example\"]").contains("alone"));
    assert_eq!(
        faults("[engine]\ncors_credentials = true\ncors_origins = [\"*\"]"),
        "line 2: engine.cors_credentials = true: browsers refuse credentials together with \
         cors_origins = [\"*\"]; list the origins"
    );
    assert_eq!(
        config("engine.cors_origins = [\"*\"]").engine.cors_origins,
        ["*"]
    );
}

#[test]
fn an_address_of_the_bridge_is_never_repeated_for_there_may_be_a_password_in_it() {
    let told = faults("[bridge]\nurl = \"redis://:hunter2@a\"\nmachine = 4096");
    assert_eq!(
        told,
        "line 2: bridge.url: a password; leave it out, write it alone into a file and name that in \
         bridge.secret_file\n\
         line 3: bridge.machine = 4096: out of range; write a whole number from 0 to 4095"
    );
    let told = faults("bridge.url = [\"redis://:hunter2@a\"]");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn nodes_servers_are_met_on_a_redis_only() {
    let text = |url| format!("[bridge]\nnode = true\nurl = \"{url}\"");
    assert!(config(&text("redis://a")).bridge.node);
    let told = faults(&text("postgres://a/b"));
    assert!(
        told.starts_with("line 2: bridge.node = true: Node's"),
        "{told}"
    );
}

#[test]
fn a_fault_stays_on_one_line_and_is_not_longer_than_a_terminal() {
    let fault = faults(&format!("balance = \"\"\"\n{}\"\"\"", "x".repeat(500)));
    assert!(
        fault.starts_with("line 1: balance = \"\"\"\\nxxx"),
        "{fault}"
    );
    assert!(fault.contains("x…: write one of") && !fault.contains('\n'));
}

#[test]
fn every_worker_has_a_port_of_its_own_that_nothing_else_has() {
    let ports = |text: &str| config(text).worker_listen.map(|ports| ports.to_string());
    assert_eq!(ports("worker_listen = \"\""), None);
    let good = "workers = 4\nworker_listen = \"127.0.0.1:3100\"";
    assert_eq!(ports(good), Some("127.0.0.1:3100".into()));
    for (text, part) in [
        ("worker_listen = \"3100\"", "a port alone"),
        ("worker_listen = \"127.0.0.1:0\"", "the port of worker 0"),
        ("worker_listen = \"unix:/run/a\"", "the port of worker 0"),
        (
            "workers = 4\nworker_listen = \"127.0.0.1:65533\"",
            "line 2: worker_listen = \"127.0.0.1:65533\": 4 workers need as many ports",
        ),
        (
            "workers = 4\nworker_listen = \"127.0.0.1:2997\"",
            "would be 127.0.0.1:3000, which listen has",
        ),
    ] {
        let faults = faults(text);
        assert!(faults.contains(part), "{text}: {faults}");
    }
    assert!(ports("workers = 4\nworker_listen = \"127.0.0.1:65532\"").is_some());
    assert!(ports("workers = 3\nworker_listen = \"127.0.0.1:2997\"").is_some());
}

#[test]
fn no_text_makes_the_parser_panic() {
    // Every prefix of a real file, and what no file should hold.
    let text = uncommented();
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = parse(&text[..end]);
    }
    for junk in [
        "\u{feff}workers = 1",
        "\0",
        "=",
        "[",
        "[[listen]]",
        "a.b.c = 1",
        &"[".repeat(9999),
    ] {
        let _ = parse(junk);
    }
}
