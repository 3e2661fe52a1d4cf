//! What the machines get to see of this one: the package, its next version, an example.

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Release;

/// The top of the sources.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The package under test.
pub fn the_package() -> PathBuf {
    let package = project().join("my-app.deb");
    assert!(package.exists(), "`make deb` comes first");
    package
}

/// The program that is in the package, with its line tables.
pub fn the_program() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_my-app")).parent().unwrap();
    std::env::var_os("MY_APP_PROGRAM").map_or_else(
        || built.with_file_name("release").join("my-app"),
        PathBuf::from,
    )
}

/// Where cargo builds to.
pub fn target() -> PathBuf {
    the_program().ancestors().nth(2).unwrap().to_owned()
}

/// The directory that every machine sees at /srv/share.
///
/// `my-app.deb`; `my-app-next.deb`: a later version, another program with other files for the server and for nginx;
/// `my-app-older.deb`: an earlier one that knows no reload; `my-app-one-socket.deb`: one with both listeners in one unit;
/// `outbound`, `messenger`, `slow_start`: the examples; `database.mjs`: the messenger's database.
pub fn share() -> &'static Path {
    static SHARE: OnceLock<PathBuf> = OnceLock::new();
    SHARE.get_or_init(|| {
        let share = Path::new(env!("CARGO_TARGET_TMPDIR")).join("share");
        let _ = fs::remove_dir_all(&share);
        fs::create_dir_all(&share).unwrap();
        fs::copy(the_package(), share.join("my-app.deb")).unwrap();
        let examples = Path::new(env!("CARGO_BIN_EXE_my-app")).with_file_name("examples");
        for example in ["outbound", "messenger", "slow_start"] {
            fs::copy(examples.join(example), share.join(example))
                .expect("`make package-tests` builds the examples first");
        }
        let database = project().join("examples/messenger/database.mjs");
        fs::copy(database, share.join("database.mjs")).unwrap();
        the_next_version(&share);
        the_version_with_one_socket(&share);
        an_older_version(&share);
        share
    })
}

/// An archive of files of the project, to be unpacked by `tar -x` somewhere else.
pub fn some_of_the_project(paths: &[&str]) -> Stdio {
    let mut archive = tempfile::tempfile().unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(project()).arg("-c").args(paths);
    let tar = tar.stdout(archive.try_clone().unwrap()).status().unwrap();
    assert!(tar.success(), "{paths:?}: {tar}");
    archive.rewind().unwrap();
    archive.into()
}

/// Makes `my-app-NAME.deb` of the package: `prefix` goes before its version, and `how` changes its files.
fn another_version(share: &Path, name: &str, prefix: &str, how: impl Fn(&Path)) {
    let tree = share.join(name);
    run(Command::new("dpkg-deb")
        .arg("-R")
        .arg(share.join("my-app.deb"))
        .arg(&tree));
    change(&tree.join("DEBIAN/control"), |control| {
        control.replacen("\nVersion: ", &format!("\nVersion: {prefix}"), 1)
    });
    how(&tree);
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Znone", "-b"])
        .arg(&tree)
        .arg(share.join(format!("my-app-{name}.deb"))));
    fs::remove_dir_all(&tree).unwrap();
}

fn the_next_version(share: &Path) {
    another_version(share, "next", "99.", |tree| {
        for path in [
            "etc/my-app/my-app.toml",
            "etc/nginx/conf.d/my-app.conf",
            "etc/nginx/sites-available/my-app",
            "etc/nginx/snippets/my-app-proxy.conf",
        ] {
            change(&tree.join(path), |text| {
                format!("{text}\n# What the next version says.\n")
            });
        }
        // What follows the end of a program changes nothing but what it is known by.
        let program = fs::OpenOptions::new()
            .append(true)
            .open(tree.join("usr/bin/my-app"));
        program.unwrap().write_all(b"the next version").unwrap();
    });
}

/// What was installed before there was a reload: its program cannot be tried. It is this one, behind a script.
fn an_older_version(share: &Path) {
    another_version(share, "older", "0.0.", |tree| {
        let program = tree.join("usr/bin/my-app");
        fs::create_dir_all(tree.join("usr/libexec")).unwrap();
        fs::rename(&program, tree.join("usr/libexec/my-app-older")).unwrap();
        let script = "#!/bin/sh\n\
            case $1 in trial) echo \"error: unrecognized subcommand '$1'\" >&2; exit 64 ;; esac\n\
            exec /usr/libexec/my-app-older \"$@\"\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        change(
            &tree.join("usr/lib/systemd/system/my-app.service"),
            |unit| unit.replace("ExecReload=/usr/bin/my-app reload\n", ""),
        );
    });
}

/// What was installed before there was my-app-tcp.socket: my-app.socket had the port.
fn the_version_with_one_socket(share: &Path) {
    another_version(share, "one-socket", "0.0.", |tree| {
        let units = tree.join("usr/lib/systemd/system");
        fs::remove_file(units.join("my-app-tcp.socket")).unwrap();
        change(&units.join("my-app.socket"), |unit| {
            let path = "ListenStream=/run/my-app/my-app.sock\n";
            assert!(unit.contains(path));
            unit.replace(path, &format!("{path}ListenStream=127.0.0.1:3000\n"))
        });
        change(&units.join("my-app.service"), |unit| {
            unit.replace("PartOf=my-app-tcp.socket\n", "")
                .replace("Also=my-app-tcp.socket\n", "")
                .replace(" my-app-tcp.socket ", " ")
        });
        // What the scripts do with the one is done twice with the other, which changes nothing.
        for script in ["preinst", "postinst", "prerm", "postrm"] {
            change(&tree.join("DEBIAN").join(script), |text| {
                text.replace("my-app-tcp.socket", "my-app.socket")
            });
        }
    });
}

/// Makes an archive for apt at `archive`, with `my-app.deb`. Each user needs one of its own: piuparts
/// ends every process that has a file of it open.
pub fn an_archive(archive: &Path) {
    fs::create_dir(archive).unwrap();
    let package = archive.join("my-app.deb");
    fs::copy(share().join("my-app.deb"), &package).unwrap();
    let control = run(Command::new("dpkg-deb").arg("-f").arg(&package));
    let sum = run(Command::new("sha256sum").arg(&package));
    let sum = sum.split(' ').next().unwrap();
    let size = fs::metadata(&package).unwrap().len();
    let index = format!(
        "{}\nFilename: ./my-app.deb\nSize: {size}\nSHA256: {sum}\n",
        control.trim_end()
    );
    fs::write(archive.join("Packages"), index).unwrap();
}

fn change(path: &Path, how: impl Fn(String) -> String) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, how(text)).unwrap();
}

/// Builds the package once more, from the same sources, in another place.
pub fn the_package_again() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("again");
    // Only the dependencies of an earlier run may stay: the program itself is compiled anew.
    let known = fs::read_dir(target.join("release/.fingerprint"));
    for entry in known.into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("my-app-") {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("again.deb");
    run(Command::new(project().join("scripts/build-deb"))
        .arg(&copy)
        .env("CARGO_TARGET_DIR", &target));
    copy
}

/// The directory with a release's root file systems, made if need be.
pub fn rootfs(release: &Release) -> PathBuf {
    // Two at one time would share the network and the disk, and gain nothing.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let said = run(Command::new(project().join("scripts/test-rootfs")).arg(release.name));
    said.trim().into()
}

/// Runs a shell script on this machine, in a mount namespace of its own. `$1` is a root file system
/// with the named layers; changes to it are lost.
#[track_caller]
pub fn with_rootfs(release: &Release, layers: &[&str], script: &str) -> String {
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = scratch.path().join("root");
    run(Command::new("unshare")
        .args(["--mount", "sh", "-euc"])
        .arg(format!(
            "{}\nset -- {} {}\n{script}",
            overlay(release, layers, scratch.path()),
            root.display(),
            share().display(),
        )))
}

/// The command that mounts a root file system at `scratch`/root.
pub fn overlay(release: &Release, layers: &[&str], scratch: &Path) -> String {
    let rootfs = rootfs(release);
    for name in ["upper", "work", "root"] {
        fs::create_dir_all(scratch.join(name)).unwrap();
    }
    let lower: Vec<_> = layers
        .iter()
        .chain(&["base"])
        .map(|layer| rootfs.join(layer).display().to_string())
        .collect();
    let scratch = scratch.display();
    format!(
        "mount -t overlay overlay -o lowerdir={},upperdir={scratch}/upper,workdir={scratch}/work {scratch}/root",
        lower.join(":")
    )
}

/// Runs a command that must succeed; gives what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error} (`make test-deps` installs what the tests need)")
    });
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}
