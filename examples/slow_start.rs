//! A server whose workers need time before they take connections, or do not start at all: an application
//! that reads tables or asks another service before it declares its namespaces.
//!
//! ```text
//! SLOW_WORKERS=1 SLOW_SECONDS=60 cargo run --example slow_start     worker 1 takes a minute
//! BROKEN_WORKERS=0,2 cargo run --example slow_start                 workers 0 and 2 panic
//! ```

use std::env;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use my_app::api::{App, Cluster, Io};

fn main() -> ExitCode {
    my_app::main(App {
        namespaces,
        ..my_app::app::APP
    })
}

fn namespaces(io: &Io, cluster: &Cluster) {
    if is_listed("SLOW_WORKERS") {
        let seconds = env::var("SLOW_SECONDS").ok();
        let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(60);
        thread::sleep(Duration::from_secs(seconds));
    }
    assert!(!is_listed("BROKEN_WORKERS"), "this worker does not start");
    (my_app::app::APP.namespaces)(io, cluster);
}

/// Does this variable name the worker that this process is? A worker's arguments are "my-app: worker 1".
fn is_listed(variable: &str) -> bool {
    let slot = env::args().nth(2).unwrap_or_default();
    let listed = env::var(variable).unwrap_or_default();
    listed.split(',').any(|one| one == slot)
}
