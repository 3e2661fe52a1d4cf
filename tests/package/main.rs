//! The Debian package, on booted Debian 12 and 13.
//!
//! Each test boots a container of its own (systemd-nspawn, without any network but loopback),
//! installs `my-app.deb` there, and looks. `make package-tests` builds what is needed; only root can
//! boot. What a test needs is in [`harness`]; each file is one capability.

// Nothing is outside of this binary, a test fails by panicking, and pedantry is for the program.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::pedantic
)]

/// Each function is a test on every release: `bookworm::its_name`, `trixie::its_name`.
macro_rules! on_every_release {
    ($($name:ident),* $(,)?) => {
        mod bookworm {
            $(#[test] fn $name() { super::$name(&crate::harness::BOOKWORM); })*
        }
        mod trixie {
            $(#[test] fn $name() { super::$name(&crate::harness::TRIXIE); })*
        }
    };
}

mod archive;
mod beside;
mod bridge;
mod control;
mod doctor;
mod faults;
mod fleet;
mod harness;
mod install;
mod links;
mod listeners;
mod logs;
mod memory;
mod metrics;
mod neighbours;
mod nginx;
mod owners;
mod reload;
mod repository;
mod sandbox;
mod scripts;
mod settings;
mod takeover;
mod times;
mod upgrade;
mod worker_ports;
