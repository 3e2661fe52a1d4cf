//! The server with the application of [`my_app::app`].

use std::process::ExitCode;

fn main() -> ExitCode {
    my_app::main(my_app::app::APP)
}
