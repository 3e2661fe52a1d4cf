use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use super::*;

fn config(url: &str) -> BridgeConfig {
    BridgeConfig {
        url: (!url.is_empty()).then(|| url.parse().unwrap()),
        ..BridgeConfig::default()
    }
}

/// The bridge's unit as systemd shows it, beside a service that runs.
fn units(bridge: &str) -> Units {
    Units::parse(&format!(
        "Id={SERVICE}\nLoadState=loaded\nActiveState=active\n\nId={BRIDGE}\n{bridge}"
    ))
}

fn password(mode: Option<u32>, readable: bool, changed: u64) -> PasswordFile {
    PasswordFile {
        path: PASSWORD.into(),
        mode,
        readable,
        empty: false,
        changed: Some(changed),
    }
}

#[test]
fn a_bridge_that_should_run_and_does_not_is_told_with_the_command_that_starts_it() {
    for (bridge, remedy) in [
        ("LoadState=loaded\nActiveState=active", None),
        ("LoadState=loaded\nActiveState=activating", None),
        (
            "LoadState=loaded\nActiveState=inactive",
            Some("systemctl start my-app-bridge.service"),
        ),
        (
            "LoadState=loaded\nActiveState=failed\nResult=exit-code",
            Some("journalctl -u my-app-bridge"),
        ),
        (
            "LoadState=masked\nActiveState=inactive",
            Some("systemctl unmask"),
        ),
        (
            "LoadState=not-found\nActiveState=inactive",
            Some("--reinstall"),
        ),
    ] {
        let found = life(&config("redis://a"), &units(bridge));
        match remedy {
            Some(remedy) => {
                let found = found.unwrap();
                assert_eq!(found.id, Id::BridgeStopped);
                assert!(found.remedy.contains(remedy), "{bridge}: {found:?}");
            }
            None => assert_eq!(found, None, "{bridge}"),
        }
    }
    // A service that is stopped has its own finding.
    assert_eq!(life(&config("redis://a"), &Units::default()), None);
}

#[test]
fn a_bridge_that_nobody_asks_for_any_more_is_told() {
    let running = units("LoadState=loaded\nActiveState=active");
    let found = life(&config(""), &running).unwrap();
    assert_eq!(found.id, Id::BridgeUnused);
    assert_eq!(
        life(
            &config(""),
            &units("LoadState=loaded\nActiveState=inactive")
        ),
        None
    );
}

#[test]
fn what_has_no_effect_is_told() {
    let with = |url: &str, change: fn(&mut BridgeConfig)| {
        let mut config = config(url);
        change(&mut config);
        without_effect(&config).len()
    };
    assert_eq!(with("redis://a", |it| it.ca_file = Some("/ca".into())), 1);
    assert_eq!(with("rediss://a", |it| it.ca_file = Some("/ca".into())), 0);
    assert_eq!(with("", |it| it.node = true), 1);
    assert_eq!(with("redis://a", |it| it.node = true), 0);
}

#[test]
fn a_secret_file_is_for_the_bridge_and_for_nobody_else() {
    for (file, what) in [
        (password(Some(0o640), true, 0), None),
        (password(Some(0o600), true, 0), None),
        (password(None, false, 0), Some("is not there")),
        (password(Some(0o600), false, 0), Some("cannot be read")),
        (password(Some(0o644), true, 0), Some("by others")),
        (password(Some(0o660), true, 0), Some("by others")),
    ] {
        let found = of_secret_file(&file).map(|it| it.what);
        assert_eq!(found.is_some(), what.is_some(), "{file:?}");
        assert!(
            what.is_none_or(|what| found.unwrap().contains(what)),
            "{file:?}"
        );
    }
}

#[test]
fn a_secret_file_that_is_missing_or_empty_is_to_be_written_whoever_started_the_server() {
    let empty = PasswordFile {
        empty: true,
        ..password(Some(0o640), true, 0)
    };
    for (file, what) in [(password(None, false, 0), "not there"), (empty, "empty")] {
        for (found, remedy) in [
            (of_secret_file(&file), "-g my-app-runner -m 640 /dev/stdin"),
            (of_own_file(&file), "install -m 600 /dev/stdin"),
        ] {
            let found = found.unwrap();
            assert!(found.what.contains(what), "{}", found.what);
            assert!(found.remedy.contains(remedy), "{}", found.remedy);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("password");
    let mut config = config("redis+unix:///nowhere");
    config.secret_file = Some(secret.clone());
    let found = |config: &BridgeConfig| {
        let seen = by_hand(config);
        let ids = seen.findings.iter().map(|it| it.id);
        ids.filter(|id| *id == Id::BridgeSecret).count()
    };
    assert_eq!(found(&config), 1);
    std::fs::write(&secret, "pw\r\n").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(found(&config), 0);
}

#[test]
fn a_credential_is_as_old_as_the_unit_s_start() {
    let running = units("ActiveState=active\nActiveEnterTimestamp=@1000").bridge;
    let url = |text: &str| config(text).url;
    for (text, file, what) in [
        ("redis://a", password(None, false, 0), None),
        (
            "redis://u@a",
            password(None, false, 0),
            Some("names a user (redis://u@a:6379)"),
        ),
        ("postgres:///main", password(None, false, 0), None),
        ("redis://a", password(Some(0o600), false, 999), None),
        (
            "redis://a",
            password(Some(0o600), false, 1001),
            Some("has changed since"),
        ),
        (
            "redis://a",
            password(Some(0o644), true, 0),
            Some("by others"),
        ),
    ] {
        let found = of_credential(url(text).as_ref(), &running, &file).map(|it| it.what);
        assert_eq!(found.is_some(), what.is_some(), "{text} {file:?}");
        assert!(
            what.is_none_or(|what| found.unwrap().contains(what)),
            "{text} {file:?}"
        );
    }
    let encrypted = units("LoadCredentialEncrypted=bridge-password:/etc/a").bridge;
    let file = password(None, false, 0);
    assert_eq!(
        of_credential(url("redis://u@a").as_ref(), &encrypted, &file),
        None
    );
}

#[test]
fn somebody_who_listens_is_reached_and_nobody_is_told_with_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let url: BridgeUrl = format!("redis://127.0.0.1:{port}").parse().unwrap();
    assert_eq!(looks::unreached(&url), None);
    let sentinels = format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/main");
    assert_eq!(looks::unreached(&sentinels.parse().unwrap()), None);
    drop(listener);
    let found = unreachable(&looks::unreached(&url).unwrap());
    assert!(
        found.what.contains(&format!("127.0.0.1:{port}: ")),
        "{found:?}"
    );

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis.sock");
    let url: BridgeUrl = format!("redis+unix://{}", path.display()).parse().unwrap();
    assert!(matches!(
        looks::unreached(&url),
        Some(Unreached::Socket(..))
    ));
    let _listener = UnixListener::bind(&path).unwrap();
    assert_eq!(looks::unreached(&url), None);
    let closed = unreachable(&Unreached::Closed(path, "redis".into()));
    assert!(
        closed.remedy.contains("SupplementaryGroups=redis"),
        "{closed:?}"
    );
}
