//! What an operator sees of sessions that are open, and does to them.

use std::net::IpAddr;
use std::time::Duration;

use engineioxide_core::{Sid, TransportType};

use crate::core::Core;
use crate::handler::EngineIoHandler;
use crate::hooks::{EndReason, Traffic};
use crate::line::{Line, Transport};
use crate::socket::Socket;
use crate::wheel::Millis;

/// A session, as it is at this moment.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// The socket id.
    pub sid: Sid,
    /// The address of its client.
    pub client: Option<IpAddr>,
    /// The transport that it has now.
    pub transport: TransportType,
    /// How long it has lived.
    pub lived: Duration,
    /// What went over it.
    pub traffic: Traffic,
}

impl<D> Socket<D> {
    /// What there is to be told of it, while it is open.
    pub(crate) fn live(&self, now: Millis) -> Option<Live> {
        let line = self.line();
        line.is_open().then(|| Live {
            sid: self.id,
            client: self.req_parts.address(),
            transport: line.transport_type(),
            lived: Duration::from_millis(now.saturating_sub(line.opened)),
            traffic: line.traffic,
        })
    }
}

impl Line {
    /// Is the session over, and an answer to its client's poll yet to come, or to be fetched?
    pub(crate) fn is_owed(&self) -> bool {
        match &self.transport {
            Transport::Polling(polling) => {
                polling.leaves && (polling.is_waiting() || !self.queue.is_empty())
            }
            _ => false,
        }
    }
}

impl<H: EngineIoHandler> Core<H> {
    /// Ends a session because an operator wants it; was it open?
    pub(crate) fn disconnect_session(&self, sid: Sid) -> bool {
        let Ok(socket) = self.find(sid) else {
            return false;
        };
        let mut line = socket.line();
        let ends = line.begin_close(EndReason::Application);
        if ends {
            line.by_operator = true;
            drop(line);
            self.work.push_closed(socket.key);
        }
        ends
    }

    /// All open sessions, the oldest first.
    pub(crate) fn oldest_first(&self) -> Vec<(Sid, Duration)> {
        let now = self.now();
        let sockets = self.table().all();
        let live = sockets.iter().filter_map(|socket| socket.live(now));
        let mut ages: Vec<_> = live.map(|live| (live.sid, live.lived)).collect();
        ages.sort_by_key(|&(_, lived)| std::cmp::Reverse(lived));
        ages
    }

    /// The open sessions of a client, the oldest first.
    pub(crate) fn sessions_of(&self, client: IpAddr, most: usize) -> Vec<Live> {
        let now = self.now();
        let client = client.to_canonical();
        let sockets = self.table().all();
        let of_client = sockets.iter().filter(|socket| {
            let address = socket.req_parts.address();
            address.map(|address| address.to_canonical()) == Some(client)
        });
        of_client
            .filter_map(|socket| socket.live(now))
            .take(most)
            .collect()
    }
}
