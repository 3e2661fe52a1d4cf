//! From polling to WebSocket: the second connection of a session, until it is the first.
//!
//! ```text
//! client: 2probe ─▶  ◀─ 3probe, and 6 (noop) to whatever poll waits  ─▶ client: 5, and the session has moved
//! ```
//!
//! Until the client's `5` the polling session is as it was, whatever becomes of the connection; `5` alone moves it,
//! with a probe before it or without.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::ReadBuf;

use crate::assembly::{Assembly, Incoming, Rules};
use crate::conn::Conn;
use crate::engine::Refused;
use crate::extensions::Deflate;
use crate::frame::{self, CloseCode, Opcode};
use crate::inflate::Inflater;
use crate::line::{Line, Out, Transport, WebSocket};
use crate::packet::Packet;
use crate::posts::Post;
use crate::socket::Socket;
use crate::wheel::Millis;
use crate::work::Work;

/// How often a poll that waits is answered with nothing while a client wants to upgrade, in milliseconds.
const NUDGE: Millis = 100;
/// What a probe may be sent before it reads, in bytes.
const MAX_PENDING: usize = 4 * 1024;

/// A connection that may become the session's.
#[derive(Debug)]
pub(crate) struct Probe {
    /// Which one of this session's; a second one that is tried later is another.
    serial: u64,
    conn: Option<(Conn, Assembly)>,
    deflate: Option<Deflate>,
    /// What its socket did not take yet.
    pending: Vec<u8>,
    /// Has the client asked for the upgrade?
    probed: bool,
    /// It must be done by then.
    pub(crate) until: Millis,
    /// When the poll that waits is answered next.
    pub(crate) nudge: Millis,
}

/// What a look at a probe came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Probed {
    /// It waits for its client.
    Waits,
    /// There may be more to read.
    More,
    /// Its connection has ended; the session polls on.
    Gone,
    /// Its client is to be told that it is over, by a close frame with this payload; the session polls on.
    Refused(Bytes),
    /// The session has moved. What the client said behind it is in the batch; then it may have broken the protocol.
    Moved(Option<CloseCode>),
}

impl Probe {
    fn send(&mut self, packet: &Packet) {
        if let Packet::Pong(text) = packet {
            frame::write_header(Opcode::Text, text.len() + 1, &mut self.pending);
            self.pending.push(packet.type_digit());
            self.pending.extend_from_slice(text.as_bytes());
        }
    }

    /// Bytes of a message that is not whole.
    pub(crate) fn kept(&self) -> usize {
        let assembly = self.conn.as_ref().map(|(_, assembly)| assembly);
        assembly.map_or(0, Assembly::kept)
    }

    /// Writes what waits.
    fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((conn, _)) = &self.conn else {
            return true;
        };
        if self.pending.is_empty() {
            return true;
        }
        match conn.write(&[IoSlice::new(&self.pending)]) {
            Ok(wrote) if wrote == self.pending.len() => {
                self.pending = Vec::new();
                true
            }
            Ok(wrote) => {
                self.pending.drain(..wrote);
                conn.wait_writable(cx);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                conn.wait_writable(cx);
                self.pending.len() <= MAX_PENDING
            }
            Err(_) => false,
        }
    }
}

impl Line {
    /// Takes the probe's connection, and what was to be written to it.
    pub(crate) fn take_probe(&mut self) -> Option<(Conn, Vec<u8>)> {
        let mut probe = self.probe.take()?;
        let (conn, _) = probe.conn.take()?;
        Some((conn, std::mem::take(&mut probe.pending)))
    }

    /// Looks at the probe: reads into `window`, answers, and moves the session when it is time; a ping that is
    /// open then has `answer_within` for its answer.
    pub(crate) fn drive_probe(
        &mut self,
        work: &Work,
        (now, answer_within): (Millis, Millis),
        rules: Rules,
        (window, inflater, batch): (&mut [u8], &mut Inflater, &mut Vec<Incoming>),
        cx: &mut Context<'_>,
    ) -> Probed {
        let Some(probe) = &mut self.probe else {
            return Probed::Waits;
        };
        let Some((conn, assembly)) = &mut probe.conn else {
            return Probed::Waits;
        };
        let mut unread = assembly.take_unread();
        let mut buf = ReadBuf::new(window);
        let came = if unread.is_empty() {
            match conn.poll_read(cx, &mut buf) {
                Poll::Pending => {
                    return if probe.flush(cx) {
                        Probed::Waits
                    } else {
                        Probed::Gone
                    };
                }
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => buf.filled_mut(),
                Poll::Ready(_) => return Probed::Gone,
            }
        } else {
            &mut unread
        };
        let rules = Rules {
            deflate: probe.deflate.is_some(),
            ..rules
        };
        let fed = assembly.feed(came, rules, inflater, batch);
        let mut handled = 0;
        let mut moved = false;
        for incoming in &*batch {
            handled += 1;
            match incoming {
                Incoming::Packet(Packet::Ping(text)) if text.as_str() == "probe" => {
                    probe.probed = true;
                    probe.nudge = now;
                    probe.send(&Packet::Pong(text.clone()));
                }
                Incoming::Packet(Packet::Upgrade) => {
                    moved = true;
                    break;
                }
                Incoming::Ping(data) => {
                    frame::write_header(Opcode::Pong, data.len(), &mut probe.pending);
                    probe.pending.extend_from_slice(data);
                }
                Incoming::Close(payload) => return Probed::Refused(payload.clone()),
                _ => return Probed::Refused(Bytes::new()),
            }
        }
        batch.drain(..handled);
        if moved {
            if self.awaits_pong && !self.revision3 {
                // The answer to a ping may have been on its way by polling: its time begins anew.
                self.beat = self.beat.max(now + answer_within);
            }
            self.adopt_probe(work);
            return Probed::Moved(fed.err());
        }
        if let Err(code) = fed {
            return Probed::Refused(Bytes::copy_from_slice(&code.payload()));
        }
        if !probe.flush(cx) {
            return Probed::Gone;
        }
        self.nudge_poll(work, now);
        if self.is_probed()
            && let Some(inbox) = &mut self.inbox
        {
            inbox.posts.iter_mut().for_each(Post::wake);
        }
        Probed::More
    }

    /// The client has said `5`: its WebSocket is the session's transport.
    fn adopt_probe(&mut self, work: &Work) {
        let Some((probe, (conn, assembly))) = self.probe.take().and_then(|mut probe| {
            let conn = probe.conn.take()?;
            Some((probe, conn))
        }) else {
            return;
        };
        work.counts.upgrades_done.one_more();
        work.counts.websockets.one_more();
        let socket = WebSocket::new(conn, assembly, probe.deflate);
        let before = std::mem::replace(&mut self.transport, Transport::WebSocket(socket));
        if let Transport::Polling(mut polling) = before {
            // Who upgrades has the answer before, as who polls again. Nothing else would say so of a proxy's connection:
            // that lives for others, and may even end with another worker.
            if polling.has_left_unwatched(self.answered) {
                self.answered = 0;
            }
            // Its poll finds that the session has moved, and is answered with nothing.
            polling.wake_poll();
        }
        if !probe.pending.is_empty() {
            let out = Out::Raw(Bytes::from(probe.pending));
            self.queue_out_first(work, out);
        }
    }

    /// Answers the poll that waits with nothing, when the client wants to upgrade and it is time for it.
    pub(crate) fn nudge_poll(&mut self, work: &Work, now: Millis) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        if !probe.probed || now < probe.nudge {
            return;
        }
        probe.nudge = now + NUDGE;
        let waits = match &self.transport {
            Transport::Polling(polling) => polling.is_waiting(),
            _ => false,
        };
        if waits && self.queue.is_empty() {
            self.queue_out(work, Out::Packet(Packet::Noop));
            if let Transport::Polling(polling) = &mut self.transport {
                polling.wake_poll();
            }
        }
    }

    /// Does the client wait for its last poll and its last post, to upgrade then?
    pub(crate) fn is_probed(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.probed)
    }

    /// When the probe is to be looked at next.
    pub(crate) fn probe_due(&self) -> Option<Millis> {
        let probe = self.probe.as_ref()?;
        Some(if probe.probed {
            probe.until.min(probe.nudge)
        } else {
            probe.until
        })
    }
}

/// What an upgrade needs of its session.
pub(crate) trait Upgradable: Send + Sync {
    fn start_probe(&self, serial: u64, upgraded: Upgraded, unread: &[u8]);
    fn abandon_probe(&self, serial: u64);
}

impl<D> Socket<D>
where
    D: Default + Send + Sync + 'static,
{
    /// Begins an upgrade, which must be done by `until`.
    pub(crate) fn begin_upgrade(self: Arc<Self>, until: Millis) -> Result<Upgrading, Refused> {
        let serial = self.work.next_serial();
        {
            let mut line = self.line();
            if line.is_closed() {
                return Err(Refused::UnknownSession);
            }
            if !matches!(line.transport, Transport::Polling(_)) || line.probe.is_some() {
                return Err(Refused::BadRequest);
            }
            line.probe = Some(Box::new(Probe {
                serial,
                conn: None,
                deflate: None,
                pending: Vec::new(),
                probed: false,
                until,
                nudge: Millis::MAX,
            }));
        }
        Ok(Upgrading {
            session: self,
            serial,
            started: false,
        })
    }
}

impl<D> Upgradable for Socket<D>
where
    D: Default + Send + Sync + 'static,
{
    fn start_probe(&self, serial: u64, upgraded: Upgraded, unread: &[u8]) {
        let mut line = self.line();
        let Some(probe) = line.probe.as_mut().filter(|probe| probe.serial == serial) else {
            return;
        };
        probe.pending = upgraded.preface;
        probe.deflate = upgraded.deflate;
        let mut assembly = Assembly::default();
        assembly.set_unread(unread);
        probe.conn = Some((upgraded.conn, assembly));
        drop(line);
        self.work.counts.upgrades_tried.one_more();
        self.set_ready();
    }

    fn abandon_probe(&self, serial: u64) {
        let mut line = self.line();
        if line
            .probe
            .as_ref()
            .is_some_and(|probe| probe.serial == serial)
        {
            line.probe = None;
        }
    }
}

/// A connection that a session is to move to.
#[derive(Debug)]
pub struct Upgraded {
    /// The connection.
    pub conn: Conn,
    /// What is written first: the answer to the handshake, unless that went out before.
    pub preface: Vec<u8>,
    /// What that says of deflated messages.
    pub deflate: Option<Deflate>,
}

/// An upgrade that has a session and no connection yet. Dropped before it has one, it has never been.
pub struct Upgrading {
    session: Arc<dyn Upgradable>,
    serial: u64,
    started: bool,
}

impl Upgrading {
    /// Gives it its connection, of which `unread` was read already.
    pub fn start(mut self, upgraded: Upgraded, unread: &[u8]) {
        self.started = true;
        self.session.start_probe(self.serial, upgraded, unread);
    }
}

impl Drop for Upgrading {
    fn drop(&mut self) {
        if !self.started {
            self.session.abandon_probe(self.serial);
        }
    }
}

impl std::fmt::Debug for Upgrading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrading").finish_non_exhaustive()
    }
}
