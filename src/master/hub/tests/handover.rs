use super::*;
use crate::ipc::carrier::{Carrier, Luggage};
use crate::wire::handover::State;
use crate::wire::handover::hub::HubState;

/// Waits until something is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, wait).await.unwrap();
}

/// Packs the hub, ends it without a word to its members, and unpacks it. `served`: who serves them.
pub(in crate::master::hub) async fn hand_over(
    hub: Rc<Hub>,
    served: Vec<&mut JoinHandle<Left>>,
) -> (Rc<Hub>, State) {
    let (mut carrier, far) = Carrier::new().unwrap();
    let state = State {
        hub: hub.pack(&mut carrier).unwrap(),
        ..State::default()
    };
    let bytes = state.encode().unwrap();
    carrier.finish(&bytes).unwrap();
    for it in &served {
        it.abort();
    }
    for it in served {
        assert!(it.await.unwrap_err().is_cancelled());
    }
    assert_eq!(Rc::strong_count(&hub), 1);
    drop(hub);
    let mut luggage = Luggage::receive(far).unwrap();
    let again = State::decode(luggage.state()).unwrap();
    assert_eq!(again, state);
    let hub = Hub::adopt(again.hub, &mut luggage).unwrap();
    assert_eq!(luggage.left(), 0);
    (Rc::new(hub), state)
}

pub(super) fn resume(hub: &Rc<Hub>, slot: u16) -> JoinHandle<Left> {
    spawn_local(Rc::clone(hub).resume(100 + u32::from(slot)))
}

fn seat(hub: &Hub, slot: usize) -> Rc<Seat> {
    Rc::clone(&hub.seats.borrow()[slot])
}

/// A peer's frame, as bytes.
fn frame(from: Sid, n: usize, bytes: usize) -> Bytes {
    let body = Body::ServerSide {
        event: n.to_string().into(),
        data: vec![0; bytes].into(),
    };
    let to = None;
    Frame { to, from, body }.encode().unwrap()
}

#[tokio::test]
async fn with_frames_in_all_states_it_goes_on_in_another_program_and_nobody_sees_it() {
    let (piece, count) = (1 << 20, 80);
    let test = async {
        let hub = Rc::new(Hub::new(Identity::default()));
        let mut a = Peer::join(&hub, 0).await;
        let mut b = Peer::join(&hub, 1).await;
        let mut c = Peer::join(&hub, 2).await;
        assert_eq!(a.members().await, [0, 1]);
        assert_eq!(a.members().await, [0, 1, 2]);
        assert_eq!(b.members().await, [0, 1, 2]);
        let half = frame(c.id, 1000, 100_000);
        c.writer.write_all(&half[..60_000]).await.unwrap();
        let (a_served, mut a_writer, a_id) = (&mut a.served, a.writer, a.id);
        // It goes on meanwhile.
        let flood = spawn_local(async move {
            for n in 0..count {
                a_writer.write_all(&frame(a_id, n, piece)).await.unwrap();
            }
            a_writer
        });
        until(|| seat(&hub, 1).is_slow() && seat(&hub, 0).line.in_hand.borrow().is_some()).await;
        until(|| seat(&hub, 2).line.received.borrow().bytes().len() == 60_000).await;
        let waiting = seat(&hub, 1).queue.bytes();
        let (frames, written) = seat(&hub, 1).queue.waiting_frames();
        assert!(
            written > 0 && waiting > SLOW,
            "{written} of {waiting} written"
        );

        let mut served = [&mut b.served, &mut c.served];
        let [b_served, c_served] = &mut served;
        let (hub, state) = hand_over(hub, vec![a_served, b_served, c_served]).await;

        // Two workers and the bridge wait for the same.
        let kept: u64 = state.hub.pieces.iter().map(|len| u64::from(*len)).sum();
        assert!(kept < (frames.len() as u64 + 4) * piece as u64, "{kept}");
        let [ours, theirs] = [1, 2].map(|at| seat(&hub, at).queue.waiting_frames().0);
        let last = |frames: &[[Bytes; 2]]| frames.last().unwrap()[0].as_ptr();
        assert_eq!(last(&ours), last(&theirs));
        let far = hub.far.queue.waiting_frames().0;
        assert_eq!(far.len(), frames.len());

        a.served = resume(&hub, 0);
        b.served = resume(&hub, 1);
        c.served = resume(&hub, 2);
        hub.drop_unserved();
        for n in 0..count {
            assert_eq!(b.event().await, n);
            assert_eq!(c.event().await, n);
        }
        a.writer = flood.await.unwrap();
        c.writer.write_all(&half[60_000..]).await.unwrap();
        assert_eq!(a.event().await, 1000, "no Members came before it");
        assert_eq!(b.event().await, 1000);
        // And members come and go as ever.
        c.writer.shutdown().await.unwrap();
        assert!(matches!(c.left().await, Left::Closed));
        assert_eq!(a.members().await, [0, 1]);
        assert_eq!(b.members().await, [0, 1]);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn who_has_not_said_who_it_is_says_it_to_the_next_program() {
    on_a_hub(async |hub| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let its_hub = Rc::clone(&hub);
        let mut served = spawn_local(async move { its_hub.serve(7, 107, ours).await });
        until(|| !hub.joining.borrow().is_empty()).await;
        let (hub, _) = hand_over(hub, vec![&mut served]).await;
        let served = resume(&hub, 7);
        let (read, writer) = theirs.into_split();
        let mut peer = Peer {
            id: "worker_________7".parse().unwrap(),
            reader: Reader::new(read),
            writer,
            served,
        };
        peer.send(None, Body::Hello(Role::Worker)).await;
        assert_eq!(peer.members().await, [7]);
    })
    .await;
}

#[tokio::test]
async fn who_lost_something_is_given_up_by_the_next_program() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        seat(&hub, 0).overflow();
        let (hub, _) = hand_over(hub, vec![&mut a.served]).await;
        a.served = resume(&hub, 0);
        assert!(matches!(a.left().await, Left::GivenUp(_)));
    })
    .await;
}

#[tokio::test]
async fn a_member_that_nobody_serves_any_more_is_no_member() {
    on_a_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut b = Peer::join(&hub, 1).await;
        assert_eq!(a.members().await, [0, 1]);
        let (hub, _) = hand_over(hub, vec![&mut a.served, &mut b.served]).await;
        a.served = resume(&hub, 0);
        hub.drop_unserved();
        assert_eq!(a.members().await, [0]);
    })
    .await;
}

#[tokio::test]
async fn a_state_without_its_frames_is_an_error() {
    let (carrier, far) = Carrier::new().unwrap();
    carrier.finish(b"").unwrap();
    let mut luggage = Luggage::receive(far).unwrap();
    let state = HubState {
        pieces: vec![1],
        ..HubState::default()
    };
    assert!(Hub::adopt(state, &mut luggage).is_err());
}
