//! A wall clock of its own for a program: libfaketime, told what to show by a file.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A clock that shows what it was told last. Who follows it looks once a second.
#[derive(Clone, Debug)]
pub struct FakeClock {
    file: PathBuf,
}

impl FakeClock {
    /// A clock that is right so far; its file lies in `dir`.
    pub fn new(dir: &Path) -> Self {
        let clock = Self { file: dir.join("clock") };
        clock.set("+0");
        clock
    }

    /// Has it show the time by so much, such as `+1h` or `-2s`, wrong.
    pub fn set(&self, offset: &str) {
        let beside = self.file.with_extension("next");
        fs::write(&beside, offset).unwrap();
        fs::rename(beside, &self.file).unwrap();
    }

    /// What a program that is to follow it has to find in its environment.
    pub fn environment(&self) -> [(&'static str, PathBuf); 4] {
        let libraries = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
        let mut libraries = libraries.map(|dir| dir.join("faketime/libfaketimeMT.so.1"));
        let library = libraries.find(|path| path.is_file()).expect("libfaketime, which tests/run installs");
        [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}
