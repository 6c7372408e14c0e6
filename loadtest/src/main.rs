//! `ostia-loadtest`: a load generator and verifier for OCSP and RFC 3161 time-stamping servers.
//!
//! It speaks both protocols with an encoder and a parser of its own, shared with no server, so that a mistake in one is
//! not repeated in the other. In the order in which a run passes through it:
//!
//! `cli` (as written) → `config` (as understood; `population`, `certificate`) → `run` → `engine` (threads, connections,
//! pace) with `ocsp` or `tsa` (requests written, answers judged) over `http` → `proof` (signatures, on threads of their
//! own) → `report`. `lag` measures how fast a revocation spreads. Beneath lie `der`, `oid`, `time`, `hash`, `hex`,
//! `draw` and `signature`.
//!
//! Nothing here trusts what arrives: parsers are total, sizes bounded by `limits`, and a doubtful connection is closed.

mod certificate;
mod cli;
mod config;
mod der;
mod draw;
mod engine;
mod expect;
mod hash;
mod hex;
mod http;
mod lag;
mod limits;
mod ocsp;
mod oid;
mod outcome;
mod population;
mod problem;
mod proof;
mod report;
mod run;
mod signature;
mod time;
mod tsa;

#[cfg(test)]
mod testing;

use clap::Parser as _;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = run::run(cli::Cli::parse()).unwrap_or_else(|run::Stop(exit, problem)| {
        // If standard error is closed, the exit status still speaks.
        let _ = writeln!(std::io::stderr(), "ostia-loadtest: {problem}");
        exit
    });
    exit.into()
}
