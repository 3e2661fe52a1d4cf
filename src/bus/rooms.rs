//! How many rooms a socket may be in, and how long their names may be together.
//!
//! socketioxide's tables do not tell how many rooms a socket is in without copying them all. So joins are counted,
//! leaves are not, and only of a socket that may be in many rooms is it known which: a superset of those that it is
//! in, for it may leave in ways that do not come by here. Before somebody is refused, it is counted.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socketioxide_core::Sid;
use socketioxide_core::adapter::Room;

/// Up to so many joins nothing else is kept of a socket.
const FEW: usize = 1_000;
/// The names of a socket's rooms have so many bytes together at most: a name may come from a client, and each is kept
/// three times.
const MOST_BYTES: usize = 1 << 20;
/// The rooms of a socket that is refused again and again are counted once in this time.
const RECOUNT: Duration = Duration::from_secs(1);

thread_local! {
    static BY_ITSELF: Cell<bool> = const { Cell::new(false) };
}

/// Polls a join or leave of a socket of this worker that concerns it alone: it is known that it may, be it connected
/// or connecting.
pub(crate) fn by_itself<R>(poll: impl FnOnce() -> R) -> R {
    let outer = BY_ITSELF.replace(true);
    let outcome = poll();
    BY_ITSELF.set(outer);
    outcome
}

/// Is this called in [`by_itself`]?
pub(super) fn are_joined_by_itself() -> bool {
    BY_ITSELF.get()
}

/// A socket cannot join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManyRooms {
    /// It is in as many rooms as `limits.rooms_per_socket` allows.
    #[error("a socket may be in {0} rooms, and not in more")]
    Number(usize),
    /// The names of its rooms would be too long, all together.
    #[error("the names of a socket's rooms may have {0} bytes together, and no more")]
    Bytes(usize),
}

/// The sockets of one namespace that have joined rooms.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    sockets: Mutex<HashMap<Sid, Joined>>,
    /// How many of them have [`Joined::Many`].
    many: AtomicUsize,
}

#[derive(Debug)]
enum Joined {
    /// So many times, at most, in a room at this moment, with names of so many bytes.
    Few { count: usize, bytes: usize },
    Many {
        rooms: HashSet<Room>,
        bytes: usize,
        counted: Instant,
    },
}

impl Rooms {
    /// Counts rooms that a socket is about to join: all of them, or none. `present` tells those that it is in.
    pub(super) fn join(
        &self,
        id: Sid,
        new: &[Room],
        limit: usize,
        present: impl Fn() -> HashSet<Room>,
    ) -> Result<(), TooManyRooms> {
        if limit == 0 {
            return Ok(());
        }
        let few = FEW.min(limit);
        let mut sockets = self.lock();
        let joined = sockets
            .entry(id)
            .or_insert(Joined::Few { count: 0, bytes: 0 });
        if let Joined::Few { count, bytes } = joined {
            *count = count.saturating_add(new.len());
            *bytes = bytes.saturating_add(bytes_of(new));
            if *count <= few && *bytes <= MOST_BYTES {
                return Ok(());
            }
            let rooms = present();
            let now = (rooms.len() + new.len(), bytes_of(&rooms) + bytes_of(new));
            if now.0 <= few / 2 && now.1 <= MOST_BYTES / 2 {
                (*count, *bytes) = now;
                return Ok(());
            }
            self.many.fetch_add(1, Relaxed);
            *joined = Joined::many(rooms);
        }
        if joined.refuses(new, limit).is_some() && joined.was_counted_long_ago() {
            *joined = Joined::many(present());
        }
        if let Some(error) = joined.refuses(new, limit) {
            return Err(error);
        }
        if let Joined::Many { rooms, bytes, .. } = joined {
            for room in new {
                if rooms.insert(room.clone()) {
                    *bytes += room.len();
                }
            }
        }
        Ok(())
    }

    /// How many bytes the names of a socket's rooms have, at most.
    pub(super) fn bytes(&self, id: Sid) -> usize {
        match self.lock().get(&id) {
            Some(Joined::Few { bytes, .. } | Joined::Many { bytes, .. }) => *bytes,
            None => 0,
        }
    }

    /// Does it matter who leaves what?
    pub(super) fn are_many(&self) -> bool {
        self.many.load(Relaxed) > 0
    }

    /// A socket has left rooms.
    pub(super) fn left(&self, id: Sid, left: &[Room]) {
        let mut sockets = self.lock();
        let Some(joined) = sockets.get_mut(&id) else {
            return;
        };
        let Joined::Many { rooms, bytes, .. } = joined else {
            return;
        };
        for room in left {
            if rooms.remove(room) {
                *bytes -= room.len();
            }
        }
        if rooms.len() > FEW / 4 || *bytes > MOST_BYTES / 4 {
            return;
        }
        let (count, bytes) = (rooms.len(), *bytes);
        *joined = Joined::Few { count, bytes };
        self.many.fetch_sub(1, Relaxed);
    }

    /// Keeps nothing of a socket: it is in no room.
    pub(super) fn forget(&self, id: Sid) {
        if let Some(Joined::Many { .. }) = self.lock().remove(&id) {
            self.many.fetch_sub(1, Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sid, Joined>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joined {
    fn many(rooms: HashSet<Room>) -> Self {
        Self::Many {
            bytes: bytes_of(&rooms),
            rooms,
            counted: Instant::now(),
        }
    }

    fn was_counted_long_ago(&self) -> bool {
        matches!(self, Self::Many { counted, .. } if counted.elapsed() >= RECOUNT)
    }

    /// Why the new rooms are too many, if they are.
    fn refuses(&self, new: &[Room], limit: usize) -> Option<TooManyRooms> {
        let Self::Many { rooms, bytes, .. } = self else {
            return None;
        };
        let new: HashSet<_> = new.iter().filter(|room| !rooms.contains(*room)).collect();
        if new.is_empty() {
            None
        } else if rooms.len() + new.len() > limit {
            Some(TooManyRooms::Number(limit))
        } else if bytes + new.iter().map(|room| room.len()).sum::<usize>() > MOST_BYTES {
            Some(TooManyRooms::Bytes(MOST_BYTES))
        } else {
            None
        }
    }
}

fn bytes_of<'a>(rooms: impl IntoIterator<Item = &'a Room>) -> usize {
    rooms.into_iter().map(|room| room.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::ops::Range;

    const LIMIT: usize = 5_000;

    /// A socket, and the rooms that it is in.
    #[derive(Default)]
    struct Stage {
        rooms: Rooms,
        present: RefCell<HashSet<Room>>,
        counted: Cell<usize>,
    }

    fn names(range: Range<usize>) -> Vec<Room> {
        range.map(|n| n.to_string().into()).collect()
    }

    impl Stage {
        fn id() -> Sid {
            "0123456789abcdef".parse().unwrap()
        }

        fn join(&self, range: Range<usize>) -> bool {
            let new = names(range);
            let present = || {
                self.counted.set(self.counted.get() + 1);
                self.present.borrow().clone()
            };
            let joined = self.rooms.join(Self::id(), &new, LIMIT, present).is_ok();
            if joined {
                self.present.borrow_mut().extend(new);
            }
            joined
        }

        fn leave(&self, range: Range<usize>) {
            let left = names(range);
            self.rooms.left(Self::id(), &left);
            for room in &left {
                self.present.borrow_mut().remove(room);
            }
        }
    }

    #[test]
    fn a_socket_is_in_as_many_rooms_as_it_may_and_in_no_more() {
        let stage = Stage::default();
        for n in 0..LIMIT {
            assert!(stage.join(n..n + 1), "{n}");
        }
        for _ in 0..100 {
            assert!(!stage.join(LIMIT..LIMIT + 1));
        }
        assert!(stage.join(0..100), "it is in these");
        stage.leave(0..10);
        assert!(!stage.join(LIMIT..LIMIT + 11), "all or none");
        assert!(stage.join(LIMIT..LIMIT + 10));
        assert!(!stage.join(0..1));
        assert_eq!(stage.counted.get(), 1, "when it became many");
    }

    #[test]
    fn who_joins_and_leaves_all_the_time_is_in_few_rooms() {
        let stage = Stage::default();
        for n in 0..LIMIT * 3 {
            assert!(stage.join(n..n + 1));
            stage.leave(n..n + 1);
        }
        assert!(!stage.rooms.are_many());
        assert!(stage.counted.get() <= LIMIT * 3 / FEW);
    }

    #[test]
    fn who_leaves_most_rooms_is_counted_only_again() {
        let stage = Stage::default();
        assert!(stage.join(0..LIMIT));
        assert!(stage.rooms.are_many());
        stage.leave(0..LIMIT - 1);
        assert!(!stage.rooms.are_many());
        assert!(stage.join(0..LIMIT) && stage.rooms.are_many());
        stage.rooms.forget(Stage::id());
        assert!(!stage.rooms.are_many() && stage.rooms.lock().is_empty());
    }

    #[test]
    fn what_was_left_in_other_ways_is_found_before_somebody_is_refused() {
        let stage = Stage::default();
        assert!(stage.join(0..LIMIT));
        stage.present.borrow_mut().clear();
        if let Some(Joined::Many { counted, .. }) = stage.rooms.lock().get_mut(&Stage::id()) {
            *counted -= RECOUNT;
        }
        assert!(stage.join(LIMIT..LIMIT * 2));
        assert!(!stage.join(0..1));
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let rooms = Rooms::default();
        let none = HashSet::new;
        assert!(rooms.join(Stage::id(), &names(0..20_000), 0, none).is_ok());
        assert!(rooms.lock().is_empty());
    }

    #[test]
    fn a_small_limit_is_kept() {
        let rooms = Rooms::default();
        let present = || names(0..3).into_iter().collect();
        for n in 0..3 {
            let new = names(n..n + 1);
            assert!(rooms.join(Stage::id(), &new, 3, present).is_ok());
        }
        let refused = rooms.join(Stage::id(), &names(3..4), 3, present);
        assert_eq!(refused, Err(TooManyRooms::Number(3)));
    }

    #[test]
    fn names_have_so_many_bytes_together_and_what_was_left_does_not_count() {
        let rooms = Rooms::default();
        let name = |n: usize| vec![Room::from(format!("{n:0>32768}"))];
        let most = MOST_BYTES / 32_768;
        let all = |most: usize| (0..most).flat_map(name).collect::<HashSet<_>>();
        for n in 0..most {
            let joined = rooms.join(Stage::id(), &name(n), LIMIT, || all(n));
            assert!(joined.is_ok(), "{n}");
        }
        assert_eq!(rooms.bytes(Stage::id()), MOST_BYTES);
        for _ in 0..2 {
            let refused = rooms.join(Stage::id(), &name(most), LIMIT, || all(most));
            assert_eq!(refused, Err(TooManyRooms::Bytes(MOST_BYTES)));
        }
        assert!(
            rooms
                .join(Stage::id(), &name(0), LIMIT, || all(most))
                .is_ok()
        );
        for n in 0..most {
            rooms.left(Stage::id(), &name(n));
        }
        assert!(!rooms.are_many() && rooms.bytes(Stage::id()) <= MOST_BYTES / 4);
        for n in 0..most * 4 {
            let joined = rooms.join(Stage::id(), &name(n), LIMIT, HashSet::new);
            assert!(joined.is_ok(), "it has left the others: {n}");
        }
    }
}
