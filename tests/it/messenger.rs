//! The worked example of docs/APPLICATION.md: real clients, several workers, a database over TCP.

use serde_json::Value;
use tempfile::TempDir;

use super::harness::*;

/// What a scene left behind.
struct Played {
    server: Server,
    told: Value,
    _runtime: TempDir,
}

/// Plays a scene of `messenger.mjs`, which starts the database and stops it.
#[track_caller]
fn play(scene: &str) -> Played {
    let port = free_port().to_string();
    let database = format!("DATABASE=127.0.0.1:{port}");
    let variables = ["env", &database, "BACKEND_SECRET=the-back-ends-secret"];
    // Where `my-app emit` looks for the socket of a server that was started by hand.
    let runtime = tempfile::tempdir().unwrap();
    let folder = runtime.path().join("my-app");
    std::fs::create_dir(&folder).unwrap();
    let socket = folder.join("control.sock");
    let setup = Setup::new().workers(2).under(&variables);
    let setup = setup.control_socket(&socket).example("messenger");
    let server = setup.start();
    let socket = socket.display().to_string();
    let program = program().display().to_string();
    let arguments = ["--scene", scene, "--database", &port];
    let outside = ["--program", &program, "--socket", &socket];
    let told = node(
        "messenger.mjs",
        &server.url(),
        &[arguments, outside].concat(),
    );
    saw(scene, &told);
    Played {
        server,
        told,
        _runtime: runtime,
    }
}

#[test]
fn a_message_reaches_every_window_of_both_users_and_who_went_is_told() {
    play("talk");
}

#[test]
fn a_history_is_read_by_its_two_users_only_and_the_pages_client_talks_too() {
    play("private");
}

#[test]
fn a_database_that_says_what_it_must_not_costs_nobody_a_worker_or_a_name() {
    let server = play("strange").server;
    assert_eq!(server.workers().len(), 2);
}

#[test]
fn whoever_emits_from_outside_reaches_a_users_windows() {
    play("outside");
}

#[test]
fn while_the_database_is_away_clients_are_told_so_and_come_in_when_it_is_back() {
    let server = play("away").server;
    server.wait_for_line("the database is away");
}

#[test]
fn a_database_that_does_not_answer_holds_up_only_who_needs_it() {
    let server = play("slow").server;
    server.wait_for_line("the database takes too long");
}

#[test]
fn a_session_ends_with_its_token_and_comes_back_with_the_next_one() {
    let played = play("expires");
    let id = played.told["id"].as_str().unwrap();
    let ends = played.server.control().get(&format!("/why?of={id}"));
    assert_eq!(ends["ends"][0]["reason"], "until", "{ends}");
}
