//! A connection to Redis whose end is told with its reason, and from which nothing is read while nobody takes it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::TransportError;
use super::dial::Stream;
use super::inbox::Inbox;

/// The one of the two connections that this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// What is read are answers.
    Publishing,
    /// What is read goes to the inbox.
    Subscribed,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    inbox: Arc<Inbox>,
    side: Side,
}

impl Watched {
    /// Tells `inbox` of the end.
    pub(super) fn new(stream: Stream, inbox: Arc<Inbox>, side: Side) -> Self {
        Self {
            stream,
            inbox,
            side,
        }
    }

    fn lost(&self, reason: String) {
        self.inbox.end(TransportError::Lost(reason));
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.side == Side::Subscribed {
            ready!(self.inbox.poll_room(cx));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        match &read {
            Err(error) => self.lost(error.to_string()),
            Ok(()) if buffer.filled().len() == before && buffer.remaining() > 0 => {
                let reason = match self.side {
                    Side::Publishing => "the server was stopped, or cut it off; its log says which",
                    Side::Subscribed => {
                        "the server was stopped, or cut off a subscriber that reads too slowly \
                         (client-output-buffer-limit pubsub); its log says which"
                    }
                };
                self.lost(reason.to_owned());
            }
            Ok(()) => {}
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        if let Err(error) = &written {
            self.lost(error.to_string());
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
