//! The package's site in nginx: is it there, is it read?

use std::path::Path;

use super::servers::Server;
use super::tree::Tree;
use super::{MAIN_FILE, TOOL};
use crate::cli::doctor::finding::{Finding, Id};
use crate::cli::doctor::look;

const SHARED: &str = "/etc/nginx/conf.d/my-app.conf";
/// The package's files. Purging nginx deletes them.
const FILES: [&str; 4] = [
    SHARED,
    "/etc/nginx/sites-available/my-app",
    "/etc/nginx/snippets/my-app.conf",
    "/etc/nginx/snippets/my-app-proxy.conf",
];
/// What became of the site, see scripts/nginx-site.
const STATE: &str = "/var/lib/my-app/nginx-site";

/// What became of the site when it was last enabled or disabled: `enabled`, `refused`, `disabled`; empty: nobody knows.
pub(super) fn state() -> String {
    let text = look::file(STATE).unwrap_or_default();
    let state = text.lines().find_map(|line| line.strip_prefix("state="));
    state.unwrap_or_default().to_owned()
}

pub(super) fn missing() -> Vec<&'static str> {
    let mut files = FILES.to_vec();
    files.retain(|it| !Path::new(it).exists());
    files
}

pub(super) fn without(missing: &[&str]) -> Finding {
    let verb = if missing.len() == 1 { "is" } else { "are" };
    Finding::warning(
        Id::NginxFiles,
        format!("{} {verb} missing", missing.join(", ")),
        "nginx does not pass requests on without it, or not after its next start; purging nginx deletes such files",
        format!("{TOOL} restore"),
    )
}

/// Whether nginx reads what leads to my-app.
pub(super) fn judge(tree: &Tree, servers: &[Server], state: &str) -> Option<Finding> {
    if !tree.files.iter().any(|it| &**it == SHARED) {
        return Some(Finding::warning(
            Id::NginxConfD,
            format!("nginx does not read /etc/nginx/conf.d: {MAIN_FILE} has no include of it"),
            "what leads to my-app stands there, so that port 80 does not",
            format!(
                "sed -i 's,^http {{,&\\ninclude /etc/nginx/conf.d/*.conf;,' {MAIN_FILE} && {TOOL} enable"
            ),
        ));
    }
    if servers.iter().any(|it| it.is_ours) {
        return None;
    }
    let what = "nginx passes nothing to my-app";
    Some(if state == "disabled" {
        Finding::note(
            Id::NginxSite,
            format!("{what}, for its site was disabled"),
            "clients reach my-app on its own port alone",
            format!("{TOOL} enable"),
        )
    } else {
        Finding::warning(
            Id::NginxSite,
            what,
            format!(
                "clients reach my-app on its own port alone; {TOOL} says what is in the way, if anything is"
            ),
            format!("{TOOL} enable"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::servers::servers;
    use super::super::tree::Memory;
    use super::*;

    fn judged(main: &str, state: &str) -> Option<Finding> {
        let files = Memory(vec![
            (MAIN_FILE, main.to_owned()),
            (SHARED, "upstream my_app_unix_socket { }".to_owned()),
        ]);
        let tree = Tree::read(MAIN_FILE, &files);
        judge(&tree, &servers(&tree), state)
    }

    const OURS: &str = "server { location / { proxy_pass http://my_app_unix_socket; } }";

    #[test]
    fn what_leads_nowhere_is_told_with_what_brings_it() {
        let read = "include /etc/nginx/conf.d/*.conf;";
        assert_eq!(
            judged(&format!("http {{ {read} {OURS} }}"), "enabled"),
            None
        );
        let found = judged("http { include mime.types; }", "refused").unwrap();
        assert_eq!(found.id, Id::NginxConfD);
        assert!(
            found
                .remedy
                .contains("'s,^http {,&\\ninclude /etc/nginx/conf.d/*.conf;,'")
        );
        let found = judged(&format!("http {{ {read} }}"), "refused").unwrap();
        assert_eq!(
            (found.id, found.severity.word()),
            (Id::NginxSite, "warning")
        );
        // As an admin wishes.
        let found = judged(&format!("http {{ {read} }}"), "disabled").unwrap();
        assert_eq!((found.id, found.severity.word()), (Id::NginxSite, "note"));
        assert_eq!(found.remedy, "/usr/share/my-app/nginx-site enable");
    }

    #[test]
    fn missing_files_are_named() {
        assert!(
            without(&[SHARED])
                .what
                .starts_with("/etc/nginx/conf.d/my-app.conf is missing")
        );
        assert!(
            without(&FILES)
                .what
                .ends_with("my-app-proxy.conf are missing")
        );
    }
}
