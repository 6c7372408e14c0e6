//! The programs under test, built once from the same sources and profile as the test itself.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Where the built programs lie.
#[derive(Debug)]
pub struct Programs {
    /// `ostia-responder`
    pub responder: PathBuf,
    /// `ostia-precompute`
    pub precompute: PathBuf,
    /// `ostia-loadtest`
    pub loadtest: PathBuf,
    /// The PKCS#11 module that fails on command.
    pub pkcs11_shim: PathBuf,
}

/// Builds the programs on the first call.
pub fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(build)
}

/// The test lies in `<target>[/<triple>]/<profile>/deps/`, and only there do the programs belong.
fn build() -> Programs {
    let test = env::current_exe().unwrap();
    let out = test.parent().and_then(Path::parent).expect("a test lies in the target directory");
    let target =
        out.ancestors().skip(1).find(|dir| dir.join("CACHEDIR.TAG").is_file()).unwrap_or(out.parent().unwrap());
    let within: Vec<_> = out.strip_prefix(target).unwrap().iter().map(|part| part.to_str().unwrap()).collect();

    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", "ostia-responder", "-p", "ostia-precompute", "-p", "ostia-loadtest"]);
    cargo.args(["-p", "ostia-pkcs11-shim"]);
    cargo.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    cargo.env("CARGO_TARGET_DIR", target);
    if let [triple, _] = within[..] {
        cargo.args(["--target", triple]);
    }
    cargo.args(["--profile", if out.ends_with("debug") { "dev" } else { within.last().unwrap() }]);
    let ended = super::run(&mut cargo);
    assert!(ended.status.success(), "{cargo:?}: {}\n{}", ended.status, ended.text);
    Programs {
        responder: out.join("ostia-responder"),
        precompute: out.join("ostia-precompute"),
        loadtest: out.join("ostia-loadtest"),
        pkcs11_shim: out.join("libostia_pkcs11_shim.so"),
    }
}
