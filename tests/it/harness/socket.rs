//! Socket.IO clients that do what a test says, and remember what they heard and when.
//!
//! A [`Crowd`] is made of official clients (`puppets.mjs`), or of light ones, of which there can
//! be thousands. A test sees no difference.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::light::Light;
use super::puppets::Puppets;
use super::{SOON, Server};

/// An event that came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub at: Instant,
    pub event: String,
    /// Its first argument; what is long in it is cut.
    pub payload: Value,
}

/// What a client answers if an event asks for an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Its own id, at once.
    Id,
    /// Its own id, after so many milliseconds.
    Late(u64),
    Never,
}

/// What happens to a client.
pub enum News {
    /// Joined its namespace, with this id.
    Connected(String),
    Event(String, Value),
    Acknowledged(u64, Value),
    Gone(String),
}

#[derive(Default)]
struct State {
    id: String,
    connects: usize,
    heard: Vec<Heard>,
    asked: HashMap<u64, mpsc::Sender<(Instant, Value)>>,
    next: u64,
    gone: Option<(Instant, String)>,
}

/// What the engine that drives a client, and the test, both hold.
#[derive(Default)]
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// Called by the engine.
    pub fn tell(&self, news: News) {
        let at = Instant::now();
        let mut state = self.state.lock().unwrap();
        match news {
            News::Connected(id) => {
                state.id = id;
                state.connects += 1;
                state.gone = None;
            }
            News::Event(event, mut payload) => {
                shorten(&mut payload);
                state.heard.push(Heard { at, event, payload });
            }
            News::Acknowledged(number, value) => {
                if let Some(asker) = state.asked.remove(&number) {
                    // Whoever no longer waits does not want it.
                    let _ = asker.send((at, value));
                }
            }
            News::Gone(reason) => {
                state.asked.clear();
                state.gone.get_or_insert((at, reason));
            }
        }
        self.changed.notify_all();
    }
}

/// Megabytes of padding would fill the memory.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > 1000 => *value = json!(text.len()),
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

/// What an engine is told to do with one of its clients.
pub trait Strings: Send + Sync {
    /// Emits with an acknowledgement of this number.
    fn emit(&self, event: &str, arguments: &Value, number: u64);
    fn answer(&self, answer: Answer);
    fn close(&self);
}

/// One client.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    strings: Arc<dyn Strings>,
    /// The worker that had it when it came.
    pub worker: u32,
}

/// A question that was asked.
pub struct Asked {
    what: String,
    pub at: Instant,
    answer: mpsc::Receiver<(Instant, Value)>,
}

/// An answer, and how long it took.
#[derive(Debug, Clone)]
pub struct Answered {
    pub value: Value,
    pub at: Instant,
    pub took: Duration,
}

impl Asked {
    /// Waits for it.
    #[track_caller]
    pub fn answer(self) -> Answered {
        let what = self.what.clone();
        self.outcome()
            .unwrap_or_else(|| panic!("the client is gone, or no answer came to {what}"))
    }

    /// Waits for it; none comes to a client that is gone.
    pub fn outcome(self) -> Option<Answered> {
        let (at, value) = self.answer.recv_timeout(SOON + SOON).ok()?;
        let took = at.saturating_duration_since(self.at);
        Some(Answered { value, at, took })
    }
}

/// What came of it: the answer, which must be `ok`.
#[track_caller]
pub fn ok(value: Value) -> Value {
    assert_eq!(value["ok"], true, "{value}");
    value
}

impl Client {
    pub fn new(shared: &Arc<Shared>, strings: Arc<dyn Strings>) -> Self {
        Self {
            shared: Arc::clone(shared),
            strings,
            worker: 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Its socket's id, that of its newest connection.
    pub fn id(&self) -> String {
        self.state().id.clone()
    }

    /// Emits an event with these arguments (an array) and an acknowledgement, and goes on.
    pub fn ask(&self, event: &str, arguments: Value) -> Asked {
        let (asker, answer) = mpsc::channel();
        let number = {
            let mut state = self.state();
            state.next += 1;
            let number = state.next;
            if state.gone.is_none() {
                state.asked.insert(number, asker);
            }
            number
        };
        let mut what = format!("{event} {arguments}");
        what.truncate(what.floor_char_boundary(200));
        let at = Instant::now();
        self.strings.emit(event, &arguments, number);
        Asked { what, at, answer }
    }

    /// Emits and waits for the answer, which must be `ok`.
    #[track_caller]
    pub fn call(&self, event: &str, arguments: Value) -> Value {
        ok(self.ask(event, arguments).answer().value)
    }

    /// Emits what the server must refuse, and gives its words.
    #[track_caller]
    pub fn refused(&self, event: &str, arguments: Value) -> String {
        let value = self.ask(event, arguments).answer().value;
        assert_eq!(value["ok"], false, "{value}");
        value["error"].as_str().unwrap().to_owned()
    }

    /// How it answers from now on.
    pub fn answers(&self, answer: Answer) {
        self.strings.answer(answer);
    }

    /// What came under this name so far.
    pub fn heard(&self, event: &str) -> Vec<Heard> {
        let state = self.state();
        let of_it = state.heard.iter().filter(|heard| heard.event == event);
        of_it.cloned().collect()
    }

    /// Looks at everything that came so far.
    pub fn with_heard<T>(&self, look: impl FnOnce(&[Heard]) -> T) -> T {
        look(&self.state().heard)
    }

    /// The first arguments of what came under this name.
    pub fn payloads(&self, event: &str) -> Vec<Value> {
        let heard = self.heard(event).into_iter();
        heard.map(|heard| heard.payload).collect()
    }

    /// Everything that came so far, and forgets it.
    pub fn take_heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.state().heard)
    }

    /// Waits until something with this name and first argument was heard.
    #[track_caller]
    pub fn hears(&self, event: &str, payload: &Value) {
        let heard = self.hears_where(|heard| heard.event == event && heard.payload == *payload);
        assert!(heard, "not within {SOON:?}: {event} {payload}");
    }

    /// Waits until something like this was heard.
    pub fn hears_where(&self, like: impl Fn(&Heard) -> bool) -> bool {
        let heard = self.wait(SOON, |state| {
            state.heard.iter().rev().any(&like).then_some(())
        });
        heard.is_some()
    }

    /// Why it is no longer connected, and since when.
    pub fn gone(&self) -> Option<(Instant, String)> {
        self.state().gone.clone()
    }

    /// Waits until it is no longer connected.
    #[track_caller]
    pub fn goes(&self, within: Duration) -> (Instant, String) {
        let gone = self.wait(within, |state| state.gone.clone());
        gone.expect("the client is to be disconnected")
    }

    /// How many times it connected.
    pub fn connects(&self) -> usize {
        self.state().connects
    }

    /// Waits until it is connected for the nth time or more.
    #[track_caller]
    pub fn connected(&self, nth: usize, within: Duration) {
        let there = self.wait(within, |state| {
            (state.connects >= nth && state.gone.is_none()).then_some(())
        });
        let reason = self.gone();
        assert!(there.is_some(), "it did not connect: {reason:?}");
    }

    /// Leaves, and waits until that is done.
    #[track_caller]
    pub fn close(&self) {
        self.strings.close();
        self.goes(SOON);
    }

    fn wait<T>(&self, within: Duration, find: impl Fn(&State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + within;
        let mut state = self.state();
        loop {
            if let Some(found) = find(&state) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

/// Clients of one namespace, those of one worker side by side, in the order of the workers' slots.
pub struct Crowd {
    clients: Vec<Client>,
    workers: Vec<u32>,
    /// Ends the clients with the crowd.
    _engine: Box<dyn Send + Sync>,
}

impl Deref for Crowd {
    type Target = [Client];

    fn deref(&self) -> &[Client] {
        &self.clients
    }
}

impl Crowd {
    /// Official clients, with these arguments for `puppets.mjs`.
    #[track_caller]
    pub fn official(server: &Server, namespace: &str, count: usize, more: &[&str]) -> Self {
        let puppets = Puppets::start(&server.url(), namespace, count, more);
        let clients = puppets.clients();
        Self::gather(server, clients, Box::new(puppets))
    }

    /// Light clients, over WebSocket.
    #[track_caller]
    pub fn light(server: &Server, namespace: &str, count: usize) -> Self {
        let light = Light::start(server.addr, server.network.clone(), namespace, count);
        let clients = light.clients();
        Self::gather(server, clients, Box::new(light))
    }

    /// The same of an application that does not tell where they are.
    #[track_caller]
    pub fn unplaced(server: &Server, namespace: &str, count: usize) -> Self {
        let light = Light::start(server.addr, server.network.clone(), namespace, count);
        let clients = light.clients();
        for client in &clients {
            client.connected(1, Duration::from_secs(60));
        }
        Self {
            clients,
            workers: Vec::new(),
            _engine: Box::new(light),
        }
    }

    #[track_caller]
    fn gather(server: &Server, mut clients: Vec<Client>, engine: Box<dyn Send + Sync>) -> Self {
        for client in &clients {
            client.connected(1, Duration::from_secs(60));
        }
        let asked: Vec<_> = clients
            .iter()
            .map(|c| c.ask("whereami", json!([])))
            .collect();
        for (client, asked) in clients.iter_mut().zip(asked) {
            let pid = asked.answer().value["worker"].as_u64().unwrap();
            client.worker = u32::try_from(pid).unwrap();
        }
        let workers = server.workers();
        clients.sort_by_key(|client| workers.iter().position(|&pid| pid == client.worker));
        Self {
            clients,
            workers,
            _engine: engine,
        }
    }

    /// How many there are on each worker of the moment when they came.
    pub fn spread(&self) -> Vec<usize> {
        let workers = self.workers.iter();
        workers.map(|&pid| self.on(pid).len()).collect()
    }

    /// Those of one worker.
    pub fn on(&self, worker: u32) -> Vec<&Client> {
        self.iter().filter(|c| c.worker == worker).collect()
    }

    /// Those of all the other workers.
    pub fn not_on(&self, worker: u32) -> Vec<&Client> {
        self.iter().filter(|c| c.worker != worker).collect()
    }

    /// All of them ask the same, one after the other.
    #[track_caller]
    pub fn all_call(&self, event: &str, arguments: &Value) {
        let all = self.iter();
        let asked: Vec<_> = all.map(|c| c.ask(event, arguments.clone())).collect();
        for asked in asked {
            ok(asked.answer().value);
        }
    }
}

/// The ids of these clients, sorted.
pub fn ids<'a>(clients: impl IntoIterator<Item = &'a Client>) -> Vec<String> {
    let mut ids: Vec<_> = clients.into_iter().map(Client::id).collect();
    ids.sort_unstable();
    ids
}
