use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

fn client(path: &Path) -> Client {
    Client {
        candidates: vec![path.to_owned()],
    }
}

/// What the client makes of these bytes of a server, and what the server was sent.
async fn answered(bytes: &str) -> (Result<(String, Value), ClientError>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let bytes = bytes.to_owned();
    let server = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&asked[..length]).into_owned()
    });
    let answer = client(&path).get("/status").await;
    (answer, server.await.unwrap())
}

fn response(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn an_answer_comes_as_text_and_as_json() {
    let (answer, asked) = answered(&response("200 OK", "{\"a\": 1}")).await;
    assert_eq!(answer.unwrap(), ("{\"a\": 1}".to_owned(), json!({"a": 1})));
    let asked = asked.to_lowercase();
    for part in [
        "get /status http/1.1\r\n",
        "host: localhost\r\n",
        "x-requested-with: my-app\r\n",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
}

#[tokio::test]
async fn whatever_else_comes_is_told_in_words() {
    let error = "{\"error\": \"no such level\"}";
    for (bytes, words, exit) in [
        (
            response("400 Bad Request", error),
            "no such level",
            Exit::Degraded,
        ),
        (
            response("503 Service Unavailable", ""),
            "503",
            Exit::Degraded,
        ),
        (response("200 OK", "<html>"), "no JSON", Exit::Os),
        // This process lives.
        (String::new(), "runs on", Exit::Degraded),
        (
            response("200 OK", "{\"cut\": 1}")[..42].to_owned(),
            "runs on",
            Exit::Degraded,
        ),
        (
            "220 mail.example.org ESMTP\r\n".into(),
            "does not speak HTTP",
            Exit::Os,
        ),
    ] {
        let error = answered(&bytes).await.0.unwrap_err();
        assert!(error.to_string().contains(words), "{bytes:?}: {error}");
        assert_eq!(error.exit(), exit, "{bytes:?}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_closes_the_connection_before_it_reads_anything_runs_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0;
            // It may have come by then, or not.
            let _ = stream.readable().await;
        }
    });
    let error = client(&path).get("/status").await.unwrap_err();
    assert!(matches!(error, ClientError::Unanswered), "{error}");
    server.abort();
}

#[tokio::test]
async fn a_server_that_ends_while_it_answers_went_away() {
    let mut server = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = Pid::from_raw(server.id().cast_signed()).unwrap();
    let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    server.kill().unwrap();
    // Nobody has waited for it yet.
    let error = without_answer(Some(&process));
    server.wait().unwrap();
    assert!(matches!(error, ClientError::WentAway), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_waited_for_no_longer_than_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = client(&path).get("/status").await.unwrap_err();
    assert!(error.to_string().contains("within 4 s"), "{error}");
    assert_eq!(error.exit(), Exit::Degraded);
}

#[tokio::test]
async fn where_nobody_listens_the_server_is_not_running() {
    let dir = tempfile::tempdir().unwrap();
    let (left, missing) = (dir.path().join("left"), dir.path().join("missing"));
    drop(UnixListener::bind(&left).unwrap());
    let client = Client {
        candidates: vec![missing.clone(), left.clone()],
    };
    let error = client.get("/status").await.unwrap_err();
    let words = error.to_string();
    for part in [
        format!("there is no {}", missing.display()),
        format!("nobody listens at {}", left.display()),
        "systemctl start my-app.service".to_owned(),
        "--socket PATH".to_owned(),
    ] {
        assert!(words.contains(&part), "{part}: {words}");
    }
    assert_eq!(error.exit(), Exit::NotRunning);
}

#[tokio::test]
async fn a_second_place_is_looked_at_when_the_first_has_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let client = Client {
        candidates: vec![dir.path().join("missing"), path],
    };
    let server = async {
        let mut stream = listener.accept().await.unwrap().0;
        let answer = response("200 OK", "{}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        // Until the client has read it.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (answer, ()) = tokio::join!(client.get("/status"), server);
    assert_eq!(answer.unwrap().1, json!({}));
}

#[test]
fn who_may_not_connect_is_told_whose_the_socket_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
    let refused = io::Error::from(io::ErrorKind::PermissionDenied);
    let error = not_connected(&path, refused);
    let words = error.to_string();
    assert!(
        words.contains("this user may not use") && words.contains("sudo"),
        "{words}"
    );
    assert_eq!(error.exit(), Exit::Os);
}

#[test]
fn a_configuration_names_the_socket_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    fs::write(&file, "[control]\nsocket = \"/run/c.sock\"").unwrap();
    assert_eq!(
        candidates(Some(&file)).unwrap(),
        [PathBuf::from("/run/c.sock")]
    );
    fs::write(&file, "[control]\nsocket = \"\"").unwrap();
    let error = candidates(Some(&file)).unwrap_err();
    assert!(error.to_string().contains("no control socket"), "{error}");
    let error = candidates(Some(&dir.path().join("none"))).unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
}
