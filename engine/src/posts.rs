//! The posts of a polling session, from their bodies to the packets in them.

use bytes::Bytes;

use crate::packet::Packet;
use crate::payload4::PayloadError;
use crate::work::Waiter;
use crate::{payload3, payload4};

/// A post that is being handled.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) serial: u64,
    packets: Packets,
    pub(crate) waiter: Waiter,
    pub(crate) cost: usize,
}

#[derive(Debug)]
enum Packets {
    Four(payload4::Packets),
    Three(std::vec::IntoIter<Packet>, Option<PayloadError>),
}

impl Post {
    /// A post with this body.
    pub(crate) fn new(serial: u64, body: &Bytes, binary: bool, revision3: bool) -> Self {
        let packets = if revision3 {
            let (packets, error) = payload3::decode(body, binary);
            Packets::Three(packets.into_iter(), error)
        } else {
            Packets::Four(payload4::Packets::of(body))
        };
        Self {
            serial,
            packets,
            waiter: Waiter::default(),
            cost: body.len(),
        }
    }

    /// The next packet.
    pub(crate) fn next(&mut self) -> Option<Result<Packet, PayloadError>> {
        match &mut self.packets {
            Packets::Four(packets) => packets.next(),
            Packets::Three(packets, error) => {
                packets.next().map(Ok).or_else(|| error.take().map(Err))
            }
        }
    }

    /// Whoever waits for it looks again.
    pub(crate) fn wake(&mut self) {
        self.waiter.wake();
    }

    /// All is handed on, or the session has ended.
    pub(crate) fn done(mut self) {
        self.waiter.wake();
    }
}
