//! What a client that deflates well can have for its few bytes.

use engineioxide::EndReason;

use crate::cases::{Frame, echo, frame, say};
use crate::harness::{Told, deflate, noise};
use crate::{DEFLATED, say_deflated, server};

/// A thousand bytes that would be a gigabyte, or as near as deflate comes: a kilobyte for each.
fn bomb() -> Vec<u8> {
    let mut bomb = vec![b'4'];
    bomb.resize(1 << 20, 0);
    let bomb = deflate(bomb);
    assert!(bomb.len() < 1100);
    bomb
}

#[tokio::test]
async fn a_bomb_costs_its_sender_the_connection_and_nobody_else_anything() {
    let server = server();
    let mut neighbour = server.websocket();
    neighbour.opened().await;
    for first in [0xc1, 0xc2] {
        let mut client = server.websocket();
        client.opened().await;
        client.send_raw(&frame(first, bomb())).await;
        assert_eq!(client.next().await, Frame::Close(vec![3, 0xf1]));
        assert_eq!(client.next().await, Frame::End);
    }
    assert_eq!(server.ends(), [EndReason::TooLarge; 2]);
    neighbour.send_raw(&say_deflated("unharmed")).await;
    assert_eq!(neighbour.next().await, echo("unharmed"));
}

#[tokio::test]
async fn a_bomb_in_fragments_is_refused_once_it_is_whole_or_too_long() {
    let server = server();
    let mut client = server.websocket();
    client.opened().await;
    let bomb = bomb();
    client.send_raw(&frame(0x01 | DEFLATED, &bomb[..500])).await;
    client.send_raw(&frame(0x80, &bomb[500..])).await;
    assert_eq!(client.next().await, Frame::Close(vec![3, 0xf1]));
    assert_eq!(server.ended().await, EndReason::TooLarge);
}

#[tokio::test]
async fn who_inflates_to_much_takes_turns_with_the_others() {
    let server = server();
    let mut greedy = server.websocket();
    let mut neighbour = server.websocket();
    greedy.opened().await;
    neighbour.opened().await;
    // 30 KB that come to 20 MB: one read, and two hundred turns.
    let long = format!("quiet{}", "q".repeat(99_000));
    let many: Vec<u8> = (0..200).flat_map(|_| say_deflated(&long)).collect();
    assert!(many.len() < 32 * 1024);
    greedy.send_raw(&many).await;
    greedy.send_raw(&say("the last")).await;
    neighbour.send_raw(&say("hello")).await;
    assert_eq!(neighbour.next().await, echo("hello"));
    let before = server.texts().len();
    // tokio looks for what has arrived once in 61 turns.
    assert!(before < 130, "{before} messages came before it");
    assert_eq!(greedy.next().await, echo("the last"));
    let told = server.told();
    let quiet = told
        .iter()
        .filter(|told| **told == Told::Text(long.clone()));
    assert_eq!(quiet.count(), 200);
    assert!(
        server
            .engine
            .weights()
            .iter()
            .all(|weight| weight.bytes == 0)
    );
}

#[tokio::test]
async fn what_waits_for_its_turn_is_counted_as_it_is_inflated() {
    let server = server();
    let mut client = server.websocket();
    client.opened().await;
    client.send_raw(&say("quiet")).await;
    server
        .until("it is there", |server| server.texts().len() == 1)
        .await;
    // It has more to take than it may have waiting.
    let much = noise(3 << 20);
    server.socket(0).emit_binary(much.clone()).unwrap();
    server
        .until("much waits", |server| server.engine.waiting() > 2 << 20)
        .await;
    let before = server.engine.waiting();
    let long = "e".repeat(90_000);
    let events: Vec<u8> = (0..20).flat_map(|_| say_deflated(&long)).collect();
    client.send_raw(&events).await;
    server
        .until("one event is kept", |server| {
            server.engine.waiting() > before + 90_000
        })
        .await;
    assert_eq!(server.texts().len(), 1);
    assert!(server.engine.waiting() < before + 200_000, "and not many");
    assert!(client.next().await == Frame::Binary(much));
    for _ in 0..20 {
        assert!(client.next().await == Frame::Deflated(echo(&long).into()));
    }
    assert_eq!(server.engine.waiting(), 0);
}
