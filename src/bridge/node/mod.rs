//! The wire of the classic Redis adapter, spoken with Node servers.
