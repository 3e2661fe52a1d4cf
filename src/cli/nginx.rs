//! nginx: whether my-app's site is as it should be, how many clients it can pass on, and whether it may.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::config::Config;

/// The package's own look at its site, see scripts/nginx-site. Without it, nginx is none of our business.
const SITE: &str = "/usr/share/my-app/nginx-site";
const MAIN_FILE: &str = "/etc/nginx/nginx.conf";
/// How requests are passed on.
const PROXY_FILE: &str = "/etc/nginx/snippets/my-app-proxy.conf";
const GROUPS: &str = "/etc/group";

/// The group that may open the Unix socket, see my-app.socket.
const GROUP: &str = "www-data";

/// With fewer connections a worker than these, nginx is what limits the number of clients.
const FEW_CONNECTIONS: u32 = 4096;

/// What is worth knowing about the nginx of this machine.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let Some(mut notes) = about_site() else {
        return Vec::new();
    };
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    notes.extend(about(&read(MAIN_FILE), &read(GROUPS)));
    notes.extend(about_limits(&read(PROXY_FILE), config));
    notes
}

/// What the package's own tool finds, a line each; none: the package is not installed here.
fn about_site() -> Option<Vec<String>> {
    let mut tool = Command::new(SITE);
    tool.arg("check").stdin(Stdio::null());
    let said = tool.output().ok()?.stdout;
    let said = String::from_utf8_lossy(&said);
    Some(said.lines().map(ToOwned::to_owned).collect())
}

/// What nginx must allow, because the server does.
fn about_limits(proxy_file: &str, config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    let engine = &config.engine;
    let silent = engine.ping_interval + engine.ping_timeout;
    if let [text] = arguments(proxy_file, "proxy_read_timeout")[..]
        && let Some(patience) = seconds(text)
        && patience <= silent
    {
        notes.push(format!(
            "nginx ends what is silent for {text} (proxy_read_timeout in {PROXY_FILE}), and a client may be silent for \
             {} s (ping_interval and ping_timeout): make it longer",
            silent.as_secs()
        ));
    }
    if let [text] = arguments(proxy_file, "client_max_body_size")[..]
        && let Some(most) = bytes(text)
        && most != 0
        && most < engine.max_payload as u64
    {
        notes.push(format!(
            "nginx takes {text} of a request (client_max_body_size in {PROXY_FILE}), less than max_payload, {}: make it \
             as large",
            engine.max_payload
        ));
    }
    notes
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

fn about(main_file: &str, groups: &str) -> Vec<String> {
    let mut notes = Vec::new();
    let connections = arguments(main_file, "worker_connections");
    if let [count] = connections[..]
        && count
            .parse()
            .is_ok_and(|count: u32| count < FEW_CONNECTIONS)
    {
        notes.push(format!(
            "nginx has {count} connections a worker ({MAIN_FILE}), of which a client needs two: \
             /usr/share/my-app/tune-nginx gives it more"
        ));
    }
    // A second argument would be the group.
    if let [user] = arguments(main_file, "user")[..]
        && user != GROUP
        && user != "root"
        && !is_member(user, groups)
    {
        notes.push(format!(
            "nginx runs as {user} ({MAIN_FILE}), which may not open /run/my-app/my-app.sock, and \
             answers 502: usermod -aG {GROUP} {user}, then restart nginx"
        ));
    }
    notes
}

/// The arguments of the first directive of that name.
fn arguments<'a>(main_file: &'a str, name: &str) -> Vec<&'a str> {
    main_file
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(|line| line.split([';', '{', '}']))
        .map(|directive| directive.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.first().is_some_and(|word| *word == name))
        .map(|words| words.into_iter().skip(1).collect())
        .unwrap_or_default()
}

/// Whether the group has that member, see group(5).
fn is_member(user: &str, groups: &str) -> bool {
    groups.lines().any(|line| {
        let mut fields = line.split(':');
        fields.next() == Some(GROUP)
            && fields
                .nth(2)
                .is_some_and(|members| members.split(',').any(|member| member == user))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str =
        "user www-data;\nevents {\n\tworker_connections 768;\n\t# multi_accept on;\n}\n";
    const NGINX_ORG: &str = "# user root;\nuser  nginx;\nevents { worker_connections 65536; }\n";

    #[test]
    fn few_connections_are_worth_a_note() {
        let [note] = &about(DEBIAN, "www-data:x:33:\n")[..] else {
            panic!("one note");
        };
        assert!(
            note.starts_with("nginx has 768 connections a worker"),
            "{note}"
        );
        assert!(about(&DEBIAN.replace("768", "65536"), "").is_empty());
    }

    #[test]
    fn a_user_outside_of_the_group_is_worth_a_note() {
        let [note] = &about(NGINX_ORG, "nginx:x:101:\nwww-data:x:33:other,nginx2\n")[..] else {
            panic!("one note");
        };
        assert!(
            note.contains("usermod -aG www-data nginx, then restart"),
            "{note}"
        );
        assert!(about(NGINX_ORG, "www-data:x:33:other,nginx\n").is_empty());
        assert!(about(&NGINX_ORG.replace("nginx;", "nginx www-data;"), "").is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_worth_none() {
        assert!(about("", "").is_empty());
        assert!(about_limits("", &Config::default()).is_empty());
    }

    #[test]
    fn a_limit_of_nginx_that_is_less_than_the_servers_is_worth_a_note() {
        let shipped = include_str!("../../nginx/my-app.proxy.conf");
        let mut config = Config::default();
        assert!(about_limits(shipped, &config).is_empty());
        config.engine.ping_interval = Duration::from_secs(100);
        config.engine.max_payload = 5_000_000;
        let [silent, large] = &about_limits(shipped, &config)[..] else {
            panic!("two notes");
        };
        assert!(
            silent.starts_with("nginx ends what is silent for 75s"),
            "{silent}"
        );
        assert!(silent.contains("silent for 120 s"), "{silent}");
        assert!(large.starts_with("nginx takes 1m of a request"), "{large}");
        let raised = shipped
            .replace("read_timeout 75s", "read_timeout 2m1s")
            .replace("size 1m", "size 0");
        assert!(about_limits(&raised, &config).is_empty());
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
