//! A program in a place of its own, in which another one takes its place while it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::program;

/// A copy of the program under test.
pub struct Replaceable {
    dir: TempDir,
}

impl Replaceable {
    pub fn new() -> Self {
        let it = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        it.put(&program());
        it
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("my-app")
    }

    /// The program that is there now, in another place.
    pub fn dir_copy(&self) -> PathBuf {
        let kept = self.dir.path().join("kept");
        fs::hard_link(self.path(), &kept).unwrap();
        kept
    }

    /// This program takes its place, as a package manager does it.
    pub fn put(&self, program: &Path) {
        let new = self.dir.path().join("my-app.new");
        // A link is as good, and costs nothing.
        if fs::hard_link(program, &new).is_err() {
            fs::copy(program, &new).unwrap();
        }
        fs::rename(&new, self.path()).unwrap();
    }

    /// A shell script does.
    pub fn put_script(&self, text: &str) {
        let new = self.dir.path().join("script.new");
        fs::write(&new, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, self.path()).unwrap();
    }

    /// Nothing does.
    pub fn remove(&self) {
        fs::remove_file(self.path()).unwrap();
    }
}
