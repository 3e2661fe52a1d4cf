use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(5);

fn id(n: u16) -> Sid {
    format!("{n:016}").parse().unwrap()
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl std::task::Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A turn that there is at once.
fn now(row: &Arc<Row>, asker: Option<Sid>) -> Option<Turn> {
    row.take(asker).now_or_never().flatten()
}

async fn fill(row: &Arc<Row>, asker: Option<Sid>, count: usize) -> Vec<Turn> {
    let mut turns = Vec::new();
    for _ in 0..count {
        turns.push(timeout(SOON, row.take(asker)).await.unwrap().unwrap());
    }
    turns
}

#[tokio::test]
async fn who_has_used_up_its_quota_waits_in_order_and_nobody_else() {
    let row = Arc::<Row>::default();
    let mut open = fill(&row, Some(id(1)), QUOTA).await;
    assert!(!row.is_held(id(1)));
    let order = Arc::<Mutex<Vec<usize>>>::default();
    let waiting: Vec<_> = (0..3)
        .map(|nth| {
            let (row, order) = (Arc::clone(&row), Arc::clone(&order));
            tokio::spawn(async move {
                let turn = row.take(Some(id(1))).await.unwrap();
                order.lock().unwrap().push(nth);
                turn
            })
        })
        .collect();
    yield_now().await;
    assert!(row.is_held(id(1)) && !row.is_held(id(2)));
    assert!(now(&row, Some(id(2))).is_some());
    let woken = Arc::<Counter>::default();
    assert!(
        row.wake_when_free(id(1), Arc::clone(&woken).into())
            .is_none()
    );

    open.truncate(QUOTA - 2);
    yield_now().await;
    assert_eq!(*order.lock().unwrap(), [0, 1]);
    assert_eq!(woken.0.load(Relaxed), 0, "one still waits");
    open.pop();
    let turns = timeout(SOON, join_all(waiting)).await.unwrap();
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
    assert_eq!(woken.0.load(Relaxed), 1);
    assert!(!row.is_held(id(1)));
    drop((open, turns));
    assert!(row.lock().askers.is_empty() && row.lock().open == 0);
}

#[tokio::test]
async fn askers_have_turns_one_after_the_other_whoever_came_first() {
    let row = Arc::<Row>::default();
    let mut open = Vec::new();
    for n in 0..16 {
        open.extend(fill(&row, Some(id(n)), MOST / 16).await);
    }
    let mut order = Vec::new();
    let mut wait = |n: u16| {
        let row = Arc::clone(&row);
        order.push((n, tokio::spawn(async move { row.take(Some(id(n))).await })));
    };
    (0..20).for_each(|_| wait(100));
    (0..20).for_each(|_| wait(101));
    wait(102);
    yield_now().await;
    // Three places, for three who wait.
    open.truncate(MOST - 3);
    yield_now().await;
    let had: Vec<_> = order
        .iter()
        .filter(|(_, task)| task.is_finished())
        .collect();
    let had: Vec<_> = had.into_iter().map(|(n, _)| *n).collect();
    assert_eq!(had, [100, 101, 102]);
}

#[tokio::test]
async fn one_that_gave_up_waiting_costs_nobody_a_turn() {
    let row = Arc::<Row>::default();
    let mut open = fill(&row, Some(id(1)), QUOTA).await;
    let gave_up = tokio::spawn({
        let row = Arc::clone(&row);
        async move { row.take(Some(id(1))).await }
    });
    yield_now().await;
    gave_up.abort();
    let waits = row.take(Some(id(1)));
    tokio::pin!(waits);
    assert!(waits.as_mut().now_or_never().is_none());
    yield_now().await;
    open.pop();
    assert!(timeout(SOON, waits).await.unwrap().is_some());
    drop(open);
    assert!(row.lock().askers.is_empty() && row.lock().open == 0);
}

#[tokio::test]
async fn what_waits_when_its_session_ends_is_not_asked() {
    let row = Arc::<Row>::default();
    let open = fill(&row, Some(id(1)), QUOTA).await;
    let waits = tokio::spawn({
        let row = Arc::clone(&row);
        async move { row.take(Some(id(1))).await.is_some() }
    });
    yield_now().await;
    let woken = Arc::<Counter>::default();
    assert!(
        row.wake_when_free(id(1), Arc::clone(&woken).into())
            .is_none()
    );
    row.ended(id(1));
    assert!(!timeout(SOON, waits).await.unwrap().unwrap());
    assert!(!row.is_held(id(1)) && woken.0.load(Relaxed) == 1);
    assert!(
        row.take(Some(id(1))).await.is_none(),
        "nor what comes later"
    );
    drop(open);
    assert!(row.lock().askers.is_empty());
    assert!(now(&row, Some(id(1))).is_some(), "a disconnect handler's");
}

#[tokio::test]
async fn all_that_a_handler_asks_at_once_has_one_turn() {
    let turns = Turns::default();
    let handler = asking(id(1), async {
        let all = (0..QUOTA * 2).map(|_| turns.take(Responder::Client, None));
        join_all(all).await
    });
    let all = timeout(SOON, handler).await.unwrap();
    assert!(all.iter().all(Option::is_some));
    assert_eq!(turns.clients.lock().open, 1);
    drop(all);
    assert_eq!(turns.clients.lock().open, 0);
}

#[tokio::test]
async fn what_nobody_is_known_to_ask_has_no_quota() {
    let row = Arc::<Row>::default();
    let open = fill(&row, None, MOST).await;
    assert!(now(&row, Some(id(1))).is_none(), "but there is an end");
    drop(open);
    yield_now().await;
    assert!(now(&row, Some(id(1))).is_some());
}

#[tokio::test]
async fn what_clients_answer_is_bounded_for_each_who_asks() {
    let row = Arc::<Row>::default();
    let first = fill(&row, Some(id(1)), 2).await;
    let half = ANSWERS / 2;
    assert!(first[0].admit(half) && first[1].admit(half));
    assert!(!first[0].admit(1) && !first[1].admit(1));
    let other = fill(&row, Some(id(2)), 1).await;
    assert!(other[0].admit(ANSWERS), "another has its own");
    drop(first);
    let again = fill(&row, Some(id(1)), 1).await;
    assert!(again[0].admit(ANSWERS), "those were over");
    // Of nobody known each question has its own.
    let unknown = fill(&row, None, 2).await;
    assert!(unknown[0].admit(ANSWERS) && unknown[1].admit(ANSWERS));
    assert!(!unknown[0].admit(1));
}

#[tokio::test]
async fn what_all_are_answered_is_bounded_and_who_has_little_is_let_be() {
    let row = Arc::<Row>::default();
    let mut greedy = Vec::new();
    for n in 0..ALL_ANSWERS / ANSWERS {
        greedy.extend(fill(&row, Some(id(u16::try_from(n).unwrap())), 1).await);
    }
    assert!(greedy.iter().all(|turn| turn.admit(ANSWERS)));
    let innocent = fill(&row, Some(id(100)), 1).await;
    assert!(innocent[0].admit(FEW_ANSWERS));
    assert!(!innocent[0].admit(1), "now there is no room");
    greedy.pop();
    assert!(innocent[0].admit(FEW_ANSWERS));
    drop((greedy, innocent));
    assert!(row.lock().answers == 0 && row.lock().askers.is_empty());
}
