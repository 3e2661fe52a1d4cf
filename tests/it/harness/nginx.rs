//! A real nginx in front of the server.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::{SOON, eventually, free_port, signal_process};

/// A running nginx that proxies to a Unix socket. It ends with the value.
pub struct Nginx {
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
    dir: TempDir,
}

impl Nginx {
    /// Starts one as the README describes it. It keeps as many idle connections to the server as
    /// `keepalive` says, or opens one for each request.
    #[track_caller]
    pub fn start(upstream: &Path, keepalive: Option<u16>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // nginx takes no listener from others, and cannot tell which port it took itself.
        let port = free_port();
        let config = configuration(dir.path(), port, upstream, keepalive);
        Self::run(dir, port, &config)
    }

    /// Starts one with the files that the package ships, and so many workers of its own.
    #[track_caller]
    pub fn shipped(upstream: &Path, workers: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = shipped(dir.path(), port, upstream, workers);
        Self::run(dir, port, &config)
    }

    /// Starts one with a shipped example, in which the first of each pair stands for the second, and two workers of
    /// its own.
    #[track_caller]
    pub fn example(name: &str, changes: &[(&str, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("nginx");
        let example = fs::read_to_string(files.join(name)).unwrap();
        let mut config = frame(dir.path(), 2) + &example + "}\n";
        let listen = format!("listen 127.0.0.1:{port} backlog=4096;");
        let log = dir.path().display().to_string();
        let own = [("listen 80;", listen), ("/var/log/nginx", log)];
        for (shipped, here) in own.iter().chain(changes) {
            assert!(config.contains(shipped), "{name} has no {shipped}");
            config = config.replace(shipped, here);
        }
        Self::run(dir, port, &config)
    }

    #[track_caller]
    fn run(dir: TempDir, port: u16, text: &str) -> Self {
        let config = dir.path().join("nginx.conf");
        fs::write(&config, text).unwrap();
        let child = Command::new(program())
            .arg("-p")
            .arg(dir.path())
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("stderr")).unwrap())
            .spawn()
            .expect("nginx is installed (make test installs it)");
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut nginx = Self { child, addr, dir };
        eventually("nginx listens", SOON, || {
            let ended = nginx.child.try_wait().unwrap();
            assert!(ended.is_none(), "nginx ended: {}", nginx.complaints());
            TcpStream::connect(addr).is_ok()
        });
        nginx
    }

    /// Has it read its configuration anew, with something else in the place of `was`.
    #[track_caller]
    pub fn reload_with(&self, was: &str, is: &str) {
        let file = self.dir.path().join("nginx.conf");
        let config = fs::read_to_string(&file).unwrap();
        assert_eq!(config.matches(was).count(), 1, "{was} in {config}");
        fs::write(&file, config.replace(was, is)).unwrap();
        let complaints = self.complaints();
        signal_process(self.child.id(), "HUP");
        // Its own words for it are below what it logs here; its workers are others then.
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let before = fs::read_to_string(&children).unwrap();
        eventually("nginx has new workers", SOON, || {
            let now = fs::read_to_string(&children).unwrap();
            now.split(' ').any(|pid| !before.contains(pid))
        });
        assert_eq!(self.complaints(), complaints);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it answered so far: one line a request, `status upstream-status method`.
    pub fn answers(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        log.lines().map(ToOwned::to_owned).collect()
    }

    /// What it complained of, the server's fault or its own.
    pub fn complaints(&self) -> String {
        ["stderr", "error.log"]
            .map(|name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its master ends its worker; killed, it could not.
        if matches!(self.child.try_wait(), Ok(None)) {
            signal_process(self.child.id(), "TERM");
            self.child.wait().unwrap();
        }
        if thread::panicking() {
            eprintln!("--- nginx said:\n{}\n---", self.complaints());
        }
    }
}

/// Debian keeps it where a user's PATH may not lead.
fn program() -> &'static str {
    let debian = "/usr/sbin/nginx";
    if Path::new(debian).exists() {
        debian
    } else {
        "nginx"
    }
}

fn configuration(dir: &Path, port: u16, upstream: &Path, keepalive: Option<u16>) -> String {
    let mut text = frame(dir, 1);
    let dir = dir.display();
    let upstream = upstream.display();
    let keepalive = keepalive.map_or_else(String::new, |count| format!("keepalive {count};"));
    // No query in the log: it has the session ids. `$upstream_status` has one status for each
    // attempt.
    write!(
        text,
        "    log_format short '$status $upstream_status $request_method';
    access_log {dir}/access.log short;
    map $http_upgrade $my_app_connection {{ default upgrade; '' ''; }}
    upstream my_app {{ server unix:{upstream}; {keepalive} }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /socket.io/ {{
            proxy_pass http://my_app;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $my_app_connection;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_read_timeout 75s;
            proxy_buffering off;
        }}
    }}
}}
"
    )
    .unwrap();
    text
}

/// What stands before `http {`, and its first lines.
fn frame(dir: &Path, workers: u16) -> String {
    let dir = dir.display();
    let mut text = format!(
        "daemon off;\nworker_processes {workers};\npid {dir}/nginx.pid;\n\
         error_log {dir}/error.log warn;\n"
    );
    // Started by root it would change to a user who may not open the server's socket.
    writeln!(text, "user {} {};", id("-un"), id("-gn")).unwrap();
    writeln!(text, "events {{ worker_connections 4096; }}\nhttp {{").unwrap();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "    {kind}_temp_path {dir}/{kind};").unwrap();
    }
    text
}

/// The shipped files, with the paths and the port of this test in the place of the system's.
fn shipped(dir: &Path, port: u16, upstream: &Path, workers: u16) -> String {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("nginx");
    let mut text = frame(dir, workers);
    include(&mut text, &files, "my-app.conf");
    include(&mut text, &files, "my-app.site.conf");
    text.push_str("}\n");
    let listen = format!("listen 127.0.0.1:{port} backlog=4096;");
    text.replace("include snippets/my-app-listen[.]conf;", &listen)
        .replace("/run/my-app/my-app.sock", &upstream.display().to_string())
        .replace("/var/log/nginx", &dir.display().to_string())
}

/// Puts a shipped file, and those that it includes, behind `text`.
fn include(text: &mut String, files: &Path, name: &str) {
    for line in fs::read_to_string(files.join(name)).unwrap().lines() {
        match line.trim() {
            "include snippets/my-app.conf;" => include(text, files, "my-app.location.conf"),
            "include snippets/my-app-proxy.conf;" => include(text, files, "my-app.proxy.conf"),
            _ => writeln!(text, "{line}").unwrap(),
        }
    }
}

fn id(what: &str) -> String {
    let output = Command::new("id").arg(what).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
