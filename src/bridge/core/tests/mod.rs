//! The rules one by one (`rules`), in a `fleet` that does what a test says; and all of them together in a `world` that
//! loses, repeats, delays and cuts (`simulation`).

mod chance;
mod fleet;
mod rules;
mod simulation;
mod world;

use std::time::Duration;

use bytes::Bytes;
use socketioxide_core::Sid;

use super::{CoreSettings, RING_BYTES};
use crate::wire::frame::{Body, BusMember, Frame, Head, number_for_bridge};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The usual settings of a machine's bridge.
fn settings(nth: usize) -> CoreSettings {
    CoreSettings {
        prefix: "p".into(),
        name: format!("m{nth}").into(),
        machine: u16::try_from(nth).unwrap(),
        incarnation: 1000 + nth as u64,
        epoch: 1,
        passed: 0,
        catch_up: 60 * SECOND,
        ring_bytes: RING_BYTES,
        hub_drops_repeats: false,
        heard: Vec::new(),
    }
}

/// The member of a machine.
fn member(machine: usize) -> BusMember {
    BusMember {
        id: format!("member_of_mach{machine:02}").parse().unwrap(),
        slot: 0,
        pid: 7,
        machine: format!("m{machine}").into(),
    }
}

/// A frame that says a number.
fn frame(from: usize, to: Option<usize>, says: u64) -> Bytes {
    let body = Body::ServerSide {
        event: "e".into(),
        data: says.to_le_bytes().to_vec().into(),
    };
    of(from, to, body)
}

fn of(from: usize, to: Option<usize>, body: Body) -> Bytes {
    let frame = Frame {
        to: to.map(|to| member(to).id),
        from: member(from).id,
        body,
    };
    frame.encode().unwrap()
}

/// The frame as the hub numbers it.
fn numbered(frame: &Bytes, number: u64) -> Bytes {
    number_for_bridge(frame, number).concat().into()
}

/// Who says which number.
fn said(frame: &Bytes) -> (Sid, u64) {
    let Body::ServerSide { data, .. } = Frame::decode(frame).unwrap().body else {
        panic!("another kind of frame");
    };
    let number = u64::from_le_bytes(data[..8].try_into().unwrap());
    (Head::read(frame).unwrap().from, number)
}
