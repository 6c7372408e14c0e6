//! `ostia-responder`: arguments, log, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use precompute::{config::ConfigError, ending::Ending, output::complain};

fn main() -> ExitCode {
    let arguments = responder::cli::Arguments::parse();
    precompute::log::start();
    let ended = Ending::watch().map_err(Into::into).and_then(|_ending| responder::cli::run(arguments));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("ostia-responder", &error);
            // EX_CONFIG of sysexits(3): the unit does not start it again, since each start tries the PINs of tokens, and
            // a wrong one locks them. A check that finds no more than tokens out of reach, which a start does without,
            // fails otherwise: it may be what the unit does first. So does what is wrong with the state directory or the
            // record: a disk that is mounted late or freed mends it without the file, and no PIN is wrong meanwhile.
            let refused = error.downcast_ref::<ConfigError>().is_some_and(|error| !error.may_pass());
            if refused { ExitCode::from(78) } else { ExitCode::FAILURE }
        }
    }
}
