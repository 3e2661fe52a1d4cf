//! How late this machine itself is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::saw;

const NAP: Duration = Duration::from_millis(2);

/// Sleeps again and again, and notes by how much it overslept: what a busy machine costs anybody.
pub struct Jitter {
    stop: Arc<AtomicBool>,
    worst: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Jitter {
    pub fn watch() -> Self {
        let stop = Arc::<AtomicBool>::default();
        let worst = Arc::<AtomicU64>::default();
        let thread = thread::spawn({
            let (stop, worst) = (Arc::clone(&stop), Arc::clone(&worst));
            move || {
                while !stop.load(Relaxed) {
                    let began = Instant::now();
                    thread::sleep(NAP);
                    let late = began.elapsed().saturating_sub(NAP).as_micros();
                    worst.fetch_max(u64::try_from(late).unwrap(), Relaxed);
                }
            }
        });
        Self {
            stop,
            worst,
            thread: Some(thread),
        }
    }

    /// By how much anybody may have been late since the watch began. An answer has several stops
    /// on its way, and each may wait for a processor.
    pub fn allowance(&self) -> Duration {
        Duration::from_micros(self.worst.load(Relaxed)) * 6
    }

    /// Something took no longer than it may, or than the machine made it.
    #[track_caller]
    pub fn assert_within(&self, took: Duration, limit: Duration) {
        let allowance = self.allowance();
        if took >= limit {
            saw("the machine's own delay", format!("{allowance:?}"));
        }
        assert!(took < limit + allowance, "{took:?}, {allowance:?} allowed");
    }
}

impl Drop for Jitter {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // It cannot panic.
        let _ = self.thread.take().unwrap().join();
    }
}
