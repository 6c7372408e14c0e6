//! What the manual of `ostia-responder` says beside its options. It does not know these.

use clap::Command;
use precompute::cli::{ENVIRONMENT, FILES};
use program::{Exit, Manual, statuses_in_words};

const STATUSES: [Exit; 5] = [Exit::Done, Exit::Failed, Exit::Usage, Exit::NotInOrder, Exit::Rejected];

const EXAMPLES: &str = "\
Examples:
  Make a small CA, serve it, and see commands to try:
    ostia-responder demo

  Check a configuration, and run the service with it:
    ostia-responder check --strict /etc/ostia/ostia.toml
    ostia-responder serve /etc/ostia/ostia.toml

  Take this server out of its balancers' rotation, and back:
    ostia-responder drain
    ostia-responder drain --end";

/// What `check --help` ends with.
pub(super) const CHECK: &str = "\
Examples:
  As a step before a start or a reload, where warnings count:
    ostia-responder check --strict /etc/ostia/ostia.toml

  For a program that reads what is wrong:
    ostia-responder check --json /etc/ostia/ostia.toml | jq -r '.problems[] | .severity + \": \" + .message'";

/// What `--help` ends with.
pub(super) fn of_program() -> String {
    format!("{EXAMPLES}\n\n{}", statuses_in_words(&STATUSES))
}

/// The manual of a command line.
pub(super) fn of(command: Command) -> Manual {
    let see_also = &["ostia-precompute(1)", "ostia-loadtest(1)", "openssl-ocsp(1)", "openssl-ts(1)", "systemd.exec(5)"];
    Manual { command, statuses: &STATUSES, environment: ENVIRONMENT, files: FILES, see_also }
}
