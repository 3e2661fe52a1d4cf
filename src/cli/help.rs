//! The words of `--help` around the options. Written to stand alone on a machine without the
//! manual.

pub(super) const ABOUT: &str = "A Socket.IO server with one worker process for each core";

pub(super) const LONG_ABOUT: &str = "\
A Socket.IO server with one worker process for each core.

Socket.IO clients of any language connect over HTTP long-polling or WebSocket, directly or
through a proxy. One master process accepts the connections, and every session stays with its own
worker.

The event handlers are part of the program, written in Rust: it runs no scripts.

Called by hand, it runs in the foreground and logs to the terminal until it gets Ctrl-C.";

pub(super) const AFTER: &str = "Use --help for examples, files and exit codes.";

pub(super) const LONG_AFTER: &str = "\
Examples:
  my-app                                      run at 127.0.0.1:3000, or as the configuration says
  my-app --listen 0.0.0.0:8080 --workers 2    run for everybody, on two cores
  my-app --listen unix:/tmp/my-app.sock       run behind a proxy on this machine
  my-app --cors http://localhost:8000         let pages of this origin connect, too
  my-app check                                is all well on this machine? If not, how to fix it
  my-app check --config new.toml              is this configuration right?
  my-app status --watch                       the running server, refreshed each second
  my-app why 192.0.2.7                        what became of this client's sessions
  my-app emit --room news headline 7          send an event to this machine's clients
  my-app log debug --for 5m                   a line for each session that begins or ends
  my-app drain --over 5m                      take this machine out; --undo puts it back

Files:
  /etc/my-app/my-app.toml    the configuration; shows every key with its default
  /var/log/my-app/app.log    the log, besides the journal (journalctl -u my-app)
  /run/my-app-ctl/control.sock    control.socket: here the running server answers operators

Exit codes:
  0     all went well; status: the server is healthy
  1     the server runs, but is degraded, or did not do it; why: no such session is known
  3     the server is not running
  64    the command line makes no sense
  70    a mistake of this program; please report it
  71    the system refused something; no worker starts; or check found a fault around it
  78    the configuration is missing or wrong

More: man my-app, man my-app.toml";
