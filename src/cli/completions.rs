//! What bash, zsh and fish offer behind `my-app`: files of the package, made from the grammar by the test below. The
//! program itself has no code for that, so completing asks nothing of a server and needs none.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory, ValueHint};

use super::Line;

const NAME: &str = env!("CARGO_PKG_NAME");

/// Who makes one of the files.
const HEAD: &str = "\
# Completions of my-app, made from its command line: UPDATE_COMPLETIONS=1 cargo test --lib completions\n";

/// What stands behind an option, or for a word that is none.
enum Value {
    Nothing,
    File,
    OneOf(Vec<String>),
    Anything,
}

fn value(arg: &Arg) -> Value {
    if !arg.get_action().takes_values() {
        return Value::Nothing;
    }
    let words = arg.get_possible_values();
    if !words.is_empty() {
        return Value::OneOf(words.iter().map(|it| it.get_name().to_owned()).collect());
    }
    match arg.get_value_hint() {
        ValueHint::AnyPath => Value::File,
        _ => Value::Anything,
    }
}

/// A command, or, without a name, the program alone. What is hidden is left out.
struct Entry {
    name: String,
    about: String,
    command: Command,
}

impl Entry {
    fn options(&self) -> Vec<&Arg> {
        let arguments = self.command.get_arguments();
        arguments.filter(|arg| arg.get_long().is_some()).collect()
    }

    /// The words that may stand where no option does.
    fn words(&self) -> Vec<String> {
        let positionals = self.command.get_positionals();
        let words = positionals.filter_map(|arg| match value(arg) {
            Value::OneOf(words) => Some(words),
            _ => None,
        });
        words.flatten().collect()
    }
}

/// Those that are typed: first the program alone.
fn entries() -> Vec<Entry> {
    let mut grammar = Line::command();
    grammar.build();
    let entry = |command: &Command| Entry {
        name: command.get_name().to_owned(),
        about: command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default(),
        command: command.clone(),
    };
    let mut entries = vec![entry(&grammar)];
    entries[0].name.clear();
    entries.extend(
        grammar
            .get_subcommands()
            .filter(|it| !it.is_hide_set())
            .map(entry),
    );
    entries
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries[1..]
        .iter()
        .map(|entry| entry.name.clone())
        .collect()
}

fn long(arg: &Arg) -> String {
    format!("--{}", arg.get_long().unwrap())
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

/// A text between single quotes, as a shell has them.
fn quoted(text: &str, quote: &str) -> String {
    format!("'{}'", text.replace('\'', quote))
}

fn bash(entries: &[Entry]) -> String {
    let function = NAME.replace('-', "_");
    let mut text = format!(
        "{HEAD}_{function}() {{
    local word=$2 before=$3 command='' options='' words=''
    COMPREPLY=()
    # bash takes --config=FILE for three words.
    if [[ $word == = ]]; then
        word=''
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    ((COMP_CWORD > 1)) && command=${{COMP_WORDS[1]}}
    case $command in
"
    );
    for entry in entries[1..].iter().chain(&entries[..1]) {
        let options: Vec<_> = entry.options().into_iter().map(long).collect();
        let words = entry.words().join(" ");
        let name = if entry.name.is_empty() {
            "*"
        } else {
            &entry.name
        };
        let _ = writeln!(text, "    {name})\n        options='{}'", options.join(" "));
        if entry.name.is_empty() {
            let names = names(entries).join(" ");
            let _ = writeln!(text, "        ((COMP_CWORD == 1)) && words='{names}'");
        } else if !words.is_empty() {
            let _ = writeln!(text, "        words='{words}'");
        }
        text.push_str("        ;;\n");
    }
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for arg in entries.iter().flat_map(Entry::options) {
        let list = match value(arg) {
            Value::Nothing => continue,
            Value::File => &mut files,
            Value::OneOf(_) | Value::Anything => &mut others,
        };
        if !list.contains(&long(arg)) {
            list.push(long(arg));
        }
    }
    let _ = write!(
        text,
        "    esac
    case $before in
    {})
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")
        return
        ;;
    {})
        return
        ;;
    esac
    if [[ $word == -* || -z $words ]]; then
        words=$options
    fi
    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")
}}
complete -F _{function} {NAME}
",
        files.join(" | "),
        others.join(" | ")
    );
    text
}

/// One argument, as zsh's `_arguments` wants it.
fn zsh_argument(arg: &Arg) -> String {
    let mut escaped = String::new();
    for c in help(arg).chars() {
        if "[]:\\".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    let what = arg.get_value_names().and_then(|names| names.first());
    let what = what
        .map(|name| name.replace(':', "\\:"))
        .unwrap_or_default();
    let action = match value(arg) {
        Value::Nothing => String::new(),
        Value::File => format!(":{what}:_files"),
        Value::OneOf(words) => format!(":{what}:({})", words.join(" ")),
        Value::Anything => format!(":{what}: "),
    };
    let many = matches!(arg.get_action(), ArgAction::Append);
    let spec = if arg.get_long().is_some() {
        let equals = if action.is_empty() { "" } else { "=" };
        let star = if many { "*" } else { "" };
        format!("{star}{}{equals}[{escaped}]{action}", long(arg))
    } else {
        format!("{}{action}", if many { "*" } else { "" })
    };
    quoted(&spec, "'\\''")
}

fn zsh(entries: &[Entry]) -> String {
    let function = NAME.replace('-', "_");
    let mut text = format!(
        "#compdef {NAME}
{HEAD}
_{function}_commands() {{
    local -a commands
    commands=(
"
    );
    for entry in &entries[1..] {
        let line = format!("{}:{}", entry.name, entry.about.replace(':', "\\:"));
        let _ = writeln!(text, "        {}", quoted(&line, "'\\''"));
    }
    text.push_str(
        "    )
    _describe -t commands command commands
}

local command=''
(( CURRENT > 2 )) && command=$words[2]
case $command in
",
    );
    for entry in entries[1..].iter().chain(&entries[..1]) {
        let mut arguments: Vec<_> = entry.options().into_iter().map(zsh_argument).collect();
        if entry.name.is_empty() {
            arguments.push(format!("'1: :_{function}_commands'"));
            text.push_str("(*)\n");
        } else {
            arguments.extend(entry.command.get_positionals().map(zsh_argument));
            let _ = writeln!(
                text,
                "({})\n    shift words\n    (( CURRENT-- ))",
                entry.name
            );
        }
        let _ = writeln!(
            text,
            "    _arguments -S : \\\n        {}\n    ;;",
            arguments.join(" \\\n        ")
        );
    }
    text.push_str("esac\n");
    text
}

fn fish(entries: &[Entry]) -> String {
    let function = format!("__{}_is", NAME.replace('-', "_"));
    let mut text = format!(
        "{HEAD}
# Whether one of these commands stands behind the program's name.
function {function}
    set -l words (commandline -opc)
    contains -- \"$words[2]\" $argv
end

complete -c {NAME} -f
"
    );
    for entry in &entries[1..] {
        let about = quoted(&entry.about, "\\'");
        let when = "'test (count (commandline -opc)) -eq 1'";
        let _ = writeln!(
            text,
            "complete -c {NAME} -n {when} -a {} -d {about}",
            entry.name
        );
    }
    for entry in entries {
        let when = if entry.name.is_empty() {
            format!("'not {function} {}'", names(entries).join(" "))
        } else {
            format!("'{function} {}'", entry.name)
        };
        for arg in entry.options() {
            let takes = match value(arg) {
                Value::Nothing => "",
                Value::File => " -r -F",
                Value::OneOf(_) | Value::Anything => " -x",
            };
            let (long, help) = (arg.get_long().unwrap(), quoted(&help(arg), "\\'"));
            let _ = writeln!(
                text,
                "complete -c {NAME} -n {when} -l {long}{takes} -d {help}"
            );
        }
        let words = entry.words().join(" ");
        if !words.is_empty() {
            let _ = writeln!(text, "complete -c {NAME} -n {when} -a '{words}'");
        }
    }
    text
}

#[test]
fn completions_are_those_of_the_grammar() {
    let entries = entries();
    for (file, text) in [
        (format!("{NAME}.bash"), bash(&entries)),
        (format!("_{NAME}"), zsh(&entries)),
        (format!("{NAME}.fish"), fish(&entries)),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("debian/completions");
        let path = folder.join(&file);
        if std::env::var_os("UPDATE_COMPLETIONS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let shipped = fs::read_to_string(&path).unwrap_or_default();
        let hint = "UPDATE_COMPLETIONS=1 cargo test --lib completions";
        assert!(
            shipped == text,
            "{file} is not what the grammar says: {hint}"
        );
    }
}
