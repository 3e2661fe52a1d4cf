//! The command line: what the program was asked to do, and the exit codes with which it answers.
//!
//! `main` calls [`parse`] first, before any thread or runtime exists, and acts on the [`Role`].
//! This module also does what `my-app check` asks for, since that only reads and prints, and what is
//! asked of a running server ([`ask`]). It never starts a server, and never ends the process itself.

mod client;
mod commands;
#[cfg(test)]
mod completions;
mod doctor;
mod exit;
mod help;
mod reload;
mod status;
mod text;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

pub(crate) use doctor::check;
pub(crate) use exit::Exit;

use self::client::ClientError;
use self::commands::{DrainArgs, EmitArgs, LogArgs};
use self::reload::ReloadArgs;
use self::status::StatusArgs;
use self::why::WhyArgs;
use crate::config::{BridgeUrl, Config, ConfigError, ListenAddr, Loaded, WORKERS, origin};

/// What this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The server. A plain `my-app` and the hidden `my-app master` are the same.
    Run(RunArgs),
    /// A look at the configuration and the machine, nothing else.
    Check(CheckArgs),
    /// A question to the running server, or a command.
    Ask(Question),
    /// A look by a new program at what the running server would hand over to it. Only that server starts it.
    Try(RunArgs),
    /// The bridge to other machines. Its unit starts it, or the master of a server that is run by hand.
    Bridge(BridgeArgs),
    /// A worker. Only the master starts these, with descriptors that nobody else can give.
    Worker {
        /// The worker's number, from 0.
        slot: u16,
    },
}

/// What is asked of the running server.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Show the running server: workers, sessions, rates, limits, faults
    Status(StatusArgs),
    /// Tell why a client's sessions ended, and who caused it
    Why(WhyArgs),
    /// Emit an event to the clients of this machine
    Emit(EmitArgs),
    /// Change the log level of the running server, or reopen its log file
    Log(LogArgs),
    /// Take this machine out of service, or put it back
    Drain(DrainArgs),
    /// Go on with the program and the configuration that are there now, refusing nobody
    Reload(ReloadArgs),
}

/// The options of the server, as they were typed. [`load`](Self::load) makes settings of them.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunArgs {
    /// Read this configuration instead of /etc/my-app/my-app.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Listen at host:port or unix:PATH; may be given more than once
    ///
    /// An IPv6 address stands in brackets. Takes the place of the configuration's `listen`.
    /// Not used when systemd passes listeners.
    #[arg(long, value_name = "ADDR", verbatim_doc_comment)]
    pub listen: Vec<ListenAddr>,

    /// Run this many workers; 0: one for each usable core
    ///
    /// Takes the place of the configuration's `workers`.
    #[arg(long, value_name = "N", value_parser = worker_count())]
    pub workers: Option<u16>,

    /// Let pages of this origin connect, too; may be given more than once
    ///
    /// For trying: `http://localhost:8000`. "*" is every origin, without credentials.
    /// Added to the configuration's `engine.cors_origins`.
    #[arg(long, value_name = "ORIGIN", value_parser = origin, verbatim_doc_comment)]
    pub cors: Vec<String>,

    /// Join other machines over this Redis or Postgres
    ///
    /// For trying: takes the place of the configuration's `bridge.url`.
    /// Not used when systemd starts the server: the bridge is a service of its own there.
    #[arg(long, value_name = "URL", verbatim_doc_comment)]
    pub bridge: Option<BridgeUrl>,

    /// The server runs in this process already; standard input has what it hands over
    #[arg(long, hide = true)]
    pub resume: bool,
}

/// The options of `my-app bridge`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BridgeArgs {
    /// Read this configuration instead of /etc/my-app/my-app.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Takes the place of the configuration's `bridge.url`
    #[arg(long, value_name = "URL")]
    pub url: Option<BridgeUrl>,

    /// Only say whether there is anything to run: exit 1 without `bridge.url`, else 0
    #[arg(long)]
    pub is_configured: bool,

    /// The master has started it: standard input is its end of the bus
    #[arg(long, hide = true)]
    pub is_child: bool,
}

/// The options of `my-app check`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckArgs {
    /// Check this file instead of /etc/my-app/my-app.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print the report as JSON, for programs
    #[arg(long)]
    pub json: bool,
}

impl BridgeArgs {
    /// The arguments of the bridge that belongs to a server which was started with `run`.
    pub(crate) fn of(run: &RunArgs) -> Self {
        Self {
            config: run.config.clone(),
            url: run.bridge.clone(),
            is_configured: false,
            is_child: false,
        }
    }

    /// These options as a command line has them.
    pub(crate) fn to_arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        if let Some(config) = &self.config {
            arguments.extend(["--config".into(), config.into()]);
        }
        if let Some(url) = &self.url {
            arguments.extend(["--url".into(), url.to_string().into()]);
        }
        arguments
    }

    /// The configuration with the options of the command line in their places.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = Config::load(self.config.as_deref())?;
        if let Some(url) = &self.url {
            loaded.config.bridge.url = Some(url.clone());
        }
        Ok(loaded)
    }
}

impl RunArgs {
    /// The configuration with the options of the command line in their places.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = Config::load(self.config.as_deref())?;
        self.apply(&mut loaded.config);
        Ok(loaded)
    }

    fn apply(&self, config: &mut Config) {
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        }
        if let Some(workers) = self.workers {
            config.workers = workers;
        }
        if let Some(url) = &self.bridge {
            config.bridge.url = Some(url.clone());
        }
        let engine = &mut config.engine;
        let everybody = self.cors.iter().any(|origin| origin == "*");
        if everybody {
            engine.cors_origins = vec!["*".to_owned()];
            // Browsers refuse the two together.
            engine.cors_credentials = false;
        } else if !engine.cors_origins.iter().any(|origin| origin == "*") {
            engine.cors_origins.extend(self.cors.iter().cloned());
        }
    }
}

fn worker_count() -> clap::builder::RangedI64ValueParser<u16> {
    let (least, most) = WORKERS.into_inner();
    clap::value_parser!(u16).range(i64::from(least)..=i64::from(most))
}

/// The grammar. The program's name is fixed, because `argv[0]` tells a process's role instead.
#[derive(Parser)]
#[command(
    name = "my-app",
    bin_name = "my-app",
    version,
    about = help::ABOUT,
    long_about = help::LONG_ABOUT,
    after_help = help::AFTER,
    after_long_help = help::LONG_AFTER,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
)]
struct Line {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check configuration, files, limits, ports and nginx; tell how to fix what is wrong
    Check(CheckArgs),
    #[command(flatten)]
    Ask(Question),
    /// Run the server, under a name that tells the role
    #[command(hide = true)]
    Master(RunArgs),
    /// Tell whether a reload would work, with the state that the running server passes
    #[command(hide = true)]
    Trial(RunArgs),
    /// Join this machine with others, over the server that the configuration names
    #[command(hide = true)]
    Bridge(BridgeArgs),
    /// Run one worker, with the descriptors that the master passes
    #[command(hide = true)]
    Worker {
        /// The worker's number, from 0
        slot: u16,
    },
}

/// Reads the command line of this process.
///
/// # Errors
/// The exit code to end with: [`Exit::Ok`] when help or the version was asked for, [`Exit::Usage`]
/// when the line makes no sense. What there is to say has been printed.
pub(crate) fn parse() -> Result<Role, Exit> {
    parse_from(std::env::args_os()).map_err(|error| {
        // Whoever closed the pipe does not want to read it.
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
            _ => Exit::Usage,
        }
    })
}

fn parse_from<T>(arguments: impl IntoIterator<Item = T>) -> Result<Role, clap::Error>
where
    T: Into<OsString> + Clone,
{
    let line = Line::try_parse_from(arguments)?;
    Ok(match line.command {
        None => Role::Run(line.run),
        Some(Command::Master(args)) => Role::Run(args),
        Some(Command::Trial(args)) => Role::Try(args),
        Some(Command::Check(args)) => Role::Check(args),
        Some(Command::Ask(question)) => Role::Ask(question),
        Some(Command::Bridge(args)) => Role::Bridge(args),
        Some(Command::Worker { slot }) => Role::Worker { slot },
    })
}

/// Asks the running server, and shows what it answers.
#[must_use]
pub(crate) fn ask(question: &Question) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let answered = runtime.map_err(ClientError::Runtime).and_then(|runtime| {
        runtime.block_on(async {
            match question {
                Question::Status(args) => status::status(args).await,
                Question::Why(args) => why::why(args).await,
                Question::Emit(args) => commands::emit(args).await,
                Question::Log(args) => commands::log(args).await,
                Question::Drain(args) => commands::drain(args).await,
                Question::Reload(args) => reload::reload(args).await,
            }
        })
    });
    answered.unwrap_or_else(|error| {
        eprintln!("my-app: {error}");
        error.exit()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn role(line: &str) -> Role {
        parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(line: &str) -> clap::Error {
        parse_from(line.split(' ')).unwrap_err()
    }

    #[test]
    fn the_grammar_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn a_plain_call_runs_the_server() {
        assert_eq!(role("my-app"), Role::Run(RunArgs::default()));
    }

    #[test]
    fn a_master_takes_the_options_of_the_plain_run() {
        let options = "--config a.toml --listen 0.0.0.0:80 --listen unix:/run/a --workers 2 \
                       --cors http://a.test --cors https://b.test:81 --bridge redis://c.test";
        let args = RunArgs {
            config: Some("a.toml".into()),
            listen: vec![
                ListenAddr::Tcp("0.0.0.0:80".into()),
                ListenAddr::Unix("/run/a".into()),
            ],
            workers: Some(2),
            cors: vec!["http://a.test".into(), "https://b.test:81".into()],
            bridge: Some("redis://c.test".parse().unwrap()),
            resume: false,
        };
        assert_eq!(role(&format!("my-app {options}")), Role::Run(args.clone()));
        assert_eq!(
            role(&format!("my-app:_master master {options}")),
            Role::Run(args)
        );
    }

    #[test]
    fn other_roles_have_their_own_words() {
        let config = Some("a.toml".into());
        assert_eq!(
            role("my-app check --config a.toml --json"),
            Role::Check(CheckArgs { config, json: true })
        );
        assert_eq!(role("x worker 3"), Role::Worker { slot: 3 });
    }

    #[test]
    fn a_bridge_gets_from_its_servers_options_what_concerns_it() {
        let line = "my-app --listen 127.0.0.1:1 --config a.toml --bridge redis+unix:///run/a";
        let Role::Run(run) = role(line) else {
            panic!("not the server");
        };
        let arguments = BridgeArgs::of(&run).to_arguments();
        let expected = ["--config", "a.toml", "--url", "redis+unix:///run/a"];
        assert_eq!(arguments, expected);
        let line = format!("x bridge {}", expected.join(" "));
        assert_eq!(role(&line), Role::Bridge(BridgeArgs::of(&run)));
        assert!(
            BridgeArgs::of(&RunArgs::default())
                .to_arguments()
                .is_empty()
        );
    }

    #[test]
    fn options_of_the_line_take_the_place_of_the_files() {
        let mut config = Config {
            workers: 7,
            ..Config::default()
        };
        RunArgs::default().apply(&mut config);
        assert_eq!(
            config,
            Config {
                workers: 7,
                ..Config::default()
            }
        );
        let address = ListenAddr::Tcp("0.0.0.0:80".into());
        let listen = vec![address.clone()];
        RunArgs {
            listen,
            workers: Some(0),
            ..RunArgs::default()
        }
        .apply(&mut config);
        assert_eq!((config.listen, config.workers), (vec![address], 0));
    }

    #[test]
    fn origins_of_the_line_are_added_to_the_files() {
        let with = |file: &[&str], line: &[&str]| {
            let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect();
            let mut config = Config::default();
            config.engine.cors_origins = strings(file);
            config.engine.cors_credentials = true;
            let cors = strings(line);
            let args = RunArgs {
                cors,
                ..RunArgs::default()
            };
            args.apply(&mut config);
            let engine = config.engine;
            (engine.cors_origins.join(" "), engine.cors_credentials)
        };
        let (a, b) = ("http://a.test", "http://b.test");
        assert_eq!(with(&[a], &[]), (a.into(), true));
        assert_eq!(with(&[a], &[b]), (format!("{a} {b}"), true));
        assert_eq!(with(&["*"], &[b]).0, "*");
        assert_eq!(with(&[a], &[b, "*"]), ("*".into(), false));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_refused_with_the_reason() {
        for (line, reason) in [
            ("my-app --listen 3000", "a port alone"),
            ("my-app --workers 4097", "4096"),
            ("my-app --worker", "--workers"),
            ("my-app --cors a.test", "scheme://host"),
            ("my-app --bridge redis://:pw@a", "secret_file"),
            ("my-app --cors http://a.test/", "no slash"),
            ("my-app chek", "check"),
            ("my-app worker", "SLOT"),
            ("my-app worker 70000", "70000"),
            ("my-app --workers 1 check", "check"),
        ] {
            let text = refusal(line).to_string();
            assert!(text.contains(reason), "{line}: {text}");
        }
    }

    #[test]
    fn help_shows_examples_files_and_exit_codes_but_no_hidden_words() {
        let help = refusal("my-app --help").to_string();
        for part in [
            "Socket.IO",
            "Examples:",
            "Files:",
            "/etc/my-app/my-app.toml",
            "78",
            "check",
        ] {
            assert!(help.contains(part), "{part}: {help}");
        }
        assert!(
            !help.contains("Run one worker") && !help.contains("under a name"),
            "{help}"
        );
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }

    #[test]
    fn the_version_is_the_packages() {
        let version = refusal("my-app --version").to_string();
        assert_eq!(version, format!("my-app {}\n", env!("CARGO_PKG_VERSION")));
    }
}
