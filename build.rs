//! Puts the browser's client into the program: what npm installed into client/ (`make client`), each file as it is and
//! as gzip. Without them the program is built all the same, and says where they are to come from.
//!
//! The same files give the same bytes on every machine: gzip has no time in it, and at this level none of the
//! compressor's ways depend on the processor.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::{Compression, GzBuilder};

#[path = "src/wire/client_names.rs"]
mod client_names;

use client_names::NAMES;

fn main() -> io::Result<()> {
    // All of the folder, for what is not there yet cannot be named.
    println!("cargo:rerun-if-changed=client");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/wire/client_names.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let written = match pinned_and_there() {
        Ok((version, dist)) => embed(&version, &dist, &out)?,
        Err(why) => {
            println!(
                "cargo:warning={why}: the program is built without the client's files, and answers 404 for \
                 /socket.io/socket.io.js; `make client` gets them (it needs npm)"
            );
            "pub(crate) const VERSION: Option<&str> = None;\nconst FILES: &[File] = &[];\n"
                .to_owned()
        }
    };
    fs::write(out.join("client_files.rs"), written)
}

/// The version of the client, and where its files are: the one that client/package.json names, and no other.
fn pinned_and_there() -> Result<(String, PathBuf), String> {
    let package = Path::new("client/node_modules/socket.io-client");
    let pinned = text_of("client/package.json".as_ref(), "socket.io-client")
        .ok_or("client/package.json names no version")?;
    let found = text_of(&package.join("package.json"), "version")
        .ok_or("client/node_modules is not there")?;
    if found != pinned {
        return Err(format!(
            "client/node_modules has version {found}, not {pinned}"
        ));
    }
    Ok((found, package.join("dist")))
}

/// The text that a JSON file has under a key. npm writes one key a line.
fn text_of(file: &Path, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| {
        let value = line.trim().strip_prefix('"')?.strip_prefix(key)?;
        value.strip_prefix("\":")
    })?;
    Some(value.trim_matches([' ', ',', '"']).to_owned())
}

/// Writes the files and their gzip into `out`; gives the table that includes them.
fn embed(version: &str, dist: &Path, out: &Path) -> io::Result<String> {
    let mut table = format!("pub(crate) const VERSION: Option<&str> = Some({version:?});\n");
    table.push_str("const FILES: &[File] = &[\n");
    for name in NAMES {
        let file = dist.join(name);
        let plain = fs::read(&file)
            .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
        gzip.write_all(&plain)?;
        fs::write(out.join(format!("{name}.gz")), gzip.finish()?)?;
        fs::write(out.join(name), plain)?;
        let bytes = |name: &str| format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\"))");
        let _ = writeln!(
            table,
            "    File {{ name: {name:?}, plain: {}, gzip: {} }},",
            bytes(name),
            bytes(&format!("{name}.gz"))
        );
    }
    table.push_str("];\n");
    Ok(table)
}
