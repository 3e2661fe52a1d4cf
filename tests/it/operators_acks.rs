//! Questions to everybody: all answer, or are an error each; nobody is waited for in vain.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::*;

#[test]
fn a_question_to_everybody_ends_when_all_have_answered() {
    let stage = Stage::with_rooms(&[0, 2, 4], &[4, 5, 6]);
    for from in ALL {
        let (acks, errors, took) = stage.asked(from, json!({"as": "io", "timeout": 8000}));
        assert_eq!((acks, errors.len()), (ALL.to_vec(), 0));
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
    let to_rooms =
        json!({"as": "io", "to": ["red", "blue"], "except": [stage.id(2)], "timeout": 8000});
    assert_eq!(stage.asked(1, to_rooms).0, [0, 4, 5, 6]);
    let others = json!({"as": "socket", "broadcast": true, "timeout": 8000});
    assert_eq!(stage.asked(0, others).0, ALL_BUT_0);
    // Nobody to ask: nothing to wait for.
    let (acks, errors, took) =
        stage.asked(3, json!({"as": "io", "to": ["empty"], "timeout": 8000}));
    assert_eq!((acks.len(), errors.len()), (0, 0));
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn hundreds_of_questions_to_everybody_are_open_at_the_same_time() {
    let stage = Stage::new();
    let jitter = Jitter::watch();
    // All of one client: what it is asked comes between its own questions, and so do its answers.
    for askers in [&[0][..], &[1, 2, 5, 6][..]] {
        let began = Instant::now();
        let asked: Vec<_> = (0..600)
            .map(|n| {
                let from = askers[n % askers.len()];
                let question = json!([{"as": "io", "timeout": 8000}, "question", n]);
                stage.crowd[from].ask("ask", question)
            })
            .collect();
        for asked in asked {
            let value = ok(asked.answer().value);
            assert_eq!(value["errors"], json!([]));
            assert_eq!(pairs(&value["acks"]).len(), 8, "{value}");
        }
        saw(
            "600 questions, 8 answers each, in",
            format!("{:?}", began.elapsed()),
        );
        jitter.assert_within(began.elapsed(), Duration::from_secs(6));
    }
}

#[test]
fn those_who_do_not_answer_in_time_are_errors_with_their_ids() {
    let stage = Stage::new();
    for (nth, answer) in [
        (1, Answer::Never),
        (6, Answer::Never),
        (3, Answer::Late(300)),
    ] {
        stage.crowd[nth].answers(answer);
    }
    // Over another road an order could overtake it.
    thread::sleep(Duration::from_millis(100));
    let (acks, errors, took) = stage.asked(4, json!({"as": "io", "timeout": 1500}));
    saw("errors", format!("{errors:?} after {took:?}"));
    assert_eq!(acks, [0, 2, 3, 4, 5, 7]);
    assert_eq!(errors.keys().copied().collect::<Vec<_>>(), [1, 6]);
    assert!(
        errors
            .values()
            .all(|why| why.to_lowercase().contains("time")),
        "{errors:?}"
    );
    let limits = Duration::from_millis(1500)..Duration::from_secs(4);
    assert!(limits.contains(&took), "{took:?}");
}

#[test]
fn those_who_leave_while_they_are_asked_are_errors_and_nobody_waits_for_them() {
    let stage = Stage::new();
    for nth in [2, 7] {
        stage.crowd[nth].answers(Answer::Never);
    }
    thread::sleep(Duration::from_millis(100));
    let asked = stage.crowd[4].ask(
        "ask",
        json!([{"as": "io", "timeout": 8000}, "question", "?"]),
    );
    for nth in [2, 7] {
        stage.crowd[nth].hears("question", &json!("?"));
        stage.crowd[nth].close();
    }
    let Answered { value, took, .. } = asked.answer();
    let value = ok(value);
    saw("answered after", format!("{took:?}: {}", value["errors"]));
    assert_eq!(pairs(&value["acks"]).len(), 6, "{value}");
    let errors: Vec<_> = pairs(&value["errors"])
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(stage.numbers(&errors), [2, 7]);
}
