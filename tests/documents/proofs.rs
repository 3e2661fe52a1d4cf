//! How each command of the pages is known to do what they say. Every command of README and docs stands here, as it
//! is written there; one that stands in no page any more must go.

/// How it is known.
#[derive(Debug, Clone, Copy)]
pub enum Proof {
    /// `tests/it/documents.rs` runs it, as it stands, on a server that was started by hand.
    ByHand,
    /// It stands so in this file, which is a test, or is used by one.
    Verbatim(&'static str),
    /// This file, which is a test or belongs to `make test`, has this text: the same with other values.
    Like(&'static str, &'static str),
    /// It is run before a release, as docs/RELEASING.md says: it takes too long for every change.
    BeforeRelease,
    /// It is not run here, for this reason.
    NotOurs(&'static str),
}

use Proof::{BeforeRelease, ByHand, Like, NotOurs, Verbatim};

pub const PROOFS: &[(Proof, &[&str])] = &[
    (
        ByHand,
        &[
            "my-app status",
            "my-app why HCKz--Y3kArmbTh1",
            "my-app emit --room lobby news '\"maintenance at ten\"'",
            "my-app log debug --for 5m",
            "my-app drain --over 5m",
            "my-app drain --over 10m",
            "my-app drain --undo",
            "curl --unix-socket /run/my-app-ctl/control.sock http://localhost/status",
            "curl --unix-socket /run/my-app-ctl/control.sock http://localhost/metrics",
            "make run",
        ],
    ),
    // The synopsis.
    (
        Like(
            "tests/docs/commands.rs",
            "the_synopsis_of_the_readme_is_that_of_the_help",
        ),
        &[
            "my-app [--config FILE] [--listen ADDR]... [--workers N] [--cors ORIGIN]...",
            "my-app check [--config FILE] [--json]",
            "my-app status [--json] [--watch]",
            "my-app why SOCKET-ID|ADDRESS [--json]",
            "my-app emit [--namespace N] [--room R]... EVENT JSON...",
            "my-app log LEVEL [--for TIME]",
            "my-app drain --over TIME",
            "my-app COMMAND --help",
        ],
    ),
];
