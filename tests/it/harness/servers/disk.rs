//! A disk of its own, which is small enough to be filled.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::super::holder::Holder;

/// A file system of its own, which is unmounted with the value.
pub struct Disk {
    _holder: Holder,
    folder: TempDir,
}

impl Disk {
    /// One that takes so many MiB.
    #[track_caller]
    pub fn of(mebibytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m,mode=755 disk \"$1\"; echo there; cat; umount -l \"$1\""
        );
        let mut command = Command::new("sh");
        command.args(["-euc", &script, "sh"]).arg(folder.path());
        let holder = Holder::start(&mut command, "only root mounts a disk");
        Self {
            _holder: holder,
            folder,
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Not a byte more is written to it.
    pub fn fill(&self) {
        let path = self.path().join("fill");
        let mut file = File::create(&path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        for size in [1 << 20, 4096, 1] {
            let block = vec![b'x'; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    /// There is room again.
    pub fn make_room(&self) {
        fs::remove_file(self.path().join("fill")).unwrap();
    }
}
