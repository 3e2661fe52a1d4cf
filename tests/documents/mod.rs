//! The commands of README and of the pages in docs, and how each is known to do what the page says.
//!
//! A test of `tests/docs` compares the pages with [`PROOFS`]; `tests/it/documents.rs` runs those that are [`Proof::ByHand`].

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each of the two binaries uses its part"
)]

mod proofs;

use std::fs;
use std::path::{Path, PathBuf};

pub use proofs::{PROOFS, Proof};

/// What a line of a block that is no shell's begins with: output, JSON, queries, configuration.
const NO_COMMANDS: [&str; 9] = [
    "[bridge]",
    "[Service]",
    "unixsocket ",
    "2026-",
    "{",
    "sum by ",
    "max(",
    "histogram_quantile(",
    "scrape_configs:",
];

/// The programs that pages name. A word in backquotes is a command if it begins with one of them, and more follows.
const PROGRAMS: &[&str] = &[
    "ansible-playbook",
    "apt",
    "apt-get",
    "bench",
    "cargo",
    "cp",
    "curl",
    "docker",
    "dpkg-deb",
    "git",
    "gpg",
    "install",
    "journalctl",
    "kill",
    "make",
    "man",
    "mkdir",
    "my-app",
    "node",
    "npm",
    "redis-server",
    "rm",
    "rsync",
    "scripts/apt-repo",
    "scripts/fuzz",
    "scripts/rename",
    "scripts/sbom",
    "sed",
    "service",
    "sha256sum",
    "ssh",
    "sudo",
    "systemctl",
    "systemd-creds",
    "usermod",
    "wget",
    "/usr/share/my-app/adopt",
    "/usr/share/my-app/nginx-site",
    "/usr/share/my-app/tune-nginx",
];

/// A command as it stands in a page.
#[derive(Debug, Clone)]
pub struct Command {
    pub page: String,
    pub text: String,
    /// What the page says that it prints.
    pub prints: String,
}

/// The commands of all pages, and the blocks of which it is not clear whether they are some.
pub fn commands() -> (Vec<Command>, Vec<String>) {
    let (mut found, mut unclear) = (Vec::new(), Vec::new());
    for (page, text) in pages() {
        let mut add = |text: &str, prints: &str| {
            found.push(Command {
                page: page.clone(),
                text: bare(text),
                prints: prints.to_owned(),
            });
        };
        for block in shell_blocks(&text) {
            if block.starts_with("$ ") {
                for part in block.strip_prefix("$ ").unwrap().split("\n$ ") {
                    let (command, prints) = part.split_once('\n').unwrap_or((part, ""));
                    add(command, prints);
                }
                continue;
            }
            for paragraph in block.split("\n\n") {
                if is_command(paragraph) {
                    let joined = paragraph.replace("\\\n", "\u{1}");
                    for command in joined.lines() {
                        add(&command.replace('\u{1}', "\\\n"), "");
                    }
                } else if !NO_COMMANDS
                    .iter()
                    .any(|begin| paragraph.trim_start().starts_with(begin))
                {
                    unclear.push(format!("{page}:\n{paragraph}"));
                }
            }
        }
        for code in inline(&text) {
            let is_call = code.contains(' ') || code.starts_with("/usr/share/my-app/");
            if is_call && is_command(&code) {
                add(&code, "");
            }
        }
    }
    (found, unclear)
}

/// README and the pages in docs: path and text.
pub fn pages() -> Vec<(String, String)> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(project.join("docs")).unwrap();
    let docs = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    paths.push(project.join("README.md"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(project).unwrap().display().to_string();
        (name, fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

/// The fenced blocks of a page: language and inside.
pub fn fenced(page: &str) -> Vec<(String, String)> {
    let parts = page.split("\n```").skip(1).step_by(2);
    let parts = parts.map(|part| part.split_once('\n').unwrap_or((part, "")));
    parts
        .map(|(language, inside)| (language.to_owned(), inside.to_owned()))
        .collect()
}

/// A page without its fenced blocks.
fn unfenced(page: &str) -> String {
    let parts = page.split("\n```").step_by(2);
    parts
        .map(|part| part.split_once('\n').map_or("", |(_, rest)| rest))
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// The indented blocks of a page, and the fenced ones of a shell, without their indentation.
fn shell_blocks(page: &str) -> Vec<String> {
    let is_shell = |language: &str| matches!(language, "" | "sh" | "bash" | "shell" | "console");
    let mut blocks: Vec<_> = fenced(page)
        .into_iter()
        .filter(|(language, _)| is_shell(language))
        .map(|(_, inside)| inside)
        .collect();
    let text = format!("\n{}", unfenced(page));
    let mut block = String::new();
    let mut after_blank = false;
    for line in text.lines().chain(["end"]) {
        match line.strip_prefix("    ") {
            Some(inside) if after_blank || !block.is_empty() => block.extend([inside, "\n"]),
            _ if line.is_empty() && !block.is_empty() => block.push('\n'),
            _ => blocks.extend(Some(std::mem::take(&mut block)).filter(|block| !block.is_empty())),
        }
        after_blank = line.is_empty();
    }
    blocks
        .iter()
        .map(|block| block.trim_end().to_owned())
        .collect()
}

/// What stands in backquotes within the text of a page.
fn inline(page: &str) -> Vec<String> {
    let text = unfenced(page);
    let text = text
        .lines()
        .filter(|line| !line.starts_with("    "))
        .collect::<Vec<_>>()
        .join("\n");
    let inside = text.split('`').skip(1).step_by(2);
    inside
        .map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// Does a text begin with a program, behind variables for it?
fn is_command(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let is_variable = |word: &&str| {
        word.split_once('=')
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    let program = words.find(|word| !is_variable(word));
    program.is_some_and(|program| PROGRAMS.contains(&program))
}

/// A command without the comment behind it, which stands apart from it.
fn bare(text: &str) -> String {
    let first = |line: &str| match line.trim_start().find("  ") {
        Some(at) if !line.ends_with('\\') => line.trim_start()[..at].to_owned(),
        _ => line.to_owned(),
    };
    if text.contains('\n') {
        text.to_owned()
    } else {
        first(text)
    }
}
