use std::os::unix::net::UnixStream;
use std::process::Command;

use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::super::child::Process;
use super::super::log::{Log, Told};
use super::super::member::Member;
use super::super::pool::Pool;
use super::super::router::Router;
use super::super::totals::Totals;
use super::*;
use crate::config::{Balance, LogLevel};
use crate::ipc::carrier::{Carrier, Luggage};
use crate::ipc::link::{Link, pair};
use crate::master::reload::Program;
use crate::wire::handover::pool::PoolState;
use crate::wire::handover::workers::{Reply, WorkersState};
use crate::wire::link::{Handoff, Report, ToMaster, ToWorker};
use crate::wire::session_id::Keyring;

const DEADLINE: Duration = Duration::from_secs(20);

impl Parts {
    /// Those of a server without workers and listeners.
    pub(in crate::master) fn for_tests(pool: PoolState) -> Self {
        let config = Rc::new(Config {
            workers: 2,
            ..Config::default()
        });
        let keyring = Keyring::draw(1).unwrap();
        let pool = Pool::adopt(pool, Balance::RoundRobin, &config.limits, keyring);
        let pool = Rc::new(pool);
        Self {
            reloads: Rc::default(),
            program: Rc::new(Program::this()),
            router: Router::start(Rc::clone(&config), Rc::clone(&pool), Vec::new()),
            pool,
            slots: Rc::default(),
            missing: Rc::default(),
            faults: Rc::default(),
            drains: Rc::default(),
            ends: Rc::default(),
            totals: Totals::new(config.workers),
            questions: Rc::default(),
            log: Log::new(crate::logging::unheard(), LogLevel::Info),
            hub: Rc::default(),
            renew_bridge: Rc::default(),
            has_own_bridge: false,
            config,
        }
    }
}

fn serving(supervisor: &Supervisor, number: u16) -> Rc<Generation> {
    let config = Rc::clone(&supervisor.parts.config);
    let table = Rc::new(SlotTable::new(2));
    supervisor.add(number, config, table, Order::Serve)
}

fn vacant(supervisor: &Rc<Supervisor>, generation: &Rc<Generation>, slot: u16) {
    let home = Home {
        generation: generation.number,
        slot,
    };
    let until = Instant::now() + Duration::from_mins(10);
    let slot = Slot::new(
        supervisor,
        generation,
        home,
        Duration::from_secs(1),
        State::Nobody { until },
    );
    generation.slots.borrow_mut().push(slot);
}

/// A worker that is looked after: a process that only sleeps, and the far end of its link.
fn worker(supervisor: &Rc<Supervisor>, generation: &Rc<Generation>) -> (Rc<Worker>, Link) {
    let (ours, theirs) = pair().unwrap();
    let process = Process::of(Command::new("/bin/sleep").arg("60")).unwrap();
    let home = Home {
        generation: generation.number,
        slot: 0,
    };
    let member = Member::new(home, process.pid(), Link::new(ours).unwrap());
    let worker = Rc::new(Worker {
        process,
        since: Instant::now(),
        member: Rc::new(member),
        ready: true.into(),
        rounds: 0.into(),
        unanswered: 0.into(),
        told_to_leave: false.into(),
        told_log: Told::default().into(),
        told_config: Some(generation.config()).into(),
    });
    supervisor.parts.pool.add(Rc::clone(&worker.member));
    generation.table.started(0, worker.member.pid);
    generation.table.ready(0);
    let state = State::Worker(Rc::clone(&worker));
    let slot = Slot::new(supervisor, generation, home, Duration::ZERO, state);
    generation.slots.borrow_mut().push(Rc::clone(&slot));
    let adopted = (Rc::clone(&worker), still_served());
    spawn_local(slot.keep_filled(Some(adopted)));
    (worker, Link::new(theirs).unwrap())
}

fn still_served() -> JoinHandle<Left> {
    spawn_local(std::future::pending())
}

/// What the worker hears before and with its second ping.
async fn heard_for_a_while(link: &Link) -> Vec<ToWorker> {
    let mut all = Vec::new();
    let pings = |all: &[ToWorker]| {
        let ping = |it: &&ToWorker| matches!(it, ToWorker::Ping { .. });
        all.iter().filter(ping).count()
    };
    while pings(&all) < 2 {
        all.push(link.heard().await.0);
    }
    all
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap();
}

#[tokio::test]
async fn workers_of_two_generations_are_looked_after_by_another_program_and_notice_nothing() {
    let (mut carrier, stdin) = Carrier::new().unwrap();
    let (conn, _client) = UnixStream::pair().unwrap();
    let before = LocalSet::new();
    let (packed, old_link, new_link) = before
        .run_until(async {
            let supervisor = Rc::new(Supervisor::new(&Parts::for_tests(PoolState::default()), 1));
            let (old, new) = (serving(&supervisor, 0), serving(&supervisor, 1));
            let (_, old_link) = worker(&supervisor, &old);
            let (worker, new_link) = worker(&supervisor, &new);
            vacant(&supervisor, &new, 1);
            supervisor.make_current(1);
            supervisor.drain_generation(0, Duration::from_mins(10));
            while !matches!(old_link.heard().await.0, ToWorker::Retire { .. }) {}
            let handoff = Handoff::of_a_new_session();
            worker.member.expect_session();
            let taken = worker.member.take(&Rc::new(conn.into()), handoff).await;
            assert!(taken.is_ok());
            assert!(supervisor.settle(Instant::now()).await);
            // Nothing runs between this and the packing.
            let (ticket, home) = (5, None);
            worker.member.reply(Reply::Eio3 { ticket, home }).unwrap();
            let state = supervisor.pack(&mut carrier).unwrap();
            let again = supervisor.pack(&mut Carrier::counting()).unwrap();
            assert_eq!(again.generations.len(), state.generations.len());
            let packed = (state, supervisor.parts.pool.pack());
            (packed, old_link, new_link)
        })
        .await;
    drop(before);
    carrier
        .finish(&postcard::to_stdvec(&packed).unwrap())
        .unwrap();
    let mut luggage = Luggage::receive(stdin).unwrap();
    let read: (WorkersState, PoolState) = postcard::from_bytes(luggage.state()).unwrap();
    assert_eq!(read, packed);

    let after = LocalSet::new();
    let going_on = async {
        let parts = Parts::for_tests(read.1);
        let bus = |_pid| still_served();
        let supervisor = Supervisor::adopt(&parts, read.0, &mut luggage, bus).unwrap();
        assert_eq!(luggage.left(), 0);
        assert_eq!((parts.pool.current(), parts.pool.members().len()), (1, 2));
        assert_eq!(parts.slots.vacant().len(), 1);
        assert_eq!(parts.drains().len(), 1);
        assert_eq!(supervisor.next_generation(), 2);
        assert!(supervisor.is_settled());

        let to_old = heard_for_a_while(&old_link).await;
        let only_pings = |it: &ToWorker| matches!(it, ToWorker::Ping { .. });
        assert!(to_old.iter().all(only_pings), "{to_old:?}");
        let mut to_new = heard_for_a_while(&new_link).await;
        to_new.retain(|it| !only_pings(it));
        assert!(
            matches!(
                &to_new[..],
                [ToWorker::Take(_), ToWorker::Eio3 { ticket: 5, .. }]
            ),
            "{to_new:?}"
        );
        assert_eq!(parts.pool.connections(), 1);
        let counts = Report {
            taken: 1,
            resolved: 1,
            ..Report::default()
        };
        let report = ToMaster::Report {
            counts,
            released: Vec::new(),
            clients: Vec::new(),
        };
        new_link.send(&report, None).await.unwrap();
        until(|| parts.pool.connections() == 0).await;

        // The earlier one goes, and nobody takes its place.
        let old = Rc::downgrade(&supervisor.generation(0).unwrap());
        supervisor.kill_generation(0);
        until(|| supervisor.generation(0).is_none()).await;
        until(|| old.strong_count() == 0).await;
        assert_eq!(parts.pool.members().len(), 1);
        assert!(parts.drains().is_empty());
        supervisor.stop(Duration::from_secs(1));
        while !matches!(new_link.heard().await.0, ToWorker::Stop { .. }) {}
        supervisor.kill();
        timeout(DEADLINE, supervisor.left()).await.unwrap();
        assert!(parts.pool.members().is_empty());
    };
    after.run_until(going_on).await;
}

#[tokio::test]
async fn numbers_of_generations_come_again_last_and_too_many_drains_end_sooner() {
    let local = LocalSet::new();
    let many = async {
        let parts = Parts::for_tests(PoolState::default());
        let supervisor = Rc::new(Supervisor::new(&parts, FIELD_LIMIT - 2));
        for number in [FIELD_LIMIT - 1, 0, 1] {
            assert_eq!(supervisor.next_generation(), number);
            let generation = serving(&supervisor, number);
            vacant(&supervisor, &generation, 0);
        }
        assert_eq!(supervisor.next_generation(), 2);
        for number in 2..9 {
            let generation = serving(&supervisor, number);
            vacant(&supervisor, &generation, 0);
        }
        let left = |number| match *supervisor.generation(number).unwrap().order.borrow() {
            Order::Leave { until, .. } => until.saturating_duration_since(Instant::now()),
            _ => Duration::MAX,
        };
        let hour = Duration::from_hours(1);
        let old = [FIELD_LIMIT - 1, 0, 1, 2, 3, 4, 5, 6];
        for number in old {
            supervisor.drain_generation(number, hour);
        }
        assert!(old.iter().all(|&number| left(number) > hour / 2));
        supervisor.drain_generation(7, hour);
        assert!(left(old[0]) <= parts.config.stop_drain);
        assert!(old[1..].iter().all(|&number| left(number) > hour / 2));
        assert_eq!(left(8), Duration::MAX);
        // It does not get more time again.
        supervisor.drain_generation(old[0], hour);
        assert!(left(old[0]) <= parts.config.stop_drain);
    };
    local.run_until(many).await;
}

#[tokio::test]
async fn what_is_between_two_workers_is_not_packed() {
    let local = LocalSet::new();
    let between = async {
        let supervisor = Rc::new(Supervisor::new(&Parts::for_tests(PoolState::default()), 0));
        let generation = serving(&supervisor, 0);
        vacant(&supervisor, &generation, 0);
        let slot = generation.slots.borrow().first().cloned().unwrap();
        let now = slot.state.replace(State::Between);
        assert!(!supervisor.settle(Instant::now()).await);
        let (mut carrier, _far) = Carrier::new().unwrap();
        assert!(supervisor.pack(&mut carrier).is_err());
        assert!(supervisor.pack(&mut Carrier::counting()).is_ok());
        let settled = supervisor.settle(Instant::now() + DEADLINE);
        let set = async { slot.set(now) };
        assert!(tokio::join!(settled, set).0);
        assert!(supervisor.pack(&mut Carrier::counting()).is_ok());
    };
    local.run_until(between).await;
}

#[tokio::test]
async fn what_an_earlier_worker_had_not_begun_to_read_when_it_died_goes_to_a_current_one() {
    let local = LocalSet::new();
    let dies = async {
        let supervisor = Rc::new(Supervisor::new(&Parts::for_tests(PoolState::default()), 1));
        let (old, new) = (serving(&supervisor, 0), serving(&supervisor, 1));
        let (worker_before, old_link) = worker(&supervisor, &old);
        let (_, new_link) = worker(&supervisor, &new);
        supervisor.make_current(1);
        supervisor.drain_generation(0, Duration::from_mins(10));
        let (conn, mut client) = UnixStream::pair().unwrap();
        conn.set_nonblocking(true).unwrap();
        let line = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n\r\n";
        std::io::Write::write_all(&mut client, line).unwrap();
        let member = &worker_before.member;
        member.expect_session();
        let taken = member
            .take(&Rc::new(conn.into()), Handoff::of_a_new_session())
            .await;
        assert!(taken.is_ok());
        worker_before.process.kill().unwrap();
        drop(old_link);
        loop {
            match new_link.heard().await {
                (ToWorker::Take(it), Some(_)) if it.opens => break,
                (ToWorker::Ping { .. }, _) => {
                    new_link.send(&ToMaster::Pong, None).await.unwrap();
                }
                _ => {}
            }
        }
        until(|| supervisor.generation(0).is_none()).await;
        let faults = supervisor.parts.faults.list();
        assert!(
            faults
                .iter()
                .any(|fault| fault.what.contains("was to leave"))
        );
    };
    local.run_until(dies).await;
}

#[tokio::test]
async fn when_all_are_to_leave_no_generation_begins() {
    let local = LocalSet::new();
    let stops = async {
        let supervisor = Rc::new(Supervisor::new(&Parts::for_tests(PoolState::default()), 0));
        supervisor.stop(Duration::ZERO);
        let number = supervisor.next_generation();
        supervisor.start_generation(number, Rc::clone(&supervisor.parts.config));
        assert_eq!(supervisor.started(number).await, Err(StartError::Ended));
        supervisor.left().await;
    };
    local.run_until(stops).await;
}

/// Waits until a worker is told of another configuration.
async fn hears_of_a_configuration(link: &Link) {
    let hears = async { while !matches!(link.heard().await, (ToWorker::Config, Some(_))) {} };
    timeout(DEADLINE, hears).await.unwrap();
}

#[tokio::test]
async fn workers_are_told_another_configuration_as_soon_as_they_listen() {
    let local = LocalSet::new();
    let test = async {
        let parts = Parts::for_tests(PoolState::default());
        let supervisor = Rc::new(Supervisor::new(&parts, 0));
        let generation = serving(&supervisor, 0);
        let (worker, link) = worker(&supervisor, &generation);
        let another = || Rc::new(Config::clone(&parts.config));
        let told = supervisor.reconfigure(0, another(), Instant::now() + DEADLINE);
        assert_eq!(told.await, 0);
        hears_of_a_configuration(&link).await;

        // Its link takes no more.
        let fill = async { while worker.member.link.send(&ToWorker::Bus, None).await.is_ok() {} };
        assert!(timeout(Duration::from_millis(200), fill).await.is_err());
        let told = supervisor.reconfigure(0, another(), Instant::now());
        assert_eq!(told.await, 1);
        hears_of_a_configuration(&link).await;
        until(|| generation.unaware() == 0).await;

        // It could not read it.
        link.send(&ToMaster::Unconfigured, None).await.unwrap();
        hears_of_a_configuration(&link).await;
    };
    local.run_until(test).await;
}
