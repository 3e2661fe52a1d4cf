mod sample;

use std::path::Path;

use self::sample::state;
use super::*;

/// What the fuzzer begins with: nothing, each part with something everywhere, and all of them together.
fn states() -> [(&'static str, State); 9] {
    let with = |name, fill: fn(&mut State)| {
        let mut state = State::default();
        fill(&mut state);
        (name, state)
    };
    [
        with("0-nothing", |_| {}),
        with("1-program", |state| state.program = sample::program()),
        with("2-workers", |state| state.workers = sample::workers()),
        with("3-pool", |state| state.pool = sample::pool()),
        with("4-connections", |state| {
            state.connections = sample::connections();
        }),
        with("5-listeners", |state| state.listeners = sample::listening()),
        with("6-hub", |state| state.hub = sample::hub()),
        with("7-control", |state| state.control = sample::control()),
        with("8-all", |all| *all = state()),
    ]
}

/// What is kept is the state without its head, which no fuzzer would find: it has a sum of all. Whoever changes a byte
/// of it changes [`STATE_VERSION`], and has the files written anew by `WRITE_CORPUS=1 cargo test --lib handover`.
#[test]
fn the_corpus_has_every_part() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/handover");
    let write = std::env::var_os("WRITE_CORPUS").is_some();
    for (name, state) in states() {
        let bytes = state.encode().unwrap().split_off(HEAD);
        let file = folder.join(name);
        if write {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        let kept = std::fs::read(&file).unwrap_or_default();
        assert!(kept == bytes, "{} is not {state:?}", file.display());
    }
}

#[test]
fn what_was_written_is_read() {
    let bytes = state().encode().unwrap();
    assert_eq!(State::decode(&bytes), Ok(state()));
}

#[test]
fn a_state_that_was_cut_anywhere_is_an_error() {
    let bytes = state().encode().unwrap();
    for len in 0..bytes.len() {
        assert!(State::decode(&bytes[..len]).is_err(), "{len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(
        State::decode(&longer),
        Err(HandoverError::Length { .. })
    ));
}

#[test]
fn a_state_with_any_bit_flipped_is_an_error() {
    let bytes = state().encode().unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(State::decode(&damaged).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_state_of_another_version_says_which() {
    let mut bytes = state().encode().unwrap();
    bytes[8..12].copy_from_slice(&7_u32.to_le_bytes());
    let sum = sum(&bytes[..BEFORE_SUM], &bytes[HEAD..]);
    bytes[BEFORE_SUM..HEAD].copy_from_slice(&sum);
    let error = State::decode(&bytes).unwrap_err();
    assert_eq!(error, HandoverError::Version { found: 7 });
    assert!(error.to_string().contains("restart"), "{error}");
}
