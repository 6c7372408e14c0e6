//! What a person at a terminal gets, and what a program behind a pipe gets: the same words, with and without colours.

use std::process::Command;

use ostia_tests::{Ended, programs, run};

use crate::ca_and_site;

/// Runs a shell's line with a terminal (`script` makes one), or behind pipes.
fn shown(line: &str, terminal: bool, variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(if terminal { "script" } else { "sh" });
    let arguments = if terminal { vec!["-qec", line, "/dev/null"] } else { vec!["-c", line] };
    command.args(arguments);
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "OSTIA_LOG_FORMAT", "OSTIA_CONFIG", "CI"] {
        command.env_remove(name);
    }
    run(command.env("TERM", "xterm").env("OSTIA_LOG", "error").envs(variables.iter().copied()))
}

fn plain(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap().to_owned();
    let rest = pieces.map(|piece| piece.split_once('m').map_or(piece, |(_, text)| text));
    rest.fold(first, |text, piece| text + piece).replace('\r', "")
}

#[test]
fn colours_are_for_terminals_and_the_words_are_the_same_without_them() {
    let (ca, site) = ca_and_site();
    let serial = ca.issue().serial;
    let (responder, precompute) = (programs().responder.display(), programs().precompute.display());
    let config = site.config();
    let config = config.display();
    let synced = run(Command::new(&programs().precompute).arg("sync").arg(site.config()));
    assert!(synced.status.success(), "{synced:?}");
    for (line, told) in [
        (format!("{responder} check {config}"), "everything is in order"),
        (format!("{responder} check /gone.toml"), "/gone.toml: does not exist"),
        (format!("{precompute} check {config}"), "everything is in order"),
        (format!("{precompute} show --config {config} {serial}"), "good, valid until"),
        (format!("{precompute} keys check {config}"), "ECDSA P-256 with SHA-256"),
    ] {
        let piped = shown(&line, false, &[]);
        assert!(piped.text.contains(told) && !piped.text.contains('\x1b'), "{piped:?}");
        let terminal = shown(&line, true, &[]);
        assert_eq!(terminal.status.code(), piped.status.code(), "{line}");
        // A table has no colours.
        assert!(terminal.text.contains("\x1b[") || line.contains("keys check"), "{terminal:?}");
        assert!(plain(&terminal.text).contains(told), "{terminal:?}");
        for variables in [&[("NO_COLOR", "1")][..], &[("TERM", "dumb")], &[("CLICOLOR", "0")]] {
            let without = shown(&line, true, variables);
            assert!(!without.text.contains('\x1b') && without.text.contains(told), "{variables:?}: {without:?}");
        }
        let forced = shown(&line, false, &[("CLICOLOR_FORCE", "1")]);
        assert!(forced.text.contains("\x1b[") || line.contains("keys check"), "{forced:?}");
        if !line.contains("keys check") {
            // Its figures differ from run to run.
            assert_eq!(plain(&forced.text), piped.text);
            assert_eq!(plain(&terminal.text), piped.text);
        }
    }
}

#[test]
fn a_document_for_programs_has_no_colours_even_on_a_terminal() {
    let (_ca, site) = ca_and_site();
    for program in [&programs().responder, &programs().precompute] {
        let line = format!("{} check --json {}", program.display(), site.config().display());
        let terminal = shown(&line, true, &[("CLICOLOR_FORCE", "1")]);
        assert!(terminal.status.success() && !terminal.text.contains('\x1b'), "{terminal:?}");
        assert!(serde_json::from_str::<serde_json::Value>(&terminal.text).is_ok(), "{terminal:?}");
    }
}

/// A bar is drawn over and over: on a terminal that cannot, and in a log by night, it would fill pages.
#[test]
fn progress_is_shown_where_a_line_can_be_drawn_anew() {
    let (ca, site) = ca_and_site();
    ca.issue();
    let line = |to: &str| {
        let (precompute, config, dir) = (programs().precompute.display(), site.config(), site.dir().display());
        format!(
            "{precompute} sync {0} >{dir}/out && {precompute} snapshot --config {0} --to {dir}/{to} && {precompute} presign {0}",
            config.display()
        )
    };
    let terminal = shown(&line("a"), true, &[]);
    assert!(terminal.status.success() && terminal.text.contains("\x1b["), "{terminal:?}");
    for (to, on_terminal, variables) in [("b", true, &[("TERM", "dumb")][..]), ("c", false, &[])] {
        let quiet = shown(&line(to), on_terminal, variables);
        assert!(quiet.status.success() && !quiet.text.contains('\x1b'), "{quiet:?}");
        assert!(quiet.text.matches('\r').count() <= quiet.text.matches('\n').count(), "{quiet:?}");
    }
}
