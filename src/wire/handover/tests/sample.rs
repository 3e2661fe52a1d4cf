//! A state that has something everywhere.

use socketioxide_core::Sid;

use crate::wire::client::ClientKey;
use crate::wire::control::{Ended, Reason, Traffic, TransportName};
use crate::wire::handover::connections::{ConnectionStage, ConnectionState};
use crate::wire::handover::control::{
    AskedState, CountedState, End, EndsState, KeptEnd, LogState, SlotCounts, TotalsState,
};
use crate::wire::handover::hub::{
    BridgeSeatState, FarState, HeardState, IdentityState, JoiningState, LineState,
    MemberState as FarMember, Part, QueueState, SeatState,
};
use crate::wire::handover::listeners::ListenerState;
use crate::wire::handover::pool::ReservationState;
use crate::wire::handover::workers::{
    ChildState, GenerationState, MemberState, Occupant, Reply, SlotState, WorkerState,
};
use crate::wire::handover::*;
use crate::wire::link::{Handoff, LetIn, NoPlace, Origin, Place, Report};
use crate::wire::session_id::{Home, Keyring};

/// No place, name or number in it is a machine's.
pub(super) fn state() -> State {
    State {
        program: program(),
        workers: workers(),
        pool: pool(),
        connections: connections(),
        listeners: listening(),
        hub: hub(),
        control: control(),
    }
}

pub(super) fn program() -> ProgramState {
    ProgramState {
        path: "/bin/server".into(),
        version: "1.2.3".to_owned(),
        bus: 4,
        config: r#"{"workers":2}"#.to_owned(),
        has_own_bridge: true,
        taken_out_ms: Some(30_000),
        waiting: vec![Fd(0), Fd(1)],
        file: Some((64_512, 131_072)),
        frozen_at_ns: 1_000_000_007,
    }
}

const fn home(generation: u16, slot: u16) -> Home {
    Home { generation, slot }
}

fn sid(n: u8) -> Sid {
    format!("member_or_sock{n:02}").parse().unwrap()
}

fn client(n: u8) -> Origin {
    Origin::Tcp(([192, 0, 2, n], 1024).into())
}

fn handoff() -> Handoff {
    Handoff {
        origin: client(1),
        port_of: Some(1),
        opens: true,
        reservation: Some(8),
        admitted: Some(LetIn {
            until_ms: Some(1_800_000_000_000),
        }),
        age_ms: 12,
        head: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    }
}

fn child(pid: u32, pidfd: u32) -> ChildState {
    let pidfd = Fd(pidfd);
    ChildState { pid, pidfd }
}

fn worker(home: Home, fd: u32) -> WorkerState {
    let reservation = 8;
    let place = Place { home, reservation };
    WorkerState {
        child: child(100 + fd, fd),
        age_ms: 60_000,
        ready: true,
        rounds: 3,
        unanswered: 3,
        told_to_leave: home.generation == 0,
        log_level: Some("debug".to_owned()),
        log_reopened: 2,
        knows_config: home.slot == 0,
        member: MemberState {
            home,
            link: Fd(fd + 1),
            report: Report {
                taken: 40,
                resolved: 39,
                sessions: 30,
                connections: 31,
            },
            told_ends: 9,
            dispatched: 41,
            stalled: false,
            clients: vec![
                (ClientKey::V4([192, 0, 2, 1].into()), 2, 1),
                (ClientKey::V6(0x2001_0db8_0000_0001), 1, 0),
            ],
            unacknowledged: vec![(Fd(fd + 2), handoff())],
            replies: vec![
                Reply::Eio3 {
                    ticket: 5,
                    home: Some(home),
                },
                Reply::Home {
                    ticket: 6,
                    place: Ok(place),
                },
                Reply::Home {
                    ticket: 7,
                    place: Err(NoPlace::ClientRate),
                },
            ],
        },
    }
}

fn slot(slot: u16, occupant: Occupant) -> SlotState {
    SlotState {
        slot,
        pause_ms: 500,
        failures: 2,
        why: Some("exit status: 1".to_owned()),
        had_served: true,
        occupant,
    }
}

pub(super) fn workers() -> WorkersState {
    let before = vec![
        slot(0, Occupant::Worker(worker(home(0, 0), 2))),
        slot(1, Occupant::Left),
    ];
    let now = vec![
        slot(0, Occupant::Worker(worker(home(1, 0), 5))),
        slot(1, Occupant::Nobody { wait_ms: 250 }),
    ];
    let generation = |number, drains_ms, slots| GenerationState {
        number,
        config: br#"{"workers":2}"#.to_vec(),
        drains_ms,
        ever_ready: true,
        slots,
    };
    WorkersState {
        generations: vec![
            generation(0, Some(20_000), before),
            generation(1, None, now),
        ],
        last: 1,
        next_question: 17,
        bridge: Some(child(90, 8)),
    }
}

pub(super) fn pool() -> PoolState {
    // A key is drawn; this one is made of what a drawn one would be read from.
    let keyring: Keyring = postcard::from_bytes(&[[7; 32].as_slice(), &[12]].concat()).unwrap();
    PoolState {
        keyring: Some(keyring),
        current: 1,
        last: Some(home(1, 0)),
        next_reservation: 9,
        reservations: vec![ReservationState {
            number: 8,
            member: home(1, 0),
            asker: home(0, 0),
            client: Some(ClientKey::V4([192, 0, 2, 1].into())),
        }],
        eio3: vec![(*b"member_or_sock03", home(0, 0))],
        taken_out: true,
    }
}

pub(super) fn connections() -> ConnectionsState {
    let stages = [
        ConnectionStage::Unrouted,
        ConnectionStage::TooMany { of_client: true },
        ConnectionStage::Passing {
            to: home(1, 0),
            handoff: handoff(),
            reservation: Some(8),
        },
        ConnectionStage::Answering {
            left: b"HTTP/1.1 503".to_vec(),
        },
    ];
    let origins = [client(1), client(2), Origin::Worker, Origin::Unix];
    let connections = stages.into_iter().zip(origins).zip(9..);
    let connections = connections.map(|((stage, origin), fd)| ConnectionState {
        fd: Fd(fd),
        origin,
        port_of: (fd == 10).then_some(0),
        age_ms: 100 * fd,
        stage,
    });
    ConnectionsState {
        connections: connections.collect(),
    }
}

/// The listeners.
pub(super) fn listening() -> ListenersState {
    ListenersState {
        listeners: listeners(),
        missing_units: vec!["server-b.socket".to_owned()],
        refused: vec!["[::1]:81: there is no such address".to_owned()],
    }
}

fn listeners() -> Vec<ListenerState> {
    let tcp = ListenerState {
        fd: Fd(13),
        configured: Some("127.0.0.1:80".to_owned()),
        address: Some(([127, 0, 0, 1], 80).into()),
        place: "http://127.0.0.1".to_owned(),
        file: None,
        caught_up: true,
        port_of: Some(0),
    };
    let unix = ListenerState {
        fd: Fd(14),
        configured: None,
        address: None,
        place: "unix:/socket".to_owned(),
        file: Some("/socket".into()),
        caught_up: false,
        port_of: None,
    };
    vec![tcp, unix]
}

fn part(piece: u32, skip: u32) -> Part {
    Part { piece, skip }
}

fn line(fd: u32) -> LineState {
    LineState {
        stream: Fd(fd),
        received: Some(part(0, 3)),
        in_hand: Some(part(1, 0)),
    }
}

fn queue() -> QueueState {
    QueueState {
        frames: vec![
            [Some(part(1, 0)), Some(part(2, 4))],
            [Some(part(2, 0)), None],
        ],
        written: 11,
    }
}

pub(super) fn hub() -> HubState {
    HubState {
        file: Some(Fd(15)),
        pieces: vec![40, 900, 12],
        joining: vec![JoiningState {
            pid: 120,
            slot: Some(1),
            line: line(16),
        }],
        seats: vec![SeatState {
            id: sid(1),
            slot: 0,
            pid: 102,
            version: 4,
            silent: true,
            overflowed: true,
            line: line(17),
            queue: queue(),
        }],
        far: far(),
        door: listeners().pop(),
    }
}

fn far() -> FarState {
    FarState {
        identity: Some(IdentityState {
            incarnation: 77,
            machine: 12,
            name: "one".to_owned(),
        }),
        version: Some(4),
        epoch: 2,
        passed: 1000,
        lost: 1,
        queue: queue(),
        bridge: Some(BridgeSeatState {
            id: sid(2),
            pid: 90,
            version: 4,
            epoch: 2,
            is_up: true,
            has_told: true,
            silent: false,
            heard_ms: 200,
            age_ms: 5000,
            report: Some(b"{}".to_vec()),
            line: line(18),
        }),
        left_ms: Some(300),
        elsewhere: vec![FarMember {
            id: sid(4),
            slot: 1,
            pid: 300,
            machine: "two".to_owned(),
        }],
        known: vec![sid(4), sid(5)],
        last: vec![(sid(4), 55)],
        heard: vec![HeardState {
            incarnation: 78,
            epoch: 1,
            n: 20,
            hub: 19,
            common: 18,
            directed: 2,
            age_ms: 100,
        }],
        counted: vec![(1, vec![3, 4])],
    }
}

pub(super) fn control() -> ControlState {
    let counts = |slot| SlotCounts {
        slot,
        generation: Some(1),
        workers: vec![CountedState {
            pid: 102,
            values: vec![1, 1 << 40],
            waits_in_hub: 900,
            table: 1,
        }],
        kept: vec![5, 6],
    };
    let ended = End::One(Ended {
        socket_id: "member_or_sock06".to_owned(),
        address: Some([192, 0, 2, 1].into()),
        at_ms: 1_800_000_000_000,
        lived_ms: 5000,
        transport: TransportName::WebSocket,
        traffic: Traffic {
            bytes_in: 10,
            bytes_out: 20,
            messages_in: 1,
            messages_out: 2,
        },
        reason: Reason::PingTimeout,
        by_operator: false,
    });
    let died = End::Worker {
        at_ms: 1_800_000_000_001,
        sessions: 3,
    };
    let kept = [ended, died].map(|end| KeptEnd {
        slot: 1,
        pid: 103,
        end,
    });
    let names = |names: [&str; 2]| names.map(str::to_owned).into();
    let mut metrics = listeners();
    ControlState {
        started_at_ms: 1_799_999_000_000,
        totals: TotalsState {
            tables: vec![
                names(["events 1", "bytes 1"]),
                names(["bytes 1", "acks in"]),
            ],
            own: vec![7, 8],
            slots: vec![counts(0), counts(1)],
            bridge: counts(0),
        },
        ends: EndsState {
            kept: kept.into(),
            totals: vec![(Reason::PingTimeout, 1), (Reason::WorkerGone, 3)],
        },
        faults: vec![(1_799_999_500_000, "worker 1 did not start".to_owned())],
        log: LogState {
            level: Some("trace".to_owned()),
            for_ms: Some(60_000),
            reopened: 2,
        },
        asked: AskedState {
            control: metrics.pop(),
            metrics,
        },
    }
}
