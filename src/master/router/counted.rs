//! Connections that no worker has yet, counted for as long as they live.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::wire::client::ClientKey;

/// How many there are.
#[derive(Debug, Default)]
pub(super) struct Counts {
    all: Cell<u64>,
    /// Whose they are, if there is a limit for each client.
    of: RefCell<HashMap<ClientKey, u64>>,
}

impl Counts {
    /// One more, until what is returned is dropped.
    pub(super) fn add(self: &Rc<Self>, client: Option<ClientKey>) -> Counted {
        self.all.set(self.all.get() + 1);
        if let Some(client) = client {
            *self.of.borrow_mut().entry(client).or_default() += 1;
        }
        Counted {
            counts: Rc::clone(self),
            client,
        }
    }

    /// All of them.
    pub(super) fn count(&self) -> u64 {
        self.all.get()
    }

    /// Those of one client.
    pub(super) fn count_of(&self, client: ClientKey) -> u64 {
        self.of.borrow().get(&client).copied().unwrap_or_default()
    }
}

/// Counts a connection that no worker has yet, while it lives.
#[derive(Debug)]
pub(super) struct Counted {
    counts: Rc<Counts>,
    client: Option<ClientKey>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Counts { all, of } = &*self.counts;
        all.set(all.get() - 1);
        let mut of = of.borrow_mut();
        if let Some(client) = self.client
            && let Some(count) = of.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                of.remove(&client);
            }
        }
    }
}
