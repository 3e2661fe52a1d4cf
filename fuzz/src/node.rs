//! Any bytes at all, as a message of a Node server on each of its channels: an error, or something for the workers or for
//! Node, never a panic. What is for the workers are frames that they can read, and what has begun ends.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

// Paths in it are as seen from here.
#[path = "."]
mod bridge {
    #[path = "../../src/bridge/node/mod.rs"]
    pub(crate) mod node;
    #[path = "../../src/bridge/notepack/mod.rs"]
    pub(crate) mod notepack;

    pub(crate) mod transport {
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) enum Channel {
            Exact(String),
            Pattern(String),
        }
    }

    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions};

    use self::node::{Node, NodeSettings, Output};
    use self::notepack::Parser;
    use crate::wire::frame::{Body, BusMember, Frame, Question};

    pub(crate) fn run(which: u8, data: &Bytes) {
        let now = Instant::now();
        let settings = NodeSettings {
            key: "K".to_owned(),
            emitter: which & 2 == 0,
            parser: [Parser::Common, Parser::Msgpack][usize::from(which & 1)],
            id: "nodes_nodes_node".parse().expect("an id"),
        };
        let mut node = Node::new(settings);
        let worker = BusMember {
            id: "worker_worker_00".parse().expect("an id"),
            slot: 0,
            pid: 1,
            machine: "".into(),
        };
        let id = worker.id;
        node.members(now, &[worker]);
        let from_worker = |body| Frame {
            to: None,
            from: id,
            body,
        };
        let (ns, is_here) = ("/".into(), true);
        node.local(now, from_worker(Body::Namespace { ns, is_here }));
        node.connected();
        // Two questions of ours, numbers 0 and 1: what is heard may be their answers.
        let mut opts = BroadcastOptions::default();
        opts.add_flag(BroadcastFlags::Broadcast);
        let (ns, ticket) = ("/".into(), 1);
        let question = Question::Sockets { ns, opts };
        node.local(now, from_worker(Body::Ask { ticket, question }));
        let (event, data_of_it) = ("e".into(), Bytes::from_static(b"1"));
        let question = Question::ServerSide {
            event,
            data: data_of_it,
        };
        node.local(now, from_worker(Body::Ask { ticket, question }));
        while let Some(output) = node.poll() {
            if let Output::NumSub { id, .. } = output {
                node.counted(now, id, Some(if id % 2 == 0 { 3 } else { 1 }));
            }
        }
        let (channel, pattern) = match which >> 1 & 3 {
            0 => ("K#/#", Some("K#/#*")),
            1 => ("K-request#/#", None),
            _ => ("K-response#/#", None),
        };
        assert!(node.received(now, channel, pattern, data));
        let later = now + Duration::from_secs(2);
        node.tick(later);
        node.tick(later + Duration::from_secs(2 * 60 * 60));
        assert_eq!(node.next_deadline(), None);
        while let Some(output) = node.poll() {
            if let Output::Deliver(frame) = output {
                Frame::decode(&frame).expect("workers can read it");
            }
        }
    }
}

#[path = "."]
mod wire {
    #[path = "../../src/wire/envelope/mod.rs"]
    pub(crate) mod envelope;
    #[path = "../../src/wire/frame/mod.rs"]
    pub(crate) mod frame;
}

fuzz_target!(|data: &[u8]| {
    if let Some((which, data)) = data.split_first() {
        bridge::run(*which, &Bytes::copy_from_slice(data));
    }
});
