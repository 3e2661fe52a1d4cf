//! A booted Debian.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::files::{overlay, project, run, share};
use super::groups::Groups;
use super::{Release, SOON, Talker, eventually, saw};

/// A container with systemd as its first process. It ends with the value.
pub struct Machine {
    pub release: &'static Release,
    nspawn: Child,
    /// Its first process, as this machine sees it.
    leader: u32,
    groups: Groups,
    _scratch: TempDir,
}

/// What a command printed, standard error included, and whether it succeeded.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub text: String,
}

impl Machine {
    /// A Debian on which nginx was never installed.
    pub fn plain(release: &'static Release) -> Self {
        Self::boot(release, &[])
    }

    /// A Debian with its nginx.
    pub fn with_nginx(release: &'static Release) -> Self {
        Self::boot(release, &["nginx"])
    }

    /// A Debian with its Prometheus, and without nginx.
    pub fn with_prometheus(release: &'static Release) -> Self {
        Self::boot(release, &["prometheus"])
    }

    /// A Debian with its Redis, which is Valkey since Debian 13, and without nginx.
    pub fn with_redis(release: &'static Release) -> Self {
        Self::boot(release, &["redis"])
    }

    /// A Debian with sshd, Ansible, sudo and make, and without nginx.
    pub fn of_a_fleet(release: &'static Release) -> Self {
        Self::boot(release, &["fleet"])
    }

    /// A Debian with its nginx, with the package installed, and a client that was served.
    pub fn serving(release: &'static Release) -> Self {
        let machine = Self::with_nginx(release);
        machine.install();
        machine.echo("http://127.0.0.1", "websocket");
        machine
    }

    /// The same, and systemd can limit memory.
    pub fn serving_with_memory_limits(release: &'static Release) -> Self {
        let machine = Self::boot_in(release, &["nginx"], Groups::that_limit_memory);
        if machine.groups.are_of_version_1 {
            // The container's program mounts it read-only, and systemd does not use what it cannot write.
            machine.sh("mount -o remount,bind,rw /sys/fs/cgroup/memory && systemctl daemon-reexec");
        }
        machine.install();
        machine.echo("http://127.0.0.1", "websocket");
        machine
    }

    fn boot(release: &'static Release, layers: &[&str]) -> Self {
        Self::boot_in(release, layers, Groups::of_version_2)
    }

    fn boot_in(
        release: &'static Release,
        layers: &[&str],
        groups: impl FnOnce(&str) -> Groups,
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
        let mount = overlay(release, layers, scratch.path());
        let name = format!(
            "{}-{}-{}",
            release.name,
            std::process::id(),
            COUNT.fetch_add(1, Relaxed)
        );
        let groups = groups(&name);
        // There are many installations here: neither the manual's index is made anew each time, nor, whenever systemd
        // reads its files, units for what only another machine has.
        let nspawn = format!(
            "{enter} && {mount} && \
             rm -f {root}/var/lib/man-db/auto-update {root}/usr/lib/systemd/system-generators/* && exec systemd-nspawn --quiet --boot --register=no --keep-unit \
             --private-network --machine={name} --directory={root} \
             --bind-ro={tests}:/opt/tests --bind-ro={share}:/srv/share {kernel}",
            enter = groups.enter(),
            root = scratch.path().join("root").display(),
            tests = project().join("tests").display(),
            share = share().display(),
            // Or systemd of Debian 13 would not start.
            kernel = if groups.are_of_version_1 {
                "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
            } else {
                ""
            },
        );
        let console = fs::File::create(scratch.path().join("console")).unwrap();
        // The mount is in a namespace of its own and goes with it. So are all processes: should this
        // test be killed, unshare is, and with it the first process of that namespace, and with that
        // all others. Without it a container outlives its nspawn.
        let nspawn = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid"])
            .args(["--fork", "--kill-child=KILL", "--mount-proc"])
            .args(["sh", "-euc"])
            .arg(nspawn)
            .env(
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY",
                if groups.are_of_version_1 { "0" } else { "1" },
            )
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .expect("systemd-nspawn is installed (`make test-deps` does it)");
        let mut machine = Self {
            release,
            nspawn,
            leader: 0,
            groups,
            _scratch: scratch,
        };
        eventually("the machine is up", Duration::from_secs(90), || {
            assert!(
                machine.nspawn.try_wait().unwrap().is_none(),
                "the container ended"
            );
            machine.leader = machine.first_process().unwrap_or_default();
            machine.leader != 0 && {
                let state = machine.try_sh("systemctl is-system-running").text;
                assert_ne!(state.trim(), "degraded", "{}", machine.failed_units());
                state.trim() == "running"
            }
        });
        machine
    }

    fn first_process(&self) -> Option<u32> {
        let child = |pid: u32| -> Option<u32> {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        };
        let nspawn = child(self.nspawn.id())?;
        let name = fs::read_to_string(format!("/proc/{nspawn}/comm")).ok()?;
        (name.trim() == "systemd-nspawn")
            .then(|| child(nspawn))
            .flatten()
    }

    /// Lays a cable between two machines, which leads nowhere else. Each has its address at its end.
    pub fn connect(&self, address: &str, other: &Self, others_address: &str) {
        let ends = [(self, address), (other, others_address)];
        let [near, far] = ends.map(|(machine, _)| machine.leader.to_string());
        run(Command::new("nsenter")
            .args([
                "--target", &near, "--net", "ip", "link", "add", "cable", "type", "veth",
            ])
            .args(["peer", "name", "cable", "netns", &far]));
        for (machine, address) in ends {
            machine.sh(&format!(
                "ip address add {address}/24 dev cable; ip link set cable up"
            ));
        }
    }

    fn failed_units(&self) -> String {
        self.try_sh("systemctl --failed --no-legend").text
    }

    /// A command inside, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.leader.to_string()])
            .args([
                "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--",
            ])
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(["HOME=/root", "LANG=C.UTF-8", "SYSTEMD_COLORS=0"])
            .arg("DEBIAN_FRONTEND=noninteractive")
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell script inside, whatever comes of it.
    pub fn try_sh(&self, script: &str) -> Said {
        let mut shell = self.command("timeout");
        shell.args(["300", "sh", "-euc"]);
        let output = shell
            .arg(format!("exec 2>&1\ncd /root\n{script}"))
            .output()
            .unwrap();
        Said {
            ok: output.status.success(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
        }
    }

    /// Runs a shell script that must succeed; gives what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let said = self.try_sh(script);
        assert!(said.ok, "{script}\n{}", said.text);
        said.text.trim_end().to_owned()
    }

    /// The number that a shell script prints.
    #[track_caller]
    pub fn number(&self, script: &str) -> u64 {
        let said = self.sh(script);
        said.trim()
            .parse()
            .unwrap_or_else(|_| panic!("no number: {said}"))
    }

    /// Writes a file, and what directories it needs.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        self.sh(&format!(
            "mkdir -p \"$(dirname {path})\"\ncat >{path} <<'END_OF_FILE'\n{text}\nEND_OF_FILE"
        ));
    }

    /// `apt install ./my-app.deb`, which must succeed and leave all units active.
    #[track_caller]
    pub fn install(&self) -> String {
        self.install_with("")
    }

    /// The same, with more options for apt-get.
    #[track_caller]
    pub fn install_with(&self, options: &str) -> String {
        let said = self.sh(&install("my-app.deb", options));
        self.assert_active();
        said
    }

    /// Installs a package of the share, whatever comes of it.
    pub fn install_package(&self, package: &str) -> Said {
        self.try_sh(&install(package, ""))
    }

    /// What my-app.socket, my-app-tcp.socket and my-app.service are.
    pub fn states(&self) -> String {
        let units = "my-app.socket my-app-tcp.socket my-app.service";
        let said = self.try_sh(&format!("systemctl is-active {units} || true"));
        said.text.trim().replace('\n', " ")
    }

    /// Installs the next version, whatever comes of it.
    pub fn upgrade_with(&self, options: &str) -> Said {
        self.try_sh(&install("my-app-next.deb", options))
    }

    #[track_caller]
    pub fn assert_active(&self) {
        assert_eq!(self.states(), "active active active");
    }

    /// Runs a script of tests/clients to its end, and gives what its last line says.
    #[track_caller]
    pub fn node(&self, line: &str) -> Value {
        let said = self.sh(&format!("node /opt/tests/clients/{line}"));
        let last = said.lines().next_back().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|_| panic!("{line}: no figures in {last:?}"))
    }

    /// Runs a script of tests/clients that needs what this machine has and the container has not, a browser, say: here,
    /// but in the container's network.
    #[track_caller]
    pub fn node_outside(&self, script: &str, arguments: &[&str]) -> Value {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.leader.to_string(), "--net", "--", "node"])
            .arg(project().join("tests/clients").join(script))
            .args(arguments)
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command:?}\n{said}");
        let last = said.lines().next_back().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|_| panic!("{script}: no figures in {last:?}"))
    }

    /// The command, on this machine, that ends a process of the container by its number there.
    pub fn kill(&self) -> String {
        format!(
            "nsenter --target {} --mount --pid -- kill -KILL",
            self.leader
        )
    }

    /// A real client sends all kinds of data, and gets them back.
    #[track_caller]
    pub fn echo(&self, url: &str, transport: &str) {
        self.node(&format!(
            "echo.mjs --url {url} --transport {transport} --events 200 --acks 20 --crossings 1"
        ));
    }

    /// The same over polling, WebSocket, and from one to the other.
    #[track_caller]
    pub fn echo_every_way(&self, url: &str) {
        for transport in ["polling", "websocket", "upgrade"] {
            self.echo(url, transport);
        }
    }

    /// Starts a script of tests/clients that obeys lines on its standard input.
    #[track_caller]
    pub fn talk(&self, line: &str) -> Talker {
        let mut command = self.command("sh");
        command
            .arg("-c")
            .arg(format!("exec node /opt/tests/clients/{line}"));
        Talker::start(command)
    }

    /// The status that curl sees.
    #[track_caller]
    pub fn status(&self, arguments: &str) -> String {
        self.sh(&format!(
            "curl -s -o /dev/null -w '%{{http_code}}' {arguments} || true"
        ))
    }

    /// The lines of the service in the journal that contain `text`.
    #[track_caller]
    pub fn journal_count(&self, text: &str) -> u64 {
        self.number(&format!(
            "journalctl -q -o cat -u my-app.service | grep -c -F -e '{text}' || true"
        ))
    }

    /// Waits for such a line.
    #[track_caller]
    pub fn wait_for_journal(&self, text: &str) {
        eventually(text, SOON, || self.journal_count(text) > 0);
    }

    /// The process that is the master, as the machine numbers it.
    #[track_caller]
    pub fn master(&self) -> u64 {
        self.number("systemctl show --property=MainPID --value my-app.service")
    }

    pub fn saw(&self, what: &str, value: impl std::fmt::Display) {
        saw(self.release, what, value);
    }
}

/// apt wants a path with a slash, and a file that its own user may read.
fn install(package: &str, options: &str) -> String {
    format!(
        "cp /srv/share/{package} /var/tmp/\n\
         apt-get install -q -y -o Dpkg::Use-Pty=0 {options} /var/tmp/{package} </dev/null"
    )
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() && self.leader != 0 {
            let said = self.try_sh(
                "systemctl --failed --no-legend; journalctl -q --no-pager -n 40 | grep -v 'connected client'",
            );
            eprintln!("--- {} said:\n{}\n---", self.release.name, said.text);
        }
        // With its first process all others of its namespace go, and then nspawn.
        let victim = match self.leader {
            0 => self.nspawn.id(),
            leader => leader,
        };
        let _ = Command::new("kill")
            .args(["-KILL", &victim.to_string()])
            .status();
        let _ = self.nspawn.wait();
    }
}
