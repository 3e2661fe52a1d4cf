//! What nginx's main file says about how many clients it can pass on, and whether it may.

use std::fs;
use std::path::Path;

/// The package's file for nginx. Without it, nginx is none of our business.
const OURS: &str = "/etc/nginx/conf.d/my-app.conf";
const MAIN_FILE: &str = "/etc/nginx/nginx.conf";
const GROUPS: &str = "/etc/group";

/// The group that may open the Unix socket, see my-app.socket.
const GROUP: &str = "www-data";

/// With fewer connections a worker than these, nginx is what limits the number of clients.
const FEW_CONNECTIONS: u32 = 4096;

/// What is worth knowing about the nginx of this machine.
pub(super) fn notes() -> Vec<String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    if Path::new(OURS).exists() {
        about(&read(MAIN_FILE), &read(GROUPS))
    } else {
        Vec::new()
    }
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
    }
}
