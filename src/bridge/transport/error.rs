//! What can go wrong with the server between the machines, and what to do.

/// Its text says which step failed, why, and what to do about it. It never holds a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TransportError {
    /// The connection is gone without a reason.
    #[error("the connection ended")]
    Closed,
    /// A step took longer than its deadline.
    #[error(
        "{0} took longer than {1} s: the server hangs, or something between drops what is sent"
    )]
    Timeout(&'static str, u64),
}

impl TransportError {
    /// Whether the server understood and said no to this one thing: the connections live on.
    pub(crate) fn is_refusal(&self) -> bool {
        false
    }
}
