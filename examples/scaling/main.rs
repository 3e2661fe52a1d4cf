//! What breaks first on the way to many machines: docs/SCALING.md. No server is started; everything is computed.
//!
//! ```text
//! cargo run --example scaling -- --machines 100
//! cargo run --example scaling -- --machines 100 --sessions 50000 --every 10 --fan-out 200 --workers 8
//! cargo run --example scaling -- --machines 100 --sessions 2000000 --in-all
//! cargo run --example scaling -- --machines 20 --bus postgres
//! ```

mod model;
mod options;

use std::io::Write as _;

fn main() {
    let (machines, load, costs) =
        options::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let table = model::table(machines, &load, &costs);
    // Writing fails when nobody reads any more.
    let _ = std::io::stdout().lock().write_all(table.as_bytes());
}
