use super::*;
use crate::ipc::bus::Reader;
use std::future::Future;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

pub(super) const SOON: Duration = Duration::from_secs(10);

/// A worker, as the hub meets it.
pub(super) struct Peer {
    pub(super) id: Sid,
    reader: Reader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    served: JoinHandle<Left>,
}

/// Runs a test on a hub.
pub(super) async fn on_a_hub<F: Future<Output = ()>>(test: impl FnOnce(Rc<Hub>) -> F) {
    LocalSet::new().run_until(test(Rc::default())).await;
}

impl Peer {
    /// Joins, and hears that it is a member.
    pub(super) async fn join(hub: &Rc<Hub>, slot: u16) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let served = spawn_local({
            let hub = Rc::clone(hub);
            async move { hub.serve(slot, 100 + u32::from(slot), ours).await }
        });
        let (read, writer) = theirs.into_split();
        let mut peer = Self {
            id: format!("worker_________{slot}").parse().unwrap(),
            reader: Reader::new(read),
            writer,
            served,
        };
        peer.send(None, Body::Hello(Role::Worker)).await;
        assert!(peer.members().await.contains(&slot));
        peer
    }

    pub(super) async fn send(&mut self, to: Option<Sid>, body: Body) {
        let from = self.id;
        let frame = Frame { to, from, body }.encode().unwrap();
        self.writer.write_all(&frame).await.unwrap();
    }

    pub(super) async fn emit(&mut self, to: Option<Sid>, n: usize, bytes: usize) {
        let body = Body::ServerSide {
            event: n.to_string().into(),
            data: vec![0; bytes].into(),
        };
        self.send(to, body).await;
    }

    pub(super) async fn next(&mut self) -> Body {
        let frame = timeout(SOON, self.reader.next()).await.unwrap().unwrap();
        Frame::decode(&frame).unwrap().body
    }

    /// The slots of the next list of members.
    pub(super) async fn members(&mut self) -> Vec<u16> {
        match self.next().await {
            Body::Members(members) => members.iter().map(|member| member.slot).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// The number of the next event.
    pub(super) async fn event(&mut self) -> usize {
        match self.next().await {
            Body::ServerSide { event, .. } => event.parse().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn left(self) -> Left {
        timeout(SOON, self.served).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn what_one_sends_reaches_all_others_in_order_or_the_one_that_it_is_for() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut b = Peer::join(&hub, 1).await;
        let mut c = Peer::join(&hub, 2).await;
        assert_eq!(b.members().await, [0, 1, 2]);
        for n in 0..500 {
            a.emit(None, n, n).await;
        }
        a.emit(Some(c.id), 500, 1).await;
        a.emit(None, 501, 1).await;
        for n in 0..500 {
            assert_eq!((b.event().await, c.event().await), (n, n));
        }
        assert_eq!(b.event().await, 501);
        assert_eq!((c.event().await, c.event().await), (500, 501));
        // Its own it does not get: only who came.
        assert_eq!(a.members().await, [0, 1]);
        assert_eq!(a.members().await, [0, 1, 2]);
        b.emit(None, 7, 1).await;
        assert_eq!(a.event().await, 7);
    })
    .await;
}

#[tokio::test]
async fn who_asks_hears_whom_it_asked_and_then_who_left() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut b = Peer::join(&hub, 1).await;
        assert_eq!(a.members().await, [0, 1]);
        let ask = |ticket| Body::Ask {
            ticket,
            question: crate::wire::frame::Question::ServerSide {
                event: "e".into(),
                data: Bytes::new(),
            },
        };
        a.send(None, ask(5)).await;
        a.send(Some("nobody_is_called".parse().unwrap()), ask(6))
            .await;
        let ids = vec![b.id];
        assert_eq!(a.next().await, Body::Responders { ticket: 5, ids });
        let ids = vec![];
        assert_eq!(a.next().await, Body::Responders { ticket: 6, ids });
        assert!(matches!(b.next().await, Body::Ask { ticket: 5, .. }));
        // Its last words come before the news that it is gone.
        b.emit(None, 1, 100_000).await;
        drop(b);
        assert_eq!(a.event().await, 1);
        assert_eq!(a.members().await, [0]);
    })
    .await;
}

#[tokio::test]
async fn nobody_waits_for_who_takes_nothing() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let _frozen = Peer::join(&hub, 1).await;
        let mut c = Peer::join(&hub, 2).await;
        let piece = 8 << 20;
        let count = CAP / piece;
        let send = async {
            for n in 0..count {
                a.emit(None, n, piece).await;
            }
        };
        let died = async {
            sleep(Duration::from_millis(200)).await;
            hub.set_silent(101, true);
        };
        let receive = async {
            for n in 0..count {
                assert_eq!(c.event().await, n);
            }
        };
        tokio::join!(send, receive, died);
    })
    .await;
}

#[tokio::test]
async fn who_has_too_much_waiting_is_given_up_at_once() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let frozen = Peer::join(&hub, 1).await;
        hub.set_silent(101, true);
        let piece = 8 << 20;
        for n in 0..=CAP / piece + 1 {
            a.emit(None, n, piece).await;
        }
        let Left::GivenUp(why) = frozen.left().await else {
            panic!("it was not given up");
        };
        assert_eq!(why, "more than 64 MiB of broadcasts waited for it");
    })
    .await;
}

#[tokio::test]
async fn who_is_slow_slows_who_floods_it_and_loses_nothing() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut slow = Peer::join(&hub, 1).await;
        let (piece, count) = (1 << 20, 200);
        let flood = spawn_local(async move {
            for n in 0..count {
                a.emit(None, n, piece).await;
            }
            a
        });
        for n in 0..count {
            // A few milliseconds each: slower than what comes, but never for long without progress.
            sleep(Duration::from_millis(2)).await;
            assert_eq!(slow.event().await, n);
            let waits = hub
                .seats
                .borrow()
                .iter()
                .map(|seat| seat.queue.bytes())
                .max();
            assert!(waits.unwrap() <= SLOW + 2 * piece, "{waits:?}");
        }
        flood.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn who_is_alive_is_waited_for_however_little_its_socket_takes() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut busy = Peer::join(&hub, 1).await;
        let (piece, count) = (1 << 20, (2 * CAP) >> 20);
        let flood = spawn_local(async move {
            for n in 0..count {
                a.emit(None, n, piece).await;
            }
            a
        });
        // It works on something else.
        sleep(Duration::from_secs(1)).await;
        assert!(!flood.is_finished());
        for n in 0..count {
            assert_eq!(busy.event().await, n);
        }
        flood.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn many_who_send_at_once_do_not_overflow_who_is_alive() {
    on_a_hub(async |hub| {
        let mut receiver = Peer::join(&hub, 0).await;
        let piece = 8 << 20;
        let mut senders = Vec::new();
        for slot in 1..=9 {
            senders.push(Peer::join(&hub, slot).await);
        }
        for _ in 1..=9 {
            receiver.members().await;
        }
        let to = receiver.id;
        let sending: Vec<_> = senders
            .into_iter()
            .map(|mut sender| {
                spawn_local(async move {
                    for n in 0..3 {
                        sender.emit(Some(to), n, piece).await;
                    }
                    sender
                })
            })
            .collect();
        for _ in 0..9 * 3 {
            sleep(Duration::from_millis(5)).await;
            receiver.event().await;
        }
        for sender in sending {
            sender.await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn who_speaks_for_another_is_given_up() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut liar = Peer::join(&hub, 1).await;
        assert_eq!(a.members().await, [0, 1]);
        liar.id = a.id;
        liar.emit(None, 1, 1).await;
        assert!(matches!(liar.left().await, Left::GivenUp(_)));
        assert_eq!(a.members().await, [0], "and nothing else came");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_frame_ends_its_sender_alone() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut broken = Peer::join(&hub, 1).await;
        assert_eq!(a.members().await, [0, 1]);
        broken.writer.write_all(&[0xff; 100]).await.unwrap();
        assert!(matches!(broken.left().await, Left::GivenUp(_)));
        assert_eq!(a.members().await, [0]);
    })
    .await;
}
