//! The tests' vocabulary.

mod files;
mod groups;
mod machine;
mod report;
mod street;
mod talker;

pub use files::{
    an_archive, project, rootfs, run, share, some_of_the_project, target, the_package,
    the_package_again, the_program, with_rootfs,
};
pub use machine::{Machine, Said};
pub use street::{Asked, Neighbour, about_nginx, settled, street};
pub use talker::Talker;

use std::time::{Duration, Instant};

/// How long anything may take that should be immediate, on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A release of Debian.
pub struct Release {
    pub name: &'static str,
}

pub const BOOKWORM: Release = Release { name: "bookworm" };
pub const TRIXIE: Release = Release { name: "trixie" };

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    began.elapsed()
}

/// Prints a figure that a test saw, for whoever reads its output.
pub fn saw(release: &Release, what: &str, value: impl std::fmt::Display) {
    println!("    saw on {}: {what}: {value}", release.name);
}
