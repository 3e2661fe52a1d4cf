//! The browser's client, which pages load from the server as they do from Node's. `make client` must have been run
//! before the server under test was built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::harness::*;

const FILES: [&str; 4] = [
    "socket.io.js",
    "socket.io.min.js",
    "socket.io.esm.min.js",
    "socket.io.msgpack.min.js",
];

/// Head and body of the answer to a request.
#[track_caller]
fn ask(server: &Server, method: &str, target: &str, header: &str) -> (String, Vec<u8>) {
    let mut raw = Raw::tcp(server.addr);
    raw.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n\r\n"
    ));
    let answer = raw.read_to_end().unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end + 2]).into_owned();
    (head, answer[end + 4..].to_vec())
}

/// Pages of tests/clients/page/node in a browser.
#[track_caller]
fn pages(url: &str, pages: &str, more: &[&str]) {
    let arguments = [&["--page", pages, "--deadline", "120"], more].concat();
    let told = node("pages.mjs", url, &arguments);
    saw(told["browser"].as_str().unwrap(), &told["pages"]);
}

/// A file of the client as npm has installed it.
#[track_caller]
fn npms(name: &str) -> Vec<u8> {
    let path = format!("client/node_modules/socket.io-client/dist/{name}");
    fs::read(project().join(path)).expect("make client has been run")
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn pages_written_for_nodes_server_run_unchanged() {
    let server = Server::start();
    pages(&server.url(), "script,minified,module", &[]);
}

#[test]
fn pages_written_for_nodes_server_run_through_nginx_as_shipped() {
    let server = Setup::new().unix().start();
    let nginx = Nginx::shipped(&server.unix, 1);
    pages(&nginx.url(), "script,module", &[]);
    let msgpack = Setup::new().config("[engine]\nparser = \"msgpack\"");
    let server = msgpack.unix().start();
    pages(&server.url(), "msgpack", &[]);
    let nginx = Nginx::shipped(&server.unix, 1);
    pages(&nginx.url(), "msgpack", &[]);
}

#[test]
fn a_page_of_another_origin_loads_the_client_as_script_and_as_module() {
    let origin = "http://localhost:1";
    let server = Setup::new().option("--cors", origin).start();
    pages(&server.url(), "elsewhere", &["--origin", origin]);
    // Who may not connect may still have a script: it is what everybody has.
    let header = "Origin: http://elsewhere.test";
    let (head, body) = ask(&server, "GET", "/socket.io/socket.io.js", header);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(!head.contains("access-control-allow-origin"), "{head}");
    assert!(body.starts_with(b"/*!\n * Socket.IO v4"));
}

#[test]
fn the_client_is_below_the_engines_path_and_nowhere_else() {
    let server = Setup::new()
        .config("[engine]\npath = \"/my/chat/\"")
        .start();
    pages(&server.url(), "path", &[]);
    let (head, _) = ask(&server, "GET", "/socket.io/socket.io.js", "");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

#[test]
fn each_file_is_npms_byte_by_byte_plain_and_as_gzip() {
    let server = Server::start();
    for name in FILES.map(|name| [name.to_owned(), format!("{name}.map")]) {
        for name in name {
            let npms = npms(&name);
            let target = format!("/socket.io/{name}");
            let (head, body) = ask(&server, "GET", &target, "");
            assert!(head.contains(&format!("content-length: {}\r\n", npms.len())));
            assert!(!head.contains("content-encoding"), "{head}");
            assert!(body == npms, "{name}");
            let (head, zipped) = ask(&server, "GET", &target, "Accept-Encoding: gzip, br");
            assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
            let mut body = Vec::new();
            GzDecoder::new(&zipped[..]).read_to_end(&mut body).unwrap();
            assert!(body == npms, "{name}");
            saw(
                &name,
                format!("{} bytes, {} as gzip", npms.len(), zipped.len()),
            );
        }
    }
}

#[test]
fn a_browser_that_has_a_file_is_told_so_and_a_head_has_no_body() {
    let server = Server::start();
    let target = "/socket.io/socket.io.min.js";
    let (head, body) = ask(&server, "HEAD", target, "Accept-Encoding: gzip");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && body.is_empty(),
        "{head}"
    );
    let (_, zipped) = ask(&server, "GET", target, "Accept-Encoding: gzip");
    assert!(head.contains(&format!("content-length: {}\r\n", zipped.len())));
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: "));
    let header = format!("If-None-Match: {}", tag.unwrap());
    for method in ["GET", "HEAD"] {
        let (head, body) = ask(&server, method, target, &header);
        assert!(head.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{head}");
        assert!(head.contains("cache-control: public, max-age=86400\r\n"));
        assert!(head.contains("vary: Accept-Encoding\r\n"), "{head}");
        assert!(body.is_empty());
    }
}

#[test]
fn without_serve_client_the_engine_answers_as_nodes_does() {
    let server = Setup::new()
        .config("[engine]\nserve_client = false")
        .start();
    for name in FILES {
        let (head, body) = ask(&server, "GET", &format!("/socket.io/{name}"), "");
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert_eq!(body, br#"{"code":0,"message":"Transport unknown"}"#);
    }
}

#[test]
fn who_loads_the_client_opens_no_session_by_that() {
    // A second one within a second would be refused.
    let server = Setup::new()
        .config("[limits]\nnew_sessions_per_second = 1")
        .start();
    for _ in 0..20 {
        let (head, _) = ask(&server, "GET", "/socket.io/socket.io.js", "");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    }
    assert_eq!(handshake(server.addr), "101");
    let purpose = "purpose=\"client-file\"";
    Figures::wait_for(&server, "my_app_http_requests_total", purpose, 20.0);
}

/// The package that a source in a map is of.
fn package_of(source: &str) -> &str {
    let bundled = source.trim_start_matches("../");
    let name = bundled
        .trim_start_matches("node_modules/")
        .split('/')
        .next();
    match name.unwrap() {
        "build" => "socket.io-client",
        "socket.io-component-emitter" => "component-emitter",
        name => name,
    }
}

#[test]
fn the_licenses_of_all_that_is_bundled_in_the_client_are_in_the_package() {
    let mut bundled = BTreeSet::new();
    for name in FILES {
        let map: serde_json::Value = serde_json::from_slice(&npms(&format!("{name}.map"))).unwrap();
        let sources = map["sources"].as_array().unwrap().iter();
        bundled.extend(sources.map(|source| package_of(source.as_str().unwrap()).to_owned()));
    }
    let texts = project().join("debian/license-texts/client");
    let texts = fs::read_dir(texts).unwrap().map(|entry| entry.unwrap());
    let texts: BTreeMap<_, _> = texts
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    assert_eq!(texts.keys().cloned().collect::<BTreeSet<_>>(), bundled);
    // As npm has them; what is only bundled it does not install.
    let words = |path: &Path| {
        fs::read_to_string(path).map(|text| text.split_whitespace().collect::<String>())
    };
    let mut compared = 0;
    for (name, text) in &texts {
        let package = project().join("client/node_modules").join(name);
        if let Ok(npms) = words(&package.join("LICENSE")) {
            assert_eq!(words(text).unwrap(), npms, "{name}");
            compared += 1;
        }
    }
    assert!(compared >= 5, "{compared}");
}
