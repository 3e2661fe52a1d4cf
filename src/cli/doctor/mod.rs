//! `my-app check`: is everything good, and if not, what mends it?
//!
//! Each part looks at one thing and judges what it saw; the judgement is pure, and has its tests. Nothing is
//! changed: what would start the service, or make a file, is not done. Nothing is waited for without end.
//!
//! ```text
//! config, files, units, sockets, ports, kernel, bridge/, nginx/ ─▶ Finding ─▶ text, JSON, exit code
//! ```

mod bridge;
mod config;
mod files;
mod finding;
mod http;
mod kernel;
mod listening;
mod look;
mod nginx;
mod ports;
mod sockets;
mod text;
mod units;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;

use super::text::Style;
use super::{CheckArgs, Exit};
use crate::client_files;
use crate::config::{Config, ConfigError, Loaded, STANDARD_FILE};
use finding::{Looker, Report, Seen};
use units::Units;

/// What only the package brings. Without it the machine is none of our business.
const PACKAGE: &str = "/usr/share/my-app/nginx-site";
/// How long the configuration may take to be read: a pipe may have nobody who writes.
const READING: Duration = Duration::from_secs(5);

/// Looks at everything and tells what it finds, on standard output; the faults of a configuration, a line each, on
/// standard error, as compilers do.
#[must_use]
pub(crate) fn check(args: &CheckArgs) -> Exit {
    let path = args.config.clone();
    let loaded = look::within(READING, move || Config::load(path.as_deref()));
    let Some(loaded) = loaded else {
        eprintln!(
            "my-app: the configuration could not be read within {} s",
            READING.as_secs()
        );
        return Exit::Config;
    };
    let (file, seen) = match &loaded {
        Ok(loaded) => (loaded.file.clone(), look_at_all(loaded)),
        // Nothing can be compared with values that are not known.
        Err(error) => (Some(path_of(error)), config::faults(error).into()),
    };
    let uid = geteuid().as_raw();
    let user = sockets::name_of(uid);
    let file = file.map(|file| file.display().to_string());
    let report = Report::new(file, Looker { uid, user }, seen);
    // Writing fails when nobody reads any more, which changes no answer.
    let _ = match (&loaded, args.json) {
        (_, true) => as_json(&report, &mut io::stdout().lock()),
        (Err(error), false) => writeln!(io::stderr().lock(), "{error}"),
        (Ok(_), false) => {
            let text = text::text(&report, Style::of_stdout());
            io::stdout().lock().write_all(text.as_bytes())
        }
    };
    report.exit()
}

fn as_json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

fn path_of(error: &ConfigError) -> PathBuf {
    match error {
        ConfigError::Read { path, .. }
        | ConfigError::TooLarge { path }
        | ConfigError::NotUtf8 { path, .. }
        | ConfigError::Faults { path, .. } => path.clone(),
    }
}

/// What the parts need to know.
struct Machine<'a> {
    config: &'a Config,
    /// The configuration is the service's own, so that what runs has these values.
    is_the_services: bool,
    units: Units,
}

fn look_at_all(loaded: &Loaded) -> Seen {
    let has_client = client_files::VERSION.is_some();
    let remarks = config::remarks(loaded, config::systemd_listens(), has_client);
    let mut seen = Seen::from(remarks);
    if !Path::new(PACKAGE).exists() {
        seen.add(listening::by_hand(&loaded.config));
        seen.add(bridge::by_hand(&loaded.config.bridge));
        seen.cannot_see("more than the configuration: the package is not installed here");
        return seen;
    }
    let units = Units::of_this_machine().unwrap_or_else(|| {
        seen.cannot_see("the units: systemd does not answer");
        Units::default()
    });
    let standard = |file: &Path| file == Path::new(STANDARD_FILE);
    let machine = Machine {
        config: &loaded.config,
        is_the_services: loaded.file.as_deref().is_none_or(standard),
        units,
    };
    let units = &machine.units;
    if machine.is_the_services {
        let config = of_the_service(loaded);
        seen.add(files::seen(&units.service, config.log.file.as_deref()));
        seen.add(sockets::of_control(config.control.socket.as_deref()));
        seen.add(bridge::seen(&config.bridge, units));
    }
    let master = units.service.get("MainPID").parse().ok();
    let in_force = master.filter(|pid| *pid != 0).and_then(units::open_files);
    let units = units.life().into_iter().chain(units.files(in_force));
    seen.add(units.collect::<Vec<_>>().into());
    seen.add(kernel::seen());
    seen.add(listening::of_the_service(&machine));
    seen.add(nginx::seen(&machine));
    seen
}

/// Without a file the service has the defaults, whatever a server that is run by hand has.
fn of_the_service(loaded: &Loaded) -> Config {
    match &loaded.file {
        Some(_) => loaded.config.clone(),
        None => Config::default(),
    }
}
