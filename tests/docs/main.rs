//! What the documents say is true: the manual and `--help`, the shipped configuration, the pages, the list of
//! dependencies that are allowed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::path::Path;

mod advisories;
mod commands;
mod completions;
mod configuration;
mod contents;
mod dependencies;
#[path = "../documents/mod.rs"]
mod documents;
mod examples;
mod manual;
mod monitoring;
mod pages;
mod rename;
mod repository;
mod scaling;

/// The top of the sources.
const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// The text of a file of the sources.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(PROJECT).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}
