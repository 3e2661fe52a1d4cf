//! What one packet means for the next.

use bytes::Bytes;

use super::{all_refused, joined, kind, text};
use crate::guard::{Guard, GuardError, Kind};

#[test]
fn as_many_attachments_come_as_were_told() {
    let data = Bytes::from_static(b"\x01");
    let mut guard = joined();
    assert_eq!(guard.binary(&data), Err(GuardError::Binary));
    assert_eq!(kind(&mut guard, r#"52-["a"]"#), Ok(Kind::BinaryEvent));
    assert_eq!(text(&mut guard, r#"2["a"]"#), Err(GuardError::Text));
    assert_eq!((guard.binary(&data), guard.binary(&data)), (Ok(()), Ok(())));
    assert_eq!(kind(&mut guard, r#"2["a"]"#), Ok(Kind::Event));
    assert_eq!(guard.binary(&data), Err(GuardError::Binary));
}

#[test]
fn an_event_without_a_name_is_ignored() {
    for message in ["2", "21", "2 ", "2/chat", "2/chat,"] {
        assert_eq!(kind(&mut joined(), message), Ok(Kind::Ignored), "{message}");
    }
}

#[test]
fn only_namespaces_that_are_joined_are_spoken_to() {
    let messages = [
        "1/none,",
        r#"2/chat["a"]"#,
        r#"2/none,["a"]"#,
        "3/none,1[]",
        r#"51-/none,["a"]"#,
    ];
    all_refused(GuardError::State, &messages);
    let mut guard = Guard::default();
    for message in [r#"2["a"]"#, "31[]", "1", r#"2/chat,["a"]"#] {
        assert_eq!(
            text(&mut guard, message),
            Err(GuardError::State),
            "{message}"
        );
    }
    assert_eq!(kind(&mut guard, "0/chat,"), Ok(Kind::Connect));
    assert_eq!(kind(&mut guard, r#"2/chat,["a"]"#), Err(GuardError::State));
    guard.sent(r#"0/chat,{"sid":"a"}"#);
    assert_eq!(kind(&mut guard, r#"2/chat,["a"]"#), Ok(Kind::Event));
    assert_eq!(kind(&mut guard, r#"2["a"]"#), Err(GuardError::State));
}

#[test]
fn a_namespace_is_joined_once() {
    all_refused(
        GuardError::State,
        &["0", "0{}", "0/chat,", r#"0/chat,{"t":1}"#],
    );
    let mut guard = Guard::default();
    for message in ["0", r#"01{"a":1}"#] {
        guard.sent("1");
        assert_eq!(kind(&mut guard, message), Ok(Kind::Connect));
        assert_eq!(kind(&mut guard, message), Ok(Kind::Ignored));
        guard.sent(r#"4{"message":"no"}"#);
        assert_eq!(kind(&mut guard, message), Ok(Kind::Connect));
        guard.sent(r#"0{"sid":"a"}"#);
        guard.sent(r#"4{"message":"no"}"#);
        guard.sent(r#"2["a"]"#);
        assert_eq!(kind(&mut guard, message), Err(GuardError::State));
    }
}

#[test]
fn a_namespace_that_is_left_can_be_joined_again() {
    let mut guard = joined();
    assert_eq!(kind(&mut guard, "1/chat,"), Ok(Kind::Disconnect));
    assert_eq!(kind(&mut guard, "1/chat,"), Err(GuardError::State));
    assert_eq!(kind(&mut guard, "0/chat,"), Ok(Kind::Connect));
    guard.sent("0/chat,");
    guard.sent("1/chat,");
    assert_eq!(kind(&mut guard, r#"2/chat,["a"]"#), Err(GuardError::State));
    assert_eq!(kind(&mut guard, r#"2["a"]"#), Ok(Kind::Event));
    guard.sent("1");
    assert_eq!(kind(&mut guard, r#"2["a"]"#), Err(GuardError::State));
}

#[test]
fn in_revision_3_a_namespace_may_have_a_query() {
    for (message, changed, query) in [
        ("0/chat?token=abc,", "0/chat,", Some("token=abc")),
        ("0/chat?token=abc", "0/chat,", Some("token=abc")),
        ("0/chat,", "0/chat,", None),
        ("0/chat?,", "0/chat,", Some("")),
        ("0/chat?a=1&b=%20#x,", "0/chat,", Some("a=1&b=%20")),
        ("0/chat#x?y=1,", "0/chat,", None),
    ] {
        let mut guard = Guard::default();
        guard.sent("0");
        let checked = guard.text(message.into(), true).unwrap();
        assert_eq!(
            (checked.message.as_str(), checked.query.as_deref()),
            (changed, query)
        );
        guard.sent("0/chat,");
        assert_eq!(guard.text(message.into(), true), Err(GuardError::State));
        let event = guard.text(r#"2/chat?token=1,["a"]"#.into(), true).unwrap();
        assert_eq!(
            (event.message.as_str(), event.query),
            (r#"2/chat,["a"]"#, None)
        );
    }
    for message in ["0", "0/", "0/?a=1,"] {
        let mut guard = Guard::default();
        guard.sent("0");
        assert_eq!(
            guard.text(message.into(), true),
            Err(GuardError::State),
            "{message}"
        );
    }
    let checked = text(&mut Guard::default(), "0/chat?token=abc,").unwrap();
    assert_eq!(
        (checked.message.as_str(), checked.query),
        ("0/chat?token=abc,", None)
    );
}

#[test]
fn at_rest_it_is_small() {
    assert_eq!(size_of::<Guard>(), 16);
    let mut guard = joined();
    guard.sent("1/chat,");
    assert!(guard.others.is_none());
}
