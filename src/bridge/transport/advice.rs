//! What to do about what a server says.

/// What to do when Redis answers with this error. The first word is its code.
pub(super) fn redis(code: &str, said: &str) -> &'static str {
    match code {
        "NOAUTH" => "it wants a password: write it into bridge.secret_file",
        "WRONGPASS" => {
            "the user or the password is wrong: look at bridge.url and bridge.secret_file"
        }
        "NOPERM" => {
            "the user lacks a right: `ACL SETUSER <user> +publish +subscribe +psubscribe +unsubscribe +punsubscribe \
             +ping +role +hello +auth +client|setname +pubsub|numsub resetchannels &my-app/*`, with the channels of \
             bridge.prefix and, for emitters, of bridge.emitter_prefix"
        }
        "LOADING" => "it reads its data after a start; that ends by itself",
        "READONLY" | "MASTERDOWN" => "it is a replica: connect to the primary",
        "MISCONF" => "it cannot save to its disk: look for space there, and at its log",
        "OOM" => "its memory is full: raise its maxmemory, or find what fills it",
        "DENIED" => {
            "it is in protected mode: give it a password (requirepass), or bind it to a private address and set \
             protected-mode no"
        }
        "CLUSTERDOWN" => "look at the cluster's state: redis-cli cluster info",
        _ if said.contains("max number of clients") => {
            "raise its maxclients, or find who holds so many connections (CLIENT LIST)"
        }
        _ if said.contains("unknown command") => {
            "it is no Redis of version 6 or later, or the command has been disabled"
        }
        _ => "its log may say more",
    }
}

/// What to do when Postgres answers with this error (its appendix A, "Error Codes").
pub(super) fn postgres(code: &str, said: &str) -> &'static str {
    match code {
        "28P01" => "the password or the user is wrong: look at bridge.url and bridge.secret_file",
        "28000" if said.contains("pg_hba.conf") => {
            "allow this machine, user and database in the server's pg_hba.conf, then reload it"
        }
        "28000" => "make that role (createuser), or write another user into bridge.url",
        "3D000" => "make that database (createdb), or write another one into bridge.url",
        "53100" => "its disk is full: make room there; until then it passes nothing on",
        "53300" => {
            "raise its max_connections, or find who holds so many (pg_stat_activity); a bridge needs two"
        }
        "57P03" => "it starts, stops or recovers; that ends by itself",
        "57P01" | "57P02" => {
            "somebody ended this session or the server; the bridge comes back by itself"
        }
        "25006" => "it is a standby: connect to the primary",
        "42501" => "the user lacks a right: GRANT CONNECT ON DATABASE to it",
        "54000" | "55000" if said.contains("NOTIFY queue") => {
            "a session that listens does not read, and all of NOTIFY waits for it: end it \
             (pg_stat_activity, pg_notification_queue_usage())"
        }
        "08P01" if said.contains("startup parameter") => {
            "a pooler is between: connect to the server itself, or see its ignore_startup_parameters"
        }
        _ => "its log may say more",
    }
}
