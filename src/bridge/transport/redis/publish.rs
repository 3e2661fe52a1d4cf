//! Publishes to Redis what is in the outbox.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};
use tokio::task::unconstrained;

use crate::bridge::transport::inbox::Inbox;
use crate::bridge::transport::outbox::{Outbox, Outgoing};
use crate::bridge::transport::{IN_FLIGHT, TransportError};

/// What is published at once, in bytes.
pub(super) const PIECE: usize = 256 * 1024;

/// Publishes what is in the outbox, several batches under way, in order.
pub(super) async fn publish(
    outbox: Arc<Outbox>,
    inbox: Arc<Inbox>,
    connection: MultiplexedConnection,
) {
    let mut under_way = FuturesOrdered::new();
    let mut bytes: usize = 0;
    loop {
        let batch = tokio::select! {
            biased;
            Some(answered) = under_way.next() => {
                let (batch, answers): (Vec<Outgoing>, _) = answered;
                bytes -= cost(&batch);
                if let Err(error) = settle(&outbox, batch, answers) {
                    inbox.end(error.clone());
                    outbox.end(&error);
                    return;
                }
                continue;
            }
            batch = outbox.batch(IN_FLIGHT.saturating_sub(bytes)), if bytes < IN_FLIGHT => batch,
        };
        bytes += cost(&batch);
        // They are first polled in this order, and each has queued its bytes then, whatever else this task did.
        under_way.push_back(unconstrained(send(connection.clone(), batch)));
    }
}

fn cost(batch: &[Outgoing]) -> usize {
    batch
        .iter()
        .map(Outgoing::cost)
        .sum::<usize>()
        .min(IN_FLIGHT)
}

async fn send(
    mut connection: MultiplexedConnection,
    batch: Vec<Outgoing>,
) -> (Vec<Outgoing>, Result<Vec<Value>, RedisError>) {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    for outgoing in &batch {
        let publish = pipeline.cmd("PUBLISH").arg(&*outgoing.channel);
        if outgoing.piece.head.is_empty() {
            publish.arg(&outgoing.piece.body[..]);
        } else {
            publish.arg(&outgoing.piece.bytes()[..]);
        }
    }
    let answers = connection.send_packed_commands(&pipeline, 0, batch.len());
    let answers = answers.await;
    (batch, answers)
}

/// Passes the answers on. An error is one of the connection, or of the server as a whole.
fn settle(
    outbox: &Outbox,
    batch: Vec<Outgoing>,
    answers: Result<Vec<Value>, RedisError>,
) -> Result<(), TransportError> {
    const STEP: &str = "publishing";
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => {
            let error = TransportError::redis(STEP, &error);
            for outgoing in batch {
                outbox.answer(outgoing, Err(error.clone()));
            }
            return Err(error);
        }
    };
    let mut answers = answers.into_iter();
    let mut fault = None;
    for outgoing in batch {
        let answer = match answers.next() {
            Some(Value::Int(receivers)) => Ok(u64::try_from(receivers).unwrap_or_default()),
            Some(Value::ServerError(said)) => Err(TransportError::redis(STEP, &said.into())),
            _ => Err(TransportError::Closed),
        };
        if let Err(error) = &answer
            && !error.is_refusal()
        {
            fault.get_or_insert_with(|| error.clone());
        }
        outbox.answer(outgoing, answer);
    }
    fault.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn a_refusal_is_one_messages_and_a_fault_is_everybodys() {
        let refused = redis::make_extension_error("NOPERM".to_owned(), Some("no".to_owned()));
        let refused = TransportError::redis("publishing", &refused);
        assert!(refused.is_refusal());
        let outbox = Outbox::new(1, PIECE);
        let receipts = [0, 1].map(|_| outbox.publish("a", Bytes::from_static(b"x"), false));
        let batch = outbox.batch(usize::MAX).await;
        settle(&outbox, batch, Ok(vec![Value::Int(3), Value::Int(0)])).unwrap();
        for (receipt, receivers) in receipts.into_iter().zip([3, 0]) {
            assert_eq!(receipt.await.unwrap(), receivers);
        }
        let receipt = outbox.publish("a", Bytes::from_static(b"x"), false);
        let batch = outbox.batch(usize::MAX).await;
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(settle(&outbox, batch, Err(lost.into())).is_err());
        assert!(receipt.await.is_err());
    }
}
