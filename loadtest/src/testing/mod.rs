//! What the tests are made with: an authority that can lie ([`forge`]) and a server that can misbehave ([`server`]);
//! and the tests that need the whole program: tables of wrong answers, each of which must be caught and counted under
//! its kind.

pub(crate) mod forge;
mod ocsp_table;
pub(crate) mod server;
mod transport;
mod tsa_table;

use crate::cli::{Cli, Command};
use crate::config::{OcspPlan, TsaPlan};
use crate::report::Report;
use crate::run;
use crate::time::UnixNanos;
use clap::Parser as _;

/// Runs a whole command, up to the report.
pub(crate) fn report_of(arguments: &[&str]) -> Report {
    let cli = Cli::try_parse_from(["ostia-loadtest"].iter().chain(arguments)).unwrap();
    match &cli.command {
        Command::Ocsp(args) => run::ocsp(&OcspPlan::new(args, UnixNanos::now().seconds()).unwrap(), true).unwrap(),
        Command::Tsa(args) => run::tsa(&TsaPlan::new(args).unwrap(), true).unwrap(),
        Command::Lag(_) => unreachable!("lag runs commands; its tests drive the program"),
    }
}

/// The kinds of a report, for comparison.
pub(crate) fn kinds(report: &Report) -> Vec<(&'static str, u64)> {
    report.kinds.iter().map(|(name, n)| (*name, *n)).collect()
}
