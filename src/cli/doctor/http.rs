//! A request of the doctor's own: does my-app answer there, and if not, who?

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long an answer may take, all of it.
const PATIENCE: Duration = Duration::from_secs(3);
/// How much of an answer is read: more than any head that we need.
const MOST: usize = 16 * 1024;
/// What my-app sends back as it came, and nobody else does: a Node server would give the same answer.
const MARK: &str = "X-My-App-Mark";

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    MyApp,
    /// Somebody else, with this status and `Server:`.
    Other {
        status: u16,
        server: Option<String>,
    },
    /// What came is no HTTP.
    NotHttp,
    /// Nobody listens there.
    Nobody,
    /// No answer within the time.
    Late,
}

impl Answer {
    /// In words, behind "is answered by".
    pub(super) fn who(&self) -> String {
        match self {
            Self::MyApp => "my-app".to_owned(),
            Self::Other { status, server } => {
                let server = server.as_deref().unwrap_or("a server without a name");
                format!("{server} (status {status})")
            }
            Self::NotHttp => "what speaks no HTTP".to_owned(),
            Self::Nobody => "nobody".to_owned(),
            Self::Late => format!("nobody within {} s", PATIENCE.as_secs()),
        }
    }
}

/// Asks for a session that nobody has: that opens none, and leaves no trace.
pub(super) fn ask(to: SocketAddr, host: &str, path: &str) -> Answer {
    ask_within(to, "", host, path, PATIENCE)
}

/// The same as a load balancer does it, with the PROXY protocol.
pub(super) fn ask_as_a_proxy(to: SocketAddr, host: &str, path: &str) -> Answer {
    ask_within(to, "PROXY UNKNOWN\r\n", host, path, PATIENCE)
}

fn ask_within(to: SocketAddr, first: &str, host: &str, path: &str, patience: Duration) -> Answer {
    let mark = format!("{:016x}", getrandom::u64().unwrap_or_default());
    let request = format!(
        "{first}GET {path}?EIO=4&transport=polling&sid=check HTTP/1.1\r\nHost: {host}\r\n{MARK}: {mark}\r\n\
         User-Agent: my-app-check\r\nConnection: close\r\n\r\n"
    );
    match exchange(to, request.as_bytes(), patience) {
        Ok(answer) if answer.is_empty() => Answer::NotHttp,
        Ok(answer) => judge(&String::from_utf8_lossy(&answer), &mark),
        Err(ErrorKind::TimedOut | ErrorKind::WouldBlock) => Answer::Late,
        Err(ErrorKind::ConnectionReset) => Answer::NotHttp,
        Err(_) => Answer::Nobody,
    }
}

/// The head of the answer.
fn exchange(to: SocketAddr, request: &[u8], patience: Duration) -> Result<Vec<u8>, ErrorKind> {
    let end = Instant::now() + patience;
    let left = || {
        let left = end.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left).ok_or(ErrorKind::TimedOut)
    };
    let mut stream = TcpStream::connect_timeout(&to, left()?).map_err(|error| error.kind())?;
    let kind = |error: std::io::Error| error.kind();
    stream.set_write_timeout(Some(left()?)).map_err(kind)?;
    stream.write_all(request).map_err(kind)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while answer.len() < MOST && !answer.windows(4).any(|it| it == b"\r\n\r\n") {
        stream.set_read_timeout(Some(left()?)).map_err(kind)?;
        let count = match stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) if !answer.is_empty() => break,
            Err(error) => return Err(error.kind()),
        };
        if count == 0 {
            break;
        }
        answer.extend(buffer.iter().take(count));
    }
    Ok(answer)
}

fn judge(answer: &str, mark: &str) -> Answer {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let status = status
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|digits| digits.parse().ok());
    let Some(status) = status else {
        return Answer::NotHttp;
    };
    let header = |name: &str| {
        let mut headers = lines.clone().filter_map(|line| line.split_once(':'));
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    if header(MARK) == Some(mark) {
        return Answer::MyApp;
    }
    // It goes to a terminal.
    let printable = |text: &str| -> String {
        let printable = text.chars().filter(|c| !c.is_control());
        printable.take(60).collect()
    };
    let server = header("Server").map(printable);
    Answer::Other { status, server }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn only_who_sends_the_mark_back_is_my_app() {
        let other = |status, server: Option<&str>| Answer::Other {
            status,
            server: server.map(ToOwned::to_owned),
        };
        for (answer, expected) in [
            (
                "HTTP/1.1 400 Bad Request\r\nx-my-app-mark: m\r\n\r\n{}",
                Answer::MyApp,
            ),
            // Node's server.
            (
                "HTTP/1.1 400 Bad Request\r\nA: b\r\n\r\n{\"code\":1}",
                other(400, None),
            ),
            (
                "HTTP/1.1 502 Bad Gateway\r\nserver: nginx/1.26.3\r\n\r\n",
                other(502, Some("nginx/1.26.3")),
            ),
            (
                "HTTP/1.1 200 OK\r\nServer: a\x1b[31m\r\nX-My-App-Mark: other",
                other(200, Some("a[31m")),
            ),
            ("HTTP/1.1 200", other(200, None)),
            ("SSH-2.0-OpenSSH\r\n", Answer::NotHttp),
            ("HTTP/1.1 \u{e9}\u{e9}\u{e9}", Answer::NotHttp),
            ("", Answer::NotHttp),
        ] {
            assert_eq!(judge(answer, "m"), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_port_that_is_closed_and_one_that_says_nothing_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let began = Instant::now();
        assert_eq!(ask_within(to, "", "a", "/", SHORT), Answer::Late);
        assert!(began.elapsed() < PATIENCE);
        drop(listener);
        assert_eq!(ask(to, "a", "/"), Answer::Nobody);
    }

    #[test]
    fn an_answer_in_drops_does_not_hold_it_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let drops = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let began = Instant::now();
            while stream.write_all(b"x").is_ok() && began.elapsed() < PATIENCE {
                thread::sleep(SHORT / 8);
            }
        });
        let answer = ask_within(to, "", "a", "/", SHORT);
        assert!(
            matches!(answer, Answer::Late | Answer::NotHttp),
            "{answer:?}"
        );
        drops.join().unwrap();
    }
}
