//! What git has to do with it: it brings everything back, and brings what is new.

use std::fs;
use std::path::Path;

use super::{OLD, a_copy, has_one_word, new_name, run, succeed, text};
use crate::PROJECT;

/// git, as somebody.
#[track_caller]
fn git(folder: &Path, words: &[&str]) -> String {
    let who = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"];
    succeed(folder, "git", &[&who[..], words].concat())
}

/// Makes a folder a repository with one commit.
fn a_clone_of_all(top: &Path) {
    git(top, &["init", "--quiet", "--initial-branch=main"]);
    keep_all(top);
}

fn keep_all(top: &Path) {
    git(top, &["add", "--all"]);
    git(top, &["commit", "--quiet", "--message=All"]);
}

#[test]
fn what_git_could_not_bring_back_is_not_changed() {
    if has_one_word() {
        return;
    }
    let copy = a_copy();
    let top = copy.path();
    let git = |words: &[&str]| git(top, words);
    a_clone_of_all(top);
    fs::write(top.join("mine"), "text").unwrap();
    let said = run(top, "scripts/rename", &[new_name()]);
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("(mine)"), "{}", said.text);
    fs::remove_file(top.join("mine")).unwrap();

    // A name that has the old one in it; ports that are asked for.
    let longer = format!("our-{OLD}");
    let said = succeed(
        top,
        "scripts/rename",
        &[&longer, "--port", "4000", "--metrics-port=4001"],
    );
    let (_, undo) = said.split_once("Or take it back: ").unwrap();
    let tcp = text(top, Path::new(&format!("systemd/{longer}-tcp.socket")));
    assert!(tcp.contains("ListenStream=127.0.0.1:4000\n"), "{tcp}");
    let metrics = text(top, Path::new(&format!("systemd/{longer}-metrics.socket")));
    assert!(
        metrics.contains("ListenStream=127.0.0.1:4001\n"),
        "{metrics}"
    );
    let readme = text(top, Path::new("README.md"));
    assert!(
        !readme.contains(&format!("our-{longer}")) && readme.starts_with(&format!("# {longer}\n"))
    );
    assert!(!git(&["status", "--porcelain"]).is_empty());
    succeed(top, "sh", &["-ec", undo]);
    assert_eq!(git(&["status", "--porcelain"]), "");
}

#[test]
fn a_fork_follows_as_the_readme_says() {
    if has_one_word() {
        return;
    }
    let theirs = a_copy();
    a_clone_of_all(theirs.path());
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = [theirs.path(), folder.path()].map(|it| it.to_str().unwrap());
    git(
        folder.path(),
        &["clone", "--quiet", "--origin=upstream", from, to],
    );
    let fork = folder.path();
    git(fork, &["checkout", "--quiet", "-b", "theirs"]);
    succeed(fork, "scripts/rename", &[new_name()]);
    keep_all(fork);
    git(fork, &["checkout", "--quiet", "main"]);
    git(fork, &["merge", "--quiet", "theirs"]);
    let append = |top: &Path, path: &str, line: &str| {
        let path = top.join(path);
        let before = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{before}{line}\n")).unwrap();
    };
    append(fork, "src/main.rs", "// Mine.");
    keep_all(fork);

    // Their next version: a file that is changed, and one that is new.
    append(
        theirs.path(),
        &format!("nginx/{OLD}.conf"),
        &format!("# {OLD} is new."),
    );
    fs::write(theirs.path().join(format!("{OLD}.new")), OLD).unwrap();
    keep_all(theirs.path());
    git(fork, &["fetch", "--quiet", "upstream"]);
    let readme = text(Path::new(PROJECT), Path::new("README.md"));
    let (_, lines) = readme.split_once("To follow this project later").unwrap();
    let lines: Vec<_> = lines
        .lines()
        .filter(|it| it.starts_with("    "))
        .take(3)
        .collect();
    let (before, rest) = lines[1].split_once("scripts/rename ").unwrap();
    let (_, after) = rest.split_once(' ').unwrap();
    let rename = format!("{before}scripts/rename {} {after}", new_name());
    succeed(
        fork,
        "sh",
        &[
            "-ec",
            &format!(
                "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b.invalid GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.invalid
                 {}\n{rename}\n{}",
                lines[0], lines[2]
            ),
        ],
    );
    let new = new_name();
    assert!(text(fork, Path::new("src/main.rs")).ends_with("// Mine.\n"));
    let nginx = text(fork, Path::new(&format!("nginx/{new}.conf")));
    assert!(nginx.ends_with(&format!("# {new} is new.\n")), "{nginx}");
    assert_eq!(text(fork, Path::new(&format!("{new}.new"))), new);
    assert!(!fork.join(format!("nginx/{OLD}.conf")).exists());
    assert_eq!(git(fork, &["status", "--porcelain"]), "");
}
