//! `ostia-responder`: arguments, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use precompute::ending::Ending;

fn main() -> ExitCode {
    let arguments = responder::cli::Arguments::parse();
    let outcome = Ending::watch().map_err(Into::into).and_then(|_ending| responder::cli::run(arguments));
    precompute::cli::end("ostia-responder", &outcome)
}
