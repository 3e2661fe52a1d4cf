//! A bounded queue of lines in front of a writer on a thread of its own, and how far it has come.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder};

use super::line;
use super::record::Record;
use crate::config::LogFormat;

/// How many lines may wait in front of one sink; the next ones are lost. It covers some seconds of
/// a stalled disk at a thousand lines a second, for about a megabyte of usual lines.
pub(super) const QUEUE_LINES: usize = 8192;

/// Something that takes whole lines and may block. It says itself, once, when it stops working.
pub(super) trait LineWriter: Send + 'static {
    /// Writes one line with its end; `false` when the line is lost.
    fn write_line(&mut self, line: &[u8]) -> bool;

    /// Looks whether lines could be written, when there has been none for a while.
    fn look_after(&mut self) {}
}

/// Queued like a line, this asks the writer to [look](LineWriter::look_after). No line is like it.
const LOOK_AFTER: &[u8] = b"\0";

/// What became of the lines of one sink.
#[derive(Debug, Default)]
pub(super) struct Tally {
    queued: AtomicU64,
    /// Lines that were refused by the full queue.
    overflowed: AtomicU64,
    /// Lines that left the queue, written or failed.
    done: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    pub(super) fn queue(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn overflow(&self) {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn finish(&self, written: bool) {
        if !written {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.done.fetch_add(1, Ordering::Release);
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether nothing waits in the queue.
    fn is_idle(&self, overflowed: u64) -> bool {
        let queued = self.queued.load(Ordering::Relaxed);
        self.done.load(Ordering::Acquire) + overflowed >= queued
    }

    /// Waits until all that is queued now has left the queue, or until `deadline`.
    pub(super) fn drain(&self, overflowed: impl Fn() -> u64, deadline: Instant) {
        let goal = self.queued.load(Ordering::Relaxed);
        while self.done.load(Ordering::Acquire) + overflowed() < goal && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The queue of one sink.
#[derive(Debug)]
pub(super) struct Queue {
    lines: NonBlocking,
    tally: Arc<Tally>,
    format: LogFormat,
}

impl Queue {
    /// Starts the thread of `writer`.
    pub(super) fn start(
        name: &str,
        lines: usize,
        format: LogFormat,
        writer: impl LineWriter,
    ) -> Self {
        let tally = Arc::new(Tally::default());
        let counted = Counted {
            writer,
            tally: Arc::clone(&tally),
        };
        let builder = NonBlockingBuilder::default().lossy(true).thread_name(name);
        let (waiting, guard) = builder.buffered_lines_limit(lines).finish(counted);
        // The thread may live as long as the process: `drain` waits for its lines, with a deadline
        // and the truth about it. The guard would print to standard output when the sink is stuck,
        // which panics when that is closed, and would lose all lines that come after it.
        std::mem::forget(guard);
        Self {
            lines: waiting,
            tally,
            format,
        }
    }

    /// Queues the line of `record`, or counts it as lost. Never blocks.
    pub(super) fn push(&self, record: &Record) {
        self.tally.queue();
        let line = line::line(record, self.format);
        // A lossy queue accepts everything, and counts what it throws away.
        let _ = self.lines.clone().write_all(line.as_bytes());
    }

    /// Has the writer look after its sink, unless lines wait for it, with which it does so anyway.
    pub(super) fn look_after(&self) {
        if self.rests() {
            self.tally.queue();
            let _ = self.lines.clone().write_all(LOOK_AFTER);
        }
    }

    /// Does no line wait?
    pub(super) fn rests(&self) -> bool {
        self.tally.is_idle(self.overflowed())
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.lines.error_counter().dropped_lines() as u64
    }

    pub(super) fn lost(&self) -> u64 {
        self.overflowed() + self.tally.failed()
    }

    pub(super) fn drain(&self, deadline: Instant) {
        self.tally.drain(|| self.overflowed(), deadline);
    }
}

struct Counted<W> {
    writer: W,
    tally: Arc<Tally>,
}

impl<W: LineWriter> Write for Counted<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = if line == LOOK_AFTER {
            self.writer.look_after();
            true
        } else {
            self.writer.write_line(line)
        };
        self.tally.finish(written);
        // An error would end the queue's batch and be dropped; the tally has it.
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tracing::Level;

    use super::*;

    /// Takes a line whenever the test lets it, and shows it to the test.
    struct Gate {
        open: mpsc::Receiver<bool>,
        lines: mpsc::Sender<String>,
    }

    impl LineWriter for Gate {
        fn write_line(&mut self, line: &[u8]) -> bool {
            let works = self.open.recv().unwrap_or(true);
            let _ = self.lines.send(String::from_utf8(line.to_vec()).unwrap());
            works
        }
    }

    fn queue(lines: usize) -> (Queue, mpsc::Sender<bool>, mpsc::Receiver<String>) {
        let (let_through, open) = mpsc::channel();
        let (sender, receiver) = mpsc::channel();
        let gate = Gate {
            open,
            lines: sender,
        };
        (
            Queue::start("test", lines, LogFormat::Text, gate),
            let_through,
            receiver,
        )
    }

    fn message(text: &str) -> Record {
        Record::new(Level::INFO, text.to_owned())
    }

    #[test]
    fn a_stuck_sink_loses_lines_and_blocks_nobody() {
        let (queue, let_through, lines) = queue(2);
        for _ in 0..100 {
            queue.push(&message("a"));
        }
        // Two lines wait, and the thread may hold one more.
        assert!(
            (97..=98).contains(&queue.overflowed()),
            "{}",
            queue.overflowed()
        );
        drop(let_through);
        queue.drain(Instant::now() + Duration::from_secs(10));
        assert_eq!(lines.try_iter().count() as u64 + queue.lost(), 100);
    }

    #[test]
    fn a_drain_waits_for_every_line_but_not_for_ever() {
        let (queue, let_through, lines) = queue(8);
        queue.push(&message("a"));
        let start = Instant::now();
        queue.drain(start + Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(lines.try_iter().count(), 0);
        let_through.send(true).unwrap();
        queue.drain(Instant::now() + Duration::from_secs(10));
        assert!(lines.try_recv().unwrap().ends_with("Z a\n"));
        assert_eq!(queue.lost(), 0);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        let (queue, let_through, _lines) = queue(8);
        queue.push(&message("a"));
        let_through.send(false).unwrap();
        queue.drain(Instant::now() + Duration::from_secs(10));
        assert_eq!((queue.lost(), queue.overflowed()), (1, 0));
    }
}
