//! Which version a program says it is, by the build script that finds it: from git, from an archive, and from neither.

use std::{fs, path::Path, process::Command};

use ostia_tests::{bash, programs, run};
use tempfile::TempDir;

/// The build script as a program, and the sources that it looks at, in a directory of their own.
struct Sources {
    dir: TempDir,
    script: std::path::PathBuf,
}

impl Sources {
    fn new() -> Self {
        let (dir, build) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("precompute/program");
        for file in ["commit.txt", ".gitattributes", "build.rs"] {
            fs::copy(from.join(file), dir.path().join(file)).unwrap();
        }
        let script = build.keep().join("script");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let made = run(Command::new(rustc).args(["--edition", "2024", "-o"]).arg(&script).arg(from.join("build.rs")));
        assert!(made.status.success(), "{made:?}");
        Self { dir, script }
    }

    /// What the script tells cargo, by the name of each variable.
    fn told(&self, dir: &Path, profile: &str, variables: &[(&str, &str)]) -> impl Fn(&str) -> String {
        let mut script = Command::new(&self.script);
        script.current_dir(dir).env_remove("OSTIA_COMMIT").env_remove("SOURCE_DATE_EPOCH").env("PROFILE", profile);
        // Nothing of a repository around the scratch directory counts.
        script.env("GIT_CEILING_DIRECTORIES", dir.parent().unwrap()).envs(variables.iter().copied());
        let ended = run(&mut script);
        assert!(ended.status.success(), "{ended:?}");
        move |name| {
            let mut lines = ended.text.lines();
            let line =
                lines.find_map(|line| line.strip_prefix("cargo:rustc-env=")?.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("no {name} in {}", ended.text)).to_owned()
        }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.script.parent().unwrap());
    }
}

#[test]
fn a_version_has_the_commit_and_the_day_wherever_they_can_be_known() {
    let sources = Sources::new();
    let dir = sources.dir.path();
    // Sources that somebody has copied.
    let bare = sources.told(dir, "release", &[]);
    assert_eq!((bare("OSTIA_DETAILS"), bare("OSTIA_COMMIT_SHORT"), bare("OSTIA_DAY")), Default::default());
    assert_eq!(bare("OSTIA_PAGE_DAY").len(), "2026-11-30".len());
    // A package that says it itself: 1709164800 is a leap day.
    let said = [("OSTIA_COMMIT", "0123456789abcdef0123"), ("SOURCE_DATE_EPOCH", "1709164800")];
    let packaged = sources.told(dir, "release", &said);
    assert_eq!(packaged("OSTIA_DETAILS"), " (0123456789ab, 2024-02-29)");
    assert_eq!((packaged("OSTIA_DAY"), packaged("OSTIA_PAGE_DAY")), ("2024-02-29".into(), "2024-02-29".into()));
    assert_eq!(sources.told(dir, "release", &said[1..])("OSTIA_DETAILS"), " (2024-02-29)");
    // A repository.
    let commit = "git init -q . && git add . && GIT_COMMITTER_DATE='1800000000 +0000' git -c user.name=a -c user.email=a@example.com commit -qm a";
    bash(dir, commit);
    let head = bash(dir, "git rev-parse HEAD");
    let short = &head.trim()[..12];
    let of_git = sources.told(dir, "release", &[]);
    assert_eq!(of_git("OSTIA_DETAILS"), format!(" ({short}, 2027-01-15)"));
    assert_eq!(sources.told(dir, "release", &said[1..])("OSTIA_DETAILS"), format!(" ({short}, 2024-02-29)"));
    // One who builds all day does not want everything built anew for each commit.
    assert_eq!(sources.told(dir, "debug", &[])("OSTIA_DETAILS"), " (development build)");
    // What `git archive` makes of it.
    let archive = tempfile::tempdir().unwrap();
    bash(dir, &format!("git archive HEAD | tar -x -C {}", archive.path().display()));
    assert_eq!(sources.told(archive.path(), "release", &[])("OSTIA_DETAILS"), format!(" ({short}, 2027-01-15)"));
}

#[test]
fn every_program_says_its_version_short_and_long() {
    let programs = programs();
    for program in [&programs.responder, &programs.precompute, &programs.loadtest] {
        let (short, long) =
            (run(Command::new(program).arg("-V")).text, run(Command::new(program).arg("--version")).text);
        let name = program.file_name().unwrap().to_str().unwrap();
        assert_eq!(short, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
        assert!(long.starts_with(short.trim_end()), "{long}");
    }
}
