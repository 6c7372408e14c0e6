//! Manual pages and completions: what the programs write is what `man`, `mandoc` and bash take.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ostia_tests::{bash, programs, run};
use tempfile::TempDir;

fn all() -> [(&'static str, &'static Path); 3] {
    let programs = programs();
    [
        ("ostia-responder", &programs.responder),
        ("ostia-precompute", &programs.precompute),
        ("ostia-loadtest", &programs.loadtest),
    ]
}

/// What all programs write.
fn written() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (_, program) in all() {
        let ended = run(Command::new(program).arg("generate-docs").arg(dir.path()));
        assert!(ended.status.success(), "{ended:?}");
    }
    dir
}

fn pages(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join("man")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The commands below one, by its own `--help`, each with its words.
fn commands(program: &Path, words: &[String]) -> BTreeSet<Vec<String>> {
    let help = run(Command::new(program).args(words).arg("--help")).text;
    let mut found = BTreeSet::from([words.to_vec()]);
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return found };
    let list = list.split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        found.extend(commands(program, &[words, &[name.to_owned()]].concat()));
    }
    found
}

#[test]
fn every_command_has_a_page_with_all_sections_in_which_nobody_finds_a_fault() {
    let dir = written();
    let wanted: BTreeSet<_> = all()
        .into_iter()
        .flat_map(|(name, program)| {
            let page = move |words: Vec<String>| [vec![name.to_owned()], words].concat().join("-") + ".1";
            commands(program, &[]).into_iter().map(page)
        })
        .collect();
    let there: BTreeSet<_> =
        pages(dir.path()).iter().map(|page| page.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(there, wanted);
    assert!(wanted.len() > 30 && wanted.contains("ostia-precompute-keys-check.1"), "{wanted:?}");
    for page in pages(dir.path()) {
        let linted = run(Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(&page));
        assert!(linted.status.success() && linted.text.is_empty(), "{}", linted.text);
        let mut man = Command::new("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file"]).arg(&page);
        man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80").env("MANPAGER", "cat").env_remove("MANOPT");
        let man = man.output().unwrap();
        let (shown, warnings) = (String::from_utf8(man.stdout).unwrap(), String::from_utf8_lossy(&man.stderr));
        assert!(man.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"] {
            let is_there = shown.lines().any(|line| line == section);
            assert!(is_there, "{}: no {section} in\n{}", page.display(), shown);
        }
        let synopsis = shown.split_once("SYNOPSIS\n").unwrap().1.split("\n\n").next().unwrap();
        assert!(!synopsis.contains("[--config]"), "an option without its value: {synopsis}");
        let is_of_loadtest = page.file_name().unwrap().to_str().unwrap().starts_with("ostia-loadtest");
        assert!(is_of_loadtest || shown.contains("\nFILES\n") && shown.contains("OSTIA_LOG"), "{shown}");
    }
}

#[test]
fn pages_name_pages_that_are_there() {
    let dir = written();
    for page in pages(dir.path()) {
        let text = fs::read_to_string(&page).unwrap().replace("\\-", "-");
        let (_, also) = text.split_once(".SH \"SEE ALSO\"").unwrap_or_else(|| panic!("{}", page.display()));
        for named in also.split([' ', ',', '\n']).filter(|word| word.starts_with("ostia-")) {
            let file = dir.path().join("man").join(named.replace("(1)", ".1"));
            assert!(file.exists(), "{} names {named}", page.display());
        }
    }
}

/// What bash offers for a line of words, of which the last is to be completed.
fn completed(dir: &Path, program: &str, words: &[&str]) -> String {
    let (script, count) = (dir.join("completions/bash").join(program), words.len());
    let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    bash(
        dir,
        &format!(
            "source {}; function=$(complete -p {program} | grep -oP '(?<=-F )\\S+'); COMP_WORDS=({program} {line}); \
             COMP_CWORD={count}; $function {program} \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$COMP_CWORD-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        ),
    )
}

#[test]
fn bash_completes_commands_options_values_and_files() {
    let dir = written();
    fs::write(dir.path().join("ostia.toml"), "").unwrap();
    for (program, words, offered) in [
        ("ostia-precompute", &["ke"][..], "keys\n"),
        ("ostia-precompute", &["keys", "gen"], "generate\n"),
        ("ostia-precompute", &["keys", "generate", "--alg"], "--algorithm\n"),
        ("ostia-precompute", &["keys", "generate", "--algorithm", "ml-dsa-6"], "ml-dsa-65\n"),
        ("ostia-precompute", &["check", "--config", "ost"], "ostia.toml\n"),
        ("ostia-precompute", &["revoke", "--even"], "--even-unlisted\n"),
        ("ostia-responder", &["che"], "check\n"),
        ("ostia-responder", &["check", "--str"], "--strict\n"),
        ("ostia-loadtest", &["ocsp", "--unlisted", "unk"], "unknown\n"),
    ] {
        assert_eq!(completed(dir.path(), program, words), offered, "{program} {words:?}");
    }
    assert!(!completed(dir.path(), "ostia-responder", &["gen"]).contains("generate-docs"), "it is hidden");
    for (program, _) in all() {
        let zsh = fs::read_to_string(dir.path().join("completions/zsh").join(format!("_{program}"))).unwrap();
        assert!(zsh.starts_with(&format!("#compdef {program}")), "{zsh}");
        let fish = dir.path().join("completions/fish").join(format!("{program}.fish"));
        assert!(fs::read_to_string(fish).unwrap().contains(&format!("complete -c {program}")));
    }
}
