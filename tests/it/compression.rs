//! Compression: what it saves with official clients, and what it costs that somebody deflates.

use super::harness::*;
use super::hostile::Victim;
use serde_json::Value;

const DEFLATE: &str = "[engine]\nper_message_deflate = true";

/// What a client received and sent, in hundredths of what it would be without compression.
#[track_caller]
fn cost(server: &Server, transport: &str, more: &[&str]) -> (Value, u64, u64) {
    let arguments = [&["--transport", transport], more].concat();
    let told = node("compression.mjs", &server.url(), &arguments);
    let plain = told["plain"].as_u64().unwrap();
    let share = |way: &str| told[way].as_u64().unwrap() * 100 / plain;
    let (received, sent) = (share("received"), share("sent"));
    saw(
        &format!("{transport} {more:?}: % received, sent"),
        format!("{received}, {sent}"),
    );
    (told["extensions"].clone(), received, sent)
}

#[test]
fn an_official_client_and_the_server_deflate_what_they_say() {
    let server = Setup::new().config(DEFLATE).start();
    for transport in ["websocket", "upgrade"] {
        let (extensions, received, sent) = cost(&server, transport, &[]);
        assert_eq!(extensions, "permessage-deflate");
        assert!(received < 25 && sent < 25, "{transport}");
        let (extensions, received, sent) = cost(&server, transport, &["--plain"]);
        assert_eq!(extensions, "");
        assert!(received >= 100 && sent >= 100, "{transport}");
    }
}

#[test]
fn nothing_is_deflated_over_websockets_unless_the_configuration_says_so() {
    let server = Server::start();
    let (extensions, received, _) = cost(&server, "websocket", &[]);
    assert_eq!(extensions, "");
    assert!(received >= 100);
}

#[test]
fn an_official_client_that_polls_is_answered_as_it_accepts() {
    let server = Server::start();
    // fetch() accepts gzip; what it posts is plain, and binary is base64 there.
    let (_, received, sent) = cost(&server, "fetch", &[]);
    assert!(received < 30 && sent >= 100);
    let (_, received, _) = cost(&server, "polling", &[]);
    assert!(received >= 100);
    let off = Setup::new().config("[engine]\nhttp_compression = false");
    let (_, received, _) = cost(&off.start(), "fetch", &[]);
    assert!(received >= 100);
}

#[test]
fn compression_goes_through_nginx() {
    let server = Setup::new().config(DEFLATE).unix().start();
    let nginx = Nginx::start(&server.unix, Some(16));
    for (transport, most) in [("websocket", 25), ("upgrade", 25), ("fetch", 30)] {
        let arguments = ["--transport", transport];
        let told = node("compression.mjs", &nginx.url(), &arguments);
        let plain = told["plain"].as_u64().unwrap();
        let received = told["received"].as_u64().unwrap();
        assert!(received * 100 / plain < most, "{transport}: {told}");
    }
}

#[test]
fn a_browser_deflates_over_every_transport() {
    let port = free_port();
    let config = format!(
        "{DEFLATE}\ncompression_threshold = 0\ncors_origins = [\"http://127.0.0.1:{port}\"]"
    );
    let server = Setup::new().config(&config).start();
    let port = port.to_string();
    let arguments = ["--transport", "all", "--port", &port, "--deadline", "180"];
    let told = node("browser.mjs", &server.url(), &arguments);
    for result in told["results"].as_array().unwrap() {
        assert_eq!(result["connected"], true, "{result}");
    }
}

#[test]
fn official_clients_echo_while_all_is_compressed() {
    let config = format!("{DEFLATE}\ncompression_threshold = 0\nallow_eio3 = true");
    let server = Setup::new().config(&config).start();
    for client in ["v4", "v2"] {
        for transport in ["upgrade", "polling"] {
            let arguments = [
                "--client",
                client,
                "--transport",
                transport,
                "--deadline",
                "180",
            ];
            node("echo.mjs", &server.url(), &arguments);
        }
    }
}

#[test]
fn a_megabyte_that_would_be_a_gigabyte_costs_its_sender_the_connection() {
    let victim = Victim::of(Setup::new().workers(1).config(DEFLATE));
    let worker = victim.server.workers()[0];
    let (before, time) = (memory(worker).pss, cpu_time(worker));
    let told = node("bombs.mjs", &victim.server.url(), &["--bombs", "20"]);
    assert_eq!(told["codes"], serde_json::json!([1009]));
    let grown = memory(worker).pss.saturating_sub(before);
    let took = cpu_time(worker) - time;
    saw("bytes sent", &told["sent"]);
    saw("bytes they would be", &told["inflated"]);
    saw("KiB that the worker has grown", grown);
    saw("CPU time", format!("{took:?}"));
    assert!(grown < 16 * 1024, "{grown}");
    victim.unharmed();
}
