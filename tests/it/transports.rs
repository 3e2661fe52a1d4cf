//! The bridge and the server between the machines: the ways to it, what it says when something is in the way, and
//! how it comes back.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::harness::*;

/// What the bridge needs of an ACL, as docs and errors say it.
const RIGHTS: [&str; 12] = [
    "+publish",
    "+subscribe",
    "+psubscribe",
    "+unsubscribe",
    "+punsubscribe",
    "+ping",
    "+role",
    "+hello",
    "+auth",
    "+client|setname",
    "+pubsub|numsub",
    "resetchannels",
];

/// One that is joined by this server, with more lines of `[bridge]`.
#[track_caller]
fn server(url: &str, lines: &str) -> Server {
    let bridge = format!("[bridge]\nurl = \"{url}\"\n{lines}");
    Setup::new().workers(1).config(&bridge).start()
}

#[track_caller]
fn is_up(server: &Server) {
    eventually("the bridge hears itself", SOON, || {
        server.control().get("/status")["bridge"]["state"] == "up"
    });
}

/// The line that names a file for the key.
fn file(key: &str, path: &Path) -> String {
    format!("{key} = \"{}\"\n", path.display())
}

/// Writes a password, for us alone.
fn write(path: &Path, password: &str) {
    fs::write(path, format!("{password}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// A file with this password in it.
fn secret(folder: &Path, password: &str) -> String {
    let path = folder.join(password);
    write(&path, password);
    file("secret_file", &path)
}

/// Gives a Redis a user `bridge` with these rights.
fn allow(redis: &Redis, rights: &[&str]) {
    let password = format!(">{PASSWORD}");
    let mut words = vec!["ACL", "SETUSER", "bridge", "on", &password];
    words.extend(rights);
    assert_eq!(redis.ask(&words), "OK\n");
}

#[test]
fn every_way_to_a_server_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let secret = secret(folder.path(), PASSWORD);
    let certificates = Certificates::of("DNS:localhost,IP:127.0.0.1");
    let trusted = file("ca_file", &certificates.authority());
    let both = format!("{secret}{trusted}");
    let redis = Redis::start();
    let locked = Redis::tls(&certificates, &["--requirepass", PASSWORD]);
    allow(&locked, &RIGHTS);
    allow(&locked, &["&my-app/*", "&socket.io*"]);
    let sentinel = Redis::sentinel("main", &redis);
    let postgres = Postgres::with(Some(&certificates), &[]);
    let pooler = PgBouncer::start(&postgres, "session");
    for (url, lines) in [
        (redis.url(), ""),
        (format!("redis+unix://{}", redis.socket().display()), ""),
        (
            // The first one is none.
            format!(
                "redis+sentinel://127.0.0.1:{},127.0.0.1:{}/main",
                free_port(),
                sentinel.port
            ),
            "",
        ),
        (locked.url(), &both),
        (format!("rediss://bridge@localhost:{}", locked.port), &both),
        (
            format!("postgres://app@127.0.0.1:{}/app", postgres.port),
            &both,
        ),
        (format!("postgres://app@localhost:{}", postgres.port), &both),
        (postgres.url(), &secret),
        (
            format!(
                "postgres://app@/app?host={}&port={}",
                postgres.socket().display(),
                postgres.port
            ),
            "",
        ),
        (pooler.url(), ""),
    ] {
        let server = server(&url, lines);
        is_up(&server);
        let log = server.log().join("\n");
        assert!(!log.contains(PASSWORD), "{log}");
        let status = server.control().get("/status").to_string();
        assert!(!status.contains(PASSWORD), "{status}");
        let bridge = server.bridge().unwrap();
        for what in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{bridge}/{what}")).unwrap();
            assert!(!String::from_utf8_lossy(&text).contains(PASSWORD), "{what}");
        }
    }
}

#[test]
fn what_is_in_the_way_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let right = secret(folder.path(), PASSWORD);
    let wrong = secret(folder.path(), "wrong");
    let certificates = Certificates::of("DNS:localhost");
    let trusted = file("ca_file", &certificates.authority());
    let redis = Redis::start();
    let replica = Redis::replica_of(&redis);
    let full = Redis::with(&["--maxclients", "1"]);
    let locked = Redis::with(&["--requirepass", PASSWORD]);
    allow(&locked, &["resetchannels", "+hello", "+auth", "+role"]);
    let tls = Redis::tls(&certificates, &[]);
    let postgres = Postgres::with(Some(&certificates), &[]);
    let pooler = PgBouncer::start(&postgres, "transaction");
    let at = |port: u16| format!("127.0.0.1:{port}");
    let nobody = free_port();
    for (url, lines, reason) in [
        (
            format!("redis://{}", at(nobody)),
            "",
            "refuses connections; does the server run",
        ),
        (
            "redis://nowhere.invalid".to_owned(),
            "",
            "nowhere.invalid has no address",
        ),
        (
            "redis+unix:///nowhere/redis.sock".to_owned(),
            "",
            "there is no socket /nowhere/redis.sock",
        ),
        (replica.url(), "", "is a replica"),
        (full.url(), "", "raise its maxclients"),
        (
            locked.url(),
            "",
            "it wants a password: write it into bridge.secret_file",
        ),
        (
            locked.url(),
            &*wrong,
            "the user or the password is wrong: look at bridge.url",
        ),
        (
            format!("redis://bridge@{}", at(locked.port)),
            &*right,
            "the user lacks a right: `ACL SETUSER",
        ),
        (
            locked.url(),
            "secret_file = \"/nowhere/secret\"",
            "cannot read the password in /nowhere/secret",
        ),
        (
            format!("rediss://localhost:{}", tls.port),
            "",
            "name the authority's own certificate in bridge.ca_file",
        ),
        (
            tls.url(),
            &*trusted,
            "is not for that name but for localhost",
        ),
        (
            format!("redis://{}", at(tls.port)),
            "",
            "if that port wants TLS, write rediss://",
        ),
        (
            format!("redis+sentinel://{}/main", at(nobody)),
            "",
            "no sentinel says where \"main\" is",
        ),
        (
            postgres.url(),
            "",
            "write the password into bridge.secret_file",
        ),
        (postgres.url(), &*wrong, "the password or the user is wrong"),
        (
            format!("postgres://app@{}/none?sslmode=disable", at(postgres.port)),
            &*right,
            "make that database (createdb)",
        ),
        (
            format!("postgres://app@localhost:{}/app", postgres.port),
            &*right,
            "name the authority's own certificate in bridge.ca_file",
        ),
        (
            pooler.url(),
            "",
            "That is what a pooler does that lends connections for a transaction only",
        ),
    ] {
        let server = server(&url, lines);
        server.wait_for_line("this machine serves on alone");
        let log = server.log();
        let line = log.iter().find(|line| line.contains("serves on alone"));
        let line = line.unwrap();
        assert!(line.contains(reason), "{url}: {line}");
        assert!(!line.contains(PASSWORD), "{line}");
    }
}

#[test]
fn a_new_password_needs_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    write(&path, "first");
    let redis = Redis::with(&["--requirepass", "first"]);
    let server = server(&redis.url(), &file("secret_file", &path));
    is_up(&server);
    assert_eq!(server.count_lines("others may read"), 0);
    let change = ["CONFIG", "SET", "requirepass", "second"];
    assert_eq!(redis.ask(&change), "OK\n");
    write(&path, "second");
    // Who is connected stays; now all are asked again.
    redis.ask_with("second", &["CLIENT", "KILL", "TYPE", "pubsub"]);
    server.wait_for_line("the link to the other machines is down");
    is_up(&server);
}

#[test]
fn a_primary_that_was_demoted_is_left_and_taken_again_when_it_is_one() {
    let primary = Redis::start();
    let other = Redis::start();
    let server = server(&primary.url(), "");
    is_up(&server);
    let port = other.port.to_string();
    assert_eq!(primary.ask(&["REPLICAOF", "127.0.0.1", &port]), "OK\n");
    server.wait_for_line("is a replica: what is published there does not reach");
    assert_eq!(primary.ask(&["REPLICAOF", "NO", "ONE"]), "OK\n");
    is_up(&server);
}

#[test]
fn who_may_not_hear_emitters_loses_them_alone() {
    let folder = tempfile::tempdir().unwrap();
    let secret = secret(folder.path(), PASSWORD);
    let redis = Redis::with(&["--requirepass", PASSWORD]);
    allow(&redis, &RIGHTS);
    allow(&redis, &["&my-app/*"]);
    let url = format!("redis://bridge@127.0.0.1:{}", redis.port);
    let server = server(&url, &secret);
    is_up(&server);
    server.wait_for_line("emitters are not heard");
}

#[test]
fn a_session_that_somebody_ends_is_said_and_opened_again() {
    let postgres = Postgres::start();
    let url = format!(
        "postgres://app@/app?host={}&port={}",
        postgres.socket().display(),
        postgres.port
    );
    let server = server(&url, "");
    is_up(&server);
    let ours = "from pg_stat_activity where application_name = 'my-app-bridge'";
    assert_eq!(postgres.ask(&format!("select count(*) {ours}")), "2");
    let end = format!("select count(pg_terminate_backend(pid)) {ours} and query like '%LISTEN%'");
    assert_eq!(postgres.ask(&end), "1");
    server.wait_for_line("terminating connection due to administrator command");
    is_up(&server);
}
