//! The `provision` program. Everything is in the library; here is only its entrance.

use std::process::ExitCode;

fn main() -> ExitCode {
    provision::cli::main()
}
