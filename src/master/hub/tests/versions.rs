use super::handover::{hand_over, resume};
use super::*;
use crate::wire::frame::Question;

const NEXT: u8 = VERSION + 1;

/// A worker that speaks the next version.
struct Next(Peer);

impl Next {
    async fn join(hub: &Rc<Hub>, slot: u16) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let its_hub = Rc::clone(hub);
        let served =
            spawn_local(async move { its_hub.serve(slot, 100 + u32::from(slot), ours).await });
        let (read, writer) = theirs.into_split();
        let mut peer = Self(Peer {
            id: format!("worker_________{slot}").parse().unwrap(),
            reader: Reader::new(read),
            writer,
            served,
        });
        peer.send(None, Body::Hello(Role::Worker)).await;
        peer
    }

    async fn send(&mut self, to: Option<Sid>, body: Body) {
        let from = self.0.id;
        let frame = Frame { to, from, body }.encode().unwrap();
        let frame = as_version(&frame, NEXT);
        self.0.writer.write_all(&frame).await.unwrap();
    }

    async fn next(&mut self) -> Body {
        let frame = timeout(SOON, self.0.reader.next()).await.unwrap().unwrap();
        assert_eq!(Head::of_any_version(&frame).unwrap().version, NEXT);
        Frame::decode(&as_version(&frame, VERSION)).unwrap().body
    }

    async fn members(&mut self) -> Vec<u16> {
        match self.next().await {
            Body::Members(members) => members.iter().map(|member| member.slot).collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn event(n: usize) -> Body {
    Body::ServerSide {
        event: n.to_string().into(),
        data: Bytes::new(),
    }
}

#[tokio::test]
async fn members_of_two_versions_are_two_buses_each_in_its_own_words() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut b = Peer::join(&hub, 1).await;
        assert_eq!(a.members().await, [0, 1]);
        assert_eq!(hub.divided(), None);
        let mut c = Next::join(&hub, 2).await;
        assert_eq!(c.members().await, [2]);
        let mut d = Next::join(&hub, 3).await;
        assert_eq!(c.members().await, [2, 3]);
        assert_eq!(d.members().await, [2, 3]);
        let divided = hub.divided().unwrap();
        assert!(
            divided.starts_with(&format!("2 workers speak version {NEXT}")),
            "{divided}"
        );

        a.emit(None, 1, 10).await;
        c.send(None, event(2)).await;
        c.send(Some(a.id), event(3)).await;
        let question = Question::ServerSide {
            event: "e".into(),
            data: Bytes::new(),
        };
        c.send(
            None,
            Body::Ask {
                ticket: 7,
                question,
            },
        )
        .await;
        let ids = vec![d.0.id];
        assert_eq!(c.next().await, Body::Responders { ticket: 7, ids });
        assert_eq!(d.next().await, event(2));
        assert!(matches!(d.next().await, Body::Ask { ticket: 7, .. }));
        // They hear of members of their own, and of those alone.
        for _ in 2..4 {
            assert_eq!(a.members().await, [0, 1]);
            assert_eq!(b.members().await, [0, 1]);
        }
        assert_eq!(b.event().await, 1);
        b.emit(None, 4, 10).await;
        assert_eq!(a.event().await, 4);
    })
    .await;
}

#[tokio::test]
async fn who_changes_its_version_is_given_up() {
    on_a_hub(async |hub| {
        let mut a = Next::join(&hub, 0).await;
        assert_eq!(a.members().await, [0]);
        a.0.emit(None, 1, 1).await;
        assert!(matches!(a.0.left().await, Left::GivenUp(_)));
    })
    .await;
}

#[tokio::test]
async fn after_a_reload_workers_of_another_version_go_on_among_themselves() {
    let test = async {
        let hub = Rc::new(Hub::default());
        let mut a = Next::join(&hub, 0).await;
        assert_eq!(a.members().await, [0]);
        let mut b = Next::join(&hub, 1).await;
        assert_eq!(a.members().await, [0, 1]);
        assert_eq!(b.members().await, [0, 1]);
        let (hub, state) = hand_over(hub, vec![&mut a.0.served, &mut b.0.served]).await;
        let versions: Vec<_> = state.hub.seats.iter().map(|seat| seat.version).collect();
        assert_eq!(versions, [NEXT, NEXT]);
        a.0.served = resume(&hub, 0);
        b.0.served = resume(&hub, 1);
        hub.drop_unserved();
        assert_eq!(hub.divided(), None);

        let mut new = Peer::join(&hub, 2).await;
        assert!(hub.divided().is_some());
        let mut newer = Peer::join(&hub, 3).await;
        assert_eq!(new.members().await, [2, 3]);
        new.emit(None, 1, 10).await;
        assert_eq!(newer.event().await, 1);
        a.send(None, event(2)).await;
        a.send(Some(new.id), event(3)).await;
        // They hear of each other alone.
        for _ in 2..4 {
            assert_eq!(a.members().await, [0, 1]);
            assert_eq!(b.members().await, [0, 1]);
        }
        assert_eq!(b.next().await, event(2));
        b.send(None, event(4)).await;
        assert_eq!(a.next().await, event(4));
        newer.emit(None, 5, 10).await;
        assert_eq!(new.event().await, 5);
    };
    LocalSet::new().run_until(test).await;
}
