//! Manual pages and shell completions, made from the command line itself.
//!
//! Invariant: every command that is not hidden has a page, and each page has the same sections; so an option cannot be
//! missing in it. Examples and notes are what `--help` ends with: lines in sections, each under a line that ends with a colon.
//! A command without examples gets those of its program. Files and variables are passed in.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::Path,
};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::{Exit, VERSION, version::PAGE_DAY};

/// The manual of one program.
#[derive(Debug)]
pub struct Manual {
    /// Its command line.
    pub command: Command,
    /// The exit statuses that it has.
    pub statuses: &'static [Exit],
    /// Variables with their meaning.
    pub environment: &'static [(&'static str, &'static str)],
    /// Files with their meaning.
    pub files: &'static [(&'static str, &'static str)],
    /// Pages of other programs, such as `openssl-ocsp(1)`.
    pub see_also: &'static [&'static str],
}

/// The section with the command's usage. clap's own leaves out the values of options.
fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let options = command.get_opts().filter(|option| !option.is_hide_set() && !option.is_required_set());
    // Those that may stand in place of something else are there already.
    let is_new = |option: &&clap::Arg| option.get_long().is_none_or(|long| !usage.contains(&format!("--{long}")));
    let options: Vec<_> = options.filter(is_new).map(|option| format!("[{option}]")).collect();
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let rest = usage.strip_prefix(name).unwrap_or(usage).replace("[OPTIONS]", &options.join(" "));
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).text([bold(name), roman(" "), roman(rest.trim())]);
    roff
}

impl Manual {
    /// Writes `man/*.1` and `completions/{bash,zsh,fish}/*` below a directory, which is made. The error names it.
    pub fn write(self, dir: &Path) -> Result<(), Box<dyn Error>> {
        self.write_below(dir).map_err(|error| format!("{}: cannot be written: {error}", dir.display()).into())
    }

    fn write_below(mut self, dir: &Path) -> io::Result<()> {
        let name = self.command.get_name().to_owned();
        // Shells look for the file by the program's name, each in a form of its own.
        for (shell, file) in
            [(Shell::Bash, name.clone()), (Shell::Zsh, format!("_{name}")), (Shell::Fish, format!("{name}.fish"))]
        {
            let place = dir.join("completions").join(shell.to_string());
            fs::create_dir_all(&place)?;
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut self.command.clone(), &name, &mut script);
            let script = String::from_utf8_lossy(&script).into_owned();
            fs::write(place.join(file), if shell == Shell::Bash { self.bash(&script) } else { script })?;
        }
        let place = dir.join("man");
        fs::create_dir_all(&place)?;
        self.command = self.command.disable_help_subcommand(true);
        self.command.build();
        self.pages(&self.command, true, &place)
    }

    /// A script for bash in which the commands below a program with a hyphen in its name are found
    /// (<https://github.com/clap-rs/clap/issues/6421>), and which does not offer hidden ones.
    fn bash(&self, script: &str) -> String {
        let name = self.command.get_name();
        let script = script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"));
        let hidden: Vec<_> = self.command.get_subcommands().filter(|command| command.is_hide_set()).collect();
        let offered = |line: &str| match line.trim_start().starts_with("opts=") {
            true => hidden
                .iter()
                .fold(line.to_owned(), |line, hidden| line.replace(&format!(" {} ", hidden.get_name()), " ")),
            false => line.to_owned(),
        };
        script.lines().map(|line| offered(line) + "\n").collect()
    }

    /// Writes the page of a command and those of the commands below it.
    fn pages(&self, command: &Command, is_program: bool, dir: &Path) -> io::Result<()> {
        let below: Vec<_> = command.get_subcommands().filter(|below| !below.is_hide_set()).collect();
        let mut page = Vec::new();
        self.page(command, is_program, &below, &mut page)?;
        // How clap_mangen separates an option's values from its text, in the form without a break that does nothing.
        let page = String::from_utf8_lossy(&page).replace("\n.br\n\n.br\n", "\n.sp\n");
        fs::write(dir.join(format!("{}.1", page_name(command))), page)?;
        below.into_iter().try_for_each(|command| self.pages(command, false, dir))
    }

    fn page(&self, command: &Command, is_program: bool, below: &[&Command], out: &mut impl Write) -> io::Result<()> {
        // The version is in the footer of each page, and is no option of a command.
        let man = Man::new(command.clone())
            .title(page_name(command).to_uppercase())
            .date(PAGE_DAY)
            .source(format!("Ostia {VERSION}"))
            .manual("Ostia");
        man.render_title(out)?;
        // Names of pages and options are long: neither stretched nor hyphenated.
        out.write_all(b".ad l\n.nh\n")?;
        man.render_name_section(out)?;
        synopsis(command).to_writer(out)?;
        man.render_description_section(out)?;
        man.render_options_section(out)?;
        if !below.is_empty() {
            man.render_subcommands_section(out)?;
        }
        let mut more = Roff::new();
        self.statuses(&mut more);
        list(&mut more, "ENVIRONMENT", self.environment);
        list(&mut more, "FILES", self.files);
        self.notes(command, &mut more);
        self.see_also(is_program, below, &mut more);
        more.to_writer(out)
    }

    fn statuses(&self, roff: &mut Roff) {
        let statuses: Vec<_> = self.statuses.iter().map(|exit| (exit.code().to_string(), exit.meaning())).collect();
        list(roff, "EXIT STATUS", &statuses.iter().map(|(code, meaning)| (&**code, *meaning)).collect::<Vec<_>>());
    }

    fn notes(&self, command: &Command, roff: &mut Roff) {
        let of = |command: &Command| {
            let text = command.get_after_long_help().or_else(|| command.get_after_help());
            text.map(|text| sections(&text.to_string())).unwrap_or_default()
        };
        let mut notes = of(command);
        if !notes.iter().any(|(heading, _)| heading == EXAMPLES) {
            notes.extend(of(&self.command).into_iter().filter(|(heading, _)| heading == EXAMPLES));
        }
        // The statuses have a section already, in the words of the same table.
        notes.retain(|(heading, _)| heading != STATUSES);
        for (heading, lines) in notes {
            roff.control("SH", [&*heading.to_uppercase()]);
            roff.control("nf", []);
            for line in lines {
                roff.text([roman(line)]);
            }
            roff.control("fi", []);
        }
    }

    fn see_also(&self, is_program: bool, below: &[&Command], roff: &mut Roff) {
        let own = (!is_program).then(|| format!("{}(1)", self.command.get_name()));
        let below = below.iter().map(|below| format!("{}(1)", page_name(below)));
        let others = self.see_also.iter().map(|page| (*page).to_owned());
        let pages: Vec<_> = own.into_iter().chain(below).chain(others).collect();
        roff.control("SH", ["SEE ALSO"]);
        roff.text([roman(pages.join(", "))]);
    }
}

/// The heading of examples.
const EXAMPLES: &str = "Examples";

/// The heading of exit statuses.
const STATUSES: &str = "Exit status";

/// The sections of what `--help` ends with, and the lines of each, without blank ones at either end.
fn sections(text: &str) -> Vec<(String, Vec<String>)> {
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    let mut is_begin = true;
    for line in text.lines() {
        let heading = line.strip_suffix(':').filter(|line| is_begin && !line.starts_with(' ') && !line.is_empty());
        match (heading, sections.last_mut()) {
            (Some(heading), _) => sections.push((heading.to_owned(), Vec::new())),
            (None, Some((_, lines))) => lines.push(line.to_owned()),
            (None, None) => sections.push(("Notes".to_owned(), vec![line.to_owned()])),
        }
        is_begin = line.is_empty();
    }
    for (_, lines) in &mut sections {
        lines.truncate(lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
    }
    sections
}

/// The name of the page of a command, such as `ostia-precompute-keys-check`.
fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn list(roff: &mut Roff, heading: &str, rows: &[(&str, &str)]) {
    if rows.is_empty() {
        return;
    }
    roff.control("SH", [heading]);
    for (name, meaning) in rows {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*meaning)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_help_ends_with_is_cut_at_its_headings() {
        let text =
            "Examples:\n  Ask:\n    ask --now\n\n  Ask again:\n    ask\n\nMore is said here.\n\nWords:\n  a  b\n";
        let lines = ["  Ask:", "    ask --now", "", "  Ask again:", "    ask", "", "More is said here."];
        let lines = lines.map(str::to_owned).to_vec();
        assert_eq!(sections(text), [("Examples".to_owned(), lines), ("Words".to_owned(), vec!["  a  b".to_owned()])]);
        assert!(sections("").is_empty());
    }
}
