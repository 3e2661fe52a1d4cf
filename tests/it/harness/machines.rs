//! Several machines as namespaces of this one, each with its own address, host name and workers, joined by cables to
//! a switch with a real Redis or Postgres. Clients connect to each machine from inside of it, so that a cut cable ends
//! no session.

mod bus;
mod relay;
mod space;

use std::fmt::Write as _;
use std::ops::Index;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use bus::{ADDRESS, Bus, Kind};
pub use relay::Relay;
pub use space::{NetSpace, Space};

use super::{Client, Crowd, ROOM, Server, Setup, eventually, ids, signal_process, strings};

/// What the machines are called.
pub const NAMES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

/// How long machines may take to find each other.
const MEET: Duration = Duration::from_secs(20);

/// Whether there is time: what takes tens of seconds runs in full before a release alone (`make long-tests`).
pub fn long_tests() -> bool {
    std::env::var_os("MACHINES_LONG").is_some()
}

/// How machines are started.
pub struct Plan {
    kind: Kind,
    count: usize,
    workers: u16,
    example: Option<&'static str>,
    top: String,
    tables: String,
    bridge: String,
    numbers: Vec<u16>,
    relayed: Option<Duration>,
    url: Option<String>,
    server_runs: bool,
    joins: bool,
}

/// Running machines. They end with the value.
pub struct Machines {
    all: Vec<Machine>,
    pub bus: Bus,
    relay: Option<Relay>,
    pub switch: Space,
}

/// One machine.
pub struct Machine {
    pub name: &'static str,
    pub server: Server,
    space: Space,
}

impl Index<usize> for Machines {
    type Output = Machine;

    fn index(&self, nth: usize) -> &Machine {
        &self.all[nth]
    }
}

impl Plan {
    /// So many machines with 2 workers each, with the sample application.
    pub fn of(count: usize, kind: Kind) -> Self {
        Self {
            kind,
            count,
            workers: 2,
            example: None,
            top: String::new(),
            tables: String::new(),
            bridge: String::new(),
            numbers: (1..).take(count).collect(),
            relayed: None,
            url: None,
            server_runs: true,
            joins: true,
        }
    }

    pub fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    /// With the application of one of the examples.
    pub fn example(mut self, name: &'static str) -> Self {
        self.example = Some(name);
        self
    }

    /// Lines for the configuration that stand before its tables.
    pub fn top(mut self, lines: &str) -> Self {
        writeln!(self.top, "{lines}").unwrap();
        self
    }

    /// Tables of the configuration, `[bridge]`, `[log]` and `[control]` excepted.
    pub fn config(mut self, tables: &str) -> Self {
        writeln!(self.tables, "{tables}").unwrap();
        self
    }

    /// Lines of `[bridge]`.
    pub fn bridge(mut self, lines: &str) -> Self {
        writeln!(self.bridge, "{lines}").unwrap();
        self
    }

    /// With these for the machines' numbers.
    pub fn numbers(mut self, numbers: &[u16]) -> Self {
        self.numbers = numbers.to_vec();
        self
    }

    /// With something between that can cut connections: [`Machines::cut_connections`].
    pub fn relayed(self) -> Self {
        self.far(Duration::ZERO)
    }

    /// With the server as far away as this, there and back.
    pub fn far(mut self, there_and_back: Duration) -> Self {
        self.relayed = Some(there_and_back / 2);
        self
    }

    /// With this for a URL, and no password.
    pub fn url(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }

    /// The bus's server is not there yet.
    pub fn without_server(mut self) -> Self {
        self.server_runs = false;
        self.unjoined()
    }

    /// Does not wait until they know each other.
    pub fn unjoined(mut self) -> Self {
        self.joins = false;
        self
    }

    /// Starts them, and waits until each has its workers, and until they know each other.
    #[track_caller]
    pub fn start(self) -> Machines {
        let switch = Space::switch();
        let bus = Bus::start(self.kind, &switch);
        self.start_with(switch, bus)
    }

    /// The same with this server, at this switch.
    #[track_caller]
    pub fn start_with(self, switch: Space, bus: Bus) -> Machines {
        if !self.server_runs {
            bus.kill();
        }
        let relay = self
            .relayed
            .map(|one_way| Relay::to(bus.addr(), switch.network(), one_way));
        let port = relay.as_ref().map_or(bus.port, |relay| relay.port);
        let url = self.url.as_ref().map(|url| format!("url = \"{url}\""));
        let url = url.unwrap_or_else(|| bus.settings(port));
        let numbers = self.numbers.iter().zip(NAMES).enumerate();
        let all = numbers.map(|(nth, (number, name))| {
            let space = Space::new(name);
            space.plug_into(&switch, name, &address(nth));
            let server = self.setup(&space, &url, *number, nth).start();
            Machine {
                name,
                server,
                space,
            }
        });
        let machines = Machines {
            all: all.collect(),
            bus,
            relay,
            switch,
        };
        if self.joins {
            machines.wait_until_joined();
        }
        machines
    }

    fn setup(&self, space: &Space, url: &str, number: u16, nth: usize) -> Setup {
        let bridge = format!("[bridge]\n{url}\nmachine = {number}\n{}", self.bridge);
        let setup = Setup::new()
            .on(space)
            .workers(self.workers)
            .listen(&format!("{}:3000", address(nth)))
            .top(&self.top)
            .config(&self.tables)
            .config(&bridge);
        match self.example {
            Some(name) => setup.example(name),
            None => setup,
        }
    }
}

/// The nth machine's address.
fn address(nth: usize) -> String {
    format!("10.77.0.{}", 11 + nth)
}

impl Machines {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Machine> {
        self.all.iter()
    }

    /// The addresses of all, as scripts take them that run in the switch's network.
    pub fn urls(&self) -> String {
        let urls = (0..self.len()).map(|nth| format!("http://{}:3000", address(nth)));
        urls.collect::<Vec<_>>().join(",")
    }

    /// Waits until each knows the workers of all.
    #[track_caller]
    pub fn wait_until_joined(&self) -> Duration {
        let all: usize = self
            .iter()
            .map(|machine| machine.server.workers().len())
            .sum();
        let began = Instant::now();
        for machine in self.iter() {
            let own = machine.server.workers().len();
            eventually(&format!("{} knows the others", machine.name), MEET, || {
                machine.workers_elsewhere() == all - own
            });
        }
        began.elapsed()
    }

    /// Frames that other machines sent and that did not come, as each machine counts them.
    pub fn lost(&self) -> Vec<usize> {
        self.iter().map(Machine::lost).collect()
    }

    /// No process of these machines has ended since `before`.
    #[track_caller]
    pub fn assert_same_processes(&self, before: &[Vec<u32>]) {
        assert_eq!(self.processes(), before, "a process ended");
    }

    /// The bridge and the workers of each machine.
    pub fn processes(&self) -> Vec<Vec<u32>> {
        let all = self.iter().map(|machine| {
            let mut all = machine.server.workers();
            all.extend(machine.server.bridge());
            all
        });
        all.collect()
    }

    /// The bridges of all machines get this signal at once, and end; waits for the next ones.
    #[track_caller]
    pub fn end_bridges(&self, signal: &str) {
        let bridges = self
            .iter()
            .map(|machine| machine.server.bridge().expect("a bridge"));
        let bridges: Vec<_> = bridges.collect();
        bridges
            .iter()
            .for_each(|bridge| signal_process(*bridge, signal));
        for (machine, bridge) in self.iter().zip(bridges) {
            machine.wait_for_another_bridge(bridge);
        }
    }

    /// Pulls the nth machine's cable out: what is sent is not refused, it does not arrive.
    pub fn cut_link(&self, nth: usize) {
        self.switch.unplug(self.all[nth].name);
    }

    /// Plugs it in again.
    pub fn restore_link(&self, nth: usize) {
        self.switch.plug(self.all[nth].name);
    }

    /// What is between the machines and the bus's server.
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("a plan that is relayed")
    }

    /// Every connection to the bus's server is reset, with what is under way.
    pub fn cut_connections(&self) {
        self.relay().cut_all();
    }

    /// Light clients in a namespace, so many on each machine, as many on each of its workers.
    #[track_caller]
    pub fn crowds(&self, namespace: &str, each: usize) -> Vec<Crowd> {
        let crowds = self
            .iter()
            .map(|machine| Crowd::light(&machine.server, namespace, each));
        crowds.collect()
    }

    /// The same in the chat, all in one room, in which everybody sees everybody.
    #[track_caller]
    pub fn chat(&self, each: usize) -> Vec<Crowd> {
        let crowds = self.crowds("/chat", each);
        for crowd in &crowds {
            crowd.all_call("join", &json!([ROOM]));
        }
        for crowd in &crowds {
            assert_eq!(present(&crowd[0]), ids(everybody(&crowds)));
        }
        crowds
    }
}

impl Machine {
    /// What it says of its bridge.
    pub fn bridge(&self) -> Value {
        self.server.control().get("/status")["bridge"].take()
    }

    /// How many workers of other machines its bridge knows of.
    pub fn workers_elsewhere(&self) -> usize {
        let bridge = self.bridge();
        let machines = bridge["machines"].as_array().into_iter().flatten();
        let workers = machines.filter_map(|machine| machine["workers"].as_u64());
        usize::try_from(workers.sum::<u64>()).unwrap()
    }

    /// Frames for it that were lost on the way here.
    pub fn lost(&self) -> usize {
        usize::try_from(self.bridge()["lost_in"].as_u64().unwrap()).unwrap()
    }

    /// How often its bridge lost the link.
    pub fn outages(&self) -> u64 {
        self.bridge()["outages"].as_u64().unwrap()
    }

    /// What its bridge says is missing.
    pub fn missing(&self) -> String {
        self.bridge()["missing"].to_string()
    }

    /// Its bridge gets this signal, by its name for kill(1), and ends; waits for the next one.
    #[track_caller]
    pub fn end_bridge(&self, signal: &str) {
        let bridge = self.server.bridge().expect("a bridge");
        signal_process(bridge, signal);
        self.wait_for_another_bridge(bridge);
    }

    #[track_caller]
    fn wait_for_another_bridge(&self, bridge: u32) {
        eventually("another bridge", MEET, || {
            let pid = self.bridge()["pid"].as_u64();
            pid.is_some_and(|pid| pid != u64::from(bridge))
        });
    }
}

/// All clients of these.
pub fn everybody(crowds: &[Crowd]) -> impl Iterator<Item = &Client> {
    crowds.iter().flat_map(|crowd| crowd.iter())
}

/// Who is in the chat's room, as this client is told.
#[track_caller]
pub fn present(client: &Client) -> Vec<String> {
    strings(&client.call("who", json!([ROOM]))["sockets"])
}
