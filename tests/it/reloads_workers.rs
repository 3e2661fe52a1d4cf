//! What the workers before see of a reload: that there are new ones, and nothing of the new program.

use std::time::Instant;

use super::harness::*;
use super::reloads::{refused, reloaded};

/// `ToWorker::Ping { taken_out: false }`, `ToWorker::Log(LogCommand::Reopen)`, and what `ToWorker::Retire` begins with, as
/// `src/wire/link.rs` has them: messages are only ever appended there.
const PING: [u8; 2] = [5, 0];
const REOPEN: [u8; 2] = [9, 1];
const RETIRE: u8 = 10;

/// A frame's kind (`src/wire/frame/mod.rs`), the hub's list of members, and where its count of them is: it has no
/// namespace.
const KIND: usize = 5;
const MEMBERS: u8 = 2;
const COUNT: usize = 58;

/// How many members each of these lists has.
#[track_caller]
fn members(frames: &[Vec<u8>]) -> Vec<u32> {
    let count = |frame: &Vec<u8>| {
        assert_eq!(frame[KIND], MEMBERS, "{frame:?}");
        u32::from_le_bytes(frame[COUNT..COUNT + 4].try_into().unwrap())
    };
    frames.iter().map(count).collect()
}

#[test]
fn a_worker_hears_nothing_of_a_reload_but_that_others_have_come_and_that_it_is_to_leave() {
    let program = Replaceable::new();
    let server = Setup::new()
        .program(&program)
        .top("watchdog = \"4m\"\ndrain = \"1h\"")
        .start();
    let mut clients: Vec<_> = (0..4)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    server.wait_for_sessions(4, SOON);
    let workers = server.workers();
    let still: Vec<_> = workers.into_iter().map(Still::stop).collect();
    for worker in &still {
        worker.take_messages();
        assert_eq!(worker.frames(), [[0; 0]; 0]);
    }

    // One that is not done: the whole trial, and no step further.
    let good = program.dir_copy();
    let trial = format!("{} \"$@\" > /dev/null; exit 7", good.display());
    program.put_script(&trial);
    refused(&server, "exit status: 7");
    for worker in &still {
        let messages = worker.take_messages();
        assert!(messages.iter().all(|it| *it == PING), "{messages:?}");
        assert_eq!(worker.frames(), [[0; 0]; 0]);
    }
    program.put(&good);

    let began = Instant::now();
    reloaded(&server);
    let took = began.elapsed();
    for worker in &still {
        let mut messages = worker.take_messages();
        messages.retain(|it| *it != PING);
        saw("messages that are no pings", format!("{messages:?}"));
        // The log may have been rotated in between.
        if messages.first().is_some_and(|it| *it == REOPEN) {
            messages.remove(0);
        }
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!(messages[0][0], RETIRE);
        let frames = worker.frames();
        // Each of the new ones, when it joined.
        assert_eq!(members(&frames), [3, 4]);
        worker.go_on();
    }
    saw("the reload took", format!("{took:?}"));
    for client in &mut clients {
        client.echo("still there");
    }
    assert_eq!(server.count_lines(" died"), 0);
}
