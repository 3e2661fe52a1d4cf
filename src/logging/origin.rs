//! Whose an event is: this program's, its application's, or a library's.

use tracing::Metadata;

/// Crates whose lines are this program's own wherever they are built: a fork may have them as
/// dependencies that were downloaded.
const OURS: [&str; 2] = [env!("CARGO_CRATE_NAME"), "engineioxide"];

/// Where cargo keeps what it downloads, and where `cargo vendor` puts it.
const DOWNLOADED: [&str; 3] = ["/registry/", "/git/checkouts/", "/vendor/"];

/// Whether the crate that an event comes from was downloaded. All others are the application's, whatever
/// their names: there may be several of them, and a fork calls them as it likes.
pub(super) fn is_library(metadata: &Metadata<'_>) -> bool {
    is_downloaded(metadata.target(), metadata.file())
}

/// `file` is the source file as the compiler was told it. Cargo names those of its own directory relative
/// to that directory, and all others with their whole path.
fn is_downloaded(target: &str, file: Option<&str>) -> bool {
    let name = target.split("::").next().unwrap_or(target);
    !OURS.contains(&name)
        && file.is_some_and(|file| {
            file.starts_with('/') && DOWNLOADED.iter().any(|folder| file.contains(folder))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_downloaded_is_a_library() {
        for file in [
            "/root/.cargo/registry/src/index-1949cf8c6b5b557f/hyper-1.12.0/src/lib.rs",
            "/home/me/.cargo/git/checkouts/hyper-0123456789abcdef/0123456/src/lib.rs",
            "/usr/share/cargo/registry/hyper-1.12.0/src/lib.rs",
            "/home/me/fork/vendor/hyper/src/lib.rs",
        ] {
            assert!(is_downloaded("hyper::proto", Some(file)), "{file}");
            assert!(!is_downloaded("my_app::worker", Some(file)), "{file}");
        }
    }

    #[test]
    fn every_other_crate_is_the_applications_or_ours() {
        for (target, file) in [
            ("my_app::worker", Some("src/worker/mod.rs")),
            ("engineioxide::pump", Some("engine/src/pump.rs")),
            ("acme_chat::rooms", Some("src/app/rooms.rs")),
            ("a_servers_own", Some("src/main.rs")),
            ("acme_billing", Some("/home/me/billing/src/lib.rs")),
            ("acme_chat", Some("vendor/src/lib.rs")),
            ("a target of its own", Some("src/app/mod.rs")),
            ("acme", None),
        ] {
            assert!(!is_downloaded(target, file), "{target} {file:?}");
        }
    }
}
