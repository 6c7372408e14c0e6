//! `ostia-responder`: arguments, exit code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let outcome = responder::cli::run(responder::cli::Arguments::parse());
    if let Err(error) = &outcome {
        precompute::output::complain("ostia-responder", error);
    }
    responder::cli::exit_code(&outcome)
}
