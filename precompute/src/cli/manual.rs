//! What the manual of `ostia-precompute` says beside its options.
//!
//! Variables and files are those of both programs that take a configuration. It does not know the options.

use clap::Command;
use program::{Exit, Manual, statuses_in_words};

/// The exit statuses of a program that takes a configuration.
const STATUSES: [Exit; 5] = [Exit::Done, Exit::Failed, Exit::Usage, Exit::NotInOrder, Exit::Rejected];

/// The variables that both programs read.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("OSTIA_CONFIG", "The configuration file, where the command line names none."),
    (
        "OSTIA_TOKEN_FILE",
        "The file with the token that is shown to the running service, where the command line names none, before the one of the configuration.",
    ),
    (
        "OSTIA_LOG",
        "What is logged: a level (off, error, warn, info, debug, trace), or levels of parts such as info,responder=debug. By default info. A wrong value is rejected.",
    ),
    (
        "OSTIA_LOG_FORMAT",
        "The form of the log: text, json, or journal (text with the priorities of sd-daemon(3)). By default text on a terminal, journal where standard error is the journal, else json.",
    ),
    ("NO_COLOR, CLICOLOR_FORCE", "No colours on a terminal; colours anywhere."),
    ("CREDENTIALS_DIRECTORY", "Where systemd has put credentials that the configuration names."),
];

/// The files that both programs know without being told.
pub const FILES: &[(&str, &str)] = &[
    ("/etc/ostia/ostia.toml", "The configuration, if neither the command line nor OSTIA_CONFIG names another."),
    (
        "state_dir",
        "The directory that the configuration names: book.redb has every record, answers.redb the answers signed ahead, fetched what was read from elsewhere.",
    ),
];

const EXAMPLES: &str = "\
Examples:
  Check a configuration, and have warnings count:
    ostia-precompute check --strict /etc/ostia/ostia.toml

  Revoke a certificate at the running service, and look:
    ostia-precompute revoke --reason keyCompromise 0A1B
    ostia-precompute status 0A1B

  Make a key and the request for its certificate:
    ostia-precompute keys generate --key ocsp.key --algorithm p256 --purpose ocsp \\
        --subject 'CN=OCSP signer' --csr ocsp.csr

  Back the book up while the service runs:
    ostia-precompute snapshot --to book.backup";

/// What `check --help` ends with.
pub(super) const CHECK: &str = "\
Examples:
  As a step before a start, where warnings count:
    ostia-precompute check --strict /etc/ostia/ostia.toml

  For a program that reads what is wrong:
    ostia-precompute check --json /etc/ostia/ostia.toml | jq -r '.problems[] | .severity + \": \" + .message'";

/// What `--help` ends with.
pub(super) fn of_program() -> String {
    format!("{EXAMPLES}\n\n{}", statuses_in_words(&STATUSES))
}

/// The manual of a command line.
pub(super) fn of(command: Command) -> Manual {
    let see_also = &["ostia-responder(1)", "ostia-loadtest(1)", "openssl-ca(1)", "systemd.exec(5)"];
    Manual { command, statuses: &STATUSES, environment: ENVIRONMENT, files: FILES, see_also }
}
