//! Four workers with the example of all operators, and a client for each seat.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// Eight official clients, two on each of four workers: 0 and 1 on the first, and so on.
pub struct Stage {
    pub server: Server,
    pub crowd: Crowd,
    pub emitted: Cell<u64>,
}

impl Stage {
    #[track_caller]
    pub fn new() -> Self {
        // Before and after an upgrade, and without one.
        Self::over("websocket,polling,upgrade")
    }

    /// Over these transports in turn.
    #[track_caller]
    pub fn over(transports: &str) -> Self {
        let server = Setup::new().workers(4).example("operators").start();
        let crowd = Crowd::official(&server, "/", 8, &["--transports", transports]);
        let workers = server.workers();
        let of = |nth: usize| workers[nth / 2];
        assert!(
            (0..8).all(|nth| crowd[nth].worker == of(nth)),
            "{:?}",
            crowd.spread()
        );
        let emitted = Cell::new(0);
        Self {
            server,
            crowd,
            emitted,
        }
    }

    /// With these clients in the room `red`, and these in `blue`.
    #[track_caller]
    pub fn with_rooms(red: &[usize], blue: &[usize]) -> Self {
        let stage = Self::new();
        stage.join("red", red);
        stage.join("blue", blue);
        stage
    }

    #[track_caller]
    pub fn join(&self, room: &str, clients: &[usize]) {
        for &nth in clients {
            self.crowd[nth].call("join", json!([room]));
        }
    }

    pub fn id(&self, nth: usize) -> String {
        self.crowd[nth].id()
    }

    /// Waits until everybody connected got all that `from` emitted.
    #[track_caller]
    pub fn settle(&self, from: usize) {
        let number = json!(self.emitted.replace(self.emitted.get() + 1));
        self.crowd[from].call("emit", json!([{"as": "io"}, "settled", number]));
        for client in self.crowd.iter().filter(|client| client.gone().is_none()) {
            client.hears("settled", &number);
        }
    }

    /// Who hears what `from` emits with this selection. Nobody hears it twice.
    #[track_caller]
    pub fn reached(&self, from: usize, selection: Value) -> Vec<usize> {
        let number = json!(self.emitted.get());
        self.crowd[from].call("emit", json!([selection, "note", number]));
        self.settle(from);
        let count = |client: &Client| {
            let notes = client.payloads("note");
            notes.iter().filter(|&note| *note == number).count()
        };
        let counts: Vec<_> = self.crowd.iter().map(count).collect();
        assert!(counts.iter().all(|&count| count <= 1), "{counts:?}");
        (0..8).filter(|&nth| counts[nth] == 1).collect()
    }

    /// Who is in this selection, if `from` asks.
    #[track_caller]
    pub fn fetched(&self, from: usize, selection: Value) -> Vec<usize> {
        let found = self.crowd[from].call("fetch", json!([selection]));
        let sockets = strings(&found["sockets"]);
        assert!(sockets.is_sorted(), "{sockets:?}");
        self.numbers(&sockets)
    }

    /// `from` does this to the socket with this id, with two arguments.
    pub fn remote(&self, from: usize, id: &str, action: &str, arguments: [Value; 2]) -> Asked {
        let [first, second] = arguments;
        self.crowd[from].ask("remote", json!([id, action, first, second]))
    }

    pub fn numbers(&self, sockets: &[String]) -> Vec<usize> {
        let all = ids(self.crowd.iter());
        assert!(sockets.iter().all(|id| all.contains(id)), "{sockets:?}");
        let named = |nth: &usize| sockets.contains(&self.id(*nth));
        let numbers: Vec<_> = (0..8).filter(named).collect();
        assert_eq!(numbers.len(), sockets.len(), "{sockets:?}");
        numbers
    }

    /// Asks with this selection: who answered their id, who did not and why, and after how long.
    #[track_caller]
    pub fn asked(
        &self,
        from: usize,
        selection: Value,
    ) -> (Vec<usize>, BTreeMap<usize, String>, Duration) {
        let asked = self.crowd[from].ask("ask", json!([selection, "question", "?"]));
        let Answered { value, took, .. } = asked.answer();
        let value = ok(value);
        let acks = pairs(&value["acks"]);
        assert!(acks.iter().all(|(id, answer)| id == answer), "{value}");
        let acks: Vec<_> = acks.into_iter().map(|(id, _)| id).collect();
        let number = |id| self.numbers(&[id])[0];
        let errors = pairs(&value["errors"]).into_iter();
        let errors = errors.map(|(id, why)| (number(id), why)).collect();
        (self.numbers(&acks), errors, took)
    }
}

pub const ALL: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
pub const ALL_BUT_0: [usize; 7] = [1, 2, 3, 4, 5, 6, 7];
