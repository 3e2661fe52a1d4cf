//! The bus: its members, what waits for them, and what they have sent that nobody has yet.
//!
//! The bytes of frames are not in here: that may be hundreds of megabytes. They are in a file of their own
//! (`memfd_create(2)`), one piece after the other, and a frame that waits for several members is there once.

use serde::{Deserialize, Serialize};
use socketioxide_core::Sid;

use super::Fd;
use super::listeners::ListenerState;

/// The hub.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HubState {
    /// The file with all pieces; none when there are none, or when nothing is carried.
    pub file: Option<Fd>,
    /// The length of each piece, in bytes.
    pub pieces: Vec<u32>,
    /// Those that have not yet said who they are.
    pub joining: Vec<JoiningState>,
    /// The workers, in the order in which they came.
    pub seats: Vec<SeatState>,
    /// The way to other machines.
    pub far: FarState,
    /// Where bridges come in that somebody else started.
    pub door: Option<ListenerState>,
}

/// Some bytes: all of a piece but for its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Which piece.
    pub piece: u32,
    /// How much of its beginning is not meant, in bytes.
    pub skip: u32,
}

/// A connection with the hub.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LineState {
    /// Its descriptor.
    pub stream: Fd,
    /// What was read and is not yet cut into frames.
    pub received: Option<Part>,
    /// The frame that was read and is not yet passed on.
    pub in_hand: Option<Part>,
}

/// What waits to be written.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueueState {
    /// The frames, each in two parts.
    pub frames: Vec<[Option<Part>; 2]>,
    /// How much of the first one is written, in bytes.
    pub written: u64,
}

/// A process that has not yet said who it is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JoiningState {
    /// The process.
    pub pid: u32,
    /// The number of the worker; none: it is to be the bridge.
    pub slot: Option<u16>,
    /// Its connection.
    pub line: LineState,
}

/// A worker on the bus.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SeatState {
    /// Its id on the bus.
    pub id: Sid,
    /// Its number.
    pub slot: u16,
    /// Its process.
    pub pid: u32,
    /// The version of its frames.
    pub version: u8,
    /// It has not answered for long.
    pub silent: bool,
    /// More waited for it than may.
    pub overflowed: bool,
    /// Its connection.
    pub line: LineState,
    /// What waits for it.
    pub queue: QueueState,
}

/// What there is of other machines.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FarState {
    /// None: there was to be no bridge.
    pub identity: Option<IdentityState>,
    /// The version of the frames of the last bridge.
    pub version: Option<u8>,
    /// How many bridges there were.
    pub epoch: u32,
    /// How many frames there were for them.
    pub passed: u64,
    /// How many of these found no bridge, or no room.
    pub lost: u64,
    /// What waits for the bridge, or for the next one.
    pub queue: QueueState,
    /// The bridge of this moment.
    pub bridge: Option<BridgeSeatState>,
    /// For how long there has been no bridge, in milliseconds.
    pub left_ms: Option<u64>,
    /// The members on the other machines.
    pub elsewhere: Vec<MemberState>,
    /// They, and those of before.
    pub known: Vec<Sid>,
    /// The number of the last frame of each of them.
    pub last: Vec<(Sid, u64)>,
    /// How far bridges are in what other machines send.
    pub heard: Vec<HeardState>,
    /// What bridges that are gone had counted, by their numbers.
    pub counted: Vec<(u32, Vec<u64>)>,
}

/// How far bridges are in what another machine sends.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeardState {
    /// The other master's incarnation.
    pub incarnation: u64,
    /// Which of its bridges.
    pub epoch: u32,
    /// No batch is needed up to this number.
    pub n: u64,
    /// No frame of the other hub's is missing up to this number.
    pub hub: u64,
    /// How many frames for all there were up to `n`.
    pub common: u64,
    /// How many frames for this machine alone there were up to `n`.
    pub directed: u64,
    /// How long ago that was told, in milliseconds.
    pub age_ms: u64,
}

/// What bridges are told of the server.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct IdentityState {
    /// Drawn at the first start.
    pub incarnation: u64,
    /// The machine's number.
    pub machine: u16,
    /// The machine's name.
    pub name: String,
}

/// The bridge on the bus.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BridgeSeatState {
    /// Its id on the bus.
    pub id: Sid,
    /// Its process.
    pub pid: u32,
    /// The version of its frames.
    pub version: u8,
    /// How many bridges there were, this one among them.
    pub epoch: u32,
    /// Is it connected to the other machines?
    pub is_up: bool,
    /// Has it said who the members elsewhere are?
    pub has_told: bool,
    /// It has given no sign of life for long.
    pub silent: bool,
    /// How long ago it gave the last one, in milliseconds.
    pub heard_ms: u64,
    /// For how long it has been there, in milliseconds.
    pub age_ms: u64,
    /// What it told of itself last, as JSON.
    pub report: Option<Vec<u8>>,
    /// Its connection.
    pub line: LineState,
}

/// A member on another machine.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemberState {
    /// Its id.
    pub id: Sid,
    /// Its number.
    pub slot: u16,
    /// Its process.
    pub pid: u32,
    /// Its machine's name.
    pub machine: String,
}
