//! `scripts/rename`, which gives a fork its own name: nothing keeps the old one, and both packages can be installed side
//! by side.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::PROJECT;

mod git;

const OLD: &str = env!("CARGO_PKG_NAME");

/// Where the old name stays, and why: who wrote what, which the license wants to be kept.
const KEEPS_IT: [(&str, &str); 2] = [
    ("LICENSE", "Copyright"),
    ("debian/copyright", "Copyright:|Upstream-Name:"),
];

/// What keeps the old port: no address of ours, but examples of what an address is not.
const KEEPS_THE_PORT: [&str; 2] = ["src/config/listen.rs", "fuzz/corpus/"];

/// The name that the copy gets. It must not stand in the sources, or it would be refused.
fn new_name() -> &'static str {
    let names = [concat!("my", "-chat"), concat!("my", "-talk")];
    names.into_iter().find(|it| *it != OLD).unwrap()
}

/// A fork that was given one word for a name cannot be renamed once more, and says so.
fn has_one_word() -> bool {
    let one = !OLD.contains('-');
    if one {
        let said = run(Path::new(PROJECT), "scripts/rename", &[new_name()]);
        assert!(said.text.contains("is one word"), "{}", said.text);
    }
    one
}

/// The port that the package has, as its unit says.
fn port(unit: &str) -> String {
    let unit = text(
        Path::new(PROJECT),
        Path::new(&format!("systemd/{OLD}-{unit}.socket")),
    );
    let (_, rest) = unit.split_once("\nListenStream=127.0.0.1:").unwrap();
    rest.lines().next().unwrap().to_owned()
}

struct Said {
    code: Option<i32>,
    text: String,
}

fn run(folder: &Path, program: &str, words: &[&str]) -> Said {
    let output = Command::new(program)
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    Said {
        code: output.status.code(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

#[track_caller]
fn succeed(folder: &Path, program: &str, words: &[&str]) -> String {
    let said = run(folder, program, words);
    assert_eq!(said.code, Some(0), "{program} {words:?}: {}", said.text);
    said.text
}

/// The files below a folder, but for what is made there.
fn files(top: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let made = ["target", "node_modules", "__pycache__", ".git"].contains(&name);
            if made || path.extension().is_some_and(|it| it == "deb") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(top).unwrap().to_owned());
            }
        }
    }
    found
}

/// The sources, in a folder of their own: what git keeps, or all that was not made here.
fn a_copy() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let project = Path::new(PROJECT);
    let listed = run(project, "git", &["ls-files", "-co", "--exclude-standard"]);
    let listed: BTreeSet<PathBuf> = match listed.code {
        Some(0) if !listed.text.is_empty() => listed.text.lines().map(PathBuf::from).collect(),
        _ => files(project),
    };
    for path in listed.iter().filter(|path| project.join(path).is_file()) {
        let to = copy.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(project.join(path), to).unwrap();
    }
    copy
}

fn text(top: &Path, path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(top.join(path)).unwrap()).into_owned()
}

/// What a package owns on a machine, as its sources say: files, units, addresses, users, names in nginx.
fn owned(top: &Path) -> BTreeSet<String> {
    let manifest: toml::Table = text(top, Path::new("Cargo.toml")).parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array();
    let mut owned: BTreeSet<String> = assets
        .unwrap()
        .iter()
        .map(|asset| {
            let [from, to] = [&asset[0], &asset[1]].map(|path| path.as_str().unwrap());
            let name = from.rsplit('/').next().unwrap();
            format!("/{to}{}", if to.ends_with('/') { name } else { "" })
        })
        .collect();
    for path in files(top) {
        let folder = path.parent().unwrap().to_str().unwrap();
        if !["systemd", "nginx", "monitoring"].contains(&folder) {
            continue;
        }
        // What systemd puts into an instance's name is the admin's.
        let text = text(top, &path);
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.contains("%i")) {
            let is_setting = [
                "ListenStream=/",
                "ListenStream=127",
                "RuntimeDirectory=",
                "LogsDirectory=",
                "StateDirectory=",
                "FileDescriptorName=my",
                "User=",
                "Service=",
                "u ",
                "upstream ",
                "log_format ",
                "map ",
                "- alert: ",
            ]
            .iter()
            .any(|start| line.starts_with(start));
            if is_setting {
                owned.insert(line.to_owned());
            }
        }
    }
    assert!(owned.len() > 60, "{owned:?}");
    owned
}

#[test]
fn a_fork_gets_a_name_of_its_own_everywhere_and_keeps_nothing_that_the_other_package_owns() {
    if has_one_word() {
        return;
    }
    let copy = a_copy();
    let top = copy.path();
    let before = owned(top);
    let count = files(top).len();
    let said = succeed(top, "scripts/rename", &[new_name()]);
    assert!(
        said.contains(&format!("{OLD} is {} now", new_name())),
        "{said}"
    );
    assert!(!said.contains("formatted"), "{said}");
    let after = files(top);
    assert_eq!(after.len(), count);

    let words = OLD.split('-').collect::<Vec<_>>();
    let [dashed, together] = ["-", ""].map(|between| words.join(between));
    let old = [words.join("_"), dashed, together];
    let [old_port, old_metrics] = [port("tcp"), port("metrics")];
    // Behind an address, or where it is called one.
    let has_a_port = |text: &str| {
        [&old_port, &old_metrics].iter().any(|port| {
            text.match_indices(port.as_str()).any(|(at, _)| {
                let before = &text[..at];
                let host = before
                    .strip_suffix(':')
                    .and_then(|it| it.chars().next_back());
                let is_host = host.is_some_and(|it| it.is_alphanumeric() || "]*. ".contains(it));
                let ends = !text[at + port.len()..].starts_with(|it: char| it.is_alphanumeric());
                ends && (is_host || ["port ", "Port "].iter().any(|it| before.ends_with(it)))
            })
        })
    };
    for path in &after {
        let text = text(top, path);
        let path = path.to_str().unwrap();
        let keeps = KEEPS_IT.iter().find(|(file, _)| *file == path);
        for line in [path].into_iter().chain(text.lines()) {
            let may = keeps.is_some_and(|(_, marks)| marks.split('|').any(|it| line.contains(it)));
            // A link to "Can my app move?" has no name in it.
            let lower = line.to_lowercase().replace("#can-my-app-move)", "");
            assert!(
                may || !old.iter().any(|old| lower.contains(old)),
                "{path}: {line}"
            );
        }
        let may = KEEPS_THE_PORT.iter().any(|it| path.starts_with(it));
        assert!(may || !has_a_port(&text), "{path} names the old port");
    }

    let both: Vec<_> = owned(top).intersection(&before).cloned().collect();
    assert_eq!(both, [""; 0], "both packages own it");

    succeed(
        top,
        "cargo",
        &["metadata", "--offline", "--locked", "--format-version=1"],
    );
    succeed(top, "cargo", &["fmt", "--all", "--check"]);
    for path in after {
        let text = text(top, &path);
        let shell = ["#!/bin/bash\n", "#!/bin/sh\n", "#!/usr/bin/perl\n"]
            .into_iter()
            .find_map(|start| text.starts_with(start).then(|| start.trim()));
        let path = path.to_str().unwrap();
        match shell {
            Some("#!/bin/bash") => _ = succeed(top, "bash", &["-n", path]),
            Some("#!/bin/sh") => _ = succeed(top, "sh", &["-n", path]),
            Some(_) => _ = succeed(top, "perl", &["-Iscripts", "-c", path]),
            None => {}
        }
    }

    // There and back again is where it was, but for the name of one file, and where names of forks are given.
    succeed(
        top,
        "scripts/rename",
        &[OLD, "--port", &old_port, "--metrics-port", &old_metrics],
    );
    for path in files(top) {
        let original = Path::new(PROJECT).join(&path);
        let speaks_of_forks = path.extension().is_some_and(|it| it == "md");
        if original.exists() && !speaks_of_forks {
            let [was, is] = [original, top.join(&path)].map(|path| fs::read(path).unwrap());
            let [was, is] = [was, is].map(|it| String::from_utf8_lossy(&it).into_owned());
            // However long the lines became, and were broken.
            let plain = |text: &str| {
                let lines = text.lines().filter(|it| !it.contains("scripts/rename"));
                let text: String = lines.collect();
                let text = text.replace(&format!("60-{OLD}-ports.conf"), FIXED);
                text.replace(|it: char| it.is_whitespace() || it == ',', "")
            };
            assert_eq!(plain(&was), plain(&is), "{}", path.display());
        }
    }
}

/// The name that the playbook gave the file of the local ports.
const FIXED: &str = concat!("net.ipv4.", "ip_local_port_range.conf");

#[test]
fn names_and_ports_that_cannot_be_are_refused_with_a_reason_and_change_nothing() {
    if has_one_word() {
        return;
    }
    let copy = a_copy();
    let top = copy.path();
    let before: Vec<_> = files(top).into_iter().map(|it| text(top, &it)).collect();
    let long = "a-name-that-is-far-too-long";
    let of_a_unit = format!("{OLD}-tcp");
    for (words, why) in [
        (&[OLD][..], "already"),
        (&["Chat-Room"], "no name for a Debian package"),
        (&["chat_room"], "no name for a Debian package"),
        (&["chat.room"], "no name for a Debian package"),
        (&["9lives-a"], "no name for a Debian package"),
        (&["chat-"], "no name for a Debian package"),
        (&["chat--room"], "no name for a Debian package"),
        (&[""], "no name for a Debian package"),
        (&["x"], "no name for a Debian package"),
        (&["../a-b"], "no name for a Debian package"),
        (&["a-b; touch x"], "no name for a Debian package"),
        (&["a-b\n"], "no name for a Debian package"),
        (&[long], "31 characters"),
        (&["async"], "a word of Rust"),
        (&["tokio"], "in this tree already"),
        (&["server"], "in this tree already"),
        (&[&of_a_unit], "in this tree already"),
        (&[new_name(), "--port", "80"], "below 1024"),
        (&[new_name(), "--port", "40000"], "outgoing"),
        (
            &[new_name(), "--port", "9500", "--metrics-port", "9500"],
            "are both",
        ),
        (&[new_name(), "--port", "many"], "usage"),
        (&[new_name(), "two"], "usage"),
        (&[], "usage"),
    ] {
        let said = run(top, "scripts/rename", words);
        let usage = why == "usage";
        assert_eq!(
            said.code,
            Some(if usage { 64 } else { 1 }),
            "{words:?}: {}",
            said.text
        );
        assert!(said.text.contains(why), "{words:?}: {}", said.text);
        assert!(
            usage || said.text.contains("nothing was changed.\nrename: "),
            "{}",
            said.text
        );
    }
    let after: Vec<_> = files(top).into_iter().map(|it| text(top, &it)).collect();
    assert!(before == after, "something was changed");
}
