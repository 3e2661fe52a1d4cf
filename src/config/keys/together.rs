//! What no value breaks by itself.

use super::{Problem, Reader};

impl Reader<'_> {
    /// The rules that no value breaks by itself.
    pub(super) fn check_together(&mut self) {
        self.check_worker_listen();
        let engine = &self.config.engine;
        let everybody = engine.cors_origins.iter().any(|origin| origin == "*");
        let key = "engine.cors_credentials";
        if let Some(span) = self
            .given
            .get(key)
            .filter(|_| everybody && engine.cors_credentials)
        {
            // The Fetch standard, "CORS protocol and credentials".
            let text = "browsers refuse credentials together with cors_origins = [\"*\"]; \
                        list the origins";
            let problem = Problem {
                span: span.clone(),
                text: text.to_owned(),
            };
            self.blame(key, vec![problem]);
        }
        let bridge = &self.config.bridge;
        let postgres = bridge.url.as_ref().is_some_and(|url| !url.is_redis());
        let key = "bridge.node";
        if let Some(span) = self.given.get(key).filter(|_| postgres && bridge.node) {
            let problem = Problem {
                span: span.clone(),
                text: "Node's servers speak to each other over Redis, and bridge.url is a Postgres"
                    .to_owned(),
            };
            self.blame(key, vec![problem]);
        }
    }

    /// Each worker needs a port, and one that nobody else is to have.
    fn check_worker_listen(&mut self) {
        const KEY: &str = "worker_listen";
        let (Some(ports), Some(span)) = (&self.config.worker_listen, self.given.get(KEY)) else {
            return;
        };
        let workers = self.config.worker_count();
        let text = if ports.last_port(workers).is_none() {
            format!("{workers} workers need as many ports, and there are 65535; choose a lower one")
        } else if let Some(other) = self
            .config
            .listen
            .iter()
            .find(|it| ports.overlaps(it, workers))
        {
            format!(
                "one of the {workers} workers' ports would be {other}, which listen has; choose another"
            )
        } else {
            return;
        };
        let span = span.clone();
        self.blame(KEY, vec![Problem { span, text }]);
    }
}
