//! The server between the machines: Redis or Postgres.
