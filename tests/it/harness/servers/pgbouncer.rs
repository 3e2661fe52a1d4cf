//! A pooler between us and Postgres.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use super::{Postgres, Running, lower};
use crate::harness::free_port;

/// One pgbouncer. It takes whoever comes.
pub struct PgBouncer {
    _running: Running,
    pub port: u16,
    _dir: TempDir,
}

impl PgBouncer {
    /// One that lends connections of `server` for a `transaction`, or for a `session`.
    #[track_caller]
    pub fn start(server: &Postgres, mode: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = |name: &str| dir.path().join(name);
        let users = path("users");
        fs::write(&users, "\"app\" \"\"\n").unwrap();
        let settings = path("pgbouncer.ini");
        let text = format!(
            "[databases]\napp = host={} port={} user=app\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n",
            server.socket().display(),
            server.port,
            users.display()
        );
        fs::write(&settings, text).unwrap();
        // Debian keeps it where a user's PATH may not lead.
        let mut command = Command::new("/usr/sbin/pgbouncer");
        command.arg(&settings);
        lower(&mut command, &[dir.path(), &users, &settings]);
        let running = Running::start(command, "TERM", &path("log"), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            _running: running,
            port,
            _dir: dir,
        }
    }

    /// What `[bridge] url` says of it.
    pub fn url(&self) -> String {
        format!("postgres://app@127.0.0.1:{}/app?sslmode=disable", self.port)
    }
}
