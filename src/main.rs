//! The command `v2m-engine`.

use std::process::ExitCode;

fn main() -> ExitCode {
    v2m_engine::cli::main()
}
