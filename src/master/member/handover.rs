//! What travels of a member to the program that takes the master's place.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use tokio::time::Instant;

use super::{Held, Member, PATIENCE, Unacknowledged, WINDOW};
use crate::ipc::carrier::{Carrier, CarrierError, Luggage};
use crate::ipc::link::Link;
use crate::wire::handover::workers::MemberState;

impl Member {
    /// What there is between the master and the worker; nothing is changed.
    ///
    /// # Errors
    /// When the descriptors cannot be put in.
    pub(crate) fn pack(&self, carrier: &mut Carrier) -> io::Result<MemberState> {
        let link = carrier.put(self.link.as_fd())?;
        let mut unacknowledged = Vec::new();
        for sent in self.unacknowledged.borrow().iter() {
            unacknowledged.push((carrier.put(sent.conn.as_fd())?, sent.handoff.clone()));
        }
        let clients = self.clients.borrow();
        let clients = clients
            .iter()
            .map(|(&client, held)| (client, held.sessions, held.connections));
        let replies = self.replies.borrow();
        Ok(MemberState {
            home: self.home,
            link,
            report: self.report.get(),
            told_ends: self.told_ends.get(),
            // A connection that has not departed is dispatched anew.
            dispatched: self.dispatched.get().saturating_sub(self.expected.get()),
            stalled: self.stalled.get(),
            clients: clients.collect(),
            unacknowledged,
            replies: replies.iter().map(|(reply, _)| *reply).collect(),
        })
    }

    /// The member as it was.
    ///
    /// # Errors
    /// When a descriptor is missing, or cannot be watched.
    pub(crate) fn adopt(
        state: MemberState,
        pid: u32,
        luggage: &mut Luggage,
    ) -> Result<Self, CarrierError> {
        let member = Self::new(state.home, pid, Link::new(luggage.take(state.link)?)?);
        member.report.set(state.report);
        member.told_ends.set(state.told_ends);
        member.dispatched.set(state.dispatched);
        member.stalled.set(state.stalled);
        let clients = state.clients.into_iter();
        member.clients.replace(
            clients
                .map(|(client, sessions, connections)| {
                    let held = Held {
                        sessions,
                        connections,
                    };
                    (client, held)
                })
                .collect(),
        );
        member
            .window
            .forget_permits(state.unacknowledged.len().min(WINDOW));
        for (conn, handoff) in state.unacknowledged {
            let conn = Rc::new(luggage.take(conn)?);
            // When they were dispatched is not known any more; that they were is.
            if handoff.is_paced() {
                member.pace.borrow_mut().sent(Instant::now().into_std());
            }
            let sent = Unacknowledged { conn, handoff };
            member.unacknowledged.borrow_mut().push_back(sent);
        }
        let due = Instant::now() + PATIENCE;
        let replies = state.replies.into_iter().map(|reply| (reply, due));
        member.replies.replace(replies.collect());
        Ok(member)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::ipc::link::pair;
    use crate::wire::client::ClientKey;
    use crate::wire::handover::workers::Reply;
    use crate::wire::link::{Change, Handoff, Report, ToWorker};
    use crate::wire::session_id::Home;

    const HOME: Home = Home {
        generation: 4,
        slot: 1,
    };

    fn handoff(age_ms: u32) -> Handoff {
        Handoff {
            age_ms,
            ..Handoff::of_a_new_session()
        }
    }

    /// The master is another program now; the packed state went over as bytes.
    fn handed_over(member: &Member) -> Member {
        let (mut carrier, far) = Carrier::new().unwrap();
        let state = member.pack(&mut carrier).unwrap();
        carrier
            .finish(&postcard::to_stdvec(&state).unwrap())
            .unwrap();
        let mut luggage = Luggage::receive(far).unwrap();
        let read: MemberState = postcard::from_bytes(luggage.state()).unwrap();
        assert_eq!(read, state);
        let adopted = Member::adopt(read, member.pid, &mut luggage).unwrap();
        assert_eq!(luggage.left(), 0);
        adopted
    }

    #[tokio::test]
    async fn what_is_unacknowledged_and_what_is_untold_goes_on_and_nothing_comes_twice() {
        let (ours, theirs) = pair().unwrap();
        let (before, worker) = (
            Member::new(HOME, 7, Link::new(ours).unwrap()),
            Link::new(theirs).unwrap(),
        );
        let (first, mut first_client) = UnixStream::pair().unwrap();
        let (second, mut second_client) = UnixStream::pair().unwrap();
        for (conn, age) in [(first, 1), (second, 2)] {
            before.expect_session();
            let conn = Rc::new(OwnedFd::from(conn));
            assert!(before.take(&conn, handoff(age)).await.is_ok());
        }
        // One whose connection has not departed, and one that is reserved.
        before.expect_session();
        before.count_up();
        let client = ClientKey::from(std::net::IpAddr::from([192, 0, 2, 1]));
        let change = Change {
            sessions: 3,
            connections: 1,
        };
        before.clients_changed(&[(client, change)]);
        before.told_ends(2);
        let (heard_first, heard_conn) = worker.heard().await;
        assert!(matches!(heard_first, ToWorker::Take(it) if it.age_ms == 1));
        for ticket in 0..3 {
            before.reply(Reply::Eio3 { ticket, home: None }).unwrap();
        }
        assert_eq!(before.tell_reply().await, None);
        assert_eq!(before.load(), 4);

        let after = handed_over(&before);
        drop(before);
        assert_eq!((after.home, after.load()), (HOME, 3));
        assert_eq!(after.held(client).sessions, 3);
        assert_eq!(after.window.available_permits(), WINDOW - 2);
        for _ in 1..3 {
            assert_eq!(after.tell_reply().await, None);
        }
        // In order: the second connection, and each answer once.
        assert!(matches!(worker.heard().await, (ToWorker::Take(it), Some(_)) if it.age_ms == 2));
        for expected in 0..3 {
            assert!(matches!(
                worker.heard().await.0,
                ToWorker::Eio3 { ticket, .. } if ticket == expected
            ));
        }
        // It acknowledges the first: that is closed, when it closes it, and the second is still to be rescued.
        drop(heard_conn);
        after.reported(Report {
            taken: 1,
            ..Report::default()
        });
        assert_eq!(first_client.read(&mut [0]).unwrap(), 0);
        assert_eq!(after.window.available_permits(), WINDOW - 1);
        let left = after.take_unacknowledged();
        assert_eq!(
            left.iter().map(|it| it.handoff.age_ms).collect::<Vec<_>>(),
            [2]
        );
        drop(left);
        assert_eq!(second_client.read(&mut [0]).unwrap(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_given_up_and_so_are_too_many() {
        let (ours, theirs) = pair().unwrap();
        let member = Member::new(HOME, 7, Link::new(ours).unwrap());
        let reply = |ticket| Reply::Eio3 { ticket, home: None };
        let told = (0..).map(|ticket| member.reply(reply(ticket)));
        let refused = told.take(5000).find_map(Result::err);
        assert!(matches!(refused, Some(Reply::Eio3 { ticket: 1024, .. })));
        drop(theirs);
        assert_eq!(member.tell_reply().await, Some(reply(0)));
        assert_eq!(member.tell_reply().await, Some(reply(1)));
    }
}
