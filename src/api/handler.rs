//! Handlers of events, in tasks that know whose event they handle.

use std::future::Future;
use std::sync::Arc;

use socketioxide::handler::{FromMessage, FromMessageParts, MessageHandler};
use socketioxide::socket::Socket;
use socketioxide_core::{Sid, Value};
use tracing::debug;

use super::Adapter;
use crate::bus::asking;
use crate::metrics::Timer;

/// A handler whose questions to the cluster are its socket's: what socketioxide takes as a handler.
#[derive(Debug, Clone, Copy)]
pub struct Attributed<H>(pub(super) H);

/// Runs a handler in a task. That of most has nothing to carry but the handler.
fn spawn(id: Sid, handler: impl Future<Output = ()> + Send + 'static, timer: Option<Timer>) {
    match timer {
        Some(timer) => drop(tokio::spawn(asking(id, timer.measure(handler)))),
        None => drop(tokio::spawn(asking(id, handler))),
    }
}

impl<F, Fut> MessageHandler<Adapter, ()> for Attributed<F>
where
    F: FnOnce() -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn call(&self, socket: Arc<Socket<Adapter>>, _: Value, _: Option<i64>) {
        let timer = Timer::of_an_event();
        let Self(handler) = self.clone();
        spawn(socket.id, handler(), timer);
    }
}

/// For handlers with arguments, the last of which may take the event's value.
macro_rules! attributed {
    ($($argument:ident),*; $last:ident) => {
        #[diagnostic::do_not_recommend]
        impl<F, M, $($argument,)* $last, Fut> MessageHandler<Adapter, (M, $($argument,)* $last,)>
            for Attributed<F>
        where
            F: FnOnce($($argument,)* $last,) -> Fut + Send + Sync + Clone + 'static,
            Fut: Future<Output = ()> + Send + 'static,
            $($argument: FromMessageParts<Adapter> + Send,)*
            $last: FromMessage<Adapter, M> + Send,
        {
            #[allow(non_snake_case, unused_mut, reason = "arguments have the names of their types")]
            fn call(&self, socket: Arc<Socket<Adapter>>, mut value: Value, ack: Option<i64>) {
                let timer = Timer::of_an_event();
                let id = socket.id;
                $(
                    let $argument = match $argument::from_message_parts(&socket, &mut value, &ack) {
                        Ok(argument) => argument,
                        Err(error) => return debug!(%error, "not what the event's handler takes"),
                    };
                )*
                match $last::from_message(socket, value, ack) {
                    Ok(last) => {
                        let Self(handler) = self.clone();
                        spawn(id, handler($($argument,)* last), timer);
                    }
                    Err(error) => debug!(%error, "not what the event's handler takes"),
                }
            }
        }
    };
}

attributed!(; T1);
attributed!(T1; T2);
attributed!(T1, T2; T3);
attributed!(T1, T2, T3; T4);
attributed!(T1, T2, T3, T4; T5);
attributed!(T1, T2, T3, T4, T5; T6);
attributed!(T1, T2, T3, T4, T5, T6; T7);
attributed!(T1, T2, T3, T4, T5, T6, T7; T8);
