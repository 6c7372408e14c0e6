//! `ostia-precompute keys`: the keys that sign, tried and made.

mod check;
mod generate;

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub(super) enum Keys {
    /// Have every key of a configuration sign for half a second each, and list whose they are, until when they may sign
    /// and how fast they do. Fails where one does not sign. The responder may go on meanwhile.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make a key, in a file or on a PKCS#11 token, and a request (PKCS#10) with which the CA issues its certificate.
    Generate(generate::Arguments),
}

pub(super) fn run(command: Keys) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Keys::Check { config } => check::run(&config),
        Keys::Generate(arguments) => generate::run(&arguments),
    }
}
