//! A machine of its own as far as its network and its name go: namespaces that end with the value.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::super::holder::Holder;
use super::ADDRESS;

/// The switch's own address. A bridge without one takes that of a port, and another one with each new port.
const MAC: &str = "02:00:00:00:00:01";

/// A network namespace with a host name, which ends with the value.
pub struct Space {
    holder: Holder,
    network: NetSpace,
}

/// A network that sockets can be opened in, whoever has it.
#[derive(Clone)]
pub struct NetSpace(Arc<File>);

impl NetSpace {
    /// All that this thread opens from now on is in there.
    pub fn enter(&self) {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Does something in there.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let body = || {
                self.enter();
                body()
            };
            scope.spawn(body).join().unwrap()
        })
    }
}

impl Space {
    #[track_caller]
    pub fn new(host_name: &str) -> Self {
        let script = format!("hostname {host_name}; ip link set lo up; echo there; exec cat");
        let mut command = Command::new("unshare");
        command.args(["--net", "--uts", "sh", "-euc", &script]);
        let why = "only root makes network namespaces, with unshare and ip";
        let holder = Holder::start(&mut command, why);
        let network = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        Self {
            holder,
            network: NetSpace(Arc::new(network)),
        }
    }

    /// One with a switch that others are plugged into.
    pub fn switch() -> Self {
        let space = Self::new("switch");
        space.run(&format!(
            "ip link add switch address {MAC} type bridge; ip addr add {ADDRESS}/24 dev switch; ip link set switch up"
        ));
        space
    }

    pub fn network(&self) -> NetSpace {
        self.network.clone()
    }

    /// What stands before a command that is to run in it. The process remains the command's own.
    pub fn prefix(&self) -> [String; 4] {
        let target = format!("--target={}", self.holder.id());
        ["nsenter", &target, "--net", "--uts"].map(str::to_owned)
    }

    /// This program, to be run in it.
    pub fn command(&self, program: &str) -> Command {
        let [first, rest @ ..] = self.prefix();
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    }

    /// Runs lines of a shell in it.
    #[track_caller]
    pub fn run(&self, script: &str) {
        let status = self.command("sh").args(["-euc", script]).status();
        assert!(status.unwrap().success(), "{script}");
    }

    /// Lays a cable to a port of that name on the switch of another space. It has this address, of 24 bits.
    #[track_caller]
    pub fn plug_into(&self, switch: &Self, port: &str, address: &str) {
        switch.run(&format!(
            "ip link add {port} type veth peer name lan netns {}
             ip link set {port} master switch up",
            self.holder.id()
        ));
        self.run(&format!(
            "ip addr add {address}/24 dev lan; ip link set lan up"
        ));
    }

    /// Nothing passes this port any more: nothing is refused, and nothing arrives.
    pub fn unplug(&self, port: &str) {
        self.run(&format!("ip link set {port} nomaster"));
    }

    /// All passes again.
    pub fn plug(&self, port: &str) {
        self.run(&format!("ip link set {port} master switch"));
    }
}
