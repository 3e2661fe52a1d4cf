//! Which sessions have ended, for the master: in batches, each end once, and never more than it can wait for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engineioxide::TransportType;

use crate::wire::control::{Ended, Reason, Traffic, TransportName};

/// So many ends wait for a master that does not hear; then the oldest are forgotten.
const WAITING: usize = 10_000;

/// So many are told in one message. One takes less than 100 bytes, a message of the link 36 KiB.
pub(crate) const BATCH: usize = 256;

/// The sessions of this worker that have ended.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    untold: Mutex<Untold>,
    /// How many have ended since the start, in the order of [`Reason::ALL`].
    by_reason: [AtomicU64; Reason::ALL.len()],
}

#[derive(Debug, Default)]
struct Untold {
    waiting: VecDeque<Ended>,
    /// Are some on their way?
    telling: bool,
}

impl Ends {
    /// A session has ended.
    pub(crate) fn ended(&self, ended: &engineioxide::Ended) {
        let reason = Reason::from(ended.reason);
        if let Some(count) = self.by_reason.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
        let mut untold = self.untold();
        if untold.waiting.len() >= WAITING {
            untold.waiting.pop_front();
        }
        untold.waiting.push_back(Ended {
            socket_id: ended.sid.to_string(),
            address: ended.client,
            at_ms: millis(SystemTime::now().duration_since(UNIX_EPOCH).ok()),
            lived_ms: millis(Some(ended.lived)),
            transport: transport(ended.transport),
            traffic: traffic(ended.traffic),
            reason,
            by_operator: ended.by_operator,
        });
    }

    /// How many sessions have ended since the start, by reason, in the order of [`Reason::ALL`].
    pub(crate) fn by_reason(&self) -> [u64; Reason::ALL.len()] {
        self.by_reason.each_ref().map(|count| count.load(Relaxed))
    }

    /// The oldest that the master has not been told, as many as fit into one message; [`Ends::told`] when they are sent.
    pub(crate) fn batch(&self) -> Option<Vec<Ended>> {
        let mut untold = self.untold();
        let waiting = &mut untold.waiting;
        if waiting.is_empty() {
            // What a storm of ends took is given back.
            *waiting = VecDeque::new();
            return None;
        }
        let batch = waiting.drain(..waiting.len().min(BATCH)).collect();
        untold.telling = true;
        Some(batch)
    }

    /// The last batch is sent.
    pub(crate) fn told(&self) {
        self.untold().telling = false;
    }

    /// Has the master been told all?
    pub(crate) fn all_told(&self) -> bool {
        let untold = self.untold();
        untold.waiting.is_empty() && !untold.telling
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What went over a session, as it is told outside.
pub(crate) fn traffic(traffic: engineioxide::Traffic) -> Traffic {
    Traffic {
        bytes_in: traffic.bytes_in,
        bytes_out: traffic.bytes_out,
        messages_in: traffic.messages_in,
        messages_out: traffic.messages_out,
    }
}

/// The transport as it is told outside.
pub(crate) fn transport(transport: TransportType) -> TransportName {
    match transport {
        TransportType::Polling => TransportName::Polling,
        TransportType::Websocket => TransportName::WebSocket,
    }
}

fn millis(duration: Option<Duration>) -> u64 {
    u64::try_from(duration.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use engineioxide::ProtocolVersion;
    use socketioxide::socket::Sid;

    use engineioxide::EndReason;

    use super::*;
    use crate::wire::link::{MAX_HEAD, ToMaster};

    fn ended(nth: u64) -> engineioxide::Ended {
        engineioxide::Ended {
            sid: Sid::new(),
            client: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().ok(),
            protocol: ProtocolVersion::V4,
            transport: TransportType::Websocket,
            began_polling: false,
            reason: EndReason::Overlap,
            by_operator: false,
            lived: Duration::from_millis(nth),
            traffic: engineioxide::Traffic {
                bytes_in: u64::MAX,
                bytes_out: u64::MAX,
                messages_in: u64::MAX,
                messages_out: u64::MAX,
            },
        }
    }

    #[test]
    fn each_end_has_a_word_and_only_an_overlap_shares_one() {
        use EndReason::{
            Application, ClientLeft, ConnectTimeout, Drain, Memory, Overlap, PingTimeout,
            ProtocolError, Stopped, TooLarge, TransportClosed, Until, WriteStall,
        };
        let all = [
            ClientLeft,
            TransportClosed,
            PingTimeout,
            WriteStall,
            Memory,
            TooLarge,
            ProtocolError,
            Overlap,
            ConnectTimeout,
            Application,
            Until,
            Drain,
            Stopped,
        ];
        let told: std::collections::BTreeSet<_> = all.into_iter().map(Reason::from).collect();
        assert_eq!(told.len(), Reason::ALL.len() - 1, "all but worker-gone");
    }

    #[test]
    fn each_end_is_told_once_and_a_batch_fits_into_a_message() {
        let ends = Ends::default();
        assert!(ends.batch().is_none() && ends.all_told());
        let many = 2 * BATCH as u64 + 1;
        (0..many).for_each(|nth| ends.ended(&ended(nth)));
        let mut told = Vec::new();
        while let Some(batch) = ends.batch() {
            assert!(!ends.all_told());
            let packet = postcard::to_stdvec(&ToMaster::Ended(batch.clone())).unwrap();
            assert!(packet.len() < MAX_HEAD, "{}", packet.len());
            told.extend(batch.into_iter().map(|ended| ended.lived_ms));
            ends.told();
        }
        assert!(ends.all_told());
        assert_eq!(told, (0..many).collect::<Vec<_>>());
        assert_eq!(ends.by_reason()[Reason::ProtocolError as usize], many);
        assert_eq!(ends.by_reason().iter().sum::<u64>(), many);
    }

    #[test]
    fn a_master_that_does_not_hear_costs_no_more_than_ten_thousand_ends() {
        let ends = Ends::default();
        (0..WAITING as u64 + 3).for_each(|nth| ends.ended(&ended(nth)));
        assert_eq!(ends.batch().unwrap()[0].lived_ms, 3);
        assert_eq!(ends.untold().waiting.len(), WAITING - BATCH);
    }
}
