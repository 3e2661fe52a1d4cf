//! Official clients that do what a test says: `puppets.mjs`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::client::script;
use super::socket::{Answer, Client, News, Shared, Strings};

/// Ends its clients with the value.
pub struct Puppets {
    child: Child,
    clients: Vec<Client>,
}

struct Strand {
    client: usize,
    input: Arc<Mutex<ChildStdin>>,
}

impl Strand {
    fn say(&self, mut order: Value) {
        order["client"] = self.client.into();
        // Where they are gone, their last word was that.
        let _ = writeln!(self.input.lock().unwrap(), "{order}");
    }
}

impl Strings for Strand {
    fn emit(&self, event: &str, arguments: &Value, number: u64) {
        self.say(json!({ "emit": event, "arguments": arguments, "number": number }));
    }

    fn answer(&self, answer: Answer) {
        self.say(match answer {
            Answer::Id => json!({ "answer": 0 }),
            Answer::Late(millis) => json!({ "answer": millis }),
            Answer::Never => json!({ "answer": null }),
        });
    }

    fn close(&self) {
        self.say(json!({ "close": true }));
    }
}

impl Puppets {
    pub fn start(url: &str, namespace: &str, count: usize, more: &[&str]) -> Self {
        let mut command = script("node", "puppets.mjs");
        command
            .args(["--url", url, "--namespace", namespace])
            .args(["--clients", &count.to_string(), "--deadline", "600"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .expect("the interpreter is installed (make test installs it)");
        let input = Arc::new(Mutex::new(child.stdin.take().unwrap()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let all: Vec<_> = (0..count).map(|_| Arc::<Shared>::default()).collect();
        let numbered = all.iter().enumerate();
        let clients = numbered.map(|(client, shared)| {
            let input = Arc::clone(&input);
            Client::new(shared, Arc::new(Strand { client, input }))
        });
        let clients = clients.collect();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                match news(&line) {
                    Some((client, news)) => all[client].tell(news),
                    None => println!("    puppets.mjs: {line}"),
                }
            }
            for shared in &all {
                shared.tell(News::Gone("puppets.mjs ended".to_owned()));
            }
        });
        Self { child, clients }
    }

    pub fn clients(&self) -> Vec<Client> {
        self.clients.clone()
    }
}

fn news(line: &str) -> Option<(usize, News)> {
    let mut said: Value = serde_json::from_str(line).ok()?;
    let client = usize::try_from(said["client"].as_u64()?).ok()?;
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let news = if let Some(id) = text(&said["connected"]) {
        News::Connected(id)
    } else if let Some(event) = text(&said["event"]) {
        News::Event(event, said["payload"].take())
    } else if let Some(number) = said["number"].as_u64() {
        News::Acknowledged(number, said["value"].take())
    } else {
        News::Gone(text(&said["gone"])?)
    };
    Some((client, news))
}

impl Drop for Puppets {
    fn drop(&mut self) {
        // Only what this test started is ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
