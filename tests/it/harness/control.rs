//! The server's control socket, as an operator uses it.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{Raw, Response};

/// A control socket.
pub struct Control {
    pub path: PathBuf,
}

impl Control {
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// A connection to it.
    pub fn raw(&self) -> Raw {
        Raw::unix(&self.path)
    }

    /// A request over a connection of its own, with lines of its head.
    #[track_caller]
    pub fn ask(&self, method: &str, target: &str, lines: &[&str], body: &str) -> Response {
        let mut lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        if !body.is_empty() {
            lines += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut raw = self.raw();
        raw.send(format!(
            "{method} {target} HTTP/1.1\r\nConnection: close\r\n{lines}\r\n{body}"
        ));
        raw.response()
    }

    /// What is at `target`, which must be there.
    #[track_caller]
    pub fn get(&self, target: &str) -> Json {
        json(&self.ask("GET", target, &[], ""))
    }

    /// The answer to a command, which must be one that can be done.
    #[track_caller]
    pub fn post(&self, target: &str, body: &Json) -> Json {
        json(&self.try_post(target, &body.to_string()))
    }

    /// The answer to a command.
    #[track_caller]
    pub fn try_post(&self, target: &str, body: &str) -> Response {
        self.ask("POST", target, &["X-Requested-With: my-app"], body)
    }
}

/// A good answer's JSON.
#[track_caller]
fn json(answer: &Response) -> Json {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_str(&answer.body).unwrap()
}

/// An error's status and words.
#[track_caller]
pub fn error(answer: &Response) -> (u16, String) {
    assert!(answer.status >= 400, "{answer:?}");
    let body: Json = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    (answer.status, body["error"].as_str().unwrap().to_owned())
}
