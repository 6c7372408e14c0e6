//! `ostia-precompute`: the command line for the book, keys and signing ahead.

use std::process::ExitCode;

use clap::Parser as _;
use precompute::{cli, ending::Ending};

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let ended = Ending::watch().map_err(Into::into).and_then(|_ending| cli::run(arguments));
    cli::end("ostia-precompute", &ended)
}
