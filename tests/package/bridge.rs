//! Several machines: the bridge's unit, and a Redis over its Unix socket and over TLS.
//!
//! The second machine is a second server in the same container, by hand, with a bridge of its own. On Debian 13 the
//! Redis is Valkey, as Debian has it.

use std::time::Duration;

use super::harness::*;
use super::sandbox;

on_every_release!(
    without_a_url_there_is_no_bridge,
    a_redis_on_the_same_machine_is_reached_over_its_socket,
    a_redis_far_away_is_reached_over_tls_with_a_password,
    a_redis_that_is_not_there_keeps_nobody_from_serving,
);

const MAIN: &str = "http://127.0.0.1:3000";
const OTHER: &str = "http://127.0.0.1:3001";

/// Debian's Redis of this release: its unit, its configuration, its socket, its group, its client.
struct Redis {
    unit: &'static str,
    config: &'static str,
    socket: &'static str,
    group: &'static str,
    server: &'static str,
    client: &'static str,
}

fn redis(machine: &Machine) -> Redis {
    if machine.release.name == "bookworm" {
        Redis {
            unit: "redis-server",
            config: "/etc/redis/redis.conf",
            socket: "/run/redis/redis-server.sock",
            group: "redis",
            server: "redis-server",
            client: "redis-cli",
        }
    } else {
        Redis {
            unit: "valkey-server",
            config: "/etc/valkey/valkey.conf",
            socket: "/run/valkey/valkey-server.sock",
            group: "valkey",
            server: "valkey-server",
            client: "valkey-cli",
        }
    }
}

impl Machine {
    /// Writes `[bridge]`, for the service, which is restarted.
    #[track_caller]
    fn join_others(&self, bridge: &str) {
        self.write("/etc/my-app/my-app.toml", &format!("[bridge]\n{bridge}"));
        self.sh("systemctl restart my-app.service");
    }

    /// The second server and its bridge.
    #[track_caller]
    fn another(&self, bridge: &str) {
        let config = "log.file = \"\"\nworkers = 1\ncontrol.socket = \"/run/other/control.sock\"";
        self.write("/root/other.toml", &format!("{config}\n[bridge]\n{bridge}"));
        self.sh(
            "mkdir -p /run/other
             systemd-run -q --unit other -p Type=notify my-app --config /root/other.toml --listen 127.0.0.1:3001
             systemd-run -q --unit other-bridge -p Type=notify my-app bridge --config /root/other.toml",
        );
    }

    fn status_of(&self, unit: &str) -> String {
        self.sh(&format!(
            "systemctl show --property=StatusText --value {unit}"
        ))
    }

    fn state_of(&self, unit: &str) -> String {
        self.sh(&format!(
            "systemctl show --property=ActiveState --value {unit}"
        ))
    }

    /// Waits until a message from one machine is at the other; gives the clients.
    #[track_caller]
    fn joined(&self) -> Talker {
        let probe = || {
            let mut talker = self.talk(&format!(
                "across.mjs --from {MAIN} --to {OTHER} --patience 1000 --deadline 300"
            ));
            talker.ask("one")["lost"] == 0
        };
        eventually("the machines hear each other", 3 * SOON, probe);
        self.talk(&format!(
            "across.mjs --from {MAIN} --to {OTHER} --deadline 300"
        ))
    }

    fn exposure(&self, unit: &str) -> f64 {
        let said = self.sh(&format!("systemd-analyze security {unit} | tail -n 1"));
        self.saw("systemd-analyze security", &said);
        let figure = said.split(": ").nth(1).unwrap();
        figure.split(' ').next().unwrap().parse().unwrap()
    }
}

/// Everything that was sent arrived once and in order.
#[track_caller]
fn assert_all(machine: &Machine, what: &str, figures: &serde_json::Value) {
    machine.saw(what, figures);
    for none in ["lost", "doubled", "disordered"] {
        assert_eq!(figures[none], 0, "{what}: {figures}");
    }
    assert!(
        figures["received"].as_u64().unwrap() > 0,
        "{what}: {figures}"
    );
}

fn without_a_url_there_is_no_bridge(release: &'static Release) {
    let machine = Machine::with_redis(release);
    machine.install_with("--no-install-recommends");
    // Skipped, and neither a failure nor a line in the log that looks like one.
    assert_eq!(machine.state_of("my-app-bridge.service"), "inactive");
    machine.sh("systemctl start my-app-bridge.service");
    assert_eq!(machine.state_of("my-app-bridge.service"), "inactive");
    assert_eq!(machine.sh("systemctl --failed --no-legend"), "");
    let verify = "cd /usr/lib/systemd/system && systemd-analyze verify my-app-bridge.service";
    assert_eq!(machine.sh(verify), "");
    assert!(machine.exposure("my-app-bridge.service") <= 1.5);

    // A configuration with faults is the unit's failure, and its journal has the line.
    machine.write(
        "/etc/my-app/my-app.toml",
        "[bridge]\nurl = \"redis://:hunter2@a\"",
    );
    machine.try_sh("systemctl start my-app-bridge.service");
    eventually("the unit fails", SOON, || {
        machine.state_of("my-app-bridge.service") == "failed"
    });
    let journal = machine.sh("journalctl -q -o cat -u my-app-bridge.service");
    assert!(journal.contains("bridge.secret_file"), "{journal}");
    assert!(!journal.contains("hunter2"), "{journal}");
    assert_eq!(machine.check().exit, 78);
    machine.write("/etc/my-app/my-app.toml", "");
    machine.sh("systemctl reset-failed; apt-get purge -q -y my-app");
    assert_eq!(
        machine.sh("find /etc/systemd /run/my-app-bus -name '*bridge*' 2>/dev/null || true"),
        ""
    );
}

fn a_redis_on_the_same_machine_is_reached_over_its_socket(release: &'static Release) {
    let machine = Machine::with_redis(release);
    machine.install_with("--no-install-recommends");
    let Redis {
        unit,
        config,
        socket,
        group,
        ..
    } = redis(&machine);
    let url = format!("url = \"redis+unix://{socket}\"\n");

    // As Debian ships it, there is no such socket.
    machine.join_others(&format!("{url}machine = 1"));
    machine.assert_active();
    let check = machine.check();
    let found = check.text("bridge-unreachable", "what");
    assert!(found.contains(socket), "{found}");
    // As docs/OPERATING.md says.
    machine.sh(&format!(
        "printf 'unixsocket {socket}\\nunixsocketperm 770\\n' >>{config}
         systemctl restart {unit}"
    ));
    eventually("the Redis listens there", SOON, || {
        machine.try_sh(&format!("test -S {socket}")).ok
    });
    let check = machine.check();
    let remedy = check.text("bridge-unreachable", "remedy");
    assert!(
        remedy.contains(&format!("SupplementaryGroups={group}")),
        "{remedy}"
    );
    let (command, _) = remedy.split_once("; for Debian's").unwrap();
    machine.sh(command);
    machine.another(&format!("{url}machine = 2"));
    let mut talker = machine.joined();
    assert_eq!(machine.check().get("bridge-unreachable"), None);

    // The service's own unit is as shut in as without it.
    assert!(machine.exposure("my-app.service") <= 0.2);
    assert!(machine.exposure("my-app-bridge.service") <= 1.5);
    let master = machine.master();
    let inet = format!("ss -Hantup | grep -c 'pid={master},' || true");
    assert_eq!(
        machine.number(&format!(
            "cat /proc/{master}/task/*/comm | grep -vc '^log-'"
        )),
        1
    );
    let own = format!("nsenter -t {master} -n {inet}");
    assert_eq!(machine.number(&own), 0, "{}", machine.sh("ss -Hantup"));

    // Its restart disconnects nobody, and nothing is lost.
    talker.ask("begin");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        machine.sh("systemctl restart my-app-bridge.service");
    }
    std::thread::sleep(Duration::from_secs(1));
    assert_all(
        &machine,
        "restarts of the bridge under traffic",
        &talker.ask("end"),
    );
    assert_eq!(machine.master(), master);

    // An upgrade reloads the service and then restarts the bridge, which is then of the new version.
    let before = machine.number("systemctl show -P MainPID my-app-bridge.service");
    drop(talker);
    assert!(
        machine
            .upgrade_with("--no-install-recommends -o Dpkg::Options::=--force-confold")
            .ok
    );
    let after = machine.number("systemctl show -P MainPID my-app-bridge.service");
    assert!(after != 0 && after != before, "{before} {after}");
    assert_eq!(machine.joined().ask("one")["lost"], 0);

    // Without the service there is no bridge; with it there is.
    machine.sh("systemctl stop my-app.socket 2>&1");
    eventually("the bridge stops with the service", SOON, || {
        machine.state_of("my-app-bridge.service") == "inactive"
    });
    machine.sh("systemctl start my-app.socket my-app-tcp.socket my-app.service");
    assert_eq!(machine.joined().ask("one")["lost"], 0);
    machine.sh("touch /etc/my-app/bridge-password; apt-get purge -q -y my-app");
    assert_eq!(
        machine.sh("ls -d /etc/my-app /run/my-app-bus 2>/dev/null || true"),
        ""
    );
}

/// A Redis with TLS and a password on another address, as on another machine.
fn start_far_redis(machine: &Machine) {
    let Redis { server, .. } = redis(machine);
    machine.write("/root/far.conf", "bind 192.0.2.5\nport 0\ntls-port 6380\nsave \"\"\ndaemonize no\nrequirepass first\n\
        tls-cert-file /root/tls/redis.crt\ntls-key-file /root/tls/redis.key\ntls-ca-cert-file /root/tls/ca.crt\ntls-auth-clients no\ndir /tmp");
    machine.sh(&format!(
        "ip link add name far type veth peer name far1
         ip address add 192.0.2.5/24 dev far; ip link set far up; ip link set far1 up
         mkdir /root/tls && cd /root/tls
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt 2>/dev/null
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=redis.test -keyout redis.key -out redis.csr 2>/dev/null
         printf 'subjectAltName=DNS:redis.test,IP:192.0.2.5\\n' >ext
         openssl x509 -req -in redis.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out redis.crt 2>/dev/null
         echo '192.0.2.5 redis.test' >>/etc/hosts
         cp ca.crt /etc/my-app/redis-ca.crt; chmod 644 /etc/my-app/redis-ca.crt
         systemd-run -q --unit far -p Type=exec {server} /root/far.conf"
    ));
}

fn a_redis_far_away_is_reached_over_tls_with_a_password(release: &'static Release) {
    let machine = Machine::with_redis(release);
    machine.install_with("--no-install-recommends");
    start_far_redis(&machine);
    let client = redis(&machine).client;
    let url = "url = \"rediss://redis.test:6380\"\nca_file = \"/etc/my-app/redis-ca.crt\"\n";
    // As docs/OPERATING.md says: the file is root's, and systemd hands it over.
    machine.sh("echo first | install -m 600 /dev/stdin /etc/my-app/bridge-password");
    machine.sh("echo first | install -m 600 /dev/stdin /root/password");
    machine.join_others(&format!("{url}machine = 1"));
    machine.another(&format!(
        "{url}machine = 2\nsecret_file = \"/root/password\""
    ));
    let mut talker = machine.joined();
    let check = machine.check();
    assert!(
        !check.ids().iter().any(|id| id.starts_with("bridge")),
        "{:?}",
        check.ids()
    );

    // Nobody is told the password.
    let everything = machine.sh(
        "my-app status --json; systemctl show my-app-bridge.service; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; \
         journalctl -q -o cat -u my-app -u my-app-bridge",
    );
    assert!(!everything.contains("first\n"), "{everything}");

    // A new password while it runs. What is connected stays so; who has a file of his own reads it at the next
    // connection, and a credential is as old as the unit's start.
    let cli =
        format!("{client} --tls --cacert /root/tls/ca.crt -h redis.test -p 6380 --no-auth-warning");
    talker.ask("begin");
    machine.sh(&format!("{cli} -a first config set requirepass second"));
    // systemd tells when it started a unit in whole seconds.
    machine.sh(
        "until [ $(date +%s) -gt $(systemctl show --timestamp=unix -P ActiveEnterTimestamp \
         my-app-bridge.service | tr -d @) ]; do sleep 0.1; done; \
         echo second >/root/password; echo second >/etc/my-app/bridge-password",
    );
    let stale = machine.check();
    assert!(
        stale
            .text("bridge-secret", "remedy")
            .contains("systemctl restart my-app-bridge")
    );
    machine.sh("systemctl restart my-app-bridge.service");
    machine.sh(&format!("{cli} -a second client kill type pubsub; {cli} -a second client kill type normal skipme yes"));
    assert_all(&machine, "a new password under traffic", &talker.ask("end"));

    // From now on with a file of its own, which it reads anew by itself.
    machine.sh("install -o root -g my-app-runner -m 640 /root/password /etc/my-app/redis-password");
    machine.join_others(&format!(
        "{url}machine = 1\nsecret_file = \"/etc/my-app/redis-password\""
    ));
    drop(talker);
    let mut talker = machine.joined();
    talker.ask("begin");
    machine.sh(&format!(
        "{cli} -a second config set requirepass third
         echo third >/root/password; echo third >/etc/my-app/redis-password
         {cli} -a third client kill type pubsub; {cli} -a third client kill type normal skipme yes"
    ));
    assert_all(
        &machine,
        "a new password in the bridge's own file",
        &talker.ask("end"),
    );
    drop(talker);

    // The same password as a credential that is encrypted on the disk, as docs/OPERATING.md says.
    machine.sh("systemd-creds encrypt --name=bridge-password - /etc/my-app/bridge-password.cred </root/password
        rm /etc/my-app/bridge-password; sed -i '/^secret_file/d' /etc/my-app/my-app.toml");
    machine.write(
        "/root/dropin",
        "[Service]\nLoadCredential=\n\
        LoadCredentialEncrypted=bridge-password:/etc/my-app/bridge-password.cred",
    );
    // systemctl edit my-app-bridge.service
    sandbox::edit(&machine, "my-app-bridge.service", "/root/dropin");
    machine.sh("systemctl restart my-app-bridge.service");
    assert_eq!(machine.joined().ask("one")["lost"], 0);

    // A certificate of somebody else is refused, and said so.
    machine.sh(
        "sed -i s,redis.test,192.0.2.5, /etc/my-app/my-app.toml /root/other.toml
        systemctl restart my-app-bridge.service other-bridge",
    );
    assert_eq!(machine.joined().ask("one")["lost"], 0);
    machine.sh(
        "sed -i '/^ca_file/d' /etc/my-app/my-app.toml; systemctl restart my-app-bridge.service",
    );
    eventually("the status says what is wrong", SOON, || {
        machine
            .status_of("my-app-bridge.service")
            .contains("ca_file")
    });
    machine.saw(
        "the status with an unknown authority",
        machine.status_of("my-app-bridge.service"),
    );
}

fn a_redis_that_is_not_there_keeps_nobody_from_serving(release: &'static Release) {
    let machine = Machine::with_redis(release);
    machine.install_with("--no-install-recommends");
    let began = std::time::Instant::now();
    machine.join_others("url = \"redis://127.0.0.1:7999\"\nmachine = 1");
    machine.saw(
        "READY without the Redis, after",
        format!("{:?}", began.elapsed()),
    );
    machine.assert_active();
    eventually("the bridge runs", SOON, || {
        machine.state_of("my-app-bridge.service") == "active"
    });
    machine.echo(MAIN, "websocket");
    let mut local = machine.talk(&format!(
        "across.mjs --from {MAIN} --to {MAIN} --deadline 300"
    ));
    assert_all(&machine, "a broadcast on this machine", &local.ask("one"));
    for unit in ["my-app-bridge.service", "my-app.service"] {
        eventually("its status says what is missing", SOON, || {
            machine.status_of(unit).contains("127.0.0.1:7999")
        });
        machine.saw(unit, machine.status_of(unit));
    }
    let check = machine.check();
    let found = check.text("bridge-unreachable", "what");
    assert!(found.contains("127.0.0.1:7999"), "{found}");

    // When it comes, the machines meet, and nobody has restarted anything.
    machine.another("url = \"redis://127.0.0.1:7999\"\nmachine = 2");
    let Redis { server, .. } = redis(&machine);
    machine.sh(&format!(
        "systemd-run -q --unit late -p Type=exec {server} --port 7999 --bind 127.0.0.1 --save ''"
    ));
    assert_all(
        &machine,
        "the Redis came later",
        &machine.joined().ask("one"),
    );
    assert_all(&machine, "and on this machine", &local.ask("one"));

    // A bridge that hangs is replaced by systemd.
    let pid = machine.number("systemctl show -P MainPID my-app-bridge.service");
    machine.sh(&format!("kill -STOP {pid}"));
    eventually("it is replaced", SOON, || {
        let now = machine.number("systemctl show -P MainPID my-app-bridge.service");
        now != 0 && now != pid
    });
    assert_eq!(machine.joined().ask("one")["lost"], 0);
    assert_all(&machine, "and on this machine", &local.ask("one"));
}
