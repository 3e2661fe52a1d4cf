//! Every command of README and of the pages in docs is run by a test, or it is said why not.

use std::collections::{BTreeMap, BTreeSet};

use super::documents::{PROOFS, Proof, commands};
use super::manual::{commands_of_help, options};
use super::read;

#[test]
fn every_command_of_the_pages_has_a_proof_and_every_proof_a_command() {
    let (found, unclear) = commands();
    let unclear = unclear.join("\n\n");
    assert!(
        unclear.is_empty(),
        "are these commands? If so, add their program to PROGRAMS in tests/documents/mod.rs, else what they begin with to NO_COMMANDS:\n{unclear}"
    );
    let proofs = PROOFS.iter().flat_map(|(_, commands)| commands.iter());
    let known: BTreeSet<_> = proofs.copied().collect();
    let missing = found
        .iter()
        .filter(|command| !known.contains(command.text.as_str()));
    let missing: BTreeMap<_, _> = missing
        .map(|command| (&command.text, &command.page))
        .collect();
    let missing: Vec<_> = missing
        .iter()
        .map(|(text, page)| format!("    {text:?},    // {page}"))
        .collect();
    assert!(
        missing.is_empty(),
        "no test is known to run these commands of the pages. Add each line to PROOFS in tests/documents/proofs.rs, to the list of how it is proved \
         (run by a test in so many words, or with other values):\n{}",
        missing.join("\n")
    );
    let found: BTreeSet<_> = found.iter().map(|command| command.text.as_str()).collect();
    let stale: Vec<_> = known.difference(&found).collect();
    assert!(
        stale.is_empty(),
        "in no page any more, take them out of tests/documents/proofs.rs: {stale:#?}"
    );
}

#[test]
fn the_files_that_prove_a_command_have_it() {
    for (proof, commands) in PROOFS {
        let missing = |file: &str, text: &str| {
            assert!(
                read(file).contains(text),
                "{file} does not have {text:?}, which proves {commands:?}: see PROOFS in tests/documents/proofs.rs"
            );
        };
        match proof {
            Proof::Verbatim(file) => {
                for command in *commands {
                    missing(file, command);
                }
            }
            Proof::Like(file, text) => missing(file, text),
            Proof::BeforeRelease => {
                for command in *commands {
                    let target: Vec<_> = command.split(' ').take(2).collect();
                    missing("docs/RELEASING.md", &target.join(" "));
                }
            }
            Proof::NotOurs(why) => assert!(!why.is_empty()),
            Proof::ByHand => {}
        }
    }
}

#[test]
fn the_synopsis_of_the_readme_is_that_of_the_help() {
    let readme = read("README.md");
    let (_, block) = readme
        .split_once("\n    my-app [")
        .expect("README has a synopsis");
    let (block, _) = block.split_once("\n\n").unwrap();
    let block = format!("my-app [{block}");
    let calls = block.lines().flat_map(|line| line.split("  |  "));
    let mut shown = BTreeMap::<_, BTreeSet<_>>::new();
    for call in calls.map(|call| call.trim().strip_prefix("my-app ").unwrap()) {
        let call = call.split("   ").next().unwrap();
        let name = call.split(' ').next().unwrap();
        let name = if name.starts_with('[') { "" } else { name };
        shown
            .entry(name.to_owned())
            .or_default()
            .extend(options(call));
    }
    let mut help = commands_of_help();
    assert_eq!(
        shown.keys().collect::<Vec<_>>(),
        help.keys().collect::<Vec<_>>()
    );
    for (name, options) in shown {
        let known = help.remove(&name).unwrap();
        assert!(options.is_subset(&known), "my-app {name}: {options:?}");
    }
}
