//! Every operator over three machines: sockets of other machines are found, join, leave and go; and what applications say
//! to each other reaches them all.

use serde_json::{Value, json};

use super::harness::*;

/// Two clients on each of three machines, one on each worker: 0 and 1 on the first, and so on.
struct Six {
    machines: Machines,
    crowds: Vec<Crowd>,
}

impl Six {
    #[track_caller]
    fn of(kind: Kind) -> Self {
        let machines = Plan::of(3, kind).example("operators").start();
        let crowds = machines.crowds("/", 2);
        let six = Self { machines, crowds };
        six.join("red", &[0, 2, 4]);
        six.join("blue", &[4, 5]);
        six
    }

    fn client(&self, nth: usize) -> &Client {
        &self.crowds[nth / 2][nth % 2]
    }

    fn id(&self, nth: usize) -> String {
        self.client(nth).id()
    }

    #[track_caller]
    fn join(&self, room: &str, clients: &[usize]) {
        for &nth in clients {
            self.client(nth).call("join", json!([room]));
        }
    }

    fn numbers(&self, ids: &[String]) -> Vec<usize> {
        let numbers = (0..6).filter(|&nth| ids.contains(&self.id(nth)));
        let numbers: Vec<_> = numbers.collect();
        assert_eq!(numbers.len(), ids.len(), "{ids:?}");
        numbers
    }

    #[track_caller]
    fn fetched(&self, from: usize, selection: Value) -> Vec<usize> {
        let found = self.client(from).call("fetch", json!([selection]));
        self.numbers(&strings(&found["sockets"]))
    }

    /// Who hears what `from` emits with this selection; nobody twice.
    #[track_caller]
    fn reached(&self, from: usize, selection: Value, note: &str) -> Vec<usize> {
        self.client(from)
            .call("emit", json!([selection, "note", note]));
        let settled = format!("behind {note}");
        self.client(from)
            .call("emit", json!([{"as": "io"}, "settled", settled]));
        let there = (0..6).filter(|&nth| self.client(nth).gone().is_none());
        let there: Vec<_> = there.collect();
        for &nth in &there {
            self.client(nth).hears("settled", &json!(settled));
        }
        let count = |nth: usize| {
            let notes = self.client(nth).payloads("note");
            notes.iter().filter(|&came| came == note).count()
        };
        assert!(there.iter().all(|&nth| count(nth) <= 1));
        there.into_iter().filter(|&nth| count(nth) == 1).collect()
    }

    #[track_caller]
    fn remote(&self, from: usize, target: usize, action: &str, arguments: [Value; 2]) -> Value {
        let [first, second] = arguments;
        let id = self.id(target);
        self.client(from)
            .call("remote", json!([id, action, first, second]))
    }
}

const NONE: [Value; 2] = [Value::Null, Value::Null];

#[track_caller]
fn sockets_of_other_machines(kind: Kind) {
    let six = Six::of(kind);
    for from in 0..6 {
        assert_eq!(six.fetched(from, json!({"as": "io"})), [0, 1, 2, 3, 4, 5]);
        assert_eq!(
            six.fetched(from, json!({"as": "io", "to": ["red"]})),
            [0, 2, 4]
        );
        let count = six.client(from).call("servers", json!([]))["count"].clone();
        assert_eq!(count, 6, "workers of all machines");
    }
    // Rooms, everybody, everybody but some, a socket's id.
    let both = json!({"as": "io", "to": ["red", "blue"], "except": [six.id(4)]});
    assert_eq!(six.reached(1, both, "rooms"), [0, 2, 5]);
    assert_eq!(
        six.reached(3, json!({"as": "socket", "broadcast": true}), "others"),
        [0, 1, 2, 4, 5]
    );
    assert_eq!(
        six.reached(0, json!({"as": "io", "to": [six.id(5)]}), "one"),
        [5]
    );
    assert_eq!(
        six.reached(0, json!({"as": "io", "local": true}), "local"),
        six.fetched(0, json!({"as": "io", "local": true}))
    );
    // Answers of all, each its own.
    let asked = six
        .client(2)
        .call("ask", json!([{"as": "io"}, "question", "?"]));
    let acks = pairs(&asked["acks"]);
    assert!(acks.iter().all(|(id, answer)| id == answer), "{asked}");
    let answered: Vec<_> = acks.into_iter().map(|(id, _)| id).collect();
    assert_eq!(six.numbers(&answered), [0, 1, 2, 3, 4, 5]);
    // All of a selection.
    six.client(1)
        .call("joinAll", json!([{"as": "io", "to": ["red"]}, "green"]));
    assert_eq!(
        six.reached(1, json!({"as": "io", "to": ["green"]}), "joined"),
        [0, 2, 4]
    );
    six.client(1).call(
        "leaveAll",
        json!([{"as": "io", "to": [six.id(2)]}, "green"]),
    );
    assert_eq!(
        six.reached(1, json!({"as": "io", "to": ["green"]}), "left"),
        [0, 4]
    );
    // One socket of another machine.
    six.remote(0, 3, "emit", [json!("note"), json!("remote")]);
    six.client(3).hears("note", &json!("remote"));
    let answer = six.remote(5, 0, "ask", [json!("question"), json!("?")]);
    assert_eq!(answer["ack"], six.id(0), "{answer}");
    // Who told it to join asks behind that; another machine's question may come before it.
    let far = |from, expected: &[usize]| {
        six.fetched(from, json!({"as": "io", "to": ["far"]})) == expected
    };
    six.remote(0, 3, "join", [json!("far"), Value::Null]);
    assert!(far(0, &[3]));
    eventually("a third machine finds it there", SOON, || far(5, &[3]));
    six.remote(0, 3, "leave", [json!("far"), Value::Null]);
    assert!(far(0, &[]));
    eventually("a third machine does not any more", SOON, || far(5, &[]));
    six.remote(0, 3, "disconnect", NONE);
    let (_, reason) = six.client(3).goes(SOON);
    saw("disconnected", reason);
    six.client(1)
        .call("disconnectAll", json!([{"as": "io", "to": ["blue"]}]));
    for nth in [4, 5] {
        six.client(nth).goes(SOON);
    }
    eventually("they are gone everywhere", SOON, || {
        six.fetched(0, json!({"as": "io"})) == [0, 1, 2]
    });
    assert_eq!(six.machines.lost(), [0, 0, 0]);
}

#[test]
fn sockets_of_other_machines_are_found_and_obey_over_redis() {
    sockets_of_other_machines(Kind::Redis);
}

#[test]
fn sockets_of_other_machines_are_found_and_obey_over_postgres() {
    sockets_of_other_machines(Kind::Postgres);
}

#[track_caller]
fn server_side(kind: Kind) {
    let six = Six::of(kind);
    const EACH: usize = 100;
    let asked = (0..EACH).flat_map(|n| {
        let emit = move |from| json!([{"from": from, "n": n}]);
        [0, 3].map(|from| six.client(from).ask("serverSideEmit", emit(from)))
    });
    let asked: Vec<_> = asked.collect();
    for asked in asked {
        ok(asked.answer().value);
    }
    for at in 0..6 {
        let heard = || {
            let heard = six.client(at).call("heard", json!([]))["heard"].take();
            heard.as_array().unwrap().clone()
        };
        let senders = [0, 3].into_iter().filter(|&from| from != at);
        let senders: Vec<_> = senders.collect();
        eventually("all of it", SOON, || heard().len() >= EACH * senders.len());
        let heard = heard();
        for from in senders {
            let of = heard.iter().filter(|data| data["from"] == from);
            let got: Vec<_> = of.map(|data| data["n"].clone()).collect();
            counts_to(EACH, &got);
        }
    }
    let machines = six.machines.iter();
    let workers: Vec<_> = machines
        .flat_map(|machine| machine.server.workers())
        .collect();
    for from in 0..6 {
        let data = json!({"nested": [from, "é", null]});
        let asked = six.client(from).ask("serverSideAsk", json!([data, 8000]));
        let (answered, missing) = server_side_answers(&ok(asked.answer().value), &data);
        let mut others = workers.clone();
        others.retain(|&pid| pid != six.client(from).worker);
        others.sort_unstable();
        assert_eq!(answered, others);
        assert_eq!(missing.len(), 0, "{missing:?}");
    }
}

#[test]
fn applications_of_all_machines_hear_and_answer_each_other_over_redis() {
    server_side(Kind::Redis);
}

#[test]
fn applications_of_all_machines_hear_and_answer_each_other_over_postgres() {
    server_side(Kind::Postgres);
}
