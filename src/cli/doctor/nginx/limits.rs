//! What nginx allows against what the server does: times, sizes, connections.

use std::time::Duration;

use super::servers::Targets;
use super::tree::{Directive, Tree, named};
use crate::cli::doctor::finding::{Finding, Id};
use crate::config::Config;

/// With fewer connections a worker than these, nginx is what limits the number of clients.
const FEW_CONNECTIONS: u64 = 4096;
/// nginx's own default of `worker_connections`.
const CONNECTIONS: u64 = 512;
/// Open files that are no client's: logs, listeners, what joins the processes.
const SPARE: u64 = 64;

const TUNE: &str = "/usr/share/my-app/tune-nginx";
const RELOAD: &str = "nginx -t && systemctl reload nginx";

/// A value that holds somewhere: its text, and the file that says so; none: nginx's default.
#[derive(Debug, Clone)]
struct Value {
    text: String,
    file: Option<String>,
}

impl Value {
    fn default(text: &str) -> Self {
        let text = text.to_owned();
        Self { text, file: None }
    }

    fn or(self, directives: &[Directive], name: &'static str) -> Self {
        match named(directives, name).last() {
            Some(it) => Self {
                text: it.value().to_owned(),
                file: Some(it.file.to_string()),
            },
            None => self,
        }
    }

    /// Where to change it, in words.
    fn place(&self, name: &str) -> String {
        match &self.file {
            Some(file) => format!("{name} in {file}"),
            None => format!("{name}, which no file sets"),
        }
    }

    /// The command that sets another value.
    fn set(&self, name: &str, value: &str) -> String {
        match &self.file {
            Some(file) => format!(
                "sed -i 's/{name} {}/{name} {value}/' {file} && {RELOAD}",
                self.text
            ),
            None => format!("add '{name} {value};' beside proxy_pass, then: {RELOAD}"),
        }
    }
}

/// The values that hold where a request is passed to my-app: read timeout and body size.
fn where_passed(
    directives: &[Directive],
    targets: &Targets,
    [timeout, body]: &[Value; 2],
    all: &mut Vec<[Value; 2]>,
) {
    let timeout = timeout.clone().or(directives, "proxy_read_timeout");
    let values = [timeout, body.clone().or(directives, "client_max_body_size")];
    if directives.iter().any(|it| targets.has(it)) {
        all.push(values.clone());
    }
    for directive in directives {
        where_passed(&directive.inside, targets, &values, all);
    }
}

/// What nginx must allow a request, because the server does.
pub(super) fn of_requests(tree: &Tree, config: &Config) -> Vec<Finding> {
    let mut passed = Vec::new();
    let defaults = [Value::default("60s"), Value::default("1m")];
    where_passed(&tree.directives, &Targets::of(tree), &defaults, &mut passed);
    let engine = &config.engine;
    let silent = engine.ping_interval + engine.ping_timeout;
    let shortest = passed
        .iter()
        .filter_map(|[timeout, _]| Some((seconds(&timeout.text)?, timeout)))
        .min_by_key(|(time, _)| *time);
    let mut findings = Vec::new();
    if let Some((time, timeout)) = shortest
        && time <= silent
    {
        let name = "proxy_read_timeout";
        let enough = silent + Duration::from_secs(30);
        findings.push(Finding::warning(
            Id::NginxTimeout,
            format!(
                "nginx ends what is silent for {} ({}), and a client may be silent for {} s (ping_interval and \
                 ping_timeout)",
                timeout.text,
                timeout.place(name),
                silent.as_secs()
            ),
            "clients are disconnected while all is well with them",
            timeout.set(name, &format!("{}s", enough.as_secs())),
        ));
    }
    let smallest = passed
        .iter()
        .filter_map(|[_, body]| Some((bytes(&body.text)?, body)))
        .filter(|(size, _)| *size != 0)
        .min_by_key(|(size, _)| *size);
    if let Some((size, body)) = smallest
        && size < engine.max_payload as u64
    {
        let name = "client_max_body_size";
        findings.push(Finding::warning(
            Id::NginxBody,
            format!(
                "nginx takes {} of a request ({}), less than max_payload, {}",
                body.text,
                body.place(name),
                engine.max_payload
            ),
            "larger messages over polling are refused with 413, and their clients are disconnected",
            body.set(name, &engine.max_payload.to_string()),
        ));
    }
    findings
}

/// How many files nginx's processes may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenFiles {
    pub(super) master: u64,
    /// The most that one of its workers may, if there are any: old ones are about to end.
    pub(super) workers: Option<u64>,
}

/// Whether nginx takes enough connections, and may have them open.
pub(super) fn of_connections(tree: &Tree, main: &str, open: Option<OpenFiles>) -> Vec<Finding> {
    let events = named(&tree.directives, "events").last();
    let number = |directives: &[Directive], name| -> Option<u64> {
        named(directives, name).last()?.value().parse().ok()
    };
    let connections = events.and_then(|events| number(&events.inside, "worker_connections"));
    let connections = connections.unwrap_or(CONNECTIONS);
    let mut findings = Vec::new();
    if connections < FEW_CONNECTIONS {
        findings.push(Finding::warning(
            Id::NginxConnections,
            format!(
                "nginx has {connections} connections a worker ({main}), of which a client needs two"
            ),
            format!(
                "it passes on about {} clients a core; who comes then is refused",
                connections / 2
            ),
            TUNE,
        ));
    }
    let said = number(&tree.directives, "worker_rlimit_nofile");
    let in_force = open.and_then(|open| open.workers.or(said).or(Some(open.master)));
    if let Some(files) = in_force.or(said)
        && files < connections
    {
        let remedy = match said {
            // It is set, and not yet, or not to be had.
            Some(said) if said >= connections => "systemctl restart nginx".to_owned(),
            _ => format!("{TUNE} {}", connections.max(FEW_CONNECTIONS)),
        };
        findings.push(Finding::warning(
            Id::NginxOpenFiles,
            format!("a worker of nginx may have {files} files open, fewer than its {connections} connections"),
            format!(
                "beyond {} clients a core nginx fails with 'Too many open files'",
                files.saturating_sub(SPARE) / 2
            ),
            remedy,
        ));
    }
    findings
}

/// A time as nginx writes it: `75s`, `1m 30s` without the blank, or a number of seconds.
fn seconds(text: &str) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: u32 = number.parse().ok()?;
        let unit = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        sum += match unit {
            "ms" => Duration::from_millis(1),
            "s" | "" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            "d" => Duration::from_hours(24),
            _ => return None,
        } * number;
        rest = tail;
    }
    Some(sum)
}

/// A size as nginx writes it: `1m`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::super::tree::Memory;
    use super::*;

    const MAIN: &str = "/etc/nginx/nginx.conf";

    fn ids(findings: &[Finding]) -> Vec<Id> {
        findings.iter().map(|it| it.id).collect()
    }

    #[test]
    fn connections_and_open_files_are_judged_together() {
        use Id::{NginxConnections as Few, NginxOpenFiles as Files};
        let open = |master, workers| Some(OpenFiles { master, workers });
        for (text, open, expected) in [
            (
                "events { worker_connections 768; }",
                open(1024, None),
                &[Few][..],
            ),
            ("events { worker_connections 768; }", None, &[Few]),
            ("events { }", open(256, None), &[Few, Files]),
            (
                "events { worker_connections 65536; }",
                open(1024, None),
                &[Files],
            ),
            ("events { worker_connections 65536; }", None, &[]),
            (
                "worker_rlimit_nofile 66048; events { worker_connections 65536; }",
                open(1024, None),
                &[],
            ),
            // What is in force is not what is said.
            (
                "worker_rlimit_nofile 66048; events { worker_connections 65536; }",
                open(1024, Some(1024)),
                &[Files],
            ),
            (
                "worker_rlimit_nofile 66048; events { worker_connections 65536; }",
                open(1024, Some(66048)),
                &[],
            ),
            (
                "worker_rlimit_nofile 1024; events { worker_connections 65536; }",
                None,
                &[Files],
            ),
        ] {
            let found = of_connections(&Memory::main(text), MAIN, open);
            assert_eq!(ids(&found), expected, "{text} {open:?}");
        }
        let found = of_connections(
            &Memory::main("events { worker_connections 768; }"),
            MAIN,
            None,
        );
        assert!(
            found[0]
                .what
                .starts_with("nginx has 768 connections a worker (/etc/nginx/nginx.conf)")
        );
        assert_eq!(found[0].remedy, TUNE);
    }

    /// nginx with the shipped inside of a location, with these words replaced.
    fn shipped(replaced: &[(&str, &str)], http: &str) -> Tree {
        let mut text = include_str!("../../../../nginx/my-app.proxy.conf").to_owned();
        for (old, new) in replaced {
            assert!(text.contains(old), "{old}");
            text = text.replace(old, new);
        }
        Memory::main(&format!(
            "http {{ {http} server {{ location / {{ {text} }} }} }}"
        ))
    }

    #[test]
    fn the_shipped_files_fit_the_defaults() {
        assert_eq!(of_requests(&shipped(&[], ""), &Config::default()), []);
        // Without a location of ours there is nothing to fit.
        let mut config = Config::default();
        config.engine.max_payload = 1 << 30;
        assert_eq!(
            of_requests(&Memory::main("http { server { } }"), &config),
            []
        );
    }

    #[test]
    fn a_limit_of_nginx_that_is_less_than_the_servers_is_found() {
        let mut config = Config::default();
        config.engine.ping_interval = Duration::from_secs(100);
        config.engine.max_payload = 5_000_000;
        let found = of_requests(&shipped(&[], ""), &config);
        assert_eq!(ids(&found), [Id::NginxTimeout, Id::NginxBody]);
        let [silent, large] = &found[..] else {
            panic!()
        };
        assert_eq!(
            silent.what,
            "nginx ends what is silent for 75s (proxy_read_timeout in /etc/nginx/nginx.conf), and a client may be \
             silent for 120 s (ping_interval and ping_timeout)"
        );
        assert!(
            silent
                .remedy
                .starts_with("sed -i 's/proxy_read_timeout 75s/proxy_read_timeout 150s/' ")
        );
        assert!(
            large.what.starts_with("nginx takes 1m of a request"),
            "{large:?}"
        );
        let raised = [
            ("read_timeout 75s", "read_timeout 2m1s"),
            ("size 1m", "size 0"),
        ];
        assert_eq!(of_requests(&shipped(&raised, ""), &config), []);
    }

    #[test]
    fn what_holds_is_inherited() {
        let mut config = Config::default();
        config.engine.ping_interval = Duration::from_secs(100);
        let without = [("proxy_read_timeout 75s;", "")];
        let found = of_requests(&shipped(&without, ""), &config);
        assert!(
            found[0]
                .what
                .contains("60s (proxy_read_timeout, which no file sets)")
        );
        assert_eq!(
            of_requests(&shipped(&without, "proxy_read_timeout 1h;"), &config),
            []
        );
        let found = of_requests(&shipped(&[], "proxy_read_timeout 1h;"), &config);
        assert_eq!(ids(&found), [Id::NginxTimeout]);
    }

    #[test]
    fn times_and_sizes_are_read_as_nginx_writes_them() {
        for (text, expected) in [
            ("75s", Some(75)),
            ("1m30s", Some(90)),
            ("60", Some(60)),
            ("1x", None),
            ("s", None),
        ] {
            assert_eq!(seconds(text), expected.map(Duration::from_secs), "{text}");
        }
        for (text, expected) in [
            ("1m", Some(1 << 20)),
            ("8K", Some(8192)),
            ("0", Some(0)),
            ("1t", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
