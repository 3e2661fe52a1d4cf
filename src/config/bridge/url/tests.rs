use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<BridgeUrl, BridgeUrlError> {
    text.parse()
}

fn at(host: &str, port: u16) -> HostPort {
    HostPort {
        host: host.to_owned(),
        port,
    }
}

fn redis(host: &str, port: u16, tls: bool, user: Option<&str>) -> BridgeUrl {
    BridgeUrl::Redis {
        at: at(host, port),
        tls,
        user: user.map(str::to_owned),
    }
}

#[test]
fn a_redis_is_a_host_with_or_without_a_port_a_user_and_tls() {
    for (text, url) in [
        ("redis://a", redis("a", 6379, false, None)),
        ("redis://127.0.0.1/", redis("127.0.0.1", 6379, false, None)),
        ("redis://a:7000/0", redis("a", 7000, false, None)),
        ("rediss://[::1]", redis("::1", 6379, true, None)),
        (
            "rediss://[fe80::2]:7000",
            redis("fe80::2", 7000, true, None),
        ),
        ("redis://bridge@a", redis("a", 6379, false, Some("bridge"))),
        ("rediss://b%40c@a:1", redis("a", 1, true, Some("b@c"))),
        ("redis://@a", redis("a", 6379, false, None)),
    ] {
        assert_eq!(parse(text), Ok(url), "{text}");
    }
}

#[test]
fn a_unix_socket_is_a_full_path() {
    let url = |user: Option<&str>| BridgeUrl::RedisUnix {
        path: "/run/redis/a b.sock".into(),
        user: user.map(str::to_owned),
    };
    assert_eq!(parse("redis+unix:///run/redis/a%20b.sock"), Ok(url(None)));
    let with_user = parse("redis+unix://u@/run/redis/a%20b.sock");
    assert_eq!(with_user, Ok(url(Some("u"))));
    let long = format!("redis+unix:///{}", "a".repeat(107));
    for wrong in [
        "redis+unix://",
        "redis+unix:///",
        "redis+unix://a/b",
        "redis+unix:///a/",
        &long,
    ] {
        let error = parse(wrong).unwrap_err();
        assert!(matches!(error, BridgeUrlError::Path(_)), "{wrong}: {error}");
    }
}

#[test]
fn sentinels_are_several_hosts_and_a_name() {
    let url = BridgeUrl::Sentinel {
        sentinels: vec![at("a", 26379), at("::1", 5000), at("10.0.0.1", 26379)],
        name: "main".into(),
        tls: false,
        user: Some("u".into()),
    };
    assert_eq!(
        parse("redis+sentinel://u@a,[::1]:5000,10.0.0.1/main"),
        Ok(url)
    );
    assert!(parse("rediss+sentinel://a/main").unwrap().has_tls());
    for wrong in [
        "redis+sentinel://a",
        "redis+sentinel://a,b/",
        "redis+sentinel://a/b/c",
    ] {
        assert_eq!(parse(wrong), Err(BridgeUrlError::SentinelName), "{wrong}");
    }
    assert_eq!(
        parse("redis+sentinel://a,,b/main"),
        Err(BridgeUrlError::Host)
    );
}

#[test]
fn a_postgres_over_tcp_has_tls_unless_it_is_switched_off() {
    let url = |at: HostPort, tls| BridgeUrl::Postgres {
        server: PostgresServer::Tcp { at, tls },
        user: Some("app".into()),
        database: Some("main".into()),
    };
    for (text, expected) in [
        ("postgres://app@db/main", url(at("db", 5432), true)),
        (
            "postgresql://app@[::1]:1/main?sslmode=require",
            url(at("::1", 1), true),
        ),
        (
            "postgres://app@db:6/main?sslmode=disable",
            url(at("db", 6), false),
        ),
    ] {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
    assert_eq!(
        parse("postgres://app@db/main?sslmode=prefer"),
        Err(BridgeUrlError::SslMode)
    );
    let bare = parse("postgres://db").unwrap();
    let BridgeUrl::Postgres { user, database, .. } = bare else {
        panic!("{bare:?}");
    };
    assert_eq!((user, database), (None, None));
}

#[test]
fn a_postgres_may_be_a_directory_with_its_socket() {
    for (text, socket) in [
        ("postgres:///main", "/var/run/postgresql/.s.PGSQL.5432"),
        ("postgres:///main?host=/tmp/pg", "/tmp/pg/.s.PGSQL.5432"),
        (
            "postgres://app@/main?host=/tmp/pg&port=7",
            "/tmp/pg/.s.PGSQL.7",
        ),
        ("postgres://app@%2Ftmp%2Fpg/main", "/tmp/pg/.s.PGSQL.5432"),
        ("postgres://%2Ftmp%2Fpg:8/main", "/tmp/pg/.s.PGSQL.8"),
    ] {
        let url = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(url.socket().as_deref(), Some(Path::new(socket)), "{text}");
        assert!(!url.has_tls() && url.hosts().is_empty());
    }
    let error = parse("postgres:///main?host=tmp").unwrap_err();
    assert!(matches!(error, BridgeUrlError::Path(_)), "{error}");
    assert_eq!(
        parse("postgres://a/main?host=/tmp"),
        Err(BridgeUrlError::Hosts)
    );
}

#[test]
fn a_password_is_refused_wherever_it_stands_and_never_repeated() {
    for text in [
        "redis://:hunter2@a",
        "redis://u:hunter2@a:6379/0",
        "rediss://u:hunter2%40@a",
        "redis://u:hun/ter2@a",
        "redis://u:hunt@er2@a",
        "redis+unix://u:hunter2@/run/a.sock",
        "redis+sentinel://u:hunter2@a,b/main",
        "postgres://u:hunter2@db/main",
        "postgres://u@db/main?password=hunter2",
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error, BridgeUrlError::Password, "{text}");
        let told = error.to_string();
        assert!(
            told.contains("secret_file") && !told.contains("hunter"),
            "{told}"
        );
    }
}

#[test]
fn every_mistake_has_its_own_answer() {
    for (text, error) in [
        ("", BridgeUrlError::Scheme),
        ("redis", BridgeUrlError::Scheme),
        ("localhost:6379", BridgeUrlError::Scheme),
        ("http://a", BridgeUrlError::Scheme),
        ("redis://", BridgeUrlError::Host),
        ("redis://a b", BridgeUrlError::Escape),
        ("redis://a#b", BridgeUrlError::Escape),
        ("redis://::1", BridgeUrlError::Host),
        ("redis://a:0", BridgeUrlError::Port),
        ("redis://a:70000", BridgeUrlError::Port),
        ("redis://a:", BridgeUrlError::Port),
        ("redis://a,b", BridgeUrlError::Hosts),
        ("redis://a/3", BridgeUrlError::RedisDatabase),
        ("redis://%zz@a", BridgeUrlError::Escape),
        ("redis://%ff@a", BridgeUrlError::Escape),
        ("redis://%00@a", BridgeUrlError::Escape),
        ("postgres://a,b/main", BridgeUrlError::Hosts),
    ] {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
    let error = parse("redis://a?x=1").unwrap_err();
    assert!(matches!(error, BridgeUrlError::Option(_)), "{error}");
    let error = parse("postgres://a/b?application_name=x").unwrap_err();
    assert!(matches!(error, BridgeUrlError::Option(_)), "{error}");
}

#[test]
fn what_is_shown_can_be_read_again() {
    for text in [
        "redis://u@[::1]:6379",
        "rediss://a:7000",
        "redis+unix://u%40v@/run/a%20b.sock",
        "rediss+sentinel://u@a:1,[::1]:2/main%20one",
        "postgres://app@db:5432/main",
        "postgres://db:5432/?sslmode=disable",
        "postgres://app@/main?host=/tmp/p%26g&port=7",
    ] {
        let url = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(url.to_string(), text);
        let json = serde_json::to_string(&url).unwrap();
        assert_eq!(serde_json::from_str::<BridgeUrl>(&json).unwrap(), url);
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let text = "redis+sentinel://u%40é@[::1]:5000,b/näme?x=%2F&y";
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = parse(&text[..end]);
        let _ = parse(&format!("postgres://{}", &text[end..]));
        let _ = parse(&format!("redis://{}", &text[end..]));
    }
    for junk in [
        "redis://]",
        "redis://[",
        "redis://]:1",
        "postgres://%",
        "redis://@@@",
        "redis://a%",
    ] {
        assert!(parse(junk).is_err(), "{junk}");
    }
}
