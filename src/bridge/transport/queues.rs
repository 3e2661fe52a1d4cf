//! The two queues that every transport has.

use std::sync::Arc;

use super::Event;
use super::inbox::Inbox;
use super::outbox::Outbox;

/// What came from the server and what goes to it. A transport's tasks have them, too.
#[derive(Debug)]
pub(in crate::bridge) struct Queues {
    /// What came.
    pub(super) inbox: Arc<Inbox>,
    /// What goes.
    pub(super) outbox: Arc<Outbox>,
}

impl Queues {
    /// The next event. When the inbox has ended, so does the outbox.
    pub(super) async fn event(&self) -> Event {
        let event = self.inbox.next().await;
        if let Event::Ended(error) = &event {
            self.outbox.end(error);
        }
        event
    }
}
