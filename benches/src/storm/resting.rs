//! Clients that rest, directly and through nginx: what the server, nginx and the kernel need for each.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::avalanche::WORKERS;
use super::crowd::Part;
use super::group::Group;
use crate::BenchError;
use crate::address::Address;
use crate::measure::kib;
use crate::servers::{Over, Servers, Who};
use crate::usage::{Tree, sockets};

/// How long new sessions settle before anything is measured.
const SETTLE: Duration = Duration::from_secs(5);

/// Clients answer a ping every 25 s; what is measured for less than two of them tells little of CPU time.
const ENOUGH: Duration = Duration::from_secs(50);

/// What stands above the lines.
pub(super) const HEAD: &str = "
Clients rest: KiB for each session, of the server, of nginx, and of the kernel's sockets (both ends, and nginx's; only
root may know); percent of a core, of 50 s or more
clients  server   through    server    nginx   kernel   server %  nginx %
";

/// What they needed.
pub(super) struct Resting {
    who: Who,
    clients: usize,
    nginx: bool,
    server: Used,
    proxy: Used,
    /// KiB for each client.
    kernel: Option<f64>,
}

/// KiB for each client, and percent of a core.
#[derive(Clone, Copy, Default)]
struct Used {
    kib: f64,
    core: Option<f64>,
}

/// Holds the sessions, and measures while they rest.
pub(super) fn run(
    servers: &Servers,
    who: Who,
    clients: usize,
    seconds: u64,
    through_nginx: bool,
) -> Result<Resting, BenchError> {
    let over = if through_nginx { Over::Unix } else { Over::Tcp };
    let server = servers.start(who, WORKERS, over)?;
    let nginx = match &server.address {
        Address::Unix(path) => Some(Nginx::start(&path.display().to_string(), clients)),
        Address::Tcp(_) => None,
    };
    let nginx = nginx.transpose().map_err(BenchError::Nginx)?;
    let address = match &nginx {
        Some(nginx) => Address::Tcp(nginx.address),
        None => server.address.clone(),
    };
    let trees = [
        Some(server.tree),
        nginx.as_ref().map(|nginx| Tree::of(nginx.child.id())),
    ];
    let memory = || trees.map(|tree| tree.map_or(0.0, |tree| kib(tree.pss())));
    let (before, kernel_before) = (memory(), sockets().map(kib));
    let mut group = Group::begin(Part::Rest, &address, clients, 0)?;
    group.wait_until_open()?;
    sleep(SETTLE);
    let (after, kernel_after) = (memory(), sockets().map(kib));
    let cpu = || trees.map(|tree| tree.map_or(Duration::ZERO, Tree::cpu));
    let (began, cpu_before) = (Instant::now(), cpu());
    sleep(Duration::from_secs(seconds));
    let (took, cpu_after) = (began.elapsed().as_secs_f64(), cpu());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = clients.max(1) as f64;
    let used = |nth: usize| Used {
        kib: (after[nth] - before[nth]) / each,
        core: (took >= ENOUGH.as_secs_f64())
            .then(|| cpu_after[nth].saturating_sub(cpu_before[nth]).as_secs_f64() / took * 100.0),
    };
    Ok(Resting {
        who,
        clients,
        nginx: through_nginx,
        server: used(0),
        proxy: used(1),
        kernel: kernel_before
            .zip(kernel_after)
            .map(|(before, after)| (after - before) / each),
    })
}

impl fmt::Display for Resting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, nginx) = (self.server, self.proxy);
        let through = if self.nginx { "nginx" } else { "-" };
        writeln!(
            f,
            "{:>7}  {:<8} {through:<7}{:>9.1}{:>9.1}{:>9}{:>11}{:>9}",
            self.clients,
            self.who.to_string(),
            server.kib,
            nginx.kib,
            known(self.kernel, 1),
            known(server.core, 2),
            known(nginx.core, 2)
        )
    }
}

/// A figure with so many digits behind the point, or that there is none.
fn known(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
}

/// An nginx with what the package's configuration says of requests to my-app.
struct Nginx {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    fn start(socket: &str, clients: usize) -> io::Result<Self> {
        let folder = TempDir::with_prefix("bench-nginx-")?;
        let place = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = place.local_addr()?;
        drop(place);
        let inside = folder.path().display();
        // A client takes two connections of a worker; one worker may get more of them than the other.
        let connections = (2 * clients + 1000).min(19_000);
        // Its workers may open the server's socket; nobody else can change who they are.
        let user = if rustix::process::geteuid().is_root() {
            "user root;\n"
        } else {
            ""
        };
        let config = format!(
            "daemon off;\n{user}worker_processes 2;\npid {inside}/pid;\nerror_log {inside}/error.log;\n\
             events {{ worker_connections {connections}; }}\n\
             http {{\n\
             access_log off;\nclient_body_temp_path {inside}/body;\nproxy_temp_path {inside}/proxy;\n\
             fastcgi_temp_path {inside}/fastcgi;\nuwsgi_temp_path {inside}/uwsgi;\nscgi_temp_path {inside}/scgi;\n\
             map $http_upgrade $connection_to {{ default upgrade; '' ''; }}\n\
             upstream server {{ server unix:{socket}; keepalive 32; }}\n\
             server {{\nlisten {address} backlog=4096;\nlocation / {{\n\
             proxy_pass http://server;\nproxy_http_version 1.1;\n\
             proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $connection_to;\n\
             proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
             proxy_read_timeout 75s;\nproxy_send_timeout 75s;\nproxy_buffering off;\n}}\n}}\n}}\n"
        );
        let path = folder.path().join("nginx.conf");
        fs::write(&path, config)?;
        let mut command = Command::new("nginx");
        // Debian keeps it where a user's PATH may not lead.
        let places = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{places}:/usr/sbin:/sbin"));
        command.arg("-c").arg(&path).arg("-p").arg(folder.path());
        command.stdin(Stdio::null()).stderr(Stdio::null());
        Ok(Self {
            child: command.spawn()?,
            address,
            _folder: folder,
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only when it is asked to end.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
        let _ = self.child.wait();
    }
}
