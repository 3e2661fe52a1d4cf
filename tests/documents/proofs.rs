//! How each command of the pages is known to do what they say. Every command of README and docs stands here, as it
//! is written there; one that stands in no page any more must go.

use Proof::{BeforeRelease, ByHand, Like, NotOurs, Verbatim};

/// How it is known.
#[derive(Debug, Clone, Copy)]
pub enum Proof {
    /// `tests/it/documents.rs` runs it, as it stands, on a server that was started by hand.
    ByHand,
    /// It stands so in this file, which is a test, or is used by one.
    Verbatim(&'static str),
    /// This file, which is a test or belongs to `make test`, has this text: the same, but for a value.
    Like(&'static str, &'static str),
    /// It is run before a release, as docs/RELEASING.md says: it takes too long for every change.
    BeforeRelease,
    /// It is not run here, for this reason.
    NotOurs(&'static str),
}

#[rustfmt::skip]
pub const PROOFS: &[(Proof, &[&str])] = &[
    (ByHand, &[
        "make run",
        "my-app status",
        "my-app why HCKz--Y3kArmbTh1",
        "my-app emit --room lobby news '\"maintenance at ten\"'",
        "my-app log debug --for 5m",
        "my-app drain --over 5m",
        "my-app drain --over 10m",
        "my-app drain --undo",
        "my-app reload",
        "curl --unix-socket /run/my-app-ctl/control.sock http://localhost/status",
        "curl --unix-socket /run/my-app-ctl/control.sock http://localhost/metrics",
    ]),

    // The command line.
    (Like("tests/docs/commands.rs", "the_synopsis_of_the_readme_is_that_of_the_help"), &[
        "my-app [--config FILE] [--listen ADDR]... [--workers N] [--cors ORIGIN]... [--bridge URL]",
        "my-app check [--config FILE] [--json]",
        "my-app status [--json] [--watch]",
        "my-app why SOCKET-ID|ADDRESS [--json]",
        "my-app emit [--namespace N] [--room R]... EVENT JSON...",
        "my-app log LEVEL [--for TIME]",
        "my-app drain --over TIME",
    ]),
    (Like("tests/docs/manual.rs", "&[name, \"--help\"]"), &["my-app COMMAND --help"]),
    (Like("tests/it/command_line.rs", "status --watch"), &["my-app status --watch"]),
    (Like("tests/it/command_line.rs", "&[\"why\", &id]"), &["my-app why"]),
    (Like("tests/it/command_line.rs", "\"drain\""), &["my-app drain"]),
    (Like("tests/it/command_line.rs", "\"emit\""), &["my-app emit"]),
    (Like("tests/it/documents.rs", "LISTEN=127.0.0.1:"), &["make run LISTEN=127.0.0.1:3001"]),
    (Like("tests/it/health.rs", ".option(\"--cors\", "), &[
        "make run CORS=http://localhost:8000",
        "make run LISTEN=127.0.0.1:3001 CORS=http://localhost:3000",
    ]),
    (Verbatim("tests/package/doctor.rs"), &["my-app check"]),

    // Write your own application.
    (Like("tests/clients/messenger.mjs", "(my-app emit|curl)"), &[
        "my-app emit --room user:ann notice '{\"text\": \"it is on its way\"}'",
        "curl -sS --unix-socket /run/my-app-ctl/control.sock -H 'X-Requested-With: my-app' \\\n    \
         -d '{\"rooms\": [\"user:ann\"], \"event\": \"notice\", \"args\": [{\"text\": \"it is there\"}]}' http://localhost/emit",
        "curl -sS -H \"Authorization: Bearer $BACKEND_SECRET\" \\\n    \
         -d '{\"user\": \"ann\", \"notice\": {\"text\": \"how was it?\"}}' http://127.0.0.1:3000/notify",
    ]),
    (Like("tests/clients/messenger.mjs", "examples/messenger/database.mjs"), &["node examples/messenger/database.mjs 7000"]),
    (Like("tests/it/messenger.rs", "example(\"messenger\")"), &["BACKEND_SECRET=secret cargo run --example messenger"]),
    (Like("tests/clients/messenger.mjs", "\"window.mjs\", ...words"), &[
        "npm install socket.io-client",
        "node window.mjs ann bob",
        "node window.mjs bob ann",
    ]),
    (Verbatim("tests/package/sandbox.rs"), &[
        "mkdir -p /etc/systemd/system/my-app.service.d",
        "cp /usr/share/doc/my-app/examples/network.conf /etc/systemd/system/my-app.service.d/",
        "systemctl daemon-reload && systemctl restart my-app.service",
        "systemctl edit my-app.service",
        "systemctl edit my-app-tcp.socket",
        "systemctl restart my-app-tcp.socket",
        "systemctl restart my-app.service",
    ]),

    // The package.
    (Verbatim("tests/package/install.rs"), &[
        "apt install ./my-app.deb",
        "apt remove my-app",
        "apt purge my-app",
        "man my-app",
        "man my-app.toml",
        "service my-app status",
        "systemctl disable --now my-app.service my-app.socket my-app-tcp.socket",
    ]),
    (Verbatim("tests/package/reload.rs"), &["systemctl reload my-app.service"]),
    (Verbatim("tests/package/listeners.rs"), &["systemctl disable --now my-app-tcp.socket"]),
    (Like("tests/it/documents.rs", "contains(\"BRIDGE=\")"), &[
        "redis-server --port 6380 --save '' &",
        "make run BRIDGE=redis://127.0.0.1:6380 &",
        "XDG_RUNTIME_DIR=$(mktemp -d) make run LISTEN=127.0.0.1:3001 BRIDGE=redis://127.0.0.1:6380",
    ]),
    (Verbatim("tests/package/bridge.rs"), &["systemctl restart my-app-bridge.service", "systemctl edit my-app-bridge.service"]),
    (Like("tests/package/bridge.rs", "install -m 600 /dev/stdin /etc/my-app/bridge-password"), &[
        "install -m 600 /dev/stdin /etc/my-app/bridge-password && systemctl restart my-app-bridge.service",
    ]),
    (Like("tests/package/bridge.rs", "install -o root -g my-app-runner -m 640"), &[
        "install -o root -g my-app-runner -m 640 /dev/stdin /etc/my-app/redis-password",
    ]),
    (Like("tests/package/bridge.rs", "systemd-creds encrypt --name=bridge-password - /etc/my-app/bridge-password.cred"), &[
        "systemd-creds encrypt --name=bridge-password - /etc/my-app/bridge-password.cred",
    ]),
    (Like("tests/package/bridge.rs", "-u my-app-bridge"), &["journalctl -u my-app-bridge"]),
    (Like("tests/package/bridge.rs", "systemctl show"), &["systemctl status my-app-bridge.service"]),
    (Verbatim("tests/package/metrics.rs"), &[
        "systemctl enable my-app-metrics.socket && systemctl restart my-app.service",
        "systemctl cat my-app-metrics.socket",
    ]),
    (Like("tests/package/metrics.rs", "usermod -aG my-app-runner somebody"), &["usermod -aG my-app-runner NAME"]),
    (Verbatim("tests/package/neighbours.rs"), &["usermod -aG www-data nginx"]),
    (Like("tests/package/nginx.rs", "/usr/share/my-app/tune-nginx 1000"), &["/usr/share/my-app/tune-nginx 120000"]),
    (Verbatim("tests/package/links.rs"), &["/usr/share/my-app/nginx-site disable"]),
    (Like("tests/package/install.rs", "journalctl -q -u my-app -o json"), &["journalctl -u my-app", "journalctl -u my-app -o json"]),
    (Like("tests/package/sandbox.rs", "MY_APP_CLIENT_ADDR="), &["journalctl -u my-app MY_APP_CLIENT_ADDR=192.0.2.7"]),
    (Like("tests/package/sandbox.rs", "MY_APP_SOCKET_ID="), &["journalctl -u my-app MY_APP_SOCKET_ID=…"]),
    (Like("tests/package/fleet.rs", "-L 8080:/run/my-app-ctl/control.sock"), &["ssh -L 8080:/run/my-app-ctl/control.sock root@server"]),
    (Like("tests/package/fleet.rs", "\"I=fleet DEB="), &["make I=inventory install", "make I=production install"]),
    (Like("tests/package/fleet.rs", "\"I=fleet ping\""), &["make I=inventory ping", "make I=production ping"]),

    (Like("tests/package/takeover.rs", "machine.sh(remedy)"), &[
        "dpkg-deb --fsys-tarfile my-app.deb | tar -xO ./usr/share/my-app/adopt | sh",
    ]),
    (NotOurs("the way back to a deployment of somebody else; tests/package/takeover.rs sees that what was moved aside is whole"), &[
        "cp -a --remove-destination /var/backups/my-app-20261127-120000/etc/. /etc/",
        "systemctl daemon-reload",
        "systemctl enable --now my-app.service",
        "systemctl reload nginx",
    ]),
    (NotOurs("the unit is somebody else's, under a name of its own"), &[
        "systemctl disable --now NAME.service",
        "systemctl enable --now NAME.service",
    ]),

    (Like("tests/package/repository.rs", "lines_of_the_readme(\"curl "), &[
        "curl -fsSo /etc/apt/sources.list.d/my-app.sources https://packages.example.com/my-app.sources",
        "apt update",
        "apt install my-app",
    ]),
    (Like("tests/package/repository.rs", "lines_of_the_readme(\"file:/mnt/packages"), &[
        "sed 's,^URIs: .*,URIs: file:/mnt/packages,' /mnt/packages/my-app.sources >/etc/apt/sources.list.d/my-app.sources",
    ]),
    (Verbatim("tests/docs/repository/refusals.rs"), &["gpg --quick-generate-key 'my-app packages' ed25519 sign never"]),
    (Like("tests/docs/repository/publisher.rs", "scripts/apt-repo"), &["make repo", "make repo KEY=FINGERPRINT URL=https://packages.example.com", "make repo DEBS=../arm64/my-app_0.1.0-1_arm64.deb"]),
    (Like("tests/docs/repository/mod.rs", "format!(\"{old},{new}\")"), &["make repo KEY=OLD,NEW"]),
    (Like("tests/docs/repository/mod.rs", "\"--again\""), &["scripts/apt-repo --again repo", "scripts/apt-repo --again --valid-days 7 repo"]),
    (Like("tests/package/repository.rs", "apt-get download my-app={version}"), &["apt install my-app=0.1.0-1"]),
    (Like("tests/package/repository.rs", "apt-get update && apt-get upgrade"), &["apt update && apt install my-app"]),
    (NotOurs("it only shows keys, or asks who revokes one"), &["gpg --list-secret-keys", "gpg --edit-key"]),
    (NotOurs("the web server is the operator's"), &[
        "rsync -a repo/pool server:/srv/www/packages/",
        "rsync -a --delay-updates --delete-after repo/dists repo/my-app.asc repo/my-app.sources server:/srv/www/packages/",
    ]),

    // What builds and tests this.
    (Like("Makefile", "\ntest: test-deps client "), &["make test", "make test-deps", "make client"]),
    (Like("Makefile", "\nall-tests: check unit-tests fuzz-briefly black-box-tests package-tests"), &["make package-tests"]),
    (Like("Makefile", "\npackage-tests: test-builds deb"), &["make deb", "make client deb"]),
    (Like("tests/package/harness/machine.rs", "apt-get install -q -y"), &["make install"]),
    (Like("Makefile", "scripts/fuzz"), &["make fuzz", "scripts/fuzz 60 guard"]),
    (Like("Makefile", "$(CARGO) test $(CARGO_FLAGS) $(CHECKED) --no-run"), &["cargo build --examples", "cargo check"]),
    (Like("Makefile", "--lib --bins --test docs --test 'rfc*' --test sessions"), &[
        "cargo test --lib NAME",
        "cargo test --test docs",
        "cargo test -p engineioxide --lib NAME",
        "cargo test -p engineioxide --test rfc7692 NAME",
        "cargo test -p engineioxide --test sessions NAME",
    ]),
    (Like("Makefile", "--test it"), &[
        "cargo test --test it NAME",
        "cargo test --test it advisories",
        "cargo test --test it differential",
        "cargo test --test it messenger",
    ]),
    (Like("Makefile", "$(CARGO) run"), &["cargo run -- --listen 127.0.0.1:3000", "make run CORS=http://localhost:8000"]),
    (Like("tests/docs/scaling.rs", "model::table(machines, &load, &costs)"), &[
        "cargo run --example scaling -- --machines 100",
        "cargo run --example scaling -- --machines 100 --sessions 2000000 --in-all",
        "cargo run --example scaling -- --machines 100 --batch 6",
        "cargo run --example scaling -- --machines 50 --bus postgres",
        "cargo run --example scaling -- --machines 10 --sessions 100000 --every 5 --fan-out 20 --workers 16",
    ]),
    (Like("tests/it/differential.rs", "run.mjs"), &["node run.mjs"]),
    (Like("tests/package/archive.rs", "two_builds_of_a_commit_are_the_same_bytes"), &["sha256sum my-app.deb"]),
    (Like("Makefile", "--no-print-directory fork-tests"), &["make fork-tests"]),
    (Like("Makefile", "--no-print-directory same-bytes"), &["make same-bytes"]),
    (Like("tests/it/reloads_signals.rs", "command.args([\"reload\", \"--socket\"])"), &["my-app reload --socket PATH"]),
    (Like("tests/docs/rename/git.rs", "Path::new(\"README.md\")"), &[
        "scripts/rename my-chat",
        "git add -A && git commit -m 'A name of its own'",
        "git checkout theirs && git merge --strategy ours --no-commit upstream/main && git read-tree --reset -u upstream/main",
        "scripts/rename my-chat --force && git add -A && git commit -m 'Their next version'",
        "git checkout main && git merge theirs",
    ]),
    (BeforeRelease, &["make long-tests", "make bench", "make bench BENCH=--quick",
        "make bench BENCH=\"--storm avalanche,jitter,pause,idle\"",
        "make bench BENCH=\"--storm avalanche --clients 5000,10000,20000\"",
        "make bench BENCH=\"--storm idle --idle 15000\"",
    ]),
    (Like("Makefile", "/bench idle"), &["bench idle"]),
    (Like("Makefile", "/bench soak"), &["bench soak", "bench soak --minutes 1"]),
    (NotOurs("a unit test compares the page, and says this command where they differ"), &["UPDATE_METRICS=1 cargo test --lib metrics"]),
    (NotOurs("whoever releases decides on it"), &["cargo update", "git tag -s v0.1.0"]),
    (NotOurs("it is what a Node deployment has, in a table of what replaces it"), &["npm install", "systemctl reload"]),
];
