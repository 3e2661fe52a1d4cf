use super::*;
use engineioxide::{EndReason, Traffic, TransportType};
use std::time::Duration;

fn ended(sid: Sid, began_polling: bool) -> Ended {
    Ended {
        sid,
        client: None,
        protocol: ProtocolVersion::V3,
        transport: TransportType::Websocket,
        began_polling,
        reason: EndReason::ClientLeft,
        by_operator: false,
        lived: Duration::ZERO,
        traffic: Traffic::default(),
    }
}

#[test]
fn a_websocket_counts_as_a_connection_as_long_as_its_session() {
    let sessions = Arc::<Sessions>::default();
    let counted = sessions.connection(Origin::Unix, None);
    assert_eq!(sessions.connections(), 1);
    sessions.opened(None);
    sessions.has_websocket();
    drop(counted);
    assert_eq!((sessions.count(), sessions.connections()), (1, 1));
    sessions.ended(&ended(Sid::new(), false));

    let sid = Sid::new();
    sessions.opened(None);
    assert_eq!((sessions.count(), sessions.connections()), (1, 0));
    sessions.upgrades(sid);
    sessions.upgrades(sid);
    assert_eq!(sessions.connections(), 1);
    sessions.ended(&ended(sid, true));
    assert_eq!((sessions.count(), sessions.connections()), (0, 0));
    drop(sessions.connection(Origin::Worker, None));
    assert_eq!(sessions.connections(), 0);
}

#[test]
fn the_master_is_told_of_a_connection_when_it_is_taken_and_of_both_at_once() {
    let sessions = Arc::new(Sessions::new(true));
    let told = || {
        let Report {
            taken, connections, ..
        } = sessions.report();
        let clients = sessions.take_clients();
        (
            taken,
            connections,
            clients.first().map(|(_, it)| it.connections),
        )
    };
    let client = Some(IpAddr::from([192, 0, 2, 7]).into());
    let mut counted = sessions.connection(Origin::Unix, client);
    assert_eq!((sessions.open_connections(), told()), (1, (0, 0, None)));
    counted.taken();
    assert_eq!(told(), (1, 1, Some(1)));
    drop(counted);
    assert_eq!(told(), (1, 0, Some(-1)));
    // One that is over before its turn.
    drop(sessions.connection(Origin::Unix, client));
    assert_eq!(told(), (1, 0, None));
}

#[test]
fn the_master_is_told_the_end_of_a_revision_3_session_once_it_knows_it() {
    let sessions = Sessions::default();
    let sid = Sid::new();
    let bare = bare(sid).unwrap();
    sessions.opened(None);
    sessions.opened_eio3(bare);
    assert!(sessions.has_eio3(&bare));
    sessions.ended(&ended(sid, true));
    assert!(!sessions.has_eio3(&bare));
    assert_eq!(sessions.take_ended_eio3(), [bare]);
    // It ended while the master was told of it.
    sessions.registered_eio3(bare);
    assert_eq!(sessions.take_ended_eio3(), [bare]);
}
