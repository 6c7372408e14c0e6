//! `ostia-precompute server list`.
//!
//! It asks Redis, so that it works on any machine of the cluster, also while every writer is dead. It does not know how a list is
//! made.

use std::error::Error;

use clap::Args;

use super::{super::config_file::ConfigFile, membership};
use crate::{
    feed::servers::{Roster, Seen},
    output::{Painted, doubtful, say, well, wrong},
};

/// Which cluster, and how to tell.
#[derive(Args, Debug)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    config: ConfigFile,
    /// Print JSON, with addresses, keys and configurations.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let (_, membership) = membership(&self.config.path(), false)?;
        let roster = membership.look()?;
        if self.json {
            return Ok(say(serde_json::to_string_pretty(&roster.json())?)?);
        }
        lines(&roster).into_iter().try_for_each(say)?;
        Ok(())
    }
}

const HEADINGS: [&str; 9] =
    ["name", "id", "role", "state", "heard", "version", "place in the feed", "configuration", "addresses"];
/// The column of the state, which has a colour.
const STATE: usize = 3;

fn lines(roster: &Roster) -> Vec<String> {
    let rows: Vec<[String; 9]> = roster.servers.iter().map(row).collect();
    let width = |column: usize| {
        let of_rows = rows.iter().map(|row| row[column].chars().count());
        of_rows.chain([HEADINGS[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 9] = std::array::from_fn(width);
    let line = |cells: &[String; 9]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let padding = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            let painted = if column == STATE { painted(cell) } else { cell.clone() };
            format!("{painted}{padding}")
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    if rows.is_empty() {
        return vec!["no server of this cluster has said who it is; servers of an earlier version do not".to_owned()];
    }
    let mut lines = vec![line(&HEADINGS.map(str::to_owned))];
    for (row, seen) in rows.iter().zip(&roster.servers) {
        lines.push(line(row));
        lines.extend(seen.complaints.iter().map(|complaint| format!("  {}: {complaint}", doubtful("warning"))));
    }
    if roster.refused > 0 {
        lines.push(format!(
            "{}: {} places hold something that no server of this cluster has signed",
            doubtful("warning"),
            roster.refused
        ));
    }
    lines
}

fn painted(state: &str) -> String {
    let painted: Painted<&str> = match state {
        "live" => well(state),
        "stopped" | "live, draining" => doubtful(state),
        _ => wrong(state),
    };
    painted.to_string()
}

fn row(seen: &Seen) -> [String; 9] {
    let said = &seen.notice.said;
    let place = said.position.clone().unwrap_or_else(|| "nowhere yet".to_owned());
    let place = said.freshness.as_ref().map_or(place.clone(), |freshness| format!("{place}, {freshness}"));
    let configuration = &said.configuration;
    let digest = configuration.digest.as_ref().map(|digest| digest.chars().take(8).collect::<String>());
    let digest = digest.unwrap_or_else(|| "unknown".to_owned());
    let addresses = &said.addresses;
    let public = addresses.http.iter().chain(&addresses.tls).chain(&addresses.api_url);
    let admin = addresses.admin.iter().map(|admin| format!("admin {admin}"));
    [
        said.name.clone(),
        seen.notice.server.to_string().chars().take(8).collect(),
        said.role.in_words().to_owned(),
        if said.draining && seen.lives() { format!("{}, draining", seen.state()) } else { seen.state().to_owned() },
        ago(seen.silence.as_secs()),
        said.version.clone(),
        place,
        configuration.version.map_or(digest.clone(), |version| format!("{version} ({digest})")),
        public.cloned().chain(admin).collect::<Vec<_>>().join(", "),
    ]
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
