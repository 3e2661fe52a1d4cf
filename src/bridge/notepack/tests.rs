use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::json;
use socketioxide_core::Value;

use super::*;

/// An event of this one argument.
fn with(argument: &[u8]) -> Bytes {
    [b"\x92\xa1e", argument].concat().into()
}

fn common(argument: &[u8]) -> Result<Value, NotepackError> {
    let source = with(argument);
    event(&source, &source, Parser::Common)
}

/// The JSON of an argument.
fn shown(argument: &[u8]) -> String {
    let Ok(Value::Str(text, _)) = common(argument) else {
        panic!("{argument:?}");
    };
    let text = text.strip_prefix(r#"["e","#).unwrap();
    text.strip_suffix(']').unwrap().to_owned()
}

fn float(n: f64) -> String {
    shown(&[&[0xcb][..], &n.to_be_bytes()].concat())
}

#[test]
fn numbers_are_shown_as_javascript_shows_them() {
    assert_eq!(shown(&[0x00]), "0");
    assert_eq!(shown(&[0xe0]), "-32");
    assert_eq!(shown(&[0xcd, 0x01, 0x00]), "256");
    assert_eq!(shown(&[0xd1, 0xff, 0x00]), "-256");
    let big = |prefix: u8, n: u64| shown(&[&[prefix][..], &n.to_be_bytes()].concat());
    assert_eq!(big(0xcf, 1 << 53), "9007199254740992");
    assert_eq!(big(0xcf, (1 << 53) + 1), "9007199254740992");
    assert_eq!(big(0xcf, u64::MAX), "18446744073709552000");
    assert_eq!(big(0xd3, 1 << 63), "-9223372036854776000");
    for (n, text) in [
        (0.1, "0.1"),
        (-0.0, "0"),
        (1.0, "1"),
        (123.456, "123.456"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1.5e-7, "1.5e-7"),
        (1e-6, "0.000001"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::NAN, "null"),
        (f64::INFINITY, "null"),
    ] {
        assert_eq!(float(n), text);
    }
    assert_eq!(float(-1.5), "-1.5");
    // A float of four bytes is the double that it is.
    assert_eq!(
        shown(&[0xca, 0x3d, 0xcc, 0xcc, 0xcd]),
        "0.10000000149011612"
    );
}

#[test]
fn what_json_has_no_word_for_is_as_in_json_stringify() {
    // undefined in a list, and in a map.
    assert_eq!(shown(b"\x92\xd4\0\0\xc0"), "[null,null]");
    assert_eq!(
        shown(b"\x83\xa1a\xd4\0\0\xa1b\xd4\0\0\xa1c\xc0"),
        r#"{"c":null}"#
    );
    assert_eq!(shown(b"\x82\xa1a\x01\xa1b\xd4\0\0"), r#"{"a":1}"#);
    // Keys are text, and numbers are.
    assert_eq!(shown(b"\x82\x05\x01\xff\x02"), r#"{"5":1,"-1":2}"#);
    assert_eq!(common(b"\x81\xc0\x01"), Err(NotepackError::Key));
    // What is no UTF-8.
    assert_eq!(shown(b"\xa3\xed\xa0\x80"), "\"\u{fffd}\u{fffd}\u{fffd}\"");
}

#[test]
fn dates_of_both_dialects_are_text() {
    let old = |ms: i64| shown(&[&[0xd7, 0][..], &ms.to_be_bytes()].concat());
    assert_eq!(old(0), r#""1970-01-01T00:00:00.000Z""#);
    assert_eq!(old(951_782_400_000), r#""2000-02-29T00:00:00.000Z""#);
    assert_eq!(old(-62_198_755_200_000), r#""-000001-01-01T00:00:00.000Z""#);
    assert_eq!(
        old(8_640_000_000_000_000),
        r#""+275760-09-13T00:00:00.000Z""#
    );
    assert_eq!(
        old(-8_640_000_000_000_000),
        r#""-271821-04-20T00:00:00.000Z""#
    );
    assert_eq!(old(8_640_000_000_000_001), "null");
    assert_eq!(
        shown(b"\xd6\xff\0\0\0\x01"),
        r#""1970-01-01T00:00:01.000Z""#
    );
    // Of a length that no timestamp has: a list, as for Node.
    assert_eq!(
        shown(b"\xd4\xff\x07"),
        r#"[-1,{"_placeholder":true,"num":0}]"#
    );
}

#[test]
fn binary_is_shared_with_the_message_and_comes_in_its_order() {
    let argument = b"\x93\xc4\x01x\xc7\x01\0y\xd5\x05zz";
    let Ok(Value::Str(_, Some(attachments))) = common(argument) else {
        panic!();
    };
    assert_eq!(attachments, ["x", "y", "zz"]);
}

#[test]
fn clients_of_the_msgpack_parser_are_sent_what_notepack_2_reads() {
    let source = with(b"\x93\xd6\xff\0\0\0\x01\xd4\0\0\x81\x05\xc7\x01\0y");
    let Ok(Value::Bytes(bytes)) = event(&source, &source, Parser::Msgpack) else {
        panic!();
    };
    let ms = 1000_i64.to_be_bytes();
    let after = with(&[&b"\x93\xd7\0"[..], &ms, b"\xd4\0\0\x81\xa15\xc7\x01\0y"].concat());
    assert_eq!(bytes, after);
}

#[test]
fn clients_get_no_event_for_which_they_would_close_their_connection() {
    let named = |data: &'static [u8]| {
        let data = Bytes::from_static(data);
        event(&data, &data, Parser::Common).map(|_| ())
    };
    assert_eq!(named(b"\x91\xa7connect"), Err(NotepackError::ReservedName));
    assert_eq!(named(b"\x91\x2a"), Ok(()));
    for no_event in [
        &b"\x90"[..],
        b"\x91\xc0",
        b"\x91\xc4\x01e",
        b"\xa1e",
        b"\x80",
    ] {
        assert_eq!(named(no_event), Err(NotepackError::Event), "{no_event:?}");
    }
    assert_eq!(named(b"\x91\xa1ee"), Err(NotepackError::Trailing));
}

#[test]
fn nothing_is_believed_that_is_not_there() {
    for lying in [
        &b"\xdd\xff\xff\xff\xff\x01"[..],
        b"\xdf\x7f\xff\xff\xff\x01\x02",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\0",
        b"\x81\xa1a",
        b"\xcf",
        b"",
    ] {
        assert_eq!(common(lying), Err(NotepackError::Short), "{lying:?}");
    }
    assert_eq!(common(b"\xc1"), Err(NotepackError::Reserved));
}

#[test]
fn what_is_too_deep_too_long_or_in_too_many_parts_is_refused() {
    let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
    for parser in [Parser::Common, Parser::Msgpack] {
        let source = with(&nested(MAX_DEPTH));
        assert_eq!(event(&source, &source, parser), Err(NotepackError::Depth));
        let source = with(&nested(MAX_DEPTH - 1));
        assert!(event(&source, &source, parser).is_ok());
    }
    assert_eq!(
        Reader::new(&nested(100_000)).skip(),
        Err(NotepackError::Depth)
    );
    let list = |of: &[u8], count: u32| {
        let many = of.repeat(count as usize);
        [&[0xdd][..], &count.to_be_bytes(), &many].concat()
    };
    assert_eq!(common(&list(&[0xc0], 8 << 20)), Err(NotepackError::Long));
    assert!(common(&list(b"\xc4\0", 1000)).is_ok());
    assert_eq!(
        common(&list(b"\xc4\0", 1001)),
        Err(NotepackError::Attachments)
    );
}

#[test]
fn events_of_clients_are_written_so_that_both_versions_read_them() {
    let text = r#"["e",{"_placeholder":true,"num":1},[1,-2,1.5,true,null],{"_placeholder":true},{"a":{"num":0,"_placeholder":true}}]"#;
    let attachments = [Bytes::from_static(b"x"), Bytes::from_static(b"\0\xff")];
    let value = Value::Str(text.into(), Some(attachments.into()));
    let mut writer = Writer::new();
    writer.value(&value).unwrap();
    let source = writer.finish();
    let Ok(Value::Str(again, Some(attachments))) = event(&source, &source, Parser::Common) else {
        panic!();
    };
    // In the order in which they stand.
    assert_eq!(attachments, [&b"\0\xff"[..], b"x"]);
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    let placeholder = |num| json!({"_placeholder": true, "num": num});
    assert_eq!(
        again,
        json!(["e", placeholder(0), [1, -2, 1.5, true, null], {"_placeholder": true}, {"a": placeholder(1)}])
    );
    let value = |text: &str| Value::Str(text.to_owned().into(), None);
    let mut writer = Writer::new();
    let missing = value(r#"[{"_placeholder":true,"num":0}]"#);
    assert_eq!(writer.value(&missing), Err(NotepackError::Json));
    assert_eq!(writer.value(&value("[")), Err(NotepackError::Json));
    let deep = "[".repeat(65) + &"]".repeat(65);
    assert_eq!(writer.value(&value(&deep)), Err(NotepackError::Json));
}

#[test]
fn no_ext_is_written_for_what_msgpack_clients_sent() {
    let source = with(b"\x95\xd7\0\0\0\0\0\0\0\0\0\xd6\xff\0\0\0\0\xd4\0\0\xc7\x01\0y\xd5\x05zz");
    let mut writer = Writer::new();
    writer.value(&Value::Bytes(source)).unwrap();
    let epoch = b"\xb81970-01-01T00:00:00.000Z";
    let after = [
        &b"\x95"[..],
        epoch,
        epoch,
        b"\xc0\xc4\x01y\x92\x05\xc4\x02zz",
    ]
    .concat();
    assert_eq!(writer.finish(), with(&after));
}

#[test]
fn requests_in_msgpack_are_read_as_json() {
    let source = Bytes::from(rmp_serde::to_vec_named(&json!({"type": 7})).unwrap());
    assert_eq!(json(&source).as_deref(), Ok(r#"{"type":7}"#));
    assert_eq!(
        json(&Bytes::from_static(b"\xc4\x01x")),
        Err(NotepackError::Binary)
    );
    let none: VecDeque<Bytes> = VecDeque::new();
    let mut writer = Writer::new();
    writer.value(&Value::Str("[]".into(), Some(none))).unwrap();
    assert_eq!(json(&writer.finish()).as_deref(), Ok("[]"));
}
