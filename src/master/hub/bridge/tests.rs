use super::super::CAP;
use super::super::far::Identity;
use super::super::tests::{Peer, SOON};
use super::*;
use crate::ipc::bus::Reader;
use crate::wire::frame::{BusMember, Question, number};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// A bridge, as the hub meets it.
struct FarPeer {
    id: Sid,
    reader: Reader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    served: JoinHandle<Left>,
}

/// Runs a test on a hub of a server that has bridges.
async fn on_a_far_hub<F: Future<Output = ()>>(test: impl FnOnce(Rc<Hub>) -> F) {
    let hub = Rc::new(Hub::new(Identity::default()));
    LocalSet::new().run_until(test(hub)).await;
}

fn member(n: u16) -> BusMember {
    BusMember {
        id: format!("elsewhere_____{n:02}").parse().unwrap(),
        slot: n,
        pid: 900 + u32::from(n),
        machine: "ip-10-0-0-2".into(),
    }
}

fn event(n: usize, bytes: usize) -> Body {
    Body::ServerSide {
        event: n.to_string().into(),
        data: vec![0; bytes].into(),
    }
}

fn ask(ticket: u64) -> Body {
    let (event, data) = ("e".into(), Bytes::new());
    Body::Ask {
        ticket,
        question: Question::ServerSide { event, data },
    }
}

impl FarPeer {
    /// Says who it is.
    async fn connect(hub: &Rc<Hub>, n: usize) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let served = spawn_local({
            let hub = Rc::clone(hub);
            async move { hub.serve_bridge(7, ours).await }
        });
        let (read, writer) = theirs.into_split();
        let mut bridge = Self {
            id: format!("bridge_________{n}").parse().unwrap(),
            reader: Reader::new(read),
            writer,
            served,
        };
        bridge
            .send(bridge.id, None, Body::Hello(Role::Bridge))
            .await;
        bridge
    }

    /// Joins, and hears how many members there are on this machine.
    async fn join(hub: &Rc<Hub>, n: usize, near: usize) -> Self {
        let mut bridge = Self::connect(hub, n).await;
        assert!(matches!(bridge.next().await.1, Body::Welcome(_)));
        assert_eq!(bridge.members().await, near);
        bridge
    }

    /// Joins, says that these are elsewhere, and that it reaches them.
    async fn linked(hub: &Rc<Hub>, near: usize, elsewhere: &[BusMember]) -> Self {
        let mut bridge = Self::join(hub, 1, near).await;
        bridge.say(Body::Elsewhere(elsewhere.to_vec())).await;
        bridge.say(Body::Link(true)).await;
        bridge
    }

    async fn send(&mut self, from: Sid, to: Option<Sid>, body: Body) {
        let frame = Frame { to, from, body }.encode().unwrap();
        self.writer.write_all(&frame).await.unwrap();
    }

    async fn say(&mut self, body: Body) {
        self.send(self.id, None, body).await;
    }

    /// The next frame, with the hub's number.
    async fn next(&mut self) -> (u64, Body) {
        let frame = timeout(SOON, self.reader.next()).await.unwrap().unwrap();
        let number = Head::read(&frame).unwrap().hub_number;
        (number, Frame::decode(&frame).unwrap().body)
    }

    async fn event(&mut self) -> (u64, usize) {
        match self.next().await {
            (number, Body::ServerSide { event, .. }) => (number, event.parse().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    async fn members(&mut self) -> usize {
        match self.next().await {
            (0, Body::Members(members)) => members.len(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn workers_know_the_members_elsewhere_while_the_link_is_up_and_the_bridge_only_the_workers() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 7).await;
        let mut bridge = FarPeer::linked(&hub, 1, &[member(1), member(2)]).await;
        assert_eq!(a.members().await, [7, 1, 2]);
        bridge.say(Body::Elsewhere(vec![member(2)])).await;
        assert_eq!(a.members().await, [7, 2]);
        let b = Peer::join(&hub, 8).await;
        assert_eq!(a.members().await, [7, 8, 2]);
        assert_eq!(bridge.members().await, 2);
        bridge.say(Body::Link(false)).await;
        assert_eq!(a.members().await, [7, 8]);
        bridge.say(Body::Link(true)).await;
        assert_eq!(a.members().await, [7, 8, 2]);
        drop(b);
        assert_eq!(a.members().await, [7, 2]);
        drop(bridge);
        assert_eq!(a.members().await, [7]);
        assert_eq!(hub.bridge().pid, None);
    })
    .await;
}

#[tokio::test]
async fn what_workers_send_to_all_or_to_one_elsewhere_goes_to_the_bridge_with_the_hubs_number() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut b = Peer::join(&hub, 1).await;
        let mut bridge = FarPeer::linked(&hub, 2, &[member(3)]).await;
        assert_eq!(b.members().await, [0, 1, 3]);
        a.emit(None, 1, 10).await;
        a.emit(Some(b.id), 2, 10).await;
        a.emit(Some(member(3).id), 3, 10).await;
        a.emit(Some(member(4).id), 4, 10).await;
        a.emit(None, 5, 10).await;
        for expected in [(1, 1), (2, 3), (3, 5)] {
            assert_eq!(bridge.event().await, expected);
        }
        for expected in [1, 2, 5] {
            assert_eq!(b.event().await, expected);
        }
        // With the link down, they are still for those who will be there again.
        bridge.say(Body::Link(false)).await;
        assert_eq!(b.members().await, [0, 1]);
        a.emit(Some(member(3).id), 6, 10).await;
        a.emit(None, 7, 10).await;
        assert_eq!(bridge.event().await, (4, 6));
        assert_eq!(bridge.event().await, (5, 7));
    })
    .await;
}

#[tokio::test]
async fn which_namespaces_there_are_is_told_to_the_bridge_alone_and_has_no_number() {
    on_a_far_hub(async |hub| {
        let (ns, is_here) = ("/chat".into(), true);
        let namespace = Body::Namespace { ns, is_here };
        let mut a = Peer::join(&hub, 0).await;
        let mut b = Peer::join(&hub, 1).await;
        // There is nobody to be told.
        a.send(None, namespace.clone()).await;
        let mut bridge = FarPeer::join(&hub, 1, 2).await;
        bridge.say(Body::TellNamespaces).await;
        assert_eq!(a.members().await, [0, 1]);
        assert_eq!(a.next().await, Body::TellNamespaces);
        assert_eq!(b.next().await, Body::TellNamespaces);
        a.send(None, namespace.clone()).await;
        a.emit(None, 1, 10).await;
        assert_eq!(bridge.next().await, (0, namespace));
        assert_eq!((bridge.event().await, b.event().await), ((1, 1), 1));
    })
    .await;
}

#[tokio::test]
async fn what_the_bridge_brings_goes_to_workers_and_never_back() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut b = Peer::join(&hub, 1).await;
        assert_eq!(a.members().await, [0, 1]);
        let mut bridge = FarPeer::join(&hub, 1, 2).await;
        let from = member(3).id;
        bridge.send(from, None, event(1, 10)).await;
        bridge.send(from, Some(b.id), event(2, 10)).await;
        bridge.send(from, Some(member(9).id), event(3, 10)).await;
        bridge.send(from, None, ask(4)).await;
        assert_eq!(a.event().await, 1);
        assert_eq!((b.event().await, b.event().await), (1, 2));
        assert!(matches!(a.next().await, Body::Ask { ticket: 4, .. }));
        assert!(matches!(b.next().await, Body::Ask { ticket: 4, .. }));
        // All that comes to it is what another says.
        a.emit(None, 5, 10).await;
        assert_eq!(bridge.event().await, (1, 5));
    })
    .await;
}

#[tokio::test]
async fn a_question_names_those_elsewhere_while_the_link_is_up() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut b = Peer::join(&hub, 1).await;
        assert_eq!(a.members().await, [0, 1]);
        let far = [member(1), member(2)];
        let mut bridge = FarPeer::linked(&hub, 2, &far).await;
        assert_eq!(a.members().await, [0, 1, 1, 2]);
        a.send(None, ask(1)).await;
        let ids = vec![b.id, far[0].id, far[1].id];
        assert_eq!(a.next().await, Body::Responders { ticket: 1, ids });
        a.send(Some(far[1].id), ask(2)).await;
        let ids = vec![far[1].id];
        assert_eq!(a.next().await, Body::Responders { ticket: 2, ids });
        assert!(matches!(bridge.next().await.1, Body::Ask { ticket: 1, .. }));
        assert!(matches!(bridge.next().await.1, Body::Ask { ticket: 2, .. }));
        bridge.say(Body::Link(false)).await;
        assert_eq!(a.members().await, [0, 1]);
        a.send(None, ask(3)).await;
        let ids = vec![b.id];
        assert_eq!(a.next().await, Body::Responders { ticket: 3, ids });
        assert_eq!(b.members().await, [0, 1, 1, 2]);
    })
    .await;
}

#[tokio::test]
async fn its_last_words_come_before_the_news_that_members_elsewhere_are_gone() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut bridge = FarPeer::linked(&hub, 1, &[member(1)]).await;
        assert_eq!(a.members().await, [0, 1]);
        for n in 0..50 {
            bridge.send(member(1).id, None, event(n, 1000)).await;
        }
        bridge.say(Body::Elsewhere(vec![])).await;
        bridge.send(member(1).id, None, event(50, 100_000)).await;
        drop(bridge);
        for n in 0..50 {
            assert_eq!(a.event().await, n);
        }
        assert_eq!(a.members().await, [0]);
        assert_eq!(a.event().await, 50);
    })
    .await;
}

#[tokio::test]
async fn a_bridge_without_a_link_is_waited_for_by_nobody_and_loses_what_is_too_much() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut bridge = FarPeer::join(&hub, 1, 1).await;
        let (piece, count) = (8 << 20, 2 * CAP / (8 << 20));
        let all = async {
            for n in 0..count {
                a.emit(None, n, piece).await;
            }
        };
        timeout(SOON, all).await.unwrap();
        while hub.bridge().passed < count as u64 {
            tokio::task::yield_now().await;
        }
        let lost = hub.bridge().lost;
        assert!(lost > 0);
        let (mut got, mut number) = (0, 0);
        while number < count as u64 {
            match bridge.next().await {
                (0, Body::Members(members)) => assert_eq!(members.len(), 1),
                (next, Body::ServerSide { event, .. }) => {
                    assert_eq!(event.to_string(), (next - 1).to_string());
                    assert!(next > number);
                    (got, number) = (got + 1, next);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got + lost, count as u64);
    })
    .await;
}

#[tokio::test]
async fn a_bridge_with_a_link_slows_who_floods_it_until_it_gives_no_sign_of_life() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut bridge = FarPeer::join(&hub, 1, 1).await;
        bridge.say(Body::Link(true)).await;
        assert_eq!(a.members().await, [0]);
        let (piece, count) = (8 << 20, CAP / (8 << 20));
        let began = Instant::now();
        let flood = spawn_local(async move {
            for n in 0..count {
                a.emit(None, n, piece).await;
            }
            a
        });
        timeout(SOON, flood).await.unwrap().unwrap();
        let took = began.elapsed();
        assert!(took > SILENCE / 2, "nobody waited: {took:?}");
        for n in 0..count {
            assert_eq!(bridge.event().await, (n as u64 + 1, n));
        }
    })
    .await;
}

#[tokio::test]
async fn a_bridge_that_speaks_for_a_worker_is_given_up() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut bridge = FarPeer::join(&hub, 1, 1).await;
        bridge.send(a.id, None, event(1, 1)).await;
        assert!(matches!(bridge.served.await.unwrap(), Left::GivenUp(_)));
        assert_eq!(a.members().await, [0]);
        let mut bridge = FarPeer::join(&hub, 2, 1).await;
        bridge.send(bridge.id, None, event(2, 1)).await;
        assert_eq!(a.event().await, 2, "an emitter's");
    })
    .await;
}

#[tokio::test]
async fn what_it_tells_of_itself_is_kept() {
    on_a_far_hub(async |hub| {
        let mut bridge = FarPeer::join(&hub, 1, 0).await;
        let report = r#"{"server":"redis://a","up":true,"of_another_version":[1]}"#;
        for report in ["no report", report] {
            bridge
                .say(Body::Report(Bytes::from_static(report.as_bytes())))
                .await;
        }
        while hub.bridge().report.is_none_or(|report| !report.up) {
            tokio::task::yield_now().await;
        }
        let state = hub.bridge();
        let report = state.report.unwrap();
        assert_eq!((report.server.as_str(), report.up), ("redis://a", true));
        assert_eq!((state.pid, state.epoch), (Some(7), 1));
    })
    .await;
}

mod handover;
mod reload;
