//! What the tests are made with: an authority that can lie ([`forge`]) and a server that can misbehave ([`server`]);
//! and the tests that need the whole program: tables of wrong answers, each of which must be caught and counted under
//! its kind.

pub(crate) mod forge;
mod ocsp_table;
mod push_table;
mod replica_table;
pub(crate) mod server;
mod transport;
mod tsa_table;

use crate::cli::{Cli, Command};
use crate::config::{LagPlan, OcspPlan, TsaPlan};
use crate::lag;
use crate::problem::Problem;
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
        Command::Lag(args) => lag::run(&LagPlan::new(args).unwrap(), &mut |_| {}).unwrap(),
        Command::GenerateDocs { .. } => unreachable!("it reports nothing"),
    }
}

/// Runs `lag` up to the report, or to what keeps it from that.
pub(crate) fn lag_of(arguments: &[&str]) -> Result<Report, Problem> {
    let cli = Cli::try_parse_from(["ostia-loadtest", "lag"].iter().chain(arguments)).unwrap();
    let Command::Lag(args) = &cli.command else { unreachable!("the first argument is lag") };
    lag::run(&LagPlan::new(args)?, &mut |_| {})
}

/// The kinds of a report, for comparison.
pub(crate) fn kinds(report: &Report) -> Vec<(&'static str, u64)> {
    report.kinds.iter().map(|(name, n)| (*name, *n)).collect()
}
