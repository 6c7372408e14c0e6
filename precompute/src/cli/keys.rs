//! `ostia-precompute keys`: checks the signing keys, or makes one, or that of a writer.

mod check;
mod feed;
mod generate;

use clap::Subcommand;

use super::config_file::ConfigFile;

#[derive(Subcommand, Debug)]
pub(super) enum Keys {
    /// Let every key of a configuration sign for half a second, and list its issuer, certificate, expiry and speed. Fails
    /// if one does not sign. The responder may keep running.
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Make a key, in a file or on a PKCS#11 token, and the request (PKCS#10) for its certificate.
    Generate(generate::Arguments),
    /// Make the key of a writer of a feed, and its public key for `trusted`.
    Feed(feed::Arguments),
}

pub(super) fn run(command: Keys) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Keys::Check { config } => check::run(&config.path()),
        Keys::Generate(arguments) => generate::run(&arguments),
        Keys::Feed(arguments) => feed::run(&arguments),
    }
}
