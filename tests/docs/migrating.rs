//! The guide for those who come from Node.

use super::read;

/// The lines of a text without the blanks around them, and without empty ones.
fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).collect()
}

/// The inside of each block of Rust in a document.
fn rust_blocks(document: &str) -> Vec<&str> {
    let parts = document.split("```rust\n").skip(1);
    parts
        .map(|part| part.split("```").next().unwrap())
        .collect()
}

/// Each block stands, line for line, in an example that the compiler and the lints have seen.
#[test]
fn the_rust_of_the_migration_guide_is_compiled() {
    let guide = read("docs/MIGRATING.md");
    let example = read("examples/migrating.rs");
    let example = lines(&example);
    let blocks = rust_blocks(&guide);
    assert!(blocks.len() > 3, "the guide has lost its Rust");
    for block in blocks {
        let block = lines(block);
        assert!(
            example.windows(block.len()).any(|window| window == block),
            "not in examples/migrating.rs:\n{}",
            block.join("\n")
        );
    }
}
