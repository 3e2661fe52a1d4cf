use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::*;
use crate::wire::link::Origin;
use crate::worker::sessions::Sessions;

const STALL: Duration = Duration::from_millis(300);

/// A stream, and its client's end.
fn stream(unread: impl Into<Bytes>) -> (Stream, UnixStream) {
    let (ours, client) = UnixStream::pair().unwrap();
    let counted = Sessions::new(Arc::default(), STALL).connection(Origin::Unix);
    (
        Stream::new(Conn::Unix(ours), unread.into(), counted),
        client,
    )
}

fn websocket(unread: &'static [u8]) -> (Stream, UnixStream) {
    let (stream, client) = stream(unread);
    stream.control().becomes_websocket();
    (stream, client)
}

/// Writes until the client's buffers are full and the write waits.
async fn fill(stream: &mut Stream) {
    while timeout(STALL / 10, stream.write_all(&[7; 4096]))
        .await
        .is_ok()
    {}
}

#[tokio::test]
async fn what_was_read_ahead_comes_first() {
    let (mut stream, mut client) = stream(&b"ahead "[..]);
    client.write_all(b"behind").await.unwrap();
    let mut read = [0; 12];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"ahead behind");
}

#[tokio::test]
async fn what_was_read_ahead_is_let_go() {
    let ahead: Arc<[u8]> = Arc::from(*b"ahead");
    let (mut stream, _client) = stream(Bytes::from_owner(Arc::clone(&ahead)));
    stream.read_exact(&mut [0; 2]).await.unwrap();
    stream.read_exact(&mut [0; 3]).await.unwrap();
    assert_eq!(Arc::strong_count(&ahead), 1);
}

#[tokio::test]
async fn the_greeting_goes_out_before_the_first_write() {
    let (mut stream, mut client) = websocket(b"");
    stream.greet(Bytes::from_static(b"101 "));
    stream.write_all(b"open").await.unwrap();
    stream.write_all(b" more").await.unwrap();
    let mut read = [0; 13];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"101 open more");
}

#[tokio::test]
async fn a_greeting_larger_than_the_socket_takes_goes_out_whole() {
    let (mut stream, mut client) = websocket(b"");
    let greeting = Bytes::from(vec![1; 1 << 20]);
    stream.greet(greeting.clone());
    let writes = tokio::spawn(async move { stream.write_all(&[2; 8]).await.map(|()| stream) });
    let mut read = vec![0; (1 << 20) + 8];
    client.read_exact(&mut read).await.unwrap();
    writes.await.unwrap().unwrap();
    assert_eq!(
        (&read[..1 << 20], &read[1 << 20..]),
        (&greeting[..], &[2; 8][..])
    );
}

#[tokio::test]
async fn a_websocket_never_fails_a_write_and_its_reader_is_told() {
    let (mut stream, client) = websocket(b"");
    stream.greet(Bytes::from_static(b"101"));
    drop(client);
    for _ in 0..3 {
        stream.write_all(b"open").await.unwrap();
        stream.flush().await.unwrap();
    }
    assert!(stream.read(&mut [0; 8]).await.is_err());
}

#[tokio::test]
async fn over_http_a_write_to_a_dead_peer_fails() {
    let (mut stream, client) = stream(Bytes::new());
    drop(client);
    assert!(stream.write_all(b"answer").await.is_err());
}

#[tokio::test]
async fn who_does_not_read_is_dead_after_the_timeout() {
    let (mut stream, _client) = websocket(b"");
    fill(&mut stream).await;
    let began = Instant::now();
    // It ends, and without an error: what nobody reads is thrown away.
    stream.write_all(&vec![7; 1 << 20]).await.unwrap();
    assert!(began.elapsed() < STALL * 2, "{:?}", began.elapsed());
    let told = stream.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(told.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn who_reads_slowly_lives_and_gets_every_byte_once() {
    const TOTAL: usize = 3 << 20;
    let (stream, mut client) = websocket(b"");
    let sent: Vec<u8> = (0..TOTAL)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    let expected = sent.clone();
    // Without a reader the engine would have given the session up.
    let (mut upper, mut lower) = tokio::io::split(stream);
    tokio::spawn(async move { upper.read(&mut [0; 8]).await });
    let writes = tokio::spawn(async move { lower.write_all(&sent).await.map(|()| lower) });
    let mut read = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while read.len() < TOTAL {
        tokio::time::sleep(STALL / 4).await;
        let count = client.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "ended after {} bytes", read.len());
        read.extend_from_slice(&piece[..count]);
    }
    assert!(read == expected, "a byte is missing, or there twice");
    writes.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_left_of_a_session_that_the_engine_gave_up_has_no_longer_than_the_timeout() {
    let (mut stream, mut client) = websocket(b"");
    // Nobody reads from the stream any more; its client reads for ever.
    tokio::spawn(async move {
        while client.read(&mut [0; 8192]).await.is_ok_and(|n| n > 0) {
            tokio::time::sleep(STALL / 20).await;
        }
    });
    let began = Instant::now();
    stream.write_all(&vec![7; 64 << 20]).await.unwrap();
    assert!(began.elapsed() < STALL * 4, "{:?}", began.elapsed());
    assert!(stream.read(&mut [0; 8]).await.is_err());
}

#[tokio::test]
async fn a_client_that_is_behind_is_not_read() {
    let (mut stream, mut client) = websocket(b"");
    fill(&mut stream).await;
    client.write_all(&[0x81, 0x80, 0, 0, 0, 0]).await.unwrap();
    let mut byte = [0; 1];
    assert!(timeout(STALL / 10, stream.read(&mut byte)).await.is_err());
}

#[tokio::test]
async fn asked_to_close_it_reads_as_a_close_frame_and_an_end() {
    let (mut stream, _client) = websocket(b"");
    stream.control().close();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, CLOSE_FRAME);
}

#[tokio::test]
async fn a_frame_that_has_begun_is_finished_before_the_close() {
    // A masked text frame of two bytes, one of which is missing.
    let (mut stream, mut client) = websocket(&[0x81, 0x82, 0, 0, 0, 0, b'h']);
    stream.control().close();
    let mut read = [0; 7];
    stream.read_exact(&mut read).await.unwrap();
    assert!(timeout(STALL / 10, stream.read(&mut [0; 8])).await.is_err());
    client.write_all(b"i").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, [b"i", CLOSE_FRAME].concat());
}

#[tokio::test]
async fn an_answer_is_read_although_the_request_was_not() {
    let (mut stream, mut client) = stream(Bytes::new());
    client.write_all(&[b'x'; 1000]).await.unwrap();
    stream.write_all(b"answer").await.unwrap();
    drop(stream);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
}

#[test]
fn what_each_session_keeps_is_small() {
    // Each session has them for its life; the next size that the allocator has is a quarter larger.
    assert!(size_of::<Stream>() <= 160, "{}", size_of::<Stream>());
    assert!(size_of::<Control>() <= 64, "{}", size_of::<Control>());
}

#[tokio::test]
async fn a_websocket_is_read_by_the_window_and_nothing_of_it_is_lost() {
    let (mut stream, mut client) = websocket(b"");
    let sent: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move { client.write_all(&sent).await.map(|()| client) });
    let mut read = Vec::new();
    let mut some = [0; 100];
    while read.len() < expected.len() {
        let count = stream.read(&mut some).await.unwrap();
        read.extend_from_slice(&some[..count]);
    }
    assert!(read == expected);
    sending.await.unwrap().unwrap();
}
