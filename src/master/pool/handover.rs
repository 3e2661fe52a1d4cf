//! What travels of the pool. Its members travel with the workers, and join again.

use std::cell::{Cell, RefCell};

use super::{Pool, Reservation};
use crate::config::{Balance, Limits};
use crate::master::balance::Balancer;
use crate::wire::handover::pool::{PoolState, ReservationState};
use crate::wire::session_id::Keyring;

impl Pool {
    /// All but its members, and how fast sessions were opened lately.
    pub(crate) fn pack(&self) -> PoolState {
        let reservations = self.reservations.borrow();
        let reservations = reservations.iter().map(|(&number, it)| ReservationState {
            number,
            member: it.member,
            asker: it.asker,
            client: it.client,
        });
        let eio3 = self.eio3.borrow();
        PoolState {
            keyring: Some(self.keyring.clone()),
            current: self.current.get(),
            last: self.balancer.borrow().last(),
            next_reservation: self.next_reservation.get(),
            reservations: reservations.collect(),
            eio3: eio3.iter().map(|(&sid, &home)| (sid, home)).collect(),
            taken_out: self.taken_out.get(),
        }
    }

    /// The pool as it was, under these limits. `fresh`: its key, should none have travelled.
    pub(crate) fn adopt(
        state: PoolState,
        method: Balance,
        limits: &Limits,
        fresh: Keyring,
    ) -> Self {
        let reservations = state.reservations.into_iter().map(|it| {
            let reservation = Reservation {
                member: it.member,
                asker: it.asker,
                client: it.client,
            };
            (it.number, reservation)
        });
        Self {
            balancer: RefCell::new(Balancer::after(method, state.last)),
            current: Cell::new(state.current),
            next_reservation: Cell::new(state.next_reservation),
            reservations: RefCell::new(reservations.collect()),
            eio3: RefCell::new(state.eio3.into_iter().collect()),
            taken_out: Cell::new(state.taken_out),
            ..Self::new(method, limits, state.keyring.unwrap_or(fresh))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::ipc::link::{Link, pair};
    use crate::master::member::Member;
    use crate::wire::session_id::Home;

    fn member(generation: u16, slot: u16) -> (Rc<Member>, std::os::fd::OwnedFd) {
        let (ours, theirs) = pair().unwrap();
        let home = Home { generation, slot };
        let member = Member::new(home, 1, Link::new(ours).unwrap());
        (Rc::new(member), theirs)
    }

    #[tokio::test]
    async fn reservations_ids_and_whose_turn_it_is_go_on() {
        let limits = Limits::default();
        let keyring = Keyring::draw(9).unwrap();
        let before = Pool::new(Balance::RoundRobin, &limits, keyring);
        before.set_current(5);
        let workers: Vec<_> = [(4, 0), (5, 0), (5, 1)].map(|(g, s)| member(g, s)).into();
        for (member, _) in &workers {
            before.add(Rc::clone(member));
        }
        let asker = &workers[0].0;
        let place = before.reserve(asker, None, false, None).unwrap();
        assert_eq!(place.home, workers[1].0.home);
        before.eio3_opened(*b"aaaaaaaaaaaaaaaa", asker.home);
        before.set_taken_out(true);

        let state = before.pack();
        let bytes = postcard::to_stdvec(&state).unwrap();
        let read: PoolState = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(read, state);
        let fresh = Keyring::draw(1).unwrap();
        let after = Pool::adopt(read, Balance::RoundRobin, &limits, fresh);
        assert_eq!(after.pack(), state);
        for (member, _) in &workers {
            after.add(Rc::clone(member));
        }
        assert!(after.is_taken_out());
        assert_eq!(after.keyring().machine(), 9);
        assert_eq!(after.eio3_home(b"aaaaaaaaaaaaaaaa"), Some(asker.home));
        // It is the next one's turn, and numbers go on.
        let next = after.reserve(asker, None, false, None).unwrap();
        assert_eq!(next.home, workers[2].0.home);
        assert_eq!(next.reservation, place.reservation + 1);
        assert_eq!(workers[1].0.load(), 1);
        after.release(place.reservation);
        after.release(place.reservation);
        assert_eq!(workers[1].0.load(), 0);
        after.remove(asker);
        assert_eq!(workers[2].0.load(), 0);
    }

    #[tokio::test]
    async fn what_is_new_goes_to_the_current_generation_and_the_others_keep_what_they_have() {
        let limits = Limits {
            max_connections: 2,
            ..Limits::default()
        };
        let keyring = Keyring::draw(1).unwrap();
        let pool = Pool::new(Balance::LeastConnection, &limits, keyring);
        let (old, _old_link) = member(0, 0);
        pool.add(Rc::clone(&old));
        assert_eq!(pool.choose(true, None).unwrap().home, old.home);
        let (new, _new_link) = member(1, 0);
        pool.add(Rc::clone(&new));
        assert_eq!(pool.ready(), 1);
        assert_eq!(pool.choose(false, None).unwrap().home, old.home);
        pool.set_current(1);
        assert_eq!((pool.ready_of(0), pool.ready_of(1)), (1, 1));
        assert_eq!(pool.choose(false, Some(0)).unwrap().home, new.home);
        // All count, whoever has them.
        assert!(!pool.is_full());
        assert!(pool.reserve(&old, None, false, None).is_ok());
        assert!(pool.is_full());
        assert_eq!(pool.at(old.home).map(|it| it.home), Some(old.home));
        pool.remove(&old);
        assert!(pool.at(old.home).is_none());
        assert_eq!(pool.at(new.home).map(|it| it.load()), Some(0));
    }
}
