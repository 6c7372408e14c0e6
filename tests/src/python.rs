//! Python clients, in the environment that `tests/run` makes for them.

use std::{path::Path, process::Command};

use crate::{Ended, run};

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
