//! The bridge and the server between the machines: what it needs of it, and what it says when it does not get it.

use super::harness::{Certificates, PgBouncer, Postgres, Redis};

#[test]
fn the_servers_of_the_tests_answer() {
    let certificates = Certificates::of("DNS:localhost,IP:127.0.0.1");
    let mut redis = Redis::tls(&certificates, &["--requirepass", "open sesame"]);
    assert_eq!(redis.ask(&["PING"]), "PONG\n");
    redis.start_again();
    assert_eq!(redis.ask(&["PING"]), "PONG\n");
    let primary = Redis::start();
    let replica = Redis::replica_of(&primary);
    let sentinel = Redis::sentinel("main", &primary);
    assert!(replica.ask(&["ROLE"]).starts_with("slave\n"));
    let masters = sentinel.ask(&["SENTINEL", "get-master-addr-by-name", "main"]);
    assert_eq!(masters, format!("127.0.0.1\n{}\n", primary.port));
    let mut postgres = Postgres::with(Some(&certificates), &[]);
    assert_eq!(postgres.ask("select current_database()"), "app");
    postgres.start_again();
    let pooler = PgBouncer::start(&postgres, "transaction");
    assert_ne!(pooler.port, postgres.port);
}
