//! What is said of a directory's files that list nobody.
//!
//! Invariant: each kind is told when there is the first of it, with its name, and again when there are ten times as many: a
//! directory that two CAs share fills no log. No content of a file is shown. It does not know why files are there.

use std::path::Path;

use tracing::{info, warn};

use super::catalogue::{Catalogue, Kind};

/// What was told.
#[derive(Default, Debug)]
pub(super) struct Told {
    counts: [u64; Kind::COUNT],
    subdirectories: u64,
    is_empty: bool,
}

impl Told {
    /// Tells what is new.
    pub(super) fn tell(&mut self, path: &Path, catalogue: &Catalogue, subdirectories: u64) {
        let path = path.display();
        for kind in [Kind::Broken, Kind::Foreign, Kind::Other] {
            let count = catalogue.count(kind);
            if is_news(&mut self.counts[kind as usize], count)
                && let Some(remark) = remark(catalogue, kind)
            {
                if kind == Kind::Broken { warn!("{path}: {remark}") } else { info!("{path}: {remark}") }
            }
        }
        if is_news(&mut self.subdirectories, subdirectories) {
            info!("{path}: {}", of_subdirectories(subdirectories));
        }
        let is_empty = catalogue.is_empty();
        if is_empty && !std::mem::replace(&mut self.is_empty, is_empty) {
            warn!("{path}: {NOBODY}");
        }
        self.is_empty = is_empty;
    }
}

const NOBODY: &str =
    "lists nobody: no file in it is a certificate of this CA, or named by a serial number; is it the right directory?";

fn is_news(told: &mut u64, count: u64) -> bool {
    if count == 0 {
        *told = 0;
    }
    let is_news = count > 0 && (*told == 0 || count >= *told * 10);
    if is_news {
        *told = count;
    }
    is_news
}

/// All of it, in lines.
pub(super) fn remarks(catalogue: &Catalogue, subdirectories: u64) -> Vec<String> {
    let (own, named) = (catalogue.count(Kind::Own), catalogue.count(Kind::Named));
    let mut lines = vec![format!("{own} files have certificates of this CA, and {named} are named by serial numbers")];
    lines.extend([Kind::Foreign, Kind::Broken, Kind::Other].into_iter().filter_map(|kind| remark(catalogue, kind)));
    lines.extend((subdirectories > 0).then(|| of_subdirectories(subdirectories)));
    lines.extend((catalogue.is_empty()).then(|| NOBODY.to_owned()));
    lines
}

fn of_subdirectories(count: u64) -> String {
    format!("{count} subdirectories are not looked into")
}

fn remark(catalogue: &Catalogue, kind: Kind) -> Option<String> {
    let count = catalogue.count(kind);
    if count == 0 {
        return None;
    }
    let (name, problem) = catalogue.example(kind)?;
    let name = name.to_string_lossy();
    let name = name.escape_debug();
    Some(match kind {
        Kind::Foreign => {
            format!("{count} files have certificates of other CAs alone, which say nothing here, such as `{name}`")
        }
        Kind::Broken => format!(
            "{count} files cannot be read, and their certificates are not listed, such as `{name}`: it {problem}"
        ),
        _ => format!("{count} files are passed over, such as `{name}`: it {problem}"),
    })
}
