//! What is balanced is the session: behind the shipped nginx, which keeps its connections to the
//! server and sends anybody's requests over any of them, each worker gets its share.

use serde_json::Value;

use super::harness::*;

const CLIENTS: u64 = 200;

/// Clients that arrive one every 30 ms, leave by half, and arrive again: each of four workers has
/// a fifth to three tenths of them, both times.
#[track_caller]
fn each_worker_gets_its_share(transport: &str, nginx_workers: u16) {
    let server = Setup::new().workers(4).unix().start();
    let nginx = Nginx::shipped(&server.unix, nginx_workers);
    let told = node("arrivals.mjs", &nginx.url(), &["--transport", transport]);
    let share = CLIENTS / 5..=CLIENTS * 3 / 10;
    for when in ["first", "second"] {
        let of = |worker: &u32| told[when][worker.to_string()].as_u64().unwrap_or(0);
        let spread: Vec<_> = server.workers().iter().map(of).collect();
        saw(when, Value::from(spread.clone()));
        assert_eq!(spread.iter().sum::<u64>(), CLIENTS, "{told}");
        assert!(
            spread.iter().all(|count| share.contains(count)),
            "{when}: {spread:?}"
        );
    }
}

#[test]
fn clients_that_upgrade_are_spread_over_the_workers_behind_nginx() {
    each_worker_gets_its_share("upgrade", 1);
}

#[test]
fn clients_that_poll_are_spread_over_the_workers_behind_nginx() {
    each_worker_gets_its_share("polling", 1);
}

#[test]
fn clients_that_upgrade_are_spread_over_the_workers_behind_two_workers_of_nginx() {
    each_worker_gets_its_share("upgrade", 2);
}

#[test]
fn clients_that_poll_are_spread_over_the_workers_behind_two_workers_of_nginx() {
    each_worker_gets_its_share("polling", 2);
}
