//! Something that a process holds, so that it ends with the test, whatever becomes of that.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A process that says "there" when it has what it is to hold, and lets go of it when its standard input ends: with this
/// value, or with the test.
pub struct Holder(Child);

impl Holder {
    /// Starts it, and waits until it is there. `otherwise`: why it may not be.
    #[track_caller]
    pub fn start(command: &mut Command, otherwise: &str) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut there = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut there).unwrap();
        assert_eq!(there, "there\n", "{otherwise}");
        Self(holder)
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
