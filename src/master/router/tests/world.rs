use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::net::{RecvFlags, Shutdown};
use tokio::task::spawn_local;

use crate::config::{Balance, Config};
use crate::ipc::link::{Inbox, Link, pair};
use crate::master::member::Member;
use crate::master::pool::Pool;
use crate::wire::link::{Handoff, Report, ToWorker};
use crate::wire::session_id::{Home, Keyring};

/// What answers and what is taken.
pub(super) struct World {
    pub(super) pool: Rc<Pool>,
    pub(super) members: Vec<Rc<Member>>,
    /// The workers' ends.
    pub(super) links: Vec<Link>,
    /// How many connections each has taken.
    pub(super) taken: Vec<Rc<Cell<u64>>>,
}

impl World {
    pub(super) fn with_slots(slots: &[u16]) -> Self {
        let config = Config::default();
        let keyring = Keyring::draw(1).unwrap();
        let pool = Pool::new(Balance::LeastConnection, &config.limits, keyring);
        let mut world = Self {
            pool: Rc::new(pool),
            members: Vec::new(),
            links: Vec::new(),
            taken: Vec::new(),
        };
        for &slot in slots {
            let (ours, theirs) = pair().unwrap();
            let member = Member::new(home(slot), 1, Link::new(ours).unwrap());
            let member = Rc::new(member);
            world.pool.add(Rc::clone(&member));
            world.members.push(member);
            world.links.push(Link::new(theirs).unwrap());
        }
        world
    }

    /// Each worker answers what it is given with its number, the head beside it and what is there to be read.
    pub(super) fn serve(&mut self) {
        for (member, link) in self.members.iter().map(Rc::clone).zip(self.links.drain(..)) {
            let count = Rc::<Cell<u64>>::default();
            self.taken.push(Rc::clone(&count));
            let pool = Rc::clone(&self.pool);
            spawn_local(async move {
                let mut inbox = Inbox::default();
                while let Ok((message, passed)) = link.recv::<ToWorker>(&mut inbox).await {
                    if let (ToWorker::Take(handoff), Some(conn)) = (message, passed) {
                        answer(member.home.slot, &handoff, &conn);
                        count.set(count.get() + 1);
                        let (taken, resolved) = (count.get(), count.get());
                        member.reported(Report {
                            taken,
                            resolved,
                            ..Report::default()
                        });
                        pool.look_again();
                    }
                }
            });
        }
    }
}

pub(super) fn home(slot: u16) -> Home {
    Home {
        generation: 0,
        slot,
    }
}

fn answer(slot: u16, handoff: &Handoff, conn: &OwnedFd) {
    let mut request = [0; 200];
    let read = rustix::net::recv(conn, &mut request[..], RecvFlags::DONTWAIT);
    let read = read.map_or(0, |(count, _)| count);
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let head = String::from_utf8_lossy(&handoff.head);
    let text = format!("{slot} has [{head}][{request}]");
    rustix::io::write(conn, text.as_bytes()).unwrap();
    rustix::net::shutdown(conn, Shutdown::Both).unwrap();
}
