//! Posts that a proxy sends twice.
//!
//! nginx repeats a request when the connection to us ended before the answer, as it does when a worker dies that was
//! passing it on to its session's: then the session may have handled it. So nginx gives each request an id, the same
//! for its retry, and of each session the last post is remembered: a post with the same id and the same body is
//! answered, not handled again. While the first one is under way the other waits for it.
//!
//! An id is believed only of a proxy that is trusted; what clients send of their own accord is not looked at. The
//! body counts as well, so that a proxy that gives several posts one id loses none of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use socketioxide::socket::Sid;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// What nginx calls a request: the same if it sends it again.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a post is remembered: a proxy sends it again at once, or never.
const KEEP: Duration = Duration::from_mins(1);

/// How long a post waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The id of a request, or a body: short, and different at every start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(u64);

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    hasher: RandomState,
    table: Mutex<Table>,
    done: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// The last post of each session.
    posts: HashMap<Sid, Post>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Post {
    id: Digest,
    /// None while it is under way.
    body: Option<Digest>,
    at: Instant,
}

impl Repeats {
    /// The id of a request, if it has one.
    pub(crate) fn id_of(&self, headers: &HeaderMap) -> Option<Digest> {
        let id = headers.get(&REQUEST_ID).map(HeaderValue::as_bytes);
        id.filter(|id| !id.is_empty()).map(|id| self.digest(id))
    }

    /// Of an id, or of a body.
    pub(crate) fn digest(&self, bytes: &[u8]) -> Digest {
        Digest(self.hasher.hash_one(bytes))
    }

    /// The body of the post that this session has handled under this id, if it is its last.
    pub(crate) async fn handled(&self, sid: Sid, id: Digest) -> Option<Digest> {
        let handled = async {
            loop {
                let done = self.done.notified();
                match self.table().posts.get(&sid) {
                    Some(post) if post.id == id => {
                        if post.body.is_some() {
                            return post.body;
                        }
                    }
                    _ => return None,
                }
                done.await;
            }
        };
        timeout(PATIENCE, handled).await.ok().flatten()
    }

    /// A post begins. To be called only while there is this session.
    pub(crate) fn begin(&self, sid: Sid, id: Digest) -> Attempt<'_> {
        let now = Instant::now();
        let mut table = self.table();
        let swept = *table.swept.get_or_insert(now);
        if now.duration_since(swept) >= KEEP {
            table.swept = Some(now);
            let posts = &mut table.posts;
            posts.retain(|_, post| now.duration_since(post.at) < KEEP);
            posts.shrink_to(2 * posts.len());
        }
        let body = None;
        table.posts.insert(sid, Post { id, body, at: now });
        Attempt {
            repeats: self,
            sid,
            id,
        }
    }

    /// A session has ended.
    pub(crate) fn ended(&self, sid: Sid) {
        if self.table().posts.remove(&sid).is_some() {
            self.done.notify_waiters();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A post that is under way. Dropped before it was handled, it may come again.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    repeats: &'a Repeats,
    sid: Sid,
    id: Digest,
}

impl Attempt<'_> {
    /// This body is the session's from now on.
    pub(crate) fn handled(self, body: Digest) {
        if let Some(post) = self.repeats.table().posts.get_mut(&self.sid)
            && post.id == self.id
        {
            post.body = Some(body);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut table = self.repeats.table();
        let mine = table.posts.get(&self.sid);
        if mine.is_some_and(|post| post.id == self.id && post.body.is_none()) {
            table.posts.remove(&self.sid);
        }
        drop(table);
        self.repeats.done.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (Repeats, Sid, [Digest; 3]) {
        let repeats = Repeats::default();
        let digests = [&b"a"[..], b"b", b"c"].map(|bytes| repeats.digest(bytes));
        (repeats, Sid::new(), digests)
    }

    #[tokio::test]
    async fn the_last_post_of_a_session_is_known_again_and_no_other() {
        let (repeats, sid, [first, second, body]) = scene();
        assert_eq!(repeats.handled(sid, first).await, None);
        repeats.begin(sid, first).handled(body);
        assert_eq!(repeats.handled(sid, first).await, Some(body));
        assert_eq!(repeats.handled(Sid::new(), first).await, None);
        repeats.begin(sid, second).handled(body);
        assert_eq!(repeats.handled(sid, first).await, None);
        repeats.ended(sid);
        assert_eq!(repeats.handled(sid, second).await, None);
        assert!(repeats.table().posts.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_waits_for_the_one_before_it() {
        let (repeats, sid, [id, _, body]) = scene();
        for handles in [true, false] {
            let first = repeats.begin(sid, id);
            let done = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if handles {
                    first.handled(body);
                } else {
                    drop(first);
                }
            };
            let (known, ()) = tokio::join!(repeats.handled(sid, id), done);
            assert_eq!(known, handles.then_some(body));
        }
        assert!(repeats.table().posts.is_empty());
        let _under_way = repeats.begin(sid, id);
        assert_eq!(repeats.handled(sid, id).await, None, "it waited for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_rest_keep_nothing() {
        let (repeats, _, [id, _, body]) = scene();
        for _ in 0..1000 {
            repeats.begin(Sid::new(), id).handled(body);
        }
        tokio::time::advance(KEEP).await;
        repeats.begin(Sid::new(), id).handled(body);
        assert_eq!(repeats.table().posts.len(), 1);
        assert!(repeats.table().posts.capacity() < 8);
    }
}
