use super::*;
use std::time::Duration;

use crate::ipc::link::{Inbox, Link, pair};
use crate::wire::link::{Change, Handoff, LetIn, Report, ToWorker};

const METHOD: Balance = Balance::LeastConnection;

/// A pool, its workers, and the ends of the links that these would have.
struct Scene {
    pool: Pool,
    members: Vec<Rc<Member>>,
    links: Vec<Link>,
}

impl Scene {
    fn new(workers: u16, max_connections: u32) -> Self {
        let limits = Limits {
            max_connections,
            ..Limits::default()
        };
        Self::with(workers, &limits)
    }

    fn with(workers: u16, limits: &Limits) -> Self {
        let keyring = Keyring::draw(1).unwrap();
        let mut scene = Self {
            pool: Pool::new(METHOD, limits, keyring),
            members: Vec::new(),
            links: Vec::new(),
        };
        for slot in 0..workers {
            scene.add(slot);
        }
        scene
    }

    fn add(&mut self, slot: u16) -> Rc<Member> {
        let (ours, theirs) = pair().unwrap();
        let home = Home {
            generation: 0,
            slot,
        };
        let member = Rc::new(Member::new(home, 1, Link::new(ours).unwrap()));
        self.pool.add(Rc::clone(&member));
        self.members.push(Rc::clone(&member));
        self.links.push(Link::new(theirs).unwrap());
        member
    }

    fn loads(&self) -> Vec<u64> {
        self.members.iter().map(|member| member.load()).collect()
    }

    /// The worker `asker` asks; the slot that it is told, and the number.
    fn reserve(&self, asker: usize) -> Option<(u16, u64)> {
        let place = self
            .pool
            .reserve(&self.members[asker], None, false, None)
            .ok()?;
        Some((place.home.slot, place.reservation))
    }
}

fn sessions(sessions: u64) -> Report {
    Report {
        sessions,
        ..Report::default()
    }
}

#[tokio::test]
async fn what_one_worker_asks_for_is_spread_over_all() {
    let scene = Scene::new(4, 0);
    for _ in 0..40 {
        scene.reserve(2).unwrap();
    }
    assert_eq!(scene.loads(), [10; 4]);
}

#[tokio::test]
async fn a_reservation_becomes_a_session_or_nothing() {
    let scene = Scene::new(2, 0);
    let (slot, opened) = scene.reserve(0).unwrap();
    let (_, given_up) = scene.reserve(0).unwrap();
    assert_eq!(scene.loads(), [1, 1]);
    scene.members[usize::from(slot)].reported(sessions(1));
    scene.pool.release(opened);
    scene.pool.release(given_up);
    assert_eq!(scene.loads(), [1, 0]);
    // Both workers may tell.
    scene.pool.release(opened);
    scene.pool.release(given_up);
    assert_eq!(scene.loads(), [1, 0]);
}

#[tokio::test]
async fn a_connection_takes_its_reservation_along() {
    let scene = Scene::new(2, 0);
    let (first, second) = (scene.reserve(0).unwrap(), scene.reserve(0).unwrap());
    assert_eq!((first.0, second.0), (0, 1));
    let home = Rc::clone(&scene.members[1]);
    assert_eq!(scene.pool.redeem(Some(second.1), &home), Some(second.1));
    assert_eq!(scene.loads(), [1, 1]);
    // Its home tells what became of it.
    home.reported(sessions(1));
    scene.pool.release(second.1);
    assert_eq!(scene.loads(), [1, 1]);
    // One that is not known any more is counted as if it had been dispatched.
    assert_eq!(scene.pool.redeem(Some(second.1), &home), None);
    assert_eq!(scene.loads(), [1, 2]);
    let resolved = Report {
        resolved: 1,
        ..sessions(1)
    };
    home.reported(resolved);
    assert_eq!(scene.loads(), [1, 1]);
}

#[tokio::test]
async fn a_connection_that_its_home_does_not_take_is_not_counted_there() {
    let mut scene = Scene::new(1, 0);
    let home = Rc::clone(&scene.members[0]);
    assert_eq!(scene.pool.redeem(None, &home), None);
    scene.links.clear();
    let handoff = Handoff {
        admitted: Some(LetIn::default()),
        head: b"GET".to_vec(),
        ..Handoff::of_a_new_session()
    };
    let (conn, _peer) = pair().unwrap();
    assert!(home.take(&Rc::new(conn), handoff).await.is_err());
    assert_eq!(scene.loads(), [0]);
}

#[tokio::test]
async fn who_comes_to_a_workers_own_port_is_opened_there_unless_it_does_not_answer() {
    let scene = Scene::new(3, 0);
    let slot_of = |port_of| {
        let asker = &scene.members[0];
        let place = scene.pool.reserve(asker, None, false, port_of).unwrap();
        place.home.slot
    };
    assert_eq!([Some(2); 3].map(slot_of), [2, 2, 2]);
    assert_eq!(scene.loads(), [0, 0, 3]);
    let chosen = scene.pool.choose(true, Some(1)).unwrap();
    assert_eq!(chosen.home.slot, 1);
    scene.members[2].set_stalled(true);
    assert_eq!(slot_of(Some(2)), 0, "the least loaded of the others");
    // Dispatched connections are counted where they went.
    let asker = &scene.members[1];
    let place = scene.pool.reserve(asker, None, true, Some(0)).unwrap();
    assert_eq!(place.home.slot, 1);
}

#[tokio::test]
async fn nothing_stays_reserved_for_a_worker_that_is_gone_or_by_one() {
    let mut scene = Scene::new(3, 0);
    // Slot 0 asks for all, then slot 1.
    let numbers: Vec<_> = [0, 0, 0, 1, 1, 1]
        .map(|asker| scene.reserve(asker).unwrap().1)
        .into();
    assert_eq!(scene.loads(), [2, 2, 2]);
    let gone = Rc::clone(&scene.members[1]);
    scene.pool.remove(&gone);
    // What slot 1 had asked for is nobody's; what was to come to it is lost with it.
    assert_eq!(scene.loads(), [1, 0, 1]);
    assert_eq!(scene.pool.reservations.borrow().len(), 2);
    // A new worker in its place begins with nothing, and late words about the old one change nothing.
    let new = scene.add(1);
    for &number in &numbers {
        scene.pool.release(number);
    }
    assert_eq!(scene.loads(), [0, 0, 0, 0]);
    assert!(scene.pool.reservations.borrow().is_empty());
    // A connection for the old one is counted where it goes.
    assert_eq!(scene.pool.redeem(Some(numbers[1]), &new), None);
    assert_eq!(scene.loads(), [0, 0, 0, 1]);
}

#[tokio::test]
async fn sessions_are_limited_whatever_connections_they_come_over() {
    let scene = Scene::new(2, 3);
    scene.members[0].reported(sessions(1));
    let (slot, number) = scene.reserve(0).unwrap();
    assert_eq!(slot, 1);
    assert!(!scene.pool.is_full());
    assert!(scene.pool.choose(true, None).is_some());
    assert!(scene.pool.is_full());
    assert_eq!(scene.reserve(1), None);
    scene.pool.release(number);
    assert!(scene.reserve(1).is_some());
}

#[tokio::test]
async fn a_worker_that_does_not_answer_gets_nothing_new() {
    let scene = Scene::new(2, 0);
    scene.members[1].set_stalled(true);
    let slots = [0, 0, 0].map(|asker| scene.reserve(asker).unwrap().0);
    assert_eq!(slots, [0, 0, 0]);
    // Who asks lives, whatever the master thinks of it.
    scene.members[0].set_stalled(true);
    assert_eq!(scene.reserve(1).unwrap().0, 1);
}

#[tokio::test]
async fn a_place_travels_over_the_link() {
    let scene = Scene::new(1, 0);
    let place = scene.pool.reserve(&scene.members[0], None, false, None);
    let answer = ToWorker::Home { ticket: 5, place };
    scene.members[0].link.send(&answer, None).await.unwrap();
    let heard = scene.links[0].recv(&mut Inbox::default()).await.unwrap().0;
    assert!(
        matches!(heard, ToWorker::Home { ticket: 5, place: told } if told == place),
        "{heard:?}"
    );
}

#[tokio::test]
async fn one_client_has_no_more_sessions_than_it_may_over_all_workers() {
    let limits = Limits {
        max_connections_per_address: 3,
        ..Limits::default()
    };
    let scene = Scene::with(2, &limits);
    let client = |text: &str| text.parse::<std::net::IpAddr>().ok().map(ClientKey::from);
    let (greedy, other) = (client("2001:db8::1"), client("2001:db8:0:1::1"));
    let ask = |who| scene.pool.reserve(&scene.members[0], who, false, None);
    let places = [greedy, greedy, greedy].map(|who| ask(who).unwrap());
    assert_eq!(ask(client("2001:db8::2")), Err(NoPlace::ClientFull));
    assert!(ask(other).is_ok() && ask(None).is_ok());
    // They are opened, by the workers that were to have them.
    let change = |sessions, connections| Change {
        sessions,
        connections,
    };
    for place in places {
        let home = scene.pool.at(place.home).unwrap();
        home.clients_changed(&[(greedy.unwrap(), change(1, 0))]);
        scene.pool.release(place.reservation);
    }
    assert_eq!(ask(greedy), Err(NoPlace::ClientFull));
    // One ends, and one connection is there.
    scene.members[0].clients_changed(&[(greedy.unwrap(), change(-1, 1))]);
    assert_eq!(scene.pool.connections_of(greedy.unwrap()), 1);
    let last = ask(greedy).unwrap();
    assert_eq!(ask(greedy), Err(NoPlace::ClientFull));
    scene.pool.release(last.reservation);
    // A worker's clients go with it.
    scene.pool.remove(&scene.members[0]);
    assert_eq!(scene.pool.connections_of(greedy.unwrap()), 0);
    let ask = || scene.pool.reserve(&scene.members[1], greedy, true, None);
    let free = std::iter::repeat_with(ask).take_while(Result::is_ok);
    assert_eq!(free.count(), 2);
}

#[tokio::test]
async fn who_asks_for_too_many_sessions_leaves_some_to_others() {
    let limits = Limits {
        new_sessions_per_second: 20,
        ..Limits::default()
    };
    let scene = Scene::with(2, &limits);
    let client = |nth: u8| Some(ClientKey::from(std::net::IpAddr::from([192, 0, 2, nth])));
    let ask = |nth| {
        scene
            .pool
            .reserve(&scene.members[0], client(nth), true, None)
    };
    let began = std::time::Instant::now();
    let greedy = std::iter::repeat_with(|| ask(1)).take_while(Result::is_ok);
    assert!((20..25).contains(&greedy.count()) || began.elapsed() > Duration::from_millis(200));
    assert_eq!(ask(1), Err(NoPlace::ClientRate));
    assert!((2..17).all(|nth| ask(nth).is_ok()));
}

#[test]
fn ready_is_a_machine_with_a_worker_that_answers_and_that_was_not_taken_out() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let mut scene = Scene::new(0, 0);
    assert_eq!(scene.pool.readiness(), Readiness::NoWorker);
    let members = [scene.add(0), scene.add(1)];
    assert_eq!(scene.pool.readiness(), Readiness::Ready);
    members[0].set_stalled(true);
    assert_eq!(scene.pool.readiness(), Readiness::Ready);
    members[1].set_stalled(true);
    assert_eq!(scene.pool.readiness(), Readiness::NoWorker);
    members[1].set_stalled(false);
    scene.pool.set_taken_out(true);
    assert_eq!(scene.pool.readiness(), Readiness::TakenOut);
    assert!(scene.pool.is_taken_out());
    scene.pool.set_taken_out(false);
    assert_eq!(scene.pool.readiness(), Readiness::Ready);
}
