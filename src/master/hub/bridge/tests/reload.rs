use super::super::super::tests::handover::hand_over;
use super::*;

#[tokio::test]
async fn what_a_bridge_brought_and_nobody_has_goes_on_and_so_do_its_link_and_the_numbers() {
    let hub = Rc::new(Hub::new(Identity::default()));
    let test = async {
        let mut a = Peer::join(&hub, 0).await;
        let mut bridge = FarPeer::linked(&hub, 1, &[member(1)]).await;
        let report = Report {
            server: "s".to_owned(),
            ..Report::default()
        };
        let report = serde_json::to_vec(&report).unwrap();
        bridge.say(Body::Report(report.into())).await;
        a.emit(None, 1, 10).await;
        assert_eq!(bridge.next().await, (1, event(1, 10)));
        // The worker takes nothing: at last a frame is in hand.
        let (piece, count) = (8 << 20, 8);
        let id = bridge.id;
        let FarPeer {
            reader,
            mut writer,
            mut served,
            ..
        } = bridge;
        let flood = spawn_local(async move {
            for n in 0..count {
                let (from, to) = (member(1).id, None);
                let body = event(n, piece);
                let frame = Frame { to, from, body }.encode().unwrap();
                let frame = number(frame, n as u64 + 1);
                writer.write_all(&frame).await.unwrap();
            }
            writer
        });
        let in_hand = |hub: &Hub| {
            let bridge = hub.far.bridge.borrow();
            let bridge = bridge.as_ref().unwrap();
            bridge.is_held_up.get() && bridge.line.in_hand.borrow().is_some()
        };
        let wait = async {
            while !in_hand(&hub) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, wait).await.unwrap();

        let (hub, state) = hand_over(hub, vec![a.served(), &mut served]).await;
        assert!(state.hub.far.bridge.unwrap().line.in_hand.is_some());
        let a_served = spawn_local(Rc::clone(&hub).resume(100));
        let served = spawn_local({
            let hub = Rc::clone(&hub);
            async move { hub.resume_bridge().await }
        });
        let known = hub.bridge();
        assert_eq!((known.pid, known.epoch, known.passed), (Some(7), 1, 1));
        assert_eq!(known.report.unwrap().server, "s");
        // It had heard of the member elsewhere, and hears nothing of that again.
        assert_eq!(a.members().await, [0, 1]);
        for n in 0..count {
            assert_eq!(a.event().await, n);
        }
        let writer = flood.await.unwrap();
        let mut bridge = FarPeer {
            id,
            reader,
            writer,
            served,
        };
        a.emit(None, 2, 10).await;
        assert_eq!(bridge.next().await, (2, event(2, 10)));
        drop(bridge.writer);
        drop(bridge.reader);
        assert!(matches!(bridge.served.await, Ok(Left::Closed)));
        assert_eq!(a.members().await, [0]);
        drop(a_served);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_configuration_without_other_machines_ends_the_bridge_and_keeps_nothing_for_it() {
    let hub = Rc::new(Hub::new(Identity::default()));
    let test = async {
        let mut a = Peer::join(&hub, 0).await;
        let mut bridge = FarPeer::linked(&hub, 1, &[member(1)]).await;
        assert_eq!(a.members().await, [0, 1]);
        let (hub, _) = hand_over(hub, vec![a.served(), &mut bridge.served]).await;
        hub.expect_no_bridge();
        let served = spawn_local(Rc::clone(&hub).resume(100));
        assert_eq!(a.members().await, [0]);
        let ends = async { while bridge.reader.next().await.is_ok() {} };
        timeout(SOON, ends).await.unwrap();
        a.emit(None, 1, 10).await;
        let passed = async {
            while hub.bridge().passed == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, passed).await.unwrap();
        let known = hub.bridge();
        assert_eq!((known.pid, known.waiting, known.lost), (None, 0, 0));
        drop(served);
    };
    LocalSet::new().run_until(test).await;
}
