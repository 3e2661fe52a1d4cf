//! Each shell loads its completions and completes with them. No server runs meanwhile.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::PROJECT;

const FOLDER: &str = "debian/completions";

/// A line that is begun, and a word that completing offers. `my.toml` is a file in the directory.
const OFFERS: [(&str, &str); 8] = [
    ("my-app st", "status"),
    ("my-app dr", "drain"),
    ("my-app --wor", "--workers"),
    ("my-app --config m", "my.toml"),
    ("my-app check --js", "--json"),
    ("my-app emit --config m", "my.toml"),
    ("my-app log deb", "debug"),
    ("my-app drain --un", "--undo"),
];

/// What a shell prints that runs a script in a directory with the one file. It must have nothing to complain of.
fn run(shell: &str, arguments: &[&str], script: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("my.toml"), "").unwrap();
    let output = Command::new(shell)
        .args(arguments)
        .args(["-c", script])
        .current_dir(&directory)
        .env("FOLDER", Path::new(PROJECT).join(FOLDER))
        .env("HOME", directory.path())
        .env("TERM", "xterm")
        .output()
        .unwrap_or_else(|e| panic!("{shell}: {e}; `make test-deps` installs it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{shell}: {errors}"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_commands_options_words_and_files() {
    for (line, offer) in OFFERS {
        let words =
            "IFS=' ' read -ra COMP_WORDS <<<\"$line\"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))";
        let call = "_my_app my-app \"${COMP_WORDS[-1]}\" \"${COMP_WORDS[-2]}\"";
        let script = format!(
            ". $FOLDER/my-app.bash; complete -p my-app >/dev/null; line='{line}'; {words}; {call}
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let offered = run("bash", &["--norc"], &script);
        assert_eq!(offered.trim_end(), offer, "{line}");
    }
}

#[test]
fn fish_completes_commands_options_words_and_files() {
    for (line, offer) in OFFERS {
        let script = format!("source $FOLDER/my-app.fish; complete -C '{line}'");
        let offered = run("fish", &["--no-config"], &script);
        let words = offered.lines().map(|line| line.split('\t').next().unwrap());
        assert_eq!(words.collect::<Vec<_>>(), [offer], "{line}");
    }
}

/// zsh completes only where somebody types: on a terminal, which its own module makes.
#[test]
fn zsh_completes_commands_options_words_and_files() {
    let lines: Vec<_> = OFFERS.iter().map(|(line, _)| format!("'{line}'")).collect();
    let typing = format!(
        "fpath=($FOLDER $fpath); autoload -Uz compinit && compinit -u -D
         complete-all() {{
             for line in {}; do
                 BUFFER=$line CURSOR=$#line
                 zle complete-word
                 print -r -- $BUFFER >>answers
             done
             exit
         }}
         zle -N zle-line-init complete-all
        ",
        lines.join(" ")
    );
    let script = format!(
        "cat >typing <<'END'\n{typing}\nEND
         zmodload zsh/zpty
         zpty shell zsh -f -i
         zpty -w shell 'source ./typing'
         zpty -r shell seen '*what nobody prints*'
         cat answers"
    );
    let answers = run("zsh", &["-f"], &script);
    assert_eq!(answers.lines().count(), OFFERS.len(), "{answers}");
    for (answer, (line, offer)) in answers.lines().zip(OFFERS) {
        let (before, _) = line.rsplit_once(' ').unwrap();
        // A space, or an equals sign, says that the word is whole.
        let completed = answer.trim_end_matches([' ', '=']);
        assert_eq!(completed, format!("{before} {offer}"), "{line}");
    }
}
