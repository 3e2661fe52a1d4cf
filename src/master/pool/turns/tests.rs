use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use tokio::task::{LocalSet, spawn_local, yield_now};

use super::*;
use crate::config::{Balance, Limits};
use crate::ipc::link::{Link, pair};
use crate::wire::link::{Handoff, Report};
use crate::wire::session_id::{Home, Keyring};

/// A pool of so many workers, and the ends of the links that these would have.
struct Scene {
    pool: Rc<Pool>,
    members: Vec<Rc<Member>>,
    links: Vec<Link>,
}

impl Scene {
    fn new(workers: u16) -> Self {
        let keyring = Keyring::draw(1).unwrap();
        let pool = Pool::new(Balance::LeastConnection, &Limits::default(), keyring);
        let mut scene = Self {
            pool: Rc::new(pool),
            members: Vec::new(),
            links: Vec::new(),
        };
        for slot in 0..workers {
            let (ours, theirs) = pair().unwrap();
            let home = Home {
                generation: 0,
                slot,
            };
            let member = Rc::new(Member::new(home, 1, Link::new(ours).unwrap()));
            scene.pool.add(Rc::clone(&member));
            scene.members.push(member);
            scene.links.push(Link::new(theirs).unwrap());
        }
        scene
    }

    /// Lets in whom there is room for; how many each worker got.
    async fn fill(&self, most: usize) -> Vec<usize> {
        let mut got = vec![0; self.members.len()];
        for _ in 0..most {
            let Ok(member) = self.pool.admit(None) else {
                break;
            };
            got[usize::from(member.home.slot)] += 1;
            take(&member).await;
        }
        got
    }

    /// The worker of this slot has begun with so many in all, and has so many sessions.
    fn report(&self, slot: usize, taken: u64, sessions: u64) {
        self.members[slot].reported(Report {
            taken,
            resolved: taken,
            sessions,
            connections: sessions,
        });
        self.pool.look_again();
    }
}

async fn take(member: &Member) {
    let conn: OwnedFd = UnixStream::pair().unwrap().0.into();
    let handoff = Handoff::of_a_new_session();
    member.take(&Rc::new(conn), handoff).await.unwrap();
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn who_waits_has_its_turn_in_the_order_in_which_it_came_and_sessions_that_there_are_wait_for_nobody()
 {
    run(async {
        let scene = Scene::new(1);
        let had = scene.fill(1000).await[0] as u64;
        assert!((16..256).contains(&had), "{had}");
        let came = Rc::new(RefCell::new(Vec::new()));
        for nth in 0..20 {
            let (pool, came) = (Rc::clone(&scene.pool), Rc::clone(&came));
            spawn_local(async move {
                let member = pool.wait_for_turn(None).await.unwrap();
                came.borrow_mut().push(nth);
                take(&member).await;
            });
            yield_now().await;
        }
        assert!(came.borrow().is_empty());
        // A poll, say.
        assert!(scene.pool.choose(false, None).is_some());
        // Nobody who comes later passes those who wait.
        scene.report(0, 3, 3);
        assert_eq!(scene.pool.admit(None).err(), Some(NoTurn::Busy));
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(*came.borrow(), (0..6).collect::<Vec<_>>());
        scene.report(0, had, had);
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(*came.borrow(), (0..20).collect::<Vec<_>>());
        assert_eq!(scene.pool.turns.waiting.get(), 0);
    });
}

#[test]
fn a_fresh_worker_gets_what_it_can_take_at_once_and_the_loaded_ones_the_rest() {
    run(async {
        let scene = Scene::new(3);
        scene.report(0, 0, 500);
        scene.report(1, 0, 500);
        let got = scene.fill(60).await;
        assert!(got[2] > got[0] && got[0] > 5, "{got:?}");
        assert_eq!(got[0], got[1]);
    });
}

#[test]
fn nobody_waits_for_ever() {
    run(async {
        let began = Instant::now();
        let scene = Scene::new(1);
        scene.fill(1000).await;
        let [first, second] = [0, 1].map(|_| {
            let pool = Rc::clone(&scene.pool);
            spawn_local(async move { pool.wait_for_turn(None).await.err() })
        });
        assert_eq!(first.await.unwrap(), Some(NoTurn::Busy));
        assert_eq!(second.await.unwrap(), Some(NoTurn::Busy));
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());

        // There is no worker, or none that answers.
        let began = Instant::now();
        scene.members[0].set_stalled(true);
        let turn = scene.pool.wait_for_turn(None).await;
        assert_eq!(turn.err(), Some(NoTurn::NoWorker));
        assert_eq!(began.elapsed().as_secs(), WORKER_PATIENCE.as_secs());
    });
}

#[test]
fn more_than_may_wait_are_refused_at_once() {
    run(async {
        let began = Instant::now();
        let scene = Scene::new(1);
        scene.fill(1000).await;
        scene.pool.turns.waiting.set(MOST_WAITING);
        let turn = scene.pool.wait_for_turn(None).await;
        assert_eq!(turn.err(), Some(NoTurn::Busy));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(scene.pool.turns.waiting.get(), MOST_WAITING);
    });
}

#[test]
fn who_comes_to_a_workers_own_port_waits_for_that_one_and_keeps_nobody_else_waiting() {
    run(async {
        let scene = Scene::new(2);
        while let Ok(member) = scene.pool.admit(Some(1)) {
            take(&member).await;
        }
        let pool = Rc::clone(&scene.pool);
        let waits = spawn_local(async move { pool.wait_for_turn(Some(1)).await.ok() });
        yield_now().await;
        let other = scene.pool.admit(None).unwrap();
        assert_eq!(other.home.slot, 0);
        scene.report(1, 1, 1);
        assert_eq!(waits.await.unwrap().map(|it| it.home.slot), Some(1));
    });
}
