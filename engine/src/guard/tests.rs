//! What is refused and what is not was found by running socket.io 4.8.1, with socket.io-parser 4.2.4, over
//! these packets.

mod state;

use std::borrow::Cow;

use engineioxide_core::Str;

use super::{Checked, Guard, GuardError, Kind, elements, event_name, handler_name};

/// Of a session that has joined `/` and `/chat`.
fn joined() -> Guard {
    let mut guard = Guard::default();
    guard.sent(r#"0{"sid":"a"}"#);
    guard.sent(r#"0/chat,{"sid":"a"}"#);
    guard
}

fn text(guard: &mut Guard, message: &str) -> Result<Checked, GuardError> {
    guard.text(Str::copy_from_slice(message), false)
}

fn kind(guard: &mut Guard, message: &str) -> Result<Kind, GuardError> {
    text(guard, message).map(|checked| checked.kind)
}

fn all_refused(error: GuardError, messages: &[&str]) {
    for message in messages {
        assert_eq!(text(&mut joined(), message), Err(error), "{message}");
    }
}

fn all_changed(messages: &[(&str, &str)]) {
    for (message, changed) in messages {
        let checked = text(&mut joined(), message).map(|checked| checked.message);
        assert_eq!(checked.as_deref(), Ok(*changed), "{message}");
        let again = text(&mut joined(), changed).map(|checked| checked.message);
        assert_eq!(again.as_deref(), Ok(*changed), "{message}");
    }
}

#[test]
fn types_that_a_client_does_not_send_are_refused() {
    let messages = [
        "",
        "7",
        r#"8["a"]"#,
        "a",
        "4",
        "4{}",
        r#"4"x""#,
        "-",
        " ",
        "9",
        "é",
    ];
    all_refused(GuardError::UnknownType, &messages);
}

#[test]
fn payloads_of_the_wrong_shape_are_refused() {
    all_refused(
        GuardError::Payload,
        &[
            "0[]",
            r#"0"x""#,
            "0{",
            "0{}x",
            "0null",
            "0/none,{}x",
            "1{}",
            "1[]",
            "1/chat,[]",
            "2[]",
            "2{}",
            r#"2"a""#,
            "2[true]",
            "2[null]",
            r#"2[["a"]]"#,
            r#"2[{"a":1}]"#,
            "31{}",
            r#"31"a""#,
            "51-{}",
            "51-[]",
            "61-1{}",
            r#"21.5["a"]"#,
            r#"2-1["a"]"#,
            r#"2+1["a"]"#,
            r#"007-["a"]"#,
        ],
    );
}

#[test]
fn what_is_not_json_is_refused() {
    all_refused(
        GuardError::Payload,
        &[
            r#"2["a""#,
            r#"2["a"]]"#,
            r#"2["a",]"#,
            r#"2[,"a"]"#,
            r#"2["a" 1]"#,
            "2['a']",
            r#"2["a"]["b"]"#,
            r#"2["a"]x"#,
            "2[\"a\"]\0",
            "31[1]x",
            r#"2["a","\x"]"#,
            r#"2["a","\u12g4"]"#,
            r#"2["a","\u12"]"#,
            r#"2["a",01]"#,
            r#"2["a",1.]"#,
            r#"2["a",.5]"#,
            r#"2["a",+1]"#,
            r#"2["a",1e]"#,
            r#"2["a",1e+]"#,
            r#"2["a",-]"#,
            r#"2["a",tru]"#,
            r#"2["a",nul]"#,
            r#"2["a",undefined]"#,
            r#"2["a",NaN]"#,
            r#"2["a",{"b"}]"#,
            r#"2["a",{"b":}]"#,
            r#"2["a",{"b":1,}]"#,
            r#"2["a",{b:1}]"#,
            r#"2["a",{1:1}]"#,
            r#"2["a",[1,2,]]"#,
            r#"2["a",[}]"#,
            r#"2["a",{]]"#,
            "2[\"a\",\"\t\"]",
            "2[\"a\",\"\u{1}\"]",
            "2[\"a\",\u{a0}1]",
            "2[\"a\",\"plain text, and then \n\"]",
            "2[",
            "2[\"a\\",
            "2[\"a\",{\"b",
        ],
    );
}

#[test]
fn reserved_names_are_refused_however_they_are_written() {
    let names = [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    ];
    for name in names {
        all_refused(
            GuardError::Payload,
            &[&format!(r#"2["{name}"]"#), &format!(r#"51-["{name}",1]"#)],
        );
    }
    all_refused(GuardError::Payload, &[r#"2["\u0063onnect"]"#]);
    assert_eq!(kind(&mut joined(), r#"2["error"]"#), Ok(Kind::Event));
    assert_eq!(kind(&mut joined(), r#"31["connect"]"#), Ok(Kind::Ack));
}

#[test]
fn what_socketioxide_reads_as_node_does_is_handed_on_as_it_is() {
    for message in [
        r#"2["a"]"#,
        r#"2["a",1,{"b":[null,true,false,-0,1e5,"x"]}]"#,
        r#"2["a"] "#,
        r#"2[ "a"]"#,
        r#"21["a"]"#,
        r#"2007["a"]"#,
        r#"2[""]"#,
        r#"2["a",{"x":1,"\u0061b":1}]"#,
        r#"2["a",1E+2]"#,
        r#"2["a",{"b":1,"b":2}]"#,
        "2[\"a\",\"\u{7f}\"]",
        r#"2["a","é😀","\ud800"]"#,
        r#"2/chat,["a"]"#,
        r#"2/chat,1["a"]"#,
        r#"2/,["a"]"#,
        r#"2["a",{"_placeholder":true,"num":0}]"#,
        r#"2["a",1e400]"#,
        r#"29223372036854775808["a"]"#,
        r#"2["a",{},[],{ },[ ]]"#,
        "2[\"a\",\n{\r\"b\"\t:\n1 , \"c\" : [ 1 , 2 ] } ]",
        "31[]",
        "3/chat,1[]",
        r#"51-["a",{"_placeholder":true,"num":0}]"#,
        r#"51-["a"]"#,
        r#"52-["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#,
        r#"51-["a",{"_placeholder":false,"num":0}]"#,
        r#"51-["a",{"_placeholder":"true","num":0}]"#,
        r#"51-["a",[{"z":[{"_placeholder":true,"num":0}]}]]"#,
        r#"51-["a",{"_placeholder":{},"num":0}]"#,
        r#"51-/chat,7["a",{"_placeholder":true,"num":0}]"#,
        r#"61-1[{"_placeholder":true,"num":0}]"#,
        "1",
        "1/chat,",
        "1/chat",
        "112",
    ] {
        all_changed(&[(message, message)]);
    }
}

#[test]
fn names_and_first_keys_lose_their_escapes() {
    all_changed(&[
        (r#"2["chat\/message",1]"#, r#"2["chat/message",1]"#),
        (r#"2["\u00e9"]"#, r#"2["é"]"#),
        (
            r#"2/chat,5["\ud83d\ude00","\u00e9"]"#,
            r#"2/chat,5["😀","\u00e9"]"#,
        ),
        (r#"2["\u2028"]"#, "2[\"\u{2028}\"]"),
        (r#"2["a",{"\u0061b":1}]"#, r#"2["a",{"ab":1}]"#),
        (
            r#"2["a",{"\u0061\"\u0009":[{"\u0062":"\u0063"}]}]"#,
            r#"2["a",{"a\"\u0009":[{"b":"\u0063"}]}]"#,
        ),
        (
            r#"31[{"\u0061":1,"\u0062":2}]"#,
            r#"31[{"a":1,"\u0062":2}]"#,
        ),
        (
            r#"51-["\u00e9",{"_placeholder":true,"num":0}]"#,
            r#"51-["é",{"_placeholder":true,"num":0}]"#,
        ),
    ]);
}

#[test]
fn what_must_be_escaped_has_a_stand_in_within_a_name() {
    for (written, name) in [
        (r#"say \"hi\""#, "say \"hi\""),
        (r"a\\b", "a\\b"),
        (r"a\nb\u0000", "a\nb\0"),
        (r"\ud800x\udc00\ud800\u0061", "\u{fffd}x\u{fffd}\u{fffd}a"),
        // What looks like a stand-in.
        ("\u{f0022}", "\u{f0022}"),
        (r"\udb80\udc22", "\u{f0022}"),
        (
            "\u{f0022}\\\"\u{f00ff}\u{fd800}",
            "\u{f0022}\"\u{f00ff}\u{fd800}",
        ),
        ("\u{f00ff}\u{f00ff}\\n", "\u{f00ff}\u{f00ff}\n"),
        ("plain \u{f0021} \u{fffff}", "plain \u{f0021} \u{fffff}"),
    ] {
        let checked = text(&mut joined(), &format!("2[\"{written}\"]")).unwrap();
        let stand_in = checked.message.trim_matches(['2', '[', ']', '"']);
        assert!(!stand_in.contains(['\\', '"', '\n']), "{written}");
        assert_eq!(event_name(stand_in), name);
        if !name.contains('\u{fffd}') {
            assert_eq!(handler_name(name), stand_in, "{written}");
        }
    }
    assert!(matches!(handler_name("plain é"), Cow::Borrowed("plain é")));
    assert!(matches!(event_name("plain é"), Cow::Borrowed("plain é")));
}

#[test]
fn numbers_are_names_as_javascript_spells_them() {
    all_changed(&[
        ("2[1]", r#"2["1"]"#),
        ("2[1.0,2]", r#"2["1",2]"#),
        ("2[-0]", r#"2["0"]"#),
        ("2[-5.25]", r#"2["-5.25"]"#),
        ("2[100]", r#"2["100"]"#),
        ("2[1e21]", r#"2["1e+21"]"#),
        ("2[0.000001]", r#"2["0.000001"]"#),
        ("2[1.5e-7]", r#"2["1.5e-7"]"#),
        ("2[123456789012345678901]", r#"2["123456789012345680000"]"#),
        ("2[-1e999]", r#"2["-Infinity"]"#),
    ]);
}

#[test]
fn ids_are_read_as_node_reads_them() {
    all_changed(&[
        (r#"2 ["a"]"#, r#"20["a"]"#),
        (r#"2 1["a"]"#, r#"21["a"]"#),
        ("21\t\n[\"a\"]", r#"21["a"]"#),
        ("31", "31[]"),
        ("3", "39223372036854775807[]"),
        (r#"3["a"]"#, r#"39223372036854775807["a"]"#),
        ("399999999999999999999[1]", "39223372036854775807[1]"),
        ("61-1", "61-1[]"),
        ("51-1", "61-9223372036854775807[]"),
    ]);
    // Node takes it, and answers `3NaN`.
    all_refused(GuardError::Payload, &[r#"21 2["a"]"#]);
}

#[test]
fn placeholders_are_written_in_one_way() {
    for placeholder in [
        r#"{"num":0,"_placeholder":true}"#,
        r#"{"_placeholder":true,"num":0,"x":1}"#,
        r#"{"x":[{"y":1}],"_placeholder":true,"num":0}"#,
        r#"{"_placeholder":true,"num":0.0}"#,
        r#"{"_placeholder":true,"num":0e5}"#,
        r#"{"_placeholder":true,"num":-0}"#,
        r#"{"_placeholder":true,"num":1,"num":0}"#,
        r#"{"_placeholder":false,"_placeholder":true,"num":0}"#,
        r#"{"\u005fplaceholder":true,"n\u0075m":0}"#,
        r#"{ "_placeholder" : true , "num" : 0 }"#,
        r#"{"_placeholder":true,"num":0,"y":{"_placeholder":true,"num":7}}"#,
        r#"{"y":{"_placeholder":true,"num":7},"_placeholder":true,"num":0}"#,
    ] {
        let written = r#"{"_placeholder":true,"num":0}"#;
        all_changed(&[(
            &format!(r#"51-["a",{{"b":{placeholder}}},2]"#),
            &format!(r#"51-["a",{{"b":{written}}},2]"#),
        )]);
    }
}

// Node finds this when the last attachment is there; that it is none, or half of one, it does not find at all.
#[test]
fn placeholders_of_no_attachment_are_refused() {
    for num in ["1", "-1", r#""0""#, "null", "[0]", "0.5", "1e99"] {
        let message = format!(r#"51-["a",{{"_placeholder":true,"num":{num}}}]"#);
        all_refused(GuardError::Attachments, &[&message]);
    }
    all_refused(
        GuardError::Attachments,
        &[
            r#"51-["a",{"_placeholder":true}]"#,
            r#"61-1[{"_placeholder":true,"num":1}]"#,
            r#"5["a"]"#,
            r#"51["a"]"#,
            "5",
            "51",
            r#"5-["a"]"#,
            r#"5-1-["a"]"#,
            r#"50-["a"]"#,
            "60-1[]",
            r#"5x-["a"]"#,
            r#"51.5-["a"]"#,
            r#"51001-["a"]"#,
            r#"599999999999-["a"]"#,
        ],
    );
}

#[test]
fn nesting_has_a_bound() {
    for (depth, taken) in [(5000, true), (8190, true), (8192, false), (1 << 20, false)] {
        let message = format!("2[\"a\",{}1{}]", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(kind(&mut joined(), &message).is_ok(), taken, "{depth}");
        let message = format!(
            "2[\"a\",{}1{}]",
            "[{\"\\u0062\":".repeat(depth / 2),
            "}]".repeat(depth / 2)
        );
        assert_eq!(kind(&mut joined(), &message).is_ok(), taken, "{depth}");
    }
    // Each level has its own kind, also where it lies far out.
    let levels: String = (0..200)
        .map(|level| if level % 3 == 0 { "[" } else { "{\"a\":" })
        .collect();
    let ends: String = (0..200)
        .rev()
        .map(|level| if level % 3 == 0 { "]" } else { "}" })
        .collect();
    assert_eq!(
        kind(&mut joined(), &format!("2[\"a\",{levels}1{ends}]")),
        Ok(Kind::Event)
    );
    let crossed = ends.replacen("}]", "]}", 40);
    assert_eq!(
        kind(&mut joined(), &format!("2[\"a\",{levels}1{crossed}]")),
        Err(GuardError::Payload)
    );
}

#[test]
fn the_elements_of_an_array_are_found_where_they_stand() {
    let deep = format!("[{}{}]", "[".repeat(5000), "]".repeat(5000));
    let (inner, long) = (
        &deep[1..deep.len() - 1],
        format!("[\"{}\"]", "é".repeat(99)),
    );
    for (array, expected) in [
        ("[]", vec![]),
        (" [ ] ", vec![]),
        (r#"["a",1]"#, vec![r#""a""#, "1"]),
        (
            " [ -1.5e+3 , true,null\t,false\n] ",
            vec!["-1.5e+3", "true", "null", "false"],
        ),
        (
            r#"["]\"[,\\",{"a":"}","b":[1,{}]},[ ],""]"#,
            vec![r#""]\"[,\\""#, r#"{"a":"}","b":[1,{}]}"#, "[ ]", r#""""#],
        ),
        (&deep, vec![inner]),
        (&long, vec![&long[1..long.len() - 1]]),
    ] {
        let found = elements(array).unwrap();
        let found: Vec<_> = found.into_iter().map(|place| &array[place]).collect();
        assert_eq!(found, expected, "{array}");
    }
    for nothing in [
        "", "1", "{}", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[}", "[{]", "[é]", "[\"a]",
        "[1]]", "[1]é",
    ] {
        assert_eq!(elements(nothing), None, "{nothing}");
    }
}
