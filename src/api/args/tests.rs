use super::*;
use socketioxide_core::parser::Parse;
use socketioxide_parser_common::CommonParser;
use socketioxide_parser_msgpack::MsgPackParser;

fn echo(parser: impl Parse, event: &Value) -> Value {
    parser
        .encode_value(&Args::of_event(event).unwrap(), Some("e"))
        .unwrap()
}

fn text(json: &str, attachments: &[&[u8]]) -> Value {
    let attachments: VecDeque<_> = attachments
        .iter()
        .map(|&bytes| Bytes::copy_from_slice(bytes))
        .collect();
    Value::Str(
        json.to_owned().into(),
        (!attachments.is_empty()).then_some(attachments),
    )
}

#[test]
fn json_comes_back_to_the_letter() {
    let deep = format!("[\"e\",{}1{}]", "[".repeat(5000), "]".repeat(5000));
    for json in [
        r#"["e"]"#,
        r#"["e",1,2.50,-0,1e400,12345678901234567890123,"\u0000é😀",null,{},[]]"#,
        r#"["e",{"_placeholder":true,"num":0}]"#,
        &deep,
    ] {
        let event = text(json, &[]);
        assert_eq!(echo(CommonParser, &event), event, "{json}");
    }
}

#[test]
fn arguments_are_what_they_are_to_every_serializer() {
    let read = Args::of_event(&text(r#"["e", 1, {"a":[2.50]} ,"b"]"#, &[])).unwrap();
    let values = serde_json::to_value(&read).unwrap();
    assert_eq!(values, serde_json::json!([1, {"a": [2.5]}, "b"]));
    let one = serde_json::to_string(&[&read.0[1]]).unwrap();
    assert_eq!(one, r#"[{"a":[2.50]}]"#);
    assert!(Args::of_event(&text("1", &[])).is_err());
}

#[test]
fn attachments_come_back_in_their_places() {
    let event = text(
        r#"["e",{"a":{"_placeholder":true,"num":0},"n":0.1},[{"_placeholder":true,"num":1}],1.0]"#,
        &[b"", b"\x00\xff"],
    );
    assert_eq!(echo(CommonParser, &event), event);
}

#[test]
fn placeholders_name_attachments_by_number_in_any_order_and_repeatedly() {
    let (first, second, third): (&[u8], &[u8], &[u8]) = (b"first", b"", b"third");
    let all = [first, second, third];
    for (json, came) in [
        ("[$2,$0,$1]", vec![third, first, second]),
        ("[$1]", vec![second]),
        (r#"{"a":$0,"b":[$0,{"c":$0}]}"#, vec![first, first, first]),
        // Node looks for `_placeholder`, and at nothing else.
        (r#"[{"num":2,"_placeholder":true}]"#, vec![third]),
        (r#"[{"x":$0,"_placeholder":true,"num":1}]"#, vec![second]),
        (
            r#"[{},{"x":{"y":$0},"_placeholder":true,"num":1,"z":{}},{},$2]"#,
            vec![second, third],
        ),
        (
            r#"[{"_placeholder":false,"_placeholder":true,"num":0,"num":2}]"#,
            vec![third],
        ),
    ] {
        let json = (0..3).fold(json.to_owned(), |json, num| {
            let placeholder = format!(r#"{{"_placeholder":true,"num":{num}}}"#);
            json.replace(&format!("${num}"), &placeholder)
        });
        let Value::Str(_, Some(echoed)) =
            echo(CommonParser, &text(&format!("[\"e\",{json}]"), &all))
        else {
            panic!("no attachments: {json}");
        };
        assert_eq!(echoed, came, "{json}");
    }
}

#[test]
fn what_only_looks_like_a_placeholder_is_an_object() {
    for object in [
        r#"{"_placeholder":false,"num":0}"#,
        r#"{"_placeholder":"true","num":0}"#,
        r#"{"_placeholder":1,"num":0}"#,
        r#"{"_placeholder":null}"#,
        r#"{"_placeholder":{"num":0}}"#,
        r#"{"num":0}"#,
        r#"["_placeholder",true]"#,
        r#""_placeholder""#,
    ] {
        let event = text(
            &format!(r#"["e",{object},{{"_placeholder":true,"num":0}}]"#),
            &[b"x"],
        );
        assert_eq!(echo(CommonParser, &event), event);
    }
}

#[test]
fn an_attachment_that_is_missing_is_an_error() {
    for num in ["1", "9", "-1", "0.5", "null", "\"0\"", "[0]", "1e9"] {
        let event = text(
            &format!(r#"["e",{{"_placeholder":true,"num":{num}}}]"#),
            &[b"x"],
        );
        let read = Args::of_event(&event);
        assert!(matches!(read, Err(ArgsError::Attachment)), "{num}");
    }
    let event = text(r#"["e",{"_placeholder":true}]"#, &[b"x"]);
    assert!(matches!(Args::of_event(&event), Err(ArgsError::Attachment)));
}

#[test]
fn few_bytes_do_not_become_many_by_being_named_often() {
    let named = |count: usize, bytes: &[u8]| {
        let places = vec![r#"{"_placeholder":true,"num":0}"#; count].join(",");
        Args::of_event(&text(&format!(r#"["e",[{places}]]"#), &[bytes]))
    };
    let large = vec![0; 1000 * 1000];
    assert!(named(2, &large).is_ok());
    assert!(matches!(named(3, &large), Err(ArgsError::Repeated)));
    assert!(named(10_000, b"").is_ok());
    assert!(matches!(named(100_000, b""), Err(ArgsError::Repeated)));
}

#[test]
fn keys_are_any_text_wherever_they_stand() {
    for key in [r#"\""#, r"\\", r"\n", r"\u0000", "é", "", "_placeholder"] {
        let event = text(
            &format!(r#"["e",{{"{key}":1,"b":{{"{key}":[{{"_placeholder":true,"num":0}}]}}}}]"#),
            &[b"x"],
        );
        assert_eq!(echo(CommonParser, &event), event);
        let ack = format!(r#"[{{"{key}":{{"{key}":"{key}"}}}}]"#);
        let read = Args::of_ack(&text(&ack, &[])).unwrap();
        let again = CommonParser.encode_value(&read, None).unwrap();
        assert_eq!(again, text(&ack, &[]));
    }
}

#[test]
fn msgpack_comes_back_with_dates_undefined_and_binary() {
    // ["e", undefined, Date, bin 2, -1, {"k": 1.5}, 2^53], as notepack writes it.
    let packed = b"\x97\xa1e\xd4\0\0\xd7\0\0\0\x01\x8b\xcf\xe5h\0\xc4\x02\0\xff\xff\
        \x81\xa1k\xcb\x3f\xf8\0\0\0\0\0\0\xcf\0\x20\0\0\0\0\0\0";
    let event = Value::Bytes(Bytes::from_static(packed));
    assert_eq!(echo(MsgPackParser, &event), event);
}

#[test]
fn an_acknowledgement_carries_the_name_first() {
    let args = Args::of_event(&text(r#"["a",1]"#, &[])).unwrap();
    let ack = CommonParser.encode_value(&args.after("a"), None).unwrap();
    assert_eq!(ack, text(r#"["a",1]"#, &[]));
}

#[test]
fn what_is_written_twice_is_the_same() {
    let event = text(r#"["e",[1,{"_placeholder":true,"num":0}]]"#, &[b"x"]);
    let args = Args::of_event(&event).unwrap();
    for _ in 0..2 {
        let again = CommonParser.encode_value(&args, Some("e")).unwrap();
        assert_eq!(again, event);
    }
}

#[test]
fn msgpack_is_nested_as_deep_as_json_and_no_deeper() {
    let nested = |depth: usize| {
        let list = [vec![0x91; depth], vec![0xc0]].concat();
        Value::Bytes([&b"\x92\xa1e"[..], &list].concat().into())
    };
    let deep = nested(120);
    assert_eq!(echo(MsgPackParser, &deep), deep);
    assert!(Args::of_event(&nested(100_000)).is_err());
}

#[test]
fn what_is_no_list_in_msgpack_or_ends_early_is_an_error() {
    for packed in [
        &b""[..],
        b"\xa1e",
        b"\x92\xa1e",
        b"\xdc\x00",
        b"\xdd\xff\xff\xff\xff\xc0",
    ] {
        let event = Value::Bytes(Bytes::copy_from_slice(packed));
        assert!(Args::of_event(&event).is_err(), "{packed:?}");
    }
    // Long lists, and a text.
    let event = Value::Bytes(Bytes::from_static(b"\xdd\0\0\0\x03\xa1e\xd9\x02ab\x01"));
    let [text, number] = Args::of_event(&event).unwrap().exactly().unwrap();
    assert_eq!(
        (text.into_text(), number.into_text()),
        (Some("ab".into()), None)
    );
}
