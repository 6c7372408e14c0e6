//! `ostia-precompute`: the book's command line.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = precompute::cli::Arguments::parse();
    precompute::log::start();
    match precompute::cli::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            precompute::output::complain("ostia-precompute", error);
            ExitCode::FAILURE
        }
    }
}
