//! Node's own Redis emitters: `tests/redis/emit.mjs`.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A real emitter of one version, in a process of its own. It ends with the value.
pub struct Emitter {
    child: Child,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Emitter {
    /// Of version 4, with the client `ioredis`, or 5, with `redis`.
    #[track_caller]
    pub fn start(version: u8, url: &str, key: &str) -> Self {
        let mut child = script("emit.mjs")
            .args(["--version", &version.to_string()])
            .args(["--url", url, "--key", key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter is installed (make test installs it)");
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let pipes = RefCell::new((input, output));
        Self { child, pipes }
    }

    /// Calls a method of it, or of what `selection` selects: `{of, to, except, volatile, compress}`. Redis has it then.
    #[track_caller]
    pub fn call(&self, method: &str, mut selection: Value, arguments: &Value) {
        selection["do"] = method.into();
        selection["arguments"] = arguments.clone();
        self.say(&selection);
    }

    /// Publishes any bytes.
    #[track_caller]
    pub fn publish(&self, channel: &str, hex: &str) {
        self.say(&json!({ "channel": channel, "hex": hex }));
    }

    #[track_caller]
    fn say(&self, order: &Value) {
        let (input, output) = &mut *self.pipes.borrow_mut();
        writeln!(input, "{order}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), r#"{"done":true}"#, "{order}");
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        // Only what this test started is ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the real emitters publish, as `capture.mjs` writes it.
pub fn captured() -> String {
    let output = script("capture.mjs").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn script(name: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis");
    let mut command = Command::new("node");
    command.arg(folder.join(name)).stdin(Stdio::null());
    command
}
