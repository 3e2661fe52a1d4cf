//! Answers to polls whose connection ends before, in or behind them: each event arrives, perhaps
//! once more, or the session is over. There is never a gap.

use std::env;
use std::sync::Arc;
use std::thread;

use super::harness::*;

/// How many polls of a test end early; a long run asks for more with `ABORTED_POLLS=3000`.
const ABORTED_POLLS: u32 = 400;

const READERS: u32 = 4;

/// Enough that an answer is under way for a while.
const LARGE: usize = 400_000;

/// How a poll ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Reset while it waits, at the moment in which there is something to tell.
    Waiting,
    /// Reset when an event came, perhaps before its answer.
    Answering,
    /// Reset in the middle of a long answer.
    Inside,
    /// Reset when the answer was read.
    Reset,
    /// Closed when the answer was read.
    Closed,
}

/// What became of a poll.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Goes,
    /// The server no longer knows the session.
    Over,
}

/// One session: what it posted, and what it heard of that.
struct Reader {
    server: Arc<Server>,
    session: Polling,
    posts: Raw,
    polls: Raw,
    posted: u32,
    heard: u32,
    /// What is below may come again: its answer did not end well.
    doubtful: u32,
    story: Vec<String>,
}

#[derive(Default)]
struct Counts {
    polls: u32,
    over: u32,
    again: u32,
}

impl Reader {
    fn open(server: &Arc<Server>) -> Self {
        let mut polls = Raw::tcp(server.addr);
        Self {
            server: Arc::clone(server),
            session: Polling::open(&mut polls),
            posts: Raw::tcp(server.addr),
            polls,
            posted: 0,
            heard: 0,
            doubtful: 0,
            story: Vec::new(),
        }
    }

    fn event(&mut self, size: usize) -> String {
        let padding = "x".repeat(size);
        let body = format!("42[\"n\",{},\"{padding}\"]", self.posted);
        self.posted += 1;
        let length = body.len();
        let target = self.session.target();
        format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }

    /// Emits an event that comes back.
    fn say(&mut self, size: usize) -> Outcome {
        let event = self.event(size);
        let said = self.posts.send(event).response();
        outcome(&said)
    }

    /// A connection with a poll under way. Half of them come from other workers, by a request that
    /// any of them answers.
    fn begin_poll(&self, nth: u32) -> Raw {
        let mut raw = Raw::tcp(self.server.addr);
        if nth.is_multiple_of(2) {
            assert_eq!(raw.get("/").status, 200);
        }
        let target = self.session.target();
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        raw
    }

    /// A poll that ends so.
    fn poll_that_ends(&mut self, nth: u32, end: End, counts: &mut Counts) -> Outcome {
        counts.polls += 1;
        self.story.push(format!("{end:?}"));
        if end == End::Inside && self.say(LARGE) == Outcome::Over {
            return Outcome::Over;
        }
        let mut raw = self.begin_poll(nth);
        match end {
            End::Waiting => {
                let event = self.event(10);
                self.posts.send(event);
                raw.reset();
                return outcome(&self.posts.response());
            }
            End::Answering => {
                let said = self.say(10);
                raw.reset();
                return said;
            }
            End::Inside => {
                // The session may be over; then there is less to read.
                let _ = raw.take(1 + usize::try_from(nth).unwrap() * 7919 % LARGE);
                raw.reset();
            }
            End::Reset | End::Closed => {
                if self.say(10) == Outcome::Over {
                    return Outcome::Over;
                }
                let answer = raw.response();
                if self.read(&answer, counts) == Outcome::Over {
                    return Outcome::Over;
                }
                // What a connection brought that was closed well never comes again.
                self.doubtful = 0;
                if end == End::Reset {
                    self.doubtful = self.heard;
                    raw.reset();
                }
            }
        }
        Outcome::Goes
    }

    /// Polls until everything was heard.
    fn catch_up(&mut self, counts: &mut Counts) -> Outcome {
        while self.heard < self.posted {
            let target = self.session.target();
            self.polls
                .send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            let answer = self.polls.try_response().unwrap_or_else(|error| {
                panic!(
                    "{} of {} never came, after {:?}: {error:?}",
                    self.heard,
                    self.posted,
                    self.last()
                )
            });
            if self.read(&answer, counts) == Outcome::Over {
                return Outcome::Over;
            }
            self.doubtful = 0;
        }
        Outcome::Goes
    }

    /// What happened last.
    fn last(&self) -> &[String] {
        &self.story[self.story.len().saturating_sub(5)..]
    }

    #[track_caller]
    fn read(&mut self, answer: &Response, counts: &mut Counts) -> Outcome {
        if outcome(answer) == Outcome::Over {
            return Outcome::Over;
        }
        for packet in answer.body.split('\x1e') {
            let Some(event) = packet.strip_prefix("42[\"n\",") else {
                assert!(["2", "6", "1"].contains(&packet), "{packet}");
                continue;
            };
            let number: u32 = event.split(',').next().unwrap().parse().unwrap();
            if number == self.heard {
                self.heard += 1;
                continue;
            }
            let (Self { heard, .. }, story) = (&*self, self.last());
            assert!(
                number < *heard,
                "{number} came where {heard} was to come, after {story:?}"
            );
            assert!(
                number < self.doubtful,
                "{number} came again before {heard}, after {story:?}"
            );
            counts.again += 1;
        }
        Outcome::Goes
    }
}

fn outcome(answer: &Response) -> Outcome {
    match answer.status {
        200 => Outcome::Goes,
        400 => Outcome::Over,
        _ => panic!("{answer:?}"),
    }
}

/// Polls that end early, one or two after the other, in one session after the other.
fn read_badly(server: &Arc<Server>, reader: u32, polls: u32, ends: &[End]) -> Counts {
    let mut counts = Counts::default();
    let mut session = Reader::open(server);
    for nth in 0..polls {
        let end = ends[usize::try_from(nth + reader).unwrap() % ends.len()];
        let mut outcome = session.poll_that_ends(nth, end, &mut counts);
        if outcome == Outcome::Goes && nth % 3 != 0 {
            outcome = session.catch_up(&mut counts);
        }
        if outcome == Outcome::Over {
            counts.over += 1;
            session = Reader::open(server);
        }
    }
    counts
}

/// Several sessions whose polls end in these ways.
#[track_caller]
fn nothing_is_lost(ends: &'static [End]) -> Counts {
    let polls = env::var("ABORTED_POLLS").map_or(ABORTED_POLLS, |polls| polls.parse().unwrap());
    let server = Arc::new(Server::start());
    let readers = (0..READERS).map(|reader| {
        let server = Arc::clone(&server);
        thread::spawn(move || read_badly(&server, reader, polls / READERS, ends))
    });
    let readers: Vec<_> = readers.collect();
    // All have ended before one fails the test, which then tells what the server said.
    let readers: Vec<_> = readers.into_iter().map(thread::JoinHandle::join).collect();
    let mut counts = Counts::default();
    for reader in readers {
        let of_one = reader.expect("no gap");
        counts.polls += of_one.polls;
        counts.over += of_one.over;
        counts.again += of_one.again;
    }
    saw("polls that ended early", counts.polls);
    saw("sessions that are over", counts.over);
    saw("events that came again", counts.again);
    assert_eq!(counts.polls, polls / READERS * READERS);
    counts
}

#[test]
fn no_event_is_lost_when_its_poll_is_reset_before_the_answer() {
    nothing_is_lost(&[End::Waiting, End::Answering]);
}

#[test]
fn no_event_is_lost_when_its_poll_is_reset_in_the_middle_of_the_answer() {
    nothing_is_lost(&[End::Inside]);
}

#[test]
fn no_event_is_lost_or_doubled_when_its_poll_is_closed_after_the_answer() {
    // Nothing is wrong with that, so the session goes on.
    assert_eq!(nothing_is_lost(&[End::Closed]).over, 0);
}

#[test]
fn no_event_is_lost_when_polls_end_in_every_way() {
    nothing_is_lost(&[
        End::Waiting,
        End::Closed,
        End::Answering,
        End::Inside,
        End::Reset,
    ]);
}
