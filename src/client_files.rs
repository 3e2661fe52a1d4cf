//! The files of the browser's client, which pages load from the server: each as it is, and its gzip. They are in the
//! program itself, where all processes have them once; build.rs has put them there.

/// A file of the client.
#[derive(Debug)]
pub(crate) struct File {
    pub name: &'static str,
    pub plain: &'static [u8],
    /// The same, compressed.
    pub gzip: &'static [u8],
}

// VERSION, the client's or none if the program was built without it, and FILES.
include!(concat!(env!("OUT_DIR"), "/client_files.rs"));

/// The file of this name, if the program was built with the client.
#[must_use]
pub(crate) fn contents(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}
