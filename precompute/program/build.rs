//! Finds the commit and the day of the sources, for `--version`.
//!
//! The commit is OSTIA_COMMIT, or else what git says where there is a repository, or else what `git archive` has written
//! into `commit.txt`. The day is that of SOURCE_DATE_EPOCH, or else the commit's. Without all of these, as in sources
//! that somebody has copied, the version stands alone. A development build does not ask git, so that a commit rebuilds
//! nothing.

use std::{
    env, fs,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

fn main() {
    for variable in ["OSTIA_COMMIT", "SOURCE_DATE_EPOCH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=commit.txt");
    let given = |variable| env::var(variable).ok().filter(|value| !value.trim().is_empty());
    let is_release = given("PROFILE").as_deref() == Some("release");
    let origin = (is_release.then(of_git).flatten()).or_else(of_archive);
    let commit = given("OSTIA_COMMIT").or_else(|| origin.as_ref().map(|(commit, _)| commit.clone()));
    let seconds = given("SOURCE_DATE_EPOCH").and_then(|seconds| seconds.trim().parse().ok());
    let day = seconds.or(origin.map(|(_, seconds)| seconds)).map(day_of);
    let short = commit.map(|commit| commit.trim().chars().filter(char::is_ascii_alphanumeric).take(12).collect());
    let short: String = short.unwrap_or_default();
    let details = match (short.is_empty(), &day, is_release) {
        (false, Some(day), _) => format!(" ({short}, {day})"),
        (false, None, _) => format!(" ({short})"),
        (true, Some(day), true) => format!(" ({day})"),
        (true, None, true) => String::new(),
        (true, _, false) => " (development build)".to_owned(),
    };
    println!("cargo:rustc-env=OSTIA_COMMIT_SHORT={short}");
    let now = || day_of(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    println!("cargo:rustc-env=OSTIA_PAGE_DAY={}", day.clone().unwrap_or_else(now));
    println!("cargo:rustc-env=OSTIA_DAY={}", day.unwrap_or_default());
    println!("cargo:rustc-env=OSTIA_DETAILS={details}");
}

/// The commit that is checked out and when it was made. It is asked again when another one is.
fn of_git() -> Option<(String, u64)> {
    let said = git(&["show", "-s", "--format=%H %ct", "HEAD"])?;
    // A commit changes the file of its branch; a change of branches, HEAD.
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(file) = git(&["rev-parse", "--git-path", name]).filter(|file| fs::metadata(file).is_ok()) {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    parse(&said)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let said = String::from_utf8(output.stdout).ok()?;
    Some(said.trim().to_owned()).filter(|said| !said.is_empty())
}

/// What `git archive` has put in place of the format.
fn of_archive() -> Option<(String, u64)> {
    parse(&fs::read_to_string("commit.txt").ok()?)
}

fn parse(text: &str) -> Option<(String, u64)> {
    let (commit, seconds) = text.trim().split_once(' ')?;
    let is_commit = commit.len() >= 12 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    is_commit.then_some((commit.to_owned(), seconds.parse().ok()?))
}

/// The day in UTC of seconds since 1970, as `2026-11-30`: the days are counted from 1 March of the year 0, so that the
/// leap day is a year's last.
fn day_of(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", of_year - (153 * from_march + 2) / 5 + 1)
}
