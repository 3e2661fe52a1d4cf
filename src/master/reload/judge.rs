//! Has the program that is there now tried, before it takes over: [`trial`](super::trial) is what it does then.

use std::cell::Cell;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use humantime::format_duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

use super::program::Program;
use super::{Patience, ReloadError, Verdict};
use crate::ipc::carrier::Carrier;
use crate::wire::handover::STATE_VERSION;
use crate::wire::link::LINK_VERSION;

/// More than a verdict has, in bytes.
const LARGEST_VERDICT: u64 = 4 << 20;
/// So much is read of what a program that is tried complains of; the end is told.
const LONGEST_COMPLAINT: usize = 64 << 10;
/// So much of it is told, in bytes.
const TOLD: usize = 1500;
/// What a program answers that knows no trial.
const USAGE: i32 = 64;

/// Tries the program with what would be handed over to it.
///
/// # Errors
/// Why a reload would not work.
pub(super) async fn judge(
    program: &Program,
    state: &[u8],
    patience: Duration,
) -> Result<Verdict, ReloadError> {
    let path = program.path().map_err(ReloadError::Program)?;
    let start = |error| {
        ReloadError::of(error, |source| ReloadError::Start {
            path: path.to_owned(),
            source,
        })
    };
    let (carrier, stdin) = Carrier::new().map_err(start)?;
    carrier.finish(state).map_err(start)?;
    let mut command = Command::new(path);
    command
        .arg0("my-app:")
        .args(program.to_try())
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // By NOTIFY_SOCKET it knows that systemd has started the server: without a file the configuration depends on it.
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(start)?;
    // It holds the far end of the carrier.
    drop(command);
    let began = Instant::now();
    let patience = Cell::new(patience);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ran = async {
        let answer = answer(stdout, |longer| patience.set(patience.get().max(longer)));
        tokio::try_join!(answer, complaint(stderr), child.wait())
    };
    let mut ran = std::pin::pin!(ran);
    loop {
        match timeout_at(began + patience.get(), &mut ran).await {
            Err(_) if began.elapsed() < patience.get() => {}
            Err(_) => return Err(ReloadError::Hangs(format_duration(patience.get()))),
            Ok(Err(error)) => return Err(start(error)),
            Ok(Ok((answer, complaint, status))) => return verdict(&answer, &complaint, status),
        }
    }
}

/// What it prints; `longer` is told how long it may take, if it says so.
async fn answer(
    stdout: Option<impl AsyncRead + Unpin>,
    longer: impl Fn(Duration),
) -> io::Result<Vec<u8>> {
    let mut rest = Vec::new();
    let Some(stdout) = stdout else {
        return Ok(rest);
    };
    let mut stdout = BufReader::new(stdout.take(LARGEST_VERDICT));
    let mut line = Vec::new();
    stdout.read_until(b'\n', &mut line).await?;
    match serde_json::from_slice::<Patience>(&line) {
        Ok(patience) => longer(Duration::from_millis(patience.start_timeout_ms)),
        Err(_) => rest = line,
    }
    stdout.read_to_end(&mut rest).await?;
    Ok(rest)
}

/// The end of what it complains of.
async fn complaint(stderr: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    let Some(mut stderr) = stderr else {
        return Ok(String::new());
    };
    loop {
        let read = stderr.read(&mut piece).await?;
        kept.extend_from_slice(piece.get(..read).unwrap_or_default());
        if kept.len() > LONGEST_COMPLAINT || read == 0 {
            let superfluous = kept.len().saturating_sub(TOLD);
            kept.drain(..superfluous);
        }
        if read == 0 {
            let text = String::from_utf8_lossy(&kept);
            return Ok(text.trim().to_owned());
        }
    }
}

fn verdict(answer: &[u8], complaint: &str, status: ExitStatus) -> Result<Verdict, ReloadError> {
    if status.code() == Some(USAGE) {
        return Err(ReloadError::KnowsNoReload);
    }
    if !status.success() {
        let why = complaint.strip_prefix("my-app: ").unwrap_or(complaint);
        return Err(match why {
            "" => ReloadError::Ended(status.to_string()),
            why => ReloadError::Refused(why.to_owned()),
        });
    }
    let verdict: Verdict = serde_json::from_slice(answer)
        .map_err(|_| ReloadError::Ended(format!("without an answer, {status}")))?;
    if verdict.state != STATE_VERSION || verdict.link != LINK_VERSION {
        return Err(ReloadError::TooDifferent(verdict.version));
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn judged(answer: &str, complaint: &str, code: i32) -> Result<Verdict, String> {
        let status = ExitStatus::from_raw(code << 8);
        verdict(answer.as_bytes(), complaint, status).map_err(|error| error.to_string())
    }

    fn good(state: u32) -> String {
        let config = "{}";
        serde_json::json!({
            "version": "9", "state": state, "link": LINK_VERSION, "bus": 1, "config": config,
        })
        .to_string()
    }

    #[test]
    fn what_a_program_says_of_itself_decides() {
        assert_eq!(judged(&good(STATE_VERSION), "", 0).unwrap().version, "9");
        let said = |answer: &str, complaint, code| judged(answer, complaint, code).unwrap_err();
        assert!(said(&good(STATE_VERSION + 1), "", 0).contains("systemctl restart"));
        assert!(said("", "", 0).contains("without an answer"));
        assert!(said("hello", "", 0).contains("without an answer"));
        assert!(said("", "", 7).contains("exit status: 7"));
        assert!(said("", "my-app: line 3: workers = \"x\"", 1).contains("line 3"));
        assert!(said("", "error: unrecognized subcommand", 64).contains("systemctl restart"));
    }

    #[tokio::test]
    async fn a_program_may_say_first_how_long_it_may_take() {
        for (said, longer, rest) in [
            ("{\"start_timeout_ms\":1500}\n{\"v\":1}", 1500, "{\"v\":1}"),
            ("{\"v\":1}", 0, "{\"v\":1}"),
            ("what?\n", 0, "what?\n"),
        ] {
            let told = Cell::new(Duration::ZERO);
            let answer = answer(Some(said.as_bytes()), |it| told.set(it)).await;
            assert_eq!(answer.unwrap(), rest.as_bytes());
            assert_eq!(told.get(), Duration::from_millis(longer), "{said}");
        }
    }

    #[tokio::test]
    async fn of_a_long_complaint_the_end_is_told() {
        let long = "x".repeat(10 * LONGEST_COMPLAINT) + "the end\n";
        let told = complaint(Some(long.as_bytes())).await.unwrap();
        assert!(told.len() <= TOLD && told.ends_with("the end"), "{told}");
    }
}
