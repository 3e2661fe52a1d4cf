//! The manual of the configuration is made from the shipped file. That one has every key with its default and its
//! reasons: a unit test of the configuration compares it with the keys that the program reads.

use std::fmt::Write as _;
use std::path::Path;

use super::{PROJECT, read};

const MANUAL: &str = "debian/my-app.toml.5";
const HINT: &str = "UPDATE_MANUAL=1 cargo test --test docs configuration";

/// The keys of one paragraph of the shipped file, with their defaults, and what it says of them.
#[derive(Default)]
struct Paragraph {
    text: Vec<String>,
    keys: Vec<(String, String)>,
}

/// The head of the shipped file, and its sections with their paragraphs; the first has no name.
fn sections() -> (Paragraph, Vec<(String, Vec<Paragraph>)>) {
    let sample = read("debian/my-app.toml");
    let mut sections = vec![(String::new(), Vec::new())];
    for block in sample.split("\n\n") {
        let mut paragraph = Paragraph::default();
        for line in block.lines() {
            if let Some(name) = line.strip_prefix('[') {
                sections.push((name.trim_end_matches(']').to_owned(), Vec::new()));
            } else if let Some((key, default)) = line.split_once(" = ")
                && let Some(key) = key.strip_prefix('#')
                && !key.starts_with(' ')
            {
                paragraph.keys.push((key.to_owned(), default.to_owned()));
            } else {
                let words = line.strip_prefix('#').unwrap_or(line);
                paragraph
                    .text
                    .push(words.trim_start_matches(' ').to_owned());
            }
        }
        sections.last_mut().unwrap().1.push(paragraph);
    }
    let head = sections[0].1.remove(0);
    (head, sections)
}

/// A text as roff has it: with hyphens that can be copied, and no line that looks like a command.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let text = text.replace('\'', "\\(aq").replace('`', "\\(ga");
    if text.starts_with('.') {
        format!("\\&{text}")
    } else {
        text
    }
}

fn manual() -> String {
    let (head, sections) = sections();
    let mut text = format!(
        ".\\\" Made from my-app.toml: {HINT}
.TH {} 5 \"November 2026\" \"my-app\" \"File Formats\"
.nh
.ad l
.SH NAME
my\\-app.toml \\- configuration of the Socket.IO server my\\-app
.SH SYNOPSIS
.I /etc/my-app/my-app.toml
.SH DESCRIPTION
",
        roff(&env!("CARGO_PKG_NAME").to_uppercase()) + ".TOML"
    );
    for line in head.text {
        // An empty line of the comment begins a paragraph; a call with what it does stands alone.
        let _ = match line.split_once("    ") {
            None if line.is_empty() => writeln!(text, ".PP"),
            None => writeln!(text, "{}", roff(&line)),
            Some((call, what)) => writeln!(text, ".TP\n.B {}\n{}", roff(call), roff(what.trim())),
        };
    }
    text.push_str(
        ".PP
The file is TOML. A section begins with its name in brackets, as in
.BR [engine] ,
and its keys stand below it.
",
    );
    for (section, paragraphs) in sections {
        let title = if section.is_empty() {
            "KEYS OUTSIDE OF ANY SECTION".to_owned()
        } else {
            format!("[{section}]")
        };
        let _ = writeln!(text, ".SH {}", roff(&title).replace(' ', "\\ "));
        for Paragraph { text: words, keys } in paragraphs {
            for (n, (key, default)) in keys.iter().enumerate() {
                let tag = if n == 0 { ".TP" } else { ".TQ" };
                let _ = writeln!(text, "{tag}\n\\fB{}\\fR = {}", roff(key), roff(default));
            }
            for line in words {
                let _ = writeln!(text, "{}", roff(&line));
            }
        }
    }
    text.push_str(
        ".SH FILES
.TP
.I /etc/my-app/my-app.toml
The configuration. As it is installed it shows every key with its default, and changes nothing.
.SH \"SEE ALSO\"
.BR my\\-app (8)
",
    );
    text
}

#[test]
fn the_manual_of_the_configuration_is_what_the_shipped_file_says() {
    let made = manual();
    if std::env::var_os("UPDATE_MANUAL").is_some() {
        std::fs::write(Path::new(PROJECT).join(MANUAL), &made).unwrap();
    }
    assert!(
        read(MANUAL) == made,
        "{MANUAL} is not made from debian/my-app.toml: {HINT}"
    );
}

#[test]
fn groff_finds_nothing_wrong_with_the_manuals() {
    for page in ["debian/my-app.8", MANUAL] {
        let output = std::process::Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-z", page])
            .current_dir(PROJECT)
            .output()
            .expect("groff is there (`make test-deps` installs it)");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && complaints.is_empty(),
            "{complaints}"
        );
    }
}
