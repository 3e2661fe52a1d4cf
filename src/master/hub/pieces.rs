//! The bytes of frames in a file that goes with the hub's state: each once, however many members they wait for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use bytes::{Bytes, BytesMut};
use rustix::fs::{MemfdFlags, memfd_create};

use super::handover::HubError;
use crate::ipc::carrier::Carrier;
use crate::wire::handover::Fd;
use crate::wire::handover::hub::Part;

/// Small pieces share memory, of about so many bytes: as they do when they are read from a member.
const TOGETHER: usize = 256 * 1024;
/// Pieces that one system call writes (writev(2)).
const BATCH: usize = 1024;

/// Pieces that are gathered.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    all: Vec<Bytes>,
    /// By where they end in memory: two that end at one place are the same bytes there. So the frame of the bridge, which
    /// has a head of its own, is for the rest the one that workers get.
    by_end: HashMap<usize, u32>,
}

impl Pieces {
    /// Puts bytes in, unless they are.
    pub(super) fn put(&mut self, bytes: &Bytes) -> io::Result<Option<Part>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let end = bytes.as_ptr_range().end.addr();
        let known = self.by_end.get(&end).copied();
        let known = known.and_then(|piece| {
            let whole = self.all.get(usize::try_from(piece).ok()?)?;
            let skip = whole.len().checked_sub(bytes.len())?;
            let skip = u32::try_from(skip).ok()?;
            Some(Part { piece, skip })
        });
        if known.is_some() {
            return Ok(known);
        }
        let piece = u32::try_from(self.all.len()).map_err(io::Error::other)?;
        self.all.push(bytes.clone());
        self.by_end.insert(end, piece);
        Ok(Some(Part { piece, skip: 0 }))
    }

    /// The lengths of all pieces, and the file with them, if anything is carried.
    pub(super) fn pack(&self, carrier: &mut Carrier) -> io::Result<(Vec<u32>, Option<Fd>)> {
        let lengths = self.all.iter().map(|piece| u32::try_from(piece.len()));
        let lengths = lengths
            .collect::<Result<_, _>>()
            .map_err(io::Error::other)?;
        if self.all.is_empty() || carrier.only_counts() {
            return Ok((lengths, None));
        }
        let mut file = File::from(memfd_create("my-app-frames", MemfdFlags::CLOEXEC)?);
        for batch in self.all.chunks(BATCH) {
            let mut slices: Vec<_> = batch.iter().map(|piece| IoSlice::new(piece)).collect();
            write_all(&mut file, &mut slices)?;
        }
        Ok((lengths, Some(carrier.put(file.as_fd())?)))
    }
}

fn write_all(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match file.write_vectored(slices)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut slices, written),
        }
    }
    Ok(())
}

/// Pieces as they came.
#[derive(Debug, Default)]
pub(super) struct Unpacked(Vec<Bytes>);

impl Unpacked {
    /// Reads the file.
    pub(super) fn read(file: Option<OwnedFd>, lengths: &[u32]) -> Result<Self, HubError> {
        let Some(file) = file else {
            return match lengths {
                [] => Ok(Self::default()),
                _ => Err(HubError::NoFrames),
            };
        };
        let mut file = File::from(file);
        let mut all = Vec::with_capacity(lengths.len());
        let mut rest = lengths;
        file.rewind()?;
        while !rest.is_empty() {
            let (mut sum, mut count) = (0, 0);
            while let Some(len) = rest.get(count)
                && sum < TOGETHER
            {
                sum += *len as usize;
                count += 1;
            }
            let (these, more) = rest.split_at(count);
            let mut memory = BytesMut::zeroed(sum);
            file.read_exact(&mut memory)?;
            let mut memory = memory.freeze();
            all.extend(these.iter().map(|len| memory.split_to(*len as usize)));
            rest = more;
        }
        match file.read(&mut [0])? {
            0 => Ok(Self(all)),
            _ => Err(HubError::NoFrames),
        }
    }

    /// The bytes that are meant.
    pub(super) fn get(&self, part: Option<Part>) -> Result<Bytes, HubError> {
        let Some(Part { piece, skip }) = part else {
            return Ok(Bytes::new());
        };
        let piece = self.0.get(piece as usize).ok_or(HubError::NoFrames)?;
        match skip as usize {
            skip if skip <= piece.len() => Ok(piece.slice(skip..)),
            _ => Err(HubError::NoFrames),
        }
    }
}
