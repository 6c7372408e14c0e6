//! `ostia-responder`: arguments, log, exit code.
#![allow(clippy::print_stderr)] // errors are for the user

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = responder::cli::Arguments::parse();
    precompute::log::start();
    match responder::cli::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ostia-responder: {error}");
            ExitCode::FAILURE
        }
    }
}
