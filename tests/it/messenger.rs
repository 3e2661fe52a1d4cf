//! The worked example of docs/APPLICATION.md: real clients, several workers, a database over TCP.

use serde_json::Value;

use super::harness::*;

/// Plays a scene of `messenger.mjs`, which starts the database and stops it.
#[track_caller]
fn play(scene: &str) -> (Server, Value) {
    let port = free_port().to_string();
    let database = format!("DATABASE=127.0.0.1:{port}");
    let variables = ["env", &database, "BACKEND_SECRET=the-back-ends-secret"];
    let setup = Setup::new().workers(2).under(&variables);
    let server = setup.example("messenger").start();
    let socket = server.control().path.display().to_string();
    let program = env!("CARGO_BIN_EXE_my-app");
    let arguments = ["--scene", scene, "--database", &port];
    let outside = ["--program", program, "--socket", &socket];
    let told = node(
        "messenger.mjs",
        &server.url(),
        &[arguments, outside].concat(),
    );
    saw(scene, &told);
    (server, told)
}

#[test]
fn a_message_reaches_every_window_of_both_users_and_who_went_is_told_once() {
    play("talk");
}

#[test]
fn whoever_emits_from_outside_reaches_a_users_windows() {
    play("outside");
}

#[test]
fn while_the_database_is_away_clients_are_told_so_and_come_in_when_it_is_back() {
    let (server, _) = play("away");
    server.wait_for_line("the database is away");
}

#[test]
fn a_database_that_does_not_answer_holds_up_only_who_needs_it() {
    let (server, _) = play("slow");
    server.wait_for_line("the database takes too long");
}

#[test]
fn a_session_ends_with_its_token_and_comes_back_with_the_next_one() {
    let (server, told) = play("expires");
    let id = told["id"].as_str().unwrap();
    let ends = server.control().get(&format!("/why?of={id}"));
    assert_eq!(ends["ends"][0]["reason"], "until", "{ends}");
}
