//! `ostia-precompute`: the command line for the book, keys and signing ahead.

use std::process::ExitCode;

use clap::Parser as _;
use precompute::{ending::Ending, output::complain};

fn main() -> ExitCode {
    let arguments = precompute::cli::Arguments::parse();
    arguments.start_log();
    let ended = Ending::watch().map_err(Into::into).and_then(|_ending| precompute::cli::run(arguments));
    if let Err(error) = &ended {
        complain("ostia-precompute", error);
    }
    precompute::cli::exit_code(&ended)
}
